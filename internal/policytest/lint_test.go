// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policytest

import (
	"slices"
	"strings"
	"testing"
)

// expectFound wants exactly these findings that nobody accepts, each as its code and, after a blank, words of its message.
func expectFound(t *testing.T, found Findings, want ...string) {
	t.Helper()
	open := slices.DeleteFunc(slices.Clone(found), func(f Finding) bool { return f.Accepted != "" })
	matched := len(open) == len(want)
	for i := range min(len(open), len(want)) {
		code, words, _ := strings.Cut(want[i], " ")
		matched = matched && open[i].Code == code && strings.Contains(open[i].Message, words)
	}
	if !matched {
		t.Errorf("found %d:", len(open))
		for _, f := range open {
			t.Errorf("  %s %s: %s %s: %s", f.Severity, f.Code, f.Kind, f.Name, f.Message)
		}
		t.Errorf("want %q", want)
	}
	for _, f := range found {
		if f.File == "" || f.Message == "" || (f.Severity != SeverityError && f.Severity != SeverityWarning) {
			t.Errorf("a finding says too little: %+v", f)
		}
	}
}

// deny is a kill switch with the given fields beside capabilities.
func deny(fields string) string {
	return "apiVersion: valetkey.dev/v1alpha1\nkind: CapabilityPolicy\nmetadata: {name: freeze}\nspec:\n  effect: Deny\n" + fields
}

