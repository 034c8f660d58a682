// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// TestWhatFailsWaitsBehindWhatCanGoOn: whatever it is that brings a failing grant back, and also behind those that were there first.
func TestWhatFailsWaitsBehindWhatCanGoOn(t *testing.T) {
	queue := priorityqueue.New[reconcile.Request]("grants")
	defer queue.ShutDown()
	turn := InTurn()
	status := func(name string, status v1alpha1.CapabilityGrantStatus) *v1alpha1.CapabilityGrant {
		return &v1alpha1.CapabilityGrant{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: status}
	}
	issued := func(is metav1.ConditionStatus, reason string) []metav1.Condition {
		return []metav1.Condition{{Type: v1alpha1.ConditionIssued, Status: is, Reason: reason}}
	}
	update := func(g *v1alpha1.CapabilityGrant) {
		before := g.DeepCopy()
		before.ResourceVersion = "before"
		turn.Update(t.Context(), event.UpdateEvent{ObjectOld: before, ObjectNew: g}, queue)
	}
	update(status("backs-off", v1alpha1.CapabilityGrantStatus{Attempt: 1, Conditions: issued(metav1.ConditionFalse, v1alpha1.ReasonBackingOff)}))
	update(status("ended", v1alpha1.CapabilityGrantStatus{Attempt: 1, EndedAt: &metav1.Time{}}))
	update(status("tries-again", v1alpha1.CapabilityGrantStatus{Attempt: 2, Conditions: issued(metav1.ConditionFalse, v1alpha1.ReasonIssuing)}))
	turn.Generic(t.Context(), event.GenericEvent{Object: status("failed-again", v1alpha1.CapabilityGrantStatus{Attempt: 2})}, queue)
	turn.Create(t.Context(), event.CreateEvent{Object: status("there-at-the-start", v1alpha1.CapabilityGrantStatus{}), IsInInitialList: true}, queue)
	failing := v1alpha1.CapabilityGrantStatus{Attempt: 3, Conditions: issued(metav1.ConditionFalse, v1alpha1.ReasonBackingOff)}
	revoked := status("revoked", failing)
	revoked.Annotations = map[string]string{v1alpha1.AnnotationRevoke: "enough"}
	update(revoked)
	deleted := status("deleted", failing)
	deleted.DeletionTimestamp = &metav1.Time{}
	update(deleted)
	failing.Stop = &v1alpha1.GrantStop{}
	update(status("ends", failing))
	update(status("got-it", v1alpha1.CapabilityGrantStatus{Attempt: 2, Conditions: issued(metav1.ConditionTrue, v1alpha1.ReasonIssued)}))
	turn.Generic(t.Context(), event.GenericEvent{Object: status("answered", v1alpha1.CapabilityGrantStatus{})}, queue)
	turn.Create(t.Context(), event.CreateEvent{Object: status("new", v1alpha1.CapabilityGrantStatus{})}, queue)

	want := []string{"revoked", "deleted", "ends", "got-it", "answered", "new", "there-at-the-start", "backs-off", "ended", "tries-again", "failed-again"}
	for i, name := range want {
		item, _ := queue.Get()
		if item.Name != name {
			t.Errorf("number %d is %s, not %s", i, item.Name, name)
		}
		queue.Done(item)
	}
}
