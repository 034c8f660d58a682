// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Capability is one thing that an agent may ask for by name. It says which credential that means, how narrow it is, how
// long it may live and which step may hold it.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=cap,categories=valetkey
// +kubebuilder:printcolumn:name="Provider",type=string,JSONPath=`.spec.providerRef.name`
// +kubebuilder:printcolumn:name="Max TTL",type=integer,JSONPath=`.spec.maxTTLSeconds`,description="Seconds"
// +kubebuilder:printcolumn:name="Min approvals",type=integer,JSONPath=`.spec.minimumApproval`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`,priority=1
// +kubebuilder:printcolumn:name="Description",type=string,JSONPath=`.spec.description`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63",fieldPath=".metadata",message="a capability's name has at most 63 characters"
type Capability struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what the capability means.
	// +required
	Spec CapabilitySpec `json:"spec"`
	// status is what the operator found. Written by the operator alone.
	// +optional
	// +kubebuilder:default={"observedGeneration":-1}
	Status CapabilityStatus `json:"status,omitempty"`
}

// CapabilitySpec is what a capability means, for exactly one back end.
//
// +kubebuilder:validation:XValidation:rule="!has(self.exec) || (has(self.runner) && size(self.runner) > 0)",message="exec needs a runner: an image that is not listed can put another program in the place of valetkey-exec. List the image with its command, and anyArgs for any arguments"
// +kubebuilder:validation:ExactlyOneOf=aws;kubernetes;vault;gcp;github;token
// +kubebuilder:validation:XValidation:rule="!has(self.github) || !has(self.repoParts) || self.repoParts == 1",message="a capability of GitHub takes names of one part, without the owner, which github.owner names: leave repoParts out"
// +kubebuilder:validation:XValidation:rule="self.defaultTTLSeconds <= self.maxTTLSeconds",message="defaultTTLSeconds is at most maxTTLSeconds"
type CapabilitySpec struct {
	// description says in a sentence what a holder can do. People who approve read it.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:Pattern=`^[\p{L}\p{M}\p{N}\p{P}\p{S}\p{Zs}]+$`
	Description string `json:"description"`
	// providerRef names the CapabilityProvider.
	// +required
	ProviderRef ProviderReference `json:"providerRef"`
	// defaultTTLSeconds is the lifetime of a request that names none, in seconds.
	// +optional
	// +kubebuilder:default=900
	// +kubebuilder:validation:Minimum=10
	// +kubebuilder:validation:Maximum=43200
	DefaultTTLSeconds int32 `json:"defaultTTLSeconds,omitempty"`
	// maxTTLSeconds is the longest lifetime that can be asked for, in seconds.
	// +optional
	// +kubebuilder:default=3600
	// +kubebuilder:validation:Minimum=10
	// +kubebuilder:validation:Maximum=43200
	MaxTTLSeconds int32 `json:"maxTTLSeconds,omitempty"`
	// minimumApproval is the number of people who must approve, whatever a policy says.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10
	MinimumApproval int32 `json:"minimumApproval,omitempty"`
	// repoParts is how many parts the names of repositories have in requests, with a / between them: 1, which is the
	// default, for payments, and 2 for acme/payments. Names of another number are refused: acme would be the folder that
	// acme/payments is in. Capabilities of GitHub name their owner, and take names of one part.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10
	RepoParts int32 `json:"repoParts,omitempty"`
	// aws is a role of AWS and the part of it that a holder gets.
	// +optional
	AWS *AWSCapability `json:"aws,omitempty"`
	// kubernetes is a ServiceAccount of this cluster, with the roles that are bound to it.
	// +optional
	Kubernetes *KubernetesCapability `json:"kubernetes,omitempty"`
	// vault is a path of HashiCorp Vault from which a leased secret is read.
	// +optional
	Vault *VaultCapability `json:"vault,omitempty"`
	// gcp is a service account of Google Cloud and the part of it that a holder gets.
	// +optional
	GCP *GCPCapability `json:"gcp,omitempty"`
	// github is what a token of a GitHub App's installation may do in the request's repository.
	// +optional
	GitHub *GitHubCapability `json:"github,omitempty"`
	// token is a signed token for an internal service.
	// +optional
	Token *TokenCapability `json:"token,omitempty"`
	// runner lists the steps that may hold the credential: the container of the Job must be exactly one of them. Empty means
	// any step that the policy and the people who approve accept.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	Runner []Runner `json:"runner,omitempty"`
	// exec demands that valetkey-exec runs the container's command. Variables are then in that command's environment
	// alone, its output is scrubbed of the credential, and it is ended with the grant. It needs a runner: in an image
	// that is not listed, another program could run under that name.
	// +optional
	Exec *ExecDemand `json:"exec,omitempty"`
}

