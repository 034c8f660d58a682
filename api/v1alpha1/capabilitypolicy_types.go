// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// CapabilityPolicy says who may have a capability, and on what terms. A Deny that matches wins over every Allow; among the
// Allows that match, the least demanding approval holds; where none matches, the request is refused.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=cappol,categories=valetkey
// +kubebuilder:printcolumn:name="Effect",type=string,JSONPath=`.spec.effect`
// +kubebuilder:printcolumn:name="Capabilities",type=string,JSONPath=`.spec.capabilities`
// +kubebuilder:printcolumn:name="Approvals",type=integer,JSONPath=`.spec.approval.required`
// +kubebuilder:printcolumn:name="Max TTL",type=integer,JSONPath=`.spec.maxTTLSeconds`,description="Seconds"
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63",fieldPath=".metadata",message="a policy's name has at most 63 characters"
type CapabilityPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is the policy.
	// +required
	Spec CapabilityPolicySpec `json:"spec"`
	// status is what the operator found. Written by the operator alone.
	// +optional
	// +kubebuilder:default={"observedGeneration":-1}
	Status CapabilityPolicyStatus `json:"status,omitempty"`
}

// PolicyEffect is what a policy that matches does.
//
// +kubebuilder:validation:Enum=Allow;Deny
type PolicyEffect string

const (
	// EffectAllow allows a request that the policy matches, once its approval is given.
	EffectAllow PolicyEffect = "Allow"
	// EffectDeny refuses a request that the policy matches, and ends the grants that it matches.
	EffectDeny PolicyEffect = "Deny"
)

// Acceptance is a risk that a policy takes in as many words.
//
// +kubebuilder:validation:Enum=UnpinnedImage;MutableInput;OtherImage;SecretReader;RequesterMayApprove
type Acceptance string

const (
	// AcceptUnpinnedImage accepts images of the Job that are not named by digest. The review lists them as not covered.
	AcceptUnpinnedImage Acceptance = "UnpinnedImage"
	// AcceptMutableInput accepts volumes, variables and claims of the Job whose content can change after the approval: Secrets,
	// PersistentVolumeClaims, images that are mounted and not named by digest, resource claims, and devices, which are all resources but cpu,
	// memory, ephemeral-storage and hugepages-*. The review lists them as not covered.
	// ConfigMaps need no acceptance: the grant copies what was reviewed.
	AcceptMutableInput Acceptance = "MutableInput"
	// AcceptOtherImage accepts containers beside the step whose image is neither the step's nor one that the capability lists, as it is written
	// there.
	// While the node pulls such an image, it ends no container of the Pod, so that the step can use its credential for longer than granted
	// where that cannot be revoked.
	AcceptOtherImage Acceptance = "OtherImage"
	// AcceptSecretReader accepts a requester, or a ServiceAccount it can act as, that may read the namespace's Secrets: get, list, watch, patch or delete them.
	AcceptSecretReader Acceptance = "SecretReader"
	// AcceptRequesterMayApprove accepts a requester, or a ServiceAccount it can act as, that holds the verb approve.
	AcceptRequesterMayApprove Acceptance = "RequesterMayApprove"
)

