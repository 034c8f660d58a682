// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/controller/stored"
	"github.com/valetkey/valetkey/internal/lifecycle"
	"github.com/valetkey/valetkey/internal/policy"
	"github.com/valetkey/valetkey/internal/projection"
	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/internal/telemetry"
	"github.com/valetkey/valetkey/internal/visible"
)

// mostUnstored is how often a grant's end is looked at again because somebody else has written the grant, as whoever may
// revoke it can do for ever.
const mostUnstored = 3

// stop stores why the grant ends, once it is in the audit log, and takes the Secrets away at once: of many grants that expire together none
// then waits until the others' Jobs and back ends have been told.
func (c *Controller) stop(ctx context.Context, g *v1alpha1.CapabilityGrant, mem *memory, stop v1alpha1.GrantStop) error {
	stop.At = metav1.NewTime(c.Clock.Now())
	const most = 1000
	stop.Message = policy.Clip(stop.Message, most)
	if mem.credential != nil {
		// It was issued, and nobody is given it now.
		if err := c.recordIssued(ctx, g, mem, mem.credential); err != nil {
			return err
		}
	}
	if mem.stopping != stop.Reason {
		if err := c.record(ctx, g, audit.EventStopping, func(r *audit.Record) {
			r.Reason, r.Message = stop.Reason, policy.Clip(stop.Message, audit.MaxMessage)
		}); err != nil {
			return err
		}
		mem.stopping = stop.Reason
	}
	err := c.write(ctx, g, func(s *v1alpha1.CapabilityGrantStatus) {
		s.Stop = &stop
		if mem.Began == s.Attempt && !mem.asked {
			lifecycle.NeverIssued(s, mem.Began)
		}
		if mem.credential != nil && !mem.Stored {
			unused(mem.Began, mem.credential)(s)
		}
		c.condition(g, s, v1alpha1.ConditionEnded, metav1.ConditionFalse, v1alpha1.ReasonEnding, stop.Message)
	})
	switch {
	case errors.Is(err, errAgain) && mem.unstored < mostUnstored:
		mem.unstored++
		return err
	case err != nil:
		return cmp.Or(c.stopUnstored(ctx, g, mem), err)
	}
	mem.credential, mem.unstored = nil, 0
	return c.clear(ctx, g, mem)
}

// clear deletes the Secrets of a grant that stops, once: nothing that this process does creates another, and what a leader that woke late
// creates is swept.
func (c *Controller) clear(ctx context.Context, g *v1alpha1.CapabilityGrant, mem *memory) error {
	if mem.cleared {
		return nil
	}
	if err := c.deleteSecrets(ctx, g, g.Status.Attempt); err != nil {
		return err
	}
	mem.cleared = true
	return nil
}

// stopUnstored does what ends a grant, as far as it can, though the API server does not store that it ends: nobody's
// refusal of a status keeps a credential working. All of it is done again once that is stored.
func (c *Controller) stopUnstored(ctx context.Context, g *v1alpha1.CapabilityGrant, mem *memory) error {
	if mem.credential != nil && !mem.Stored {
		mem.sayLater(g, unused(mem.Began, mem.credential))
	}
	mem.credential = nil
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: g.Namespace, Name: g.Spec.Job.Name, UID: types.UID(g.Spec.Job.UID)}}
	stopping := c.Client.Patch(ctx, job, client.RawPatch(types.MergePatchType, projection.StopPatch(job)))
	if stopping != nil && c.isAnotherJob(ctx, job) {
		stopping = nil
	}
	var revoking error
	if now := c.Clock.Now(); !now.Before(mem.RevokeNotBefore) {
		if _, revoking = c.askToRevoke(c.Traces.Within(ctx, g, telemetry.StageEnd), g, mem); revoking != nil {
			mem.revokeFailures++
			mem.RevokeNotBefore = now.Add(cmp.Or(min(provider.RetryAfter(revoking), longestBackoff), backoff(mem.revokeFailures)))
		}
	}
	return errors.Join(c.deleteSecrets(ctx, g, g.Status.Attempt), stopping, revoking)
}

