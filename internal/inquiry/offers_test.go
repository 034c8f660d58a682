// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package inquiry_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	testingclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/inquiry"
)

func noon() time.Time { return time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC) }

func forbidden() error { return apierrors.NewForbidden(schema.GroupResource{}, "", errors.New("no")) }

// inquirer may not list the kinds that are named.
func inquirer(t *testing.T, objects []client.Object, hidden ...client.ObjectList) *inquiry.Inquirer {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).WithInterceptorFuncs(interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			kind, err := c.GroupVersionKindFor(list)
			if err != nil {
				return err
			}
			for _, f := range hidden {
				if no, err := c.GroupVersionKindFor(f); err == nil && no == kind {
					return forbidden()
				}
			}
			return c.List(ctx, list, opts...)
		},
	}).Build()
	q, err := inquiry.New(c, testingclock.NewFakePassiveClock(noon()))
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func capability(name string, ready metav1.ConditionStatus) *v1alpha1.Capability {
	c := &v1alpha1.Capability{ObjectMeta: metav1.ObjectMeta{Name: name}}
	c.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: ready, Message: "as it is"}}
	return c
}

func policyFor(name string, effect v1alpha1.PolicyEffect, edits ...func(*v1alpha1.CapabilityPolicySpec)) *v1alpha1.CapabilityPolicy {
	p := &v1alpha1.CapabilityPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.CapabilityPolicySpec{Effect: effect,
		Capabilities: []string{"publish", "rotate"}, Repos: []string{"web-app"}, Environments: []string{"preview"},
		Requesters: []v1alpha1.Subject{{Kind: v1alpha1.SubjectUser, Name: "bot"}}}}
	for _, edit := range edits {
		edit(&p.Spec)
	}
	return p
}

func TestOffersAreWhatSomePolicyLetsSomebodyAskFor(t *testing.T) {
	q := inquirer(t, []client.Object{
		capability("publish", metav1.ConditionTrue), capability("rotate", metav1.ConditionFalse), capability("read", metav1.ConditionTrue),
		policyFor("here", v1alpha1.EffectAllow, func(p *v1alpha1.CapabilityPolicySpec) { p.Namespaces = []string{"agents"} }),
		policyFor("elsewhere", v1alpha1.EffectAllow, func(p *v1alpha1.CapabilityPolicySpec) { p.Namespaces = []string{"others"} }),
		policyFor("for-another", v1alpha1.EffectAllow, func(p *v1alpha1.CapabilityPolicySpec) { p.Requesters[0].Name = "another" }),
		policyFor("not-valid", v1alpha1.EffectAllow, func(p *v1alpha1.CapabilityPolicySpec) {
			p.When = []v1alpha1.Expression{{Expression: "nonsense", Message: "never"}}
		}),
		policyFor("freeze", v1alpha1.EffectDeny, func(p *v1alpha1.CapabilityPolicySpec) { p.Capabilities = []string{"rotate"} }),
		policyFor("only-denied", v1alpha1.EffectDeny, func(p *v1alpha1.CapabilityPolicySpec) { p.Capabilities = []string{"read"} }),
	})
	offers, unread, err := q.Offers(t.Context(), v1alpha1.Identity{Username: "bot"}, "agents")
	if err != nil || len(unread) > 0 {
		t.Fatal(unread, err)
	}
	var got []string
	for _, o := range offers {
		got = append(got, o.Capability.Name+" "+o.NotReady)
		for _, p := range slices.Concat(o.Allows, o.Denies) {
			got = append(got, p.Name)
		}
	}
	if want := []string{"publish ", "here", "rotate as it is", "here", "freeze"}; !slices.Equal(got, want) {
		t.Errorf("offered: %q, want %q", got, want)
	}
}

// TestWhatOfTheCatalogueIsUnreadIsNamed: without it no refusal means anything.
func TestWhatOfTheCatalogueIsUnreadIsNamed(t *testing.T) {
	who, ask := v1alpha1.Identity{Username: "bot"}, inquiry.Ask{Capability: "publish", Namespace: "agents"}
	for _, list := range []client.ObjectList{&v1alpha1.CapabilityList{}, &v1alpha1.CapabilityPolicyList{}} {
		offers, unread, err := inquirer(t, nil, list).Offers(t.Context(), who, "agents")
		if err != nil || len(unread) != 1 || offers != nil {
			t.Errorf("offered without %T: %v, %q, %v", list, offers, unread, err)
		}
	}
	limited := policyFor("limited", v1alpha1.EffectAllow, func(p *v1alpha1.CapabilityPolicySpec) { p.Limits = &v1alpha1.Limits{} })
	found, err := inquirer(t, []client.Object{limited}, &v1alpha1.CapabilityGrantList{}).Would(t.Context(), who, ask)
	if err != nil || found.Blind || len(found.Unread) != 1 {
		t.Errorf("how many are out is taken for the catalogue: %q, %v", found.Unread, err)
	}
	found, err = inquirer(t, nil, &v1alpha1.CapabilityPolicyList{}).Would(t.Context(), who, ask)
	if err != nil || !found.Blind {
		t.Errorf("the policies are not taken for the catalogue: %q, %v", found.Unread, err)
	}
}
