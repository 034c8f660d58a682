// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// Samples that the rows change.
const (
	aRequest  = "request/request.yaml"
	aProvider = "provider.yaml"
	aCap      = "capability.yaml"
	aPolicy   = "policy.yaml"
	aDeny     = "deny.yaml"
)

// row is a sample with one field set; the empty path leaves it as it is, and a nil value takes the field out.
type row struct {
	name, sample, path string
	value              any
	// words of the refusal; empty when it must be accepted.
	words string
}

// unchecked is how the API server says, of its own, that it stopped looking.
const unchecked = "<nil>: Invalid value: null: some validation rules were not checked"

func TestWhatTheKindsRefuse(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 10_000)
	for _, r := range []row{
		{"a TTL of 0", aRequest, "spec.ttlSeconds", 0, "should be greater than or equal to 10"},
		{"a TTL of -1", aRequest, "spec.ttlSeconds", -1, "should be greater than or equal to 10"},
		{"a TTL below the shortest", aRequest, "spec.ttlSeconds", 9, "should be greater than or equal to 10"},
		{"a TTL above twelve hours", aRequest, "spec.ttlSeconds", 43201, "should be less than or equal to 43200"},
		{"a TTL in words", aRequest, "spec.ttlSeconds", "15m", "must be of type integer"},
		{"a repo with a wildcard", aRequest, "spec.repo", "web-*", "spec.repo"},
		{"a repo that climbs", aRequest, "spec.repo", "../releases", "spec.repo"},
		{"a repo that climbs in its middle", aRequest, "spec.repo", "web-app/../releases", "spec.repo"},
		{"a repo with a template in it", aRequest, "spec.repo", "${request.environment}", "spec.repo"},
		{"a repo with a policy variable", aRequest, "spec.repo", "${aws:username}", "spec.repo"},
		{"a repo with a line break", aRequest, "spec.repo", "web-app\n", "spec.repo"},
		{"a repo with a line break in it", aRequest, "spec.repo", "web-app\nreleases", "spec.repo"},
		{"a repo with look-alike letters", aRequest, "spec.repo", "wеb-app", "spec.repo"},
		{"a repo with an invisible character", aRequest, "spec.repo", "web\u200b-app", "spec.repo"},
		{"a repo of 10,000 characters", aRequest, "spec.repo", long, "may not be more than 100"},
		{"a repo that begins with a slash", aRequest, "spec.repo", "/web-app", "spec.repo"},
		{"a repo that ends with a slash", aRequest, "spec.repo", "web-app/", "spec.repo"},
		{"no repo", aRequest, "spec.repo", nil, "Required value"},
		{"an empty repo", aRequest, "spec.repo", "", "spec.repo"},
		{"an empty taskID", aRequest, "spec.taskID", "", "spec.taskID"},
		{"a taskID with a line break", aRequest, "spec.taskID", "pr-184\nforged", "spec.taskID"},
		{"a taskID that is too long", aRequest, "spec.taskID", long, "may not be more than 128"},
		{"an actor with blanks", aRequest, "spec.actor", "open claw", "spec.actor"},
		{"a justification with a line break", aRequest, "spec.justification", "fine\nalso this", "spec.justification"},
		{"a justification that writes from right to left", aRequest, "spec.justification", "fine \u202egnihton", "spec.justification"},
		{"a repo that begins with a dash", aRequest, "spec.repo", "-web-app", "no part begins with a dash, ends with a dot or has two dots together"},
		{"a repo that ends in .git", aRequest, "spec.repo", "acme/web-app.Git", "write it without .git: no repository's name ends so"},
		{"a repo that ends with a dot", aRequest, "spec.repo", "web-app.", "allowed are letters, digits, dots, underscores and dashes, with / between an owner and a name"},
		{"an environment with a slash", aRequest, "spec.environment", "pre/view", "allowed are letters, digits, underscores and dashes; it does not begin with a dash"},
		{"an environment with a dot", aRequest, "spec.environment", "pre.view", "spec.environment"},
		{"an environment that begins with a dash", aRequest, "spec.environment", "-preview", "spec.environment"},
		{"no container", aRequest, "spec.container", nil, "Required value"},
		{"a container with a path", aRequest, "spec.container", "../publish", "spec.container"},
		{"a capability in another namespace", aRequest, "spec.capability", "other/publish", "spec.capability"},
		{"a request's name that is too long for its Job", aRequest, "metadata.name", strings.Repeat("a", 55), "metadata: Invalid value: a request's name has at most 54 characters"},
		{"a request's name with dots", aRequest, "metadata.name", "publish.pr", "metadata: Invalid value: a request's name has lower case letters, digits and dashes between them"},
		{"a field that a request does not have", aRequest, "spec.secretName", "aws", `unknown field "spec.secretName"`},

		{"a role that is no ARN", aCap, "spec.aws.roleARN", "preview-deployer", "spec.aws.roleARN"},
		{"a user's ARN", aCap, "spec.aws.roleARN", "arn:aws:iam::123456789012:user/root", "spec.aws.roleARN"},
		{"any role", aCap, "spec.aws.roleARN", "arn:aws:iam::123456789012:role/*", "spec.aws.roleARN"},
		{"every resource", aCap, "spec.aws.scope.0.resources.0", "*", "spec.aws.scope[0].resources[0]"},
		{"every bucket", aCap, "spec.aws.scope.0.resources.0", "arn:aws:s3:::*", "spec.aws.scope[0].resources[0]"},
		{"a resource of an unknown value", aCap, "spec.aws.scope.0.resources.0", "arn:aws:s3:::previews/${request.actor}/*", "spec.aws.scope[0].resources[0]"},
		{"a resource of a policy variable", aCap, "spec.aws.scope.0.resources.0", "arn:aws:s3:::previews/${aws:userid}/*", "spec.aws.scope[0].resources[0]"},
		{"every action", aCap, "spec.aws.scope.0.actions.0", "*", "spec.aws.scope[0].actions[0]"},
		{"every action of a service", aCap, "spec.aws.scope.0.actions.0", "s3:*", "spec.aws.scope[0].actions[0]"},
		{"a session policy that STS would not take", aCap, "spec.aws.scope.0.resources", sixteen("arn:aws:s3:::previews/${request.repo}/" + strings.Repeat("a", 100)), "the session policy could exceed the 2048 characters"},
		{"no scope", aCap, "spec.aws.scope", []any{}, "should have at least 1 items"},
		{"no back end", aCap, "spec.aws", nil, "exactly one of the fields in ["},
		{"two back ends", aCap, "spec.kubernetes", map[string]any{"serviceAccountName": "a"}, "exactly one of the fields in ["},
		{"a revoker that is no role", aCap, "spec.aws.revokerRoleARN", "arn:aws:iam::123456789012:role/*", "spec.aws.revokerRoleARN"},
		{"a path of Vault that leaves its place", aCap, "spec", vaultOnly("path", "database/creds/../../sys/raw"), "spec.vault.path"},
		{"a path of Vault with a wildcard", aCap, "spec", vaultOnly("path", "database/creds/*"), "spec.vault.path"},
		{"a path of Vault of an unknown value", aCap, "spec", vaultOnly("path", "database/creds/${request.actor}"), "spec.vault.path"},
		{"a mount of Vault that a request chooses", aCap, "spec", vaultOnly("path", "${request.repo}/creds/x"), "spec.vault.path"},
		{"a secret of Vault that nobody finds", aCap, "spec", vaultOnly("postgres", nil), "name files, variables or postgres"},
		{"a secret of Vault whose end nobody tells", aCap, "spec", vaultOnly("revocation", nil), "Required value"},
		{"a file of Valetkey's own", aCap, "spec", vaultOnly("files", []any{map[string]any{"path": "exec/terms", "content": "x"}}), "files that Valetkey writes itself"},
		{"a variable of Valetkey's own", aCap, "spec", vaultOnly("variables", []any{map[string]any{"name": "VALETKEY_EXPIRES_AT", "value": "x"}}), "are set by Valetkey itself"},
		{"a file above the mount", aCap, "spec", vaultOnly("files", []any{map[string]any{"path": "../x", "content": "x"}}), "spec.vault.files[0].path"},
		{"the whole of a service account, unsaid", aCap, "spec", gcpOnly("scopes", []any{"https://www.googleapis.com/auth/cloud-platform"}), "or accept WholeServiceAccount"},
		{"no scope of Google's", aCap, "spec", gcpOnly("scopes", []any{}), "spec.gcp.scopes"},
		{"a scope of somebody else's", aCap, "spec", gcpOnly("scopes", []any{"https://example.com/auth/all"}), "spec.gcp.scopes[0]"},
		{"a boundary that begins alike", aCap, "spec", gcpOnly("boundary", boundary("previews", "${request.repo}")), "spec.gcp.boundary[0].prefix"},
		{"a boundary with a quote", aCap, "spec", gcpOnly("boundary", boundary("previews", "') || ('/")), "spec.gcp.boundary[0].prefix"},
		{"a bucket that a repository chooses", aCap, "spec", gcpOnly("boundary", boundary("${request.repo}", "a/")), "spec.gcp.boundary[0].bucket"},
		{"a service account that is a person", aCap, "spec", gcpOnly("serviceAccountEmail", "alice@example.com"), "spec.gcp.serviceAccountEmail"},
		{"every repository but by another name", aCap, "spec", githubOnly("repositories", []any{"*-app"}), "spec.github.repositories[0]"},
		{"no permission of GitHub", aCap, "spec", githubOnly("permissions", map[string]any{}), "spec.github.permissions"},
		{"a permission of no access", aCap, "spec", githubOnly("permissions", map[string]any{"actions": "all"}), "spec.github.permissions"},
		{"two words of a token's scope in one", aCap, "spec", tokenOnly("scope", []any{"artifacts:read admin"}), "spec.token.scope[0]"},
		{"a token without a scope", aCap, "spec", tokenOnly("scope", []any{}), "spec.token.scope"},
		{"a token whose end nobody tells", aCap, "spec", tokenOnly("verification", nil), "Required value"},
		{"a default above the maximum", aCap, "spec.defaultTTLSeconds", 7200, "defaultTTLSeconds is at most maxTTLSeconds"},
		{"a delivery that is none", aCap, "spec.aws.delivery", "Stdin", "Unsupported value"},
		{"a runner by tag", aCap, "spec.runner.0.image", "registry.example.com/publisher:latest", "spec.runner[0].image"},
		{"a runner with a relative command", aCap, "spec.runner.0.command.0", "publish-preview", "the command is an absolute path"},
		{"a runner of both args and any", aCap, "spec.runner.0.args", []any{"publish"}, "name args or anyArgs, not both"},
		{"an account in another namespace", aCap, "spec.aws.serviceAccountName", "kube-system/admin", "spec.aws.serviceAccountName"},
		{"a field that a capability does not have", aCap, "spec.aws.policy", "{}", `unknown field "spec.aws.policy"`},

		{"a provider without a back end", aProvider, "spec.aws", nil, "exactly one of the fields in ["},
		{"a provider of two back ends", aProvider, "spec.kubernetes", map[string]any{"server": "https://kubernetes.default.svc"}, "exactly one of the fields in ["},
		{"an IAM with a path", aProvider, "spec.aws.iamEndpoint", "https://iam.example.com/x", "spec.aws.iamEndpoint"},
		{"a pool that is none", aProvider, "spec", map[string]any{"gcp": map[string]any{"workloadIdentityProvider": "projects/acme/locations/global/workloadIdentityPools/agents/providers/cluster"}}, "spec.gcp.workloadIdentityProvider"},
		{"an endpoint with a user", aProvider, "spec.aws.stsEndpoint", "https://me@sts.example.com", "spec.aws.stsEndpoint"},
		{"an endpoint with a path", aProvider, "spec.aws.stsEndpoint", "https://sts.example.com/proxy?to=x", "spec.aws.stsEndpoint"},
		{"a region that is none", aProvider, "spec.aws.region", "us east", "spec.aws.region"},
		{"more authorities than a grant can keep", aProvider, "spec.aws.caBundle", strings.Repeat("a", 16_385), "may not be more than 16384"},
		{"an empty audience", aProvider, "spec.aws.audience", "", "spec.aws.audience"},

		{"an Allow without requesters", aPolicy, "spec.requesters", nil, "an Allow policy names its requesters"},
		{"an Allow of nobody", aPolicy, "spec.requesters", []any{}, "an Allow policy names its requesters"},
		{"an Allow without repos", aPolicy, "spec.repos", nil, "an Allow policy names its repos and environments"},
		{"an Allow without environments", aPolicy, "spec.environments", []any{}, "an Allow policy names its repos and environments"},
		{"a policy about no capability", aPolicy, "spec.capabilities", []any{}, "should have at least 1 items"},
		{"an effect that is neither", aPolicy, "spec.effect", "Audit", "Unsupported value"},
		{"approvals that nobody may give", aPolicy, "spec.approval.approvers", []any{}, "approvers says who may approve"},
		{"a timeout of a second", aPolicy, "spec.approval.timeoutSeconds", 1, "should be greater than or equal to 10"},
		{"an account that is called a user", aPolicy, "spec.requesters.0", map[string]any{"kind": "User", "name": "system:serviceaccount:agents:web-app-bot"}, "name a ServiceAccount by kind ServiceAccount"},
		{"an account in capitals", aPolicy, "spec.requesters.0.name", "Web-App-Bot", "no ServiceAccount is called so"},
		{"an account with a namespace in it", aPolicy, "spec.requesters.0.name", "agents:web-app-bot", "no ServiceAccount is called so"},
		{"an account in a namespace that there cannot be", aPolicy, "spec.requesters.0.namespace", "system:agents", "no ServiceAccount is called so"},
		{"an environment of a policy with a slash", aPolicy, "spec.environments.0", "pre/view", "allowed are names and patterns of letters, digits, underscores, dashes and *"},
		{"a repo of a policy as a regular expression", aPolicy, "spec.repos.0", "^web-app$", "allowed are names and patterns of letters, digits, dots, underscores, dashes, slashes and *"},
		{"an account without a namespace", aPolicy, "spec.requesters.0.namespace", nil, "a ServiceAccount names its namespace"},
		{"an expression without words", aPolicy, "spec.when.0.message", "", "spec.when[0].message"},
		{"a limit of none", aPolicy, "spec.limits.active", 0, "should be greater than or equal to 1"},
		{"a risk that nobody knows", aPolicy, "spec.accept", []any{"Everything"}, "Unsupported value"},
		{"a Deny with approval", aDeny, "spec.approval", map[string]any{"required": 0}, "a Deny policy has no approval, limits, maxTTLSeconds or accept"},
		{"a Deny with limits", aDeny, "spec.limits", map[string]any{"active": 1}, "a Deny policy has no approval, limits, maxTTLSeconds or accept"},
		{"a Deny with a TTL", aDeny, "spec.maxTTLSeconds", 60, "a Deny policy has no approval, limits, maxTTLSeconds or accept"},
	} {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			if err := r.create(t); err == nil || !strings.Contains(err.Error(), r.words) || strings.Contains(strings.ReplaceAll(err.Error(), unchecked, ""), "<nil>") {
				t.Errorf("got %v; want a refusal with %q", err, r.words)
			}
		})
	}
}

