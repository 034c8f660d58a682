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

	"github.com/valetkey/valetkey/internal/visible"
)

// Subjects says whose rights are looked for.
type Subjects struct {
	// name is a user's; empty when the subjects are all ServiceAccounts of a namespace.
	name string
	// namespace of the ServiceAccounts, and prefix of their user names.
	namespace, prefix string
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
	return Subjects{namespace: namespace, prefix: serviceaccount.MakeUsername(namespace, ""), groups: sets.New(GroupsOf(namespace)...)}
}

// GroupsOf returns the groups of each ServiceAccount of a namespace.
func GroupsOf(namespace string) []string {
	return append(serviceaccount.MakeGroupNames(namespace), user.AllAuthenticated)
}

// among returns those subjects of a binding that are searched for, as they stand in a sentence: the API server takes any text
// for a subject's name. home is the binding's namespace, in which a
// ServiceAccount is meant whose namespace the binding leaves out. As the authorizer does, it compares kind, name
// and namespace, and no API group.
func (s Subjects) among(bound []rbacv1.Subject, home string) []string {
	var found []string
	for _, b := range bound {
		switch b.Kind {
		case rbacv1.GroupKind:
			if s.groups.Has(b.Name) {
				found = append(found, "group "+visible.Name(b.Name))
			}
		case rbacv1.UserKind:
			if s.is(b.Name) {
				found = append(found, visible.Name(b.Name))
			}
		case rbacv1.ServiceAccountKind:
			if namespace := cmp.Or(b.Namespace, home); namespace != "" && s.isAccount(namespace, b.Name) {
				found = append(found, visible.Name(serviceaccount.MakeUsername(namespace, b.Name)))
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
	return strings.HasPrefix(name, s.prefix)
}

// isAccount is is for the user name of a ServiceAccount, which it does not make: of a million, few are looked for.
func (s Subjects) isAccount(namespace, name string) bool {
	if s.namespace != "" {
		rest, found := strings.CutPrefix(namespace, s.namespace)
		return found && (rest == "" || rest[0] == ':')
	}
	rest, found := strings.CutPrefix(s.name, serviceaccount.ServiceAccountUsernamePrefix)
	return found && len(rest) == len(namespace)+1+len(name) && rest[:len(namespace)] == namespace && rest[len(namespace)] == ':' && rest[len(namespace)+1:] == name
}