// stopJob suspends the Job: the job-controller ends its Pod, with the short grace that the Pod was given.
func (c *Controller) stopJob(ctx context.Context, g *v1alpha1.CapabilityGrant, mem *memory) error {
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: g.Namespace, Name: g.Spec.Job.Name, UID: types.UID(g.Spec.Job.UID)}}
	err := c.Client.Patch(ctx, job, client.RawPatch(types.MergePatchType, projection.StopPatch(job)))
	if err != nil {
		if c.isAnotherJob(ctx, job) {
			return errAgain // as the watch will show
		}
		mem.StopNotBefore = c.Clock.Now().Add(lifecycle.Recheck)
		return c.held(ctx, g, "the Job could not be stopped: "+saidBy(err))
	}
	if !suspended(job) {
		mem.StopNotBefore = c.Clock.Now().Add(lifecycle.Recheck)
		return c.held(ctx, g, "the Job could not be stopped: somebody's webhook or policy writes suspend: false into it")
	}
	mem.job = job
	return nil
}

// isAnotherJob reports whether the Job is gone, or another one has its name: its UID guards the patch that stops it.
func (c *Controller) isAnotherJob(ctx context.Context, job *batchv1.Job) bool {
	return stored.Moved(ctx, c.Live, job, func(*batchv1.Job) bool { return false })
}

// endPods deletes the Pods that nobody has told to end, with the short grace that they were given. The job-controller
// does so as a rule, but whatever keeps it from looking at the Job keeps the Pods running.
func (c *Controller) endPods(ctx context.Context, g *v1alpha1.CapabilityGrant, mem *memory, f lifecycle.Facts) error {
	mem.EndPodsNotBefore, mem.PodsRefused = c.Clock.Now().Add(lifecycle.Recheck), ""
	for _, p := range f.Pods {
		if p.Gone || p.Deleting || p.Ended {
			continue
		}
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: g.Namespace, Name: p.Name}}
		err := c.Client.Delete(ctx, pod, client.Preconditions{UID: &p.UID}, client.PropagationPolicy(metav1.DeletePropagationBackground))
		if client.IgnoreNotFound(err) != nil { // that another one has its name, the next look shows
			mem.PodsRefused = "Pod " + p.Name + " could not be deleted: " + saidBy(err)
		}
	}
	return nil
}

// abandoned says who abandoned the grant, and why in their words.
func abandoned(g *v1alpha1.CapabilityGrant) string {
	return fmt.Sprintf("abandoned by %s: %s", visible.Name(g.Annotations[v1alpha1.AnnotationAbandonedBy]), visible.Line(g.Annotations[v1alpha1.AnnotationAbandon]))
}

// maxWords is how many bytes of what the API server said are repeated.
const maxWords = 500

// saidBy is what the API server said, on one line: webhooks put any text into it.
func saidBy(err error) string { return visible.Line(policy.Clip(err.Error(), maxWords)) }

// held says what an end waits for. The way to the end goes on.
func (c *Controller) held(ctx context.Context, g *v1alpha1.CapabilityGrant, why string) error {
	return c.write(ctx, g, func(s *v1alpha1.CapabilityGrantStatus) {
		c.condition(g, s, v1alpha1.ConditionEnded, metav1.ConditionFalse, v1alpha1.ReasonEnding, why)
	})
}

// revoke deletes the Secrets and asks the back end to end the credential, which does not wait for a Secret that stays. It creates nothing
// in the namespace, so that it works while that is being deleted.
func (c *Controller) revoke(ctx context.Context, g *v1alpha1.CapabilityGrant, mem *memory, f lifecycle.Facts) error {
	kept := c.clear(ctx, g, mem)
	revocation, err := c.revokeUpstream(ctx, g, mem)
	if g.Abandoned() && (err != nil || kept != nil) { // it was tried once more all the same
		if err != nil {
			revocation = lifecycle.EffectiveRevocation(&g.Status, v1alpha1.Revocation{Mode: v1alpha1.RevocationAtExpiry})
			if provider.StillWorks(err).Unknown {
				revocation.ExposedUntil = nil
			}
			err = nil
		}
		kept = nil
		by := abandoned(g)
		if err := c.record(ctx, g, audit.EventAbandoned, func(r *audit.Record) { r.Reason = by }); err != nil {
			return err
		}
	}
	if err != nil {
		why := "the back end has not confirmed that the credential is revoked: " + err.Error()
		if provider.StillWorks(err).Unknown {
			why += "; until when it works is not known any more"
		}
		return c.revokeAgain(ctx, g, mem, why, provider.RetryAfter(err))
	}
	f.Attempt.Revoked = kept == nil
	ends := kept == nil && lifecycle.Next(f, c.Clock.Now()).Step == lifecycle.End
	if err := c.recordRevocation(ctx, g, mem, revocation, ends); err != nil {
		return err
	}
	if kept != nil {
		return c.revokeAgain(ctx, g, mem, "the back end was told, and something stays here: "+kept.Error(), 0)
	}
	mem.Revoked = true
	return nil
}