func TestWhatTheKindsAccept(t *testing.T) {
	t.Parallel()
	for _, r := range []row{
		{"the sample request", aRequest, "", nil, ""},
		{"the sample capability", aCap, "", nil, ""},
		{"a path of Vault", aCap, "spec", vaultOnly("path", "database/creds/previews-${request.environment}"), ""},
		{"a boundary", aCap, "spec", gcpOnly("boundary", boundary("previews-${request.environment}", "${request.repo}/builds/")), ""},
		{"the default account of a project", aCap, "spec", gcpOnly("serviceAccountEmail", "123456789-compute@developer.gserviceaccount.com"), ""},
		{"any repository of an owner", aCap, "spec", githubOnly("repositories", []any{"*"}), ""},
		{"a token", aCap, "spec", tokenOnly("scope", []any{"artifacts:read:${request.repo}"}), ""},
		{"the sample provider", aProvider, "", nil, ""},
		{"the sample policy", aPolicy, "", nil, ""},
		{"the sample Deny", aDeny, "", nil, ""},
		{"the shortest TTL", aRequest, "spec.ttlSeconds", 10, ""},
		{"the longest TTL", aRequest, "spec.ttlSeconds", 43200, ""},
		{"no TTL", aRequest, "spec.ttlSeconds", nil, ""},
		{"a repo with an owner", aRequest, "spec.repo", "acme/web-app", ""},
		{"a repo with dots and underscores", aRequest, "spec.repo", "acme/web_app.v2", ""},
		{"a repo whose name begins with a dot", aRequest, "spec.repo", ".github", ""},
		{"a repo with two dashes", aRequest, "spec.repo", "web--app", ""},
		{"a repo in capitals that ends with a dash", aRequest, "spec.repo", "Acme/Web-App-", ""},
		{"an environment in capitals", aRequest, "spec.environment", "Production", ""},
		{"an environment with an underscore", aRequest, "spec.environment", "pr_184", ""},
		{"a policy about environments in capitals", aPolicy, "spec.environments", []any{"Production", "Review-*"}, ""},
		{"a taskID as trackers write them", aRequest, "spec.taskID", "acme/web-app#184", ""},
		{"a justification in another script", aRequest, "spec.justification", "Vorschau für PR-184 — プレビュー", ""},
		{"no justification", aRequest, "spec.justification", nil, ""},
		{"the longest name", aRequest, "metadata.name", strings.Repeat("a", 54), ""},
		{"a role with a path", aCap, "spec.aws.roleARN", "arn:aws-us-gov:iam::123456789012:role/agents/preview", ""},
		{"several resources", aCap, "spec.aws.scope.0.resources", []any{"arn:aws:s3:::previews/${request.repo}/*", "arn:aws:s3:::previews-${request.environment}/*"}, ""},
		{"actions of a prefix", aCap, "spec.aws.scope.0.actions", []any{"s3:Put*", "s3:AbortMultipartUpload"}, ""},
		{"delivery by variables", aCap, "spec.aws.delivery", "Env", ""},
		{"any step", aCap, "spec.runner", nil, ""},
		{"an endpoint with a port", aProvider, "spec.aws.stsEndpoint", "http://10.0.0.1:7070", ""},
		{"a policy without approval", aPolicy, "spec.approval", nil, ""},
		{"a policy about any repo", aPolicy, "spec.repos", []any{"*"}, ""},
		{"a policy for a group", aPolicy, "spec.requesters", []any{map[string]any{"kind": "Group", "name": "system:serviceaccounts:agents"}}, ""},
		{"a Deny of everything", aDeny, "spec.environments", nil, ""},
	} {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			if err := r.create(t); err != nil {
				t.Error(err)
			}
		})
	}
}

