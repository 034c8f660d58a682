// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

func TestCapabilitiesTellWhatAnAgentMayAskForAndOnWhatTerms(t *testing.T) {
	freeze := allow("freeze", "rehearsal")
	freeze.Spec = v1alpha1.CapabilityPolicySpec{Effect: v1alpha1.EffectDeny, Capabilities: []string{"*"}, Environments: []string{"rehearsal"},
		When: []v1alpha1.Expression{{Expression: "true", Message: "nothing on Fridays"}}}
	broken := allow("broken", "anywhere")
	broken.Spec.When = []v1alpha1.Expression{{Expression: "nonsense", Message: "never"}}
	others := allow("others", "elsewhere")
	others.Spec.Requesters[0].Name = "another-bot"
	rotate := newCapability(func(c *v1alpha1.Capability) {
		c.Name, c.Spec.Description, c.Spec.MaxTTLSeconds, c.Spec.MinimumApproval = "rotate-cache-key", "Rotate a key.", 600, 2
		c.Spec.Runner, c.Status.Conditions = nil, nil
	})
	rotates := allow("rotates", "preview")
	rotates.Spec.Capabilities, rotates.Spec.Repos = []string{"rotate-cache-key"}, strings.Fields("r0 r1 r2 r3 r4 r5 r6 r7 r8 r9 r10 r11")
	rotates.Spec.MaxTTLSeconds, rotates.Spec.Approval = ptr.To[int32](3600), &v1alpha1.Approval{Required: 1}
	w := newWorld(t, freeze, broken, others, rotate, rotates, newCapability(func(c *v1alpha1.Capability) { c.Name = "read-staging-metrics" }))
	never := []term{{Policy: "freeze", Environments: []string{"rehearsal"}, When: []string{"nothing on Fridays"}}}
	want := offered{You: agent, Namespace: agents, Next: "ask, within one of the terms", Capabilities: []offer{
		{Name: "publish-preview-build", Does: "Upload the preview build of one repository.", DefaultTTL: 900, Never: never, Terms: []term{
			{Policy: "preview-builds", Repos: []string{"web-app"}, Environments: []string{"preview"}, MaxTTL: 900, Approvals: 1, When: []string{"a preview is for a pull request"}},
			{Policy: "rehearsals", Repos: []string{"web-app"}, Environments: []string{"rehearsal"}, MaxTTL: 900},
		}, Steps: []offeredStep{{Image: "registry.example.com/publisher", Command: []string{"/publish-preview"}, AnyArgs: true}}},
		{Name: "rotate-cache-key", Does: "Rotate a key.", DefaultTTL: 900, NotReady: "the operator has not looked at it yet", Never: never, Terms: []term{
			{Policy: "rotates", Repos: append(strings.Fields("r0 r1 r2 r3 r4 r5 r6 r7 r8 r9"), "and 2 more"), Environments: []string{"preview"}, MaxTTL: 600, Approvals: 2},
		}},
	}}
	if diff := cmp.Diff(want, w.call("capabilities", arguments{}).offered); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	want.Capabilities = want.Capabilities[1:]
	if diff := cmp.Diff(want, w.call("capabilities", arguments{"capability": "rotate-cache-key"}).offered); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	r := w.call("capabilities", arguments{"capability": "read-staging-metrics"})
	if len(r.offered.Capabilities) != 0 || !strings.Contains(r.Next, "no policy lets you ask for read-staging-metrics here") {
		t.Errorf("%s", r.text)
	}
}

// TestCapabilities_TermsAreInTheSpellingThatARequestNeeds: what an agent copies from a policy must not be refused.
func TestCapabilities_TermsAreInTheSpellingThatARequestNeeds(t *testing.T) {
	artifacts := newCapability(func(c *v1alpha1.Capability) {
		c.Name, c.Spec.GitHub = "read-ci-artifacts", &v1alpha1.GitHubCapability{Owner: "acme", Repositories: []string{"*"}}
	})
	p, never := allow("artifacts", "Preview"), allow("secret", "preview")
	p.Spec.Capabilities, p.Spec.Repos = []string{"read-ci-artifacts"}, []string{"ACME/Web-App", "web-app", "*/tool-*", "mallory/x"}
	never.Spec = v1alpha1.CapabilityPolicySpec{Effect: v1alpha1.EffectDeny, Capabilities: []string{"*"}, Repos: []string{"acme/Secrets"}}
	w := newWorld(t, artifacts, p, never)
	got := w.call("capabilities", arguments{"capability": "read-ci-artifacts"}).offered
	want := []term{{Policy: "artifacts", Repos: []string{"web-app", "tool-*"}, Environments: []string{"preview"}, MaxTTL: 900}}
	if len(got.Capabilities) != 1 || cmp.Diff(want, got.Capabilities[0].Terms) != "" || cmp.Diff([]term{{Policy: "secret", Repos: []string{"secrets"}}}, got.Capabilities[0].Never) != "" {
		t.Errorf("got %+v", got.Capabilities)
	}
}

func TestALargeCatalogueIsToldInPart(t *testing.T) {
	var objects []client.Object
	for i := range 200 {
		objects = append(objects, newCapability(func(c *v1alpha1.Capability) { c.Name = fmt.Sprintf("capability-%03d", i) }))
	}
	all := allow("all", "preview")
	all.Spec.Capabilities = []string{"*"}
	w := newWorld(t, append(objects, all)...)
	r := w.call("capabilities", arguments{})
	if len(r.text) > 12<<10 || len(r.offered.Capabilities) < 10 || len(r.offered.Others) != maxOthers+1 || !strings.Contains(r.Next, "for the terms of others call capabilities with the name") {
		t.Errorf("%d bytes, %d capabilities, %d others: %s", len(r.text), len(r.offered.Capabilities), len(r.offered.Others), r.Next)
	}
}

func TestWhoMayNotReadTheCatalogueIsToldSo(t *testing.T) {
	for _, resource := range []string{"capabilities", "capabilitypolicies"} {
		w := newWorld(t)
		w.api.refuse("GET "+resource, forbidden(resource, "no"))
		r := w.call("capabilities", arguments{})
		if len(r.offered.Unread) != 1 || !strings.Contains(r.text, "ClusterRole valetkey-catalogue-viewer") || !strings.Contains(r.Next, "ask for a capability by name, with image and command") {
			t.Errorf("%s", r.text)
		}
	}
}

func TestWhoMayAskForNothingIsToldSo(t *testing.T) {
	w := newWorld(t)
	for _, p := range []*v1alpha1.CapabilityPolicy{previews(), rehearsals()} {
		edit(w, p, func(p *v1alpha1.CapabilityPolicy) { p.Spec.Requesters[0].Name = "another-bot" })
	}
	r := w.call("capabilities", arguments{})
	if len(r.offered.Capabilities) != 0 || !strings.Contains(r.Next, "no policy lets you ask for anything here") {
		t.Errorf("%s", r.text)
	}
	w.expectRefusal(w.call("ask", plea()), "no policy", "no policy lets "+agent+" ask for publish-preview-build")
}
