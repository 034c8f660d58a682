// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package request decides on CapabilityRequests: it observes, asks internal/policy, and creates the grant.
package request

import (
	"context"
	"errors"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/controller/inuse"
	"github.com/valetkey/valetkey/internal/controller/observe"
	"github.com/valetkey/valetkey/internal/controller/stored"
	"github.com/valetkey/valetkey/internal/limits"
	"github.com/valetkey/valetkey/internal/policy"
	"github.com/valetkey/valetkey/internal/telemetry"
	"github.com/valetkey/valetkey/internal/visible"
)

// Auditor writes one audit record, and returns when it is stored.
type Auditor interface {
	Append(ctx context.Context, record audit.Record) (v1alpha1.AuditAnchor, error)
}

// Controller decides on requests. Its exported fields are all required.
type Controller struct {
	// Client writes; it reads from the cache.
	Client client.Client
	// Live reads past the cache.
	Live client.Reader
	// Observer gathers the facts.
	Observer *observe.Observer
	// Marks marks a namespace before a grant is made in it.
	Marks *inuse.Marks
	// Limits reserves what policies' limits leave room for. It is told what is stored by Feed.
	Limits *limits.Ledger
	// Audit records refusals before they are told.
	Audit Auditor
	// Events tells people.
	Events events.EventRecorder
	// Metrics counts decisions.
	Metrics *telemetry.Metrics
	// Traces tells the same of each request.
	Traces *telemetry.Traces
	// Clock is the present time.
	Clock clock.PassiveClock
	// Retention is how long an ended request is kept.
	Retention time.Duration
	// JobTimeout is how long a request waits for its Job.
	JobTimeout time.Duration

	mu sync.Mutex
	// written are the requests as this process's own writes left them, until the cache shows that or a later state.
	written map[types.NamespacedName]*v1alpha1.CapabilityRequest
}

// Reconcile takes a request one step on, and writes its status once.
func (c *Controller) Reconcile(ctx context.Context, key ctrl.Request) (ctrl.Result, error) {
	before := &v1alpha1.CapabilityRequest{}
	err := c.Client.Get(ctx, key.NamespacedName, before)
	if apierrors.IsNotFound(err) {
		c.wrote(key.NamespacedName, nil)
		return ctrl.Result{}, c.gone(ctx, key.NamespacedName)
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	before = c.newest(before)
	if before.DeletionTimestamp != nil {
		if err := c.gone(ctx, key.NamespacedName); err != nil {
			return ctrl.Result{}, err
		}
	}
	request := before.DeepCopy()
	outcome, err := c.step(ctx, request)
	if err != nil && request.Status.GrantName == "" && request.Status.EndedAt == nil {
		c.waits(request, v1alpha1.ReasonIndeterminate, waitsFor(err))
	}
	c.standing(request)
	writeErr := c.write(ctx, before, request, outcome.lease)
	if apierrors.IsConflict(writeErr) {
		c.wrote(key.NamespacedName, nil)
		// Somebody else wrote in between. Their write brings the request back here as a rule, and a second in any case.
		return ctrl.Result{RequeueAfter: time.Second}, err
	}
	return ctrl.Result{RequeueAfter: outcome.after}, errors.Join(client.IgnoreNotFound(writeErr), err)
}

// write stores the status if it changed, and tells people of it afterwards. lease is that of the grant that was just made.
func (c *Controller) write(ctx context.Context, before, after *v1alpha1.CapabilityRequest, lease string) error {
	if equality.Semantic.DeepEqual(before.Status, after.Status) {
		return nil
	}
	if err := c.restore(ctx, before, after); err != nil {
		return err
	}
	same := sameRequest
	if after.Status.EndedAt != nil || after.Status.GrantName != "" {
		same = sameToTheEnd
	}
	err := stored.Status(ctx, c.Client, c.Live, before, after, same,
		func(from, to *v1alpha1.CapabilityRequest) { to.Status = from.Status })
	if err != nil {
		return err
	}
	c.wrote(client.ObjectKeyFromObject(after), after)
	c.announce(before, after, lease)
	return nil
}

// newest is a request in its latest known state.
func (c *Controller) newest(cached *v1alpha1.CapabilityRequest) *v1alpha1.CapabilityRequest {
	c.mu.Lock()
	defer c.mu.Unlock()
	name := client.ObjectKeyFromObject(cached)
	written := c.written[name]
	if written == nil {
		return cached
	}
	newest := stored.Newest(cached, written)
	if newest == cached {
		delete(c.written, name)
	}
	return newest
}

// wrote remembers what was stored of a request, as much of it as the cache has: whoever makes requests faster than they are looked at would
// fill the memory with their reviews. It is nil if that is not known any more.
func (c *Controller) wrote(name types.NamespacedName, request *v1alpha1.CapabilityRequest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if request == nil {
		delete(c.written, name)
		return
	}
	if c.written == nil {
		c.written = map[types.NamespacedName]*v1alpha1.CapabilityRequest{}
	}
	c.written[name] = observe.SlimRequest(*request)
}

// restore makes the review of a status whole that is to be stored: the cache has only a part of it.
func (c *Controller) restore(ctx context.Context, before, after *v1alpha1.CapabilityRequest) error {
	if before.Status.Review == nil {
		return nil
	}
	whole := &v1alpha1.CapabilityRequest{}
	if err := c.Live.Get(ctx, client.ObjectKeyFromObject(before), whole); err != nil {
		return err
	}
	if whole.UID != before.UID || whole.Status.Review == nil || whole.Status.Review.Digest != before.Status.Review.Digest {
		return apierrors.NewConflict(v1alpha1.GroupVersion.WithResource("capabilityrequests").GroupResource(), before.Name,
			errors.New("it is another one by now"))
	}
	before.Status.Review, after.Status.Review = whole.Status.Review, whole.Status.Review
	return nil
}

// sameRequest reports whether a request says still what it said.
func sameRequest(a, b *v1alpha1.CapabilityRequest) bool {
	return sameToTheEnd(a, b) && equality.Semantic.DeepEqual(a.Decisions, b.Decisions)
}

// sameToTheEnd leaves out what people decided: no decision changes that a request was granted, or that it was refused.
func sameToTheEnd(a, b *v1alpha1.CapabilityRequest) bool {
	return a.UID == b.UID && a.Generation == b.Generation && a.DeletionTimestamp.Equal(b.DeletionTimestamp) &&
		equality.Semantic.DeepEqual(a.Status, b.Status)
}

// waitsFor says why a request waits. Nothing of a grant is secret, so what refuses one is said in its own words.
func waitsFor(err error) string {
	const most = 500
	if refused := (*refusedError)(nil); errors.As(err, &refused) {
		return policy.Clip("the grant cannot be stored: "+visible.Line(refused.Error()), most)
	}
	return "the operator could not find out: " + reasonOf(err)
}

// refusedError is what the API server says of a grant that it refuses for certain, as for a quota.
type refusedError struct{ error }

func (e *refusedError) Unwrap() error { return e.error }

// reasonOf keeps an error short: the API server's own words can be long, and repeat what a user wrote.
func reasonOf(err error) string {
	if reason := apierrors.ReasonForError(err); reason != "" {
		return string(reason)
	}
	const most = 200
	return policy.Clip(visible.Line(err.Error()), most)
}
