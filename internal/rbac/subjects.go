// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	"cmp"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
)

// Subjects says whose rights are looked for.
type Subjects struct {
	// name is a user's; empty when the subjects are all ServiceAccounts of a namespace.
	name string
	// namespace of the ServiceAccounts.
	namespace string
	// groups that the user, or each of the ServiceAccounts, is in.
	groups sets.Set[string]
}

// User is one user, with the groups that the API server knows it to be in.
func User(name string, groups []string) Subjects {
	return Subjects{name: name, groups: sets.New(groups...)}
}

// ServiceAccounts are all ServiceAccounts of a namespace, also those that do not exist yet: whoever may create one
// can become it.
func ServiceAccounts(namespace string) Subjects {
	return Subjects{namespace: namespace, groups: sets.New(GroupsOf(namespace)...)}
}

// GroupsOf returns the groups of each ServiceAccount of a namespace.
func GroupsOf(namespace string) []string {
	return append(serviceaccount.MakeGroupNames(namespace), user.AllAuthenticated)
}

// among returns those subjects of a binding that are searched for. home is the binding's namespace, in which a
// ServiceAccount is meant whose namespace the binding leaves out. As the authorizer does, it compares kind, name
// and namespace, and no API group.
func (s Subjects) among(bound []rbacv1.Subject, home string) []string {
	var found []string
	for _, b := range bound {
		switch b.Kind {
		case rbacv1.GroupKind:
			if s.groups.Has(b.Name) {
				found = append(found, "group "+b.Name)
			}
		case rbacv1.UserKind:
			if s.is(b.Name) {
				found = append(found, b.Name)
			}
		case rbacv1.ServiceAccountKind:
			namespace := cmp.Or(b.Namespace, home)
			if name := serviceaccount.MakeUsername(namespace, b.Name); namespace != "" && s.is(name) {
				found = append(found, name)
			}
		}
	}
	return found
}

// is reports whether a user name is one of the subjects'.
func (s Subjects) is(name string) bool {
	if s.namespace == "" {
		return name == s.name
	}
	return strings.HasPrefix(name, serviceaccount.MakeUsername(s.namespace, ""))
}
