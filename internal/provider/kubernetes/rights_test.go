// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

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

func provides(r client.Reader) *Provider {
	return New(Options{Namespace: "identities", OperatorNamespace: "valetkey-system", Roles: r})
}

func capability(accept ...v1alpha1.KubernetesAcceptance) *v1alpha1.Capability {
	return &v1alpha1.Capability{ObjectMeta: metav1.ObjectMeta{Name: "restart"},
		Spec: v1alpha1.CapabilitySpec{Kubernetes: &v1alpha1.KubernetesCapability{ServiceAccountName: "restarter",
			Accept: accept}}}
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
	return rbacv1.PolicyRule{Verbs: strings.Split(verbs, ","), APIGroups: []string{group},
		Resources: strings.Split(resources, ","), ResourceNames: names}
}

var account = rbacv1.Subject{Kind: "ServiceAccount", Namespace: "identities", Name: "restarter"}

func bind(namespace, kind, name string, subject rbacv1.Subject) *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name + subject.Name},
		RoleRef: rbacv1.RoleRef{Kind: kind, Name: name}, Subjects: []rbacv1.Subject{subject}}
}

func bindEverywhere(name string, subject rbacv1.Subject, labels map[string]string) *rbacv1.ClusterRoleBinding {
	return &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name +
		strings.ReplaceAll(subject.Name, ":",
			"-"), Labels: labels}, RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: name}, Subjects: []rbacv1.Subject{subject}}
}

func group(name string) rbacv1.Subject { return rbacv1.Subject{Kind: "Group", Name: name} }

