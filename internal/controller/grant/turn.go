// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/lifecycle"
)

// first is the priority of a grant whose credential is to be taken away, and that nobody has stopped yet: those wait for nothing that is
// given, or looked at again.
const first = 1

// later is the priority of a grant whose back end fails it, and of one that has ended. Thousands of those, each with its attempts, answers
// and writes, or to be swept by a new leader, wait behind all others, also behind those that are there when the operator starts.
const later = handler.LowPriority - 1

// priority at a time is nil for a grant that comes in the usual order.
func priority(g *v1alpha1.CapabilityGrant, at time.Time) *int {
	issued := meta.FindStatusCondition(g.Status.Conditions, v1alpha1.ConditionIssued)
	failing := g.Status.Attempt > 1 || (issued != nil && issued.Reason == v1alpha1.ReasonBackingOff)
	switch {
	case g.Status.EndedAt != nil && g.DeletionTimestamp == nil:
		return ptr.To(later)
	case g.Status.EndedAt == nil && g.Status.Stop == nil && (g.DeletionTimestamp != nil || g.Revoked() || lifecycle.Expired(g, at)):
		return ptr.To(first)
	case !failing, g.Status.Stop != nil, g.DeletionTimestamp != nil:
		return nil
	case meta.IsStatusConditionTrue(g.Status.Conditions, v1alpha1.ConditionIssued):
		return nil
	}
	return ptr.To(later)
}

// inTurn brings a grant back behind what is there already.
func inTurn(g *v1alpha1.CapabilityGrant, now time.Time) ctrl.Result {
	return ctrl.Result{RequeueAfter: time.Millisecond, Priority: ptr.To(ptr.Deref(priority(g, now), 0))}
}

// InTurn brings grants to their controller: first those that are to be stopped, and those that fail, or have ended, after those that can go
// on.
func InTurn(now clock.PassiveClock) handler.Funcs {
	add := func(object client.Object, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) {
		item := reconcile.Request{NamespacedName: client.ObjectKeyFromObject(object)}
		g, ok := object.(*v1alpha1.CapabilityGrant)
		ordered, orders := queue.(priorityqueue.PriorityQueue[reconcile.Request])
		if !ok || !orders {
			queue.Add(item)
			return
		}
		ordered.AddWithOpts(priorityqueue.AddOpts{Priority: priority(g, now.Now())}, item)
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			add(e.Object, q)
		},
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			add(e.ObjectNew, q)
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			add(e.Object, q)
		},
		GenericFunc: func(_ context.Context, e event.GenericEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			add(e.Object, q)
		},
	}
}
