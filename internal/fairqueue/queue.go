// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package fairqueue is a controller's work queue that serves namespaces in turn. Within a priority, each namespace
// that has something waiting is given one worker before any is given a second, and within a namespace the first
// that comes is the first that is served. No namespace holds more workers than are left for others. What has a priority
// below 0 can wait, and may take long: it is given half of the workers at the most, and an eighth of them in one namespace,
// so that what cannot wait finds some. Delays, retries and metrics are those of client-go's work queue.
package fairqueue

import (
	"time"

	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// Queue is safe for concurrent use.
type Queue struct {
	// delays hands to the ready items what was added for later.
	delays workqueue.TypedDelayingInterface[delayed]
	// ready holds what can be worked on now.
	ready   *workqueue.Typed[reconcile.Request]
	order   *order
	limiter workqueue.TypedRateLimiter[reconcile.Request]
}

var _ priorityqueue.PriorityQueue[reconcile.Request] = &Queue{}

// New makes the queue of a controller that has a number of workers. Its metrics carry the name.
func New(
	name string, limiter workqueue.TypedRateLimiter[reconcile.Request], workers int, clock clock.WithTicker,
) *Queue {
	q := &Queue{order: newOrder(workers), limiter: limiter}
	q.ready = workqueue.NewTypedWithConfig(workqueue.TypedQueueConfig[reconcile.Request]{
		Name: name, Clock: clock, Queue: q.order})
	q.delays = workqueue.NewTypedDelayingQueueWithConfig(workqueue.TypedDelayingQueueConfig[delayed]{
		Name: name, Clock: clock, Queue: due{queue: q}})
	return q
}

// delayed is an item that is to be added later, with a priority. Each priority has a time of its own: what comes back soon,
// and can wait, does not lose the time at which it cannot.
type delayed struct {
	item     reconcile.Request
	priority int
}

// due takes in what was added for later when its time has come. A delaying queue does no more with it than its methods.
type due struct {
	workqueue.TypedInterface[delayed]
	queue *Queue
}

func (d due) Add(its delayed)    { d.queue.add(its.item, its.priority) }
func (d due) ShutDown()          { d.queue.ready.ShutDown() }
func (d due) ShuttingDown() bool { return d.queue.ready.ShuttingDown() }

// add adds an item now. client-go's queue wakes no worker for one that waits already, and may have been raised to where it
// is not held back any more.
func (q *Queue) add(item reconcile.Request, priority int) {
	q.order.want(item, priority)
	q.ready.Add(item)
	q.wake()
}

func (q *Queue) wake() {
	if q.order.wakes() {
		q.ready.Add(wakeUp)
	}
}

// AddWithOpts adds items, which keep the highest priority that they were added with. Without one, the priority is 0. What is
// added for later keeps the earliest time for each priority.
func (q *Queue) AddWithOpts(o priorityqueue.AddOpts, items ...reconcile.Request) {
	for _, item := range items {
		after, priority := o.After, ptr.Deref(o.Priority, 0)
		if o.RateLimited {
			if retry := q.limiter.When(item); after == 0 || retry < after {
				after = retry
			}
		}
		if after > 0 {
			q.delays.AddAfter(delayed{item, priority}, after)
			continue
		}
		q.add(item, priority)
	}
}

// Add adds an item with the priority 0.
func (q *Queue) Add(item reconcile.Request) { q.AddWithOpts(priorityqueue.AddOpts{}, item) }

// AddAfter adds an item when a time has passed.
func (q *Queue) AddAfter(item reconcile.Request, after time.Duration) {
	q.AddWithOpts(priorityqueue.AddOpts{After: after}, item)
}

// AddRateLimited adds an item when the rate limiter lets it be tried again.
func (q *Queue) AddRateLimited(item reconcile.Request) {
	q.AddWithOpts(priorityqueue.AddOpts{RateLimited: true}, item)
}

// GetWithPriority waits for the next item, and returns it with its priority. Done has to be called with it. A queue
// that was shut down hands out nothing more.
func (q *Queue) GetWithPriority() (item reconcile.Request, priority int, shutdown bool) {
	for {
		q.order.waits(1)
		item, shutdown = q.ready.Get()
		q.order.waits(-1)
		switch {
		case shutdown:
			return item, 0, true
		case item == wakeUp:
			q.ready.Done(item)
		case q.ready.ShuttingDown():
			q.Done(item)
			return reconcile.Request{}, 0, true
		default:
			q.wake()
			return item, q.order.priorityOf(item), false
		}
	}
}

// Get is GetWithPriority without the priority.
func (q *Queue) Get() (item reconcile.Request, shutdown bool) {
	item, _, shutdown = q.GetWithPriority()
	return item, shutdown
}

// Done says that an item was worked on. If it was added meanwhile, it is next in its namespace's turn.
func (q *Queue) Done(item reconcile.Request) {
	q.order.done(item)
	q.ready.Done(item)
}

// Forget lets the rate limiter forget an item's failures.
func (q *Queue) Forget(item reconcile.Request) { q.limiter.Forget(item) }

// NumRequeues is how often the rate limiter counted an item.
func (q *Queue) NumRequeues(item reconcile.Request) int { return q.limiter.NumRequeues(item) }

// Len is how many items can be handed out now.
func (q *Queue) Len() int { return q.ready.Len() }

// ShutDown ends the queue: whoever waits for an item gets none.
func (q *Queue) ShutDown() { q.delays.ShutDown() }

// ShutDownWithDrain ends the queue when what is being worked on is done.
func (q *Queue) ShutDownWithDrain() {
	q.ready.ShutDownWithDrain()
	q.delays.ShutDown()
}

// ShuttingDown reports whether the queue was ended.
func (q *Queue) ShuttingDown() bool { return q.ready.ShuttingDown() }
