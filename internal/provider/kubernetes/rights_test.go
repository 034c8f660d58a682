// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/provider"
)

func reader(objects ...client.Object) client.Reader {
	return fake.NewClientBuilder().WithScheme(clientgoscheme.Scheme).WithObjects(objects...).Build()
}

func provides(r client.Reader) *Provider { return New(Options{Namespace: "identities", Roles: r}) }

func capability(accept ...v1alpha1.KubernetesAcceptance) *v1alpha1.Capability {
	return &v1alpha1.Capability{ObjectMeta: metav1.ObjectMeta{Name: "restart"},
		Spec: v1alpha1.CapabilitySpec{Kubernetes: &v1alpha1.KubernetesCapability{ServiceAccountName: "restarter", Accept: accept}}}
}

func values() provider.Values {
	return provider.Values{Repo: "web-app", Environment: "preview", Namespace: "agents"}
}

func role(namespace, name string, rules ...rbacv1.PolicyRule) *rbacv1.Role {
	return &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Rules: rules}
}

func clusterRole(name string, rules ...rbacv1.PolicyRule) *rbacv1.ClusterRole {
	return &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}
}

func rule(verbs, group, resources string, names ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{Verbs: strings.Split(verbs, ","), APIGroups: []string{group}, Resources: strings.Split(resources, ","), ResourceNames: names}
}

var account = rbacv1.Subject{Kind: "ServiceAccount", Namespace: "identities", Name: "restarter"}

func bind(namespace, kind, name string, subject rbacv1.Subject) *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name + subject.Name}, RoleRef: rbacv1.RoleRef{Kind: kind, Name: name}, Subjects: []rbacv1.Subject{subject}}
}

func bindEverywhere(name string, subject rbacv1.Subject, labels map[string]string) *rbacv1.ClusterRoleBinding {
	return &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name + strings.ReplaceAll(subject.Name, ":", "-"), Labels: labels}, RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: name}, Subjects: []rbacv1.Subject{subject}}
}

func group(name string) rbacv1.Subject { return rbacv1.Subject{Kind: "Group", Name: name} }

func TestTheScopeIsWhatIsBound(t *testing.T) {
	pods := role("web", "pods", rule("list,get", "", "pods,pods/log"), rule("patch", "apps", "deployments", "web", "api"))
	nodes := clusterRole("nodes", rule("get", "", "nodes"), rbacv1.PolicyRule{Verbs: []string{"get"}, NonResourceURLs: []string{"/metrics"}})
	inWeb := []string{"get,list pods in web", "get,list pods/log in web", "patch deployments.apps api,web in web"}
	everywhere := []string{"get /metrics", "get nodes everywhere"}
	tests := []struct {
		name    string
		objects []client.Object
		want    []string
	}{
		{"a role in a namespace", []client.Object{pods, bind("web", "Role", "pods", account)}, inWeb},
		{"twice the same", []client.Object{pods, bind("web", "Role", "pods", account), bind("web", "Role", "pods", group("system:serviceaccounts"))}, inWeb},
		{"a cluster role in a namespace", []client.Object{clusterRole("edit", rule("get", "", "pods")), bind("web", "ClusterRole", "edit", account)}, []string{"get pods in web"}},
		{"a cluster role everywhere", []client.Object{nodes, bindEverywhere("nodes", account, nil)}, everywhere},
		{"by its user name", []client.Object{pods, bind("web", "Role", "pods", rbacv1.Subject{Kind: "User", Name: "system:serviceaccount:identities:restarter"})}, inWeb},
		{"by the group of its namespace", []client.Object{pods, bind("web", "Role", "pods", group("system:serviceaccounts:identities"))}, inWeb},
		{"by the group of everybody", []client.Object{nodes, bindEverywhere("nodes", group("system:authenticated"), nil)}, everywhere},
		{"in its own namespace, which a subject need not name", []client.Object{role("identities", "own", rule("get", "", "pods")),
			bind("identities", "Role", "own", rbacv1.Subject{Kind: "ServiceAccount", Name: "restarter"})}, []string{"get pods in identities"}},
		{"both", []client.Object{pods, nodes, bind("web", "Role", "pods", account), bindEverywhere("nodes", account, nil)}, []string{everywhere[0], everywhere[1], inWeb[0], inWeb[1], inWeb[2]}},
		{"what others have is not its own", []client.Object{pods, nodes, bind("web", "Role", "pods", account), bindEverywhere("nodes", rbacv1.Subject{Kind: "ServiceAccount", Namespace: "other", Name: "restarter"}, nil),
			bind("other", "ClusterRole", "nodes", rbacv1.Subject{Kind: "ServiceAccount", Name: "restarter"})}, inWeb},
		{"what the cluster gives everybody is left out", []client.Object{pods, nodes, bind("web", "Role", "pods", account), bindEverywhere("nodes", group("system:authenticated"), map[string]string{bootstrapped: "rbac-defaults"})}, inWeb},
		{"a role that is not there gives nothing", []client.Object{pods, bind("web", "Role", "pods", account), bind("web", "Role", "gone", account), bindEverywhere("gone", account, nil)}, inWeb},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			scope, err := provides(reader(test.objects...)).Render(t.Context(), capability(), values())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, scope.Lines); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if scope.Principal != "system:serviceaccount:identities:restarter" {
				t.Errorf("the principal is %s", scope.Principal)
			}
		})
	}
}

