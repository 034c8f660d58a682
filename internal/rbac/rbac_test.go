// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package rbac_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/valetkey/valetkey/internal/rbac"
)

const namespace = "agents"

var (
	getSecrets  = rbac.Access{Verb: "get", Resource: "secrets"}
	approveMine = rbac.Access{Verb: "approve", Group: "valetkey.dev", Resource: "capabilityrequests", Name: "mine"}
)

func role(rules ...rbacv1.PolicyRule) *rbacv1.Role {
	return &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "r"}, Rules: rules}
}

func bound(kind string, subjects ...rbacv1.Subject) *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "b"}, Subjects: subjects,
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind, Name: "r"}}
}

func subject(kind, namespace, name string) rbacv1.Subject {
	return rbacv1.Subject{Kind: kind, Namespace: namespace, Name: name}
}

// TestReader_SubjectsOfABinding gives a role to one subject, and looks who has it.
func TestReader_SubjectsOfABinding(t *testing.T) {
	accounts, alice := rbac.ServiceAccounts(namespace), rbac.User("alice", []string{"developers"})
	for name, row := range map[string]struct {
		bound rbacv1.Subject
		whose rbac.Subjects
		want  string
	}{
		"an account": {subject("ServiceAccount", namespace, "bot"), accounts,
			"system:serviceaccount:agents:bot"},
		"an account of the binding's own": {subject("ServiceAccount", "", "bot"), accounts,
			"system:serviceaccount:agents:bot"},
		"an account of another namespace": {subject("ServiceAccount", "ci", "bot"), accounts, ""},
		"an account by its user name": {subject("User", "", "system:serviceaccount:agents:bot"), accounts,
			"system:serviceaccount:agents:bot"},
		"an account of a longer namespace": {subject("User", "", "system:serviceaccount:agents2:bot"), accounts, ""},
		"all accounts of the namespace": {subject("Group", "", "system:serviceaccounts:agents"), accounts,
			"group system:serviceaccounts:agents"},
		"all accounts": {subject("Group", "", "system:serviceaccounts"), accounts,
			"group system:serviceaccounts"},
		"everybody who is known": {subject("Group", "", "system:authenticated"), accounts,
			"group system:authenticated"},
		"everybody who is not":                {subject("Group", "", "system:unauthenticated"), accounts, ""},
		"all accounts of another namespace":   {subject("Group", "", "system:serviceaccounts:ci"), accounts, ""},
		"a user":                              {subject("User", "", "alice"), alice, "alice"},
		"a user in another case":              {subject("User", "", "Alice"), alice, ""},
		"a star, which is no wildcard":        {subject("User", "", "*"), alice, ""},
		"a group":                             {subject("Group", "", "developers"), alice, "group developers"},
		"a group of which the user is not":    {subject("Group", "", "system:authenticated"), alice, ""},
		"an account that is called as a user": {subject("ServiceAccount", "", "alice"), alice, ""},
		"a kind that the authorizer ignores":  {subject("Robot", "", "alice"), alice, ""},
	} {
		t.Run(name, func(t *testing.T) {
			may := role(
				rbacv1.PolicyRule{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"secrets"}},
			)
			found, err := rbac.Reader{
				Objects: fake.NewClientBuilder().WithObjects(may, bound("Role", row.bound)).Build(),
			}.Of(
				t.Context(),
				namespace,
				row.whose,
				[]rbac.Access{getSecrets},
			)
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			for _, right := range found.List {
				got += right.Subject
			}
			if got != row.want {
				t.Errorf("it is %q's; want %q", got, row.want)
			}
		})
	}
}

