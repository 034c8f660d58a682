// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policytest

import (
	"strings"
	"testing"
)

func TestCasesThatSayWhatCannotBeAreRefused(t *testing.T) {
	const expect = "\n  expect: {decision: Allow}\n"
	for _, tt := range []struct {
		name  string
		text  string
		words []string
	}{
		{"no YAML", "cases: [", []string{"all.valetkey-test.yaml: "}},
		{"another kind", "apiVersion: v1\nkind: PolicyTest\n", []string{`line 1: it is a "PolicyTest" of "v1"; files named *.valetkey-test.yaml have apiVersion: valetkey.dev/v1alpha1 and kind: PolicyTest`}},
		{"no case", header, []string{"there is no case in it"}},
		{"a field that there is not", ask + "cases:\n- name: a\n  requests: {repo: x}" + expect, []string{"line 8: cases[0].requests: there is no such field; there are name, requester, request, job,"}},
		{"a field of the request that there is not", ask + "cases:\n- name: a\n  request: {repos: x}" + expect, []string{"cases[0].request.repos: there is no such field; there are capability, repo, environment,"}},
		{"a field of the defaults that there is not", header + "defaults: {expect: {decision: Allow}}\n", []string{"line 3: defaults.expect: there is no such field"}},
		{"a value of another type", ask + "cases:\n- name: a\n  active: many" + expect, []string{"line 8: cannot unmarshal !!str `many` into int"}},
		{"a time that is none", ask + "cases:\n- name: a\n  after: soon" + expect, []string{"line 8: cannot unmarshal !!str `soon` into time.Duration"}},
		{"no name", ask + "cases:\n- request: {}" + expect, []string{`all.valetkey-test.yaml:7: case "": it has no name`}},
		{"a name twice", ask + "cases:\n- name: a" + expect + "- name: a" + expect, []string{`:9: case "a": the case has the name of that in line 7`}},
		{"nobody asks", header + "cases:\n- name: a" + expect, []string{"nobody asks; write requester: {serviceAccount: NAMESPACE/NAME}"}},
		{"two requesters in one", ask + "cases:\n- name: a\n  requester: {user: alice, serviceAccount: a/b}" + expect, []string{"write serviceAccount or user, one of the two"}},
		{"a requester who is nobody", ask + "cases:\n- name: a\n  requester: {groups: [g]}" + expect, []string{"write serviceAccount or user, one of the two"}},
		{"an account without its namespace", ask + "cases:\n- name: a\n  requester: {serviceAccount: bot}" + expect, []string{`write NAMESPACE/NAME, not "bot"`}},
		{"no expectation", ask + "cases:\n- name: a\n", []string{`expect.decision: write one of [Allow Deny Pending Indeterminate], not ""`}},
		{"a decision that there is not", ask + "cases:\n- name: a\n  expect: {decision: Denied}\n", []string{`not "Denied"`}},
		{"a reason that there is not", ask + "cases:\n- name: a\n  expect: {decision: Deny, reason: Forbidden}\n", []string{"expect.reason: write one of [Allowed AwaitingApproval", `not "Forbidden"`}},
		{"a risk that is found in the Job", ask + "cases:\n- name: a\n  risks: [UnpinnedImage]" + expect, []string{"risks: write SecretReader or RequesterMayApprove"}},
		{"an account as a user", ask + "cases:\n- name: a\n  requester: {user: 'system:serviceaccount:agents:bot'}" + expect, []string{"requester.user: name a ServiceAccount by serviceAccount: agents/bot"}},
		{"an account as a person who approves", ask + "cases:\n- name: a\n  approvals: [{by: alice}, {by: 'system:serviceaccount:agents:bot'}]" + expect, []string{"approvals[1].by: name a ServiceAccount by serviceAccount: agents/bot"}},
		{"an account that approves, without its namespace", ask + "cases:\n- name: a\n  approvals: [{serviceAccount: bot}]" + expect, []string{`approvals[0].serviceAccount: write NAMESPACE/NAME, not "bot"`}},
		{"two approvers in one", ask + "cases:\n- name: a\n  approvals: [{by: alice, serviceAccount: agents/bot}]" + expect, []string{"approvals[0]: write who approves in by, or in serviceAccount, one of the two"}},
		{"an approval by nobody", ask + "cases:\n- name: a\n  approvals: [{groups: [managers]}]" + expect, []string{"approvals[0]: write who approves in by"}},
		{"an approval before the review", ask + "cases:\n- name: a\n  approvals: [{by: alice, after: -1s}]" + expect, []string{"nobody approves before the review"}},
		{"an approval after the decision", ask + "cases:\n- name: a\n  after: 1m\n  approvals: [{by: alice, after: 2m}]" + expect, []string{"it is decided 1m0s after the review, and alice approves later"}},
		{"a decision before the review", ask + "cases:\n- name: a\n  after: -1m" + expect, []string{"nothing is decided before the review"}},
		{"fewer than none out", ask + "cases:\n- name: a\n  active: -1" + expect, []string{"fewer than none"}},
		{"a manifest and more of the Job", ask + "cases:\n- name: a\n  job: {manifest: job.yaml, image: x}" + expect, []string{"a manifest says all of the Job"}},
		{"a manifest that is not there", ask + "cases:\n- name: a\n  job: {manifest: none.yaml}" + expect, []string{`:7: case "a": job.manifest: `, "none.yaml"}},
		{"a manifest without a Job", ask + "cases:\n- name: a\n  job: {manifest: policy.yaml}" + expect, []string{"there is no Job of batch/v1 in it"}},
		{"a manifest of two Jobs", ask + "cases:\n- name: a\n  job: {manifest: jobs.yaml}" + expect, []string{"jobs.yaml: Job b: a case has one Job"}},
		{"a Job with a field that there is not", ask + "cases:\n- name: a\n  job: {manifest: odd.yaml}" + expect, []string{"odd.yaml: Job a: ", `unknown field "spec.suspended"`}},
		{"a Job of two containers, of which none is named", ask + "cases:\n- name: a\n  job: {manifest: two.yaml}" + expect, []string{"request.container: say which container of the Job holds the credential"}},
		{"a policy that there is not", ask + "cases:\n- name: a\n  without: [none]" + expect, []string{`without: there is no policy "none"`}},
		{"no namespace", ask + "cases:\n- name: a\n  requester: {user: alice}" + expect, []string{"request.namespace: say in which namespace"}},
		{"a request that the API server would not take", ask + "cases:\n- name: a\n  request: {ttlSeconds: 5, taskID: ' '}" + expect, []string{
			"the API server would not take the request: ", "spec.ttlSeconds in body should be greater than or equal to 10", "spec.taskID in body should match"}},
		{"a request with a name that there cannot be", ask + "cases:\n- name: a\n  request: {repo: '*', environment: a/b}" + expect, []string{
			`spec.repo: Invalid value: "*": allowed are letters, digits, dots`, `spec.environment: Invalid value: "a/b": allowed are letters`}},
		{"two approvals by one person", ask + "cases:\n- name: a\n  approvals: [{by: alice}, {by: alice}]" + expect, []string{"decisions[1]: Duplicate value"}},
		{"a request without a capability", header + "cases:\n- name: a\n  requester: {serviceAccount: agents/bot}" + expect, []string{"spec.capability"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := repository().with("all.valetkey-test.yaml", tt.text).
				with("jobs.yaml", "apiVersion: batch/v1\nkind: Job\nmetadata: {name: a}\n---\napiVersion: batch/v1\nkind: Job\nmetadata: {name: b}\n").
				with("odd.yaml", "apiVersion: batch/v1\nkind: Job\nmetadata: {name: a}\nspec: {suspended: true}\n").
				with("two.yaml", "apiVersion: batch/v1\nkind: Job\nmetadata: {name: a}\nspec: {template: {spec: {containers: [{name: a}, {name: b}]}}}\n").
				load(t).Test()
			expectWords(t, err, tt.words...)
		})
	}
}