// revokeAgain says what is missing, and tries all of it again after a while. However long a back end asks to wait, it is
// no more than five minutes, for a credential works meanwhile.
func (c *Controller) revokeAgain(ctx context.Context, g *v1alpha1.CapabilityGrant, mem *memory, why string, after time.Duration) error {
	mem.revokeFailures++
	mem.RevokeNotBefore = c.Clock.Now().Add(cmp.Or(min(after, longestBackoff), backoff(mem.revokeFailures)))
	return c.held(ctx, g, why)
}

// recordRevocation records and stores what the back end answered, once. Where the grant ends with that, it is stored with the end.
func (c *Controller) recordRevocation(ctx context.Context, g *v1alpha1.CapabilityGrant, mem *memory, revocation v1alpha1.Revocation, ends bool) error {
	if mem.revocation != nil && mem.revocation.Mode == revocation.Mode {
		return nil
	}
	event := func(r *audit.Record) {
		r.Revocation, r.ExposedUntil = string(revocation.Mode), auditTime(revocation.ExposedUntil)
	}
	if err := c.record(ctx, g, audit.EventRevoked, event); err != nil {
		return err
	}
	said := func(s *v1alpha1.CapabilityGrantStatus) {
		s.Revocation = &revocation
		if mem.Failure.Message == "" {
			lifecycle.Answered(s, mem.Began)
		}
	}
	if ends {
		mem.sayLater(g, said)
	} else if err := c.write(ctx, g, said); err != nil {
		return err
	}
	mem.revocation = &revocation
	return nil
}

// revokeUpstream says honestly what became of the credential.
func (c *Controller) revokeUpstream(ctx context.Context, g *v1alpha1.CapabilityGrant, mem *memory) (v1alpha1.Revocation, error) {
	revoked, err := c.askToRevoke(c.Traces.Within(ctx, g, telemetry.StageEnd), g, mem)
	if err != nil {
		return v1alpha1.Revocation{}, err
	}
	now := metav1.NewTime(c.Clock.Now())
	revocation := v1alpha1.Revocation{Mode: revoked.Mode, LeavesOpen: revoked.LeavesOpen}
	if revoked.Mode == v1alpha1.RevocationImmediate {
		revocation.ConfirmedAt = &now
	}
	if revoked.Lingers > 0 {
		until := metav1.NewTime(now.Add(revoked.Lingers))
		revocation.ExposedUntil = &until
	}
	return lifecycle.EffectiveRevocation(&g.Status, revocation), nil
}

// askToRevoke has the back end end whatever was issued for the grant, if anything can have been. What it answers on the way that was not asked
// for works, too: the grant says so from then on, also where it has ended.
func (c *Controller) askToRevoke(ctx context.Context, g *v1alpha1.CapabilityGrant, mem *memory) (provider.Revoked, error) {
	revoked, err := c.revokeOnce(ctx, g)
	works := provider.StillWorks(err)
	if !works.Mismatched {
		return revoked, err
	}
	works.Unknown = works.Unknown || works.Until.IsZero() || lifecycle.ExposedUntil(&g.Status) == nil // it makes nothing known that was not
	if works.Until.IsZero() {
		works.Until = c.Clock.Now()
	}
	learns := learn(g.Status.Attempt, works)
	unstored := c.storeAnswer(ctx, g, mem, learns)
	if unstored != nil {
		mem.sayLater(g, learns)
	}
	return revoked, errors.Join(err, unstored)
}