// TestReader_RulesOfARole has one rule, and looks what it allows.
// TestReader_NamesAreNoWordsOfTheOperators: the API server takes any text as the name of a binding and of a subject, and
// whoever binds a role in a namespace would write into conditions and audit records.
func TestReader_NamesAreNoWordsOfTheOperators(t *testing.T) {
	const text = "x), which is accepted.\nApproved by \x1b[31malice\u202e (all is well"
	const quoted = `"x), which is accepted.\nApproved by \x1b[31malice\u202e (all is well"`
	may := role(rbacv1.PolicyRule{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"secrets"}})
	for name, row := range map[string]struct {
		binding string
		bound   rbacv1.Subject
		whose   rbac.Subjects
		want    rbac.Right
	}{
		"a binding": {text, subject("ServiceAccount", "", "bot"), rbac.ServiceAccounts(namespace),
			rbac.Right{Subject: "system:serviceaccount:agents:bot", Binding: "RoleBinding " + quoted}},
		"an account by its user name": {"b", subject("User", "", "system:serviceaccount:agents:"+text), rbac.ServiceAccounts(namespace),
			rbac.Right{Subject: `"system:serviceaccount:agents:` + quoted[1:], Binding: "RoleBinding b"}},
		"an account": {"b", subject("ServiceAccount", "", "x y"), rbac.ServiceAccounts(namespace),
			rbac.Right{Subject: `"system:serviceaccount:agents:x y"`, Binding: "RoleBinding b"}},
		"a user that is named as a group is": {"b", subject("User", "", "group developers"), rbac.User("group developers", nil),
			rbac.Right{Subject: `"group developers"`, Binding: "RoleBinding b"}},
		"a group": {"b", subject("Group", "", text), rbac.User("alice", []string{text}),
			rbac.Right{Subject: "group " + quoted, Binding: "RoleBinding b"}},
	} {
		bound := bound("Role", row.bound)
		bound.Name = row.binding
		found, err := rbac.Reader{Objects: fake.NewClientBuilder().WithObjects(may, bound).Build()}.Of(
			context.Background(), namespace, row.whose, []rbac.Access{getSecrets})
		if diff := cmp.Diff([]rbac.Right{row.want}, found.List); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", name, err, diff)
		}
	}
}

func TestReader_RulesOfARole(t *testing.T) {
	rule := func(verb, group, resource string, names ...string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{
			Verbs:         []string{verb},
			APIGroups:     []string{group},
			Resources:     []string{resource},
			ResourceNames: names,
		}
	}
	for name, row := range map[string]struct {
		rule   rbacv1.PolicyRule
		access rbac.Access
		want   bool
	}{
		"the access itself":                       {rule("get", "", "secrets"), getSecrets, true},
		"every verb":                              {rule("*", "", "secrets"), getSecrets, true},
		"every group":                             {rule("get", "*", "secrets"), getSecrets, true},
		"every resource":                          {rule("get", "", "*"), getSecrets, true},
		"another verb":                            {rule("list", "", "secrets"), getSecrets, false},
		"another group":                           {rule("get", "apps", "secrets"), getSecrets, false},
		"a subresource":                           {rule("get", "", "secrets/status"), getSecrets, false},
		"every resource's subresource":            {rule("get", "", "*/status"), getSecrets, false},
		"one name, where none is asked for":       {rule("get", "", "secrets", "x"), getSecrets, false},
		"the empty name, where none is asked for": {rule("get", "", "secrets", ""), getSecrets, true},
		"the name that is asked for": {rule("approve", "valetkey.dev", "capabilityrequests", "other",
			"mine"), approveMine, true},
		"another name than the one asked for": {rule("approve", "valetkey.dev", "capabilityrequests", "other"),
			approveMine, false},
		"no name, where one is asked for": {rule("approve", "valetkey.dev", "capabilityrequests"),
			approveMine, true},
		"a star as a name, which is no wildcard": {rule("approve", "valetkey.dev", "capabilityrequests", "*"),
			approveMine, false},
		"paths of the API server, and no resources": {rbacv1.PolicyRule{Verbs: []string{"get"},
			NonResourceURLs: []string{"*"}}, getSecrets, false},
	} {
		t.Run(name, func(t *testing.T) {
			reader := rbac.Reader{
				Objects: fake.NewClientBuilder().
					WithObjects(role(row.rule), bound("Role", subject("User", "", "alice"))).
					Build(),
			}
			found, err := reader.Of(t.Context(), namespace, rbac.User("alice", nil), []rbac.Access{row.access})
			if err != nil || found.Allows(0) != row.want {
				t.Errorf("allowed: %v, want %v; %v", found.Allows(0), row.want, err)
			}
		})
	}
}