func TestLintOfPolicies(t *testing.T) {
	policy := func(edits ...string) string { return strings.NewReplacer(edits...).Replace(previews) }
	const approval = "  approval: {required: 1, approvers: [{kind: Group, name: managers}]}\n"
	named := func(required, approvers string) string {
		return "approval: {required: " + required + ", approvers: [" + approvers + "]}"
	}
	for _, tt := range []struct {
		name string
		text string
		want []string
	}{
		{"nothing", previews, nil},
		{"an Allow of a capability that does not exist", policy("[publish]", "[publish, publihs]"), []string{"unknown-capability there is no capability publihs: mend the name"}},
		{"a Deny of a capability that does not exist", previews + "---\n" + deny("  capabilities: [publihs]\n"), []string{"unknown-capability publihs"}},
		{"an Allow that does not compile", policy("request.ttlSeconds", "request.ttl"), []string{"invalid-expression undefined field 'ttl', so the Allow allows nothing: mend the expression"}},
		{"a Deny that does not compile", previews + "---\n" + deny("  capabilities: [publish]\n  repos: [api]\n  when: [{expression: request.ttl > 1, message: x}]\n"),
			[]string{"invalid-expression so the Deny denies all that its other fields match"}},
		{"a repo that climbs", policy("[web-app]", "[web-app, ../web-app]"), []string{"impossible-name repos: no request can have ../web-app"}},
		{"a pattern of repos that no request can have", policy("[web-app]", "['acme//*']"), []string{"impossible-name acme//*"}},
		{"a pattern of repos that a request can have", policy("[web-app]", "['acme/*-app', '*', 'a*/b*']"), []string{"wildcard repos"}},
		{"an environment that begins with a dash", policy("[preview]", "['-preview', 'pre-*']"), []string{"impossible-name environments: no request can have -preview"}},
		{"a repo that an expression writes as no request can", policy("request.ttlSeconds <= 900", "request.repo != '../x'"), []string{"impossible-name when[0]: it compares request.repo with \"../x\""}},

		{"approvals by fewer than must approve", policy(strings.TrimSpace(approval), named("2", "{kind: User, name: alice}")), []string{"impossible-approval publish (2): approval.approvers names 1 who could give them"}},
		{"approvals by one person under two names", policy(strings.TrimSpace(approval), named("2", "{kind: User, name: alice}, {kind: User, name: ALICE}")), []string{"impossible-approval"}},
		{"approvals by two", policy(strings.TrimSpace(approval), named("2", "{kind: User, name: alice}, {kind: User, name: bob}")), nil},
		{"approvals by the only requester", policy(strings.TrimSpace(approval), named("1", "{kind: ServiceAccount, namespace: agents, name: bot}")), []string{"impossible-approval names 0 who could give them"}},
		{"approvals by one of two requesters", policy("[{kind: ServiceAccount", "[{kind: User, name: alice}, {kind: ServiceAccount", strings.TrimSpace(approval), named("1", "{kind: User, name: alice}")), nil},
		{"approvals by the only two, of whom one asks", strings.NewReplacer("{kind: ServiceAccount, namespace: agents, name: bot}", "{kind: User, name: alice}, {kind: User, name: bob}", strings.TrimSpace(approval), named("2", "{kind: User, name: alice}, {kind: User, name: bob}")).Replace(previews), []string{"impossible-approval names 1 who could give them"}},
		{"approvals by two, of whom one may ask", strings.NewReplacer("{kind: ServiceAccount, namespace: agents, name: bot}", "{kind: User, name: alice}, {kind: User, name: carol}", strings.TrimSpace(approval), named("2", "{kind: User, name: alice}, {kind: User, name: bob}")).Replace(previews), nil},
		{"approvals by the only requester in capitals", strings.NewReplacer("{kind: ServiceAccount, namespace: agents, name: bot}", "{kind: User, name: alice}", strings.TrimSpace(approval), named("1", "{kind: User, name: Alice}")).Replace(previews), []string{"impossible-approval names 0"}},
		{"approvals by ServiceAccounts of a namespace", policy(strings.TrimSpace(approval), named("1", "{kind: Group, name: 'system:serviceaccounts:ops'}")), []string{"impossible-approval names 0", "wildcard nobody approves as Group system:serviceaccounts:ops"}},
		{"approvals by all ServiceAccounts, and one person", policy(strings.TrimSpace(approval), named("2", "{kind: Group, name: 'system:serviceaccounts'}, {kind: User, name: alice}")), []string{"impossible-approval names 1", "wildcard nobody approves as Group"}},
		{"approvals by a group", policy("required: 1", "required: 10"), nil},

		{"a write that nobody approves", policy(approval, ""), []string{"write-without-approval nobody has to approve what writes, publish (s3:PutObject)"}},
		{"a write of any capability that nobody approves", policy(approval, "", "[publish]", "['*']"), []string{"wildcard capabilities", "write-without-approval publish"}},
		{"a write that nobody has to approve, though somebody may", policy("required: 1", "required: 0"), []string{"write-without-approval"}},
		{"any capability", policy("[publish]", "['*']"), []string{"wildcard capabilities: it allows any, those too that are yet to come"}},
		{"any repo", policy("[web-app]", "['*']"), []string{"wildcard repos"}},
		{"any repo of any owner", policy("[web-app]", "['*/*']"), []string{"wildcard repos"}},
		{"any environment", policy("[preview]", "['*']"), []string{"wildcard environments"}},
		{"a Deny of anything", previews + "---\n" + deny("  capabilities: ['*']\n  repos: ['*']\n  environments: [production]\n"), nil},
		{"anybody", policy("{kind: ServiceAccount, namespace: agents, name: bot}", "{kind: Group, name: 'system:authenticated'}"), []string{"wildcard requesters: the API server puts everybody in group system:authenticated"}},
		{"approvals by anybody", policy("name: managers", "name: 'system:authenticated'"), []string{"wildcard approval.approvers: the API server puts everybody in group system:authenticated, agents too: name who may approve"}},
		{"approvals by any ServiceAccount", policy("name: managers", "name: 'system:serviceaccounts'"), []string{"impossible-approval names 0", "wildcard approval.approvers: nobody approves as Group system:serviceaccounts,"}},
		{"approvals by anybody beside managers", policy("{kind: Group, name: managers}", "{kind: Group, name: managers}, {kind: Group, name: 'system:unauthenticated'}"), []string{"wildcard approval.approvers"}},
		{"approvals by any ServiceAccount of a namespace", policy("name: managers", "name: 'system:serviceaccounts:agents'"), []string{"impossible-approval names 0", "wildcard approval.approvers: nobody approves as Group system:serviceaccounts:agents,"}},
		{"approvals by a user of such a name", policy("required: 1, approvers: [{kind: Group, name: managers}", "required: 1, approvers: [{kind: User, name: 'system:authenticated'}"), nil},
		{"a TTL over the capability's", previews + "  maxTTLSeconds: 3601\n", []string{"ttl-over-capability maxTTLSeconds is 3601, and a capability's own maxTTLSeconds holds where it is shorter, publish (3600)"}},
		{"a TTL as the capability's", previews + "  maxTTLSeconds: 3600\n", nil},
		{"a TTL under the default", previews + "  maxTTLSeconds: 899\n", []string{"ttl-under-default asks for the capability's defaultTTLSeconds, publish (900)"}},
		{"a TTL as the default", previews + "  maxTTLSeconds: 900\n", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := repository().with("policy.yaml", tt.text)
			if strings.Contains(tt.text, "/*") {
				in = in.with("capability.yaml", owned)
			}
			expectFound(t, in.load(t).Lint(), tt.want...)
		})
	}
}

