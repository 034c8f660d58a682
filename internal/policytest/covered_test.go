// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policytest

import (
	"slices"
	"strings"
	"testing"
)

// more are policies beside the repository's own.
const more = `
apiVersion: valetkey.dev/v1alpha1
kind: CapabilityPolicy
metadata: {name: frozen}
spec:
  effect: Deny
  capabilities: ["*"]
  environments: [preview]
  when: [{expression: "request.taskID.startsWith('pr-')", message: pull requests are frozen}]
---
apiVersion: valetkey.dev/v1alpha1
kind: CapabilityPolicy
metadata: {name: elsewhere}
spec:
  effect: Allow
  capabilities: [publish]
  requesters: [{kind: ServiceAccount, namespace: agents, name: other}, {kind: Group, name: people}]
  repos: [web-app]
  environments: [elsewhere]
  when:
  - {expression: request.ttlSeconds <= 600, message: ten minutes}
  - {expression: "request.actor == 'me'", message: me alone}
`

func TestCoverageTellsWhatNoCaseIsAbout(t *testing.T) {
	for _, tt := range []struct {
		name    string
		cases   string
		decided int
		never   []string
		// unfailed are the expressions that no case shows to keep anything out.
		unfailed []string
	}{
		{"an Allow that waits for approval has decided", "- {name: a, expect: {decision: Pending}}", 1, []string{"elsewhere", "frozen"}, []string{"elsewhere when[0]", "elsewhere when[1]", "previews when[0]"}},
		{"an Allow that is only the nearest has not", "- {name: a, request: {ttlSeconds: 901}, expect: {decision: Deny, policy: previews}}", 0, []string{"elsewhere", "frozen", "previews"}, []string{"elsewhere when[0]", "elsewhere when[1]"}},
		{"nor has one whose requester is too strong", "- {name: a, risks: [SecretReader], expect: {decision: Deny, policy: previews}}", 0, []string{"elsewhere", "frozen", "previews"}, []string{"elsewhere when[0]", "elsewhere when[1]", "previews when[0]"}},
		{"one whose approvals came too late has", "- {name: a, after: 2h, expect: {decision: Deny, policy: previews}}", 1, []string{"elsewhere", "frozen"}, []string{"elsewhere when[0]", "elsewhere when[1]", "previews when[0]"}},
		{"a Deny that denies has", "- {name: a, request: {taskID: pr-1}, expect: {decision: Deny, policy: frozen}}", 1, []string{"elsewhere", "previews"}, []string{"elsewhere when[0]", "elsewhere when[1]", "frozen when[0]", "previews when[0]"}},
		{"an expression is told from its neighbour", "- {name: a, requester: {user: me, groups: [people]}, request: {namespace: agents, environment: elsewhere, ttlSeconds: 900, actor: me}, expect: {decision: Deny, policy: elsewhere}}",
			0, []string{"elsewhere", "frozen", "previews"}, []string{"elsewhere when[1]", "frozen when[0]", "previews when[0]"}},
		{"an expression keeps nobody out who is not asked about", "- {name: a, requester: {user: me}, request: {namespace: agents, environment: elsewhere, ttlSeconds: 900}, expect: {decision: Deny, policy: ''}}",
			0, []string{"elsewhere", "frozen", "previews"}, []string{"elsewhere when[0]", "elsewhere when[1]", "frozen when[0]", "previews when[0]"}},
		{"an expression of a policy that is not in force keeps nothing out", "- {name: a, without: [frozen], expect: {decision: Pending}}", 1, []string{"elsewhere", "frozen"}, []string{"elsewhere when[0]", "elsewhere when[1]", "frozen when[0]", "previews when[0]"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			report := repository().with("more.yaml", more).with("all.valetkey-test.yaml", ask+"cases:\n"+tt.cases+"\n").test(t)
			expectAllPassed(t, report, 1)
			var unfailed []string
			for _, c := range report.Coverage.NeverFailed {
				unfailed = append(unfailed, c.Policy+" "+c.Field)
			}
			if got := report.Coverage; got.Policies != 3 || got.Decided != tt.decided || !slices.Equal(got.NeverHit, tt.never) || !slices.Equal(unfailed, tt.unfailed) {
				t.Errorf("%d of %d decided, never hit %q, never failed %q; want %d, %q, %q", got.Decided, got.Policies, got.NeverHit, unfailed, tt.decided, tt.never, tt.unfailed)
			}
		})
	}
}

func TestAnExpressionThatDoesNotCompileIsNotSaidToNeedACase(t *testing.T) {
	report := repository().with("policy.yaml", strings.Replace(previews, "request.ttlSeconds", "request.ttl", 1)).
		with("all.valetkey-test.yaml", ask+"cases: [{name: a, expect: {decision: Deny, message: is not valid}}]\n").test(t)
	expectAllPassed(t, report, 1)
	if len(report.Coverage.NeverFailed) > 0 {
		t.Errorf("%+v", report.Coverage.NeverFailed)
	}
}

func TestTheShareOfPoliciesThatDecided(t *testing.T) {
	if got := (Coverage{Policies: 8, Decided: 6}).Percent(); got != 75 {
		t.Errorf("%v percent", got)
	}
}

// TestCoverage_APolicyInAnotherSpellingIsAskedAbout: what is left out to save time are policies about other names, not about the same in
// another spelling.
func TestCoverage_APolicyInAnotherSpellingIsAskedAbout(t *testing.T) {
	respelled := strings.NewReplacer("{name: elsewhere}", "{name: respelled}", "[web-app]", "[ACME/Web-App]", "[elsewhere]", "[Preview]").Replace(more)
	report := onGitHub().with("more.yaml", respelled).with("all.valetkey-test.yaml", ask+
		"cases:\n- name: a\n  requester: {serviceAccount: agents/other}\n  request: {ttlSeconds: 601, actor: you}\n  expect: {decision: Deny, policy: respelled}\n").test(t)
	expectAllPassed(t, report, 1)
	for _, c := range report.Coverage.NeverFailed {
		if c.Policy == "respelled" {
			t.Errorf("%s of %s is not known to fail", c.Field, c.Policy)
		}
	}
}

func TestTest_AnotherSpellingIsRefusedAsTheOperatorRefusesIt(t *testing.T) {
	report := onGitHub().with("all.valetkey-test.yaml", ask+
		"cases:\n- name: a\n  request: {repo: ACME/Web-App}\n  expect: {decision: Deny, reason: NameRefused, policy: '', message: write repo as web-app}\n").test(t)
	expectAllPassed(t, report, 1)
}
