// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package ambient_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/valetkey/valetkey/internal/ambient"
)

// granted are what the back ends deliver: the names of all variables, those included that only point at files.
func granted() map[string][]string {
	return map[string][]string{
		"aws files": strings.Fields(
			`AWS_REGION AWS_DEFAULT_REGION AWS_EC2_METADATA_DISABLED AWS_SHARED_CREDENTIALS_FILE AWS_CONFIG_FILE AWS_PROFILE
			AWS_ROLE_ARN AWS_WEB_IDENTITY_TOKEN_FILE`,
		),
		"aws env": strings.Fields(
			`AWS_REGION AWS_DEFAULT_REGION AWS_EC2_METADATA_DISABLED AWS_ENDPOINT_URL
			AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN`,
		),
		"gcp files":      strings.Fields("GCE_METADATA_HOST CLOUDSDK_AUTH_ACCESS_TOKEN_FILE GOOGLE_APPLICATION_CREDENTIALS"),
		"gcp env":        strings.Fields("GCE_METADATA_HOST CLOUDSDK_AUTH_ACCESS_TOKEN GOOGLE_OAUTH_ACCESS_TOKEN"),
		"kubernetes":     {"KUBECONFIG"},
		"github files":   strings.Fields("GITHUB_API_URL GITHUB_REPOSITORY GITHUB_TOKEN_FILE GIT_CONFIG_GLOBAL"),
		"github env":     strings.Fields("GITHUB_API_URL GITHUB_REPOSITORY GITHUB_TOKEN GH_TOKEN"),
		"vault's own":    {"VAULT_TOKEN"},
		"vault postgres": strings.Fields("PGSERVICEFILE PGSERVICE PGPASSFILE PGHOST PGPORT PGDATABASE PGSSLMODE PGUSER"),
		"token":          {"VALETKEY_TOKEN_FILE"},
	}
}