func TestRightsThatNobodyCanJudgeAreRefused(t *testing.T) {
	many := rule("get", "", "pods")
	for i := range provider.MostActions {
		many.Resources = append(many.Resources, fmt.Sprintf("things%d", i))
	}
	tests := []struct {
		name, words string
		accept      v1alpha1.KubernetesAcceptance
		rules       []rbacv1.PolicyRule
	}{
		{"none", "no role is bound to system:serviceaccount:identities:restarter", "", nil},
		{"any verb", "says *: * pods in web; narrow it, or accept Wildcards", v1alpha1.AcceptWildcards, []rbacv1.PolicyRule{rule("*", "", "pods")}},
		{"any resource", "says *", v1alpha1.AcceptWildcards, []rbacv1.PolicyRule{rule("get", "", "*")}},
		{"any subresource", "says *", v1alpha1.AcceptWildcards, []rbacv1.PolicyRule{rule("get", "", "pods/*")}},
		{"a subresource of anything", "says *", v1alpha1.AcceptWildcards, []rbacv1.PolicyRule{rule("update", "", "*/scale")}},
		{"any group", "says *", v1alpha1.AcceptWildcards, []rbacv1.PolicyRule{rule("get", "*", "pods")}},
		{"any URL", "says *", v1alpha1.AcceptWildcards, []rbacv1.PolicyRule{{Verbs: []string{"get"}, NonResourceURLs: []string{"/api/*"}}}},
		{"a wildcard after a narrow rule", "says *", v1alpha1.AcceptWildcards, []rbacv1.PolicyRule{rule("get", "", "pods"), rule("*", "*", "*")}},
		{"impersonating", "lets it gain other rights", v1alpha1.AcceptEscalation, []rbacv1.PolicyRule{rule("impersonate", "", "users")}},
		{"binding", "lets it gain other rights", v1alpha1.AcceptEscalation, []rbacv1.PolicyRule{rule("bind", "rbac.authorization.k8s.io", "clusterroles")}},
		{"escalating", "lets it gain other rights", v1alpha1.AcceptEscalation, []rbacv1.PolicyRule{rule("escalate", "rbac.authorization.k8s.io", "roles")}},
		{"signing certificates", "lets it gain other rights", v1alpha1.AcceptEscalation, []rbacv1.PolicyRule{rule("sign", "certificates.k8s.io", "signers")}},
		{"making tokens", "lets it gain other rights", v1alpha1.AcceptEscalation, []rbacv1.PolicyRule{rule("create", "", "serviceaccounts/token")}},
		{"more rules than a grant shows", "have 129 rules", "", []rbacv1.PolicyRule{many}},
		{"a rule longer than a grant shows", "is longer than 256 characters", "", []rbacv1.PolicyRule{rule("get", "", "pods", strings.Repeat("a", 250))}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			k := provides(reader(role("web", "r", test.rules...), bind("web", "Role", "r", account)))
			_, err := k.Render(t.Context(), capability(), values())
			problem := (*provider.NotReadyError)(nil)
			if !errors.As(err, &problem) || problem.Reason != v1alpha1.ReasonScopeInvalid || !strings.Contains(problem.Message, test.words) {
				t.Errorf("got %v, want a scope that is invalid: %s", err, test.words)
			}
			if test.accept == "" {
				return
			}
			if _, err := k.Render(t.Context(), capability(test.accept), values()); err != nil {
				t.Errorf("it is accepted in as many words, and refused: %v", err)
			}
		})
	}
}

