// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package ambient

import "strings"

// Clients are the clients of everything that the back ends deliver, and of what a secrets engine of Vault commonly
// leases. A variable that a client gains in a later version is not harmless until it stands here: a star stands for a
// number, or for the name of a service or a feature, and never for the rest of a family.
func Clients() []Client {
	return []Client{aws(), google(), kubernetes(), github(), vault(), postgres()}
}

// aws are the SDKs of AWS and its command line. In each of them, keys in the environment come before everything else,
// and a token of a web identity before a profile's keys: the granted files would not be looked at.
//
// Sources: https://docs.aws.amazon.com/sdkref/latest/guide/environment-variables.html and
// standardized-credentials.html; resolveCredentialChain and env_config.go of github.com/aws/aws-sdk-go-v2/config;
// https://docs.aws.amazon.com/cli/latest/userguide/cli-configure-envvars.html; credential_provider_chain.rb of
// github.com/aws/aws-sdk-ruby, which reads AMAZON_* as well.
func aws() Client {
	return Client{
		Name:  "the AWS SDKs",
		Reads: []string{"AWS_*", "AMAZON_*", "BOTO_CONFIG"},
		Harmless: strings.Fields(`
			AWS_REGION AWS_DEFAULT_REGION AWS_ENDPOINT_URL AWS_ENDPOINT_URL_* AWS_IGNORE_CONFIGURED_ENDPOINT_URLS
			AWS_STS_REGIONAL_ENDPOINTS AWS_CA_BUNDLE AWS_USE_DUALSTACK_ENDPOINT AWS_USE_FIPS_ENDPOINT
			AWS_ENABLE_ENDPOINT_DISCOVERY AWS_ACCOUNT_ID AWS_ACCOUNT_ID_ENDPOINT_MODE AWS_EC2_METADATA_DISABLED
			AWS_EC2_METADATA_V1_DISABLED AWS_METADATA_SERVICE_TIMEOUT AWS_METADATA_SERVICE_NUM_ATTEMPTS AWS_MAX_ATTEMPTS
			AWS_RETRY_MODE AWS_DEFAULTS_MODE AWS_SDK_UA_APP_ID AWS_DISABLE_CLOCK_SKEW_CORRECTION AWS_S3_USE_ARN_REGION
			AWS_S3_US_EAST_1_REGIONAL_ENDPOINT AWS_S3_DISABLE_MULTIREGION_ACCESS_POINTS AWS_S3_DISABLE_EXPRESS_SESSION_AUTH
			AWS_REQUEST_CHECKSUM_CALCULATION AWS_RESPONSE_CHECKSUM_VALIDATION AWS_REQUEST_MIN_COMPRESSION_SIZE_BYTES
			AWS_DISABLE_REQUEST_COMPRESSION AWS_DEFAULT_OUTPUT AWS_PAGER AWS_CLI_AUTO_PROMPT AWS_CLI_FILE_ENCODING
			AWS_RESTRICT_FILE_PERMISSIONS AWS_EXECUTION_ENV`),
	}
}

