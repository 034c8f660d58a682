// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/valetkey/valetkey/internal/policytest"
)

const aRepository = `
apiVersion: valetkey.dev/v1alpha1
kind: CapabilityProvider
metadata: {name: aws}
spec: {aws: {region: us-east-1}}
---
apiVersion: valetkey.dev/v1alpha1
kind: Capability
metadata: {name: publish}
spec:
  description: Publish a build.
  providerRef: {name: aws}
  aws:
    roleARN: arn:aws:iam::123456789012:role/publisher
    serviceAccountName: publish
    scope: [{actions: [s3:PutObject], resources: ['arn:aws:s3:::previews/${request.repo}/*']}]
---
apiVersion: valetkey.dev/v1alpha1
kind: CapabilityPolicy
metadata: {name: previews}
spec:
  effect: Allow
  capabilities: [publish]
  requesters: [{kind: ServiceAccount, namespace: agents, name: bot}]
  repos: [web-app]
  environments: [preview]
  when: [{expression: request.ttlSeconds <= 900, message: a preview gets fifteen minutes}]
---
apiVersion: valetkey.dev/v1alpha1
kind: CapabilityPolicy
metadata: {name: freeze}
spec: {effect: Deny, capabilities: ["*"], environments: [production]}
`

const cases = `apiVersion: valetkey.dev/v1alpha1
kind: PolicyTest
defaults:
  requester: {serviceAccount: agents/bot}
  request: {capability: publish, repo: web-app, environment: preview}
cases:
- name: a preview
  expect: {decision: Allow, policy: previews}
`

// run runs the plugin in a folder with a aRepository and cases, and returns its exit code and what it wrote.
func run(t *testing.T, aRepository, cases string, args ...string) (code int, out, errOut string) {
	t.Helper()
	t.Chdir(t.TempDir())
	for name, text := range map[string]string{"aRepository.yaml": aRepository, "all" + policytest.TestSuffix: cases} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var stdout, stderr bytes.Buffer
	code = Run(t.Context(), append([]string{"policy"}, args...), genericiooptions.IOStreams{Out: &stdout, ErrOut: &stderr}, &clocktesting.FakePassiveClock{})
	return code, stdout.String(), stderr.String()
}

func expect(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s is\n%s\nwant\n%s", what, got, want)
	}
}

func TestPolicyTestSaysWhatNoCaseIsAbout(t *testing.T) {
	code, out, errOut := run(t, aRepository, cases, "test", ".")
	expect(t, "the output", out, `no case fails when[0] of policy previews: a preview gets fifteen minutes
1 case, 1 passed, 0 failed; 1 of 2 policies decided a case; never hit: freeze
`)
	if code != 0 || errOut != "" {
		t.Errorf("exit code %d, and %q", code, errOut)
	}
}

func TestPolicyTestTellsOfACaseThatFailed(t *testing.T) {
	code, out, _ := run(t, aRepository, cases+`- name: a long preview
  request: {ttlSeconds: 901}
  expect: {decision: Allow, policy: previews}
- name: a frozen production
  request: {environment: production}
  expect: {decision: Deny, policy: freeze}
`, "test", ".")
	expect(t, "the output", out, `FAIL  all.valetkey-test.yaml:9  a long preview
      decision is Deny, want Allow
      the operator says: policy previews asks: a preview gets fifteen minutes
      policy previews (Allow):
        yes   capabilities    publish; the request has publish
        yes   requesters      ServiceAccount agents/bot; the request has system:serviceaccount:agents:bot
        yes   repos           web-app; the request has web-app
        yes   environments    preview; the request has preview
        no    when[0]         a preview gets fifteen minutes
        yes   maxTTLSeconds   up to 3600; the request has 901

3 cases, 2 passed, 1 failed; 2 of 2 policies decided a case
`)
	if code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
}

func TestPolicyTestAsksForCoverage(t *testing.T) {
	for _, tt := range []struct {
		least, words string
		code         int
	}{
		{"50", "", 0},
		{"50.1", "50.0% of the policies decided a case, of 50.1% that --coverage-min asks for\n", 1},
	} {
		code, _, errOut := run(t, aRepository, cases, "test", ".", "--coverage-min", tt.least)
		expect(t, "the error output", errOut, tt.words)
		if code != tt.code {
			t.Errorf("%s%%: exit code %d, want %d", tt.least, code, tt.code)
		}
	}
}

func TestPolicyTestListsAFewWhereThereAreMany(t *testing.T) {
	_, previews, _ := strings.Cut(aRepository, "metadata: {name: previews}")
	previews, _, _ = strings.Cut(previews, "---")
	many := aRepository
	for _, name := range strings.Fields("b c d e f g h i j k l m o") {
		many += "---\napiVersion: valetkey.dev/v1alpha1\nkind: CapabilityPolicy\nmetadata: {name: " + name + "}" + strings.Replace(previews, "[preview]", "["+name+"]", 1)
	}
	_, out, _ := run(t, many, cases, "test", ".")
	if !strings.Contains(out, "nor 4 more; -o json lists them\n") || !strings.HasSuffix(out, "1 of 15 policies decided a case; never hit: b, c, d, e, f, freeze, g, h, i, j and 4 more\n") {
		t.Error(out)
	}
}