// onGitHub is the repository with a capability of GitHub in place of AWS's.
func onGitHub() files {
	head, _, _ := strings.Cut(capability, "  aws:")
	return repository().with("provider.yaml", strings.Replace(provider, "{aws: {region: us-east-1}}", "{github: {appID: 1, installationID: 2, signer: acme}}", 1)).
		with("capability.yaml", head+"  github: {owner: acme, repositories: ['*'], permissions: {actions: read}}\n")
}

// serving is the same with a capability for other repositories.
func (f files) serving(repositories string) files {
	return f.with("capability.yaml", strings.Replace(f["capability.yaml"], "repositories: ['*']", "repositories: "+repositories, 1))
}

func TestLint_NamesThatNoRequestToGitHubCanHaveAreFound(t *testing.T) {
	denying := func(fields string) files {
		return onGitHub().with("deny.yaml", deny("  capabilities: [publish]\n"+fields))
	}
	for _, tt := range []struct {
		name string
		in   files
		want []string
	}{
		{"a Deny in any spelling of GitHub's", denying("  repos: [payments, acme/billing, Secrets, 'ACME/x-*']\n"), nil},
		{"a Deny of another owner's", denying("  repos: [mallory/payments]\n"), []string{"impossible-name repos: no request can have mallory/payments"}},
		{"a Deny by an expression with the owner", denying("  when: [{expression: \"request.repo == 'acme/payments'\", message: x}]\n"),
			[]string{`impossible-name when[0]: it compares request.repo with "acme/payments", which no request has: write "payments", as those requests do`}},
		{"a Deny by an expression in capitals", denying("  when: [{expression: \"request.environment in ['Production']\", message: x}]\n"), []string{`impossible-name write "production"`, "name-outside-scope"}},
		{"a Deny by an expression that requests for one of two capabilities fit", onGitHub().with("aws.yaml", strings.Replace(provider, "{name: aws}", "{name: uploads}", 1)+"---"+
			strings.NewReplacer("{name: publish}", "{name: upload}", "{name: aws}", "{name: uploads}").Replace(owned)).
			with("deny.yaml", deny("  capabilities: ['*']\n  when: [{expression: \"request.repo == 'acme/payments'\", message: x}]\n")),
			[]string{`impossible-name when[0]: it compares request.repo with "acme/payments", which no request for publish has: write "payments"`}},
		{"an Allow of all of the owner's", onGitHub().with("policy.yaml", strings.Replace(previews, "[web-app]", "['ACME/*']", 1)), []string{"wildcard repos: ACME/* is every repo that publish is for, those too that are yet to come"}},
		{"an Allow of all of several owners'", onGitHub().with("policy.yaml", strings.Replace(previews, "[web-app]", "['ac*/*', web-app]", 1)), []string{"wildcard repos: ac*/* is every repo"}},
		{"an Allow of some of the owner's", onGitHub().with("policy.yaml", strings.Replace(previews, "[web-app]", "['acme/a*']", 1)), nil},
		{"an Allow of all that is served", onGitHub().serving("['web-*', 'api-*']").with("policy.yaml", strings.Replace(previews, "[web-app]", "['acme/web-*', 'a*']", 1)), nil},
		{"an Allow of all that is served, by one pattern", onGitHub().serving("['web-*', 'web-app']").with("policy.yaml", strings.Replace(previews, "[web-app]", "['acme/web-*']", 1)), []string{"wildcard repos: acme/web-* is every repo that publish is for"}},
		{"an Allow of less than is served", onGitHub().serving("['web-*', 'api']").with("policy.yaml", strings.Replace(previews, "[web-app]", "['acme/web-*']", 1)), nil},
		{"an Allow of the only one that is served", onGitHub().serving("[web-app]").with("policy.yaml", previews), nil},
		{"an Allow of another owner's", onGitHub().with("policy.yaml", strings.Replace(previews, "[web-app]", "[web-app, mallory/web-app]", 1)), []string{"impossible-name no request can have mallory/web-app"}},
	} {
		t.Run(tt.name, func(t *testing.T) { expectFound(t, tt.in.load(t).Lint(), tt.want...) })
	}
}

