// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package grant takes CapabilityGrants from their creation to their end: it observes, asks internal/lifecycle for the one next
// step, and takes it.
package grant

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/controller/observe"
	"github.com/valetkey/valetkey/internal/controller/stored"
	"github.com/valetkey/valetkey/internal/lifecycle"
	"github.com/valetkey/valetkey/internal/live"
	"github.com/valetkey/valetkey/internal/telemetry"
)

// Auditor writes one audit record, and returns when it is stored.
type Auditor interface {
	Append(ctx context.Context, record audit.Record) (v1alpha1.AuditAnchor, error)
}

// Controller takes grants to their end. Its exported fields are all required.
type Controller struct {
	// Client writes; it reads from the cache.
	Client client.Client
	// Live reads past the cache.
	Live *live.Reader
	// Observer gathers the facts about the request.
	Observer *observe.Observer
	// Peers finds the grants of one policy.
	Peers Peers
	// Audit records every step before what it tells of becomes usable.
	Audit Auditor
	// Events tells people.
	Events events.EventRecorder
	// Metrics counts ends, and times what came before.
	Metrics *telemetry.Metrics
	// Traces tells the same of each grant.
	Traces *telemetry.Traces
	// Clock is the present time.
	Clock clock.PassiveClock
	// Answered is told of each grant whose back end has answered; what it is told comes back to Reconcile.
	Answered chan event.GenericEvent

	calls  calls
	mu     sync.Mutex
	memory map[types.UID]*memory
	byName map[types.NamespacedName]types.UID
}

// errInTurn: what is left to find out about the grant is costly, and waits until all others were looked at.
var errInTurn = errors.New("it is looked at in its turn")

// errAgain: the stored object has moved on; what moved it brings the grant back here.
var errAgain = errors.New("the grant was changed in between")

// maxSteps bounds one pass. The longest way, from a stored grant to a delivered credential, takes seven.
const maxSteps = 16

// Reconcile takes a grant as far as it can go now.
func (c *Controller) Reconcile(ctx context.Context, key ctrl.Request) (ctrl.Result, error) {
	grant := &v1alpha1.CapabilityGrant{}
	if err := c.Client.Get(ctx, key.NamespacedName, grant); err != nil {
		if apierrors.IsNotFound(err) {
			c.forget(key.NamespacedName)
			return ctrl.Result{}, c.releaseOrphans(ctx, key.NamespacedName)
		}
		return ctrl.Result{}, err
	}
	mem := c.recall(grant)
	grant = mem.newest(grant)
	defer mem.passed()
	for step := range maxSteps {
		unheard := c.hear(ctx, grant, mem)
		facts, err := c.facts(ctx, grant, mem)
		if errors.Is(err, errInTurn) {
			return inTurn(grant, c.Clock.Now()), nil
		}
		if err != nil {
			return ctrl.Result{}, err
		}
		now := c.Clock.Now()
		action := lifecycle.Next(facts, now)
		if unheard != nil && action.Step != lifecycle.Stop {
			return again(unheard) // Whatever an answer is that cannot be stored, it keeps nobody from ending the grant.
		}
		if action.Step == lifecycle.Wait {
			err := c.wait(ctx, grant, facts, action)
			if err == nil && len(mem.unsaid) > 0 {
				err = c.write(ctx, grant, func(*v1alpha1.CapabilityGrantStatus) {}) // no other write comes before it is brought back
			}
			result := requeue(action.Until, now)
			result.Priority = ptr.To(ptr.Deref(priority(grant, now.Add(result.RequeueAfter)), 0)) // nil would be that with which it came
			if err != nil {
				return again(err)
			}
			return result, nil
		}
		if takesTurn(action.Step, step) {
			return inTurn(grant, now), nil
		}
		if err := c.take(ctx, grant, mem, facts, action); err != nil {
			return again(err)
		}
		if action.Step == lifecycle.Release {
			return ctrl.Result{}, nil
		}
	}
	return ctrl.Result{}, fmt.Errorf("no rest after %d steps", maxSteps)
}