// TestRights_WhatIsRefusedIsStillShown: what was approved before ends because its scope is another one now.
func TestRights_WhatIsRefusedIsStillShown(t *testing.T) {
	k := provides(reader(role("web", "r", rule("get", "", "pods"), rule("bind", "rbac.authorization.k8s.io", "roles")),
		bind("web", "Role", "r", account)))
	scope, err := k.Render(t.Context(), capability(), values())
	lines := []string{"bind roles.rbac.authorization.k8s.io in web", "get pods in web"}
	if diff := cmp.Diff(lines, scope.Lines); err == nil || diff != "" || scope.Principal == "" {
		t.Errorf("%v, as %q (-want +got):\n%s", err, scope.Principal, diff)
	}
}

// TestWhatCannotBeLookedUpIsNotTakenForNothing sees that a lookup that fails makes no narrower scope.
func TestWhatCannotBeLookedUpIsNotTakenForNothing(t *testing.T) {
	for _, kind := range []string{"*v1.ClusterRoleBindingList", "*v1.RoleBindingList", "*v1.Role", "*v1.ClusterRole"} {
		t.Run(kind, func(t *testing.T) {
			broken := func(o any) error {
				if fmt.Sprintf("%T", o) == kind {
					return errors.New("very-secret-words of the API server")
				}
				return nil
			}
			r := fake.NewClientBuilder().WithScheme(clientgoscheme.Scheme).
				WithObjects(role("web", "r", rule("get", "", "pods")), bind("web", "Role", "r", account), clusterRole("c", rule("get", "", "nodes")), bindEverywhere("c", account, nil)).
				WithInterceptorFuncs(interceptor.Funcs{
					Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
						if err := broken(o); err != nil {
							return err
						}
						return c.Get(ctx, key, o, opts...)
					},
					List: func(ctx context.Context, c client.WithWatch, o client.ObjectList, opts ...client.ListOption) error {
						if err := broken(o); err != nil {
							return err
						}
						return c.List(ctx, o, opts...)
					},
				}).Build()
			scope, err := provides(r).Render(t.Context(), capability(), values())
			problem := (*provider.NotReadyError)(nil)
			if err == nil || errors.As(err, &problem) || len(scope.Lines) > 0 || strings.Contains(err.Error(), "secret") {
				t.Errorf("got %v and %v, want an error that says nothing of the capability, nor the API server's words", scope.Lines, err)
			}
		})
	}
}

func TestTheNamespaceOfCommandsIsTheOneThereIs(t *testing.T) {
	one, two := right{namespace: "web"}, right{namespace: "api"}
	for _, test := range []struct {
		all  rights
		want string
	}{{rights{one, one}, "web"}, {rights{one, two}, ""}, {rights{one, {}}, ""}, {rights{{}}, ""}} {
		if got := test.all.namespace(); got != test.want {
			t.Errorf("%v: %q", test.all, got)
		}
	}
}