func TestLint_ADenyInAnotherSpellingShadows(t *testing.T) {
	for _, tt := range []struct {
		name   string
		in     files
		deny   string
		shadow bool
	}{
		{"with the owner, of GitHub", onGitHub(), "  capabilities: [publish]\n  repos: [acme/web-app]\n", true},
		{"in capitals, of GitHub", onGitHub(), "  capabilities: ['*']\n  repos: ['ACME/Web-*']\n", true},
		{"of another owner", onGitHub(), "  capabilities: [publish]\n  repos: [mallory/web-app]\n", false},
		{"in capitals, of AWS", repository(), "  capabilities: [publish]\n  repos: ['Web-*']\n  environments: [PREVIEW]\n", true},
		{"with an owner, of AWS", repository(), "  capabilities: [publish]\n  repos: [acme/web-app]\n", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			found := tt.in.with("deny.yaml", deny(tt.deny)).load(t).Lint()
			if got := slices.ContainsFunc(found, func(f Finding) bool { return f.Code == CodeShadowedAllow }); got != tt.shadow {
				t.Errorf("found %t, want %t: %+v", got, tt.shadow, found)
			}
		})
	}
}

func TestAnAllowOfWhichADenyLeavesNothingIsFound(t *testing.T) {
	wide := strings.NewReplacer("[web-app]", "[web-app, 'acme/*']", "[preview]", "[preview, 'review-*']", "[{kind: Serv", "[{kind: Group, name: people}, {kind: Serv").Replace(previews)
	for _, tt := range []struct {
		name   string
		allow  string
		deny   string
		shadow bool
	}{
		{"everything", wide, "  capabilities: ['*']\n", true},
		{"the very same", wide, "  capabilities: [publish]\n  requesters: [{kind: Group, name: people}, {kind: ServiceAccount, namespace: agents, name: bot}]\n  repos: ['acme/*', web-app]\n  environments: ['review-*', preview]\n", true},
		{"wider patterns", wide, "  capabilities: [publish]\n  repos: ['*/*', 'web-*']\n  environments: ['*-*', 'pre*']\n", true},
		{"everybody by a group", wide, "  capabilities: [publish]\n  requesters: [{kind: Group, name: 'system:authenticated'}]\n", true},
		{"an expression that does not compile denies", wide, "  capabilities: [publish]\n  when: [{expression: nonsense, message: x}]\n", true},
		{"with an expression", wide, "  capabilities: [publish]\n  when: [{expression: \"request.actor != 'me'\", message: x}]\n", false},
		{"another capability", wide, "  capabilities: [other]\n", false},
		{"one namespace of all", wide, "  capabilities: [publish]\n  namespaces: [agents]\n", false},
		{"the only namespace", wide + "  namespaces: [agents]\n", "  capabilities: [publish]\n  namespaces: [agents]\n", true},
		{"one of two requesters", wide, "  capabilities: [publish]\n  requesters: [{kind: ServiceAccount, namespace: agents, name: bot}]\n", false},
		{"the other of two requesters", wide, "  capabilities: [publish]\n  requesters: [{kind: Group, name: people}]\n", false},
		{"some of a group", wide, "  capabilities: [publish]\n  requesters: [{kind: User, name: carol}, {kind: ServiceAccount, namespace: agents, name: bot}]\n", false},
		{"ServiceAccounts of a namespace, by the group of all", strings.Replace(previews, "{kind: ServiceAccount, namespace: agents, name: bot}", "{kind: Group, name: 'system:serviceaccounts:agents'}", 1),
			"  capabilities: [publish]\n  requesters: [{kind: Group, name: 'system:serviceaccounts'}]\n", true},
		{"all ServiceAccounts, by the group of one namespace's", strings.Replace(previews, "{kind: ServiceAccount, namespace: agents, name: bot}", "{kind: Group, name: 'system:serviceaccounts'}", 1),
			"  capabilities: [publish]\n  requesters: [{kind: Group, name: 'system:serviceaccounts:agents'}]\n", false},
		{"who is not authenticated, as authenticated", strings.Replace(wide, "name: people", "name: 'system:unauthenticated'", 1), "  capabilities: [publish]\n  requesters: [{kind: Group, name: 'system:authenticated'}]\n", false},
		{"one repo of a pattern", wide, "  capabilities: [publish]\n  repos: [web-app, 'acme/app']\n", false},
		{"a narrower pattern", wide, "  capabilities: [publish]\n  repos: [web-app, 'acme/a*']\n", false},
		{"one of two environments", wide, "  capabilities: [publish]\n  environments: ['review-*']\n", false},
		{"the other of two environments", wide, "  capabilities: [publish]\n  environments: [preview]\n", false},
		{"any repo without a slash, where none has one", strings.Replace(wide, "[web-app, 'acme/*']", "['*']", 1), "  capabilities: [publish]\n  repos: ['**']\n", true},
		{"any repo at all", strings.Replace(wide, "[web-app, 'acme/*']", "['*']", 1), "  capabilities: [publish]\n  repos: ['*']\n", true},
		{"one capability of any", strings.Replace(wide, "[publish]", "['*']", 1), "  capabilities: [publish]\n", false},
		{"a user", strings.Replace(wide, "{kind: Group, name: people}", "{kind: User, name: carol}", 1), "  capabilities: [publish]\n  requesters: [{kind: User, name: carol}, {kind: ServiceAccount, namespace: agents, name: bot}]\n", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			found := repository().with("policy.yaml", tt.allow).with("deny.yaml", deny(tt.deny)).load(t).Lint()
			at := slices.IndexFunc(found, func(f Finding) bool { return f.Code == CodeShadowedAllow })
			if (at >= 0) != tt.shadow {
				t.Errorf("found %v, want %v", at >= 0, tt.shadow)
			}
			if at >= 0 && (found[at].Name != "freeze" || found[at].Severity != SeverityWarning || !strings.Contains(found[at].Message, "nothing is left of what policies allow, previews:")) {
				t.Errorf("%+v", found[at])
			}
		})
	}
}

