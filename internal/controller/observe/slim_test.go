// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package observe_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/valetkey/valetkey/internal/controller/observe"
)

func TestSlim_ARoleKeepsWhatItMayDoAndNoMore(t *testing.T) {
	words := func(n int) []string {
		all := make([]string, n)
		for i := range all {
			all[i] = fmt.Sprint("word-", i)
		}
		return all
	}
	everything := []rbacv1.PolicyRule{{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}}, {Verbs: []string{"*"}, NonResourceURLs: []string{"*"}}}
	for name, row := range map[string]struct{ rules, want []rbacv1.PolicyRule }{
		"an ordinary role": {
			[]rbacv1.PolicyRule{{Verbs: []string{"list", "get"}, APIGroups: []string{""}, Resources: []string{"pods"}, ResourceNames: []string{"a"}}},
			[]rbacv1.PolicyRule{{Verbs: []string{"get", "list"}, APIGroups: []string{""}, Resources: []string{"pods"}, ResourceNames: []string{"a"}}},
		},
		"hundreds of thousands of empty verbs": {
			[]rbacv1.PolicyRule{{Verbs: make([]string, 740_000), Resources: []string{"pods"}}},
			[]rbacv1.PolicyRule{{Verbs: []string{""}, Resources: []string{"pods"}}},
		},
		"many different verbs":   {[]rbacv1.PolicyRule{{Verbs: words(100_000)}}, everything},
		"many names":             {[]rbacv1.PolicyRule{{Verbs: []string{"get"}, ResourceNames: words(100_000)}}, everything},
		"many rules of nothing":  {make([]rbacv1.PolicyRule, 10_000), everything},
		"many paths":             {[]rbacv1.PolicyRule{{Verbs: []string{"get"}, NonResourceURLs: words(100_000)}}, everything},
		"a thousand of each one": {[]rbacv1.PolicyRule{{Verbs: words(1000), Resources: words(1000), APIGroups: words(1000)}}, everything},
	} {
		t.Run(name, func(t *testing.T) {
			meta := metav1.ObjectMeta{Name: "r", Labels: map[string]string{"a": "b"}, Annotations: map[string]string{"note": "long"},
				GenerateName: "r", Finalizers: []string{"example.com/x"}, OwnerReferences: []metav1.OwnerReference{{Name: "long"}}}
			got, err := observe.Slim(&rbacv1.Role{ObjectMeta: meta, Rules: row.rules})
			if err != nil {
				t.Fatal(err)
			}
			want := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "r"}, Rules: row.want}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestSlim_ABindingOfVeryManyBindsEverybody: fifty thousand subjects in each of many bindings would fill the operator's
// memory.
func TestSlim_ABindingOfVeryManyBindsEverybody(t *testing.T) {
	some := func(n int) []rbacv1.Subject {
		all := make([]rbacv1.Subject, n)
		for i := range all {
			all[i] = rbacv1.Subject{Kind: rbacv1.UserKind, Name: fmt.Sprint("user-", i)}
		}
		return all
	}
	everybody := []rbacv1.Subject{{Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: "system:authenticated"}}
	for n, want := range map[int][]rbacv1.Subject{0: {}, 1: some(1), 500: some(500), 50_000: everybody} {
		for _, binding := range []any{&rbacv1.RoleBinding{Subjects: some(n)}, &rbacv1.ClusterRoleBinding{Subjects: some(n)}} {
			slim, err := observe.Slim(binding)
			if err != nil {
				t.Fatal(err)
			}
			got := []rbacv1.Subject(nil)
			switch b := slim.(type) {
			case *rbacv1.RoleBinding:
				got = b.Subjects
			case *rbacv1.ClusterRoleBinding:
				got = b.Subjects
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%T of %d: %s", binding, n, diff)
			}
		}
	}
}
