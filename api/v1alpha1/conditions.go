// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// ConditionReady, on the catalogue's kinds, is True when the object can be used.
const ConditionReady = "Ready"

// Conditions by which kstatus, and so GitOps tools, judge how an object stands. Each is there only while it is True; beside
// status.observedGeneration, which is -1 until the operator has looked at an object.
const (
	// ConditionReconciling, on requests and grants, is True while it is not yet what was asked for, or is being ended. The reason is
	// that of the condition that is waited for.
	ConditionReconciling = "Reconciling"
	// ConditionStalled is True when waiting does not help. On the catalogue's kinds, something is wrong with the object itself, or with how
	// the operator was started; on requests and grants, it ended otherwise than with a Job that succeeded.
	ConditionStalled = "Stalled"
)

// Reasons of Ready.
const (
	// ReasonReady: nothing is wrong.
	ReasonReady = "Ready"
	// ReasonEndpointNotAllowed: a provider names an endpoint that the operator was not started with.
	ReasonEndpointNotAllowed = "EndpointNotAllowed"
	// ReasonAudienceNotAllowed: a provider names an audience that the operator was not started with.
	ReasonAudienceNotAllowed = "AudienceNotAllowed"
	// ReasonSignerNotAllowed: a provider names a signer that the operator was not started with.
	ReasonSignerNotAllowed = "SignerNotAllowed"
	// ReasonProviderNotFound: a capability names a provider that does not exist.
	ReasonProviderNotFound = "ProviderNotFound"
	// ReasonProviderNotReady: a capability names a provider that is not Ready, or is of another back end.
	ReasonProviderNotReady = "ProviderNotReady"
	// ReasonScopeInvalid: a capability's scope cannot be rendered.
	ReasonScopeInvalid = "ScopeInvalid"
	// ReasonIdentityInvalid: a capability's ServiceAccount is missing or does not name the capability.
	ReasonIdentityInvalid = "IdentityInvalid"
	// ReasonBeingDeleted: a capability, its provider or an Allow policy is being deleted. It allows nothing from then on,
	// though a finalizer or the garbage collector may hold the object for long.
	ReasonBeingDeleted = "BeingDeleted"
	// ReasonNameImpossible: a policy names a repo or an environment that no request for its capabilities can have, or
	// a capability that there is not. It is in force, but that name matches nothing.
	ReasonNameImpossible = "NameImpossible"
	// ReasonExpressionInvalid: an expression of a policy does not compile, or could cost too much.
	ReasonExpressionInvalid = "ExpressionInvalid"
)

// Conditions of a CapabilityRequest.
const (
	// ConditionReviewed is True when status.review is written.
	ConditionReviewed = "Reviewed"
	// ConditionAllowed is True when policy and people allow the request, False when they do not (yet: see the reason), and
	// Unknown when that could not be found out.
	ConditionAllowed = "Allowed"
	// ConditionGranted is True when the grant exists.
	ConditionGranted = "Granted"
	// ConditionEnded is True when nothing more will happen: on a request, because it was refused or its grant ended; on a
	// grant, because its containers were seen to have ended, and its credential is revoked or said not to be. It is Unknown on a grant
	// whose containers should have ended and were not seen to.
	ConditionEnded = "Ended"
)

// Reasons of Allowed. Those marked final never change again.
const (
	// ReasonAllowed: a policy allows it and the approvals are there. Final.
	ReasonAllowed = "Allowed"
	// ReasonAwaitingJob: the Job valetkey-<name> does not exist yet.
	ReasonAwaitingJob = "AwaitingJob"
	// ReasonAwaitingApproval: people have to approve; the message holds the command.
	ReasonAwaitingApproval = "AwaitingApproval"
	// ReasonLimitReached: as many credentials as the policy allows may work. The request waits. On a grant, the reason
	// of Issued: it waits for the same before the back end is asked.
	ReasonLimitReached = "LimitReached"
	// ReasonGuardIncomplete: the admission rules are not whole; the message names what is missing. The request waits.
	ReasonGuardIncomplete = "GuardIncomplete"
	// ReasonIndeterminate: something could not be found out; the message names it. The request waits.
	ReasonIndeterminate = "Indeterminate"
	// ReasonNameRefused: the repo or the environment is not written in the one spelling that the capability takes, or
	// the capability is for other repositories; the message says what to write. Final.
	ReasonNameRefused = "NameRefused"
	// ReasonDeniedByPolicy: a Deny policy matches, or no Allow policy does. Final.
	ReasonDeniedByPolicy = "DeniedByPolicy"
	// ReasonDeniedByPerson: somebody denied it. Final.
	ReasonDeniedByPerson = "DeniedByPerson"
	// ReasonApprovalTimedOut: the approvals did not come in time. Final.
	ReasonApprovalTimedOut = "ApprovalTimedOut"
	// ReasonJobRefused: the Job may not hold a credential; the message says why. Final.
	ReasonJobRefused = "JobRefused"
	// ReasonJobTimedOut: the Job did not appear in time. Final.
	ReasonJobTimedOut = "JobTimedOut"
	// ReasonWithdrawn: the request is being deleted, and something holds it. Final.
	ReasonWithdrawn = "Withdrawn"
	// ReasonReviewChanged: what was reviewed has changed. Final: create another request.
	ReasonReviewChanged = "ReviewChanged"
	// ReasonNotGuarded: the request or its Job is older than the admission rules. Final: create them again.
	ReasonNotGuarded = "NotGuarded"
	// ReasonNamespaceUnsafe: the namespace is not enrolled, or its Pod Security level is too weak. Final.
	ReasonNamespaceUnsafe = "NamespaceUnsafe"
	// ReasonRequesterTooStrong: the requester or the Job's ServiceAccount may read Secrets or approve requests here. Final.
	ReasonRequesterTooStrong = "RequesterTooStrong"
)

