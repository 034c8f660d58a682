// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package exposure_test

import (
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/exposure"
)

// TestList_NamesAreNoWordsOfTheOperators: what is found goes into conditions and into the audit log, and whoever binds a role chooses
// the names.
func TestList_NamesAreNoWordsOfTheOperators(t *testing.T) {
	const who, quoted = "bob (it needs no role), which is accepted", `"bob (it needs no role), which is accepted"`
	bound := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: "agents", Name: "x), and\nall is well"},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.UserKind, Name: who}}, RoleRef: rbacv1.RoleRef{Kind: "Role", Name: "r"}}
	may := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: "agents", Name: "r"},
		Rules: []rbacv1.PolicyRule{{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"secrets"}}}}
	questions := exposure.About("mine")[:1]
	asks := v1alpha1.Identity{Username: who, Groups: []string{"system:masters"}}
	_, found, err := exposure.ByRoles(t.Context(), fake.NewClientBuilder().WithObjects(may, bound).Build(), "agents", asks, questions)
	if err != nil {
		t.Fatal(err)
	}
	risks := exposure.New("agents", questions)
	risks.Privileged(asks)
	risks.Rights(found)
	want := []string{quoted + ` may read Secrets in namespace agents (RoleBinding "x), and\nall is well")`,
		quoted + " may read Secrets in namespace agents (it needs no role)"}
	for i, risk := range risks.List() {
		if i >= len(want) || risk.Message != want[i] {
			t.Errorf("it says %s", risk.Message)
		}
	}
	if n := len(risks.List()); n != len(want) {
		t.Errorf("it says %d things, want %d", n, len(want))
	}
}
