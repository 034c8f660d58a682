// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// CapabilityRequest asks for one capability, for one container of one Job, for a while. Beside it the same user creates the
// Job valetkey-<name>, labelled valetkey.dev/request=<name>, which the API server holds until the request is granted.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Namespaced,shortName=capreq,categories=valetkey
// +kubebuilder:printcolumn:name="Capability",type=string,JSONPath=`.spec.capability`
// +kubebuilder:printcolumn:name="Repo",type=string,JSONPath=`.spec.repo`
// +kubebuilder:printcolumn:name="Env",type=string,JSONPath=`.spec.environment`
// +kubebuilder:printcolumn:name="Requester",type=string,JSONPath=`.spec.requester.username`
// +kubebuilder:printcolumn:name="Decision",type=string,JSONPath=`.status.conditions[?(@.type=="Allowed")].reason`
// +kubebuilder:printcolumn:name="Ended",type=string,JSONPath=`.status.conditions[?(@.type=="Ended")].reason`
// +kubebuilder:printcolumn:name="Task",type=string,JSONPath=`.spec.taskID`,priority=1
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Allowed")].message`,priority=1
// +kubebuilder:printcolumn:name="Digest",type=string,JSONPath=`.status.review.digest`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 54",fieldPath=".metadata",message="a request's name has at most 54 characters"
// +kubebuilder:validation:XValidation:rule="self.metadata.name.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$')",fieldPath=".metadata",message="a request's name has lower case letters, digits and dashes between them, for example pr-184"
type CapabilityRequest struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what is asked for. It never changes.
	// +required
	Spec CapabilityRequestSpec `json:"spec"`
	// decisions are what people decided, one entry a person, stamped by the API server from the annotations
	// valetkey.dev/approve and valetkey.dev/deny. The last of the 32 places is kept for a denial.
	// +optional
	// +listType=map
	// +listMapKey=by
	// +kubebuilder:validation:MaxItems=32
	Decisions []Decision `json:"decisions,omitempty"`
	// status is what became of it. Written by the operator alone.
	// +optional
	// +kubebuilder:default={"observedGeneration":-1}
	Status CapabilityRequestStatus `json:"status,omitempty"`
}

// CapabilityRequestSpec is what is asked for. taskID, actor and justification are the agent's own words: nobody has checked
// them.
type CapabilityRequestSpec struct {
	// capability is the name of the Capability.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`
	Capability string `json:"capability"`
	// taskID is the agent's own name for the task, for example pr-184.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9][A-Za-z0-9._/#:@+-]*$`
	TaskID string `json:"taskID"`
	// actor is the agent's own name for itself, for example openclaw-agent.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9][A-Za-z0-9._/#:@+-]*$`
	Actor string `json:"actor"`
	// repo is the repository that the task is about, for example web-app or acme/web-app. Policies match it and scopes are
	// rendered from it. A capability takes each repository in one spelling: of GitHub in lower case and without its
	// owner, else in lower case, except where AWS or Cloud Storage tell case apart. A request in another spelling is
	// refused with the right one.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=100
	// +kubebuilder:validation:XValidation:rule="self.matches('^([A-Za-z0-9_]|[.][A-Za-z0-9_-])[A-Za-z0-9_-]*([.][A-Za-z0-9_-]+)*(/([A-Za-z0-9_]|[.][A-Za-z0-9_-])[A-Za-z0-9_-]*([.][A-Za-z0-9_-]+)*)*$')",message="allowed are letters, digits, dots, underscores and dashes, with / between an owner and a name; no part begins with a dash, ends with a dot or has two dots together"
	// +kubebuilder:validation:XValidation:rule="!self.lowerAscii().endsWith('.git')",message="write it without .git: no repository's name ends so"
	Repo string `json:"repo"`
	// environment is where the task works, for example preview. A capability takes it in one spelling, in lower case,
	// except where AWS tells case apart.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9_][A-Za-z0-9_-]*$')",message="allowed are letters, digits, underscores and dashes; it does not begin with a dash"
	Environment string `json:"environment"`
	// justification is the agent's own reason, in a sentence.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:Pattern=`^[\p{L}\p{M}\p{N}\p{P}\p{S}\p{Zs}]*$`
	Justification string `json:"justification,omitempty"`
	// ttlSeconds is how long the credential is needed, in seconds. Unset means the capability's default.
	// +optional
	// +kubebuilder:validation:Minimum=10
	// +kubebuilder:validation:Maximum=43200
	TTLSeconds *int32 `json:"ttlSeconds,omitempty"`
	// container is the one container of the Job that receives the credential.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`
	Container string `json:"container"`
	// requester is who created the request. The API server writes it over whatever a client sends.
	// +optional
	Requester Identity `json:"requester,omitempty"`
}

