// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	"context"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/user"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// largest is how many bytes are looked at of a role's rules, or of a binding's subjects.
const largest = 64 << 10

// header is how many bytes a string takes without its characters.
const header = 16

// tooLarge marks a rule, or a subject, that stands for those that are not looked at.
const tooLarge = "valetkey.dev/too-large"

// Bound leaves of a role or a binding what is looked at. One that is larger is taken for one that may do everything, or
// binds everybody: whoever fills the operator's memory with a role gets it refused. Other objects stay as they are.
func Bound(object any) {
	switch o := object.(type) {
	case *rbacv1.Role:
		o.Rules = boundRules(o.Rules)
	case *rbacv1.ClusterRole:
		o.Rules = boundRules(o.Rules)
	case *rbacv1.RoleBinding:
		o.Subjects = boundSubjects(o.Subjects)
	case *rbacv1.ClusterRoleBinding:
		o.Subjects = boundSubjects(o.Subjects)
	}
}

func boundSubjects(subjects []rbacv1.Subject) []rbacv1.Subject {
	size := 0
	for _, s := range subjects {
		size += 4*header + len(s.Kind) + len(s.APIGroup) + len(s.Name) + len(s.Namespace)
	}
	if size <= largest {
		return subjects
	}
	return []rbacv1.Subject{{Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: user.AllAuthenticated, Namespace: tooLarge}}
}

func boundRules(rules []rbacv1.PolicyRule) []rbacv1.PolicyRule {
	size := 0
	for i := range rules {
		r := &rules[i]
		for _, list := range []*[]string{&r.Verbs, &r.APIGroups, &r.Resources, &r.ResourceNames, &r.NonResourceURLs} {
			slices.Sort(*list)
			*list = append([]string(nil), slices.Compact(*list)...)
			for _, word := range *list {
				size += header + len(word)
			}
		}
		size += header
	}
	if size <= largest {
		return rules
	}
	return []rbacv1.PolicyRule{{Verbs: []string{"*", tooLarge}, APIGroups: []string{"*"}, Resources: []string{"*"}},
		{Verbs: []string{"*"}, NonResourceURLs: []string{"*"}}}
}

// isTooLarge reports whether the subjects, or the rules, stand for what is not looked at.
func isTooLarge(subjects []rbacv1.Subject, rules []rbacv1.PolicyRule) bool {
	return len(subjects) == 1 && subjects[0].Namespace == tooLarge || len(rules) > 0 && slices.Contains(rules[0].Verbs, tooLarge)
}

// Bounded reads from the API server what a cache holds that keeps of roles and bindings what is looked at: [Bound].
type Bounded struct{ client.Reader }

// Get implements client.Reader.
func (b Bounded) Get(ctx context.Context, key client.ObjectKey, object client.Object, opts ...client.GetOption) error {
	err := b.Reader.Get(ctx, key, object, opts...)
	Bound(object)
	return err
}

// List implements client.Reader.
func (b Bounded) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	if err := b.Reader.List(ctx, list, opts...); err != nil {
		return err
	}
	return meta.EachListItem(list, func(item runtime.Object) error {
		Bound(item)
		return nil
	})
}
