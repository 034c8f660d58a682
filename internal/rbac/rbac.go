// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package rbac answers, from Roles, ClusterRoles and their bindings, what the API server's RBAC authorizer lets
// somebody do in a namespace. The rules are Kubernetes' own
// (https://kubernetes.io/docs/reference/access-authn-authz/rbac/): a binding of the namespace or of the cluster
// counts when one of its subjects is the user, and a role that does not exist gives nothing. An integration test
// asks the real authorizer the same questions about generated roles and bindings.
package rbac

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/auth/rbac/validation"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/internal/visible"
)

// Access is one kind of request to the API server.
type Access struct {
	// Verb, Group and Resource as a rule of a role names them. A subresource is part of the resource: pods/log.
	Verb, Group, Resource string
	// Name of the object. It is empty for a request that names none, such as a list. A rule with resource names
	// allows such a request only if one of its names is empty.
	Name string
	// Prefix, if set, asks instead about any name that begins so, which a rule has to name.
	Prefix string
}

// given reports whether rules give the access. It looks at each of their words a bounded number of times.
func (a Access) given(rules []rbacv1.PolicyRule) bool {
	if a.Prefix == "" {
		allowed, _ := validation.Covers(rules, []rbacv1.PolicyRule{a.rule()})
		return allowed
	}
	begins := func(name string) bool { return strings.HasPrefix(name, a.Prefix) }
	return slices.ContainsFunc(rules, func(rule rbacv1.PolicyRule) bool {
		at := slices.IndexFunc(rule.ResourceNames, begins)
		if at < 0 {
			return false
		}
		// One rule alone gives an access, and all names that it has alike: one of them tells.
		rule.ResourceNames = rule.ResourceNames[at : at+1]
		a.Name = rule.ResourceNames[0]
		allowed, _ := validation.Covers([]rbacv1.PolicyRule{rule}, []rbacv1.PolicyRule{a.rule()})
		return allowed
	})
}

// rule is the access as the only right of a role.
func (a Access) rule() rbacv1.PolicyRule {
	return rbacv1.PolicyRule{
		Verbs: []string{a.Verb}, APIGroups: []string{a.Group}, Resources: []string{a.Resource},
		ResourceNames: []string{a.Name},
	}
}

// Right is an access that a binding gives to somebody.
type Right struct {
	// Subject has it: a user name, or a group with the word "group" before it, as it stands in a sentence.
	Subject string
	// Access that it has, an index into what was asked.
	Access int
	// Binding that gives it, such as "RoleBinding readers", and why more is taken to be given than it says.
	Binding string
}

// Rights are what was found.
type Rights struct {
	// List has an entry for each access, subject and binding.
	List []Right
	// Basis is a digest of each binding of the subjects, and of its role, in the version that was read. Two results
	// of the same question with the same basis are the same.
	Basis string
	// Cut is set where some of them are taken to be given for what was not looked at: see [Bound]. The API server, which
	// looks at all of it, may answer otherwise.
	Cut bool
	// TooMany is set where there is more than MostLooks to look at. What was found before says nothing then.
	TooMany bool
}

// MostLooks is how many subjects of bindings, and words of the roles that they give, are looked at for one answer.
// Whoever may write roles in a namespace may bind any number of them to its accounts, and would keep everybody else
// waiting.
const MostLooks = 1 << 20

// Allows reports whether anybody has the access.
func (r Rights) Allows(access int) bool {
	for _, right := range r.List {
		if right.Access == access {
			return true
		}
	}
	return false
}

// Reader reads roles and bindings.
type Reader struct {
	// Objects holds all Roles, RoleBindings, ClusterRoles and ClusterRoleBindings. What it returns is not changed.
	Objects client.Reader
}

// Of returns which accesses the subjects have in a namespace. An error means that it could not be found out.
func (r Reader) Of(ctx context.Context, namespace string, subjects Subjects, accesses []Access) (Rights, error) {
	s := &search{Reader: r, subjects: subjects, accesses: accesses}
	s.may = map[boundRole]given{}
	everywhere := &rbacv1.ClusterRoleBindingList{}
	if err := r.Objects.List(ctx, everywhere, client.UnsafeDisableDeepCopy); err != nil {
		return Rights{}, fmt.Errorf("listing ClusterRoleBindings: %w", err)
	}
	for i := range everywhere.Items {
		b := &everywhere.Items[i]
		if err := s.binding(ctx, binding{"ClusterRoleBinding", b, b.Subjects, b.RoleRef}); err != nil {
			return Rights{}, err
		}
	}
	here := &rbacv1.RoleBindingList{}
	if err := r.Objects.List(ctx, here, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		return Rights{}, fmt.Errorf("listing RoleBindings: %w", err)
	}
	for i := range here.Items {
		b := &here.Items[i]
		if err := s.binding(ctx, binding{"RoleBinding", b, b.Subjects, b.RoleRef}); err != nil {
			return Rights{}, err
		}
	}
	if s.looks > MostLooks {
		return Rights{TooMany: true}, nil
	}
	return Rights{List: s.list, Basis: s.digest(), Cut: s.cut}, nil
}