// Identity is a user as the API server authenticated it.
type Identity struct {
	// username as the API server knows it.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Username string `json:"username,omitempty"`
	// uid as the authenticator reports it, if it does.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	UID string `json:"uid,omitempty"`
	// groups as the authenticator reports them: as many as directories put into a token, of which Active Directory's 1,015
	// are the most.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=1024
	// +kubebuilder:validation:items:MaxLength=512
	Groups []string `json:"groups,omitempty"`
	// extra as the authenticator reports it.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	Extra map[string]ExtraValue `json:"extra,omitempty"`
}

// ExtraValue is what an authenticator reports under one key beside names and groups.
//
// +kubebuilder:validation:MaxItems=256
// +kubebuilder:validation:items:MaxLength=1024
type ExtraValue []string

// DecisionKind is Approve or Deny.
//
// +kubebuilder:validation:Enum=Approve;Deny
type DecisionKind string

const (
	// DecisionApprove approves what the digest names.
	DecisionApprove DecisionKind = "Approve"
	// DecisionDeny denies it, and outweighs any number of approvals.
	DecisionDeny DecisionKind = "Deny"
)

// Decision is what one person decided.
type Decision struct {
	// by is the person, as the API server authenticated them.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	By string `json:"by"`
	// uid of the person who approved, if the authenticator reports one. A denial has none: it needs no more than a name.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	UID string `json:"uid,omitempty"`
	// groups of the person who approved, as the authenticator reports them. A denial has none.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=1024
	// +kubebuilder:validation:items:MaxLength=512
	Groups []string `json:"groups,omitempty"`
	// extra of the person who approved, as the authenticator reports it. A denial has none.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	Extra map[string]ExtraValue `json:"extra,omitempty"`
	// decision is Approve or Deny.
	// +required
	Decision DecisionKind `json:"decision"`
	// digest is that of the review that was decided on.
	// +required
	// +kubebuilder:validation:Pattern=`^[0-9a-f]{64}$`
	Digest string `json:"digest"`
	// reason is the person's own.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:Pattern=`^[\p{L}\p{M}\p{N}\p{P}\p{S}\p{Zs}]*$`
	Reason string `json:"reason,omitempty"`
}

// CapabilityRequestStatus is what became of a request.
type CapabilityRequestStatus struct {
	// observedGeneration is the generation that the rest of the status is about: -1 until the operator has looked at the object.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// conditions holds Reviewed, Allowed, Granted and Ended; Reconciling while it is undecided, and Stalled if nothing came of it.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// review is what people decide on. It is written once.
	// +optional
	Review *Review `json:"review,omitempty"`
	// seenDecisions are the decisions that the operator stored having seen, and when. Only these count.
	// +optional
	// +listType=map
	// +listMapKey=by
	// +kubebuilder:validation:MaxItems=32
	SeenDecisions []SeenDecision `json:"seenDecisions,omitempty"`
	// policy is the policy that decided.
	// +optional
	Policy *PolicyReference `json:"policy,omitempty"`
	// approvals says, while the request waits for them, how many the policy asks for and how many there are.
	// +optional
	Approvals *Approvals `json:"approvals,omitempty"`
	// grantName is the CapabilityGrant, once there is one.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	GrantName string `json:"grantName,omitempty"`
	// endedAt is when the request came to its end. It is removed a set time later.
	// +optional
	EndedAt *metav1.Time `json:"endedAt,omitempty"`
}

// Approvals counts the approvals of a request under the policy that decides.
type Approvals struct {
	// required is how many different people have to approve.
	// +required
	Required int32 `json:"required"`
	// given is how many of them have, as far as the policy takes them.
	// +optional
	Given int32 `json:"given,omitempty"`
	// until is when the time for approvals is over.
	// +optional
	Until *metav1.Time `json:"until,omitempty"`
}

