// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package catalog

import (
	"context"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/controller/observe"
	"github.com/valetkey/valetkey/internal/policy"
	"github.com/valetkey/valetkey/internal/provider"
)

func ofGitHub(owner string) *v1alpha1.Capability {
	return &v1alpha1.Capability{ObjectMeta: metav1.ObjectMeta{Name: "artifacts-of-" + owner},
		Spec: v1alpha1.CapabilitySpec{GitHub: &v1alpha1.GitHubCapability{Owner: owner, Repositories: []string{"*"}}}}
}

// TestPolicy_WhatMeansNothingIsSaid: a Deny that matches nothing looks like one that nobody has tried to pass.
func TestPolicy_WhatMeansNothingIsSaid(t *testing.T) {
	denies := func(repos []string, expressions ...string) v1alpha1.CapabilityPolicySpec {
		s := v1alpha1.CapabilityPolicySpec{Effect: v1alpha1.EffectDeny, Capabilities: []string{"*"}, Repos: repos}
		for _, e := range expressions {
			s.When = append(s.When, v1alpha1.Expression{Expression: e, Message: "as asked"})
		}
		return s
	}
	ofCapabilities := func(names ...string) v1alpha1.CapabilityPolicySpec {
		return v1alpha1.CapabilityPolicySpec{Effect: v1alpha1.EffectDeny, Capabilities: names}
	}
	for _, tt := range []struct {
		name         string
		spec         v1alpha1.CapabilityPolicySpec
		capabilities []client.Object
		reason       string
		words        string
	}{
		{"a name as GitHub has it", denies([]string{"acme/Payments"}, "request.repo != 'docs'"), []client.Object{ofGitHub("acme")}, v1alpha1.ReasonReady, ""},
		{"another owner's name", denies([]string{"payments", "mallory/payments"}), []client.Object{ofGitHub("acme")}, v1alpha1.ReasonNameImpossible,
			"the policy is in force, and some of it means nothing: repos: no request can have mallory/payments: mend the name"},
		{"a name that another capability takes", denies([]string{"mallory/payments"}), []client.Object{ofGitHub("acme"), ofGitHub("mallory")}, v1alpha1.ReasonReady, ""},
		{"an expression that no request fits", denies(nil, "request.repo == 'acme/payments'"), []client.Object{ofGitHub("acme")}, v1alpha1.ReasonNameImpossible,
			`when[0]: it compares request.repo with "acme/payments", which no request has: write "payments", as those requests do`},
		{"a capability that there is not", ofCapabilities("artifacts-of-acmee"), []client.Object{ofGitHub("acme")}, v1alpha1.ReasonNameImpossible,
			"some of it means nothing: there is no capability artifacts-of-acmee: mend the name, or add the capability"},
		{"a capability that there is beside it", ofCapabilities("artifacts-of-acme", "artifacts-of-acmee"), []client.Object{ofGitHub("acme")},
			v1alpha1.ReasonNameImpossible, "there is no capability artifacts-of-acmee"},
		{"a capability that there is", ofCapabilities("artifacts-of-acme"), []client.Object{ofGitHub("acme")}, v1alpha1.ReasonReady, ""},
		{"no capability is known", denies([]string{"mallory/payments"}), nil, v1alpha1.ReasonReady, ""},
		{"an expression that does not compile", denies([]string{"mallory/payments"}, "nonsense("), []client.Object{ofGitHub("acme")}, v1alpha1.ReasonExpressionInvalid, "when[0]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			scheme := runtime.NewScheme()
			if err := v1alpha1.AddToScheme(scheme); err != nil {
				t.Fatal(err)
			}
			p := &v1alpha1.CapabilityPolicy{ObjectMeta: metav1.ObjectMeta{Name: "p", Generation: 1}, Spec: tt.spec}
			c := fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(p).WithObjects(append(tt.capabilities, p)...).Build()
			compiler, err := policy.NewCompiler()
			if err != nil {
				t.Fatal(err)
			}
			controller := &PolicyController{Writer: Writer{Client: c, Clock: clocktesting.NewFakePassiveClock(time.Unix(60, 0))}, Policies: observe.NewPolicies(c, compiler)}
			if _, err := controller.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(p)}); err != nil {
				t.Fatal(err)
			}
			if err := c.Get(t.Context(), client.ObjectKeyFromObject(p), p); err != nil {
				t.Fatal(err)
			}
			ready := meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionReady)
			if ready == nil || ready.Reason != tt.reason || (ready.Status == metav1.ConditionTrue) != (tt.reason == v1alpha1.ReasonReady) || !strings.Contains(ready.Message, tt.words) {
				t.Errorf("got %+v, want %s: %s", ready, tt.reason, tt.words)
			}
			// What is missing beside it can come with the next object that is applied.
			if stalled := meta.IsStatusConditionTrue(p.Status.Conditions, v1alpha1.ConditionStalled); stalled != (tt.reason == v1alpha1.ReasonExpressionInvalid) {
				t.Errorf("stalled: %t", stalled)
			}
		})
	}
}