// ExecDemand says where valetkey-exec may come from.
type ExecDemand struct {
	// images, by digest, hold the program as /valetkey-exec. One of them is mounted at /valetkey as an image volume, or
	// an init container of it copies the program into an emptyDir that is mounted there. Empty means that the image of
	// each runner has it.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:MaxLength=512
	// +kubebuilder:validation:items:Pattern=`^[a-z0-9][a-zA-Z0-9._:/-]*@sha256:[0-9a-f]{64}$`
	Images []string `json:"images,omitempty"`
}

// ProviderReference names a CapabilityProvider.
type ProviderReference struct {
	// name of the CapabilityProvider.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`
	Name string `json:"name"`
}

// CredentialDelivery says how the container finds the credential.
//
// +kubebuilder:validation:Enum=Files;Env
type CredentialDelivery string

const (
	// DeliveryFiles mounts files for the SDK and sets variables that point at them. The credential is in no environment.
	DeliveryFiles CredentialDelivery = "Files"
	// DeliveryEnv sets the credential's own variables, for programs that read nothing else.
	DeliveryEnv CredentialDelivery = "Env"
)

// AWSCapability is an IAM role, the identity that may assume it, and the session policy.
//
// +kubebuilder:validation:XValidation:rule="self.scope.map(s, 48 + s.actions.map(a, size(a) + 3).sum() + s.resources.map(r, size(r) + 3 + 100 * (r.split('${').size() - 1)).sum()).sum() + 48 <= 2048",message="the session policy could exceed the 2048 characters that STS accepts (each ${request.…} counts as 100 more); name fewer or shorter resources"
type AWSCapability struct {
	// roleARN is the role whose session is issued.
	// +required
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern=`^arn:aws(-[a-z]+)*:iam::[0-9]{12}:role/([A-Za-z0-9+=,.@_-]+/)*[A-Za-z0-9+=,.@_-]{1,64}$`
	RoleARN string `json:"roleARN"`
	// serviceAccountName is the capability's identity: a ServiceAccount in the identities' namespace whose annotation
	// valetkey.dev/capability names this capability. The role's trust policy names it as its subject.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`
	ServiceAccountName string `json:"serviceAccountName"`
	// scope becomes the session policy: what a holder may do is the intersection of the role and this.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	Scope []AWSStatement `json:"scope"`
	// revokerRoleARN is a role with which the operator denies the session everything when its grant ends, instead of leaving it to its
	// expiry. Its trust policy names the capability's identity too; it may put, get, list and delete inline policies of roleARN.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern=`^arn:aws(-[a-z]+)*:iam::[0-9]{12}:role/([A-Za-z0-9+=,.@_-]+/)*[A-Za-z0-9+=,.@_-]{1,64}$`
	RevokerRoleARN string `json:"revokerRoleARN,omitempty"`
	// delivery says how the container finds the credential: Files or Env.
	// +optional
	// +kubebuilder:default=Files
	Delivery CredentialDelivery `json:"delivery,omitempty"`
}

// AWSStatement allows some actions on some resources.
type AWSStatement struct {
	// actions are IAM actions, for example s3:PutObject. A wildcard may end the name, it may not be all of it.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=128
	// +kubebuilder:validation:items:Pattern=`^[a-z0-9-]+:[A-Za-z][A-Za-z0-9]*\*?$`
	Actions []string `json:"actions"`
	// resources are ARNs, in which ${request.repo}, ${request.environment} and ${request.namespace} stand for the
	// request's values. A wildcard is only what the template itself writes: no value of a request can bring one.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=512
	// +kubebuilder:validation:items:Pattern=`^arn:aws(-[a-z]+)*:[a-z0-9-]+:[a-z0-9-]*:[0-9]*:([A-Za-z0-9/_.:=@+-]|\$\{request\.(repo|environment|namespace)\})([A-Za-z0-9/_.:=@+*-]|\$\{request\.(repo|environment|namespace)\})*$`
	Resources []string `json:"resources"`
}

