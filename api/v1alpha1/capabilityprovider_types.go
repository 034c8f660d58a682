// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// CapabilityProvider says where credentials come from. It holds no key: the operator proves who it is with a
// ServiceAccount token of the capability's own identity.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=capprov,categories=valetkey
// +kubebuilder:printcolumn:name="Type",type=string,JSONPath=`.status.type`,description="The kind of back end"
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63",fieldPath=".metadata",message="a provider's name has at most 63 characters"
type CapabilityProvider struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is where credentials come from.
	// +required
	Spec CapabilityProviderSpec `json:"spec"`
	// status is what the operator found. Written by the operator alone.
	// +optional
	// +kubebuilder:default={"observedGeneration":-1}
	Status CapabilityProviderStatus `json:"status,omitempty"`
}

// CapabilityProviderSpec names exactly one back end.
//
// +kubebuilder:validation:ExactlyOneOf=aws;kubernetes;vault;gcp;github;token
type CapabilityProviderSpec struct {
	// aws issues sessions of an IAM role through AWS STS and web identity federation.
	// +optional
	AWS *AWSProvider `json:"aws,omitempty"`
	// kubernetes issues tokens of ServiceAccounts of the cluster that the operator runs in.
	// +optional
	Kubernetes *KubernetesProvider `json:"kubernetes,omitempty"`
	// vault reads secrets that HashiCorp Vault leases.
	// +optional
	Vault *VaultProvider `json:"vault,omitempty"`
	// gcp issues access tokens of service accounts of Google Cloud through workload identity federation.
	// +optional
	GCP *GCPProvider `json:"gcp,omitempty"`
	// github issues tokens of a GitHub App's installation.
	// +optional
	GitHub *GitHubProvider `json:"github,omitempty"`
	// token issues signed tokens for internal services.
	// +optional
	Token *TokenProvider `json:"token,omitempty"`
}

// TokenProvider is the operator itself as an issuer of signed tokens.
type TokenProvider struct {
	// issuer is the URL that stands in the tokens, and below which discovery, keys and introspection are reached. It is the one that the
	// operator was started with (--token-issuer).
	// +required
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern=`^https?://[a-z0-9.-]+(:[0-9]{1,5})?$`
	Issuer string `json:"issuer"`
}

// GitHubProvider is a GitHub App where it is installed. Its key is the operator's: a mounted file, or an external signer.
type GitHubProvider struct {
	// apiURL is GitHub's API. Another than GitHub's own is used only if the operator was started with it (--github-api).
	// +optional
	// +kubebuilder:default="https://api.github.com"
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern=`^https?://[a-z0-9.-]+(:[0-9]{1,5})?(/api/v3)?$`
	APIURL string `json:"apiURL,omitempty"`
	// appID of the App.
	// +required
	// +kubebuilder:validation:Minimum=1
	AppID int64 `json:"appID"`
	// installationID of the App at the owner of the repositories.
	// +required
	// +kubebuilder:validation:Minimum=1
	InstallationID int64 `json:"installationID"`
	// signer names the App's key, as the operator was started with it (--signer).
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`
	Signer string `json:"signer"`
	// caBundle is the authority, in PEM, of the API's certificate. If it is set, it alone is
	// trusted. Otherwise the system's authorities are, and those of --ca-file.
	// +optional
	// +kubebuilder:validation:MaxLength=16384
	CABundle string `json:"caBundle,omitempty"`
}

// GCPProvider is a provider of a workload identity pool of Google Cloud that trusts this cluster's issuer.
type GCPProvider struct {
	// workloadIdentityProvider is the provider's resource name, with the project's number:
	// projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER. The identities' tokens are for the audience
	// https://iam.googleapis.com/ and this name; only one that the operator was started with (--gcp-audience) is used.
	// +required
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="self.matches('^projects/[0-9]+/locations/global/workloadIdentityPools/[a-z0-9-]{4,32}/providers/[a-z0-9-]{4,32}$')",message="write projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER: with the number of the project and not its ID, with the provider behind the pool, and without https://iam.googleapis.com/ before it"
	WorkloadIdentityProvider string `json:"workloadIdentityProvider"`
	// stsEndpoint is the URL of the Security Token Service; empty means Google's own. Only a URL that the operator was started with
	// (--gcp-endpoint) is used: an identity's token is sent nowhere else.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern=`^https?://[a-z0-9.-]+(:[0-9]{1,5})?$`
	STSEndpoint string `json:"stsEndpoint,omitempty"`
	// iamCredentialsEndpoint is the URL of the Service Account Credentials API; empty means Google's own. Only a URL that the operator was
	// started with (--gcp-endpoint) is used.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern=`^https?://[a-z0-9.-]+(:[0-9]{1,5})?$`
	IAMCredentialsEndpoint string `json:"iamCredentialsEndpoint,omitempty"`
	// caBundle is the authority, in PEM, of the endpoints' certificates. If it is set, it alone is
	// trusted. Otherwise the system's authorities are, and those of --ca-file.
	// +optional
	// +kubebuilder:validation:MaxLength=16384
	CABundle string `json:"caBundle,omitempty"`
}

