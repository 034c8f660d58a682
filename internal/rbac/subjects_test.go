// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	"strings"
	"testing"

	"k8s.io/apiserver/pkg/authentication/serviceaccount"
)

// TestSubjects_AnAccountIsWhatItsUserNameSays: the authorizer compares user names, whatever stands in a binding.
func TestSubjects_AnAccountIsWhatItsUserNameSays(t *testing.T) {
	parts := []string{"", "a", "b", "agents", "agents:b", "agent", "agentss", ":", "b:c", "b:agents"}
	looked := []Subjects{ServiceAccounts("agents"), ServiceAccounts("a"), User("agents:b", nil), User("", nil), User(serviceaccount.ServiceAccountUsernamePrefix, nil)}
	for _, namespace := range parts {
		for _, name := range parts {
			looked = append(looked, User(serviceaccount.MakeUsername(namespace, name), nil))
		}
	}
	same := 0
	for _, s := range looked {
		for _, namespace := range parts {
			for _, name := range parts {
				user := serviceaccount.MakeUsername(namespace, name)
				want := user == s.name
				if s.namespace != "" {
					want = strings.HasPrefix(user, serviceaccount.MakeUsername(s.namespace, ""))
				}
				if got := s.isAccount(namespace, name); got != want {
					t.Errorf("%q in %q is among %+v: %t", name, namespace, s, got)
				}
				if want {
					same++
				}
			}
		}
	}
	if same < 100 {
		t.Errorf("only %d of them are looked for", same)
	}
}