func TestLintOfCapabilities(t *testing.T) {
	aws := func(actions, resource string) string {
		return strings.NewReplacer("s3:PutObject", actions, "arn:aws:s3:::previews/${request.repo}/*", resource).Replace(capability)
	}
	providers := map[string]string{
		"vault": "{vault: {address: 'https://vault.example.com'}}", "github": "{github: {appID: 1, installationID: 2, signer: acme}}",
		"gcp":        "{gcp: {workloadIdentityProvider: projects/1/locations/global/workloadIdentityPools/agents/providers/cluster}}",
		"kubernetes": "{kubernetes: {}}", "token": "{token: {issuer: 'https://tokens.example.com'}}",
	}
	const gcp = "  gcp:\n    serviceAccountName: a\n    serviceAccountEmail: a@b.iam.gserviceaccount.com\n"
	const vault = "  vault: {serviceAccountName: a, role: a, path: database/creds/a, revocation: Immediate, variables: [{name: A, value: a}]"
	const resource = "arn:aws:s3:::previews/${request.repo}/*"
	for _, tt := range []struct {
		name       string
		capability string
		want       []string
	}{
		{"AWS reads", aws("s3:GetObject, s3:ListBucket, s3:HeadObject, ec2:DescribeInstances", resource), nil},
		{"AWS reads and writes", aws("s3:GetObject, s3:DeleteObject", resource), []string{"write-without-approval publish (s3:DeleteObject)"}},
		{"AWS's actions by a prefix", aws("'s3:Get*', 's3:P*'", resource), []string{"write-without-approval publish (s3:P*)"}},
		{"a resource behind the request's repo", aws("s3:GetObject", "arn:aws:s3:::previews/${request.repo}/build-*"), nil},
		{"a resource without a star", aws("s3:ListBucket", "arn:aws:s3:::previews"), nil},
		{"a whole bucket", aws("s3:GetObject", "arn:aws:s3:::previews/*"), []string{"wildcard arn:aws:s3:::previews/* reaches beyond the request"}},
		{"buckets that begin alike", aws("s3:GetObject", "arn:aws:s3:::previews-*/${request.repo}/x"),
			[]string{"ambiguous-scope previews-*/${request.repo}/x has a * before ${request.repo}", "wildcard arn:aws:s3:::previews-*/"}},
		{"a star amid the path", aws("s3:GetObject", "arn:aws:s3:::previews/${request.repo}/*/x"), []string{"wildcard"}},
		{"a star amid the ARN", aws("s3:GetObject", "arn:aws:logs:us-east-1:1:${request.repo}*:x"), []string{"ambiguous-scope", "wildcard"}},
		{"two values that a dash does not part", aws("s3:GetObject", "arn:aws:s3:::previews/${request.environment}-${request.repo}/x"), []string{"ambiguous-scope nothing can be issued: arn:aws:s3:::previews/${request.environment}-${request.repo}/x can reach what another request is given"}},
		{"two values that nothing parts", aws("s3:GetObject", "arn:aws:s3:::previews/${request.namespace}${request.environment}/x"), []string{"ambiguous-scope"}},
		{"two values that letters do not part", aws("s3:GetObject", "arn:aws:s3:::previews/${request.namespace}-of-${request.repo}/x"), []string{"ambiguous-scope"}},
		{"two values that a slash parts, which one of them cannot hold", aws("s3:GetObject", "arn:aws:s3:::previews/${request.environment}/${request.repo}/${request.namespace}"), nil},
		{"two values that a dot parts", aws("s3:GetObject", "arn:aws:s3:::${request.namespace}.${request.environment}/x"), nil},
		{"a folder of all beside a folder of each", aws("s3:GetObject", "arn:aws:s3:::previews/shared/*', 'arn:aws:s3:::previews/${request.repo}/*"),
			[]string{"ambiguous-scope arn:aws:s3:::previews/shared/* and arn:aws:s3:::previews/${request.repo}/* can be one place", "wildcard arn:aws:s3:::previews/shared/*"}},
		{"a folder of all, by another action", strings.Replace(aws("s3:GetObject", "arn:aws:s3:::previews/${request.repo}/*"), "scope: [", "scope: [{actions: [s3:GetObjectTagging], resources: ['arn:aws:s3:::previews/*']}, ", 1),
			[]string{"wildcard every request is given arn:aws:s3:::previews/*, whatever names it has, so a Deny of a repo keeps from nobody"}},
		{"a folder of somebody, by another action", strings.Replace(aws("s3:GetObject", "arn:aws:s3:::previews/${request.repo}/x"), "scope: [", "scope: [{actions: [s3:GetObjectTagging], resources: ['arn:aws:s3:::previews/payments/x']}, ", 1),
			[]string{"ambiguous-scope arn:aws:s3:::previews/payments/x and arn:aws:s3:::previews/${request.repo}/x can be one place for requests with different names: what has no value of the request is everybody's; take it out"}},
		{"two folders of each", aws("s3:GetObject", "arn:aws:s3:::previews/${request.repo}/*', 'arn:aws:s3:::logs/${request.environment}/*"), nil},
		{"GitHub reads", "  github: {owner: acme, repositories: [web-app], permissions: {actions: read}}\n", nil},
		{"GitHub writes", "  github: {owner: acme, repositories: [web-app], permissions: {contents: write, actions: read, pages: admin}}\n", []string{"write-without-approval publish (contents: write, pages: admin)"}},
		{"GitHub reaches the organization", "  github: {owner: acme, repositories: [web-app], permissions: {actions: read, members: read}}\n",
			[]string{"unready-capability nothing can be issued: the permission members is of the whole organization or account"}},
		{"GitHub creates repositories", "  github: {owner: acme, repositories: [web-app], permissions: {administration: write}}\n",
			[]string{"unready-capability the permission administration: write also creates repositories", "write-without-approval"}},
		{"Vault is read", vault + "}\n", nil},
		{"two values in a path of Vault", strings.Replace(vault, "database/creds/a", "'database/creds/${request.repo}-${request.environment}'", 1) + "}\n", []string{"ambiguous-scope database/creds/${request.repo}-${request.environment} can reach"}},
		{"Vault is written to", vault + ", parameters: [{name: a, value: b}]}\n", []string{"write-without-approval publish (database/creds/a is written to)"}},
		{"Google's scope reads", gcp + "    scopes: ['https://www.googleapis.com/auth/devstorage.read_only', 'https://www.googleapis.com/auth/drive.readonly']\n", nil},
		{"Google's scope writes", gcp + "    scopes: ['https://www.googleapis.com/auth/devstorage.read_write']\n", []string{"write-without-approval publish (devstorage.read_write)"}},
		{"Google's roles read, within a scope that writes", gcp + "    scopes: ['https://www.googleapis.com/auth/cloud-platform']\n    boundary: [{bucket: a, roles: [roles/storage.objectViewer, roles/storage.legacyObjectReader]}]\n", nil},
		{"Google's roles write", gcp + "    scopes: ['https://www.googleapis.com/auth/cloud-platform']\n    boundary: [{bucket: a, roles: [roles/storage.objectViewer, roles/storage.objectAdmin]}]\n", []string{"write-without-approval publish (roles/storage.objectAdmin)"}},
		{"a role of one's own is called as those that read", gcp + "    scopes: ['https://www.googleapis.com/auth/cloud-platform']\n    boundary: [{bucket: a, roles: [projects/p/roles/uploadviewer, roles/storage.objectViewer]}]\n", []string{"write-without-approval publish (projects/p/roles/uploadviewer)"}},
		{"Google's roles write, within a scope that reads", gcp + "    scopes: ['https://www.googleapis.com/auth/devstorage.read_only']\n    boundary: [{bucket: a, roles: [roles/storage.objectAdmin]}]\n", nil},
		{"a token of the cluster reads", "  kubernetes: {serviceAccountName: a}\n", nil},
		{"a token of the cluster reads everywhere", "  kubernetes: {serviceAccountName: a, accept: [ClusterWide]}\n", nil},
		{"a token of the cluster watches", "  kubernetes: {serviceAccountName: a, accept: [OpenConnections]}\n", nil},
		{"a token of the cluster does more", "  kubernetes: {serviceAccountName: a, accept: [ClusterWide, Escalation, Unknown]}\n",
			[]string{"write-without-approval publish (it accepts Escalation, it accepts Unknown)"}},
		{"two values in a word", "  token: {audience: a, scope: ['${request.repo}-${request.environment}', '${request.repo}:${request.environment}'], verification: Signature}\n", []string{"ambiguous-scope ${request.repo}-${request.environment} can reach"}},
		{"what a service lets a token do is not known", "  token: {audience: a, scope: [a], verification: Signature}\n", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := repository().with("capability.yaml", tt.capability).with("policy.yaml", strings.Replace(previews, "  approval: {required: 1, approvers: [{kind: Group, name: managers}]}\n", "", 1))
			if backend, _, _ := strings.Cut(strings.TrimSpace(tt.capability), ":"); providers[backend] != "" {
				head, _, _ := strings.Cut(capability, "  aws:")
				f = f.with("provider.yaml", strings.Replace(provider, "{aws: {region: us-east-1}}", providers[backend], 1)).with("capability.yaml", head+tt.capability)
			}
			expectFound(t, f.load(t).Lint(), tt.want...)
		})
	}
}