// create sends the row's object, as a dry run with strict validation. An operator that is ready says that the API server knows the
// kinds and the rules about them everywhere.
func (r row) create(t *testing.T) error {
	t.Helper()
	stage.sharedOperator(t)
	text, err := os.ReadFile(filepath.Join(stage.root, "config", "samples", r.sample))
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(text), "\n---")
	object := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(first), &object.Object); err != nil {
		t.Fatal(err)
	}
	object.SetName("kinds-" + object.GetName())
	if r.path != "" {
		put(t, object.Object, strings.Split(r.path, "."), r.value)
	}
	return stage.admin.Create(t.Context(), object, client.DryRunAll, client.FieldValidation(metav1.FieldValidationStrict))
}

// put sets the field at a path, in which numbers count in lists; nil takes it out.
func put(t *testing.T, at any, path []string, value any) {
	t.Helper()
	switch node := at.(type) {
	case map[string]any:
		switch {
		case len(path) > 1:
			put(t, node[path[0]], path[1:], value)
		case value == nil:
			delete(node, path[0])
		default:
			node[path[0]] = value
		}
	case []any:
		n, err := strconv.Atoi(path[0])
		if err != nil {
			t.Fatal(err)
		}
		if len(path) == 1 {
			node[n] = value
			return
		}
		put(t, node[n], path[1:], value)
	default:
		t.Fatalf("there is no %v in the sample", path)
	}
}

