// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package kubernetes

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/internal/rbac"
)

// TestRights_TooManyToLookThroughAreTakenForAll: whoever may write a role in some namespace may bind it to the identity, and each grant
// of the capability waits for what is said of it.
func TestRights_TooManyToLookThroughAreTakenForAll(t *testing.T) {
	words := func(n int) []string {
		all := make([]string, n)
		for i := range all {
			all[i] = fmt.Sprint("w", i)
		}
		return all
	}
	for name, wide := range map[string]rbacv1.PolicyRule{
		"one rule":   {APIGroups: words(3000), Resources: words(3000), Verbs: words(3000)},
		"paths":      {NonResourceURLs: words(5000), Verbs: words(100)},
		"long names": {APIGroups: []string{""}, Resources: words(25), Verbs: []string{"get"}, ResourceNames: []string{strings.Repeat("n", 50_000)}},
		"same verbs": {APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: make([]string, mostLooks+1)},
	} {
		t.Run(name, func(t *testing.T) {
			k := provides(reader(role("web", "r", rule("get", "", "pods"), wide), bind("web", "Role", "r", account)))
			scope, err := k.Render(t.Context(), capability(), values())
			expectInvalid(t, err, "* takes in what does not exist yet")
			if len(scope.Lines) != 2 {
				t.Errorf("the scope has %d lines", len(scope.Lines))
			}
		})
	}
}

// TestRights_ARoleOfTooLongANameIsTakenForAll: the operator's cache holds no such name, so that nobody can look up what the role gives.
func TestRights_ARoleOfTooLongANameIsTakenForAll(t *testing.T) {
	name := strings.Repeat("n", 400_000)
	bound := bind("web", "Role", name, account)
	bound.Name = "r"
	rbac.Bound(bound)
	k := provides(reader(role("web", name, rule("get", "", "pods")), bound))
	_, err := k.Render(t.Context(), capability(), values())
	expectInvalid(t, err, "(RoleBinding r): it takes in get secrets")
}

// cached answers as the operator's cache does: with what is there, where it is asked for no copy.
type cached struct {
	client.Reader
	role     *rbacv1.Role
	bindings []rbacv1.RoleBinding
	gets     int
}

func (c *cached) Get(_ context.Context, _ client.ObjectKey, into client.Object, opts ...client.GetOption) error {
	c.gets++
	role := c.role
	if !slices.Contains(opts, client.GetOption(client.UnsafeDisableDeepCopy)) {
		role = role.DeepCopy()
	}
	*into.(*rbacv1.Role) = *role
	return nil
}

func (c *cached) List(_ context.Context, into client.ObjectList, _ ...client.ListOption) error {
	if list, is := into.(*rbacv1.RoleBindingList); is {
		list.Items = c.bindings
	}
	return nil
}

// TestRights_VeryManyBindingsFillNoMemory: whoever administers a namespace can bind one role as often as they like.
func TestRights_VeryManyBindingsFillNoMemory(t *testing.T) {
	c := &cached{role: role("web", "r", slices.Repeat([]rbacv1.PolicyRule{rule("get", "", "pods")}, 760)...)}
	for range 800 {
		c.bindings = append(c.bindings, *bind("web", "Role", "r", account))
	}
	before := c.role.DeepCopy()
	k := New(Options{Namespace: "identities", OperatorNamespace: "valetkey-system", Roles: c})
	var began, ended runtime.MemStats
	runtime.ReadMemStats(&began)
	_, err := k.Render(t.Context(), capability(), values())
	runtime.ReadMemStats(&ended)
	expectInvalid(t, err, "* takes in what does not exist yet")
	if taken := (ended.TotalAlloc - began.TotalAlloc) >> 20; c.gets == 0 || taken > 64 {
		t.Errorf("one look takes %d MiB", taken)
	}
	if !cmp.Equal(before, c.role) {
		t.Error("what is the cache's was changed")
	}
}

func TestRights_WhatCannotBeShownIsRefused(t *testing.T) {
	many := rule("get", "", "pods")
	for i := range provider.MostActions {
		many.Resources = append(many.Resources, fmt.Sprintf("things%d", i))
	}
	for name, test := range map[string]struct {
		words string
		rule  rbacv1.PolicyRule
	}{
		"more rules than a grant shows": {"have 129 rules", many},
		"a rule longer than a grant's lines": {"is longer than 256 characters",
			rule("get", "", "pods", strings.Repeat("a", 250))},
		"a name that reads as another line": {`(RoleBinding rrestarter) has "web in web and get pods"`,
			rule("get", "", "pods", "web in web and get pods")},
		"a name with a line break":      {`has "web\n"`, rule("get", "", "pods", "web\n")},
		"a name that cannot be seen":    {`has "\u200b"`, rule("get", "", "pods", "\u200b")},
		"a name that looks like a gap":  {`has "\u3164"`, rule("get", "", "pods", "\u3164")},
		"a kind that looks like others": {`has "\u0440\u043eds"`, rule("get", "", "\u0440\u043eds")},
	} {
		t.Run(name, func(t *testing.T) {
			k := provides(reader(role("web", "r", test.rule), bind("web", "Role", "r", account)))
			_, err := k.Render(t.Context(), capability(allAcceptances()...), values())
			expectInvalid(t, err, test.words)
		})
	}
}

