// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"fmt"
	"time"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/visible"
)

// Step is one thing to do.
type Step string

const (
	// Wait: nothing is to be done before Until, or before a fact changes.
	Wait Step = "Wait"
	// BeginAttempt stores status.attempt, guarded by resourceVersion, before anything is minted under that number.
	BeginAttempt Step = "BeginAttempt"
	// Withdraw takes back the attempt that was begun, before anything is asked of the back end: under a limit, its
	// credential would be one too many.
	Withdraw Step = "Withdraw"
	// TryPod asks the API server whether it would take the Job's Pod, before anything is issued for it.
	TryPod Step = "TryPod"
	// CopyInputs creates the ConfigMaps that the Pod will read, with what was reviewed.
	CopyInputs Step = "CopyInputs"
	// Mint audits the attempt and asks the back end for the credential, without waiting for the answer.
	Mint Step = "Mint"
	// StoreSecret creates the attempt's Secret and stores what was issued in the status.
	StoreSecret Step = "StoreSecret"
	// StartJob patches the Job, guarded by resourceVersion: the commit point.
	StartJob Step = "StartJob"
	// RecordDelivery stores in the status that the Job was started.
	RecordDelivery Step = "RecordDelivery"
	// Stop stores why the grant ends, and deletes the Secrets of every attempt.
	Stop Step = "Stop"
	// StopJob suspends the Job, so that the job-controller ends its Pod.
	StopJob Step = "StopJob"
	// EndPods deletes the Pods that the job-controller has not ended: it may be held up by whatever else happens to the Job.
	EndPods Step = "EndPods"
	// Revoke asks the back end to end the credential, and deletes the Secrets of every attempt where Stop could not, or was another process's.
	Revoke Step = "Revoke"
	// ReportUnseen audits, and stores in the status, that the end of the containers was not seen in time.
	ReportUnseen Step = "ReportUnseen"
	// End audits the end and stores the outcome.
	End Step = "End"
	// Sweep deletes the Secrets of every attempt and the copies of the Pod's inputs, and asks the back end to end the credential, once more: a leader that woke late may
	// have had one issued and stored.
	Sweep Step = "Sweep"
	// ReleasePods removes the grant's finalizer from the Pods that have ended.
	ReleasePods Step = "ReleasePods"
	// Release removes the grant's own finalizer.
	Release Step = "Release"
)

// Action is the next step and what it needs.
type Action struct {
	// Step to take.
	Step Step
	// Attempt to begin, for BeginAttempt.
	Attempt int32
	// Stop is why the grant ends, for Stop. Its time is left to the caller.
	Stop v1alpha1.GrantStop
	// Revocation is what is known of the credential, for End.
	Revocation v1alpha1.Revocation
	// Outcome of the grant, for End.
	Outcome v1alpha1.GrantOutcome
	// Reason and Message say what is waited for, for Wait.
	Reason, Message string
	// Until is when to look again even though no fact changed; zero when only a fact can change the answer.
	Until time.Time
}

// Next is the one next step of a grant.
func Next(f Facts, now time.Time) Action {
	switch {
	case f.Grant.Status.EndedAt != nil:
		return afterEnd(f, now)
	case f.Grant.Status.Stop != nil:
		return ending(f, now)
	}
	if stop, found := whyStop(f, now); found {
		return Action{Step: Stop, Stop: stop}
	}
	switch {
	case f.started() && !delivered(f.Grant):
		return Action{Step: RecordDelivery}
	case f.started():
		return Action{Step: Wait, Reason: v1alpha1.ReasonActive, Until: f.activeUntil(now)}
	default:
		return issuing(f, now)
	}
}

// started: the Job carries this grant's start patch, whatever the status says.
func (f Facts) started() bool { return f.Job.Exists && f.Job.StartedFor == f.Grant.UID }

func delivered(g *v1alpha1.CapabilityGrant) bool {
	for _, c := range g.Status.Conditions {
		if c.Type == v1alpha1.ConditionDelivered {
			return c.Status == "True"
		}
	}
	return false
}

// expiry is when the TTL is over; zero while nothing was issued.
func expiry(g *v1alpha1.CapabilityGrant) time.Time {
	if g.Status.ExpiresAt == nil {
		return time.Time{}
	}
	return g.Status.ExpiresAt.Time
}