func TestACapabilityOfWhichNothingCanBeIssuedIsFound(t *testing.T) {
	expectFound(t, repository().with("provider.yaml", "").load(t).Lint(), `unready-capability nothing can be issued, for its provider "aws" does not exist`)
	expectFound(t, repository().with("provider.yaml", strings.Replace(provider, "aws: {region: us-east-1}", "kubernetes: {}", 1)).load(t).Lint(),
		`unready-capability its provider "aws" is of kubernetes, and the capability of aws`)
}

func TestACapabilitysOwnApprovalCounts(t *testing.T) {
	demanding := strings.Replace(capability, "  aws:", "  minimumApproval: 2\n  aws:", 1)
	unapproved := strings.Replace(previews, "  approval: {required: 1, approvers: [{kind: Group, name: managers}]}\n", "", 1)
	for _, tt := range []struct {
		name, policy string
		want         []string
	}{
		{"nobody is named who could give it", unapproved, []string{"impossible-approval publish (2): approval.approvers names 0"}},
		{"one is named", strings.Replace(previews, "{kind: Group, name: managers}", "{kind: User, name: alice}", 1), []string{"impossible-approval publish (2): approval.approvers names 1"}},
		{"any capability is allowed, and this one is not meant", strings.Replace(unapproved, "[publish]", "['*']", 1), []string{"wildcard capabilities"}},
		{"a group is named", previews, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			expectFound(t, repository().with("capability.yaml", demanding).with("policy.yaml", tt.policy).load(t).Lint(), tt.want...)
		})
	}
}

