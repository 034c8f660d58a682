// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policytest

import (
	"slices"
	"strings"
	"testing"
)

// TestLint_PoliciesMeetHoweverTheirNamesAreWritten: lint compares what patterns and subjects mean to the operator. In each
// row the policies are written otherwise than each other, and mean the same.
func TestLint_PoliciesMeetHoweverTheirNamesAreWritten(t *testing.T) {
	allow := func(edits ...string) string {
		return strings.NewReplacer(append(edits, "environments: [preview]", "environments: [preview, production]")...).Replace(previews)
	}
	cluster := repository().with("provider.yaml", strings.Replace(provider, "{aws: {region: us-east-1}}", "{kubernetes: {}}", 1)).
		with("capability.yaml", "apiVersion: valetkey.dev/v1alpha1\nkind: Capability\nmetadata: {name: publish}\nspec:\n  description: Read.\n  providerRef: {name: aws}\n"+
			"  repoParts: 2\n  kubernetes: {serviceAccountName: read}\n")
	for name, tt := range map[string]struct {
		in   files
		deny string
		code string
		want bool
	}{
		"a Deny with the owner": {onGitHub().with("policy.yaml", allow()),
			"  capabilities: [publish]\n  repos: [acme/web-app]\n  environments: [production]\n", CodeNameOutsideScope, true},
		"a Deny of another owner's": {onGitHub().with("policy.yaml", allow()),
			"  capabilities: [publish]\n  repos: [mallory/web-app]\n  environments: [production]\n", CodeNameOutsideScope, false},
		"a Deny of a folder": {cluster.with("policy.yaml", strings.Replace(previews, "[web-app]", "['acme/*', 'other/*']", 1)),
			"  capabilities: [publish]\n  repos: [acme]\n", CodeNameOutsideScope, true},
		"a Deny of what lies below": {cluster.with("policy.yaml", strings.Replace(previews, "[web-app]", "['acme/*', 'other/*']", 1)),
			"  capabilities: [publish]\n  repos: [acme/web/app]\n", CodeNameOutsideScope, true},
		"a Deny of a user in capitals": {repository().with("policy.yaml", allow("{kind: ServiceAccount, namespace: agents, name: bot}", "{kind: User, name: alice}")),
			"  capabilities: [publish]\n  requesters: [{kind: User, name: Alice}]\n  environments: [production]\n", CodeNameOutsideScope, true},
		"a Deny of another user": {repository().with("policy.yaml", allow("{kind: ServiceAccount, namespace: agents, name: bot}", "{kind: User, name: alice}")),
			"  capabilities: [publish]\n  requesters: [{kind: User, name: Bob}]\n  environments: [production]\n", CodeNameOutsideScope, false},
		"a Deny of all that is served": {onGitHub().serving("[payments, web-app]").with("policy.yaml", strings.Replace(previews, "[web-app]", "['*']", 1)),
			"  capabilities: [publish]\n  repos: [payments, acme/web-app]\n", CodeShadowedAllow, true},
		"a Deny of all that is served and meant": {onGitHub().serving("[payments, web-app]").with("policy.yaml", strings.Replace(previews, "[web-app]", "['acme/pay*']", 1)),
			"  capabilities: [publish]\n  repos: [payments]\n", CodeShadowedAllow, true},
		"a Deny of one of two": {onGitHub().serving("[payments, web-app]").with("policy.yaml", strings.Replace(previews, "[web-app]", "['*']", 1)),
			"  capabilities: [publish]\n  repos: [payments]\n", CodeShadowedAllow, false},
		"a Deny of one of many": {onGitHub().serving("['pay*']").with("policy.yaml", strings.Replace(previews, "[web-app]", "['*']", 1)),
			"  capabilities: [publish]\n  repos: [payments]\n", CodeShadowedAllow, false},
	} {
		t.Run(name, func(t *testing.T) {
			found := tt.in.with("deny.yaml", deny(tt.deny)).load(t).Lint()
			if got := slices.ContainsFunc(found, func(f Finding) bool { return f.Code == tt.code && f.Name == "freeze" }); got != tt.want {
				t.Errorf("%s is found: %t; %+v", tt.code, got, found)
			}
		})
	}
}
