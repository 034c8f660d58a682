// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// CapabilityGrant is the lease: the record, stored before anything is minted, that one request was granted, and what became of
// the credential. It never holds secret material. Only the operator writes it.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Namespaced,shortName=capgrant,categories=valetkey
// +kubebuilder:selectablefield:JSONPath=`.spec.approval.policy`
// +kubebuilder:printcolumn:name="Capability",type=string,JSONPath=`.spec.capability`
// +kubebuilder:printcolumn:name="Requester",type=string,JSONPath=`.spec.requester`
// +kubebuilder:printcolumn:name="Issued",type=string,JSONPath=`.status.conditions[?(@.type=="Issued")].status`
// +kubebuilder:printcolumn:name="Delivered",type=string,JSONPath=`.status.conditions[?(@.type=="Delivered")].status`
// +kubebuilder:printcolumn:name="Expires",type=string,JSONPath=`.status.expiresAt`
// +kubebuilder:printcolumn:name="Outcome",type=string,JSONPath=`.status.outcome`
// +kubebuilder:printcolumn:name="Revocation",type=string,JSONPath=`.status.revocation.mode`
// +kubebuilder:printcolumn:name="Exposed until",type=string,JSONPath=`.status.revocation.exposedUntil`,priority=1
// +kubebuilder:printcolumn:name="Lease",type=string,JSONPath=`.spec.leaseID`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type CapabilityGrant struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what was granted. It never changes.
	// +required
	Spec CapabilityGrantSpec `json:"spec"`
	// status is what became of it.
	// +optional
	// +kubebuilder:default={"observedGeneration":-1}
	Status CapabilityGrantStatus `json:"status,omitempty"`
}

// Revoked reports whether somebody asked for the grant's end. A reason is not needed: the API server takes the annotation
// once, so one that is empty has to count.
func (g *CapabilityGrant) Revoked() bool {
	_, asked := g.Annotations[AnnotationRevoke]
	return asked
}

// Abandoned reports whether somebody gave up on what the grant's end waits for, with a reason or without.
func (g *CapabilityGrant) Abandoned() bool {
	_, asked := g.Annotations[AnnotationAbandon]
	return asked
}

// CapabilityGrantSpec is what was granted.
type CapabilityGrantSpec struct {
	// leaseID is a random UUID. The credential's session is named agent-<leaseID>-<attempt> wherever the back end has names.
	// +required
	// +kubebuilder:validation:Pattern=`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`
	LeaseID string `json:"leaseID"`
	// requestRef is the request that was granted.
	// +required
	RequestRef ObjectReference `json:"requestRef"`
	// requester is the user name of who asked.
	// +required
	// +kubebuilder:validation:MaxLength=512
	Requester string `json:"requester"`
	// taskID is the agent's own name for the task.
	// +required
	// +kubebuilder:validation:MaxLength=128
	TaskID string `json:"taskID"`
	// actor is the agent's own name for itself.
	// +required
	// +kubebuilder:validation:MaxLength=128
	Actor string `json:"actor"`
	// repo that the task is about.
	// +required
	// +kubebuilder:validation:MaxLength=100
	Repo string `json:"repo"`
	// environment where the task works.
	// +required
	// +kubebuilder:validation:MaxLength=63
	Environment string `json:"environment"`
	// capability is the Capability's name.
	// +required
	// +kubebuilder:validation:MaxLength=63
	Capability string `json:"capability"`
	// provider is where the credential comes from.
	// +required
	Provider GrantProvider `json:"provider"`
	// scope is what the credential can do, in the back end's own terms: for AWS, the actions; for Kubernetes, the rules of the
	// roles that are bound to the ServiceAccount.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=128
	// +kubebuilder:validation:items:MaxLength=256
	Scope []string `json:"scope"`
	// ttlSeconds is how long the Job may use the credential, in seconds from its issue.
	// +required
	// +kubebuilder:validation:Minimum=10
	// +kubebuilder:validation:Maximum=43200
	TTLSeconds int32 `json:"ttlSeconds"`
	// job is the Job whose one container receives the credential.
	// +required
	Job GrantJob `json:"job"`
	// approval is why it was granted.
	// +required
	Approval GrantApproval `json:"approval"`
}

// ObjectReference names one object of the same namespace, and no other of the same name.
type ObjectReference struct {
	// name of the object.
	// +required
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`
	// uid of the object.
	// +required
	// +kubebuilder:validation:MaxLength=64
	UID string `json:"uid"`
}

// GrantProvider is where a credential comes from.
type GrantProvider struct {
	// name of the CapabilityProvider.
	// +required
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`
	// type of the back end: aws-sts or kubernetes.
	// +required
	// +kubebuilder:validation:MaxLength=63
	Type string `json:"type"`
}