func sixteen(resource string) []any {
	var list []any
	for i := range 16 {
		list = append(list, fmt.Sprintf("%s%d", resource, i))
	}
	return list
}

func TestKubectlExplainsEveryField(t *testing.T) {
	t.Parallel()
	for field, words := range map[string]string{
		"capreq.spec.repo":                        "repo is the repository that the task is about",
		"capreq.status.review.digest":             "digest is the SHA-256",
		"capgrant.status.exposedUntil":            "",
		"capgrant.status.revocation.exposedUntil": "exposedUntil is until when a copy of the credential would still work",
		"cap.spec.aws.scope.resources":            "resources are ARNs",
		"capprov.spec.aws.stsEndpoint":            "stsEndpoint is the URL of STS",
		"cappol.spec.approval.timeoutSeconds":     "timeoutSeconds is how long after the review",
	} {
		out, err := stage.kubectl(t.Context(), "explain", field)
		if words == "" {
			if err == nil {
				t.Errorf("%s is explained, and does not exist", field)
			}
			continue
		}
		if err != nil || !strings.Contains(strings.Join(strings.Fields(out), " "), words) {
			t.Errorf("%s: %v\n%s", field, err, out)
		}
	}
}

func TestKubectlShowsWhatAPersonNeedsAndWaitsForConditions(t *testing.T) {
	j := begin(t, "shown")
	j.deliverWithoutApproval()
	j.finish(corev1.PodSucceeded)
	for _, wait := range []string{"Reviewed", "Allowed", "Granted", "Ended"} {
		if _, err := j.w.kubectl(t.Context(), "wait", "--for=condition="+wait, "-n", agents, "capreq/shown", "--timeout=60s"); err != nil {
			t.Error(err)
		}
	}
	for _, wait := range []string{"Issued", "Delivered", "Ended"} {
		if _, err := j.w.kubectl(t.Context(), "wait", "--for=condition="+wait, "-n", agents, "capgrant/shown", "--timeout=60s"); err != nil {
			t.Error(err)
		}
	}
	for kind, want := range map[string]struct{ columns, cells []string }{
		"capreq/shown": {[]string{"NAME", "CAPABILITY", "REPO", "ENV", "REQUESTER", "DECISION", "ENDED", "AGE"},
			[]string{"publish-preview-build", "web-app", "system:serviceaccount:agents:web-app-bot", "Allowed", "GrantEnded"}},
		"capgrant/shown": {[]string{"NAME", "CAPABILITY", "REQUESTER", "ISSUED", "DELIVERED", "EXPIRES", "OUTCOME", "REVOCATION", "AGE"},
			[]string{"True", "Completed", "AtExpiry"}},
		"cap/publish-preview-build": {[]string{"NAME", "PROVIDER", "MAX TTL", "MIN APPROVALS", "READY", "AGE"}, []string{"aws-preview", "3600", "True"}},
		"capprov/aws-preview":       {[]string{"NAME", "TYPE", "READY", "AGE"}, []string{"aws-sts", "True"}},
		"cappol/preview-builds":     {[]string{"NAME", "EFFECT", "CAPABILITIES", "APPROVALS", "MAX TTL", "READY", "AGE"}, []string{"Allow", "900", "True"}},
	} {
		out, err := j.w.kubectl(t.Context(), "get", "-n", agents, kind)
		j.must(err)
		header, cells, _ := strings.Cut(out, "\n")
		// Columns are at least three blanks apart; their names have single ones.
		columns := slices.DeleteFunc(strings.Split(header, "  "), func(s string) bool { return strings.TrimSpace(s) == "" })
		for i := range columns {
			columns[i] = strings.TrimSpace(columns[i])
		}
		if !slices.Equal(columns, want.columns) {
			t.Errorf("%s has the columns %q; want %q", kind, columns, want.columns)
		}
		for _, cell := range want.cells {
			if !strings.Contains(cells, cell) {
				t.Errorf("%s does not show %s:\n%s", kind, cell, out)
			}
		}
	}
	for _, name := range []string{"valetkey", "capabilityrequests", "capabilitygrants"} {
		if out, err := j.w.kubectl(t.Context(), "get", name, "-n", agents); err != nil || !strings.Contains(out, "shown") {
			t.Errorf("kubectl get %s: %v\n%s", name, err, out)
		}
	}
}