func TestARepositoryWithoutCasesIsNotTakenForATestedOne(t *testing.T) {
	_, err := repository().load(t).Test()
	expectWords(t, err, "there is no file named *.valetkey-test.yaml")
}

func TestWhatIsWrongWithEveryCaseIsSaidAtOnce(t *testing.T) {
	_, err := repository().
		with("a.valetkey-test.yaml", ask+"cases:\n- name: one\n- name: two\n").
		with("b.valetkey-test.yaml", ask+"cases:\n- name: three\n").load(t).Test()
	expectWords(t, err, `case "one": expect`, `case "two": expect`, `case "three": expect`)
}

func TestACaseIsLaidOverTheDefaults(t *testing.T) {
	const job = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: valetkey-pr-1, labels: {valetkey.dev/request: pr-1}}\n" +
		"spec: {backoffLimit: 0, template: {spec: {restartPolicy: Never, containers: [{name: publish, image: '" + image + "'}]}}}\n"
	report := repository().with("job.yaml", job).with("all.valetkey-test.yaml", strings.ReplaceAll(header+`
defaults:
  requester: {serviceAccount: agents/bot}
  request: {capability: publish, repo: web-app, environment: production, ttlSeconds: 600}
  approvals: [{by: alice, groups: [managers]}]
  risks: [SecretReader]
  job: {image: "example.com/step:latest", otherImages: ["example.com/beside:latest"]}
cases:
- name: what is there is kept, one by one
  request: {environment: preview}
  risks: []
  job: {image: "IMAGE", otherImages: []}
  expect: {decision: Allow}
- name: an empty list takes out what was there
  request: {environment: preview}
  approvals: []
  risks: []
  job: {image: "IMAGE", otherImages: []}
  expect: {decision: Pending, reason: AwaitingApproval}
- name: a Job is kept, field by field
  request: {environment: preview}
  risks: []
  job: {image: "IMAGE"}
  expect: {decision: Deny, message: "previews does not accept UnpinnedImage: the image example.com/beside:latest of container step-2 is not named by digest"}
- name: a Job of a file is another one altogether
  request: {environment: preview}
  risks: []
  job: {manifest: job.yaml}
  expect: {decision: Allow}
- name: a requester is another one altogether
  requester: {user: carol}
  request: {namespace: agents}
  expect: {decision: Deny, message: no policy lets carol ask for publish}
- name: without a word all is as the defaults say
  expect: {decision: Deny, message: "allows environments preview, and does not accept UnpinnedImage: the image example.com/step:latest of container step is not named by digest, and the image example.com/beside:latest"}
`, "IMAGE", image)).test(t)
	expectAllPassed(t, report, 6)
}

// test decides the cases of a repository that can be read.
func (f files) test(t *testing.T) *Report {
	t.Helper()
	report, err := f.load(t).Test()
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// expectAllPassed wants so many cases, none of which failed.
func expectAllPassed(t *testing.T, report *Report, cases int) {
	t.Helper()
	for i := range report.Results {
		if r := &report.Results[i]; !r.Passed {
			t.Errorf("%s:%d: %s: %s", r.File, r.Line, r.Case, strings.TrimSpace(r.Story()))
		}
	}
	if report.Cases != cases || report.Failed != 0 {
		t.Errorf("%d cases, %d failed; want %d and none", report.Cases, report.Failed, cases)
	}
}
