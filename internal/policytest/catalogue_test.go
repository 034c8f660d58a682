// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policytest

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestManifestsThatTheAPIServerWouldNotTakeAreRefused(t *testing.T) {
	edit := func(text, old, replacement string) string {
		if !strings.Contains(text, old) {
			t.Fatalf("there is no %q to change", old)
		}
		return strings.Replace(text, old, replacement, 1)
	}
	for _, tt := range []struct {
		name  string
		file  string
		text  string
		words []string
	}{
		{"a field that there is not", "policy.yaml", edit(previews, "repos:", "repositories: [x]\n  repos:"),
			[]string{"policy.yaml: CapabilityPolicy previews: spec.repositories: there is no such field; there are accept, approval, capabilities, effect"}},
		{"a field that there is not, in a list", "policy.yaml", edit(previews, "message: a", "words: none, message: a"),
			[]string{"spec.when[0].words: there is no such field; there are expression, message"}},
		{"a field of metadata that there is not", "policy.yaml", edit(previews, "{name: previews}", "{name: previews, label: {a: b}}"),
			[]string{"metadata.label: there is no such field"}},
		{"a value of another type", "policy.yaml", edit(previews, "[preview]", "preview"), []string{"spec.environments", "must be of type array"}},
		{"a value that the schema refuses", "policy.yaml", edit(previews, "[publish]", "[Publish]"), []string{"spec.capabilities[0]", "should match"}},
		{"a name that no environment has", "policy.yaml", edit(previews, "[preview]", "[pre/view]"), []string{"spec.environments[0]", "allowed are names and patterns of letters, digits, underscores, dashes and *"}},
		{"an effect that is neither", "policy.yaml", edit(previews, "Allow", "Audit"), []string{"spec.effect", "Unsupported value"}},
		{"what a rule in CEL refuses", "policy.yaml", edit(previews, "repos: [web-app]", "repos: []"), []string{"spec", "an Allow policy names its repos and environments"}},
		{"a rule about a name", "policy.yaml", edit(previews, "name: previews", "name: "+strings.Repeat("a", 64)), []string{"metadata: Invalid value: a policy's name has at most 63 characters"}},
		{"the same value twice in a set", "policy.yaml", edit(previews, "[web-app]", "[web-app, web-app]"), []string{"spec.repos[1]", "Duplicate value"}},
		{"a name that is none", "policy.yaml", edit(previews, "name: previews", "name: Previews"), []string{"metadata.name", "lowercase RFC 1123"}},
		{"no name", "policy.yaml", edit(previews, "{name: previews}", "{}"), []string{"policy.yaml: document 1: metadata.name: Required value"}},
		{"two back ends", "capability.yaml", edit(capability, "  aws:", "  kubernetes: {serviceAccountName: a}\n  aws:"), []string{"Capability publish: spec", "exactly one of the fields in ["}},
		{"a field twice", "policy.yaml", edit(previews, "repos:", "repos: [x]\n  repos:"), []string{"policy.yaml: document 1: ", `key "repos" already set in map`}},
		{"no YAML", "policy.yaml", "spec: [", []string{"policy.yaml: document 1: "}},
		{"two objects in JSON", "more.json", `{"kind": "A", "apiVersion": "v1"}` + "\n" + `{"kind": "B", "apiVersion": "v1"}`, []string{"more.json: document 1: something follows the object"}},
		{"an object after the end of another", "more.yaml", "kind: A\n...\nkind: B\n", []string{"more.yaml: document 1: something follows the object"}},
		{"no YAML in a file in capitals", "MORE.YAML", "spec: [", []string{"MORE.YAML: document 1: "}},
		{"a kind that there is not", "more.yaml", edit(previews, "CapabilityPolicy", "CapabiltyPolicy"), []string{`there is no kind "CapabiltyPolicy" in valetkey.dev; there are Capability,`}},
		{"a kind of ours in somebody else's group", "more.yaml", edit(previews, "valetkey.dev", "valetkey.io"), []string{"a CapabilityPolicy is of valetkey.dev/v1alpha1"}},
		{"a version that there is not", "more.yaml", edit(previews, "v1alpha1", "v1"), []string{"there is no version valetkey.dev/v1"}},
		{"test cases in a file of manifests", "more.yaml", ask, []string{"stands in a file whose name ends in .valetkey-test.yaml"}},
		{"the name of another policy", "more.yaml", previews, []string{"CapabilityPolicy previews: it is in ", "more.yaml too"}},
		{"no policy", "policy.yaml", "", []string{"there is no CapabilityPolicy of valetkey.dev/v1alpha1 below "}},
		{"what is wrong in a list", "policy.yaml", "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: valetkey.dev/v1alpha1, kind: CapabilityPolicy, metadata: {name: x}, spec: {}}\n", []string{"CapabilityPolicy x: spec.effect: Required value"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Load(repository().with(tt.file, tt.text).write(t))
			expectWords(t, err, tt.words...)
		})
	}
}

