// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// TestHowAGrantStandsIsWrittenOnce writes a grant of each phase, and a minute later once more.
func TestHowAGrantStandsIsWrittenOnce(t *testing.T) {
	stop := &v1alpha1.GrantStop{Reason: v1alpha1.ReasonExpired}
	ended := ptr.To(metav1.NewTime(time.Unix(1, 0)))
	for name, row := range map[string]struct {
		status v1alpha1.CapabilityGrantStatus
		// before is what stood there.
		before string
		want   map[string]string
	}{
		"nothing was done yet": {want: map[string]string{"Reconciling": "Waiting"}},
		"issuing is tried again": {
			status: v1alpha1.CapabilityGrantStatus{Conditions: conditions("!Issued/BackingOff", "!Delivered/Waiting")},
			want:   map[string]string{"Reconciling": "BackingOff"},
		},
		"it is issued and not delivered": {
			status: v1alpha1.CapabilityGrantStatus{Conditions: conditions("Issued/Issued", "!Delivered/Waiting")},
			before: "Reconciling/BackingOff",
			want:   map[string]string{"Reconciling": "Waiting"},
		},
		"its Job runs": {
			status: v1alpha1.CapabilityGrantStatus{Conditions: conditions("Issued/Issued", "Delivered/Delivered", "!Ended/Active")},
			before: "Reconciling/Waiting",
			want:   map[string]string{},
		},
		"it is being ended": {
			status: v1alpha1.CapabilityGrantStatus{Stop: stop, Conditions: conditions("Issued/Issued", "Delivered/Delivered", "!Ended/Ending")},
			want:   map[string]string{"Reconciling": "Ending"},
		},
		"its Job succeeded": {
			status: v1alpha1.CapabilityGrantStatus{Stop: stop, EndedAt: ended, Outcome: v1alpha1.OutcomeCompleted, Conditions: conditions("Ended/JobCompleted")},
			before: "Reconciling/Ending",
			want:   map[string]string{},
		},
		"its time was up": {
			status: v1alpha1.CapabilityGrantStatus{Stop: stop, EndedAt: ended, Outcome: v1alpha1.OutcomeExpired, Conditions: conditions("Ended/Expired")},
			before: "Reconciling/Ending",
			want:   map[string]string{"Stalled": "Expired"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := &v1alpha1.CapabilityGrant{ObjectMeta: metav1.ObjectMeta{Namespace: "agents", Name: "g", Generation: 2}, Status: row.status}
			if row.before != "" {
				g.Status.Conditions = append(g.Status.Conditions, conditions(row.before)...)
			}
			scheme := runtime.NewScheme()
			if err := v1alpha1.AddToScheme(scheme); err != nil {
				t.Fatal(err)
			}
			clock := clocktesting.NewFakePassiveClock(time.Unix(60, 0))
			c := &Controller{Clock: clock, Client: fake.NewClientBuilder().WithScheme(scheme).WithObjects(g).WithStatusSubresource(g).Build()}
			expectWritten(t, c, g, true)
			if diff := cmp.Diff(row.want, standing(g)); diff != "" || g.Status.ObservedGeneration != 2 {
				t.Errorf("observed generation %d\n%s", g.Status.ObservedGeneration, diff)
			}
			clock.SetTime(time.Unix(120, 0))
			expectWritten(t, c, g, false)
		})
	}
}

// expectWritten writes the grant as it is.
func expectWritten(t *testing.T, c *Controller, g *v1alpha1.CapabilityGrant, want bool) {
	t.Helper()
	before := g.ResourceVersion
	if err := c.write(t.Context(), g, func(*v1alpha1.CapabilityGrantStatus) {}); err != nil {
		t.Fatal(err)
	}
	if got := g.ResourceVersion != before; got != want {
		t.Errorf("it was written: %v; want %v", got, want)
	}
}

// standing is the reason of each condition that kstatus reads.
func standing(g *v1alpha1.CapabilityGrant) map[string]string {
	found := map[string]string{}
	for _, c := range g.Status.Conditions {
		if c.Status == metav1.ConditionTrue && (c.Type == v1alpha1.ConditionReconciling || c.Type == v1alpha1.ConditionStalled) {
			found[c.Type] = c.Reason
		}
	}
	return found
}

// conditions are written TYPE/REASON, with a ! in front where they are False.
func conditions(words ...string) []metav1.Condition {
	list := make([]metav1.Condition, len(words))
	for i, word := range words {
		kind, reason, _ := strings.Cut(word, "/")
		list[i] = metav1.Condition{Type: strings.TrimPrefix(kind, "!"), Status: metav1.ConditionTrue, Reason: reason}
		if kind != list[i].Type {
			list[i].Status = metav1.ConditionFalse
		}
	}
	return list
}