// google are Google's libraries, gcloud and its kin, and Terraform's provider. A credentials file comes first in the
// libraries; gcloud takes an account of its own configuration, or impersonates another, before the granted token.
// bq takes any flag from the file that BIGQUERYRC names. Python's requests, by which Google's library for Python sends,
// puts a password from the file that NETRC names in the place of the token.
//
// Sources: https://cloud.google.com/docs/authentication/application-default-credentials;
// cloud.google.com/go/auth/credentials; https://cloud.google.com/sdk/docs/properties (each property is a variable
// CLOUDSDK_SECTION_PROPERTY) and /sdk/docs/authenticate;
// https://registry.terraform.io/providers/hashicorp/google/latest/docs/guides/provider_reference;
// https://cloud.google.com/bigquery/docs/bq-command-line-tool; get_netrc_auth in utils.py of github.com/psf/requests.
func google() Client {
	return Client{
		Name:  "Google's libraries and gcloud",
		Reads: strings.Fields("GOOGLE_* CLOUDSDK_* GCLOUD_* GCE_METADATA_* BOTO_CONFIG BOTO_PATH BIGQUERYRC NETRC"),
		Harmless: strings.Fields(`
			GOOGLE_CLOUD_PROJECT GOOGLE_PROJECT GOOGLE_CLOUD_QUOTA_PROJECT GOOGLE_CLOUD_CPP_USER_PROJECT
			GOOGLE_BILLING_PROJECT GCLOUD_PROJECT GOOGLE_REGION GOOGLE_ZONE GCLOUD_REGION GCLOUD_ZONE
			GOOGLE_CLOUD_UNIVERSE_DOMAIN GOOGLE_API_USE_MTLS GOOGLE_API_USE_MTLS_ENDPOINT GOOGLE_CLOUD_DISABLE_DIRECT_PATH
			GOOGLE_CLOUD_ENABLE_DIRECT_PATH_XDS GOOGLE_SDK_GO_LOGGING_LEVEL GOOGLE_AUTH_TRUST_BOUNDARY_ENABLED CLOUDSDK_CORE_PROJECT
			CLOUDSDK_PROJECT CLOUDSDK_COMPUTE_REGION CLOUDSDK_COMPUTE_ZONE CLOUDSDK_CORE_DISABLE_PROMPTS CLOUDSDK_CORE_VERBOSITY CLOUDSDK_CORE_LOG_HTTP
			CLOUDSDK_CORE_DISABLE_USAGE_REPORTING CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE CLOUDSDK_CORE_USER_OUTPUT_ENABLED
			CLOUDSDK_PYTHON CLOUDSDK_PYTHON_ARGS CLOUDSDK_PYTHON_SITEPACKAGES CLOUDSDK_PROXY_ADDRESS CLOUDSDK_PROXY_PORT
			CLOUDSDK_PROXY_TYPE CLOUDSDK_PROXY_RDNS CLOUDSDK_PROXY_USERNAME CLOUDSDK_PROXY_PASSWORD CLOUDSDK_METRICS_ENVIRONMENT
			CLOUDSDK_METRICS_ENVIRONMENT_VERSION CLOUDSDK_METRICS_COMMAND_NAME CLOUDSDK_STORAGE_BASE_DOWNLOAD_DIRECTORY
			CLOUDSDK_STORAGE_CHECK_HASHES CLOUDSDK_STORAGE_COPY_CHUNK_SIZE CLOUDSDK_STORAGE_DOWNLOAD_CHUNK_SIZE
			CLOUDSDK_STORAGE_UPLOAD_CHUNK_SIZE CLOUDSDK_STORAGE_MAX_RETRIES CLOUDSDK_STORAGE_MAX_RETRY_DELAY
			CLOUDSDK_STORAGE_EXPONENTIAL_SLEEP_MULTIPLIER CLOUDSDK_STORAGE_MULTIPART_CHUNKSIZE
			CLOUDSDK_STORAGE_MULTIPART_THRESHOLD CLOUDSDK_STORAGE_PARALLEL_COMPOSITE_UPLOAD_ENABLED
			CLOUDSDK_STORAGE_PARALLEL_COMPOSITE_UPLOAD_THRESHOLD CLOUDSDK_STORAGE_PARALLEL_COMPOSITE_UPLOAD_COMPONENT_SIZE
			CLOUDSDK_STORAGE_PARALLEL_COMPOSITE_UPLOAD_COMPONENT_PREFIX CLOUDSDK_STORAGE_PROCESS_COUNT
			CLOUDSDK_STORAGE_THREAD_COUNT CLOUDSDK_STORAGE_RESUMABLE_THRESHOLD CLOUDSDK_STORAGE_RSYNC_FILES_DIRECTORY
			CLOUDSDK_STORAGE_RSYNC_LIST_CHUNK_SIZE CLOUDSDK_STORAGE_SLICED_OBJECT_DOWNLOAD_THRESHOLD
			CLOUDSDK_STORAGE_SLICED_OBJECT_DOWNLOAD_COMPONENT_SIZE CLOUDSDK_STORAGE_SLICED_OBJECT_DOWNLOAD_MAX_COMPONENTS
			CLOUDSDK_STORAGE_TRACKER_FILES_DIRECTORY CLOUDSDK_STORAGE_USE_GCLOUD_CRC32C CLOUDSDK_STORAGE_USE_MAGICFILE`),
	}
}