// TestReader_RoleOfABinding: a role that is not there gives nothing, and neither does one of another namespace or kind.
func TestReader_RoleOfABinding(t *testing.T) {
	everything := rbacv1.PolicyRule{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}}
	alice := subject("User", "", "alice")
	elsewhere := role(everything)
	elsewhere.Namespace = "ci"
	foreign := bound("Role", alice)
	foreign.Namespace = "ci"
	clusterRole := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "r"}, Rules: []rbacv1.PolicyRule{everything}}
	everywhere := func(kind string) *rbacv1.ClusterRoleBinding {
		return &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "b"},
			Subjects:   []rbacv1.Subject{alice},
			RoleRef:    rbacv1.RoleRef{Kind: kind, Name: "r"},
		}
	}
	for name, row := range map[string]struct {
		objects []client.Object
		want    []rbac.Right
	}{
		"a Role": {[]client.Object{role(everything), bound("Role", alice)},
			[]rbac.Right{{Subject: "alice", Binding: "RoleBinding b"}}},
		"a ClusterRole, bound in a namespace": {[]client.Object{clusterRole, bound("ClusterRole", alice)},
			[]rbac.Right{{Subject: "alice", Binding: "RoleBinding b"}}},
		"a ClusterRole, bound in the cluster": {[]client.Object{clusterRole, everywhere("ClusterRole")},
			[]rbac.Right{{Subject: "alice", Binding: "ClusterRoleBinding b"}}},
		"a binding of another namespace":       {[]client.Object{elsewhere, foreign}, nil},
		"none of that name":                    {[]client.Object{bound("Role", alice)}, nil},
		"one of another namespace":             {[]client.Object{elsewhere, bound("Role", alice)}, nil},
		"a ClusterRole where a Role is named":  {[]client.Object{clusterRole, bound("Role", alice)}, nil},
		"a Role, bound in the cluster":         {[]client.Object{role(everything), everywhere("Role")}, nil},
		"a kind that the authorizer knows not": {[]client.Object{role(everything), bound("Robot", alice)}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			reader := rbac.Reader{Objects: fake.NewClientBuilder().WithObjects(row.objects...).Build()}
			found, err := reader.Of(t.Context(), namespace, rbac.User("alice", nil), []rbac.Access{getSecrets})
			if diff := cmp.Diff(row.want, found.List); diff != "" || err != nil {
				t.Errorf("%v\n%s", err, diff)
			}
		})
	}
}

// basisOf is what the answer about alice depends on.
func basisOf(t *testing.T, objects client.Reader) string {
	t.Helper()
	reader := rbac.Reader{Objects: objects}
	found, err := reader.Of(t.Context(), namespace, rbac.User("alice", nil), []rbac.Access{getSecrets})
	if err != nil {
		t.Fatal(err)
	}
	return found.Basis
}

// TestReader_BasisChangesWithWhatTheAnswerDependsOn changes one object after the other.
func TestReader_BasisChangesWithWhatTheAnswerDependsOn(t *testing.T) {
	objects := fake.NewClientBuilder().WithObjects(bound("Role", subject("User", "", "alice"))).Build()
	basis := func() string {
		t.Helper()
		return basisOf(t, objects)
	}
	seen := map[string]string{basis(): "at first"}
	named := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: namespace, Name: name} }
	for _, step := range []struct {
		name    string
		change  func(context.Context, client.Client) error
		matters bool
	}{
		{"the role appears", func(ctx context.Context, c client.Client) error { return c.Create(ctx, role()) }, true},
		{"the role changes", func(ctx context.Context, c client.Client) error {
			r := &rbacv1.Role{}
			if err := c.Get(ctx, client.ObjectKeyFromObject(role()), r); err != nil {
				return err
			}
			r.Rules = []rbacv1.PolicyRule{{Verbs: []string{"get"}, APIGroups: []string{""},
				Resources: []string{"pods"}}}
			return c.Update(ctx, r)
		}, true},
		{"another is bound", func(ctx context.Context, c client.Client) error {
			b := bound("Role", subject("User", "", "alice"))
			b.ObjectMeta = named("second")
			return c.Create(ctx, b)
		}, true},
		{"somebody else is bound", func(ctx context.Context, c client.Client) error {
			b := bound("Role", subject("User", "", "bob"))
			b.ObjectMeta = named("third")
			return c.Create(ctx, b)
		}, false},
		{"the binding names another", func(ctx context.Context, c client.Client) error {
			b := &rbacv1.RoleBinding{}
			if err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "b"}, b); err != nil {
				return err
			}
			b.Subjects = []rbacv1.Subject{subject("User", "", "bob")}
			return c.Update(ctx, b)
		}, true},
	} {
		before := basis()
		if err := step.change(t.Context(), objects); err != nil {
			t.Fatal(err)
		}
		switch after := basis(); {
		case (after != before) != step.matters:
			t.Errorf("%s: the basis changed: %v", step.name, after != before)
		case step.matters && seen[after] != "":
			t.Errorf("%s: the basis is the one that was %s", step.name, seen[after])
		default:
			seen[after] = step.name
		}
	}
}

// TestReader_BasisIsTheSameInWhateverOrderBindingsAreListed: a cache has no order.
func TestReader_BasisIsTheSameInWhateverOrderBindingsAreListed(t *testing.T) {
	second := bound("Role", subject("User", "", "alice"))
	second.Name = "second"
	basis := func(reversed bool) string {
		t.Helper()
		listed := interceptor.Funcs{
			List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, o ...client.ListOption) error {
				err := c.List(ctx, list, o...)
				if bindings, is := list.(*rbacv1.RoleBindingList); is && reversed {
					slices.Reverse(bindings.Items)
				}
				return err
			},
		}
		objects := fake.NewClientBuilder().
			WithObjects(role(), bound("Role", subject("User", "", "alice")), second).
			WithInterceptorFuncs(listed).
			Build()
		return basisOf(t, objects)
	}
	if basis(false) != basis(true) {
		t.Error("it depends on the order")
	}
}