// vaultOnly, gcpOnly, githubOnly and tokenOnly are specs of capabilities of those back ends, with one field changed; nil leaves it out.
func vaultOnly(field string, value any) map[string]any {
	return only("vault", field, value, map[string]any{"serviceAccountName": "a", "role": "a", "path": "database/creds/a", "revocation": "Immediate",
		"postgres": map[string]any{"host": "db", "database": "a"}})
}

func gcpOnly(field string, value any) map[string]any {
	return only("gcp", field, value, map[string]any{"serviceAccountName": "a", "serviceAccountEmail": "a@acme.iam.gserviceaccount.com",
		"scopes": []any{"https://www.googleapis.com/auth/devstorage.read_only"}})
}

func boundary(bucket, prefix string) []any {
	return []any{map[string]any{"bucket": bucket, "prefix": prefix, "roles": []any{"roles/storage.objectViewer"}}}
}

func githubOnly(field string, value any) map[string]any {
	return only("github", field, value, map[string]any{"owner": "acme", "repositories": []any{"web-app"}, "permissions": map[string]any{"actions": "read"}})
}

func tokenOnly(field string, value any) map[string]any {
	return only("token", field, value, map[string]any{"audience": "proxy", "scope": []any{"read"}, "verification": "Signature"})
}

func only(backend, field string, value any, spec map[string]any) map[string]any {
	spec[field] = value
	if value == nil {
		delete(spec, field)
	}
	return map[string]any{"description": "Read.", "providerRef": map[string]any{"name": "p"}, backend: spec}
}
