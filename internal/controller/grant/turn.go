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

// relook is the priority of a grant that lives, and of which nothing is known but that somebody wrote it: whether it still may is looked at
// behind what is to be done for others, by few workers (see package fairqueue), for such a look can take a while.
const relook = -1

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
	case lives(g) && g.DeletionTimestamp == nil:
		return ptr.To(relook)
	case !failing, g.Status.Stop != nil, g.DeletionTimestamp != nil:
		return nil
	case meta.IsStatusConditionTrue(g.Status.Conditions, v1alpha1.ConditionIssued):
		return nil
	}
	return ptr.To(later)
}

// lives: the grant's credential was delivered, and nothing stops it yet.
func lives(g *v1alpha1.CapabilityGrant) bool {
	return g.Status.EndedAt == nil && g.Status.Stop == nil && meta.IsStatusConditionTrue(g.Status.Conditions, v1alpha1.ConditionDelivered)
}

// inTurn brings a grant back behind what is there already.
func inTurn(g *v1alpha1.CapabilityGrant, now time.Time) ctrl.Result {
	return ctrl.Result{RequeueAfter: time.Millisecond, Priority: ptr.To(ptr.Deref(priority(g, now), 0))}
}

// InTurn brings grants to their controller: first those that are to be stopped, and those that fail, or have ended, after those that can go
// on. One that lives comes once more, and first, when its time is up, wherever it waits by then.
func InTurn(now clock.PassiveClock) handler.Funcs {
	add := func(object client.Object, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) {
		item := reconcile.Request{NamespacedName: client.ObjectKeyFromObject(object)}
		g, ok := object.(*v1alpha1.CapabilityGrant)
		ordered, orders := queue.(priorityqueue.PriorityQueue[reconcile.Request])
		if !ok || !orders {
			queue.Add(item)
			return
		}
		at := now.Now()
		ordered.AddWithOpts(priorityqueue.AddOpts{Priority: priority(g, at)}, item)
		if lives(g) && g.Status.ExpiresAt.After(at) {
			ordered.AddWithOpts(priorityqueue.AddOpts{After: g.Status.ExpiresAt.Sub(at), Priority: ptr.To(first)}, item)
		}
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
