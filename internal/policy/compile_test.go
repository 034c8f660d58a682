// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

func policyWith(expressions ...string) *v1alpha1.CapabilityPolicy {
	p := allow("p")
	for _, e := range expressions {
		p.Spec.When = append(p.Spec.When, v1alpha1.Expression{Expression: e, Message: "as asked"})
	}
	return p
}

func TestExpressionsThatCannotBeEvaluatedAreFoundWhenTheyAreStored(t *testing.T) {
	c := newCompiler(t)
	for _, tt := range []struct{ name, expression, says string }{
		{"it does not parse", "request.", "when[0]: the expression does not compile: 1:9: Syntax error"},
		{"a field does not exist", "request.branch == 'main'", "undefined field 'branch'"},
		{"a field of the requester does not exist", "request.requester.name == 'x'", "undefined field 'name'"},
		{"a field of the capability does not exist", "capability.scope == 'x'", "undefined field 'scope'"},
		{"a field of the job does not exist", "job.spec.suspend", "undefined field 'spec'"},
		{"a variable does not exist", "authorizer.path('/').check('get').allowed()", "undeclared reference to 'authorizer'"},
		{"the clock is not there", "now() > timestamp('2026-01-01T00:00:00Z')", "undeclared reference to 'now'"},
		{"types differ", "request.ttlSeconds == '900'", "found no matching overload"},
		{"it yields a string", "request.repo", "yields string, not bool"},
		{"it yields who knows what", "dyn(request.repo)", "yields dyn, not bool"},
		{"it could cost too much", "job.images.all(a, job.images.all(b, job.images.all(c, a == b || b == c)))", "could cost"},
		{"a list of its own makes it cost too much", nested(5), "could cost"},
		{"its regular expression is none", "request.repo.matches('(')", "invalid matches argument"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := c.Compile(policyWith(tt.expression)).Err()
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("want %q in %v", tt.says, err)
			}
		})
	}
}

// nested is a loop in a loop, n deep.
func nested(n int) string {
	expression := "true"
	for i := range n {
		expression = fmt.Sprintf("[1,2,3,4,5,6,7,8,9,10].all(v%d, %s)", i, expression)
	}
	return expression
}

func TestExpressionsThatAreEachCheapCanTogetherCostTooMuch(t *testing.T) {
	const one = "request.requester.groups.exists(g, g.matches('^team-[a-z]+-[a-z]+-[a-z]+$'))"
	c := newCompiler(t)
	if err := c.Compile(policyWith(one)).Err(); err != nil {
		t.Fatal(err)
	}
	err := c.Compile(policyWith(strings.Split(strings.Repeat(one+"\n", 16), "\n")[:16]...)).Err()
	if err == nil || !strings.Contains(err.Error(), "together could cost") {
		t.Errorf("got %v", err)
	}
}

func TestAnExpressionIsStoppedWhenItRunsTooLong(t *testing.T) {
	w := newWorld()
	w.preview().When = when("request.requester.extra['a'].all(v, v.matches('^[a-z]+$'))", "letters")
	w.Request.Spec.Requester.Extra = map[string]v1alpha1.ExtraValue{"a": slices.Repeat([]string{strings.Repeat("a", 100_000)}, 30)}
	got := w.decide(t)
	if got.Verdict != Deny || !strings.Contains(got.Message, "cost limit exceeded") {
		t.Errorf("%s: %s", got.Verdict, got.Message)
	}
}

// TestGroups_OfSomebodyInVeryManyAreRead: as many as the kind takes cost less than an expression may.
func TestGroups_OfSomebodyInVeryManyAreRead(t *testing.T) {
	for group, want := range map[string]Verdict{"CN=release-managers,OU=Groups,DC=example,DC=com": Allow, "CN=others": Deny} {
		w := newWorld()
		w.preview().When = when("request.requester.groups.exists(g, g.matches('^CN=release-[a-z]+,OU=Groups,DC=[a-z]+,DC=[a-z]+$'))", "a group")
		for i := range 1023 {
			w.Request.Spec.Requester.Groups = append(w.Request.Spec.Requester.Groups, fmt.Sprintf("CN=team-%d,OU=Groups,DC=example,DC=com", i))
		}
		w.Request.Spec.Requester.Groups = append(w.Request.Spec.Requester.Groups, group)
		if got := w.decide(t); got.Verdict != want || strings.Contains(got.Message, "cost") {
			t.Errorf("in %s: %s: %s", group, got.Verdict, got.Message)
		}
	}
}