// kubernetes are kubectl, the client libraries, Helm and Terraform's provider. client-go, kubectl and the libraries for
// Python and Java take the kubeconfig that KUBECONFIG names before a ServiceAccount's token, so that the address of the
// API server which each container has is harmless. Fabric8's library for Java reads KUBERNETES_* before any kubeconfig,
// Ansible's collection K8S_AUTH_*, and Skaffold takes its flags from SKAFFOLD_*.
//
// Sources: https://pkg.go.dev/k8s.io/client-go/tools/clientcmd; https://kubernetes.io/docs/reference/kubectl/kubectl/;
// https://github.com/fabric8io/kubernetes-client#configuring-the-client; https://helm.sh/docs/helm/helm/;
// https://registry.terraform.io/providers/hashicorp/kubernetes/latest/docs;
// https://docs.ansible.com/ansible/latest/collections/kubernetes/core/k8s_module.html;
// https://skaffold.dev/docs/references/cli/.
func kubernetes() Client {
	return Client{
		Name:  "the clients of Kubernetes",
		Reads: []string{"KUBE*", "HELM_KUBE*", "K8S_AUTH_*", "SKAFFOLD_KUBE*"},
		Harmless: strings.Fields(`
			KUBERNETES_SERVICE_HOST KUBERNETES_SERVICE_PORT KUBERNETES_SERVICE_PORT_HTTPS KUBERNETES_PORT KUBERNETES_PORT_443_TCP
			KUBERNETES_PORT_443_TCP_ADDR KUBERNETES_PORT_443_TCP_PORT KUBERNETES_PORT_443_TCP_PROTO KUBERNETES_NAMESPACE
			KUBECACHEDIR KUBE_EDITOR
			KUBECTL_EXTERNAL_DIFF KUBECTL_COMMAND_HEADERS KUBECTL_APPLYSET KUBECTL_PORT_FORWARD_WEBSOCKETS
			KUBECTL_REMOTE_COMMAND_WEBSOCKETS KUBE_CACHE_MUTATION_DETECTOR KUBE_FEATURE_* K8S_AUTH_VERIFY_SSL
			K8S_AUTH_SSL_CA_CERT`),
	}
}