// takesTurn: the step waits for the same grant's next pass, behind what is there already. Of all that end now the Secrets are deleted before
// Jobs are stopped, and those before a back end is asked to revoke; what has ended is swept once nothing is left to do for those that live. A
// new leader has all of them before it.
func takesTurn(next lifecycle.Step, taken int) bool {
	return taken > 0 && (next == lifecycle.StopJob || next == lifecycle.Revoke || next == lifecycle.Sweep)
}

func requeue(until, now time.Time) ctrl.Result {
	if until.IsZero() {
		return ctrl.Result{}
	}
	return ctrl.Result{RequeueAfter: max(until.Sub(now), time.Millisecond)}
}

// again looks at a grant that has moved on once more: what moved it brings it back as a rule, and a second later in any case.
func again(err error) (ctrl.Result, error) {
	if errors.Is(err, errAgain) {
		return ctrl.Result{RequeueAfter: time.Second}, nil
	}
	return ctrl.Result{}, err
}

// write stores the status, guarded by resourceVersion, and leaves the stored object in grant.
func (c *Controller) write(ctx context.Context, grant *v1alpha1.CapabilityGrant, change func(*v1alpha1.CapabilityGrantStatus)) error {
	changed, mem := grant.DeepCopy(), c.recall(grant)
	change(&changed.Status)
	c.standing(changed)
	if equality.Semantic.DeepEqual(grant.Status, changed.Status) && len(mem.unsaid) == 0 {
		return nil
	}
	err := stored.Status(ctx, c.Client, c.Live, grant, changed, sameGrant,
		func(from, to *v1alpha1.CapabilityGrant) { to.Status = from.Status })
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		mem.written = nil
		return errAgain
	}
	if err != nil {
		return fmt.Errorf("storing the grant's status: %w", err)
	}
	*grant = *changed
	mem.written, mem.unsaid = observe.SlimGrant(grant.DeepCopy()), nil
	return nil
}

// sameGrant reports whether a grant says still what it said.
func sameGrant(a, b *v1alpha1.CapabilityGrant) bool {
	return a.UID == b.UID && a.Generation == b.Generation && a.DeletionTimestamp.Equal(b.DeletionTimestamp) &&
		a.Revoked() == b.Revoked() && a.Abandoned() == b.Abandoned() && equality.Semantic.DeepEqual(a.Status, b.Status)
}

// take does one step. Every step can be repeated.
func (c *Controller) take(ctx context.Context, g *v1alpha1.CapabilityGrant, mem *memory, f lifecycle.Facts, a lifecycle.Action) error {
	switch a.Step {
	case lifecycle.BeginAttempt:
		return c.beginAttempt(ctx, g, mem, a.Attempt)
	case lifecycle.Withdraw:
		return c.withdraw(ctx, g, mem)
	case lifecycle.TryPod:
		return c.tried(mem, c.tryPod(ctx, g, mem))
	case lifecycle.CopyInputs:
		return c.tried(mem, c.copyInputs(ctx, g, mem))
	case lifecycle.Mint:
		return c.mint(ctx, g, mem)
	case lifecycle.StoreSecret:
		return c.tried(mem, c.storeSecret(ctx, g, mem))
	case lifecycle.StartJob:
		return c.tried(mem, c.startJob(ctx, g, mem))
	case lifecycle.RecordDelivery:
		return c.recordDelivery(ctx, g, f)
	case lifecycle.Stop:
		return c.stop(ctx, g, mem, a.Stop)
	case lifecycle.StopJob:
		return c.stopJob(ctx, g, mem)
	case lifecycle.EndPods:
		return c.endPods(ctx, g, mem, f)
	case lifecycle.Revoke:
		return c.revoke(ctx, g, mem, f)
	case lifecycle.End:
		return c.end(ctx, g, mem, f, a)
	case lifecycle.ReportUnseen:
		return c.reportUnseen(ctx, g, a)
	case lifecycle.Sweep:
		return c.sweep(ctx, g, mem)
	case lifecycle.ReleasePods:
		return c.releasePods(ctx, g, mem)
	case lifecycle.Release:
		return c.release(ctx, g)
	default:
		return fmt.Errorf("unknown step %q", a.Step)
	}
}