// PolicyReference names a policy at one generation.
type PolicyReference struct {
	// name of the CapabilityPolicy.
	// +required
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`
	// generation of the policy when it decided.
	// +required
	Generation int64 `json:"generation"`
}

// SeenDecision is a decision that the operator stored having seen.
type SeenDecision struct {
	// by is the person.
	// +required
	// +kubebuilder:validation:MaxLength=512
	By string `json:"by"`
	// decision is Approve or Deny.
	// +required
	Decision DecisionKind `json:"decision"`
	// digest is that of the review that was decided on.
	// +required
	// +kubebuilder:validation:MaxLength=64
	Digest string `json:"digest"`
	// seenAt is when the operator first stored having seen it.
	// +required
	SeenAt metav1.Time `json:"seenAt"`
}

// Review is what people decide on: the digest covers the request, the Job's UID and whole spec, the capability, its provider,
// the rendered scope and every immutable ConfigMap that the Pod uses.
type Review struct {
	// digest is the SHA-256, in hexadecimal, of all that is reviewed.
	// +required
	// +kubebuilder:validation:Pattern=`^[0-9a-f]{64}$`
	Digest string `json:"digest"`
	// at is when the review was written. The timeout for approvals counts from here.
	// +required
	At metav1.Time `json:"at"`
	// job is the step that will hold the credential.
	// +required
	Job ReviewedJob `json:"job"`
	// capability is what it gets.
	// +required
	Capability ReviewedCapability `json:"capability"`
	// scope is the rendered scope, a line each.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=2048
	Scope []string `json:"scope"`
	// ttlSeconds is for how long.
	// +required
	TTLSeconds int32 `json:"ttlSeconds"`
	// inputs are the ConfigMaps that the Job's Pod reads, with what they hold. The Pod gets copies of exactly that.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=32
	Inputs []ReviewedInput `json:"inputs,omitempty"`
	// notCovered lists what can change after the approval because a policy accepts it, a line each. Empty is best.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=1024
	NotCovered []string `json:"notCovered,omitempty"`
}

// ReviewedInput is a ConfigMap that the Job's Pod reads. One without a UID did not exist, and will not exist for the Pod.
type ReviewedInput struct {
	// name of the ConfigMap, in the request's namespace.
	// +required
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// uid of the ConfigMap. If it is made again, the request ends.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	UID string `json:"uid,omitempty"`
	// resourceVersion of a ConfigMap that is not immutable. If it is changed, or changed and changed back, before the grant has copied
	// it, the request ends.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	ResourceVersion string `json:"resourceVersion,omitempty"`
	// sha256 is the SHA-256, in hexadecimal, of data and binaryData.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	SHA256 string `json:"sha256,omitempty"`
}

// ReviewedJob shows the container that receives the credential, and counts the others.
type ReviewedJob struct {
	// name of the Job.
	// +required
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`
	// uid of the Job.
	// +required
	// +kubebuilder:validation:MaxLength=64
	UID string `json:"uid"`
	// container that receives the credential.
	// +required
	// +kubebuilder:validation:MaxLength=63
	Container string `json:"container"`
	// image of that container.
	// +required
	// +kubebuilder:validation:MaxLength=1024
	Image string `json:"image"`
	// command of that container; empty means the image's own.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=256
	Command []string `json:"command,omitempty"`
	// args of that container.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=256
	Args []string `json:"args,omitempty"`
	// otherContainers are the Pod's other containers, name=image.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	OtherContainers []string `json:"otherContainers,omitempty"`
	// serviceAccountName that the Pod runs as.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	ServiceAccountName string `json:"serviceAccountName,omitempty"`
}

// ReviewedCapability names the capability and the identity behind it.
type ReviewedCapability struct {
	// name of the Capability.
	// +required
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`
	// description of the Capability.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Description string `json:"description,omitempty"`
	// provider is the CapabilityProvider's name.
	// +required
	// +kubebuilder:validation:MaxLength=63
	Provider string `json:"provider"`
	// principal is what the credential acts as: for AWS, the role's ARN.
	// +required
	// +kubebuilder:validation:MaxLength=512
	Principal string `json:"principal"`
}

// CapabilityRequestList is a list of CapabilityRequests.
//
// +kubebuilder:object:root=true
type CapabilityRequestList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	// items are the requests.
	Items []CapabilityRequest `json:"items"`
}