func TestEveryProblemIsTold(t *testing.T) {
	err := newCompiler(t).Compile(policyWith("request.a == 'x'", "true", "request.b == 'x'")).Err()
	for _, part := range []string{"when[0]", "'a'", "when[2]", "'b'"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("want %q in %v", part, err)
		}
	}
}

func TestAnExpressionSeesWhatTheDocumentationNames(t *testing.T) {
	for _, expression := range []string{
		"request.name == 'publish-pr-184'", "request.namespace == 'agents'", "request.capability == 'publish-preview-build'",
		"request.taskID == 'pr-184'", "request.actor == 'openclaw-agent'", "request.repo == 'web-app'",
		"request.environment == 'preview'", "request.ttlSeconds == 900", "request.justification.contains('PR-184')",
		"request.requester.username == '" + agent + "'", "request.requester.uid == 'agent-uid'",
		"'system:serviceaccounts' in request.requester.groups", "request.requester.extra.size() == 0",
		"!('scopes' in request.requester.extra)", "capability.name == 'publish-preview-build'", "capability.provider == 'aws-preview'",
		"job.images == ['" + image + "']", "job.container == 'publish'", "job.serviceAccountName == 'web-app-bot'",
		"job.labels['team'] == 'web'", "has(job.labels.team) && !has(job.labels.squad)", "job.labels[?'squad'].orValue('none') == 'none'",
		"request.repo.matches('^web-[a-z]+$')", "request.repo.split('-')[0] == 'web'", "isURL('https://example.com')",
		"quantity('1Gi').isGreaterThan(quantity('1Mi'))", "ip('10.0.0.1').family() == 4",
	} {
		t.Run(expression, func(t *testing.T) {
			w := newWorld()
			w.preview().When = when(expression, "as asked")
			if got := w.decide(t); got.Verdict != Allow {
				t.Errorf("%s: %s", got.Verdict, got.Message)
			}
		})
	}
}

func TestEmptyValuesAreThereForAnExpression(t *testing.T) {
	w := newWorld()
	w.Request.Spec.TTLSeconds, w.Request.Spec.Justification = nil, ""
	w.Request.Spec.Requester = v1alpha1.Identity{Username: "ci@example.com"}
	w.Job.Annotations[v1alpha1.AnnotationCreatedBy] = "ci@example.com"
	w.Job.Spec.Template.Spec.ServiceAccountName = ""
	w.preview().Requesters = []v1alpha1.Subject{{Kind: v1alpha1.SubjectUser, Name: "ci@example.com"}}
	w.preview().When = when("request.ttlSeconds == 600 && request.justification == '' && request.requester.groups.size() == 0 && "+
		"request.requester.extra.size() == 0 && request.requester.uid == '' && job.serviceAccountName == 'default'", "all empty")
	if got := w.decide(t); got.Verdict != Allow {
		t.Errorf("%s: %s", got.Verdict, got.Message)
	}
}

func TestACompilerServesManyAtOnce(t *testing.T) {
	c := newCompiler(t)
	compiled := c.Compile(policyWith("job.labels['team'] == 'web'"))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			own := c.Compile(policyWith("request.repo == 'web-app'"))
			f := newWorld().Facts
			f.Policies = NewSet(compiled, own)
			if got := Evaluate(f); got.Verdict != Allow {
				t.Errorf("%s: %s", got.Verdict, got.Message)
			}
		})
	}
	wg.Wait()
}

func TestWhatBecomesOfAPolicyAfterwardsIsNothingToTheCompiledOne(t *testing.T) {
	w := newWorld()
	compiled := newCompiler(t).Compile(w.policies[0])
	*w.policies[0] = v1alpha1.CapabilityPolicy{} // as decoding an answer of the API server does for a moment
	w.Policies = NewSet(compiled)
	if got := Evaluate(w.Facts); got.Verdict != Allow {
		t.Errorf("%s: %s", got.Verdict, got.Message)
	}
}