// binding is a RoleBinding or a ClusterRoleBinding.
type binding struct {
	kind     string
	object   metav1.Object
	subjects []rbacv1.Subject
	role     rbacv1.RoleRef
}

// search collects what the bindings give.
type search struct {
	Reader
	subjects Subjects
	accesses []Access
	list     []Right
	// may is what each role that is bound gives.
	may map[boundRole]given
	// looks counts towards MostLooks.
	looks int
	// cut is set where something was not looked at.
	cut bool
	// basis has a line for each binding of the subjects, in no order: a cache lists in none.
	basis []string
}

func (s *search) digest() string {
	slices.Sort(s.basis)
	sum := sha256.Sum256([]byte(strings.Join(s.basis, "\n")))
	return hex.EncodeToString(sum[:])
}

// boundRole is a role as a binding names it, in the binding's namespace.
type boundRole struct {
	namespace string
	ref       rbacv1.RoleRef
}

// given is what a role gives, in the version that was read.
type given struct {
	version string
	// accesses are those of what is asked that it allows, by their indexes.
	accesses []int
	// tooLarge is set where not all of its rules were looked at.
	tooLarge bool
}

// binding adds what one binding gives, unless there was too much to look at before.
func (s *search) binding(ctx context.Context, b binding) error {
	if s.looks += 1 + len(b.subjects); s.looks > MostLooks {
		return nil
	}
	named := s.subjects.among(b.subjects, b.object.GetNamespace())
	if len(named) == 0 {
		return nil
	}
	may, err := s.given(ctx, b.role, b.object.GetNamespace())
	if err != nil {
		return err
	}
	s.basis = append(s.basis, fmt.Sprintf("%s/%s %s@%s %s",
		b.kind, b.object.GetName(), b.object.GetUID(), b.object.GetResourceVersion(), may.version))
	from := b.kind + " " + visible.Name(b.object.GetName())
	if may.tooLarge || isTooLarge(b.subjects, nil) {
		from += ", " + notLookedAt(b.role)
		s.cut = s.cut || len(may.accesses) > 0
	}
	const told = 100 // each is told, which takes longer than to look at it, and what is told is kept meanwhile
	for _, subject := range named {
		s.looks += max(told, len(subject)+len(from)) * len(may.accesses)
	}
	if s.looks > MostLooks {
		return nil
	}
	for _, access := range may.accesses {
		for _, subject := range named {
			s.list = append(s.list, Right{Subject: subject, Access: access, Binding: from})
		}
	}
	return nil
}

func notLookedAt(ref rbacv1.RoleRef) string {
	if ref.Kind == tooLarge {
		return "whose role has a longer name than is looked at"
	}
	return "which has more rules or subjects than are looked at"
}

// given finds out once what a role gives, however many bindings there are of it.
func (s *search) given(ctx context.Context, ref rbacv1.RoleRef, namespace string) (given, error) {
	key := boundRole{namespace, ref}
	if may, known := s.may[key]; known {
		return may, nil
	}
	version, rules, err := s.role(ctx, ref, namespace)
	if err != nil {
		return given{}, err
	}
	may := given{version: version, tooLarge: isTooLarge(nil, rules)}
	for i := range rules {
		s.looks += words(&rules[i]) * len(s.accesses)
	}
	if s.looks > MostLooks {
		return may, nil
	}
	for i, access := range s.accesses {
		if access.given(rules) {
			may.accesses = append(may.accesses, i)
		}
	}
	s.may[key] = may
	return may, nil
}

// words is how much there is to look through in a rule.
func words(r *rbacv1.PolicyRule) int {
	return 1 + len(r.Verbs) + len(r.APIGroups) + len(r.Resources) + len(r.ResourceNames)
}

// role returns the rules of a binding's role and the version they were read in. A role of another kind, or none of
// that name, has no rules.
func (s *search) role(
	ctx context.Context, ref rbacv1.RoleRef, namespace string,
) (version string, rules []rbacv1.PolicyRule, err error) {
	if rules := Unread(ref); rules != nil {
		return "unread", rules, nil
	}
	var object client.Object
	switch ref.Kind {
	case "ClusterRole":
		role := &rbacv1.ClusterRole{}
		err = s.Objects.Get(ctx, client.ObjectKey{Name: ref.Name}, role, client.UnsafeDisableDeepCopy)
		object, rules = role, role.Rules
	case "Role":
		role := &rbacv1.Role{}
		key := client.ObjectKey{Namespace: namespace, Name: ref.Name}
		err = s.Objects.Get(ctx, key, role, client.UnsafeDisableDeepCopy)
		object, rules = role, role.Rules
	default:
		return "unknown", nil, nil
	}
	if apierrors.IsNotFound(err) {
		return "missing", nil, nil
	}
	if err != nil {
		return "", nil, fmt.Errorf("looking up %s %s: %w", ref.Kind, visible.Name(ref.Name), err)
	}
	return string(object.GetUID()) + "@" + object.GetResourceVersion(), rules, nil
}