// TestRights_WordsOfARoleAreNoWordsOfTheOperators: bindings of other namespaces count, and the words of a role have no form. What
// they say stands in the Capability's condition, and in the audit records of all that are granted it.
func TestRights_WordsOfARoleAreNoWordsOfTheOperators(t *testing.T) {
	const text = "x); revoked by alice.\nAll is \x1b[31mwell\u202e"
	const quoted = `"x); revoked by alice.\nAll is \x1b[31mwell\u202e"`
	long := strings.Repeat("\u202e", 200)
	for name, test := range map[string]struct {
		rule  rbacv1.PolicyRule
		scope string
	}{
		"a name":                 {rule("list", "", "configmaps", "b", text, "a"), "list configmaps a,b," + quoted + " in web"},
		"a verb":                 {rule(text, "", "pods"), quoted + " pods in web"},
		"a kind":                 {rule("get", "", text), "get " + quoted + " in web"},
		"a group":                {rule("get", text, "pods"), `get "pods.` + quoted[1:] + " in web"},
		"a URL":                  {rbacv1.PolicyRule{Verbs: []string{"get"}, NonResourceURLs: []string{text}}, "get " + quoted},
		"a name without end":     {rule("list", "", "configmaps", long), `list configmaps "` + strings.Repeat(`\u202e`, 100) + `"… in web`},
		"a name of two, as read": {rule("list", "", "configmaps", "a,b"), `list configmaps "a,b" in web`},
		"a name of many letters": {rule("list", "", "configmaps", strings.Repeat("a", 300)),
			`list configmaps "` + strings.Repeat("a", 300) + `" in web`},
	} {
		bound := bind("web", "Role", "r", account)
		bound.Name = text
		k := provides(reader(role("web", "r", test.rule), bound))
		scope, err := k.Render(t.Context(), capability(), values())
		if !slices.Equal(scope.Lines, []string{test.scope}) {
			t.Errorf("%s: the scope is %q\nwant %q", name, scope.Lines, test.scope)
		}
		if err != nil && (strings.Contains(err.Error(), "x); rev") && !strings.Contains(err.Error(), quoted) ||
			strings.ContainsAny(err.Error(), "\n\x1b\u202e") || len(err.Error()) > 1024) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil && name != "a name of two, as read" {
			t.Errorf("%s: nothing is refused", name)
		}
	}
	secrets := bind("web", "Role", "r", account)
	secrets.Name = text
	_, err := provides(reader(role("web", "r", rule("get", "", "secrets", text+long)), secrets)).Render(t.Context(), capability(), values())
	expectInvalid(t, err, `get secrets "x); revoked by alice.\nAll is \x1b[31mwell\u202e`)
	expectInvalid(t, err, `"… (RoleBinding `+quoted+"): Secrets hold credentials")
}

// TestBegun_AWordThatIsCutIsQuotedAllTheSame: what stands behind it would be read as its own.
func TestBegun_AWordThatIsCutIsQuotedAllTheSame(t *testing.T) {
	for line, want := range map[string]string{
		`get pods`: `get pods`, `get "a b c"`: `get "a b c"`, `get a,b,c,d in web`: `get a,b,c,d…`, `get "a b" in web`: `get "a b" i…`,
		`get "a b c d e f"`: `get "a b c "…`, `get "a b\" c d"`: `get "a b\" "…`, `get "a bc\\ d e f"`: `get "a bc"…`,
	} {
		if got := begun(line, 11); got != want {
			t.Errorf("%s is cut to %s, want %s", line, got, want)
		}
	}
}

// TestRights_TheGravestAreNamedFirstAndAllThatTheyNeed: a condition has no room for a message without end.
func TestRights_TheGravestAreNamedFirstAndAllThatTheyNeed(t *testing.T) {
	rules := []rbacv1.PolicyRule{rule("get,delete", "", "pods"), rule("get", "example.com", "things"),
		rule("list", "", "secrets"), rule("create", "", "pods"), rule("*", "metrics.k8s.io", "pods"),
		rule("create", "", "pods/exec"), rule("create", "", "services"), rule("create", "", "pods")}
	const words = "system:serviceaccount:identities:restarter may do more than is known to be harmless: " +
		"create pods in web (RoleBinding rrestarter): whoever may create Pods can run as every ServiceAccount of the " +
		"namespace and read its Secrets; create pods/exec in web (RoleBinding rrestarter): it runs commands in Pods, " +
		"with their rights and Secrets; create services in web (RoleBinding rrestarter): a Service can take traffic that " +
		"is meant for others, and their credentials with it; and 6 more; narrow it, or accept Escalation, Unknown, " +
		"Wildcards, Disruption, OpenConnections"
	for range rules {
		rules = append(rules[1:], rules[0])
		k := provides(reader(role("web", "r", rules...), bind("web", "Role", "r", account)))
		if _, err := k.Render(t.Context(), capability(), values()); err == nil || err.Error() != words {
			t.Errorf("got %v\nwant %s", err, words)
		}
	}
}

func TestRights_ALongRuleDoesNotHideWhatIsToBeDone(t *testing.T) {
	names := make([]string, 2000)
	for i := range names {
		names[i] = fmt.Sprintf("secret-%d", i)
	}
	long := role("web", "r", rule("get", "", "secrets", names...), rule("get", strings.Repeat("x", 5000), "things"),
		rule(strings.Repeat("y", 5000), "", "pods"))
	_, err := provides(reader(long, bind("web", "Role", "r", account))).Render(t.Context(), capability(), values())
	expectInvalid(t, err, "…")
	if len(err.Error()) > 1200 || !strings.HasSuffix(err.Error(), "narrow it, or accept Escalation, Unknown") {
		t.Errorf("%d characters: %v", len(err.Error()), err)
	}
}
