// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"context"
	"errors"
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/controller/stored"
	"github.com/valetkey/valetkey/internal/lifecycle"
	"github.com/valetkey/valetkey/internal/projection"
	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/internal/telemetry"
)

// beginAttempt stores the attempt before anything is minted under its number, and with it the latest instant at which what may
// be minted could still work. The Secrets of earlier attempts go.
func (c *Controller) beginAttempt(ctx context.Context, g *v1alpha1.CapabilityGrant, mem *memory, attempt int32) error {
	lease, backend, err := c.lease(ctx, g, attempt)
	if err != nil {
		return err
	}
	now := c.Clock.Now()
	err = c.write(ctx, g, func(s *v1alpha1.CapabilityGrantStatus) {
		most, known := backend.Lifetime(lease)
		until := metav1.NewTime(now.Add(most))
		lifecycle.Expose(s, v1alpha1.AttemptExposure{Attempt: attempt, Until: until, Unknown: !known})
		s.Attempt, s.RevocationHandle = attempt, backend.Handle(lease)
		s.IssuedAt, s.ExpiresAt, s.SecretName, s.Credential = nil, nil, "", nil
		s.Inputs = int32(len(mem.inputs))
		c.condition(g, s, v1alpha1.ConditionIssued, metav1.ConditionFalse, v1alpha1.ReasonIssuing, fmt.Sprintf("attempt %d", attempt))
		c.condition(g, s, v1alpha1.ConditionDelivered, metav1.ConditionFalse, v1alpha1.ReasonWaiting, "nothing is issued yet")
		c.condition(g, s, v1alpha1.ConditionEnded, metav1.ConditionFalse, v1alpha1.ReasonActive, "the grant lives")
	})
	if err != nil {
		return err
	}
	mem.AttemptFacts = lifecycle.AttemptFacts{Began: attempt, BeganAt: now}
	mem.credential, mem.asked, mem.writes, mem.claim = nil, false, 0, g.ResourceVersion
	return c.deleteSecrets(ctx, g, attempt-1)
}

// withdraw takes back the attempt that this process began: nothing was asked of the back end for it, so nothing can
// work.
func (c *Controller) withdraw(ctx context.Context, g *v1alpha1.CapabilityGrant, mem *memory) error {
	err := c.write(ctx, g, func(s *v1alpha1.CapabilityGrantStatus) {
		lifecycle.NeverIssued(s, mem.Began)
		c.condition(g, s, v1alpha1.ConditionIssued, metav1.ConditionFalse, v1alpha1.ReasonLimitReached,
			fmt.Sprintf("attempt %d was taken back before the back end was asked: it would exceed limits.active of policy %s",
				mem.Began, g.Spec.Approval.Policy))
	})
	if err != nil {
		return err
	}
	mem.AttemptFacts = lifecycle.AttemptFacts{}
	return nil
}

// lease is what a back end is asked for. The capability is looked up again: that it is the one that was approved was seen by its digest, and
// that it is the one that was seen is for whoever asks the back end to compare.
func (c *Controller) lease(ctx context.Context, g *v1alpha1.CapabilityGrant, attempt int32) (provider.Lease, provider.Provider, error) {
	capability, prov := &v1alpha1.Capability{}, &v1alpha1.CapabilityProvider{}
	if err := c.Client.Get(ctx, client.ObjectKey{Name: g.Spec.Capability}, capability); err != nil {
		return provider.Lease{}, nil, fmt.Errorf("looking up the capability: %w", err)
	}
	if err := c.Client.Get(ctx, client.ObjectKey{Name: g.Spec.Provider.Name}, prov); err != nil {
		return provider.Lease{}, nil, fmt.Errorf("looking up the provider: %w", err)
	}
	backend, err := c.Observer.Providers.For(prov)
	if err != nil {
		return provider.Lease{}, nil, err
	}
	return provider.Lease{
		ID: g.Spec.LeaseID, Attempt: attempt, Capability: capability, Provider: prov,
		Values: provider.Values{Repo: g.Spec.Repo, Environment: g.Spec.Environment, Namespace: g.Namespace},
		TTL:    time.Duration(g.Spec.TTLSeconds) * time.Second,
		Grant:  g.Name, Requester: g.Spec.Requester, Task: g.Spec.TaskID,
		Handle: g.Status.RevocationHandle,
	}, backend, nil
}

