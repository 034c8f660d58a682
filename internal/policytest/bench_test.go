// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policytest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// generate writes a repository: policies, each about a repository of its own, and cases that go round among them. Every tenth policy
// is a Deny; every other has an expression. capability and account say which one the policy of a number is about.
func generate(tb testing.TB, policies, cases int, capability, account func(i int) string) string {
	tb.Helper()
	var catalogue, text strings.Builder
	catalogue.WriteString("apiVersion: valetkey.dev/v1alpha1\nkind: CapabilityProvider\nmetadata: {name: aws}\nspec: {aws: {region: us-east-1}}\n")
	known := map[string]bool{}
	for i := range policies {
		if name := capability(i); !known[name] {
			known[name] = true
			fmt.Fprintf(&catalogue, "---\napiVersion: valetkey.dev/v1alpha1\nkind: Capability\nmetadata: {name: %s}\nspec:\n  description: Publish.\n  providerRef: {name: aws}\n  repoParts: 2\n"+
				"  aws:\n    roleARN: arn:aws:iam::123456789012:role/publisher\n    serviceAccountName: publisher\n"+
				"    scope: [{actions: [s3:PutObject], resources: ['arn:aws:s3:::previews/${request.repo}/*']}]\n", name)
		}
		effect, repo := "Allow", fmt.Sprintf("acme/app-%d", i)
		if i%10 == 9 {
			effect, repo = "Deny", fmt.Sprintf("acme/app-%d-frozen", i-1)
		}
		fmt.Fprintf(&catalogue, "---\napiVersion: valetkey.dev/v1alpha1\nkind: CapabilityPolicy\nmetadata: {name: policy-%d}\nspec:\n  effect: %s\n  capabilities: [%s]\n"+
			"  requesters: [{kind: ServiceAccount, namespace: agents, name: %s}]\n  repos: [%s]\n  environments: [preview, 'review-*']\n",
			i, effect, capability(i), account(i), repo)
		if i%2 == 0 {
			catalogue.WriteString("  when: [{expression: \"request.ttlSeconds <= 900 && request.taskID.startsWith('pr-')\", message: fifteen minutes for a pull request}]\n")
		}
	}
	text.WriteString("apiVersion: valetkey.dev/v1alpha1\nkind: PolicyTest\ndefaults: {request: {environment: review-184, taskID: pr-184, ttlSeconds: 900}}\ncases:\n")
	for n := range cases {
		i := n % policies
		request, expect := fmt.Sprintf("repo: acme/app-%d", i), fmt.Sprintf("decision: Allow, policy: policy-%d", i)
		switch {
		case i%10 == 9:
			request, expect = fmt.Sprintf("repo: acme/app-%d-frozen", i-1), fmt.Sprintf("decision: Deny, policy: policy-%d", i)
		case i%2 == 0 && n/policies%2 == 1:
			request, expect = request+", ttlSeconds: 901", fmt.Sprintf("decision: Deny, policy: policy-%d, message: fifteen minutes for a pull request", i)
		}
		fmt.Fprintf(&text, "- name: case %d\n  requester: {serviceAccount: agents/%s}\n  request: {capability: %s, %s}\n  expect: {%s}\n", n, account(i), capability(i), request, expect)
	}
	dir := tb.TempDir()
	for name, content := range map[string]string{"catalogue.yaml": catalogue.String(), "all" + TestSuffix: text.String()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	return dir
}

// BenchmarkThousandPoliciesTenThousandCases is all that `policy test` does, from the files to the report: where the policies are about a
// hundred capabilities, ten policies each, and where all are about one capability and one requester, so that each is looked into for
// every case.
func BenchmarkThousandPoliciesTenThousandCases(b *testing.B) {
	const policies, cases = 1_000, 10_000
	for _, bb := range []struct {
		name                string
		capability, account func(i int) string
	}{
		{"a hundred capabilities", func(i int) string { return fmt.Sprintf("publish-%d", i/10) }, func(i int) string { return fmt.Sprintf("bot-%d", i/10) }},
		{"one capability and one requester", func(int) string { return "publish" }, func(int) string { return "bot" }},
	} {
		b.Run(bb.name, func(b *testing.B) {
			dir := generate(b, policies, cases, bb.capability, bb.account)
			b.ReportAllocs()
			for b.Loop() {
				c, err := Load(dir)
				if err != nil {
					b.Fatal(err)
				}
				report, err := c.Test()
				if err != nil {
					b.Fatal(err)
				}
				if report.Cases != cases || report.Failed > 0 || report.Coverage.Decided != policies {
					b.Fatalf("%d cases, %d failed, %d policies decided one: %+v", report.Cases, report.Failed, report.Coverage.Decided, report.Results[0])
				}
			}
		})
	}
}
