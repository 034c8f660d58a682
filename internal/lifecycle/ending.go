// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// ending is the way from a reason to stop to the end. Revocation never waits for the tenant: only the last step waits for
// the containers. Nor does one step wait for another that is refused. Pods that the job-controller leaves running are
// deleted whatever else is waited for.
func ending(f Facts, now time.Time) Action { return f.orEndPods(endingButPods(f, now), now) }

// orEndPods deletes the Pods that are left when that is due, in the place of a next step that can wait.
func (f Facts) orEndPods(next Action, now time.Time) Action {
	due, left := f.podsDue()
	switch {
	case !left || next.Step == StopJob || next.Step == End:
		return next
	case !now.Before(due):
		return Action{Step: EndPods}
	case next.Step == Wait && (next.Until.IsZero() || due.Before(next.Until)):
		next.Until = due
	}
	return next
}

// podsDue is when the Pods that nobody has told to end are deleted; false if there are none.
func (f Facts) podsDue() (due time.Time, left bool) {
	if !slices.ContainsFunc(f.Pods, func(p PodFacts) bool { return !p.Gone && !p.Deleting && !p.Ended }) {
		return time.Time{}, false
	}
	due = f.stopAt().Add(JobControllerTime)
	if due.Before(f.Attempt.EndPodsNotBefore) {
		due = f.Attempt.EndPodsNotBefore
	}
	return due, true
}

// endingButPods is the next step on that way, whatever the Pods do.
func endingButPods(f Facts, now time.Time) Action {
	abandoned := f.Grant.Abandoned()
	stopAt := f.stopAt()
	mustStop := f.jobMayRun() && !now.Before(stopAt)
	stopRefused := mustStop && now.Before(f.Attempt.StopNotBefore)
	switch {
	case mustStop && !stopRefused:
		return Action{Step: StopJob}
	case f.Attempt.Minting:
		// What is revoked before it is issued would live on.
		return Action{Step: Wait, Reason: v1alpha1.ReasonEnding, Message: "waiting for the back end, which was asked for the credential, to answer"}
	case !f.Attempt.Revoked && now.Before(f.Attempt.RevokeNotBefore) && !abandoned:
		return Action{Step: Wait, Reason: v1alpha1.ReasonEnding, Until: f.nextTry(stopRefused)}
	case !f.Attempt.Revoked:
		return Action{Step: Revoke}
	case stopRefused && !abandoned:
		return Action{Step: Wait, Reason: v1alpha1.ReasonEnding, Until: f.Attempt.StopNotBefore}
	}
	end := Action{Step: End, Revocation: revocation(f.Grant), Outcome: f.Grant.Status.Stop.Outcome}
	due := stopAt.Add(v1alpha1.PodGraceSeconds*time.Second + Settle)
	switch {
	case f.containersEnded():
		return end
	case now.Before(stopAt):
		return Action{Step: Wait, Reason: v1alpha1.ReasonEnding, Until: stopAt, Message: "the credential was taken away; waiting for the Job's other containers to end"}
	case now.Before(due):
		return Action{Step: Wait, Reason: v1alpha1.ReasonEnding, Until: due, Message: cmp.Or(f.Attempt.PodsRefused, "waiting for the Job's containers to end")}
	case abandoned:
		end.Outcome = v1alpha1.OutcomeUnknown
		return end
	case !reported(f.Grant):
		return Action{Step: ReportUnseen, Reason: v1alpha1.ReasonEndNotSeen, Message: f.unseen()}
	default:
		return Action{Step: Wait, Reason: v1alpha1.ReasonEndNotSeen, Message: f.unseen()}
	}
}

// stopAt is when the Job is to be stopped: as the grant is, or when its time is up.
func (f Facts) stopAt() time.Time {
	if at := expiry(f.Grant); f.othersGoOn() && at.After(f.Grant.Status.Stop.At.Time) {
		return at
	}
	return f.Grant.Status.Stop.At.Time
}

// nextTry is when what was refused is tried again.
func (f Facts) nextTry(stopRefused bool) time.Time {
	if stopRefused && f.Attempt.StopNotBefore.Before(f.Attempt.RevokeNotBefore) {
		return f.Attempt.StopNotBefore
	}
	return f.Attempt.RevokeNotBefore
}

// reported reports whether the status says already that the end of the containers was not seen.
func reported(g *v1alpha1.CapabilityGrant) bool {
	return slices.ContainsFunc(g.Status.Conditions, func(c metav1.Condition) bool {
		return c.Type == v1alpha1.ConditionEnded && c.Reason == v1alpha1.ReasonEndNotSeen
	})
}