// GrantJob is the one container of one Job.
type GrantJob struct {
	// name of the Job.
	// +required
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`
	// uid of the Job.
	// +required
	// +kubebuilder:validation:MaxLength=64
	UID string `json:"uid"`
	// container of the Job.
	// +required
	// +kubebuilder:validation:MaxLength=63
	Container string `json:"container"`
}

// GrantApproval is why a request was granted.
type GrantApproval struct {
	// policy that allowed it.
	// +required
	// +kubebuilder:validation:MaxLength=63
	Policy string `json:"policy"`
	// policyGeneration is the policy's generation when it allowed it.
	// +required
	PolicyGeneration int64 `json:"policyGeneration"`
	// approvedBy are the people whose approval counted.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=512
	ApprovedBy []string `json:"approvedBy,omitempty"`
	// digest is that of the review that was approved.
	// +required
	// +kubebuilder:validation:Pattern=`^[0-9a-f]{64}$`
	Digest string `json:"digest"`
}

// GrantOutcome is how a grant ended.
//
// +kubebuilder:validation:Enum=Completed;Failed;Expired;Revoked;IssueFailed;Unknown
type GrantOutcome string

const (
	// OutcomeCompleted: the Job succeeded within the TTL.
	OutcomeCompleted GrantOutcome = "Completed"
	// OutcomeFailed: the Job failed within the TTL.
	OutcomeFailed GrantOutcome = "Failed"
	// OutcomeExpired: the TTL was over before the Job was.
	OutcomeExpired GrantOutcome = "Expired"
	// OutcomeRevoked: a person, a policy, or the end of the request or its Job ended the grant early.
	OutcomeRevoked GrantOutcome = "Revoked"
	// OutcomeIssueFailed: no credential was delivered.
	OutcomeIssueFailed GrantOutcome = "IssueFailed"
	// OutcomeUnknown: the operator could not find out: its record was restored from a backup, or nobody saw its containers end and
	// somebody gave up on that.
	OutcomeUnknown GrantOutcome = "Unknown"
)

// RevocationMode is what ending a credential early can mean.
//
// +kubebuilder:validation:Enum=None;Immediate;AtExpiry
type RevocationMode string

const (
	// RevocationNone: nothing was ever issued.
	RevocationNone RevocationMode = "None"
	// RevocationImmediate: the back end was asked and confirmed that the credential works no more. Where exposedUntil is set, a part
	// of the back end that was not asked may accept it until then.
	RevocationImmediate RevocationMode = "Immediate"
	// RevocationAtExpiry: the back end cannot end it early. It works until exposedUntil for whoever kept a copy.
	RevocationAtExpiry RevocationMode = "AtExpiry"
)

// CapabilityGrantStatus is what became of a grant.
type CapabilityGrantStatus struct {
	// observedGeneration is the generation that the rest of the status is about: -1 until the operator has looked at the object.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// conditions holds Issued, Delivered, Running and Ended; Reconciling before it is delivered and while it is being ended, and Stalled if it ended
	// otherwise than with a Job that succeeded.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// attempt counts the times that a mint was begun. It is stored before each.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	Attempt int32 `json:"attempt,omitempty"`
	// issuedAt is when the credential was issued. The TTL counts from here.
	// +optional
	IssuedAt *metav1.Time `json:"issuedAt,omitempty"`
	// expiresAt is when the TTL is over: the Job is stopped and the Secret deleted.
	// +optional
	ExpiresAt *metav1.Time `json:"expiresAt,omitempty"`
	// credentialExpiresAt is when the back end stops accepting the credential, which can be later than expiresAt. Where
	// more than one attempt may have been issued a credential, it is when the last of them stops working.
	// +optional
	CredentialExpiresAt *metav1.Time `json:"credentialExpiresAt,omitempty"`
	// exposed lists the attempts that may have been issued a credential, and until when each of these can work by
	// itself. It is stored before the back end is asked. An attempt that the back end refused is not in the list, nor
	// one that was given up before the back end was asked. limits.active of the policy counts every entry.
	// +optional
	// +listType=map
	// +listMapKey=attempt
	// +kubebuilder:validation:MaxItems=100
	Exposed []AttemptExposure `json:"exposed,omitempty"`
	// secretName is the Secret that holds the credential.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	SecretName string `json:"secretName,omitempty"`
	// credential identifies the credential in the back end's own log.
	// +optional
	Credential *CredentialReference `json:"credential,omitempty"`
	// revocationHandle is what the back end needs to know to end what was issued, should capability or provider be gone by then. It is
	// stored before anything can be used, and is no secret.
	// +optional
	// +kubebuilder:validation:MaxLength=32768
	RevocationHandle string `json:"revocationHandle,omitempty"`
	// inputs counts the ConfigMaps that the Job's Pod reads, of which the grant makes copies.
	// +optional
	// +kubebuilder:validation:Maximum=32
	Inputs int32 `json:"inputs,omitempty"`
	// podsStarted counts the Pods that started with the credential. More than one means that it was reused.
	// +optional
	PodsStarted int32 `json:"podsStarted,omitempty"`
	// stop is why the grant is being ended, once it is. The first reason stays.
	// +optional
	Stop *GrantStop `json:"stop,omitempty"`
	// revocation is what happened to the credential at the end.
	// +optional
	Revocation *Revocation `json:"revocation,omitempty"`
	// outcome is how the grant ended.
	// +optional
	Outcome GrantOutcome `json:"outcome,omitempty"`
	// endedAt is when the grant ended.
	// +optional
	EndedAt *metav1.Time `json:"endedAt,omitempty"`
	// audit is the last audit record written about this grant: a tail cut off the log, or a log rewritten, shows.
	// +optional
	Audit *AuditAnchor `json:"audit,omitempty"`
}

// LatestInstant is the last instant that RFC 3339 can write in whole seconds, and so the API server can store.
func LatestInstant() time.Time { return time.Date(9999, time.December, 31, 23, 59, 59, 0, time.UTC) }

// AttemptExposure is an attempt that may have been issued a credential.
type AttemptExposure struct {
	// attempt is the number of the attempt.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	Attempt int32 `json:"attempt"`
	// until is the latest instant at which its credential can work if nobody ends it.
	// +required
	Until metav1.Time `json:"until"`
	// answered is true when nothing more can come of the attempt: the answer of the back end is known, or it was never
	// asked. Without it, an operator that did not see the attempt through cannot tell whether the answer is still on its
	// way, and what the back end confirmed to have ended counts until it expires all the same.
	// +optional
	Answered bool `json:"answered,omitempty"`
	// unknown is true when the back end answered with something that nobody is given, and not until when it works, or
	// not in a form that can be read; and when only its answer could have said so, and never came. until is then what
	// would hold of the credential that was asked for.
	// +optional
	Unknown bool `json:"unknown,omitempty"`
	// mismatched is true when the back end answered with something else than it was asked for, which nobody is given.
	// What it confirms to have ended is what was asked for, so that the revocation is AtExpiry, and the attempt counts
	// until it expires.
	// +optional
	Mismatched bool `json:"mismatched,omitempty"`
}

// CredentialReference identifies a credential without being one.
type CredentialReference struct {
	// id of the credential, as the back end's log names it: for AWS, the access key ID; for Kubernetes, JTI= and the token's ID.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	ID string `json:"id,omitempty"`
	// principal that the credential acts as: for AWS, the assumed role's ARN with the session name; for Kubernetes, the user name.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Principal string `json:"principal,omitempty"`
}

// GrantStop is why a grant is being ended.
type GrantStop struct {
	// outcome that the grant will end with.
	// +required
	Outcome GrantOutcome `json:"outcome"`
	// reason is one of the documented reasons of the condition Ended.
	// +required
	// +kubebuilder:validation:MaxLength=64
	Reason string `json:"reason"`
	// message says it to a person.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
	// at is when it was first found.
	// +required
	At metav1.Time `json:"at"`
}

// Revocation is what happened to a credential at the end.
type Revocation struct {
	// mode is None, Immediate or AtExpiry.
	// +required
	Mode RevocationMode `json:"mode"`
	// confirmedAt is when the back end confirmed that the credential works no more.
	// +optional
	ConfirmedAt *metav1.Time `json:"confirmedAt,omitempty"`
	// exposedUntil is until when a copy of the credential would still work. With the mode AtExpiry it is missing where
	// the back end answered with something and nobody can say until when that works.
	// +optional
	ExposedUntil *metav1.Time `json:"exposedUntil,omitempty"`
	// leavesOpen is true where what was opened with the credential before it ended may go on, such as a watch: nobody can say until
	// when.
	// +optional
	LeavesOpen bool `json:"leavesOpen,omitempty"`
}

// AuditAnchor names one audit record.
type AuditAnchor struct {
	// writer is the chain that the record belongs to.
	// +required
	// +kubebuilder:validation:MaxLength=128
	Writer string `json:"writer"`
	// seq is the record's number in that chain.
	// +required
	Seq int64 `json:"seq"`
	// hash is the record's own, in hexadecimal.
	// +required
	// +kubebuilder:validation:Pattern=`^[0-9a-f]{64}$`
	Hash string `json:"hash"`
}

// CapabilityGrantList is a list of CapabilityGrants.
//
// +kubebuilder:object:root=true
type CapabilityGrantList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	// items are the grants.
	Items []CapabilityGrant `json:"items"`
}