func (c *Controller) revokeOnce(ctx context.Context, g *v1alpha1.CapabilityGrant) (provider.Revoked, error) {
	if g.Status.CredentialExpiresAt == nil {
		return provider.Revoked{Mode: v1alpha1.RevocationNone}, nil
	}
	backend, err := c.Observer.Providers.OfType(g.Spec.Provider.Type)
	if err != nil {
		return provider.Revoked{}, err
	}
	issued := provider.Issued{ID: g.Spec.LeaseID, Attempts: g.Status.Attempt, Handle: g.Status.RevocationHandle,
		Until: g.Status.CredentialExpiresAt.Time}
	issued.Unknown, issued.Nothing = lifecycle.ExposedUntil(&g.Status) == nil, lifecycle.Nothing(&g.Status)
	revoked, err := c.calls.revoke(ctx, backend, g.Spec.Provider.Name, caller{capability: g.Spec.Capability, namespace: g.Namespace}, issued)
	if revoked.Left != "" {
		c.tell(g, v1alpha1.ReasonEnding, revoked.Left)
	}
	return revoked, err
}

// end stores the outcome, once it is in the audit log.
func (c *Controller) end(ctx context.Context, g *v1alpha1.CapabilityGrant, mem *memory, f lifecycle.Facts, a lifecycle.Action) error {
	started := max(g.Status.PodsStarted, countStarted(f.Pods))
	outcome, revocation := a.Outcome, a.Revocation
	if outcome != g.Status.Stop.Outcome {
		by := "the end of its containers was not seen; " + abandoned(g)
		if err := c.record(ctx, g, audit.EventAbandoned, func(r *audit.Record) { r.Reason = by }); err != nil {
			return err
		}
	}
	err := c.record(ctx, g, audit.EventEnded, func(r *audit.Record) {
		r.Outcome = audit.Outcome(outcome, started)
		r.Revocation, r.ExposedUntil, r.Reason = string(revocation.Mode), auditTime(revocation.ExposedUntil), g.Status.Stop.Reason
	})
	if err != nil {
		return err
	}
	now := metav1.NewTime(c.Clock.Now())
	err = c.write(ctx, g, func(s *v1alpha1.CapabilityGrantStatus) {
		s.Outcome, s.EndedAt, s.PodsStarted, s.Revocation = outcome, &now, started, &revocation
		c.sayRunning(g, s, f)
		c.condition(g, s, v1alpha1.ConditionEnded, metav1.ConditionTrue, s.Stop.Reason, s.Stop.Message)
		if s.IssuedAt == nil {
			c.condition(g, s, v1alpha1.ConditionIssued, metav1.ConditionFalse, v1alpha1.ReasonIssueFailed, unissued(s))
		}
	})
	if err != nil {
		return err
	}
	c.tell(g, g.Status.Stop.Reason, string(outcome)+": "+g.Status.Stop.Message)
	c.Metrics.Ended(g)
	c.Traces.Ended(g, mem.requested)
	return nil
}

// unissued says why the Job has no credential.
func unissued(s *v1alpha1.CapabilityGrantStatus) string {
	if s.Credential == nil {
		return s.Stop.Message
	}
	return fmt.Sprintf("issued as %s, and given to nobody, for the grant was to end: %s", s.Credential.Principal, s.Stop.Message)
}

// reportUnseen says, once, that the end of the grant's containers was not seen.
func (c *Controller) reportUnseen(ctx context.Context, g *v1alpha1.CapabilityGrant, a lifecycle.Action) error {
	if err := c.record(ctx, g, audit.EventEndNotSeen, func(r *audit.Record) { r.Reason = a.Message }); err != nil {
		return err
	}
	err := c.write(ctx, g, func(s *v1alpha1.CapabilityGrantStatus) {
		c.condition(g, s, v1alpha1.ConditionEnded, metav1.ConditionUnknown, a.Reason, a.Message)
	})
	if err != nil {
		return err
	}
	c.tell(g, a.Reason, a.Message)
	return nil
}

func countStarted(pods []lifecycle.PodFacts) int32 {
	started := int32(0)
	for _, p := range pods {
		if p.Started {
			started++
		}
	}
	return started
}

// sweep ends once more what a leader that woke late may have had issued.
func (c *Controller) sweep(ctx context.Context, g *v1alpha1.CapabilityGrant, mem *memory) error {
	kept := errors.Join(c.deleteSecrets(ctx, g, g.Status.Attempt), c.deleteCopies(ctx, g))
	_, err := c.askToRevoke(c.Traces.Within(ctx, g, telemetry.SpanRequest), g, mem)
	if err = errors.Join(kept, err); err != nil && !g.Abandoned() {
		return err
	}
	mem.SweptAt = c.Clock.Now()
	return nil
}