// github are GitHub's command line, git over HTTPS and SSH, and programs that read a token. gh takes GH_TOKEN before
// GITHUB_TOKEN, and either before what it stored below XDG_CONFIG_HOME or GH_CONFIG_DIR; git asks what GIT_ASKPASS
// names, and reads configuration from variables over all files, from the repository that GIT_DIR or GIT_COMMON_DIR
// names after the granted file, and from a template into each new repository. libcurl, by which git speaks HTTPS, takes
// a password from ~/.netrc before git asks any helper; Python's requests and the go command take NETRC for it.
//
// Sources: https://cli.github.com/manual/gh_help_environment; ConfigDir in pkg/config of github.com/cli/go-gh;
// https://git-scm.com/docs/git-config#ENVIRONMENT; https://git-scm.com/docs/gitcredentials;
// https://git-scm.com/docs/git#_environment_variables; CURLOPT_NETRC in git's http.c; get_netrc_auth in utils.py of
// github.com/psf/requests; `go help goauth`;
// https://docs.github.com/en/actions/reference/workflows-and-actions/variables for what a workflow's step finds.
func github() Client {
	return Client{
		Name:  "git and GitHub's clients",
		Reads: strings.Fields("GITHUB_* GH_* GIT_* SSH_ASKPASS SSH_AUTH_SOCK NETRC XDG_CONFIG_HOME"),
		Harmless: strings.Fields(`
			GITHUB_ACTION GITHUB_ACTIONS GITHUB_ACTION_PATH GITHUB_ACTION_REF GITHUB_ACTION_REPOSITORY GITHUB_ACTOR
			GITHUB_ACTOR_ID GITHUB_API_URL GITHUB_BASE_REF GITHUB_ENV GITHUB_EVENT_NAME GITHUB_EVENT_PATH
			GITHUB_GRAPHQL_URL GITHUB_HEAD_REF GITHUB_JOB GITHUB_OUTPUT GITHUB_PATH GITHUB_REF GITHUB_REF_NAME
			GITHUB_REF_PROTECTED GITHUB_REF_TYPE GITHUB_REPOSITORY GITHUB_REPOSITORY_ID GITHUB_REPOSITORY_OWNER
			GITHUB_REPOSITORY_OWNER_ID GITHUB_RETENTION_DAYS GITHUB_RUN_ATTEMPT GITHUB_RUN_ID GITHUB_RUN_NUMBER
			GITHUB_SERVER_URL GITHUB_SHA GITHUB_STEP_SUMMARY GITHUB_TRIGGERING_ACTOR GITHUB_WORKFLOW GITHUB_WORKFLOW_REF
			GITHUB_WORKFLOW_SHA GITHUB_WORKSPACE GH_HOST GH_REPO GH_EDITOR GH_BROWSER GH_DEBUG GH_PAGER GH_FORCE_TTY
			GH_NO_UPDATE_NOTIFIER GH_NO_EXTENSION_UPDATE_NOTIFIER GH_PROMPT_DISABLED GH_PATH GH_MDWIDTH GH_COLOR_LABELS
			GH_ACCESSIBLE_COLORS GH_ACCESSIBLE_PROMPTER GH_SPINNER_DISABLED GH_TELEMETRY GIT_ADVICE GIT_ALLOW_PROTOCOL
			GIT_ALTERNATE_OBJECT_DIRECTORIES GIT_ATTR_NOSYSTEM GIT_ATTR_SOURCE GIT_AUTHOR_NAME GIT_AUTHOR_EMAIL
			GIT_AUTHOR_DATE GIT_CEILING_DIRECTORIES GIT_COMMITTER_NAME GIT_COMMITTER_EMAIL GIT_COMMITTER_DATE
			GIT_CONFIG_NOSYSTEM GIT_CURL_VERBOSE GIT_DEFAULT_HASH GIT_DEFAULT_REF_FORMAT GIT_DIFF_OPTS
			GIT_DISCOVERY_ACROSS_FILESYSTEM GIT_EDITOR GIT_EXTERNAL_DIFF GIT_FLUSH GIT_GLOB_PATHSPECS
			GIT_HTTP_LOW_SPEED_LIMIT GIT_HTTP_LOW_SPEED_TIME GIT_HTTP_MAX_REQUESTS GIT_HTTP_USER_AGENT
			GIT_ICASE_PATHSPECS GIT_INDEX_FILE GIT_INDEX_VERSION GIT_LFS_PROGRESS GIT_LFS_SKIP_PUSH GIT_LFS_SKIP_SMUDGE
			GIT_LITERAL_PATHSPECS GIT_MERGE_AUTOEDIT GIT_MERGE_VERBOSITY GIT_NAMESPACE GIT_NOGLOB_PATHSPECS
			GIT_NOTES_REF GIT_NOTES_DISPLAY_REF GIT_NOTES_REWRITE_REF GIT_NOTES_REWRITE_MODE GIT_NO_LAZY_FETCH
			GIT_NO_REPLACE_OBJECTS GIT_OBJECT_DIRECTORY GIT_OPTIONAL_LOCKS GIT_PAGER GIT_PRINT_SHA1_ELLIPSIS
			GIT_PROGRESS_DELAY GIT_PROTOCOL GIT_PROTOCOL_FROM_USER GIT_PUSH_OPTION_* GIT_REFLOG_ACTION GIT_REF_PARANOIA
			GIT_SEQUENCE_EDITOR GIT_SSL_CAINFO GIT_SSL_CAPATH GIT_SSL_CIPHER_LIST GIT_SSL_NO_VERIFY GIT_SSL_VERSION
			GIT_TERMINAL_PROMPT GIT_TRACE GIT_TRACE_CURL GIT_TRACE_CURL_NO_DATA GIT_TRACE_FSMONITOR GIT_TRACE_PACKET
			GIT_TRACE_PACKFILE GIT_TRACE_PACK_ACCESS GIT_TRACE_PERFORMANCE GIT_TRACE_REDACT GIT_TRACE_REFS
			GIT_TRACE_SETUP GIT_TRACE_SHALLOW GIT_TRACE2 GIT_TRACE2_BRIEF GIT_TRACE2_CONFIG_PARAMS GIT_TRACE2_ENV_VARS
			GIT_TRACE2_EVENT GIT_TRACE2_EVENT_BRIEF GIT_TRACE2_EVENT_NESTING GIT_TRACE2_MAX_FILES GIT_TRACE2_PERF
			GIT_TRACE2_PERF_BRIEF GIT_TRACE2_REDACT GIT_USER_AGENT GIT_WORK_TREE GIT_BRANCH GIT_COMMIT GIT_DEPTH GIT_REF
			GIT_REVISION GIT_SHA GIT_STRATEGY GIT_TAG`),
		Files: []string{".netrc", "_netrc", ".config/gh/hosts.yml"},
	}
}

