// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policytest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/policy"
)

const (
	samples = "../../config/samples"
	image   = "registry.example.com/publisher@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
)

func TestTheSamplesDecideWhatTheirCasesSay(t *testing.T) {
	c, err := Load(samples)
	if err != nil {
		t.Fatal(err)
	}
	report, err := c.Test()
	if err != nil {
		t.Fatal(err)
	}
	expectAllPassed(t, report, 28)
	if got := report.Coverage; got.Decided != got.Policies || got.Policies != 9 || len(got.NeverHit) > 0 || len(got.NeverFailed) > 0 {
		t.Errorf("the cases leave something of the samples out: %+v", got)
	}
}

// TestASampleThatIsBrokenIsCaught changes one word of the samples at a time.
func TestASampleThatIsBrokenIsCaught(t *testing.T) {
	for _, tt := range []struct {
		name, file, old, replacement string
		// failing are the cases that must catch it.
		failing []string
	}{
		{"anybody's repository", "policy.yaml", "repos: [web-app]\n  environments: [preview]", "repos: [\"web-app*\"]\n  environments: [preview]", []string{"a repository that begins alike is another one"}},
		{"production, too", "policy.yaml", "environments: [preview]", "environments: [preview, production]", []string{"nobody may ask for production"}},
		{"no approval", "policy.yaml", "required: 1", "required: 0", []string{"a preview waits for a release manager", "an approval after the hour comes too late"}},
		{"an approver too many", "policy.yaml", "{kind: Group, name: release-managers}", "{kind: Group, name: release-managers}, {kind: Group, name: developers}", []string{"somebody else's approval does not count"}},
		{"more time to approve", "policy.yaml", "timeoutSeconds: 3600", "timeoutSeconds: 36000", []string{"an approval after the hour comes too late"}},
		{"more time to use it", "policy.yaml", "request.ttlSeconds <= 900", "request.ttlSeconds <= 9000", []string{"a preview gets at most fifteen minutes"}},
		{"an expression that does not compile", "policy.yaml", "request.ttlSeconds <= 900", "request.ttl <= 900", []string{"a preview waits for a release manager"}},
		{"any account", "policy.yaml", "{kind: ServiceAccount, namespace: agents, name: web-app-bot}", "{kind: Group, name: 'system:serviceaccounts'}", []string{"another account of the namespace may ask for nothing"}},
		{"a Secret's reader", "policy.yaml", "maxTTLSeconds: 900\n  approval", "maxTTLSeconds: 900\n  accept: [SecretReader]\n  approval", []string{"an agent that can read Secrets is refused"}},
		{"any step", "capability.yaml", "command: [/publish-preview]", "command: [/bin/sh, -c]", []string{"a step that the capability does not list is refused"}},
		{"no kill switch", "deny.yaml", "[rehearsal]", "[production]", []string{"the kill switch ends rehearsals"}},
		{"a kill switch of everything", "deny.yaml", "  environments: [rehearsal]\n", "", []string{"the kill switch leaves previews alone"}},
		{"somebody else's workflow", "github-actions/catalogue.yaml", "== ['acme/' + request.repo]", "!= []", []string{"a workflow asks for another repository"}},
		{"another back end's provider", "gcp/catalogue.yaml", "providerRef: {name: gcp-acme}", "providerRef: {name: vault}", []string{"previews may be written to Cloud Storage"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(samples)); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(dir, tt.file)
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			broken := strings.Replace(string(text), tt.old, tt.replacement, 1)
			if broken == string(text) {
				t.Fatalf("there is no %q in %s", tt.old, tt.file)
			}
			if err := os.WriteFile(file, []byte(broken), 0o600); err != nil {
				t.Fatal(err)
			}
			c, err := Load(dir)
			if err != nil {
				t.Fatal(err)
			}
			report, err := c.Test()
			if err != nil {
				t.Fatal(err)
			}
			expectFailed(t, report, tt.failing...)
		})
	}
}

// expectFailed wants cases to fail, whatever becomes of the others.
func expectFailed(t *testing.T, report *Report, cases ...string) {
	t.Helper()
	for _, name := range cases {
		at := slices.IndexFunc(report.Results, func(r Result) bool { return r.Case == name })
		if at < 0 || report.Results[at].Passed || len(report.Results[at].Differences) == 0 || report.Results[at].Nearest == nil {
			t.Errorf("case %q did not fail, or does not say why", name)
		}
	}
	failed := len(slices.DeleteFunc(slices.Clone(report.Results), func(r Result) bool { return r.Passed }))
	if report.Failed != failed || failed == 0 {
		t.Errorf("%d failed, and %d are said to have", failed, report.Failed)
	}
}