// unseen says what is not known, and what an administrator can do.
func (f Facts) unseen() string {
	what := "the admission rules were changed while the grant lived, and nobody saw the Pod of its Job end"
	if f.mayMakePods() {
		what = "the job-controller has not said that Job " + f.Grant.Spec.Job.Name + " has stopped"
	}
	for _, p := range f.Pods {
		switch {
		case f.ended(p):
		case p.Gone:
			what = fmt.Sprintf("Pod %s is gone, and node %s had not reported that its containers ended", p.Name, p.Node)
		default:
			what = fmt.Sprintf("node %s has not reported that the containers of Pod %s ended", p.Node, p.Name)
		}
	}
	if f.Attempt.PodsRefused != "" {
		what += "; " + f.Attempt.PodsRefused
	}
	return what + fmt.Sprintf("; look on the node (crictl ps) and end them there. If the node will not come back, delete its Node object, and annotate: "+
		"kubectl annotate capgrant %s -n %s %s=<reason>", f.Grant.Name, f.Grant.Namespace, v1alpha1.AnnotationAbandon)
}

// mayMakePods reports whether the job-controller may still make a Pod of the Job. It leaves one that is being deleted
// alone, and says nothing of it any more.
func (f Facts) mayMakePods() bool {
	return f.started() && !f.Job.Complete && !f.Job.Failed && !f.Job.Idle && !f.Job.Deleting
}

// jobMayRun: the Job was started for this grant and nothing keeps it from making Pods.
func (f Facts) jobMayRun() bool {
	return f.started() && !f.Job.Suspended && !f.Job.Complete && !f.Job.Failed && !f.Job.Deleting
}

// containersEnded reports whether every Pod that carried the credential has ended, and no further one can come.
func (f Facts) containersEnded() bool {
	if f.neverDelivered() {
		return true
	}
	started := int32(0)
	for _, p := range f.Pods {
		if !f.ended(p) {
			return false
		}
		if p.Started {
			started++
		}
	}
	switch {
	case f.Job.Exists && f.Job.StartedFor != f.Grant.UID:
		return true // The start patch never arrived.
	case f.mayMakePods():
		return false
	case f.Fenced:
		return true
	default:
		// A Pod that nobody saw may be gone before it ended. One that no node was given is seen as any other.
		return len(f.Pods) > 0 && started >= f.Grant.Status.PodsStarted
	}
}

// ended reports whether a Pod's containers have ended. That of a Pod which is gone is known where the admission rules were there
// all the time.
func (f Facts) ended(p PodFacts) bool { return p.Ended || p.Gone && (f.Fenced || p.Node == "") }

// neverDelivered reports whether no status, no Job and no Pod says that the Job was ever started with a credential.
func (f Facts) neverDelivered() bool {
	return f.Grant.Status.IssuedAt == nil && !f.started() && len(f.Pods) == 0
}

// revocation says honestly what is known of the credential.
func revocation(g *v1alpha1.CapabilityGrant) v1alpha1.Revocation {
	if g.Status.Revocation != nil {
		return *g.Status.Revocation
	}
	return EffectiveRevocation(&g.Status, v1alpha1.Revocation{Mode: v1alpha1.RevocationNone})
}

// afterEnd deletes every attempt's Secret once more, and asks the back end once more, at once and again when the credential has expired:
// a leader that woke late may have created one in between. After that nothing is left to do, and whoever removes the grant need not
// find an operator. A grant that is deleted is let go at once, but where a limit counts its credential.
//
// A Pod that is made after the end, by a job-controller that was behind, finds no Secret and starts nothing. It is deleted
// like one that was left.
func afterEnd(f Facts, now time.Time) Action { return f.orEndPods(afterEndButPods(f, now), now) }

// afterEndButPods is the next step after the end, whatever Pods are left.
func afterEndButPods(f Facts, now time.Time) Action {
	g, swept := f.Grant, f.Attempt.SweptAt
	switch {
	case f.jobMayRun():
		// A start patch that was sent before the end may arrive after it. There is no Secret for its Pod to find.
		return Action{Step: StopJob}
	case slices.ContainsFunc(f.Pods, func(p PodFacts) bool { return p.Kept && p.Ended && !p.Gone }):
		return Action{Step: ReleasePods}
	case !slices.Contains(g.Finalizers, v1alpha1.FinalizerRevoke):
		return Action{Step: Wait, Reason: v1alpha1.ReasonGrantEnded}
	case g.Status.Attempt > 0 && swept.IsZero():
		return Action{Step: Sweep}
	case f.Request.Unaware:
		return Action{Step: Wait, Reason: v1alpha1.ReasonGrantEnded}
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
