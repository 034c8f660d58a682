// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"slices"
	"time"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// ending is the way from a reason to stop to the end. Revocation never waits for the tenant: only the last step waits for
// the containers.
func ending(f Facts, now time.Time) Action {
	switch {
	case f.jobMayRun():
		return Action{Step: StopJob}
	case f.Attempt.Minting:
		// What is revoked before it is issued would live on.
		return Action{Step: Wait, Reason: v1alpha1.ReasonEnding, Message: "waiting for the back end, which was asked for the credential, to answer"}
	case !f.Attempt.Revoked && now.Before(f.Attempt.RevokeNotBefore) && f.Grant.Annotations[v1alpha1.AnnotationAbandon] == "":
		return Action{Step: Wait, Reason: v1alpha1.ReasonEnding, Until: f.Attempt.RevokeNotBefore}
	case !f.Attempt.Revoked:
		return Action{Step: Revoke}
	}
	quiet := quietAt(f.Grant)
	if !f.containersEnded() && now.Before(quiet) {
		return Action{Step: Wait, Reason: v1alpha1.ReasonEnding, Until: quiet,
			Message: "waiting for the Job's containers to end"}
	}
	return Action{Step: End, Revocation: revocation(f.Grant)}
}

// jobMayRun: the Job was started for this grant and nothing keeps it from making Pods.
func (f Facts) jobMayRun() bool {
	return f.started() && !f.Job.Suspended && !f.Job.Complete && !f.Job.Failed && !f.Job.Deleting
}

// containersEnded: every Pod that carried the credential has reported its end, and no further one can come.
func (f Facts) containersEnded() bool {
	started := int32(0)
	for _, p := range f.Pods {
		if !p.Ended {
			return false
		}
		if p.Started {
			started++
		}
	}
	switch {
	case f.neverDelivered():
		return true
	case f.Job.Exists && f.Job.StartedFor != f.Grant.UID:
		return true
	case f.Job.Complete || f.Job.Failed:
		return true
	case !f.Job.Exists:
		// Without the Job nobody says whether a Pod was made that was never seen.
		return started > 0
	default:
		return f.Job.Idle && started >= f.Grant.Status.PodsStarted
	}
}

// neverDelivered: no status and no Job says that the Job was ever started with a credential.
func (f Facts) neverDelivered() bool {
	return f.Grant.Status.IssuedAt == nil
}

// quietAt is when the containers cannot be running any more, whatever anybody reports: the Pod's own deadline and grace are
// over. The zero time, long past, when no credential was stored for a Pod to find.
func quietAt(g *v1alpha1.CapabilityGrant) time.Time {
	exp := expiry(g)
	if exp.IsZero() {
		return exp
	}
	return exp.Add(v1alpha1.PodGraceSeconds*time.Second + Settle)
}

// revocation says honestly what is known of the credential.
func revocation(g *v1alpha1.CapabilityGrant) v1alpha1.Revocation {
	if g.Status.Revocation != nil {
		return *g.Status.Revocation
	}
	return v1alpha1.Revocation{Mode: v1alpha1.RevocationNone}
}

// afterEnd deletes every attempt's Secret once more, and asks the back end once more, at once and again when the credential has expired:
// a leader that woke late may have created one in between. After that nothing is left to do, and whoever removes the grant need not
// find an operator. A grant that is deleted is let go at once, but where a limit counts its credential.
func afterEnd(f Facts, now time.Time) Action {
	g, swept := f.Grant, f.Attempt.SweptAt
	switch {
	case f.jobMayRun():
		// A start patch that was sent before the end may arrive after it. There is no Secret for its Pod to find.
		return Action{Step: StopJob}
	case !slices.Contains(g.Finalizers, v1alpha1.FinalizerRevoke):
		return Action{Step: Wait, Reason: v1alpha1.ReasonGrantEnded}
	case g.Status.Attempt > 0 && swept.IsZero():
		return Action{Step: Sweep}
	case g.DeletionTimestamp != nil && f.held(now):
		return f.hold(now)
	case g.DeletionTimestamp != nil || g.Status.CredentialExpiresAt == nil:
		return Action{Step: Release}
	}
	last := g.Status.CredentialExpiresAt.Add(Settle)
	switch {
	case now.Before(last):
		return Action{Step: Wait, Reason: v1alpha1.ReasonGrantEnded, Until: last}
	case swept.Before(last):
		return Action{Step: Sweep}
	default:
		return Action{Step: Release}
	}
}