// KubernetesAcceptance is a kind of rights that a capability explicitly accepts. Without any, the bound roles may read what is known
// to give no other rights, in ordinary namespaces, and nothing else. docs/backends/kubernetes.md has the table of what is known.
//
// +kubebuilder:validation:Enum=Wildcards;Escalation;Unknown;Disruption;ClusterWide;OpenConnections
type KubernetesAcceptance string

const (
	// AcceptWildcards: a rule may say * for verbs, API groups, resources or URLs, which takes in kinds that do not exist yet. What
	// else it takes in, such as Escalation, has to be accepted, too.
	AcceptWildcards KubernetesAcceptance = "Wildcards"
	// AcceptEscalation: a rule may lead to more rights than it names, such as to create Pods, to read Secrets, or to impersonate.
	AcceptEscalation KubernetesAcceptance = "Escalation"
	// AcceptUnknown: a rule may name what the operator does not know, such as a kind of a CRD: nobody has said what it leads to.
	AcceptUnknown KubernetesAcceptance = "Unknown"
	// AcceptDisruption: a rule may end, hold up or falsify what others run, such as to delete Pods or to take leases.
	AcceptDisruption KubernetesAcceptance = "Disruption"
	// AcceptClusterWide: a rule may hold in the whole cluster, or in a namespace of Kubernetes itself (kube-*) or of Valetkey.
	AcceptClusterWide KubernetesAcceptance = "ClusterWide"
	// AcceptOpenConnections: a rule may open what the API server asks for a token only once, such as a watch, a log that is
	// followed, or exec. Whoever has one open when the grant ends, with a copy of the token too, keeps it as long as they like.
	AcceptOpenConnections KubernetesAcceptance = "OpenConnections"
)

// KubernetesCapability is a ServiceAccount whose token is issued. What a holder may do is what its roles say: they are shown to
// whoever approves, and a grant ends when they change.
type KubernetesCapability struct {
	// serviceAccountName is the capability's identity: a ServiceAccount in the identities' namespace whose annotation
	// valetkey.dev/capability names this capability. Bind roles to it where it is to work.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`
	ServiceAccountName string `json:"serviceAccountName"`
	// accept lists the kinds of rights that the bound roles may have beside those that are known to be harmless: Wildcards, Escalation,
	// Unknown, Disruption, ClusterWide, OpenConnections. Without them such roles make the capability not Ready.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=6
	Accept []KubernetesAcceptance `json:"accept,omitempty"`
}

// VaultRevocation says what the end of a Vault lease means for whoever has a copy of the secret.
//
// +kubebuilder:validation:Enum=Immediate;AtExpiry
type VaultRevocation string

const (
	// VaultImmediate: the engine ends the secret with its lease, as a database does, which drops the user.
	VaultImmediate VaultRevocation = "Immediate"
	// VaultAtExpiry: the secret works until it expires, whatever becomes of its lease, as sessions of AWS STS and certificates do.
	VaultAtExpiry VaultRevocation = "AtExpiry"
)