// Expired reports whether a grant's TTL is over.
func Expired(g *v1alpha1.CapabilityGrant, now time.Time) bool {
	exp := expiry(g)
	return !exp.IsZero() && !now.Before(exp)
}

// whyStop looks for a reason to end a grant, the gravest first.
func whyStop(f Facts, now time.Time) (v1alpha1.GrantStop, bool) {
	if stop, found := withdrawn(f); found {
		return stop, true
	}
	if stop, found := jobOver(f); found {
		return stop, true
	}
	if stop, found := stepOver(f, now); found {
		return stop, true
	}
	if Expired(f.Grant, now) {
		return stopFor(v1alpha1.OutcomeExpired, v1alpha1.ReasonExpired, "the time is up"), true
	}
	switch {
	case !f.started():
		return neverStarts(f)
	case !f.Request.Names:
		return stopFor(v1alpha1.OutcomeRevoked, v1alpha1.ReasonRequestGone, otherGrant), true
	}
	return v1alpha1.GrantStop{}, false
}

// otherGrant is said of a grant that was made late: nobody can decide on its request any more.
const otherGrant = "the request was refused, or names another grant"

// withdrawn: somebody, or a policy, no longer wants the grant.
func withdrawn(f Facts) (v1alpha1.GrantStop, bool) {
	g := f.Grant
	switch {
	case g.Revoked():
		return stopFor(v1alpha1.OutcomeRevoked, v1alpha1.ReasonRevokedByAnnotation,
			said("revoked by "+visible.Name(g.Annotations[v1alpha1.AnnotationRevokedBy]), visible.Line(g.Annotations[v1alpha1.AnnotationRevoke]))), true
	case g.DeletionTimestamp != nil:
		return stopFor(v1alpha1.OutcomeRevoked, v1alpha1.ReasonGrantDeleted, "the grant was deleted"), true
	case f.Request.Replaced && g.Status.Attempt == 0:
		return stopFor(v1alpha1.OutcomeUnknown, v1alpha1.ReasonNeverIssued,
			"another request has the name of the one that was granted, and nothing says what was issued: a restored backup looks like this"), true
	case !f.Request.Exists:
		return stopFor(v1alpha1.OutcomeRevoked, v1alpha1.ReasonRequestGone, "the request was deleted"), true
	case f.Request.DeniedBy != "":
		return stopFor(v1alpha1.OutcomeRevoked, v1alpha1.ReasonDeniedLate, "denied by "+visible.Name(f.Request.DeniedBy)), true
	case f.Policy.Known && !f.Policy.Allows:
		return stopFor(v1alpha1.OutcomeRevoked, v1alpha1.ReasonPolicyWithdrawn, f.Policy.Message), true
	}
	return v1alpha1.GrantStop{}, false
}

// jobOver: the Job cannot use the credential any more.
func jobOver(f Facts) (v1alpha1.GrantStop, bool) {
	switch {
	case !f.Job.Exists:
		return stopFor(v1alpha1.OutcomeRevoked, v1alpha1.ReasonJobGone, "the Job was deleted"), true
	case f.Job.Failed && f.Job.DeadlineExceeded:
		return stopFor(v1alpha1.OutcomeExpired, v1alpha1.ReasonExpired, "the Job was ended at its deadline"), true
	case f.Job.Failed && f.started():
		return stopFor(v1alpha1.OutcomeFailed, v1alpha1.ReasonJobFailed, "the Job failed"), true
	case f.Job.Complete && f.started():
		return stopFor(v1alpha1.OutcomeCompleted, v1alpha1.ReasonJobCompleted, "the Job succeeded"), true
	case f.Job.Deleting:
		return stopFor(v1alpha1.OutcomeRevoked, v1alpha1.ReasonJobGone, "the Job is being deleted"), true
	}
	return v1alpha1.GrantStop{}, false
}