// mint asks the back end, once, for this attempt's credential. The attempt is in the audit log before it is asked. The answer is
// not waited for: a back end that is slow to say no would keep those waiting whose back end says yes.
func (c *Controller) mint(ctx context.Context, g *v1alpha1.CapabilityGrant, mem *memory) error {
	lease, backend, err := c.lease(ctx, g, mem.Began)
	if err != nil {
		return err
	}
	if mem.catalogue != catalogueOf(lease.Capability, lease.Provider) {
		return errAgain // it changed since it was looked at in this pass
	}
	if err := c.record(ctx, g, audit.EventIssuing, func(r *audit.Record) { r.Session = lease.Session() }); err != nil {
		return err
	}
	if mem.TooLate(c.Clock.Now()) {
		return errAgain // an audit log that nobody could write to has kept it
	}
	mem.Minting, mem.asked = true, true
	began, name, within := mem.Began, g.Name, c.Traces.Within(ctx, g, telemetry.StageIssue) // g itself changes while the back end is asked
	lookAgain := func(failed bool) {
		grant := &v1alpha1.CapabilityGrant{ObjectMeta: metav1.ObjectMeta{Namespace: lease.Values.Namespace, Name: name}}
		if failed {
			grant.Status.Attempt = began // which says when it is its turn
		}
		select {
		case c.Answered <- event.GenericEvent{Object: grant}:
		case <-ctx.Done():
		}
	}
	lease.Keep = func(issuing context.Context, handle string) error {
		return c.keep(issuing, mem, handle, func() { lookAgain(false) })
	}
	go func() {
		credential, err := c.calls.issue(within, backend, lease)
		if credential != nil && lease.Capability.Spec.Exec != nil {
			credential = credential.ForExec()
		}
		c.mu.Lock()
		mem.answer = &answer{credential: credential, failure: err, at: c.Clock.Now()}
		c.mu.Unlock()
		lookAgain(err != nil)
	}()
	return nil
}

// keepTime bounds how long a back end waits for its handle to be stored: while the API server is away, it is better told no.
const keepTime = 30 * time.Second

// keeping is a handle that a back end waits for to be stored.
type keeping struct {
	handle string
	done   chan error
}

// keep has a handle stored by whoever reconciles the grant, for nobody else writes its status.
func (c *Controller) keep(ctx context.Context, mem *memory, handle string, lookAgain func()) error {
	ctx, cancel := context.WithTimeout(ctx, keepTime)
	defer cancel()
	asked := &keeping{handle: handle, done: make(chan error, 1)}
	c.mu.Lock()
	mem.keeping = asked
	c.mu.Unlock()
	lookAgain()
	select {
	case err := <-asked.done:
		return err
	case <-ctx.Done():
		c.mu.Lock()
		mem.keeping = nil
		c.mu.Unlock()
		return ctx.Err()
	}
}

// storeHandle stores the handle that a back end waits for, if one does.
func (c *Controller) storeHandle(ctx context.Context, g *v1alpha1.CapabilityGrant, mem *memory) error {
	c.mu.Lock()
	asked := mem.keeping
	c.mu.Unlock()
	if asked == nil {
		return nil
	}
	err := errNotOurs
	if g.Status.Attempt == mem.Began && g.Status.EndedAt == nil {
		err = c.write(ctx, g, func(s *v1alpha1.CapabilityGrantStatus) { s.RevocationHandle = asked.handle })
	}
	if err != nil && !errors.Is(err, errNotOurs) {
		return err
	}
	c.mu.Lock()
	mem.keeping = nil
	c.mu.Unlock()
	asked.done <- err
	return nil
}

// errNotOurs: another process has begun the next attempt, or ended the grant.
var errNotOurs = errors.New("the attempt is another process's now")

// tryPod asks the API server whether it would take the Job's Pod: quotas, LimitRanges, Pod Security, classes that are not
// there and somebody's webhooks say no before anything is issued. Nothing is stored.
func (c *Controller) tryPod(ctx context.Context, g *v1alpha1.CapabilityGrant, mem *memory) error {
	if err := c.Client.Create(ctx, projection.TrialPod(g, mem.template), client.DryRunAll); err != nil {
		return &writeError{what: "making the Job's Pod", cause: err}
	}
	mem.PodTried = true
	return nil
}