// deleteSecrets deletes the Secrets of the attempts up to the last, which is the one that a Job may have. That there is none is no error.
func (c *Controller) deleteSecrets(ctx context.Context, g *v1alpha1.CapabilityGrant, last int32) error {
	var errs error
	for attempt := last; attempt >= 1; attempt-- {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: g.Namespace, Name: projection.SecretName(g.UID, attempt)}}
		err := c.Client.Delete(ctx, secret, client.PropagationPolicy(metav1.DeletePropagationBackground))
		if client.IgnoreNotFound(err) != nil {
			errs = errors.Join(errs, fmt.Errorf("deleting Secret %s: %s", secret.Name, apierrors.ReasonForError(err)))
		}
	}
	return errs
}

func (c *Controller) release(ctx context.Context, g *v1alpha1.CapabilityGrant) error {
	err := client.IgnoreNotFound(stored.Release(ctx, c.Client, g, v1alpha1.FinalizerRevoke))
	if err != nil && stored.Moved(ctx, c.Live, g, func(now *v1alpha1.CapabilityGrant) bool { return !slices.Equal(now.Finalizers, g.Finalizers) }) {
		return errAgain
	}
	return err
}

// wait stores what is waited for and how many Pods were seen.
func (c *Controller) wait(ctx context.Context, g *v1alpha1.CapabilityGrant, f lifecycle.Facts, a lifecycle.Action) error {
	if g.Status.EndedAt != nil {
		return c.keepEnded(ctx, g, a)
	}
	return c.write(ctx, g, func(s *v1alpha1.CapabilityGrantStatus) {
		s.PodsStarted = max(s.PodsStarted, countStarted(f.Pods))
		c.sayRunning(g, s, f)
		switch {
		case a.Message == "":
		case a.Reason == v1alpha1.ReasonEndNotSeen:
			c.condition(g, s, v1alpha1.ConditionEnded, metav1.ConditionUnknown, a.Reason, a.Message)
		case a.Reason == v1alpha1.ReasonEnding:
			c.condition(g, s, v1alpha1.ConditionEnded, metav1.ConditionFalse, a.Reason, a.Message)
		case s.IssuedAt != nil:
			c.condition(g, s, v1alpha1.ConditionDelivered, metav1.ConditionFalse, a.Reason, a.Message)
		default:
			c.condition(g, s, v1alpha1.ConditionIssued, metav1.ConditionFalse, a.Reason, a.Message)
		}
	})
}

// sayRunning says whether the step runs, once it was to be started. That it does not run yet is not stored anew for
// nobody's words, for each of those is a write.
func (c *Controller) sayRunning(g *v1alpha1.CapabilityGrant, s *v1alpha1.CapabilityGrantStatus, f lifecycle.Facts) {
	before := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionRunning)
	if before == nil && !meta.IsStatusConditionTrue(s.Conditions, v1alpha1.ConditionDelivered) {
		return
	}
	running, reason, message := lifecycle.Running(f)
	over := reason == v1alpha1.ReasonStepOver || s.EndedAt != nil
	status := metav1.ConditionFalse
	switch {
	case running && s.EndedAt == nil:
		status = metav1.ConditionTrue
	case !over && before != nil && !slices.ContainsFunc(f.Pods, func(p lifecycle.PodFacts) bool { return p.Step.Said != "" }):
		return
	}
	c.condition(g, s, v1alpha1.ConditionRunning, status, reason, message)
}

// keepEnded says why an ended grant is still there, where something besides its own record keeps it.
func (c *Controller) keepEnded(ctx context.Context, g *v1alpha1.CapabilityGrant, a lifecycle.Action) error {
	if a.Message == "" || g.Status.Stop == nil {
		return nil
	}
	before := g.ResourceVersion
	err := c.write(ctx, g, func(s *v1alpha1.CapabilityGrantStatus) {
		c.condition(g, s, v1alpha1.ConditionEnded, metav1.ConditionTrue, s.Stop.Reason, s.Stop.Message+"; "+a.Message)
	})
	if err == nil && g.ResourceVersion != before {
		c.tell(g, v1alpha1.ReasonCounted, a.Message)
	}
	return err
}
