// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package request

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/limits"
	"github.com/valetkey/valetkey/internal/policy"
)

// TestApprovals_AreCountedWhileTheRequestWaitsForThem.
func TestApprovals_AreCountedWhileTheRequestWaitsForThem(t *testing.T) {
	deadline := time.Unix(3600, 0)
	c := &Controller{Clock: clocktesting.NewFakePassiveClock(time.Unix(60, 0))}
	r := &v1alpha1.CapabilityRequest{}
	c.wait(r, policy.Decision{Verdict: policy.Pending, Reason: v1alpha1.ReasonAwaitingApproval, ApprovedBy: []string{"alice"},
		ApprovalsMissing: 1, Recheck: deadline})
	if diff := cmp.Diff(&v1alpha1.Approvals{Required: 2, Given: 1, Until: &metav1.Time{Time: deadline}}, r.Status.Approvals); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	c.wait(r, policy.Decision{Verdict: policy.Pending, Reason: v1alpha1.ReasonLimitReached, ApprovedBy: []string{"alice", "bob"}})
	if r.Status.Approvals != nil {
		t.Errorf("%+v are counted of a request that waits for none", r.Status.Approvals)
	}
	r.Status.Approvals = &v1alpha1.Approvals{Required: 2, Given: 1}
	c.granted(r, &v1alpha1.CapabilityGrant{})
	if r.Status.Approvals != nil {
		t.Errorf("%+v are counted of a request that is granted", r.Status.Approvals)
	}
}

// TestStanding_NamesAndErrorsAreNoWordsOfTheOperators: authenticators and webhooks have any text.
func TestStanding_NamesAndErrorsAreNoWordsOfTheOperators(t *testing.T) {
	c := &Controller{Clock: clocktesting.NewFakePassiveClock(time.Unix(60, 0))}
	r, g := &v1alpha1.CapabilityRequest{}, &v1alpha1.CapabilityGrant{}
	g.Spec.Approval = v1alpha1.GrantApproval{Policy: "one", ApprovedBy: []string{"alice@example.com", "bob, carol"}}
	c.granted(r, g)
	const want = `allowed by policy one, approved by [alice@example.com "bob, carol"]`
	if got := r.Status.Conditions[0].Message; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	odd := errors.New("denied: no\n\x1b[31m\u202eway")
	for _, err := range []error{odd, &refusedError{odd}} {
		if got := waitsFor(err); !strings.HasSuffix(got, `: denied: no\u000a\u001b[31m\u202eway`) {
			t.Errorf("got %q", got)
		}
	}
}

// TestHowARequestStands goes through its phases, and wants a second look to change nothing: what has not changed is not written.
func TestHowARequestStands(t *testing.T) {
	for name, row := range map[string]struct {
		phase func(*Controller, *v1alpha1.CapabilityRequest)
		want  map[string]string
	}{
		"it waits for its Job": {
			phase: func(*Controller, *v1alpha1.CapabilityRequest) {},
			want:  map[string]string{"Reconciling": "AwaitingJob"},
		},
		"it waits for an approval": {
			phase: func(c *Controller, r *v1alpha1.CapabilityRequest) {
				c.waits(r, v1alpha1.ReasonAwaitingApproval, "one is missing")
			},
			want: map[string]string{"Reconciling": "AwaitingApproval"},
		},
		"it could not be found out": {
			phase: func(c *Controller, r *v1alpha1.CapabilityRequest) {
				c.waits(r, v1alpha1.ReasonIndeterminate, "timeout")
			},
			want: map[string]string{"Reconciling": "Indeterminate"},
		},
		"it is granted": {
			phase: func(_ *Controller, r *v1alpha1.CapabilityRequest) { r.Status.GrantName = "g" },
			want:  map[string]string{},
		},
		"its Job did its work": {
			phase: func(c *Controller, r *v1alpha1.CapabilityRequest) { c.end(r, v1alpha1.ReasonGrantEnded, "Completed") },
			want:  map[string]string{},
		},
		"it was refused": {
			phase: func(c *Controller, r *v1alpha1.CapabilityRequest) {
				c.fail(r, v1alpha1.ReasonRefused, "no policy lets it")
			},
			want: map[string]string{"Stalled": "Refused"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			clock := clocktesting.NewFakePassiveClock(time.Unix(60, 0))
			c := &Controller{Clock: clock}
			r := &v1alpha1.CapabilityRequest{ObjectMeta: metav1.ObjectMeta{Generation: 2}}
			c.waits(r, v1alpha1.ReasonAwaitingJob, "create the Job")
			c.standing(r)
			row.phase(c, r)
			c.standing(r)
			if diff := cmp.Diff(row.want, standing(r)); diff != "" || r.Status.ObservedGeneration != 2 {
				t.Errorf("observed generation %d\n%s", r.Status.ObservedGeneration, diff)
			}
			before := r.DeepCopy()
			clock.SetTime(time.Unix(120, 0))
			c.standing(r)
			if diff := cmp.Diff(before.Status, r.Status); diff != "" {
				t.Errorf("a minute later it stands otherwise:\n%s", diff)
			}
		})
	}
}

