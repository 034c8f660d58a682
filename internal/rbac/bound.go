// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apiserver/pkg/authentication/user"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// How many bytes of memory are given to a role's rules, or a binding's subjects: more to what whoever administers the
// cluster writes than to what whoever administers a namespace does.
const (
	largest          = 32 << 10
	largestInCluster = 256 << 10
)

// What a rule, a subject and a string take in memory without what they hold, and what memory is given out in.
const (
	ruleSize    = 5 * 24
	subjectSize = 4 * 16
	header      = 16
)

// longestName is how many bytes a name may have, as that of most other objects of the API: for those of RBAC the API server has no
// bound but the size of a request, and a cache holds a name several times.
const longestName = validation.DNS1123SubdomainMaxLength

// tooLarge marks a rule, a subject, or a role of a binding that stands for what is not looked at.
const tooLarge = "valetkey.dev/too-large"

// Bound leaves of a role or a binding what is looked at. One that is larger is taken for one that may do everything, or
// binds everybody, and so does one to a role of a longer name than most objects can have: whoever fills the operator's memory with
// a role gets it refused. Other objects stay as they are.
func Bound(object any) {
	switch o := object.(type) {
	case *rbacv1.Role:
		o.Rules = boundRules(o.Rules, largest)
	case *rbacv1.ClusterRole:
		o.Rules = boundRules(o.Rules, largestInCluster)
	case *rbacv1.RoleBinding:
		o.Subjects, o.RoleRef = boundSubjects(o.Subjects, largest), boundRef(o.RoleRef)
	case *rbacv1.ClusterRoleBinding:
		o.Subjects, o.RoleRef = boundSubjects(o.Subjects, largestInCluster), boundRef(o.RoleRef)
	}
}

// Shorten leaves a digest of the name of a role or a binding that is longer than those of most objects can be. It stands for that name
// alone: none that the API server takes has a percent sign.
func Shorten(o metav1.Object) {
	if name := o.GetName(); len(name) > longestName {
		o.SetName(fmt.Sprintf("%%%x", sha256.Sum256([]byte(name))))
	}
}

func boundRef(ref rbacv1.RoleRef) rbacv1.RoleRef {
	if len(ref.Name) > longestName {
		return rbacv1.RoleRef{Kind: tooLarge}
	}
	return ref
}

// Unread returns the rules that are taken for those of a role that is not looked at, for its name is too long: see [Bound]. There are none
// for other roles.
func Unread(ref rbacv1.RoleRef) []rbacv1.PolicyRule {
	if ref.Kind != tooLarge {
		return nil
	}
	return everything()
}

func boundSubjects(subjects []rbacv1.Subject, most int) []rbacv1.Subject {
	size := 0
	for _, s := range subjects {
		size += subjectSize + allotted(s.Kind) + allotted(s.APIGroup) + allotted(s.Name) + allotted(s.Namespace)
	}
	if size <= most {
		return append([]rbacv1.Subject(nil), subjects...) // without the room that they were read into
	}
	return []rbacv1.Subject{{Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: user.AllAuthenticated, Namespace: tooLarge}}
}

func boundRules(rules []rbacv1.PolicyRule, most int) []rbacv1.PolicyRule {
	size := 0
	for i := range rules {
		r := &rules[i]
		for _, list := range []*[]string{&r.Verbs, &r.APIGroups, &r.Resources, &r.ResourceNames, &r.NonResourceURLs} {
			slices.Sort(*list)
			*list = append([]string(nil), slices.Compact(*list)...)
			for _, word := range *list {
				size += header + allotted(word)
			}
		}
		size += ruleSize
	}
	if size <= most {
		return append([]rbacv1.PolicyRule(nil), rules...)
	}
	return everything()
}

func everything() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{{Verbs: []string{"*", tooLarge}, APIGroups: []string{"*"}, Resources: []string{"*"}},
		{Verbs: []string{"*"}, NonResourceURLs: []string{"*"}}}
}

// allotted is what the characters of a text take: memory is given out in pieces.
func allotted(text string) int {
	const piece = 16
	return (len(text) + piece - 1) / piece * piece
}

// isTooLarge reports whether the subjects, or the rules, stand for what is not looked at.
func isTooLarge(subjects []rbacv1.Subject, rules []rbacv1.PolicyRule) bool {
	return len(subjects) == 1 && subjects[0].Namespace == tooLarge || len(rules) > 0 && slices.Contains(rules[0].Verbs, tooLarge)
}

// Bounded reads from the API server what a cache holds that keeps of roles and bindings what is looked at: [Bound] and [Shorten].
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
		Shorten(item.(metav1.Object)) // one that lists roles and bindings is asked for nothing else
		return nil
	})
}