func TestCasesAreDecidedAsTheOperatorDecides(t *testing.T) {
	const runner = `
  runner:
  - image: ` + image + `
    command: [/publish]
    args: [all]
    env: [{name: MODE, value: fast}]
    workingDir: /work
    mounts: [{mountPath: /work, source: EmptyDir}, {mountPath: /etc/publish, source: ConfigMap}]
`
	const job = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: valetkey-pr-1, labels: {valetkey.dev/request: pr-1}}\n" +
		"spec: {backoffLimit: 0, template: {spec: {restartPolicy: Never, containers: [{name: publish, image: '" + image + "', envFrom: [{configMapRef: {name: settings}}]}]}}}\n"
	const settings = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, labels: {valetkey.dev/input: 'true'}}\nimmutable: true\ndata: {a: b}\n"
	open := strings.Replace(previews, "  approval: {required: 1, approvers: [{kind: Group, name: managers}]}\n", "", 1)
	for _, tt := range []struct {
		name  string
		given files
		text  string
	}{
		{"an approval within the timeout, looked at after it", files{}, "approvals: [{by: alice, groups: [managers], after: 59m}]\n  after: 2h\n  expect: {decision: Allow, reason: Allowed, approvalsMissing: 0}"},
		{"no approval within the timeout", files{}, "after: 1h\n  expect: {decision: Deny, reason: ApprovalTimedOut, policy: previews, approvalsMissing: 1, message: 1 was missing}"},
		{"no approval yet", files{}, "after: 59m\n  expect: {decision: Pending, reason: AwaitingApproval, message: \"policy previews waits for 1 approval by 2000-01-01T01:00:00Z, from group managers\"}"},
		{"one's own approval", files{}, "requester: {user: alice, groups: [managers]}\n  request: {namespace: agents}\n  without: [previews]\n  approvals: [{by: Alice, groups: [managers]}]\n" +
			"  expect: {decision: Pending, reason: AwaitingApproval, message: nobody approves their own request}"},
		{"a ServiceAccount's groups are its own", files{"policy.yaml": strings.Replace(open, "{kind: ServiceAccount, namespace: agents, name: bot}", "{kind: Group, name: 'system:serviceaccounts:agents'}", 1)},
			"expect: {decision: Allow}"},
		{"everybody is authenticated", files{"policy.yaml": strings.Replace(open, "{kind: ServiceAccount, namespace: agents, name: bot}", "{kind: Group, name: 'system:authenticated'}", 1)},
			"requester: {user: carol}\n  request: {namespace: agents}\n  expect: {decision: Allow}"},
		{"a limit that is not reached", files{"policy.yaml": open + "  limits: {active: 2}\n"}, "active: 1\n  expect: {decision: Allow}"},
		{"a limit that is reached", files{"policy.yaml": open + "  limits: {active: 2}\n"}, "active: 2\n  expect: {decision: Pending, reason: LimitReached}"},
		{"a provider that does not exist", files{"policy.yaml": open, "provider.yaml": ""}, "expect: {decision: Indeterminate, reason: Indeterminate, message: its provider \"aws\" does not exist}"},
		{"a provider of another back end", files{"policy.yaml": open, "provider.yaml": strings.Replace(provider, "{aws: {region: us-east-1}}", "{kubernetes: {}}", 1)},
			"expect: {decision: Indeterminate, message: its provider \"aws\" is of kubernetes}"},
		{"a Job as the runner wants it", files{"policy.yaml": open, "capability.yaml": capability + runner}, "expect: {decision: Allow}"},
		{"a Job that differs from the runner", files{"policy.yaml": open, "capability.yaml": capability + runner}, "job: {args: [some]}\n  expect: {decision: Deny, reason: JobRefused, message: args are}"},
		{"a Job's labels and account are seen by expressions", files{"policy.yaml": strings.Replace(open, "request.ttlSeconds <= 900", "\"job.labels['team'] == 'web' && job.serviceAccountName == 'runner'\"", 1)},
			"job: {labels: {team: web}, serviceAccountName: runner}\n  expect: {decision: Allow}"},
		{"the images beside the step are seen, too", files{"policy.yaml": strings.Replace(open, "request.ttlSeconds <= 900", "\"job.images.all(i, i.startsWith('registry.example.com/'))\"", 1)},
			"job: {otherImages: ['" + strings.Replace(image, "registry", "elsewhere", 1) + "']}\n  expect: {decision: Deny, policy: previews, message: a preview gets fifteen minutes}"},
		{"a Job of a file, with its ConfigMap", files{"policy.yaml": open, "jobs/job.yaml": job + settings}, "job: {manifest: jobs/job.yaml}\n  expect: {decision: Allow}"},
		{"a Job of a file, without its ConfigMap", files{"policy.yaml": open, "jobs/job.yaml": job}, "job: {manifest: jobs/job.yaml}\n  expect: {decision: Deny, message: 'an envFrom of container publish is ConfigMap settings, which does not exist'}"},
		{"a Job of a file of another request", files{"policy.yaml": open, "jobs/job.yaml": job + settings}, "request: {name: pr-2}\n  job: {manifest: jobs/job.yaml}\n  expect: {decision: Deny, reason: JobRefused, message: 'the Job is agents/valetkey-pr-1, not agents/valetkey-pr-2'}"},
		{"a Job of a file that would run again", files{"policy.yaml": open, "jobs/job.yaml": strings.Replace(job, "backoffLimit: 0, ", "", 1) + settings}, "job: {manifest: jobs/job.yaml}\n  expect: {decision: Deny, reason: JobRefused, message: backoffLimit must be 0}"},
		{"a requester who may approve", files{"policy.yaml": open}, "risks: [RequesterMayApprove]\n  expect: {decision: Deny, reason: RequesterTooStrong, message: 'system:serviceaccount:agents:bot may approve requests in namespace agents'}"},
		{"nobody decides", files{}, "requester: {user: carol}\n  request: {namespace: agents}\n  without: [previews, for-alice]\n  expect: {decision: Deny, policy: ''}"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := repository().with("all.valetkey-test.yaml", ask+"cases:\n- name: it\n  "+tt.text+"\n").
				with("alice.yaml", strings.NewReplacer("previews", "for-alice", "{kind: ServiceAccount, namespace: agents, name: bot}", "{kind: User, name: alice}").Replace(previews))
			for name, text := range tt.given {
				f = f.with(name, text)
			}
			expectAllPassed(t, f.test(t), 1)
		})
	}
}

