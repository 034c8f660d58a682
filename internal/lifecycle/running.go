// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"fmt"
	"time"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// StepFacts is what the node says of the container that holds the credential. It never starts a second time: its Pod is
// restarted by nobody, and its Job makes no other.
type StepFacts struct {
	// Runs reports whether it runs.
	Runs bool
	// Over reports whether it has ended, or could not be started.
	Over bool
	// OverAt is when it ended, by the node's clock.
	OverAt time.Time
	// ExitCode of it, once it is over.
	ExitCode int32
	// Said is what the node says of its end beside the exit code, or of why it does not run; empty if it says nothing.
	Said string
	// Others reports whether other containers of the Pod go on, or are still to start.
	Others bool
}

// end says how the step ended.
func (s StepFacts) end(container string) string {
	text := fmt.Sprintf("container %s ended with exit code %d", container, s.ExitCode)
	if s.Said != "" {
		text += ": " + s.Said
	}
	return text
}

// Running is the condition Running of a grant that was delivered: whether the step runs, and in the node's own words
// why not.
func Running(f Facts) (running bool, reason, message string) {
	container := f.Grant.Spec.Job.Container
	for _, p := range f.Pods {
		switch {
		case p.Step.Runs && !p.Gone:
			return true, v1alpha1.ReasonRunning, fmt.Sprintf("container %s runs in Pod %s on node %s", container, p.Name, p.Node)
		case p.Step.Over:
			return false, v1alpha1.ReasonStepOver, p.Step.end(container)
		case p.Gone:
			return false, v1alpha1.ReasonStepOver, fmt.Sprintf("Pod %s is gone", p.Name)
		case p.Ended:
			return false, v1alpha1.ReasonStepOver, said("Pod "+p.Name+" has ended", p.Step.Said)
		default:
			return p.waits(container)
		}
	}
	return false, v1alpha1.ReasonNoPod, "the job-controller has made no Pod of Job " + f.Grant.Spec.Job.Name + " yet"
}

// waits is what is said of a Pod whose step is still to begin.
func (p PodFacts) waits(container string) (running bool, reason, message string) {
	reason, message = v1alpha1.ReasonNotStarted, fmt.Sprintf("container %s of Pod %s does not run yet", container, p.Name)
	if p.Node == "" {
		reason, message = v1alpha1.ReasonUnscheduled, "Pod "+p.Name+" has no node yet"
	}
	if p.Step.Said == "" {
		reason = v1alpha1.ReasonStarting
	}
	return false, reason, said(message, p.Step.Said)
}

// said adds what the node says, if it says something.
func said(what, words string) string {
	if words == "" {
		return what
	}
	return what + ": " + words
}

// StepGrace is how long the other containers of a Pod have to end with the step: then it is the Job that has ended.
const StepGrace = 5 * time.Second

// JobGrace is how long a Job has to say that its Pod has ended, which it does within a second as a rule.
const JobGrace = 30 * time.Second

// outlived returns when a grant ends by itself whose step has ended: other containers of the Pod go on, or the Job does not say that its Pod
// has ended. Whatever keeps the job-controller from looking at the Job keeps no credential working.
func (p PodFacts) outlived() (due time.Time, found bool) {
	switch {
	case p.Gone || !p.Step.Over:
		return time.Time{}, false
	case p.Ended:
		return p.EndedSeen.Add(JobGrace), !p.EndedSeen.IsZero() // the node's clock may be another
	default:
		return p.Step.OverAt.Add(StepGrace), p.Step.Others
	}
}

// activeUntil is when a grant whose Job runs is to be looked at again: when its time is up, or its step has been over
// for long enough.
func (f Facts) activeUntil(now time.Time) time.Time {
	until := expiry(f.Grant)
	if again := now.Add(Recheck); f.Policy.Failed && (until.IsZero() || again.Before(until)) {
		until = again
	}
	for _, p := range f.Pods {
		if due, found := p.outlived(); found && (until.IsZero() || due.Before(until)) {
			until = due
		}
	}
	return until
}

// stepOver is why a grant ends whose step has ended while others of its Pod go on, which have no use for its credential, or whose Job does
// not end with its Pod.
func stepOver(f Facts, now time.Time) (v1alpha1.GrantStop, bool) {
	for _, p := range f.Pods {
		if due, found := p.outlived(); !found || now.Before(due) {
			continue
		}
		end := p.Step.end(f.Grant.Spec.Job.Container)
		if p.Step.ExitCode != 0 {
			return stopFor(v1alpha1.OutcomeFailed, v1alpha1.ReasonStepFailed, end), true
		}
		return stopFor(v1alpha1.OutcomeCompleted, v1alpha1.ReasonStepCompleted, end), true
	}
	return v1alpha1.GrantStop{}, false
}

// othersGoOn reports whether the Job is left to end by itself: the grant ended with its step, and what else its Pod does
// is nobody's business before its time is up. Whoever revokes it ends all of it.
func (f Facts) othersGoOn() bool {
	stop := f.Grant.Status.Stop
	if stop.Reason != v1alpha1.ReasonStepCompleted && stop.Reason != v1alpha1.ReasonStepFailed || len(f.Pods) == 0 {
		return false
	}
	for _, p := range f.Pods {
		if !p.Ended && !p.Step.Over {
			return false
		}
	}
	_, unwanted := withdrawn(f)
	return !unwanted
}