// VaultCapability is a role of a Vault auth method, the path that is read with it, and how the container finds what was read. The
// login's token never leaves the operator.
//
// +kubebuilder:validation:XValidation:rule="has(self.postgres) || (has(self.files) && size(self.files) > 0) || (has(self.variables) && size(self.variables) > 0)",message="name files, variables or postgres: the container has to find the secret"
type VaultCapability struct {
	// serviceAccountName is the capability's identity: a ServiceAccount in the identities' namespace whose annotation
	// valetkey.dev/capability names this capability. The role of the auth method names it as its subject.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`
	ServiceAccountName string `json:"serviceAccountName"`
	// role of the auth method. Its token must live for maxTTLSeconds at least.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9._-]+$`
	Role string `json:"role"`
	// path of a secret that Vault leases, for example database/creds/previews, in which ${request.repo}, ${request.environment} and
	// ${request.namespace} stand for the request's values. What Vault does not lease, as a static secret, is refused: nobody could end it.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9_-]+(/([A-Za-z0-9_-]|\$\{request\.(repo|environment|namespace)\})([A-Za-z0-9._-]|\$\{request\.(repo|environment|namespace)\})*)+$`
	Path string `json:"path"`
	// parameters are what the path is asked with. With any, it is written to, as pki/issue/… wants it; without, it is read.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	Parameters []VaultParameter `json:"parameters,omitempty"`
	// revocation says what the end of a lease means for whoever has a copy: Immediate for engines that end the secret with its lease, as
	// databases do, AtExpiry for those that do not, as sessions of AWS STS. It is what grants and the audit log say.
	// +required
	Revocation VaultRevocation `json:"revocation"`
	// files are made of the secret's fields.
	// +optional
	// +listType=map
	// +listMapKey=path
	// +kubebuilder:validation:MaxItems=16
	Files []VaultFile `json:"files,omitempty"`
	// variables are made of the secret's fields. They stand in the container's environment.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	Variables []VaultVariable `json:"variables,omitempty"`
	// postgres makes, of the fields username and password, the files of a PostgreSQL client and the variables that point at them.
	// +optional
	Postgres *VaultPostgres `json:"postgres,omitempty"`
}

// VaultParameter is one value that a path is asked with.
type VaultParameter struct {
	// name of the parameter.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[a-z][a-z0-9_]*$`
	Name string `json:"name"`
	// value of the parameter, with ${request.…} as in path.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:Pattern=`^([^$\p{Cc}]|\$\{request\.(repo|environment|namespace)\})+$`
	Value string `json:"value"`
}

// VaultFile is a file that is made of a secret's fields.
type VaultFile struct {
	// path of the file below the mount. The folder exec is Valetkey's own, and postgres is where postgres is set.
	// +required
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:Pattern=`^[a-z0-9_-]{1,63}(/[a-z0-9_-]{1,63}){0,3}$`
	// +kubebuilder:validation:XValidation:rule="self != 'exec' && !self.startsWith('exec/')",message="the folder exec holds files that Valetkey writes itself: give the file a folder of its own"
	Path string `json:"path"`
	// content of the file: ${data.FIELD} stands for a field of the secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	Content string `json:"content"`
}

// VaultVariable is a variable that is made of a secret's fields.
type VaultVariable struct {
	// name of the variable.
	// +required
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:Pattern=`^[A-Z][A-Z0-9_]{0,127}$`
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('VALETKEY_')",message="variables that begin with VALETKEY_ are set by Valetkey itself: give it another name"
	Name string `json:"name"`
	// value of the variable: ${data.FIELD} stands for a field of the secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Value string `json:"value"`
}

// VaultPostgres is the database that a secret of Vault's database engine is for.
type VaultPostgres struct {
	// host of the database.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$`
	Host string `json:"host"`
	// port of the database.
	// +optional
	// +kubebuilder:default=5432
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port,omitempty"`
	// database that is connected to.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[A-Za-z_][A-Za-z0-9_-]*$`
	Database string `json:"database"`
	// sslMode as PostgreSQL's clients know it.
	// +optional
	// +kubebuilder:default=verify-full
	// +kubebuilder:validation:Enum=disable;require;verify-ca;verify-full
	SSLMode string `json:"sslMode,omitempty"`
}

// GCPAcceptance is a breadth of rights that a capability accepts in as many words.
//
// +kubebuilder:validation:Enum=WholeServiceAccount
type GCPAcceptance string

// AcceptWholeServiceAccount: the token may do all that the service account's roles allow, whatever repository the request is for.
const AcceptWholeServiceAccount GCPAcceptance = "WholeServiceAccount"