// TestReady_WhatIsBeingDeletedIsOfNoUse though a finalizer holds it.
func TestReady_WhatIsBeingDeletedIsOfNoUse(t *testing.T) {
	for effect, want := range map[v1alpha1.PolicyEffect]string{
		v1alpha1.EffectAllow: v1alpha1.ReasonBeingDeleted,
		v1alpha1.EffectDeny:  v1alpha1.ReasonReady,
	} {
		p := &v1alpha1.CapabilityPolicy{ObjectMeta: metav1.ObjectMeta{Name: "p", Generation: 1, Finalizers: []string{"example.com/keep"}},
			Spec: v1alpha1.CapabilityPolicySpec{Effect: effect}}
		scheme := runtime.NewScheme()
		if err := v1alpha1.AddToScheme(scheme); err != nil {
			t.Fatal(err)
		}
		c := fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(p).WithObjects(p).Build()
		compiler, err := policy.NewCompiler()
		if err != nil {
			t.Fatal(err)
		}
		policies := observe.NewPolicies(c, compiler)
		controller := &PolicyController{Writer: Writer{Client: c, Clock: clocktesting.NewFakePassiveClock(time.Unix(60, 0))}, Policies: policies}
		reconcile := func() string {
			t.Helper()
			if _, err := controller.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(p)}); err != nil {
				t.Fatal(err)
			}
			if err := c.Get(t.Context(), client.ObjectKeyFromObject(p), p); err != nil {
				t.Fatal(err)
			}
			return meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionReady).Reason
		}
		if got := reconcile(); got != v1alpha1.ReasonReady {
			t.Errorf("%s, before: %s", effect, got)
		}
		if err := c.Delete(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		if got := reconcile(); got != want {
			t.Errorf("%s, being deleted: %s, want %s", effect, got, want)
		}
		set, err := policies.Set(t.Context(), &observe.World{})
		if list := set.All(); err != nil || len(list) != 1 || !list[0].Leaving() {
			t.Errorf("%s: what was compiled before is used on: %v", effect, err)
		}
	}
}

// TestStore_AConflictIsTriedAgain: whoever labels an object does not bring it back, for what is watched is its spec.
func TestStore_AConflictIsTriedAgain(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	named := metav1.ObjectMeta{Name: "x", Generation: 1}
	objects := []client.Object{&v1alpha1.CapabilityProvider{ObjectMeta: named}, &v1alpha1.Capability{ObjectMeta: named}, &v1alpha1.CapabilityPolicy{ObjectMeta: named}}
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).WithStatusSubresource(objects...).WithInterceptorFuncs(interceptor.Funcs{
		SubResourceUpdate: func(context.Context, client.Client, string, client.Object, ...client.SubResourceUpdateOption) error {
			return apierrors.NewConflict(schema.GroupResource{Resource: "x"}, "x", nil)
		}}).Build()
	compiler, err := policy.NewCompiler()
	if err != nil {
		t.Fatal(err)
	}
	writer, backends := Writer{Client: c, Clock: clocktesting.NewFakePassiveClock(time.Unix(60, 0))}, provider.NewSet()
	for name, controller := range map[string]reconcile.Reconciler{
		"provider": &ProviderController{writer, backends}, "capability": &CapabilityController{writer, backends},
		"policy": &PolicyController{writer, observe.NewPolicies(c, compiler)},
	} {
		result, err := controller.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKey{Name: "x"}})
		if err == nil && result.RequeueAfter == 0 {
			t.Errorf("%s: the status was not stored, and nothing asks again", name)
		}
	}
}
