// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// Recheck is how long an obstacle is waited for before the facts are looked at again, when no watch would tell.
const Recheck = 10 * time.Second

// MaxAttempts bounds how often a grant's credential is minted, crashes of the operator included.
const MaxAttempts = 12

// JobControllerTime is how long the job-controller has, after a grant was stopped, to end the Job's Pods.
const JobControllerTime = 5 * time.Second

// Settle is how long after a Pod's grace its node should have reported that its containers ended. It leaves room for a busy
// job-controller and for the clocks of node and operator. A grant whose end is not seen by then says so, and goes on waiting.
const Settle = time.Minute

// Facts is all that a decision is made from. It is gathered once, before Next is called.
type Facts struct {
	// Grant as stored.
	Grant *v1alpha1.CapabilityGrant
	// Job that the grant names by UID.
	Job JobFacts
	// Pods that carry the grant's credential.
	Pods []PodFacts
	// Fenced reports whether the admission rules have been installed and unmodified since before the grant was made. They give each
	// Pod that holds a credential a finalizer, and let nobody take it off before the Pod's node has reported that its containers
	// ended, so that one that is gone has ended.
	Fenced bool
	// Request that the grant names by UID.
	Request RequestFacts
	// Policy is what the policies say of the request now.
	Policy PolicyFacts
	// Guard is what keeps the grant from being issued now: admission rules that are not whole, a namespace that lost its
	// protection, an audit log that cannot be written. Empty when nothing does. It never keeps a grant from ending.
	Guard Obstacle
	// Limit is what limits.active of the policy that allowed the grant is decided from.
	Limit LimitFacts
	// Attempt is what this process itself did. Another process's attempt is never gone on with.
	Attempt AttemptFacts
}

// Obstacle keeps a credential from being issued, for now.
type Obstacle struct {
	// Reason is a documented reason, empty when there is no obstacle.
	Reason string
	// Message says it to a person.
	Message string
	// Final: waiting cannot help.
	Final bool
}

// JobFacts is what the API server says of the Job.
type JobFacts struct {
	// Exists: the Job is there under the UID that was granted.
	Exists bool
	// Deleting: somebody asked for its deletion.
	Deleting bool
	// Suspended is spec.suspend.
	Suspended bool
	// Idle: the job-controller says that it is suspended and that no Pod of it is active or terminating.
	Idle bool
	// StartedFor is the UID of the grant whose start patch the Job carries; empty when it never was started.
	StartedFor types.UID
	// StartedSecret is the Secret that the start patch names.
	StartedSecret string
	// Complete and Failed are its terminal conditions.
	Complete, Failed bool
	// DeadlineExceeded: it failed because its deadline was over.
	DeadlineExceeded bool
}

// PodFacts is what the API server says of one Pod of the Job.
type PodFacts struct {
	// UID of the Pod.
	UID types.UID
	// Name of the Pod, and the Node that it was given to; the Node is empty while there is none.
	Name, Node string
	// Started reports whether at least one of its containers ran.
	Started bool
	// Ended reports whether every container has ended, as the node reported, or none can ever have begun.
	Ended bool
	// EndedSeen is when this process first saw that, by its own clock; zero while it has not.
	EndedSeen time.Time
	// Kept reports whether the grant's finalizer is on the Pod, so that it stays until the grant lets it go.
	Kept bool
	// Deleting reports whether somebody asked for its deletion.
	Deleting bool
	// Step is what is said of the container that holds the credential.
	Step StepFacts
	// Gone reports whether the Pod was seen and its object is not there any more. That alone does not say that its containers ended.
	Gone bool
}

// RequestFacts is what the API server says of the request.
type RequestFacts struct {
	// Exists: the request is there under the UID that was granted, and is not being deleted.
	Exists bool
	// Replaced: another request has its name. With a grant that records nothing of its own making, that is what a restored
	// backup looks like.
	Replaced bool
	// Names: its status names this grant, or does not name one yet. One that was refused never will.
	Names bool
	// Unaware: its status says neither that it was granted nor that it has ended.
	Unaware bool
	// DeniedBy is who denied it, late; empty when nobody did.
	DeniedBy string
}

// PolicyFacts is what the policies say of the request now.
type PolicyFacts struct {
	// Known: they could be evaluated. What is not known neither ends a grant nor lets it be issued.
	Known bool
	// Allows: a policy still allows it, and what was reviewed is unchanged.
	Allows bool
	// Message says why not, to a person.
	Message string
	// Failed: something could not be read, and can be another time. Nothing that changes brings the grant back for it.
	Failed bool
}

// AttemptFacts is what this process itself did for this grant. It is lost when the process ends, on purpose.
type AttemptFacts struct {
	// Began is the attempt that this process stored in status.attempt; 0 when it stored none.
	Began int32
	// BeganAt is when it did, or last stored it anew.
	BeganAt time.Time
	// Minting: the back end was asked for that attempt's credential and has not answered.
	Minting bool
	// PodTried reports whether the API server would take the Job's Pod.
	PodTried bool
	// Copied reports whether the Pod's inputs were copied, or there are none.
	Copied bool
	// Minted: it holds that attempt's credential, or stored it in the Secret.
	Minted bool
	// Stored: that attempt's Secret exists.
	Stored bool
	// Failure is what the back end answered to the attempt.
	Failure Failure
	// NotBefore is when the next attempt may begin.
	NotBefore time.Time
	// WriteNotBefore is when what the API server refused may be written again, and WriteRefused what it said.
	WriteNotBefore time.Time
	WriteRefused   string
	// StopNotBefore is when the API server may be asked again to stop the Job, after it refused.
	StopNotBefore time.Time
	// EndPodsNotBefore is when the API server may be asked again to delete the Job's Pods, after it refused.
	EndPodsNotBefore time.Time
	// PodsRefused is what it answered then; empty if it did not refuse.
	PodsRefused string
	// Revoked: this process asked the back end to end what was issued, and it answered.
	Revoked bool
	// RevokeNotBefore is when the back end may be asked again to end it, after it could not confirm that.
	RevokeNotBefore time.Time
	// SweptAt is when this process last deleted every attempt's Secret after the end, and asked the back end once more; zero when it has not.
	SweptAt time.Time
}

// TooLate reports whether the attempt was stored too long ago for the back end to be asked: see [AskWithin].
func (a AttemptFacts) TooLate(now time.Time) bool { return now.Sub(a.BeganAt) > AskWithin }

// Failure is how an attempt failed.
type Failure struct {
	// Final: trying again cannot help.
	Final bool
	// Message is sanitised. Empty when the attempt did not fail.
	Message string
}