// CapabilityPolicySpec is a policy.
//
// +kubebuilder:validation:XValidation:rule="self.effect == 'Deny' || (has(self.requesters) && size(self.requesters) > 0)",message="an Allow policy names its requesters"
// +kubebuilder:validation:XValidation:rule="self.effect == 'Deny' || (has(self.repos) && size(self.repos) > 0 && has(self.environments) && size(self.environments) > 0)",message="an Allow policy names its repos and environments; \"*\" stands for any"
// +kubebuilder:validation:XValidation:rule="self.effect == 'Allow' || !(has(self.approval) || has(self.limits) || has(self.maxTTLSeconds) || has(self.accept))",message="a Deny policy has no approval, limits, maxTTLSeconds or accept"
type CapabilityPolicySpec struct {
	// effect is Allow or Deny.
	// +required
	Effect PolicyEffect `json:"effect"`
	// capabilities are the names of the capabilities that the policy is about; "*" stands for any.
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:Pattern=`^([a-z0-9]([a-z0-9.-]*[a-z0-9])?|\*)$`
	Capabilities []string `json:"capabilities"`
	// requesters are those whom the policy is about. A Deny policy without them is about everybody.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Requesters []Subject `json:"requesters,omitempty"`
	// namespaces are those of the requests that the policy is about. Empty means every enrolled namespace.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:Pattern=`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`
	Namespaces []string `json:"namespaces,omitempty"`
	// repos are whole names, or patterns in which * stands for any run of characters but a slash. A pattern matches the whole
	// name. "*" alone stands for any name, with slashes too. Names are compared as the capability's back end compares
	// them: of GitHub without case, and with the owner in front or without. A Deny policy compares without case for
	// every back end. A Deny policy without repos is about every repo.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=100
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^[A-Za-z0-9._/*-]+$')",message="allowed are names and patterns of letters, digits, dots, underscores, dashes, slashes and *"
	Repos []string `json:"repos,omitempty"`
	// environments are whole names or patterns, as repos are.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^[A-Za-z0-9_*-]+$')",message="allowed are names and patterns of letters, digits, underscores, dashes and *"
	Environments []string `json:"environments,omitempty"`
	// when are CEL expressions over request, capability and job; the policy matches if all are true.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	When []Expression `json:"when,omitempty"`
	// maxTTLSeconds is the longest lifetime that this policy allows, in seconds. Unset means the capability's.
	// +optional
	// +kubebuilder:validation:Minimum=10
	// +kubebuilder:validation:Maximum=43200
	MaxTTLSeconds *int32 `json:"maxTTLSeconds,omitempty"`
	// approval is who must agree. Unset means nobody, as far as the capability's minimumApproval allows.
	// +optional
	Approval *Approval `json:"approval,omitempty"`
	// limits bounds what may be out at the same time.
	// +optional
	Limits *Limits `json:"limits,omitempty"`
	// accept lists the risks that this policy takes: UnpinnedImage, MutableInput, OtherImage, SecretReader, RequesterMayApprove.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=5
	Accept []Acceptance `json:"accept,omitempty"`
}

// SubjectKind is what a Subject names.
//
// +kubebuilder:validation:Enum=User;Group;ServiceAccount
type SubjectKind string

const (
	// SubjectUser names one user.
	SubjectUser SubjectKind = "User"
	// SubjectGroup names a group, as the API server's authenticators report it.
	SubjectGroup SubjectKind = "Group"
	// SubjectServiceAccount names a ServiceAccount.
	SubjectServiceAccount SubjectKind = "ServiceAccount"
)

// Subject names a user, a group or a ServiceAccount.
//
// +kubebuilder:validation:XValidation:rule="(self.kind == 'ServiceAccount') == (has(self.__namespace__) && size(self.__namespace__) > 0)",message="a ServiceAccount names its namespace; a User or Group has none"
// +kubebuilder:validation:XValidation:rule="self.kind == 'ServiceAccount' || !self.name.startsWith('system:serviceaccount:')",message="name a ServiceAccount by kind ServiceAccount"
// +kubebuilder:validation:XValidation:rule="self.kind != 'ServiceAccount' || !has(self.__namespace__) || (self.name.matches('^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$') && self.__namespace__.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$'))",message="no ServiceAccount is called so: its name and its namespace are of lower case letters, digits and dashes"
type Subject struct {
	// kind is User, Group or ServiceAccount.
	// +required
	Kind SubjectKind `json:"kind"`
	// namespace of the ServiceAccount.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`
	// name of the user, group or ServiceAccount.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Name string `json:"name"`
}

// Expression is a CEL expression that must be true, with the words for when it is not.
type Expression struct {
	// expression is CEL over request (name, namespace, capability, taskID, actor, repo, environment, ttlSeconds, requester),
	// capability (name, provider) and job (images, container, serviceAccountName, labels). repo and environment are in
	// the one spelling that the capability takes; images have their registry, and their digest or else their tag. It
	// yields a bool.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	Expression string `json:"expression"`
	// message says what is wanted, to whoever is refused.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:Pattern=`^[\p{L}\p{M}\p{N}\p{P}\p{S}\p{Zs}]+$`
	Message string `json:"message"`
}

// Approval is who must agree.
//
// +kubebuilder:validation:XValidation:rule="self.required == 0 || size(self.approvers) > 0",message="approvers says who may approve"
type Approval struct {
	// required is how many different people must approve.
	// +required
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10
	Required int32 `json:"required"`
	// approvers are those whose approval counts. They also need the verb approve on the request. A ServiceAccount counts
	// only where it is named as one.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Approvers []Subject `json:"approvers,omitempty"`
	// timeoutSeconds is how long after the review the approvals may come, in seconds.
	// +optional
	// +kubebuilder:default=3600
	// +kubebuilder:validation:Minimum=10
	// +kubebuilder:validation:Maximum=604800
	TimeoutSeconds int32 `json:"timeoutSeconds,omitempty"`
}

// Limits bounds what may be out at the same time.
type Limits struct {
	// active is how many credentials that this policy allowed may work at the same time. One counts from the grant until
	// it no longer works, which can be later than the grant ended, and whoever deletes the request, the grant, the Job
	// or the namespace.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	Active *int32 `json:"active,omitempty"`
}

// CapabilityPolicyStatus is what the operator found.
type CapabilityPolicyStatus struct {
	// observedGeneration is the generation that the rest of the status is about: -1 until the operator has looked at the object.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// conditions holds Ready: whether every expression compiles and costs little enough; and Stalled if not.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// CapabilityPolicyList is a list of CapabilityPolicies.
//
// +kubebuilder:object:root=true
type CapabilityPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	// items are the policies.
	Items []CapabilityPolicy `json:"items"`
}
