// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policytest

import (
	"slices"
	"strings"
	"testing"
)

// TestLint_ANameThatTheScopeDoesNotHoldIsFound has a policy for previews that wants an approval, one for rehearsals that
// wants none, and a capability whose scope holds the repo alone.
func TestLint_ANameThatTheScopeDoesNotHoldIsFound(t *testing.T) {
	changed := func(pairs ...string) string {
		return strings.NewReplacer(append(pairs, "{name: previews}", "{name: rehearsals}", "[preview]", "[rehearsal]", "required: 1", "required: 0")...).Replace(previews)
	}
	told := strings.Replace(capability, "${request.repo}", "${request.repo}/${request.environment}", 1)
	fixed := strings.Replace(capability, "${request.repo}/", "", 1)
	partly := strings.Replace(capability, "scope: [", "scope: [{actions: [s3:PutObject], resources: ['arn:aws:s3:::logs/${request.repo}/${request.environment}/*']}, ", 1)
	both := repository().with("rehearsals.yaml", changed())
	denying := func(in files, spec string) files {
		return in.with("deny.yaml", deny("  capabilities: [publish]\n"+spec))
	}
	for _, tt := range []struct {
		name string
		in   files
		// want are the policies that are found, and field is by what they tell requests apart.
		want  []string
		field string
	}{
		{"an approval for one environment alone", both, []string{"previews"}, "environment"},
		{"in the scope", both.with("capability.yaml", told), nil, ""},
		{"in one place of two", both.with("capability.yaml", partly), []string{"previews"}, "environment"},
		{"the same approval", repository().with("rehearsals.yaml", changed("required: 1", "required: 1")), nil, ""},
		{"another's approval", repository().with("rehearsals.yaml", changed("required: 1", "required: 1", "name: managers", "name: agents")), []string{"previews", "rehearsals"}, "environment"},
		{"approval by more people", repository().with("rehearsals.yaml", strings.NewReplacer("required: 0", "required: 1", "{kind: Group, name: managers}", "{kind: Group, name: managers}, {kind: User, name: bob}").Replace(changed())), []string{"previews"}, "environment"},
		{"another's approval, by fewer people", repository().with("rehearsals.yaml", changed("required: 1", "required: 2", "name: managers", "name: agents")), []string{"previews", "rehearsals"}, "environment"},
		{"the same people's approval, by fewer", repository().with("rehearsals.yaml", changed("required: 1", "required: 2")), []string{"rehearsals"}, "environment"},
		{"an approval for any environment but one", repository().with("policy.yaml", strings.Replace(previews, "[preview]", "['*']", 1)).with("rehearsals.yaml", changed()), []string{"previews"}, "environment"},
		{"an approval for what any environment gets without", repository().with("rehearsals.yaml", changed("[preview]", "['*']")), nil, ""},
		{"an approval by an expression", repository().with("policy.yaml", strings.Replace(previews, "request.ttlSeconds <= 900", "request.environment != 'rehearsal'", 1)).with("rehearsals.yaml", changed("[preview]", "[preview, rehearsal]")), []string{"previews"}, "environment"},
		{"other repos", repository().with("rehearsals.yaml", changed("[web-app]", "[api]")), nil, ""},
		{"other requesters", repository().with("rehearsals.yaml", changed("name: bot", "name: robot")), nil, ""},
		{"requesters in a group", repository().with("rehearsals.yaml", changed("{kind: ServiceAccount, namespace: agents, name: bot}", "{kind: Group, name: bots}")), []string{"previews"}, "environment"},
		{"other namespaces", repository().with("policy.yaml", previews+"  namespaces: [agents]\n").with("rehearsals.yaml", changed()+"  namespaces: [others]\n"), nil, ""},
		{"another capability", repository().with("rehearsals.yaml", changed("[publish]", "[publish-rehearsal]")), nil, ""},
		{"repos of a scope that holds none", repository().with("capability.yaml", fixed).with("rehearsals.yaml", changed("[web-app]", "[api]", "[preview]", "[preview]")), []string{"previews"}, "repo"},
		{"a Deny of one environment", denying(both, "  environments: [preview]\n"), []string{"freeze", "previews"}, "environment"},
		{"a Deny of one environment, in capitals", denying(both, "  environments: [PREVIEW, Rehearsal]\n"), []string{"previews"}, "environment"},
		{"a Deny of one environment that is in the scope", denying(both, "  environments: [preview]\n").with("capability.yaml", told), nil, ""},
		{"a Deny of both", denying(both, "  environments: [preview, rehearsal]\n"), []string{"previews"}, "environment"},
		{"a Deny of every one", denying(both, ""), []string{"previews"}, "environment"},
		{"a Deny of what nobody is allowed", denying(both, "  environments: [production]\n"), []string{"previews"}, "environment"},
		{"a Deny of the repo", denying(both, "  repos: [web-app]\n"), []string{"previews"}, "environment"},
		{"a Deny of the only environment", denying(repository(), "  environments: [preview]\n"), nil, ""},
		{"a Deny by an expression", denying(both, "  when: [{expression: \"request.environment == 'preview'\", message: x}]\n"), []string{"freeze", "previews"}, "environment"},
		{"a Deny by an expression of another field", denying(both, "  when: [{expression: \"request.actor == 'preview'\", message: x}]\n"), []string{"previews"}, "environment"},
		{"a Deny of any capability", both.with("deny.yaml", deny("  capabilities: ['*']\n  environments: ['pre*']\n")), []string{"freeze", "previews"}, "environment"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var found []string
			for _, f := range tt.in.load(t).Lint() {
				if f.Code != CodeNameOutsideScope {
					continue
				}
				found = append(found, f.Name)
				if f.Severity != SeverityWarning || !strings.Contains(f.Message, "it tells requests apart by their "+tt.field+", which the scope does not hold, of publish: who asks for another") {
					t.Errorf("%+v", f)
				}
			}
			if !slices.Equal(found, tt.want) {
				t.Errorf("found %v, want %v", found, tt.want)
			}
		})
	}
}
