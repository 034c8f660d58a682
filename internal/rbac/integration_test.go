// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package rbac_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/hack/localcluster"
	"github.com/valetkey/valetkey/hack/localcluster/clustertest"
	"github.com/valetkey/valetkey/internal/rbac"
)

// generated is the seed of the roles and bindings, so that a failure can be repeated.
const generated = 20261130

// scenario is a namespace of a real API server with generated roles and bindings.
type scenario struct {
	*testing.T
	admin     client.Client
	random    *rand.Rand
	namespace string
	objects   []client.Object
}

// TestReader_AgreesWithTheAuthorizer asks a real API server and the Reader the same questions about roles and
// bindings that are generated, and changed, at random.
func TestReader_AgreesWithTheAuthorizer(t *testing.T) {
	const scenarios = 20
	admin := realServer(t)
	random := rand.New(rand.NewPCG(generated, 0))
	questions, yes := 0, 0
	for i := range scenarios {
		s := &scenario{T: t, admin: admin, random: random, namespace: fmt.Sprintf("generated-%d", i)}
		s.store(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.namespace}})
		s.generate()
		for _, change := range []func(){func() {}, s.removeSome, s.rewriteSome} {
			change()
			s.settle()
			asked, allowed := s.compare()
			questions, yes = questions+asked, yes+allowed
		}
		for _, object := range s.objects {
			if err := client.IgnoreNotFound(admin.Delete(t.Context(), object)); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Logf("%d questions, of which %d were answered with yes, seed %d", questions, yes, uint64(generated))
	if yes < questions/20 || yes > questions*19/20 {
		t.Errorf("%d of %d answers are yes: the roles and bindings are not telling", yes, questions)
	}
}

func realServer(t *testing.T) client.Client {
	t.Helper()
	cluster := clustertest.Start(t, localcluster.Options{Fast: true})
	admin, err := client.New(cluster.AdminConfig(), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return admin
}

func (s *scenario) store(object client.Object) {
	s.Helper()
	if err := s.admin.Create(s.Context(), object); err != nil {
		s.Fatal(err)
	}
	s.objects = append(s.objects, object)
}

func pick[T any](s *scenario, from ...T) T { return from[s.random.IntN(len(from))] }

// some picks up to three.
func some[T any](s *scenario, from ...T) []T {
	all := make([]T, 1+s.random.IntN(3))
	for i := range all {
		all[i] = pick(s, from...)
	}
	return all
}

func (s *scenario) rules() []rbacv1.PolicyRule {
	rules := make([]rbacv1.PolicyRule, s.random.IntN(3))
	for i := range rules {
		rules[i] = rbacv1.PolicyRule{
			Verbs:     some(s, "get", "list", "watch", "approve", "create", "Get", "*"),
			APIGroups: some(s, "", "", "valetkey.dev", "apps", "*"),
			Resources: some(
				s,
				"secrets",
				"capabilityrequests",
				"secrets/status",
				"*/status",
				"secrets/*",
				"pods",
				"*",
			),
			ResourceNames: pick(s, nil, nil, []string{"x"}, []string{""}, []string{"y", "x"}, []string{"*"}),
		}
	}
	return rules
}

func (s *scenario) meta(prefix string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: s.namespace, GenerateName: prefix + "-"}
}

// clusterMeta is for what has no namespace; the label keeps one scenario's aggregated roles from another's.
func (s *scenario) clusterMeta(prefix string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		GenerateName: s.namespace + "-" + prefix + "-",
		Labels:       map[string]string{"generated": s.namespace + pick(s, "", "-not")},
	}
}

func (s *scenario) subjects(home string) []rbacv1.Subject {
	group := func(name string) rbacv1.Subject {
		return rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: name}
	}
	user := func(name string) rbacv1.Subject {
		return rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: name}
	}
	account := func(namespace, name string) rbacv1.Subject {
		return rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: name}
	}
	return some(
		s,
		account(s.namespace, "a"),
		account(s.namespace, "b"),
		account("elsewhere", "a"),
		account(home, "a"),
		account(home, "b"),
		account(home, "b"),
		user(
			"alice",
		),
		user("system:serviceaccount:"+s.namespace+":a"),
		user("system:serviceaccount:"+s.namespace+"-x:a"),
		user("*"),
		user("ALICE"),
		group(
			"developers",
		),
		group("system:serviceaccounts"),
		group("system:serviceaccounts:"+s.namespace),
		group("system:serviceaccounts:elsewhere"),
		group("system:authenticated"),
		group("*"),
		group("alice"),
	)
}

