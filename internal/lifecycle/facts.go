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

// Settle is how long after a Pod's deadline and grace its containers are taken to have ended even though nobody reported
// it: the node is lost, or the Pod object was removed by force. It leaves room for the clocks of node and operator.
const Settle = 30 * time.Second

// Facts is all that a decision is made from. It is gathered once, before Next is called.
type Facts struct {
	// Grant as stored.
	Grant *v1alpha1.CapabilityGrant
	// Job that the grant names by UID.
	Job JobFacts
	// Pods that carry the grant's credential.
	Pods []PodFacts
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
	// Bound: it was given to a node. One that never was cannot have run.
	Bound bool
	// Started: at least one of its containers ran.
	Started bool
	// Ended: every container has ended, as its kubelet reported, or none can ever have begun. A Pod object that went away
	// before anybody saw that stays in the facts as not ended.
	Ended bool
}

// RequestFacts is what the API server says of the request.
type RequestFacts struct {
	// Exists: the request is there under the UID that was granted, and is not being deleted.
	Exists bool
	// Replaced: another request has its name. With a grant that records nothing of its own making, that is what a restored
	// backup looks like.
	Replaced bool
	// Names: its status names this grant, or does not name one yet.
	Names bool
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
}

// AttemptFacts is what this process itself did for this grant. It is lost when the process ends, on purpose.
type AttemptFacts struct {
	// Began is the attempt that this process stored in status.attempt; 0 when it stored none.
	Began int32
	// BeganAt is when it did.
	BeganAt time.Time
	// Minting: the back end was asked for that attempt's credential and has not answered.
	Minting bool
	// Minted: it holds that attempt's credential, or stored it in the Secret.
	Minted bool
	// Stored: that attempt's Secret exists.
	Stored bool
	// Failure is what the back end answered to the attempt.
	Failure Failure
	// NotBefore is when the next attempt may begin.
	NotBefore time.Time
	// Revoked: this process asked the back end to end what was issued, and it answered.
	Revoked bool
	// RevokeNotBefore is when the back end may be asked again to end it, after it could not confirm that.
	RevokeNotBefore time.Time
	// SweptAt is when this process last deleted every attempt's Secret after the end, and asked the back end once more; zero when it has not.
	SweptAt time.Time
}

// Failure is how an attempt failed.
type Failure struct {
	// Final: trying again cannot help.
	Final bool
	// Message is sanitised. Empty when the attempt did not fail.
	Message string
}