// vault is Vault's command line, OpenBao's, and what uses their libraries: a token of the environment comes before one
// that was stored, and an agent or a proxy can be told to put its own token in the place of the one that it is shown.
// OpenBao reads BAO_* before VAULT_*; Terraform's provider and Ansible's collection read variables of their own first.
//
// Sources: https://developer.hashicorp.com/vault/docs/commands#configure-environment-variables;
// github.com/hashicorp/vault/api, client.go; github.com/openbao/openbao/api, ReadBaoVariable;
// https://developer.hashicorp.com/vault/docs/agent-and-proxy/proxy/apiproxy#forcing-auto-auth-token;
// https://registry.terraform.io/providers/hashicorp/vault/latest/docs;
// https://docs.ansible.com/ansible/latest/collections/community/hashi_vault/hashi_vault_lookup.html.
func vault() Client {
	c := Client{
		Name:  "Vault's clients",
		Reads: []string{"VAULT_*", "BAO_*", "TERRAFORM_VAULT_*", "ANSIBLE_HASHI_VAULT_*"},
	}
	for _, name := range strings.Fields(`
		ADDR NAMESPACE CACERT CACERT_BYTES CAPATH TLS_SERVER_NAME SKIP_VERIFY SRV_LOOKUP HTTP_PROXY CLIENT_TIMEOUT
		MAX_RETRIES RATE_LIMIT DISABLE_REDIRECTS FORMAT LOG_LEVEL CLI_NO_COLOR WRAP_TTL`) {
		c.Harmless = append(c.Harmless, "VAULT_"+name, "BAO_"+name)
	}
	return c
}

// postgres is libpq, and what reads the same variables. A service file's values come before those of the environment,
// but a certificate, or a password where the file has none, does not. psql runs what the file of PSQLRC has, which can
// connect as another user.
//
// Sources: https://www.postgresql.org/docs/current/libpq-envars.html, libpq-pgservice.html, libpq-pgpass.html and
// app-psql.html;
// github.com/jackc/pgx/v5/pgconn.
func postgres() Client {
	return Client{
		Name:  "PostgreSQL's clients",
		Reads: []string{"PG*", "PSQLRC"},
		Harmless: strings.Fields(`
			PGHOST PGHOSTADDR PGPORT PGDATABASE PGAPPNAME PGCONNECT_TIMEOUT PGSSLMODE PGSSLROOTCERT PGSSLCRL PGSSLCRLDIR
			PGSSLSNI PGSSLNEGOTIATION PGSSLCOMPRESSION PGSSLMINPROTOCOLVERSION PGSSLMAXPROTOCOLVERSION PGMINPROTOCOLVERSION
			PGMAXPROTOCOLVERSION PGCHANNELBINDING PGGSSENCMODE PGTARGETSESSIONATTRS PGLOADBALANCEHOSTS PGOPTIONS
			PGCLIENTENCODING PGDATESTYLE PGTZ PGGEQO PGLOCALEDIR`),
	}
}
