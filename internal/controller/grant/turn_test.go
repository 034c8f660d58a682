// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/fairqueue"
	"github.com/valetkey/valetkey/internal/live"
)

// TestWhatFailsWaitsBehindWhatCanGoOn: whatever it is that brings a failing grant back, and also behind those that were there first. Before
// both comes what is to be stopped.
func TestWhatFailsWaitsBehindWhatCanGoOn(t *testing.T) {
	queue := newQueue()
	defer queue.ShutDown()
	now := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	turn := InTurn(clocktesting.NewFakePassiveClock(now))
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
	until := func(at time.Time) v1alpha1.CapabilityGrantStatus {
		return v1alpha1.CapabilityGrantStatus{ExpiresAt: &metav1.Time{Time: at}}
	}
	update(status("is-issued", until(now.Add(time.Second))))
	lives := until(now.Add(time.Second))
	lives.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionDelivered, Status: metav1.ConditionTrue}}
	update(status("lives", lives))
	lives.ExpiresAt = &metav1.Time{Time: now}
	update(status("expired", lives))
	over := until(now)
	over.Stop = &v1alpha1.GrantStop{}
	update(status("expired-and-ends", over))
	failing.Stop = &v1alpha1.GrantStop{}
	update(status("ends", failing))
	update(status("got-it", v1alpha1.CapabilityGrantStatus{Attempt: 2, Conditions: issued(metav1.ConditionTrue, v1alpha1.ReasonIssued)}))
	turn.Generic(t.Context(), event.GenericEvent{Object: status("answered", v1alpha1.CapabilityGrantStatus{})}, queue)
	turn.Create(t.Context(), event.CreateEvent{Object: status("new", v1alpha1.CapabilityGrantStatus{})}, queue)

	want := []string{"revoked", "deleted", "expired", "is-issued", "expired-and-ends", "ends", "got-it", "answered", "new", "lives", "there-at-the-start", "backs-off", "ended", "tries-again", "failed-again"}
	for i, name := range want {
		item, _ := queue.Get()
		if item.Name != name {
			t.Errorf("number %d is %s, not %s", i, item.Name, name)
		}
		queue.Done(item)
	}
}

func newQueue() *fairqueue.Queue {
	limiter := workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](time.Second, time.Minute)
	return fairqueue.New("", limiter, 64, clock.RealClock{})
}

// TestWhatLivesComesFirstWhenItsTimeIsUp: also where it waits to be looked at behind all others, or is to come back before that.
func TestWhatLivesComesFirstWhenItsTimeIsUp(t *testing.T) {
	for name, wait := range map[string]func(*fairqueue.Queue, reconcile.Request){
		"in the queue": func(*fairqueue.Queue, reconcile.Request) {},
		"for its turn": func(q *fairqueue.Queue, one reconcile.Request) {
			for range 2 { // both are looked at, and one is to be looked at later
				item, _ := q.Get()
				q.Done(item)
			}
			q.AddWithOpts(priorityqueue.AddOpts{After: time.Second, Priority: ptr.To(relook)}, one)
			q.AddWithOpts(priorityqueue.AddOpts{Priority: ptr.To(relook)}, reconcile.Request{NamespacedName: types.NamespacedName{Name: "another"}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q, turn := newQueue(), InTurn(clock.RealClock{})
				defer q.ShutDown()
				for name, after := range map[string]time.Duration{"one": time.Minute, "another": time.Hour} {
					g := &v1alpha1.CapabilityGrant{ObjectMeta: metav1.ObjectMeta{Name: name}}
					g.Status.ExpiresAt = &metav1.Time{Time: time.Now().Add(after)}
					g.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionDelivered, Status: metav1.ConditionTrue}}
					turn.Create(t.Context(), event.CreateEvent{Object: g}, q)
				}
				wait(q, reconcile.Request{NamespacedName: types.NamespacedName{Name: "one"}})
				time.Sleep(time.Minute)
				synctest.Wait()
				if item, priority, _ := q.GetWithPriority(); item.Name != "one" || priority != first {
					t.Errorf("%s is first, with priority %d", item.Name, priority)
				}
			})
		})
	}
}

// TestANewLeaderStopsWhatIsOverBeforeItLooksAtTheRest: it meets all that live at once, and what the policies say of each takes a look past
// the cache.
func TestANewLeaderStopsWhatIsOverBeforeItLooksAtTheRest(t *testing.T) {
	for name, tt := range map[string]struct {
		later  time.Duration
		stops  bool
		behind int
	}{
		"one that lives":   {later: time.Minute, behind: relook},
		"one that is over": {later: 11 * time.Minute, stops: true}, // to be revoked in its turn
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t)
			e.delivered()
			e.must(e.client.Delete(t.Context(), &v1alpha1.CapabilityPolicy{ObjectMeta: metav1.ObjectMeta{Name: "previews"}}))
			e.clock.Step(tt.later)
			e.grants = e.controller()
			result, err := e.grants.Reconcile(t.Context(), ctrl.Request{NamespacedName: key()})
			e.must(err)
			if stops := e.grant().Status.Stop != nil; stops != tt.stops || result.RequeueAfter != time.Millisecond || ptr.Deref(result.Priority, 100) != tt.behind {
				t.Errorf("at once it is stopped: %t, and comes back after %s with priority %v", stops, result.RequeueAfter, ptr.Deref(result.Priority, 100))
			}
			e.reconcile()
			if e.grant().Status.Stop == nil {
				t.Error("nobody asked the policies")
			}
		})
	}
}

// TestALookDoesNotOutliveItsGrant: it can be held up by the API server, or by other looks.
func TestALookDoesNotOutliveItsGrant(t *testing.T) {
	e := newEnv(t)
	e.delivered()
	e.grants = e.controller()
	e.grants.Observer.Live = live.New(interceptor.NewClient(e.client.(client.WithWatch), interceptor.Funcs{
		Get: func(ctx context.Context, _ client.WithWatch, _ client.ObjectKey, _ client.Object, _ ...client.GetOption) error {
			<-ctx.Done()
			return ctx.Err()
		},
	}))
	look := func() ctrl.Result {
		result, err := e.grants.Reconcile(t.Context(), ctrl.Request{NamespacedName: key()})
		e.must(err)
		return result
	}
	look()
	const left = 20 * time.Millisecond
	e.clock.SetTime(e.grant().Status.ExpiresAt.Add(-left))
	if result := look(); e.grant().Status.Stop != nil || result.RequeueAfter != left || ptr.Deref(result.Priority, 0) != first {
		t.Errorf("it is stopped: %t, and comes back after %s with priority %d", e.grant().Status.Stop != nil, result.RequeueAfter, ptr.Deref(result.Priority, 0))
	}
	e.clock.Step(left)
	if look(); e.grant().Status.Stop == nil {
		t.Error("it is not stopped when its time is up")
	}
}