// VaultProvider is a Vault server, and the auth method by which the operator logs in as a capability's identity.
type VaultProvider struct {
	// address of the server. Only one that the operator was started with (--vault-address) is used.
	// +required
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern=`^https?://[a-z0-9.-]+(:[0-9]{1,5})?$`
	Address string `json:"address"`
	// namespace of Vault Enterprise.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$`
	Namespace string `json:"namespace,omitempty"`
	// authPath is where the auth method, jwt or kubernetes, is mounted.
	// +optional
	// +kubebuilder:default=jwt
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$`
	AuthPath string `json:"authPath,omitempty"`
	// audience of the identities' tokens. Only an audience that the operator was started with (--vault-audience) is used.
	// +optional
	// +kubebuilder:default=vault
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9.:/_-]+$`
	Audience string `json:"audience,omitempty"`
	// caBundle is the authority, in PEM, of the server's certificate. If it is set, it alone is
	// trusted. Otherwise the system's authorities are, and those of --ca-file.
	// +optional
	// +kubebuilder:validation:MaxLength=16384
	CABundle string `json:"caBundle,omitempty"`
}

// KubernetesProvider is the cluster that the operator runs in.
type KubernetesProvider struct {
	// server is the URL of the API server in the projected kubeconfig. Only a URL that the operator was started with
	// (--kubernetes-server) is used.
	// +optional
	// +kubebuilder:default="https://kubernetes.default.svc"
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern=`^https://[a-z0-9.-]+(:[0-9]{1,5})?$`
	Server string `json:"server,omitempty"`
}

// AWSProvider is an AWS region, or a service that speaks the same protocol.
type AWSProvider struct {
	// region is the AWS region, for example us-east-1.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^[a-z]{2,}(-[a-z0-9]+)+$`
	Region string `json:"region"`
	// stsEndpoint is the URL of STS; empty means AWS's own endpoint of the region. Only a URL that the operator was
	// started with (--aws-endpoint) is used: an identity's token is sent nowhere else.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern=`^https?://[a-z0-9.-]+(:[0-9]{1,5})?$`
	STSEndpoint string `json:"stsEndpoint,omitempty"`
	// iamEndpoint is the URL of IAM, for capabilities with a revokerRoleARN; empty means AWS's own. Only a URL that the operator was
	// started with (--aws-endpoint) is used.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern=`^https?://[a-z0-9.-]+(:[0-9]{1,5})?$`
	IAMEndpoint string `json:"iamEndpoint,omitempty"`
	// serviceEndpoint is the URL that SDKs in the container talk to, as endpoint_url in the projected configuration; empty
	// means AWS's own. Only a URL that the operator was started with (--aws-endpoint) is used.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern=`^https?://[a-z0-9.-]+(:[0-9]{1,5})?$`
	ServiceEndpoint string `json:"serviceEndpoint,omitempty"`
	// audience is the audience of the identity's token. Only one that the operator was started with (--aws-audience) is used.
	// +optional
	// +kubebuilder:default=sts.amazonaws.com
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9][A-Za-z0-9.:/_-]*$`
	Audience string `json:"audience,omitempty"`
	// caBundle is the authority, in PEM, of the certificates of STS and IAM. If it is set, it alone is
	// trusted. Otherwise the system's authorities are, and those of --ca-file.
	// +optional
	// +kubebuilder:validation:MaxLength=16384
	CABundle string `json:"caBundle,omitempty"`
}

// CapabilityProviderStatus is what the operator found.
type CapabilityProviderStatus struct {
	// observedGeneration is the generation that the rest of the status is about: -1 until the operator has looked at the object.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// type is the kind of back end, as audit records name it: aws-sts, kubernetes, vault, gcp, github-app or token.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Type string `json:"type,omitempty"`
	// conditions holds Ready, and Stalled while waiting does not help.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// CapabilityProviderList is a list of CapabilityProviders.
//
// +kubebuilder:object:root=true
type CapabilityProviderList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	// items are the providers.
	Items []CapabilityProvider `json:"items"`
}