func TestVariables_WhatAClientWouldRatherTakeIsFound(t *testing.T) {
	for name, test := range map[string]struct{ of, conflicts, harmless string }{
		"a role of the Pod's account": {
			of: "aws env", harmless: "AWS_STS_REGIONAL_ENDPOINTS AWS_REGION",
			conflicts: "AWS_ROLE_ARN AWS_WEB_IDENTITY_TOKEN_FILE AWS_ROLE_SESSION_NAME",
		},
		"keys beside files": {
			of: "aws files", harmless: "PATH",
			conflicts: `
				AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_ACCESS_KEY AWS_SECRET_KEY
				AWS_SECURITY_TOKEN`,
		},
		"keys where none are granted": {
			of: "aws files", harmless: "GITHUB_TOKEN KUBECONFIG GOOGLE_APPLICATION_CREDENTIALS",
			conflicts: "AWS_ACCESS_KEY_ID",
		},
		"a profile beside keys": {
			of: "aws env", harmless: "AWS_ENDPOINT_URL_S3 AWS_MAX_ATTEMPTS",
			conflicts: "AWS_PROFILE AWS_DEFAULT_PROFILE AWS_CONFIG_FILE AWS_SHARED_CREDENTIALS_FILE",
		},
		"an agent of EKS or ECS": {
			of: "aws files", harmless: "AWS_EXECUTION_ENV",
			conflicts: `
				AWS_CONTAINER_CREDENTIALS_FULL_URI AWS_CONTAINER_CREDENTIALS_RELATIVE_URI
				AWS_CONTAINER_AUTHORIZATION_TOKEN AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE`,
		},
		"the names that Ruby's SDK knows, too": {
			of: "aws files", harmless: "AWS_REGION",
			conflicts: "AMAZON_ACCESS_KEY_ID AMAZON_SECRET_ACCESS_KEY AMAZON_SESSION_TOKEN",
		},
		"the metadata of the node": {
			of: "aws files", harmless: "AWS_EC2_METADATA_V1_DISABLED",
			conflicts: "AWS_EC2_METADATA_SERVICE_ENDPOINT AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE",
		},
		"what AWS adds one day": {
			of: "aws env", harmless: "AWSOME",
			conflicts: "AWS_SOMETHING_NEW",
		},
		"other credentials of Google's": {
			of: "gcp files", harmless: "GOOGLE_CLOUD_PROJECT",
			conflicts: `
				GOOGLE_CREDENTIALS GOOGLE_OAUTH_ACCESS_TOKEN GOOGLE_IMPERSONATE_SERVICE_ACCOUNT GOOGLE_API_KEY
				GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES`,
		},
		"other credentials of gcloud's": {
			of: "gcp files", harmless: "CLOUDSDK_CORE_PROJECT",
			conflicts: `
				CLOUDSDK_AUTH_ACCESS_TOKEN CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE
				CLOUDSDK_AUTH_IMPERSONATE_SERVICE_ACCOUNT CLOUDSDK_CONFIG CLOUDSDK_ACTIVE_CONFIG_NAME
				CLOUDSDK_CORE_ACCOUNT CLOUDSDK_STORAGE_GS_XML_ACCESS_KEY_ID CLOUDSDK_STORAGE_GS_XML_SECRET_ACCESS_KEY
				CLOUDSDK_STORAGE_ADDITIONAL_HEADERS`,
		},
		"a file where a token is given": {
			of: "gcp env", harmless: "CLOUDSDK_COMPUTE_REGION",
			conflicts: "GOOGLE_APPLICATION_CREDENTIALS",
		},
		"another server of metadata": {
			of: "gcp files", harmless: "",
			conflicts: "GCE_METADATA_IP GCE_METADATA_ROOT",
		},
		"what comes before a kubeconfig": {
			of: "kubernetes", harmless: "KUBERNETES_SERVICE_HOST KUBERNETES_PORT_443_TCP_ADDR POD_NAMESPACE",
			conflicts: `
				KUBERNETES_MASTER KUBERNETES_AUTH_TOKEN KUBE_TOKEN KUBE_CONFIG_PATH HELM_KUBETOKEN HELM_KUBECONTEXT`,
		},
		"other tokens of GitHub": {
			of: "github files", harmless: "GITHUB_SHA GITHUB_REF GH_REPO GH_HOST",
			conflicts: "GH_TOKEN GITHUB_TOKEN GH_ENTERPRISE_TOKEN GITHUB_ENTERPRISE_TOKEN GH_CONFIG_DIR GITHUB_PAT",
		},
		"what git asks first": {
			of: "github files", harmless: "GIT_AUTHOR_NAME GIT_CONFIG_NOSYSTEM",
			conflicts: `
				GIT_ASKPASS SSH_ASKPASS GIT_SSH_COMMAND SSH_AUTH_SOCK GIT_CONFIG_SYSTEM GIT_CONFIG_COUNT
				GIT_CONFIG_KEY_0 GIT_CONFIG_VALUE_0 GIT_CONFIG_PARAMETERS`,
		},
		"a repository, templates and programs of another's": {
			of: "github files", harmless: "GIT_WORK_TREE GIT_TRACE GIT_TRACE_CURL GIT_COMMIT GIT_TERMINAL_PROMPT XDG_CACHE_HOME",
			conflicts: "GIT_DIR GIT_COMMON_DIR GIT_TEMPLATE_DIR GIT_EXEC_PATH GIT_PROXY_SSL_KEY",
		},
		"folders and files of passwords": {
			of: "github files", harmless: "XDG_DATA_HOME NETRCS",
			conflicts: "XDG_CONFIG_HOME NETRC",
		},
		"what git reads one day": {
			of: "github env", harmless: "GITTER",
			conflicts: "GIT_SOMETHING_NEW",
		},
		"flags and passwords of Google's clients": {
			of: "gcp env", harmless: "XDG_CONFIG_HOME",
			conflicts: "BIGQUERYRC NETRC",
		},
		"what Ansible and Skaffold take": {
			of: "kubernetes", harmless: "K8S_AUTH_VERIFY_SSL SKAFFOLD_DEFAULT_REPO",
			conflicts: `
				K8S_AUTH_KUBECONFIG K8S_AUTH_API_KEY K8S_AUTH_CONTEXT K8S_AUTH_HOST SKAFFOLD_KUBECONFIG
				SKAFFOLD_KUBE_CONTEXT`,
		},
		"OpenBao's names, Terraform's and Ansible's": {
			of: "vault's own", harmless: "BAO_ADDR BAO_NAMESPACE ANSIBLE_CONFIG",
			conflicts: `
				BAO_TOKEN BAO_AGENT_ADDR TERRAFORM_VAULT_USERNAME ANSIBLE_HASHI_VAULT_TOKEN
				ANSIBLE_HASHI_VAULT_ROLE_ID`,
		},
		"what psql runs first": {
			of: "vault postgres", harmless: "PSQL_PAGER PSQL_HISTORY",
			conflicts: "PSQLRC",
		},
		"a token file beside tokens": {
			of: "github env", harmless: "GITHUB_SERVER_URL",
			conflicts: "GIT_CONFIG_GLOBAL GITHUB_TOKEN_FILE",
		},
		"an agent of Vault's": {
			of: "vault's own", harmless: "VAULT_ADDR VAULT_NAMESPACE",
			conflicts: `
				VAULT_AGENT_ADDR VAULT_PROXY_ADDR VAULT_CLIENT_CERT VAULT_CLIENT_KEY VAULT_HEADERS VAULT_CONFIG_PATH`,
		},
		"another user of a database": {
			of: "vault postgres", harmless: "PGHOSTADDR PGAPPNAME PGSSLROOTCERT",
			conflicts: "PGPASSWORD PGSSLCERT PGSSLKEY PGSYSCONFDIR PGREQUIREAUTH PGKRBSRVNAME",
		},
		"nothing of a known client's": {
			of: "token", harmless: "AWS_ROLE_ARN GITHUB_TOKEN VAULT_TOKEN PGPASSWORD",
			conflicts: "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			grant, conflicts := granted()[test.of], strings.Fields(test.conflicts)
			var got []string
			for _, c := range ambient.Variables(grant, slices.Concat(grant, conflicts, strings.Fields(test.harmless))) {
				got = append(got, c.Name)
				if c.Client == "" {
					t.Errorf("%s is of no client", c.Name)
				}
			}
			if diff := cmp.Diff(conflicts, append([]string{}, got...)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestVariables_WhatIsGrantedIsNoConflictWithItself of any other back end's either.
func TestVariables_WhatIsGrantedIsNoConflictWithItself(t *testing.T) {
	for name, grant := range granted() {
		if got := ambient.Variables(grant, grant); len(got) > 0 {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestFiles_AreThoseOfTheGrantsClientsAlone(t *testing.T) {
	if got := ambient.Files(granted()["aws files"]); got != nil {
		t.Errorf("for AWS: %v", got)
	}
	want := []ambient.Conflict{
		{Client: "git and GitHub's clients", Name: ".netrc"},
		{Client: "git and GitHub's clients", Name: "_netrc"},
		{Client: "git and GitHub's clients", Name: ".config/gh/hosts.yml"},
	}
	if diff := cmp.Diff(want, ambient.Files(granted()["github env"])); diff != "" {
		t.Errorf("for GitHub (-want +got):\n%s", diff)
	}
}

// TestClients_HarmlessVariablesAreAmongThoseThatAreRead: another has no effect, and stands in the wrong place.
func TestClients_HarmlessVariablesAreAmongThoseThatAreRead(t *testing.T) {
	for _, c := range ambient.Clients() {
		for _, form := range c.Harmless {
			name := strings.TrimSuffix(form, "*")
			if !slices.ContainsFunc(c.Reads, func(read string) bool {
				beginning, many := strings.CutSuffix(read, "*")
				return read == form || many && strings.HasPrefix(name, beginning)
			}) {
				t.Errorf("%s does not read %s", c.Name, form)
			}
		}
	}
}

// TestClients_NoFamilyIsHarmless: what a client adds to a family later may be a key.
func TestClients_NoFamilyIsHarmless(t *testing.T) {
	// Behind these stands the name of a service or a feature, or a number.
	named := []string{"AWS_ENDPOINT_URL_*", "KUBE_FEATURE_*", "GIT_PUSH_OPTION_*"}
	for _, c := range ambient.Clients() {
		for _, form := range c.Harmless {
			if strings.Contains(form, "*") && !slices.Contains(named, form) {
				t.Errorf("%s: %s is a whole family", c.Name, form)
			}
		}
	}
}
