// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package inquiry_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	testingclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/inquiry"
	"github.com/valetkey/valetkey/internal/policy"
)

// TestExposure_WhoMayNotReadRolesIsToldOfThemselves: the API server tells everybody what they may do themselves, and
// that the rest is not known is said.
func TestExposure_WhoMayNotReadRolesIsToldOfThemselves(t *testing.T) {
	const unread = "whether an account of namespace agents could read Secrets or approve requests is not known"
	for name, row := range map[string]struct {
		asks string
		may  []string
		want []policy.Risk
	}{
		"of oneself": {"bot", []string{"get secrets", "approve capabilityrequests"}, []policy.Risk{
			{Needs: v1alpha1.AcceptRequesterMayApprove,
				Message: "bot may approve requests in namespace agents (the API server says so)"},
			{Needs: v1alpha1.AcceptSecretReader, Message: "bot may read Secrets in namespace agents (the API server says so)"}}},
		"of oneself, who may nothing":  {"bot", nil, nil},
		"of somebody else: not at all": {"alice", []string{"get secrets"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			q := withoutRoles(t, row.may)
			found, err := q.Would(t.Context(), v1alpha1.Identity{Username: row.asks},
				inquiry.Ask{Capability: "publish", Namespace: "agents"})
			if err != nil || found.Blind {
				t.Fatal(found.Unread, err)
			}
			if !slices.Equal(found.Facts.Risks, row.want) {
				t.Errorf("found %v; want %v", found.Facts.Risks, row.want)
			}
			if !slices.ContainsFunc(found.Unread, func(s string) bool { return strings.Contains(s, unread) }) {
				t.Errorf("it does not say that %s: %q", unread, found.Unread)
			}
		})
	}
}

// withoutRoles reads as bot, who may do what is listed, and may not list bindings.
func withoutRoles(t *testing.T, may []string) *inquiry.Inquirer {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	c := fake.NewClientBuilder().WithScheme(scheme).WithInterceptorFuncs(interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, o ...client.ListOption) error {
			if _, is := list.(*rbacv1.ClusterRoleBindingList); is {
				return forbidden()
			}
			return c.List(ctx, list, o...)
		},
		Create: func(ctx context.Context, c client.WithWatch, object client.Object, o ...client.CreateOption) error {
			switch review := object.(type) {
			case *authenticationv1.SelfSubjectReview:
				review.Status.UserInfo.Username = "bot"
			case *authorizationv1.SelfSubjectAccessReview:
				asks := review.Spec.ResourceAttributes
				review.Status.Allowed = asks.Namespace == "agents" && slices.Contains(may, asks.Verb+" "+asks.Resource)
			default:
				t.Errorf("%T is created", object)
			}
			return nil
		},
	}).Build()
	q, err := inquiry.New(c, testingclock.NewFakePassiveClock(noon()))
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// TestWould_WhatTheOperatorTakesForMoreThanItSaysIsSo: a role, or a binding, of more than it looks at.
func TestWould_WhatTheOperatorTakesForMoreThanItSaysIsSo(t *testing.T) {
	many := make([]string, 10_000)
	for i := range many {
		many[i] = fmt.Sprint("settings-", i)
	}
	ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "settings"}
	meta := metav1.ObjectMeta{Namespace: "agents", Name: "settings"}
	runner := []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: "agents", Name: "runner"}}
	crowd := make([]rbacv1.Subject, len(many))
	for i, name := range many {
		crowd[i] = rbacv1.Subject{Kind: rbacv1.UserKind, Name: name}
	}
	read := rbacv1.PolicyRule{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"secrets"}}
	for name, objects := range map[string][]client.Object{
		"a role": {&rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"configmaps"}, ResourceNames: many}}},
			&rbacv1.RoleBinding{ObjectMeta: meta, RoleRef: ref, Subjects: runner}},
		"a binding": {&rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{read}}, &rbacv1.RoleBinding{ObjectMeta: meta, RoleRef: ref, Subjects: crowd}},
	} {
		t.Run(name, func(t *testing.T) {
			scheme := runtime.NewScheme()
			for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
				if err := add(scheme); err != nil {
					t.Fatal(err)
				}
			}
			q, err := inquiry.New(fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).Build(), testingclock.NewFakePassiveClock(noon()))
			if err != nil {
				t.Fatal(err)
			}
			found, err := q.Would(t.Context(), v1alpha1.Identity{Username: "bot"}, inquiry.Ask{Capability: "publish", Namespace: "agents"})
			if err != nil {
				t.Fatal(err)
			}
			const why = "(RoleBinding settings, which has more rules or subjects than are looked at)"
			if !slices.ContainsFunc(found.Facts.Risks, func(r policy.Risk) bool {
				return r.Needs == v1alpha1.AcceptSecretReader && strings.Contains(r.Message, "Secrets in namespace agents "+why)
			}) {
				t.Errorf("found %v", found.Facts.Risks)
			}
		})
	}
}