// TestReader_WhatCannotBeReadIsNoAnswer has each kind of look-up fail in turn.
func TestReader_WhatCannotBeReadIsNoAnswer(t *testing.T) {
	broken := errors.New("the cache is not filled")
	stored := []client.Object{role(), bound("Role", subject("User", "", "alice"))}
	for name, fails := range map[string]interceptor.Funcs{
		"listing bindings of the cluster": {List: func(ctx context.Context, c client.WithWatch,
			list client.ObjectList, o ...client.ListOption) error {
			if _, is := list.(*rbacv1.ClusterRoleBindingList); is {
				return broken
			}
			return c.List(ctx, list, o...)
		}},
		"listing bindings of the namespace": {List: func(ctx context.Context, c client.WithWatch,
			list client.ObjectList, o ...client.ListOption) error {
			if _, is := list.(*rbacv1.RoleBindingList); is {
				return broken
			}
			return c.List(ctx, list, o...)
		}},
		"looking up a role": {Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object,
			...client.GetOption) error {
			return broken
		}},
	} {
		t.Run(name, func(t *testing.T) {
			reader := rbac.Reader{
				Objects: fake.NewClientBuilder().WithObjects(stored...).WithInterceptorFuncs(fails).Build(),
			}
			if found, err := reader.Of(
				t.Context(),
				namespace,
				rbac.User("alice", nil),
				[]rbac.Access{getSecrets},
			); !errors.Is(
				err,
				broken,
			) {
				t.Errorf("found %+v, %v", found, err)
			}
		})
	}
}

// TestReader_LooksAtNoMoreThanItSays: whoever administers a namespace can bind any number of roles to its accounts.
func TestReader_LooksAtNoMoreThanItSays(t *testing.T) {
	everybody := subject("Group", "", "system:serviceaccounts:agents")
	large := rbacv1.PolicyRule{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: make([]string, 1000)}
	secrets := rbacv1.PolicyRule{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"secrets"}}
	for name, row := range map[string]struct {
		bindings, subjects, roles int
		rule                      rbacv1.PolicyRule
		name                      string
		tooMany                   bool
	}{
		"a few":                              {3, 3, 3, large, "b", false},
		"many bindings of one role":          {2000, 1, 1, large, "b", false},
		"many bindings of many roles":        {2000, 1, 2000, large, "b", true},
		"many subjects":                      {1100, 1000, 1, rbacv1.PolicyRule{}, "b", true},
		"many who may":                       {200, 100, 1, secrets, "b", true},
		"fewer who may":                      {100, 90, 1, secrets, "b", false},
		"as many, by bindings of long names": {100, 90, 1, secrets, strings.Repeat("\U0001D11E", 60), true},
	} {
		t.Run(name, func(t *testing.T) {
			var stored cached
			for i := range row.roles {
				r := role(row.rule)
				r.Name = fmt.Sprint("r", i)
				stored.roles = append(stored.roles, r)
			}
			for i := range row.bindings {
				b := bound("Role", slices.Repeat([]rbacv1.Subject{everybody}, row.subjects)...)
				b.Name, b.RoleRef.Name = fmt.Sprint(row.name, i), fmt.Sprint("r", i%row.roles)
				stored.bindings = append(stored.bindings, *b)
			}
			found, err := rbac.Reader{Objects: stored}.Of(t.Context(), namespace, rbac.ServiceAccounts(namespace), []rbac.Access{getSecrets})
			if err != nil || found.TooMany != row.tooMany || found.TooMany && len(found.List) > 0 {
				t.Errorf("too many: %t, and %d rights; %v", found.TooMany, len(found.List), err)
			}
		})
	}
}

// cached answers as the operator's cache does, in no time.
type cached struct {
	client.Reader
	roles    []*rbacv1.Role
	bindings []rbacv1.RoleBinding
}

func (c cached) Get(_ context.Context, key client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	var at int
	if _, err := fmt.Sscanf(key.Name, "r%d", &at); err != nil {
		return err
	}
	c.roles[at].DeepCopyInto(into.(*rbacv1.Role))
	return nil
}

func (c cached) List(_ context.Context, into client.ObjectList, _ ...client.ListOption) error {
	if list, is := into.(*rbacv1.RoleBindingList); is {
		list.Items = c.bindings
	}
	return nil
}