// ReasonWaiting is the reason of a condition that is not True yet.
const ReasonWaiting = "Waiting"

// ReasonReviewed is the reason of Reviewed being True.
const ReasonReviewed = "Reviewed"

// ReasonGranted is the reason of Granted being True.
const ReasonGranted = "Granted"

// ReasonRefused is the reason of a request's Ended when it was never granted.
const ReasonRefused = "Refused"

// ReasonGrantEnded is the reason of a request's Ended when its grant has ended; the message says how.
const ReasonGrantEnded = "GrantEnded"

// Conditions of a CapabilityGrant, beside ConditionEnded.
const (
	// ConditionIssued is True when the back end issued the credential.
	ConditionIssued = "Issued"
	// ConditionDelivered is True when the Job was started with it.
	ConditionDelivered = "Delivered"
	// ConditionRunning is True while the container that was given the credential runs; the message says on which node, or in
	// the node's own words why not.
	ConditionRunning = "Running"
)

// Reasons of Running.
const (
	// ReasonRunning: the container runs.
	ReasonRunning = "Running"
	// ReasonNoPod: the job-controller has made no Pod yet.
	ReasonNoPod = "NoPod"
	// ReasonStarting: the Pod is there, its container does not run yet, and nobody has said what it waits for.
	ReasonStarting = "Starting"
	// ReasonUnscheduled: no node has the Pod yet, and the scheduler says why.
	ReasonUnscheduled = "Unscheduled"
	// ReasonNotStarted: a node has the Pod, and says why its container does not run.
	ReasonNotStarted = "NotStarted"
	// ReasonStepOver: the container has ended, or can never run.
	ReasonStepOver = "StepOver"
)

// Reasons of Issued and Delivered.
const (
	// ReasonIssued: the back end issued the credential.
	ReasonIssued = "Issued"
	// ReasonDelivered: the Job was started with it.
	ReasonDelivered = "Delivered"
	// ReasonIssuing: an attempt is under way.
	ReasonIssuing = "Issuing"
	// ReasonBackingOff: the last attempt failed for a passing reason; the message says which, and when the next comes.
	ReasonBackingOff = "BackingOff"
	// ReasonAuditUnavailable: the audit log cannot be written. Nothing is issued.
	ReasonAuditUnavailable = "AuditUnavailable"
	// ReasonIssueFailed: the back end refused finally, or attempts ran out.
	ReasonIssueFailed = "IssueFailed"
)

// Reasons of a grant's Ended, and of status.stop.
const (
	// ReasonEnding: the grant is being ended; status.stop says why, the message what is still awaited.
	ReasonEnding = "Ending"
	// ReasonEndNotSeen: the grant's time is over, and no node has reported that its containers ended; the message says what an
	// administrator can do. The condition is Unknown, and the grant goes on being ended.
	ReasonEndNotSeen = "EndNotSeen"
	// ReasonActive: the grant lives.
	ReasonActive = "Active"
	// ReasonJobCompleted: the Job succeeded.
	ReasonJobCompleted = "JobCompleted"
	// ReasonJobFailed: the Job failed.
	ReasonJobFailed = "JobFailed"
	// ReasonStepCompleted: the container that holds the credential succeeded, and other containers of its Pod go on without it.
	ReasonStepCompleted = "StepCompleted"
	// ReasonStepFailed: that container failed, and others of its Pod go on without the credential.
	ReasonStepFailed = "StepFailed"
	// ReasonJobGone: the Job was deleted or replaced.
	ReasonJobGone = "JobGone"
	// ReasonExpired: the TTL was over.
	ReasonExpired = "Expired"
	// ReasonRevokedByAnnotation: somebody set valetkey.dev/revoke.
	ReasonRevokedByAnnotation = "RevokedByAnnotation"
	// ReasonGrantDeleted: somebody deleted the grant.
	ReasonGrantDeleted = "GrantDeleted"
	// ReasonRequestGone: the request was deleted.
	ReasonRequestGone = "RequestGone"
	// ReasonDeniedLate: somebody denied the request after it was granted.
	ReasonDeniedLate = "DeniedLate"
	// ReasonCounted, of an event: the grant has ended and is deleted, and is kept because its credential may work and a
	// limit counts it.
	ReasonCounted = "Counted"
	// ReasonPolicyWithdrawn: no policy allows it any more, or one denies it.
	ReasonPolicyWithdrawn = "PolicyWithdrawn"
	// ReasonNeverIssued: the grant has no record of its own making, as after a restored backup. It is never minted.
	ReasonNeverIssued = "NeverIssued"
)
