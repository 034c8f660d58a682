// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Labels and annotations. The admission rules of config/admission know them by these very names.
const (
	// LabelRequest on a Job names the CapabilityRequest that the Job belongs to; the Job is named valetkey-<request>.
	// The job-controller's Pod carries it too.
	LabelRequest = "valetkey.dev/request"
	// LabelEnrolled with the value "true" on a Namespace lets requests be made there. A cluster administrator sets it.
	LabelEnrolled = "valetkey.dev/enrolled"
	// LabelInUse with the value "true" on a Namespace is set by the operator while grants live there. As long as it
	// stands, neither LabelEnrolled nor the Pod Security level may be weakened.
	LabelInUse = "valetkey.dev/in-use"
	// LabelIdentities with the value "true" marks the namespace whose ServiceAccounts are the capabilities' identities.
	LabelIdentities = "valetkey.dev/identities"

	// AnnotationApprove on a CapabilityRequest, with the digest of status.review as its value, approves it. The API server
	// turns it into an entry of decisions in the caller's name and removes it.
	AnnotationApprove = "valetkey.dev/approve"
	// AnnotationDeny on a CapabilityRequest, with the digest of status.review as its value, denies it.
	AnnotationDeny = "valetkey.dev/deny"
	// AnnotationReason goes with AnnotationApprove or AnnotationDeny and is stored with the decision.
	AnnotationReason = "valetkey.dev/reason"
	// AnnotationRevoke on a CapabilityGrant ends the grant at once. Its value is the reason. It asks for the verb revoke.
	AnnotationRevoke = "valetkey.dev/revoke"
	// AnnotationRevokedBy on a CapabilityGrant is who set AnnotationRevoke. Stamped by the API server.
	AnnotationRevokedBy = "valetkey.dev/revoked-by"
	// AnnotationAbandon on a CapabilityGrant that is being ended gives up on what cannot be confirmed: that its credential is revoked, or
	// that its containers ended. The grant ends, and says until when the credential may work, or that its outcome is unknown. Its
	// value is the reason. It asks for the verb abandon.
	AnnotationAbandon = "valetkey.dev/abandon"
	// AnnotationAbandonedBy on a CapabilityGrant is who set AnnotationAbandon. Stamped by the API server.
	AnnotationAbandonedBy = "valetkey.dev/abandoned-by"
	// AnnotationCreatedBy on a Job is the user who created it. Stamped by the API server, never changed.
	AnnotationCreatedBy = "valetkey.dev/created-by"

	// AnnotationGrant on a Job's Pod template is the UID of the grant that started the Job. Only the operator writes it,
	// and the annotations below, in the one patch that starts the Job.
	AnnotationGrant = "valetkey.dev/grant"
	// AnnotationSecret on a Job's Pod template is the name of the Secret to project.
	AnnotationSecret = "valetkey.dev/secret"
	// AnnotationContainer on a Job's Pod template is the one container that receives the credential.
	AnnotationContainer = "valetkey.dev/container"
	// AnnotationPointers on a Job's Pod template lists variables that point at projected files: NAME=value, comma separated.
	AnnotationPointers = "valetkey.dev/pointers"
	// AnnotationVariables on a Job's Pod template lists the keys of the Secret that become variables, comma separated.
	AnnotationVariables = "valetkey.dev/variables"
	// AnnotationFiles on a Job's Pod template lists the keys of the Secret that become files: key=path, comma separated.
	AnnotationFiles = "valetkey.dev/files"
	// AnnotationContainers on a Job's Pod template lists all of the Pod's containers as they were approved, those that initialise
	// first: name=image, comma separated, of an image by digest only what follows its name. No Pod with others is made.
	AnnotationContainers = "valetkey.dev/containers"
	// AnnotationDevices on a Job's Pod template lists what its containers have of device plug-ins and drivers: container=resource, comma
	// separated. No Pod with others is made.
	AnnotationDevices = "valetkey.dev/devices"
	// AnnotationPullSecrets on a Job's Pod template lists its imagePullSecrets, comma separated. No Pod is made that has others, of its
	// ServiceAccount, and a container that is started while the step runs.
	AnnotationPullSecrets = "valetkey.dev/pull-secrets"
	// AnnotationInputs on a Job's Pod template lists the ConfigMaps that the Pod reads, and the grant's copies of what was reviewed:
	// name=copy, comma separated. The API server points the Pod at the copies.
	AnnotationInputs = "valetkey.dev/inputs"
	// AnnotationDeadlineSeconds on a Job's Pod template is the Pod's activeDeadlineSeconds.
	AnnotationDeadlineSeconds = "valetkey.dev/deadline-seconds"

	// AnnotationCapability on a ServiceAccount in the identities' namespace names the one capability it is the identity of.
	AnnotationCapability = "valetkey.dev/capability"

	// FinalizerRevoke on a CapabilityGrant holds it until its credential is revoked, or honestly said not to be. It
	// stays until all that was issued has expired on a grant that nobody deletes, and on a deleted one as long as a
	// limit of its policy counts it.
	FinalizerRevoke = "valetkey.dev/revoke"

	// FinalizerSeen on a Pod that holds a credential keeps the Pod until its grant has seen its node report that its containers ended.
	// The API server puts it there as the Pod is made.
	FinalizerSeen = "valetkey.dev/seen"

	// SecretType is the type of every Secret that holds a credential.
	SecretType = "valetkey.dev/credential"
	// AnchorType is the type of the empty Secrets in the identities' namespace that tokens are bound to: deleting one ends its token.
	AnchorType = "valetkey.dev/anchor"
	// NamePrefix begins the name of every Job, Pod and Secret of a grant. It is reserved in enrolled namespaces.
	NamePrefix = "valetkey-"
	// InputPrefix begins the name of every ConfigMap that a grant makes: valetkey.dev-<UID of the grant>-<number>. It is reserved in enrolled
	// namespaces, and no such name is ever used for another content.
	InputPrefix = "valetkey.dev-"
	// VolumeName is the Pod volume that holds the credential's files. It is reserved in a grant's Job.
	VolumeName = "valetkey"
	// MountPath is where the credential's files appear in the one container.
	MountPath = "/var/run/secrets/valetkey.dev"
	// ExecSecretsFile, below MountPath, is a JSON list of the values that valetkey-exec scrubs from what its command writes.
	ExecSecretsFile = "exec/secrets"
	// ExecEnvironmentDir, below MountPath, holds a file for each variable that valetkey-exec sets in its command's environment alone, named
	// in lower case.
	ExecEnvironmentDir = "exec/environment"
	// ExecTermsFile, below MountPath, tells valetkey-exec when the grant is over and which variables, that are no
	// secret, were delivered.
	ExecTermsFile = "exec/terms"
	// ExecExpiresVariable, in the one container, says when the grant is over (RFC 3339).
	ExecExpiresVariable = "VALETKEY_EXPIRES_AT"
	// PodGraceSeconds is the terminationGracePeriodSeconds of a Pod that holds a credential.
	PodGraceSeconds = 5
)

// StartAnnotations are those of a Job's Pod template that only the patch which starts the Job writes. No review covers them.
func StartAnnotations() []string {
	return []string{
		AnnotationGrant, AnnotationSecret, AnnotationContainer, AnnotationPointers, AnnotationVariables, AnnotationFiles,
		AnnotationContainers, AnnotationDevices, AnnotationPullSecrets, AnnotationInputs, AnnotationDeadlineSeconds,
	}
}