// standing is the reason of each condition that kstatus reads.
func standing(r *v1alpha1.CapabilityRequest) map[string]string {
	found := map[string]string{}
	for _, c := range r.Status.Conditions {
		if c.Status == metav1.ConditionTrue && (c.Type == v1alpha1.ConditionReconciling || c.Type == v1alpha1.ConditionStalled) {
			found[c.Type] = c.Reason
		}
	}
	return found
}

// TestReconcile_WhatIsDecidedStaysDecided: an API server that fails once, after a request was granted or refused, leaves
// what was decided as it is. The clock of each condition is the controller's own.
func TestReconcile_WhatIsDecidedStaysDecided(t *testing.T) {
	allowed := []metav1.Condition{{Type: v1alpha1.ConditionAllowed, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonAllowed}}
	refused := []metav1.Condition{{Type: v1alpha1.ConditionAllowed, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonRefused}}
	long := metav1.NewTime(time.Unix(60, 0))
	for name, row := range map[string]struct {
		status v1alpha1.CapabilityRequestStatus
		want   string
	}{
		"granted":   {v1alpha1.CapabilityRequestStatus{GrantName: "x", Conditions: allowed}, v1alpha1.ReasonAllowed},
		"refused":   {v1alpha1.CapabilityRequestStatus{EndedAt: &long, Conditions: refused}, v1alpha1.ReasonRefused},
		"undecided": {v1alpha1.CapabilityRequestStatus{}, v1alpha1.ReasonIndeterminate},
	} {
		t.Run(name, func(t *testing.T) {
			scheme := runtime.NewScheme()
			if err := v1alpha1.AddToScheme(scheme); err != nil {
				t.Fatal(err)
			}
			r := &v1alpha1.CapabilityRequest{ObjectMeta: metav1.ObjectMeta{Namespace: "agents", Name: "x"}, Status: row.status}
			stored := fake.NewClientBuilder().WithScheme(scheme).WithObjects(r).WithStatusSubresource(r).Build()
			away := errors.New("etcdserver: leader changed")
			fails := interceptor.NewClient(stored, interceptor.Funcs{
				Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
					if _, ok := o.(*v1alpha1.CapabilityGrant); ok {
						return away
					}
					return c.Get(ctx, key, o, opts...)
				},
				Delete: func(context.Context, client.WithWatch, client.Object, ...client.DeleteOption) error { return away },
			})
			clock := clocktesting.NewFakePassiveClock(time.Unix(3600, 0))
			c := &Controller{Client: fails, Live: fails, Clock: clock, Limits: limits.New(clock), Events: events.NewFakeRecorder(10)}
			key := client.ObjectKeyFromObject(r)
			if _, err := c.Reconcile(t.Context(), ctrl.Request{NamespacedName: key}); !errors.Is(err, away) {
				t.Fatal(err)
			}
			if err := stored.Get(t.Context(), key, r); err != nil {
				t.Fatal(err)
			}
			got := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionAllowed)
			if got == nil || got.Reason != row.want || got.LastTransitionTime.After(clock.Now()) {
				t.Errorf("it says %+v", got)
			}
		})
	}
}
