// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// shippedRoles are the ClusterRoles of config/rbac/users.yaml by name. An aggregated role has the rules of those that
// it selects.
func shippedRoles(t *testing.T) map[string][]rbacv1.PolicyRule {
	t.Helper()
	text, err := os.ReadFile("../../config/rbac/users.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var all []rbacv1.ClusterRole
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	for {
		role := rbacv1.ClusterRole{}
		if err := decoder.Decode(&role); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if role.Kind == "ClusterRole" {
			all = append(all, role)
		}
	}
	rules := map[string][]rbacv1.PolicyRule{}
	for _, role := range all {
		rules[role.Name] = role.Rules
		for _, part := range all {
			if role.AggregationRule != nil && selects(role.AggregationRule, part.Labels) {
				rules[role.Name] = append(rules[role.Name], part.Rules...)
			}
		}
	}
	return rules
}

func selects(rule *rbacv1.AggregationRule, labels map[string]string) bool {
	for key, value := range rule.ClusterRoleSelectors[0].MatchLabels {
		if labels[key] != value {
			return false
		}
	}
	return true
}

// TestRequesterRole_ChangesNothing: an agent creates and deletes. A request and its Job are never changed, so a right to
// patch would serve nothing but server-side apply, and it is the right by which others decide.
func TestRequesterRole_ChangesNothing(t *testing.T) {
	allowed := []string{"create", "get", "list", "watch", "delete"}
	rules := shippedRoles(t)[roleRequester]
	if len(rules) == 0 {
		t.Fatal("the role has no rules")
	}
	for _, rule := range rules {
		for _, verb := range rule.Verbs {
			if !slices.Contains(allowed, verb) {
				t.Errorf("it may %s %v", verb, rule.Resources)
			}
		}
	}
}

// TestRoles_HoldTheRightsForWhichTheyAreAdvised compares the advice with what is shipped.
func TestRoles_HoldTheRightsForWhichTheyAreAdvised(t *testing.T) {
	roles := shippedRoles(t)
	for _, resource := range []string{"capabilities", "capabilitypolicies", "capabilityproviders", "capabilityrequests", "capabilitygrants"} {
		for _, verb := range []string{"get", "list", "watch", "create", "update", "patch", "delete"} {
			role := roleFor(verb, resource)
			catalogue := !strings.HasSuffix(resource, "requests") && !strings.HasSuffix(resource, "grants")
			if catalogue && !slices.Contains([]string{"get", "list", "watch"}, verb) || resource == "capabilitygrants" && verb == "create" {
				continue // no command of the plugin does that
			}
			has := slices.ContainsFunc(roles[role], func(rule rbacv1.PolicyRule) bool {
				return slices.Contains(rule.Resources, resource) && slices.Contains(rule.Verbs, verb)
			})
			if !has {
				t.Errorf("%s %s: role %s is advised, and does not hold it", verb, resource, role)
			}
		}
	}
}