func (s *scenario) generate() {
	s.Helper()
	const of = 6
	var roles, clusterRoles []string
	for range of {
		role := &rbacv1.Role{ObjectMeta: s.meta("role"), Rules: s.rules()}
		s.store(role)
		everywhere := &rbacv1.ClusterRole{ObjectMeta: s.clusterMeta("role"), Rules: s.rules()}
		s.store(everywhere)
		roles, clusterRoles = append(roles, role.Name), append(clusterRoles, everywhere.Name)
	}
	aggregated := &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: s.namespace + "-aggregated"},
		AggregationRule: &rbacv1.AggregationRule{
			ClusterRoleSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{"generated": s.namespace}}}},
	}
	s.store(aggregated)
	roles, clusterRoles = append(
		roles,
		"missing",
	), append(
		clusterRoles,
		aggregated.Name,
		s.namespace+"-missing",
		"view",
	)
	for range of {
		ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: pick(s, roles...)}
		if s.random.IntN(2) == 0 {
			ref = rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: pick(s, clusterRoles...)}
		}
		s.store(&rbacv1.RoleBinding{ObjectMeta: s.meta("binding"), RoleRef: ref, Subjects: s.subjects("")})
	}
	for range of / 3 {
		s.store(&rbacv1.ClusterRoleBinding{ObjectMeta: s.clusterMeta("binding"), Subjects: s.subjects(s.namespace),
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: pick(s, clusterRoles...)}})
	}
}

// removeSome takes roles away under their bindings, and bindings.
func (s *scenario) removeSome() {
	s.Helper()
	for _, object := range s.objects {
		if _, isNamespace := object.(*corev1.Namespace); isNamespace || s.random.IntN(4) > 0 {
			continue
		}
		if err := client.IgnoreNotFound(s.admin.Delete(s.Context(), object)); err != nil {
			s.Fatal(err)
		}
	}
}

// rewriteSome changes what roles give and whom bindings name.
func (s *scenario) rewriteSome() {
	s.Helper()
	for _, object := range s.objects {
		if s.admin.Get(s.Context(), client.ObjectKeyFromObject(object), object) != nil || s.random.IntN(2) == 0 {
			continue // it was removed, or stays
		}
		switch o := object.(type) {
		case *rbacv1.Role:
			o.Rules = s.rules()
		case *rbacv1.ClusterRole:
			if o.AggregationRule != nil {
				continue
			}
			o.Rules = s.rules()
		case *rbacv1.RoleBinding:
			o.Subjects = s.subjects("")
		case *rbacv1.ClusterRoleBinding:
			o.Subjects = s.subjects(s.namespace)
		default:
			continue
		}
		if err := s.admin.Update(s.Context(), object); err != nil {
			s.Fatal(err)
		}
	}
}

// settle returns when the authorizer knows what is stored: it sees objects of each kind in the order in which they
// were written, so that it has seen all once it knows the last of each kind. What is aggregated has to be written
// first.
func (s *scenario) settle() {
	s.Helper()
	s.until("aggregated", s.isAggregated)
	name := metav1.ObjectMeta{Namespace: s.namespace, Name: fmt.Sprintf("%s-settled-%d", s.namespace, len(s.objects))}
	marker := func(kind string) rbacv1.RoleRef {
		return rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind, Name: name.Name}
	}
	rules := func(resource string) []rbacv1.PolicyRule {
		return []rbacv1.PolicyRule{
			{APIGroups: []string{"settled"}, Resources: []string{resource + name.Name}, Verbs: []string{"get"}},
		}
	}
	subjects := []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "settled"}}
	s.store(&rbacv1.Role{ObjectMeta: name, Rules: rules("here")})
	s.store(&rbacv1.RoleBinding{ObjectMeta: name, RoleRef: marker("Role"), Subjects: subjects})
	name.Namespace = ""
	s.store(&rbacv1.ClusterRole{ObjectMeta: name, Rules: rules("everywhere")})
	s.store(&rbacv1.ClusterRoleBinding{ObjectMeta: name, RoleRef: marker("ClusterRole"), Subjects: subjects})
	for _, resource := range []string{"here", "everywhere"} {
		s.until("known to the authorizer", func() bool {
			return s.ask("settled", nil, rbac.Access{Verb: "get", Group: "settled", Resource: resource + name.Name})
		})
	}
}

