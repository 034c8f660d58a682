// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package kubernetes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/internal/rbac"
	"github.com/valetkey/valetkey/internal/visible"
)

// rights are what a ServiceAccount may do.
type rights []right

// right is one rule of one role, where it is bound.
type right struct {
	// namespace where it holds; empty everywhere.
	namespace string
	// binding gives it, as it stands in a sentence: RoleBinding reader.
	binding string
	rule    rbacv1.PolicyRule
}

// bound reads the roles that are bound to the account itself, or to a group that it is in. What every cluster gives
// everybody is left out, rule by rule: how a binding is labelled says nothing about what it gives.
func (k *Provider) bound(ctx context.Context, account string) (rights, error) {
	ctx, cancel := context.WithTimeout(ctx, askingTime/4)
	defer cancel()
	all := &collected{}
	everywhere := &rbacv1.ClusterRoleBindingList{}
	if err := k.options.Roles.List(ctx, everywhere, client.UnsafeDisableDeepCopy); err != nil {
		return nil, unknown("ClusterRoleBindings", err)
	}
	for i := range everywhere.Items {
		b := &everywhere.Items[i]
		if err := k.collect(ctx, all, account, right{binding: "ClusterRoleBinding " + visible.Name(b.Name)}, b.Subjects, b.RoleRef); err != nil {
			return nil, err
		}
	}
	somewhere := &rbacv1.RoleBindingList{}
	if err := k.options.Roles.List(ctx, somewhere, client.UnsafeDisableDeepCopy); err != nil {
		return nil, unknown("RoleBindings", err)
	}
	for i := range somewhere.Items {
		b := &somewhere.Items[i]
		if err := k.collect(ctx, all, account, right{namespace: b.Namespace, binding: "RoleBinding " + visible.Name(b.Name)}, b.Subjects, b.RoleRef); err != nil {
			return nil, err
		}
	}
	return slices.DeleteFunc(all.rights, k.known.shared), nil
}

// collect adds what a binding gives to the account, unless that is everything already. What it reads is the cache's, and
// is not changed.
func (k *Provider) collect(ctx context.Context, all *collected, account string, of right, subjects []rbacv1.Subject, ref rbacv1.RoleRef) error {
	if all.full() || !k.names(subjects, account, of.namespace) {
		return nil
	}
	rules, err := k.rules(ctx, ref, of.namespace)
	if err != nil {
		return err
	}
	for _, rule := range rules {
		of.rule = rule
		all.add(of)
	}
	return nil
}

// names reports whether a binding is the account's, by any of the names that the authorizer knows it by. What is bound
// to system:unauthenticated is not the token's: whoever reaches the API server has it without one.
func (k *Provider) names(subjects []rbacv1.Subject, account, namespace string) bool {
	user := fmt.Sprintf("system:serviceaccount:%s:%s", k.options.Namespace, account)
	groups := []string{"system:serviceaccounts", "system:serviceaccounts:" + k.options.Namespace, "system:authenticated"}
	return slices.ContainsFunc(subjects, func(s rbacv1.Subject) bool {
		switch s.Kind {
		case rbacv1.ServiceAccountKind:
			return s.Name == account && cmp.Or(s.Namespace, namespace) == k.options.Namespace
		case rbacv1.UserKind:
			return s.Name == user
		default:
			return slices.Contains(groups, s.Name)
		}
	})
}

// rules are those of a role; none when there is no such role, for then it gives nothing.
func (k *Provider) rules(ctx context.Context, ref rbacv1.RoleRef, namespace string) ([]rbacv1.PolicyRule, error) {
	if rules := rbac.Unread(ref); rules != nil {
		return rules, nil
	}
	if ref.Kind == "ClusterRole" {
		role := &rbacv1.ClusterRole{}
		err := k.options.Roles.Get(ctx, client.ObjectKey{Name: ref.Name}, role, client.UnsafeDisableDeepCopy)
		return role.Rules, found("ClusterRole "+visible.Name(ref.Name), err)
	}
	role := &rbacv1.Role{}
	err := k.options.Roles.Get(ctx, client.ObjectKey{Namespace: namespace, Name: ref.Name}, role, client.UnsafeDisableDeepCopy)
	return role.Rules, found("Role "+namespace+"/"+visible.Name(ref.Name), err)
}

func found(what string, err error) error {
	if err == nil || apierrors.IsNotFound(err) {
		return nil
	}
	return unknown(what, err)
}

// unknown keeps the API server's reason and drops its words.
func unknown(what string, err error) error {
	return fmt.Errorf("looking up %s: %s", what,
		cmp.Or(string(apierrors.ReasonForError(err)), "the API server did not answer"))
}

// invalid is the capability's own fault.
func invalid(format string, args ...any) error {
	return &provider.NotReadyError{Reason: v1alpha1.ReasonScopeInvalid, Message: fmt.Sprintf(format, args...)}
}

func isInvalid(err error) bool {
	problem := (*provider.NotReadyError)(nil)
	return errors.As(err, &problem)
}

// kinds are what the rule is about.
func (r right) kinds() []kind {
	var all []kind
	for _, url := range r.rule.NonResourceURLs {
		all = append(all, kind{url: url})
	}
	for _, group := range r.rule.APIGroups {
		for _, resource := range r.rule.Resources {
			all = append(all, newKind(group, resource))
		}
	}
	return all
}

// lines say it to a person, one a kind.
func (r right) lines() []string {
	verbs := shown(r.rule.Verbs)
	var all []string
	for _, kind := range r.kinds() {
		all = append(all, r.line(verbs, kind))
	}
	return all
}

// line says it of one kind. The verbs are as shown returns them.
func (r right) line(verbs string, k kind) string {
	line := verbs + " " + shownWord(k.String())
	if k.url != "" {
		return line
	}
	if len(r.rule.ResourceNames) > 0 {
		line += " " + shown(r.rule.ResourceNames)
	}
	if r.namespace == "" {
		return line + " everywhere"
	}
	return line + " in " + r.namespace
}

// shown are words of a rule as people are shown them.
func shown(words []string) string {
	all := slices.Sorted(slices.Values(words))
	for i, word := range all {
		all[i] = shownWord(word)
	}
	return strings.Join(all, ",")
}

// shownWord is one word of a rule, which can be any text. One that is not plain is quoted: it would be read as words of the operator's.
// It is quoted whole, for people approve it, unless it is refused anyway.
func shownWord(word string) string {
	if name := visible.Name(word); name == word || !fits(word) {
		return name
	}
	return strconv.Quote(word)
}

// fits reports whether a word has nothing but what people see, and what is one word to them.
func fits(word string) bool {
	return !strings.ContainsFunc(word, func(c rune) bool { return c <= ' ' || c > '~' })
}

func (all rights) lines() []string {
	var lines []string
	for _, r := range all {
		lines = append(lines, r.lines()...)
	}
	slices.Sort(lines)
	return slices.Compact(lines)
}

func (all rights) scope(user string) provider.Scope {
	lines := all.lines()
	return provider.Scope{Lines: lines, Actions: lines, Principal: user, Document: strings.Join(lines, "\n")}
}

// namespace is the one that all rights are in; empty when there is none.
func (all rights) namespace() string {
	for _, r := range all {
		if r.namespace != all[0].namespace {
			return ""
		}
	}
	return all[0].namespace
}