func TestPolicyTestWritesJSON(t *testing.T) {
	code, out, _ := run(t, aRepository, cases, "test", ".", "-o", "json")
	report := policytest.Report{}
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatal(err)
	}
	if code != 0 || report.Cases != 1 || report.Results[0].Got.Policy != "previews" || report.Coverage.NeverHit[0] != "freeze" {
		t.Errorf("exit code %d, %+v", code, report)
	}
	for _, field := range []string{`"cases": 1`, `"file": "all.valetkey-test.yaml"`, `"line": 7`, `"decision": "Allow"`, `"neverHit": [`} {
		if !strings.Contains(out, field) {
			t.Errorf("there is no %s in %s", field, out)
		}
	}
}

func TestPolicyTestWritesJUnit(t *testing.T) {
	file := filepath.Join(t.TempDir(), "report.xml")
	code, out, _ := run(t, aRepository, strings.Replace(cases, "decision: Allow", "decision: Deny", 1), "test", ".", "--junit", file)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	report := struct {
		Failures int `xml:"failures,attr"`
	}{}
	if err := xml.Unmarshal(text, &report); err != nil || report.Failures != 1 || code != 1 || !strings.HasPrefix(out, "FAIL") {
		t.Errorf("exit code %d, %v\n%s\n%s", code, err, text, out)
	}
}

func TestWhatCannotBeReadIsTold(t *testing.T) {
	for _, tt := range []struct {
		name, aRepository, cases string
		args                     []string
		code                     int
		words                    []string
	}{
		{"a folder that is not there", aRepository, cases, []string{"test", "policies"}, 2, []string{"error: cannot read the folder: lstat policies: no such file or directory\n"}},
		{"two fields that there are not", strings.NewReplacer("repos", "repositories", "environments: [p", "environment: [p").Replace(aRepository), cases, []string{"test", "."}, 2,
			[]string{"error: aRepository.yaml: CapabilityPolicy previews: spec.environment: there is no such field; ", "\nerror: aRepository.yaml: CapabilityPolicy previews: spec.repositories: there"}},
		{"the same for lint", strings.Replace(aRepository, "repos", "repositories", 1), cases, []string{"lint", "."}, 2, []string{"spec.repositories: there is no such field"}},
		{"cases without an expectation", aRepository, strings.Replace(cases, "  expect: {decision: Allow, policy: previews}\n", "", 1), []string{"test", "."}, 2, []string{`error: all.valetkey-test.yaml:7: case "a preview": expect.decision: write one of`}},
		{"a report into a folder that is not there", aRepository, cases, []string{"test", ".", "--junit", "no/report.xml"}, 2, []string{"error: open no/report.xml"}},
		{"a format that there is not", aRepository, cases, []string{"test", ".", "-o", "yaml"}, 1, []string{"error: -o yaml: want json, or nothing for text"}},
		{"a format of lint that there is not", aRepository, cases, []string{"lint", ".", "-o", "wide"}, 1, []string{"error: -o wide: want json"}},
		{"no folder", aRepository, cases, []string{"test"}, 1, []string{"error: requires at least 1 arg"}},
		{"no folder to lint", aRepository, cases, []string{"lint"}, 1, []string{"error: requires at least 1 arg"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, out, errOut := run(t, tt.aRepository, tt.cases, tt.args...)
			if code != tt.code || out != "" {
				t.Errorf("exit code %d, want %d; output %q", code, tt.code, out)
			}
			for _, words := range tt.words {
				if !strings.Contains(errOut, words) {
					t.Errorf("there is no %q in %s", words, errOut)
				}
			}
		})
	}
}

func TestPolicyLint(t *testing.T) {
	code, out, errOut := run(t, aRepository, "", "lint", ".")
	expect(t, "the output", out, `warning  write-without-approval  aRepository.yaml: CapabilityPolicy previews
         nobody has to approve what writes, publish (s3:PutObject): write approval, or minimumApproval in the capability
0 errors, 1 warning, 0 accepted
`)
	if code != 0 || errOut != "" {
		t.Errorf("exit code %d, and %q", code, errOut)
	}
}

func TestPolicyLintFailsOnErrorsAndStrictlyOnWarnings(t *testing.T) {
	accepted := strings.Replace(aRepository, "{name: previews}", "{name: previews, annotations: {valetkey.dev/lint-accept: 'write-without-approval: a preview'}}", 1)
	unknown := strings.Replace(accepted, "[publish]", "[publish, other]", 1)
	for _, tt := range []struct {
		name, aRepository string
		args              []string
		code              int
		last              string
	}{
		{"a warning", aRepository, []string{"lint", ".", "--strict"}, 1, "0 errors, 1 warning, 0 accepted\n"},
		{"a warning that is accepted", accepted, []string{"lint", ".", "--strict"}, 0, "0 errors, 0 warnings, 1 accepted\n"},
		{"an error", unknown, []string{"lint", "."}, 1, "1 error, 0 warnings, 1 accepted\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, out, _ := run(t, tt.aRepository, "", tt.args...)
			if code != tt.code || !strings.HasSuffix(out, tt.last) {
				t.Errorf("exit code %d, want %d:\n%s", code, tt.code, out)
			}
		})
	}
}

func TestPolicyLintWritesJSON(t *testing.T) {
	_, out, _ := run(t, aRepository, "", "lint", ".", "-o", "json")
	var found policytest.Findings
	if err := json.Unmarshal([]byte(out), &found); err != nil {
		t.Fatal(err)
	}
	if len(found) != 1 || found[0].Code != policytest.CodeWriteWithoutApproval || !strings.Contains(out, `"severity": "warning"`) {
		t.Error(out)
	}
	_, out, _ = run(t, strings.Replace(aRepository, "s3:PutObject", "s3:GetObject", 1), "", "lint", ".", "-o", "json")
	expect(t, "what is found where nothing is", out, "[]\n")
}