// isAggregated reports whether the controller manager has written into the aggregated role what the roles it
// selects give.
func (s *scenario) isAggregated() bool {
	s.Helper()
	aggregated := &rbacv1.ClusterRole{}
	if err := s.admin.Get(s.Context(), client.ObjectKey{Name: s.namespace + "-aggregated"}, aggregated); err != nil {
		return client.IgnoreNotFound(err) == nil
	}
	selected := &rbacv1.ClusterRoleList{}
	if err := s.admin.List(s.Context(), selected, client.MatchingLabels{"generated": s.namespace}); err != nil {
		s.Fatal(err)
	}
	texts := func(rules []rbacv1.PolicyRule) []string {
		var all []string
		for _, r := range rules {
			all = append(all, r.String())
		}
		slices.Sort(all)
		return slices.Compact(all)
	}
	var all []rbacv1.PolicyRule
	for _, role := range selected.Items {
		all = append(all, role.Rules...)
	}
	return slices.Equal(texts(all), texts(aggregated.Rules))
}

// until asks again and again: the authorizer shows what it knows in no other way.
func (s *scenario) until(what string, done func() bool) {
	s.Helper()
	err := wait.PollUntilContextTimeout(
		s.Context(),
		5*time.Millisecond,
		time.Minute,
		true,
		func(context.Context) (bool, error) { return done(), nil },
	)
	if err != nil {
		s.Fatalf("%s is not %s: %v", s.namespace, what, err)
	}
}

func (s *scenario) ask(name string, groups []string, access rbac.Access) bool {
	s.Helper()
	resource, subresource, _ := strings.Cut(access.Resource, "/")
	review := &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{
			User:   name,
			Groups: groups,
			ResourceAttributes: &authorizationv1.ResourceAttributes{
				Namespace:   s.namespace,
				Verb:        access.Verb,
				Group:       access.Group,
				Resource:    resource,
				Subresource: subresource,
				Name:        access.Name,
			},
		},
	}
	if err := s.admin.Create(s.Context(), review); err != nil {
		s.Fatal(err)
	}
	return review.Status.Allowed
}

// compare asks both about everybody, and returns how many questions there were and how many were answered with yes.
func (s *scenario) compare() (questions, yes int) {
	s.Helper()
	accesses := []rbac.Access{
		{Verb: "get", Resource: "secrets"}, {Verb: "list", Resource: "secrets"}, {Verb: "watch", Resource: "secrets"},
		{Verb: "get", Resource: "secrets", Name: "x"}, {Verb: "get", Resource: "secrets/status", Name: "y"},
		{Verb: "approve", Group: "valetkey.dev", Resource: "capabilityrequests", Name: "x"},
		{Verb: "approve", Group: "valetkey.dev", Resource: "capabilityrequests"},
	}
	reader := rbac.Reader{Objects: s.admin}
	everybody, err := reader.Of(s.Context(), s.namespace, rbac.ServiceAccounts(s.namespace), accesses)
	if err != nil {
		s.Fatal(err)
	}
	account := func(namespace, name string) (string, []string) {
		return "system:serviceaccount:" + namespace + ":" + name, rbac.GroupsOf(namespace)
	}
	users := map[string][]string{
		"alice": {"system:authenticated"},
		"bob":   {"developers", "system:authenticated"},
		"carol": nil,
	}
	for _, of := range [][2]string{{s.namespace, "a"}, {s.namespace, "b"}, {s.namespace, "new"}, {"elsewhere", "a"}} {
		name, groups := account(of[0], of[1])
		users[name] = groups
	}
	for name, groups := range users {
		rights, err := reader.Of(s.Context(), s.namespace, rbac.User(name, groups), accesses)
		if err != nil {
			s.Fatal(err)
		}
		for i, access := range accesses {
			real := s.ask(name, groups, access)
			questions++
			if real {
				yes++
			}
			if rights.Allows(i) != real {
				s.Errorf(
					"%s: may %s %v %+v: the authorizer says %v, and the Reader %v",
					s.namespace,
					name,
					groups,
					access,
					real,
					rights.Allows(i),
				)
			}
			inside := strings.HasPrefix(name, "system:serviceaccount:"+s.namespace+":")
			if among := concerns(everybody, i, name, groups); inside && among != real {
				s.Errorf(
					"%s: may %s %+v: the authorizer says %v, and among all accounts it is %v",
					s.namespace,
					name,
					access,
					real,
					among,
				)
			}
		}
	}
	return questions, yes
}

// concerns reports whether a right of all accounts is also this account's.
func concerns(rights rbac.Rights, access int, name string, groups []string) bool {
	return slices.ContainsFunc(rights.List, func(r rbac.Right) bool {
		group, isGroup := strings.CutPrefix(r.Subject, "group ")
		return r.Access == access && (r.Subject == name || isGroup && slices.Contains(groups, group))
	})
}