// GCPCapability is a service account of Google Cloud, the identity that may impersonate it, and what narrows its token.
//
// +kubebuilder:validation:XValidation:rule="(has(self.boundary) && size(self.boundary) > 0) || (has(self.accept) && 'WholeServiceAccount' in self.accept) || !self.scopes.exists(s, s == 'https://www.googleapis.com/auth/cloud-platform')",message="the scope cloud-platform is all that the service account's roles allow: name narrower scopes or a boundary, or accept WholeServiceAccount"
type GCPCapability struct {
	// serviceAccountName is the capability's identity: a ServiceAccount in the identities' namespace whose annotation
	// valetkey.dev/capability names this capability. The service account of Google Cloud lets it impersonate itself.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`
	ServiceAccountName string `json:"serviceAccountName"`
	// serviceAccountEmail is the service account of Google Cloud whose token is issued.
	// +required
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern=`^[a-z0-9][a-z0-9-]*@([a-z0-9-]+\.)*gserviceaccount\.com$`
	ServiceAccountEmail string `json:"serviceAccountEmail"`
	// scopes are the OAuth scopes of the token. What a holder may do is the intersection of the service account's roles, these and the
	// boundary.
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=128
	// +kubebuilder:validation:items:Pattern=`^https://www\.googleapis\.com/auth/[a-z0-9._-]+$`
	Scopes []string `json:"scopes"`
	// boundary narrows the token to parts of buckets of Cloud Storage (a credential access boundary): with any rule, whatever no rule
	// names is out of reach.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=10
	Boundary []GCPBoundaryRule `json:"boundary,omitempty"`
	// accept lists the breadths of rights that the token may have: WholeServiceAccount.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=1
	Accept []GCPAcceptance `json:"accept,omitempty"`
	// delivery says how the container finds the token: Files or Env.
	// +optional
	// +kubebuilder:default=Files
	Delivery CredentialDelivery `json:"delivery,omitempty"`
}

// GCPBoundaryRule lets a token keep the permissions of some roles in a part of one bucket.
type GCPBoundaryRule struct {
	// bucket of Cloud Storage, in which ${request.environment} and ${request.namespace} stand for the request's values.
	// +required
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:Pattern=`^([a-z0-9]|\$\{request\.(environment|namespace)\})([a-z0-9._-]|\$\{request\.(environment|namespace)\})*$`
	Bucket string `json:"bucket"`
	// prefix of the objects' names, in which ${request.repo}, ${request.environment} and ${request.namespace} stand for the request's values.
	// It ends in a slash: what begins alike is out of reach. Without it, the rule is for the whole bucket.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern=`^(([A-Za-z0-9._=@+-]|\$\{request\.(repo|environment|namespace)\})+/)+$`
	Prefix string `json:"prefix,omitempty"`
	// roles, predefined or custom, whose permissions the token keeps, as far as the service account has them.
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:MaxLength=128
	// +kubebuilder:validation:items:Pattern=`^(projects/[a-z0-9.:-]+/|organizations/[0-9]+/)?roles/[A-Za-z0-9_.]+$`
	Roles []string `json:"roles"`
}

// GitHubAccess is how much of a permission a token has.
//
// +kubebuilder:validation:Enum=read;write;admin
type GitHubAccess string