func TestWhatDiffersIsSaid(t *testing.T) {
	alice := strings.NewReplacer("{name: previews}", "{name: for-alice}", "{kind: ServiceAccount, namespace: agents, name: bot}", "{kind: User, name: alice}")
	report := repository().with("alice.yaml", alice.Replace(previews)).with("all.valetkey-test.yaml", ask+`
cases:
- name: all of it
  expect: {decision: Allow, reason: Allowed, policy: "", approvalsMissing: 0, message: allows it}
- name: the policy that is expected is explained
  requester: {user: alice}
  request: {namespace: agents}
  expect: {decision: Pending, policy: previews}
- name: a policy that there is not
  expect: {decision: Pending, policy: none}
`).test(t)
	want := [][]string{
		{"decision is Pending, want Allow", "reason is AwaitingApproval, want Allowed", "policy is previews, want none", "approvalsMissing is 1, want 0", `message does not say "allows it"`},
		{"policy is for-alice, want previews"},
		{"policy is previews, want none"},
	}
	for i, r := range report.Results {
		if !slices.Equal(r.Differences, want[i]) {
			t.Errorf("%s: %q\nwant %q", r.Case, r.Differences, want[i])
		}
		if r.Nearest == nil || r.Nearest.Policy != "previews" || r.Nearest.Effect != v1alpha1.EffectAllow {
			t.Errorf("%s: it does not explain the policy: %+v", r.Case, r.Nearest)
		}
	}
	at := slices.IndexFunc(report.Results[1].Nearest.Clauses, func(a policy.Clause) bool { return a.Field == "requesters" })
	if got := report.Results[1].Nearest.Clauses[at]; got.Holds != policy.HoldsNo || !strings.Contains(got.Text, "ServiceAccount agents/bot; the request has alice") {
		t.Errorf("the requester's clause says %+v", got)
	}
}

func TestTheReportIsTheSameEveryTime(t *testing.T) {
	c, err := Load(generate(t, 100, 1000, func(i int) string { return []string{"publish", "read"}[i%2] }, func(int) string { return "bot" }))
	if err != nil {
		t.Fatal(err)
	}
	var reports []*Report
	for range 2 {
		report, err := c.Test()
		if err != nil {
			t.Fatal(err)
		}
		reports = append(reports, report)
	}
	expectAllPassed(t, reports[0], 1000)
	if diff := cmp.Diff(reports[0], reports[1]); diff != "" {
		t.Error(diff)
	}
	for i, r := range reports[0].Results {
		if want := fmt.Sprintf("case %d", i); r.Case != want {
			t.Fatalf("%s stands where %s should", r.Case, want)
		}
	}
	if got := reports[0].Coverage; got.Decided != 100 || len(got.NeverFailed) != 0 {
		t.Errorf("%d policies decided a case, %+v never failed", got.Decided, got.NeverFailed)
	}
}
