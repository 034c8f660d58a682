// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policytest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The repository that rows change: one provider, one capability that writes, one policy that asks for an approval.
const (
	provider = `
apiVersion: valetkey.dev/v1alpha1
kind: CapabilityProvider
metadata: {name: aws}
spec: {aws: {region: us-east-1}}
`
	capability = `
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
`
	// owned is the capability for repositories with their owner.
	owned    = capability + "  repoParts: 2\n"
	previews = `
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
  approval: {required: 1, approvers: [{kind: Group, name: managers}]}
`
	header = "apiVersion: valetkey.dev/v1alpha1\nkind: PolicyTest\n"
	// ask is what cases have in common.
	ask = header + "defaults:\n  requester: {serviceAccount: agents/bot}\n  request: {capability: publish, repo: web-app, environment: preview}\n"
)

// files are a repository's, by name.
type files map[string]string

// with changes files: an empty text takes one out.
func (f files) with(name, text string) files {
	changed := files{name: text}
	for n, t := range f {
		if n != name {
			changed[n] = t
		}
	}
	return changed
}

func repository() files {
	return files{"provider.yaml": provider, "capability.yaml": capability, "policy.yaml": previews}
}

// write makes the folder of a repository.
func (f files) write(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range f {
		if text == "" {
			continue
		}
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// load reads a repository that can be read.
func (f files) load(t *testing.T) *Catalogue {
	t.Helper()
	c, err := Load(f.write(t))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// expectWords wants an error that says all of some words.
func expectWords(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error; want one with %q", words)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("got %v\nwant an error with %q", err, w)
		}
	}
}