func TestTheScopeIsWhatIsBound(t *testing.T) {
	pods := role("web", "pods", rule("list,get", "", "pods,pods/log"), rule("get", "apps", "deployments", "web", "api"))
	nodes := clusterRole("nodes", rule("get", "", "nodes"),
		rbacv1.PolicyRule{Verbs: []string{"get"}, NonResourceURLs: []string{"/metrics"}})
	inWeb := []string{"get deployments.apps api,web in web", "get,list pods in web", "get,list pods/log in web"}
	everywhere := []string{"get /metrics", "get nodes everywhere"}
	other := rbacv1.Subject{Kind: "ServiceAccount", Namespace: "other", Name: "restarter"}
	unnamed := rbacv1.Subject{Kind: "ServiceAccount", Name: "restarter"}
	tests := []struct {
		name    string
		objects []client.Object
		want    []string
	}{
		{"a role in a namespace", []client.Object{pods, bind("web", "Role", "pods", account)}, inWeb},
		{"twice the same", []client.Object{pods, bind("web", "Role", "pods", account),
			bind("web", "Role", "pods", group("system:serviceaccounts"))}, inWeb},
		{"a cluster role in a namespace", []client.Object{clusterRole("look", rule("get", "", "pods")),
			bind("web", "ClusterRole", "look", account)}, []string{"get pods in web"}},
		{"a cluster role that others are aggregated into", []client.Object{aggregated("look", rule("get", "", "pods")),
			bind("web", "ClusterRole", "look", account)}, []string{"get pods in web"}},
		{"a cluster role everywhere", []client.Object{nodes, bindEverywhere("nodes", account, nil)}, everywhere},
		{"by its user name", []client.Object{pods,
			bind("web", "Role", "pods",
				rbacv1.Subject{Kind: "User", Name: "system:serviceaccount:identities:restarter"})}, inWeb},
		{"by the group of its namespace",
			[]client.Object{pods, bind("web", "Role", "pods", group("system:serviceaccounts:identities"))}, inWeb},
		{"by the group of everybody", []client.Object{nodes, bindEverywhere("nodes", group("system:authenticated"), nil)},
			everywhere},
		{"by the group of everybody, with the label of what the cluster made", []client.Object{nodes,
			bindEverywhere("nodes", group("system:authenticated"), defaults)}, everywhere},
		{"in its own namespace, which a subject need not name",
			[]client.Object{role("identities", "own", rule("get", "", "pods")),
				bind("identities", "Role", "own", unnamed)}, []string{"get pods in identities"}},
		{"both", []client.Object{pods, nodes, bind("web", "Role", "pods", account), bindEverywhere("nodes", account, nil)},
			[]string{everywhere[0], inWeb[0], everywhere[1], inWeb[1], inWeb[2]}},
		{"what others have is not its own", []client.Object{pods, nodes, bind("web", "Role", "pods", account),
			bindEverywhere("nodes", other, nil), bind("other", "ClusterRole", "nodes", unnamed)}, inWeb},
		{"nor what whoever has no token has", []client.Object{pods, nodes, bind("web", "Role", "pods", account),
			bindEverywhere("nodes", group("system:unauthenticated"), nil)}, inWeb},
		{"what every cluster gives everybody is left out", append(everybody(), pods, bind("web", "Role", "pods", account)),
			inWeb},
		{"however it is bound", []client.Object{pods, bind("web", "Role", "pods", account), everybody()[0],
			bindEverywhere("system:basic-user", account, nil)}, inWeb},
		{"a role that is not there gives nothing", []client.Object{pods, bind("web", "Role", "pods", account),
			bind("web", "Role", "gone", account), bindEverywhere("gone", account, nil)}, inWeb},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			scope, err := provides(reader(test.objects...)).Render(t.Context(), capability(v1alpha1.AcceptClusterWide,
				v1alpha1.AcceptOpenConnections), values())
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

// defaults is the label of what Kubernetes itself binds.
var defaults = map[string]string{"kubernetes.io/bootstrapping": "rbac-defaults"}

// everybody is what Kubernetes 1.37 binds to groups that every ServiceAccount is in: five roles, and then their
// bindings.
func everybody() []client.Object {
	urls := func(urls ...string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{Verbs: []string{"get"}, NonResourceURLs: urls}
	}
	roles := []client.Object{
		clusterRole("system:basic-user",
			rule("create", "authorization.k8s.io", "selfsubjectaccessreviews,selfsubjectrulesreviews"),
			rule("create", "authentication.k8s.io", "selfsubjectreviews")),
		clusterRole("system:discovery",
			urls("/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/openapi", "/openapi/*", "/readyz",
				"/version", "/version/")),
		clusterRole("system:public-info-viewer", urls("/healthz", "/livez", "/readyz", "/version", "/version/")),
		clusterRole("system:cluster-trust-bundle-discovery",
			rule("get,list,watch", "certificates.k8s.io", "clustertrustbundles")),
		clusterRole("system:service-account-issuer-discovery",
			urls("/.well-known/openid-configuration", "/.well-known/openid-configuration/",
				"/openid/v1/jwks", "/openid/v1/jwks/")),
	}
	all := roles
	for i, role := range roles {
		who := "system:authenticated"
		if i > 2 {
			who = "system:serviceaccounts"
		}
		all = append(all, bindEverywhere(role.GetName(), group(who), defaults))
	}
	return all
}

// aggregated is a ClusterRole as the controller leaves it: with the rules of those that its selectors match.
func aggregated(name string, rules ...rbacv1.PolicyRule) *rbacv1.ClusterRole {
	role := clusterRole(name, rules...)
	selector := metav1.LabelSelector{MatchLabels: map[string]string{"to": name}}
	role.AggregationRule = &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{selector}}
	return role
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
				WithObjects(role("web", "r", rule("get", "", "pods")), bind("web", "Role", "r", account),
					clusterRole("c", rule("get", "", "nodes")), bindEverywhere("c", account, nil)).
				WithInterceptorFuncs(interceptor.Funcs{
					Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object,
						opts ...client.GetOption) error {
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
			scope, err := provides(r).Render(t.Context(), capability(v1alpha1.AcceptClusterWide), values())
			problem := (*provider.NotReadyError)(nil)
			if err == nil || errors.As(err, &problem) || len(scope.Lines) > 0 || strings.Contains(err.Error(), "secret") {
				t.Errorf("got %v and %v, want an error that says nothing of the capability, nor the API server's words",
					scope.Lines, err)
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

// TestRevoke_SaysWhereWhatWasOpenedMayGoOn asks about leases of no attempt: nothing has to be ended for them.
func TestRevoke_SaysWhereWhatWasOpenedMayGoOn(t *testing.T) {
	k := provides(reader())
	for _, test := range []struct {
		accept []v1alpha1.KubernetesAcceptance
		want   bool
	}{
		{nil, false},
		{[]v1alpha1.KubernetesAcceptance{v1alpha1.AcceptEscalation, v1alpha1.AcceptDisruption, v1alpha1.AcceptClusterWide},
			false},
		{[]v1alpha1.KubernetesAcceptance{v1alpha1.AcceptOpenConnections}, true},
		{[]v1alpha1.KubernetesAcceptance{v1alpha1.AcceptDisruption, v1alpha1.AcceptUnknown}, true},
		{[]v1alpha1.KubernetesAcceptance{v1alpha1.AcceptWildcards}, true},
	} {
		lease := provider.Lease{Capability: capability(test.accept...)}
		revoked, err := k.Revoke(t.Context(), lease.Issued(k.Handle(lease), time.Time{}))
		if err != nil || revoked.Mode != v1alpha1.RevocationImmediate || revoked.LeavesOpen != test.want {
			t.Errorf("%v: %+v, %v", test.accept, revoked, err)
		}
	}
}