func TestFindingsAreAccepted(t *testing.T) {
	annotated := func(text string) string {
		return strings.NewReplacer("{name: previews}", "\n  name: previews\n  annotations:\n    valetkey.dev/lint-accept: |\n      "+strings.ReplaceAll(text, "\n", "\n      "),
			"  approval: {required: 1, approvers: [{kind: Group, name: managers}]}\n", "", "[preview]", "['*']").Replace(previews)
	}
	for _, tt := range []struct {
		name, text string
		want       []string
		accepted   int
	}{
		{"one", "wildcard: previews are told apart by their repo", []string{"write-without-approval"}, 1},
		{"all", "wildcard: told apart by repo\n\nwrite-without-approval: a preview is nothing", nil, 2},
		{"one without a reason", "wildcard", []string{`accept write CODE: REASON, not "wildcard"`, "wildcard", "write-without-approval"}, 0},
		{"one that is not found", "wildcard: so\nwrite-without-approval: so\nttl-over-capability: so", []string{`accept accepts "ttl-over-capability", and nothing of that code is found`}, 2},
		{"the acceptance itself", "wildcard: so\nwrite-without-approval: so\nttl-over-capability: so\naccept: so", []string{`accept accepts "accept"`, `accept accepts "ttl-over-capability"`}, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			found := repository().with("policy.yaml", annotated(tt.text)).load(t).Lint()
			expectFound(t, found, tt.want...)
			if got := found.Accepted(); got != tt.accepted {
				t.Errorf("%d accepted, want %d", got, tt.accepted)
			}
		})
	}
	c := repository().with("capability.yaml", strings.NewReplacer("{name: publish}", "{name: publish, annotations: {valetkey.dev/lint-accept: 'wildcard: the bucket is for this'}}", "${request.repo}/", "").Replace(capability)).load(t)
	if found := c.Lint(); found.Accepted() != 1 || found.Count(SeverityWarning) != 0 || found[0].Accepted != "the bucket is for this" {
		t.Errorf("%+v", found)
	}
}

func TestFindingsAreCountedByWhatNobodyAccepts(t *testing.T) {
	found := Findings{{Severity: SeverityError}, {Severity: SeverityWarning}, {Severity: SeverityWarning}, {Severity: SeverityWarning, Accepted: "so"}, {Severity: SeverityError, Accepted: "so"}}
	if found.Count(SeverityError) != 1 || found.Count(SeverityWarning) != 2 || found.Accepted() != 2 {
		t.Errorf("%d errors, %d warnings, %d accepted", found.Count(SeverityError), found.Count(SeverityWarning), found.Accepted())
	}
}

func TestErrorsComeBeforeWarnings(t *testing.T) {
	found := repository().with("policy.yaml", strings.Replace(previews, "[publish]", "[publish, publihs]", 1)+"  maxTTLSeconds: 3601\n").load(t).Lint()
	expectFound(t, found, "unknown-capability", "ttl-over-capability")
}