// backoff doubles from one second to five minutes.
func backoff(attempt int32) time.Duration {
	return min(time.Second<<min(attempt-1, 20), longestBackoff)
}

// longestBackoff is the longest time between two attempts.
const longestBackoff = 5 * time.Minute

// storeSecret audits what was issued, stores it, and stores in the status what became of it. A Secret that is there already
// is this attempt's own: only the operator can make one, and no other process uses this number.
func (c *Controller) storeSecret(ctx context.Context, g *v1alpha1.CapabilityGrant, mem *memory) error {
	credential := mem.credential
	if err := c.recordIssued(ctx, g, mem, credential); err != nil {
		return err
	}
	issued := metav1.NewTime(mem.issuedAt)
	expires := metav1.NewTime(mem.issuedAt.Add(time.Duration(g.Spec.TTLSeconds) * time.Second))
	if expires.After(credential.ExpiresAt()) {
		expires = metav1.NewTime(credential.ExpiresAt())
	}
	err := c.Client.Create(ctx, projection.Secret(g, mem.Began, credential, issued.Time, expires.Time))
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return &writeError{what: "storing the Secret", cause: err, secret: true}
	}
	err = c.write(ctx, g, func(s *v1alpha1.CapabilityGrantStatus) {
		until := metav1.NewTime(credential.WorksUntil())
		lifecycle.Expose(s, v1alpha1.AttemptExposure{Attempt: mem.Began, Until: until, Answered: true})
		s.IssuedAt, s.ExpiresAt = &issued, &expires
		s.SecretName = projection.SecretName(g.UID, mem.Began)
		s.Credential = reference(credential)
		c.condition(g, s, v1alpha1.ConditionIssued, metav1.ConditionTrue, v1alpha1.ReasonIssued,
			fmt.Sprintf("as %s; the credential itself works until %s", credential.Principal(),
				s.Exposed[len(s.Exposed)-1].Until.UTC().Format(time.RFC3339)))
	})
	mem.Stored = err == nil
	return err
}

// startJob is the commit point: one patch, guarded by what the Job would run.
func (c *Controller) startJob(ctx context.Context, g *v1alpha1.CapabilityGrant, mem *memory) error {
	left := g.Status.ExpiresAt.Sub(c.Clock.Now())
	if left < time.Second {
		return errAgain
	}
	job := &batchv1.Job{}
	if err := c.Live.Get(ctx, client.ObjectKey{Namespace: g.Namespace, Name: g.Spec.Job.Name}, job); err != nil {
		if apierrors.IsNotFound(err) {
			return errAgain // the cache will show that it is gone
		}
		return fmt.Errorf("looking up the Job: %w", err)
	}
	if uid, _, started := projection.Started(job); string(job.UID) != g.Spec.Job.UID || started || !suspended(job) {
		if started && uid == g.UID {
			mem.job = job
			return nil
		}
		return errAgain
	}
	if err := c.record(ctx, g, audit.EventDelivering, nil); err != nil {
		return err
	}
	patch, err := projection.StartPatch(job, projection.Annotations(g, job, mem.Began, mem.credential, pointers(mem.inputs), left), left)
	if err != nil {
		return err
	}
	looked := job.DeepCopy()
	if err := c.Client.Patch(ctx, job, client.RawPatch(types.JSONPatchType, patch)); err != nil {
		return c.notStarted(ctx, looked, err)
	}
	mem.job, mem.credential = job, nil
	return nil
}

// notStarted tells a Job that is another one now, which the watch will show, from one that the API server does not let
// start.
func (c *Controller) notStarted(ctx context.Context, looked *batchv1.Job, err error) error {
	if stored.Moved(ctx, c.Live, looked, func(now *batchv1.Job) bool { return now.Generation != looked.Generation }) {
		return errAgain
	}
	return &writeError{what: "starting the Job", cause: err}
}

func (c *Controller) recordDelivery(ctx context.Context, g *v1alpha1.CapabilityGrant, f lifecycle.Facts) error {
	return c.write(ctx, g, func(s *v1alpha1.CapabilityGrantStatus) {
		s.SecretName = f.Job.StartedSecret
		c.condition(g, s, v1alpha1.ConditionDelivered, metav1.ConditionTrue, v1alpha1.ReasonDelivered,
			fmt.Sprintf("to container %s of Job %s", g.Spec.Job.Container, g.Spec.Job.Name))
		c.sayRunning(g, s, f)
	})
}