func TestAllThatIsWrongIsSaidAtOnce(t *testing.T) {
	_, err := Load(repository().with("policy.yaml", strings.Replace(previews, "Allow", "Audit", 1)).with("capability.yaml", strings.Replace(capability, "s3:", "", 1)).write(t))
	expectWords(t, err, "capability.yaml: Capability publish: spec.aws.scope[0].actions[0]", "policy.yaml: CapabilityPolicy previews: spec.effect")
}

func TestAFolderThatIsNotThereIsAnError(t *testing.T) {
	_, err := Load(filepath.Join(t.TempDir(), "policies"))
	expectWords(t, err, "cannot read the folder", "policies")
}

func TestWhatIsNotOfTheCatalogueIsLeftAlone(t *testing.T) {
	c := repository().
		with("other.yaml", "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: bot, unknown: true}\n").
		with("kustomization.yaml", "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [policy.yaml]\n").
		with("values.yaml", "replicas: 2\n").
		with("request.yaml", "apiVersion: valetkey.dev/v1alpha1\nkind: CapabilityRequest\nmetadata: {name: x}\n").
		with("README.md", "kind: Note\n").
		with("empty.yaml", "---\n---\n# nothing\n").
		with(".github/policy.yaml", previews).
		load(t)
	if len(c.policies) != 1 || len(c.capabilities) != 1 || len(c.providers) != 1 {
		t.Errorf("%d policies, %d capabilities, %d providers", len(c.policies), len(c.capabilities), len(c.providers))
	}
}

func TestManifestsAreTakenAsTheAPIServerTakesThem(t *testing.T) {
	f := repository().
		with("policy.yaml", "apiVersion: v1\nkind: List\nitems:\n- "+strings.ReplaceAll(strings.TrimSpace(previews), "\n", "\n  ")+"\n  status: {anything: goes}\n").
		with("capability.yaml", provider+"---"+strings.NewReplacer("{name: publish}", "{name: publish, namespace: ignored}", "  aws:", "  runner: null\n  aws:").Replace(capability)).
		with("provider.yaml", "").
		with("more/deny.json", `{"apiVersion": "valetkey.dev/v1alpha1", "kind": "CapabilityPolicy", "metadata": {"name": "freeze"}, "spec": {"effect": "Deny", "capabilities": ["*"]}}`)
	dir := f.write(t)
	c, err := Load(dir, filepath.Join(dir, "more"))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.capabilities["publish"].Spec; got.DefaultTTLSeconds != 900 || got.MaxTTLSeconds != 3600 || got.AWS.Delivery != "Files" {
		t.Errorf("the defaults are not set: %+v", got)
	}
	if got := c.policy("previews").Spec.Approval.TimeoutSeconds; got != 3600 {
		t.Errorf("the approval's timeout is %d", got)
	}
	if c.policy("freeze") == nil || c.policy("none") != nil {
		t.Error("policies are not found by their names")
	}
}