// neverStarts: a Job that was not started by this grant must be held and untouched, or nothing is issued for it.
func neverStarts(f Facts) (v1alpha1.GrantStop, bool) {
	fail := func(reason, message string) (v1alpha1.GrantStop, bool) {
		return stopFor(v1alpha1.OutcomeIssueFailed, reason, message), true
	}
	switch {
	case !f.Request.Names:
		return fail(v1alpha1.ReasonNeverIssued, otherGrant)
	case f.Job.StartedFor != "":
		return fail(v1alpha1.ReasonNeverIssued, "the Job was started by another grant")
	case f.Job.Complete || f.Job.Failed:
		return fail(v1alpha1.ReasonNeverIssued, "the Job has finished already")
	case !f.Job.Suspended:
		return fail(v1alpha1.ReasonNeverIssued, "the Job is not held")
	case f.Guard.Final:
		return fail(f.Guard.Reason, f.Guard.Message)
	case f.Attempt.Failure.Final:
		return fail(v1alpha1.ReasonIssueFailed, f.Attempt.Failure.Message)
	case f.Grant.Status.Attempt >= MaxAttempts && !f.ownsAttempt():
		return fail(v1alpha1.ReasonIssueFailed, fmt.Sprintf("%d attempts failed; the last: %s", MaxAttempts, lastFailure(f)))
	}
	return v1alpha1.GrantStop{}, false
}

// ownsAttempt: this process began the stored attempt, and it has not failed.
func (f Facts) ownsAttempt() bool {
	a := f.Attempt
	return a.Began > 0 && a.Began == f.Grant.Status.Attempt && a.Failure.Message == ""
}

func lastFailure(f Facts) string {
	if f.Attempt.Failure.Message != "" {
		return f.Attempt.Failure.Message
	}
	return "the operator was restarted"
}

// issuing is the way from a stored grant to a started Job.
func issuing(f Facts, now time.Time) Action {
	switch {
	case f.Attempt.Minting:
		return Action{Step: Wait, Reason: v1alpha1.ReasonIssuing}
	case f.AwaitsPeers():
		// The watch brings the grant back when it shows the attempt. The time is for a watch that was lost.
		return Action{Step: Wait, Reason: v1alpha1.ReasonIssuing, Until: now.Add(Recheck)}
	case f.Guard.Reason != "":
		return Action{Step: Wait, Reason: f.Guard.Reason, Message: f.Guard.Message, Until: now.Add(Recheck)}
	case !f.Policy.Known:
		return Action{Step: Wait, Reason: v1alpha1.ReasonIndeterminate, Message: f.Policy.Message, Until: now.Add(Recheck)}
	case !f.ownsAttempt() && now.Before(f.Attempt.NotBefore):
		return Action{Step: Wait, Reason: v1alpha1.ReasonBackingOff, Message: f.Attempt.Failure.Message, Until: f.Attempt.NotBefore}
	case !f.ownsAttempt() && !f.mayBegin(now):
		return f.awaitRoom(now)
	case !f.ownsAttempt():
		return Action{Step: BeginAttempt, Attempt: f.Grant.Status.Attempt + 1}
	case !f.Attempt.Minted && f.oneTooMany(now):
		return Action{Step: Withdraw}
	case now.Before(f.Attempt.WriteNotBefore):
		return Action{Step: Wait, Reason: v1alpha1.ReasonBackingOff, Message: f.Attempt.WriteRefused, Until: f.Attempt.WriteNotBefore}
	case !f.Attempt.PodTried:
		return Action{Step: TryPod}
	case !f.Attempt.Copied:
		return Action{Step: CopyInputs}
	case !f.Attempt.Minted && f.Request.Unaware:
		// The review is stored with the grant's name. The watch brings the grant back when it shows that.
		return Action{Step: Wait, Reason: v1alpha1.ReasonIssuing, Until: now.Add(Recheck)}
	case !f.Attempt.Minted && f.Attempt.TooLate(now):
		return Action{Step: BeginAttempt, Attempt: f.Attempt.Began}
	case !f.Attempt.Minted:
		return Action{Step: Mint}
	case !f.Attempt.Stored:
		return Action{Step: StoreSecret}
	default:
		return Action{Step: StartJob}
	}
}

func stopFor(outcome v1alpha1.GrantOutcome, reason, message string) v1alpha1.GrantStop {
	return v1alpha1.GrantStop{Outcome: outcome, Reason: reason, Message: message}
}
