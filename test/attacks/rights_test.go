// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package attacks

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"github.com/valetkey/valetkey/test/refusal"
)

// operatorsRules are the operator's rules: those for the whole cluster and those by namespace.
func operatorsRules(t *testing.T) map[string][]rbacv1.PolicyRule {
	t.Helper()
	rules := map[string][]rbacv1.PolicyRule{}
	for _, role := range operatorsRoles(t) {
		rules[role.Namespace] = append(rules[role.Namespace], role.Rules...)
	}
	return rules
}

// operatorsRoles reads Roles and ClusterRoles from the shipped file.
func operatorsRoles(t *testing.T) []rbacv1.Role {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root(t), "config", "rbac", "operator.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var roles []rbacv1.Role
	for _, document := range bytes.Split(content, []byte("\n---\n")) {
		var role rbacv1.Role
		if err := yaml.Unmarshal(document, &role); err != nil {
			t.Fatal(err)
		}
		if role.Kind == "ClusterRole" || role.Kind == "Role" {
			roles = append(roles, role)
		}
	}
	return roles
}

// TestTheHalfForTheClusterHasNoPowerOverWhatLivesInNamespaces: it is bound in the whole cluster even where some namespaces are watched. Of what
// lives in namespaces it reads roles and their bindings.
func TestTheHalfForTheClusterHasNoPowerOverWhatLivesInNamespaces(t *testing.T) {
	clusters := []string{"capabilityproviders", "capabilities", "capabilitypolicies", "capabilityproviders/status", "capabilities/status", "capabilitypolicies/status", "namespaces",
		"clusterroles", "clusterrolebindings", "tokenreviews", "subjectaccessreviews",
		"validatingadmissionpolicies", "validatingadmissionpolicybindings", "mutatingadmissionpolicies", "mutatingadmissionpolicybindings"}
	found := false
	for _, role := range operatorsRoles(t) {
		if role.Name != "valetkey-operator" {
			continue
		}
		found = true
		for _, rule := range role.Rules {
			reads := !slices.ContainsFunc(rule.Verbs, func(v string) bool { return v != "get" && v != "list" && v != "watch" })
			for _, resource := range rule.Resources {
				read := reads && (resource == "roles" || resource == "rolebindings")
				if !read && !slices.Contains(clusters, resource) {
					t.Errorf("%v on %s", rule.Verbs, resource)
				}
			}
		}
	}
	if !found {
		t.Error("there is no ClusterRole valetkey-operator")
	}
}

// TestOperatorsRightsAsWritten prints what the operator may do, and insists on what it may not.
func TestOperatorsRightsAsWritten(t *testing.T) {
	for ns, rules := range operatorsRules(t) {
		where := "in the whole cluster"
		if ns != "" {
			where = "in namespace " + ns
		}
		for _, r := range rules {
			fmt.Printf("%s: %s on %s of %q\n", where, strings.Join(r.Verbs, ","), strings.Join(r.Resources, ","), strings.Join(r.APIGroups, ","))
			if slices.Contains(slices.Concat(r.Verbs, r.Resources, r.APIGroups), "*") {
				t.Errorf("%s: a wildcard in %v", where, r)
			}
			if slices.Contains(r.Resources, "secrets") && !slices.Equal(r.Verbs, []string{"create", "delete"}) {
				t.Errorf("%s: %v on Secrets", where, r.Verbs)
			}
			if slices.Contains(r.Resources, "serviceaccounts/token") && ns != identities {
				t.Errorf("%s: tokens", where)
			}
			for _, power := range []string{"impersonate", "bind", "escalate", "approve", "revoke", "deletecollection"} {
				if slices.Contains(r.Verbs, power) {
					t.Errorf("%s: the verb %s", where, power)
				}
			}
		}
	}
}

// TestOperatorsRightsInFact tries, with the operator's own token and nothing but the shipped rights, what it must not be able to do.
func TestOperatorsRightsInFact(t *testing.T) {
	ctx := t.Context()
	w := newWorld(ctx, t)
	w.kubectl(t, "delete", "clusterrolebinding", "operator-with-every-right")
	client := w.clients[operator]
	secrets := client.Resource(kinds["Secret"]).Namespace(namespace)
	tries := map[string]func(context.Context) error{
		"get a Secret":   func(ctx context.Context) error { _, err := secrets.Get(ctx, w.secret, metav1.GetOptions{}); return err },
		"list Secrets":   func(ctx context.Context) error { _, err := secrets.List(ctx, metav1.ListOptions{}); return err },
		"watch Secrets":  func(ctx context.Context) error { _, err := secrets.Watch(ctx, metav1.ListOptions{}); return err },
		"patch a Secret": func(ctx context.Context) error { return w.patch(ctx, operator, "Secret", w.secret, "", `{}`) },
		"delete all Secrets": func(ctx context.Context) error {
			return secrets.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{})
		},
		"list Secrets everywhere": func(ctx context.Context) error {
			_, err := client.Resource(kinds["Secret"]).List(ctx, metav1.ListOptions{})
			return err
		},
		"list ConfigMaps": func(ctx context.Context) error {
			_, err := client.Resource(kinds["ConfigMap"]).Namespace(namespace).List(ctx, metav1.ListOptions{})
			return err
		},
		"create a request":    func(ctx context.Context) error { return w.create(ctx, operator, w.request0("q")) },
		"create a Job":        func(ctx context.Context) error { return w.create(ctx, operator, w.job0("q")) },
		"a token of an agent": func(ctx context.Context) error { return tokenOf(ctx, w, namespace) },
		"a token of itself":   func(ctx context.Context) error { return tokenOf(ctx, w, "valetkey-system") },
		"impersonate":         func(ctx context.Context) error { return impersonate(ctx, w) },
	}
	for name, try := range tries {
		t.Run(name, func(t *testing.T) {
			// The authorizer's cache can be behind the binding that was just deleted.
			eventually(t, func() error { return refusal.By(try(ctx), "RBAC", "") })
		})
	}
}

func tokenOf(ctx context.Context, w *world, ns string) error {
	_, err := kubernetes.NewForConfigOrDie(w.configs[operator]).CoreV1().ServiceAccounts(ns).CreateToken(ctx, "default", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	return err
}

func impersonate(ctx context.Context, w *world) error {
	config := *w.configs[operator]
	config.Impersonate.UserName = "system:admin"
	_, err := dynamic.NewForConfigOrDie(&config).Resource(kinds["Namespace"]).List(ctx, metav1.ListOptions{})
	return err
}