// GitHubCapability is a token of a GitHub App's installation, for the one repository that the request names.
type GitHubCapability struct {
	// owner of the repositories: the organization or user where the App is installed.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=39
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?$`
	Owner string `json:"owner"`
	// repositories are the names that the request's repo may have, without the owner, in any case. A name may end in *.
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=100
	// +kubebuilder:validation:items:Pattern=`^([A-Za-z0-9._-]+\*?|\*)$`
	Repositories []string `json:"repositories"`
	// permissions by GitHub's names, for example actions: read. The token has these and no more.
	// +required
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=16
	Permissions map[string]GitHubAccess `json:"permissions"`
	// delivery says how the container finds the token: Files or Env.
	// +optional
	// +kubebuilder:default=Files
	Delivery CredentialDelivery `json:"delivery,omitempty"`
}

// TokenVerification is how the service that a token is for finds out whether to accept it.
//
// +kubebuilder:validation:Enum=Introspection;Signature
type TokenVerification string

const (
	// VerifyByIntrospection: the service asks the operator, which answers inactive from the moment a grant ends.
	VerifyByIntrospection TokenVerification = "Introspection"
	// VerifyBySignature: the service looks at signature and expiry alone, and accepts the token until it expires.
	VerifyBySignature TokenVerification = "Signature"
)

// TokenCapability is a signed token (JWT) for an internal service.
type TokenCapability struct {
	// audience is the service that the token is for.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9][A-Za-z0-9.:/_-]*$`
	Audience string `json:"audience"`
	// scope are the words of the token's claim scope, in which ${request.repo}, ${request.environment} and ${request.namespace} stand for
	// the request's values. What they mean is the service's to say.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=256
	// +kubebuilder:validation:items:Pattern=`^([A-Za-z0-9/_.:@+-]|\$\{request\.(repo|environment|namespace)\})+$`
	Scope []string `json:"scope"`
	// verification says how the service verifies: Introspection, and grants then end its tokens at once, or Signature, and tokens work until
	// they expire. It is what grants and the audit log say.
	// +required
	Verification TokenVerification `json:"verification"`
	// delivery says how the container finds the token: Files or Env.
	// +optional
	// +kubebuilder:default=Files
	Delivery CredentialDelivery `json:"delivery,omitempty"`
}

// Runner is one step that may hold a credential. The container must match it whole: whatever it does not list, the
// container must not have.
//
// +kubebuilder:validation:XValidation:rule="!(has(self.args) && size(self.args) > 0 && has(self.anyArgs) && self.anyArgs)",message="name args or anyArgs, not both"
type Runner struct {
	// image is the container's image, by digest. A tag beside the digest decides nothing.
	// +required
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:Pattern=`^[a-z0-9][a-zA-Z0-9._:/-]*@sha256:[0-9a-f]{64}$`
	Image string `json:"image"`
	// command is the container's command; its first word is an absolute path.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="self[0].startsWith('/')",message="the command is an absolute path"
	Command []string `json:"command"`
	// args are the container's arguments, word by word. Empty means none.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=1024
	Args []string `json:"args,omitempty"`
	// anyArgs accepts whatever arguments the Job gives. The review still shows them.
	// +optional
	AnyArgs bool `json:"anyArgs,omitempty"`
	// env are the variables that the container may set, each with this very value.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=32
	Env []RunnerVariable `json:"env,omitempty"`
	// workingDir is the container's working directory. Empty means the image's own.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	WorkingDir string `json:"workingDir,omitempty"`
	// mounts are the volumes that the container may mount.
	// +optional
	// +listType=map
	// +listMapKey=mountPath
	// +kubebuilder:validation:MaxItems=16
	Mounts []RunnerMount `json:"mounts,omitempty"`
}

// RunnerVariable is a variable with its value.
type RunnerVariable struct {
	// name of the variable.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	Name string `json:"name"`
	// value of the variable.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Value string `json:"value,omitempty"`
}

// MountSource is the kind of volume behind a mount.
//
// +kubebuilder:validation:Enum=EmptyDir;ConfigMap;Image
type MountSource string

const (
	// MountEmptyDir is an empty directory that lives as long as the Pod.
	MountEmptyDir MountSource = "EmptyDir"
	// MountConfigMap is an immutable ConfigMap; its content is part of what is approved.
	MountConfigMap MountSource = "ConfigMap"
	// MountImage is an image, read only; its digest is part of what is approved.
	MountImage MountSource = "Image"
)

// RunnerMount is a mount that a container may have.
type RunnerMount struct {
	// mountPath is where the volume is mounted.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern=`^/`
	MountPath string `json:"mountPath"`
	// source is the kind of volume.
	// +required
	Source MountSource `json:"source"`
}

// CapabilityStatus is what the operator found.
type CapabilityStatus struct {
	// observedGeneration is the generation that the rest of the status is about: -1 until the operator has looked at the object.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// conditions holds Ready, and Stalled while waiting does not help.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// CapabilityList is a list of Capabilities.
//
// +kubebuilder:object:root=true
type CapabilityList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	// items are the capabilities.
	Items []Capability `json:"items"`
}
