// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package gitops

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

const root = "../.."

// state is an object as it is stored: its spec does not matter to a tool.
func state(kind string, generation, observed int64, conditions ...metav1.Condition) *unstructured.Unstructured {
	list := make([]any, 0, len(conditions))
	for _, c := range conditions {
		list = append(list, map[string]any{"type": c.Type, "status": string(c.Status), "reason": c.Reason, "message": "words"})
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": v1alpha1.GroupVersion.String(), "kind": kind,
		"metadata": map[string]any{"name": "object", "generation": generation},
		"status":   map[string]any{"observedGeneration": observed, "conditions": list},
	}}
}

func is(kind, reason string) metav1.Condition {
	return metav1.Condition{Type: kind, Status: metav1.ConditionTrue, Reason: reason}
}

func isNot(kind, reason string) metav1.Condition {
	return metav1.Condition{Type: kind, Status: metav1.ConditionFalse, Reason: reason}
}

// TestEveryToolJudgesAlike is about states that take a while to reach in a cluster; TestGitOpsToolsUnderstandWhatIsStored of
// test/integration is about those that an operator wrote.
func TestEveryToolJudgesAlike(t *testing.T) {
	judges, err := New(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		object *unstructured.Unstructured
		want   status.Status
	}{
		{"a provider that nobody has looked at", state("CapabilityProvider", 1, -1), status.InProgressStatus},
		{"a provider that can be used", state("CapabilityProvider", 1, 1, is("Ready", "Ready")), status.CurrentStatus},
		{"a provider with an endpoint that the operator was not started with", state("CapabilityProvider", 1, 1,
			isNot("Ready", "EndpointNotAllowed"), is("Stalled", "EndpointNotAllowed")), status.FailedStatus},
		{"a provider that changed since it was looked at", state("CapabilityProvider", 2, 1, is("Ready", "Ready")), status.InProgressStatus},
		{"an invalid policy that was mended and not looked at again", state("CapabilityPolicy", 2, 1,
			isNot("Ready", "ExpressionInvalid"), is("Stalled", "ExpressionInvalid")), status.InProgressStatus},
		{"a capability whose provider is not there yet", state("Capability", 1, 1, isNot("Ready", "ProviderNotFound")), status.InProgressStatus},
		{"a capability of which nothing could be found out", state("Capability", 1, 1, isNot("Ready", "Indeterminate")), status.InProgressStatus},
		{"a request that waits for an approval", state("CapabilityRequest", 1, 1,
			is("Reviewed", "Reviewed"), isNot("Allowed", "AwaitingApproval"), is("Reconciling", "AwaitingApproval")), status.InProgressStatus},
		{"a request that somebody decided on and the operator has not seen", state("CapabilityRequest", 2, 1,
			isNot("Allowed", "AwaitingApproval"), is("Reconciling", "AwaitingApproval")), status.InProgressStatus},
		{"a request that is granted", state("CapabilityRequest", 2, 2, is("Allowed", "Allowed"), is("Granted", "Granted")), status.CurrentStatus},
		{"a request whose Job did its work", state("CapabilityRequest", 2, 2, is("Granted", "Granted"), is("Ended", "GrantEnded")), status.CurrentStatus},
		{"a request that was refused", state("CapabilityRequest", 1, 1,
			isNot("Allowed", "DeniedByPolicy"), is("Ended", "Refused"), is("Stalled", "Refused")), status.FailedStatus},
		{"a grant whose issue is tried again", state("CapabilityGrant", 1, 1,
			isNot("Issued", "BackingOff"), isNot("Delivered", "Waiting"), is("Reconciling", "BackingOff")), status.InProgressStatus},
		{"a grant whose Job runs", state("CapabilityGrant", 1, 1, is("Issued", "Issued"), is("Delivered", "Delivered"), isNot("Ended", "Active")), status.CurrentStatus},
		{"a grant that is being ended", state("CapabilityGrant", 1, 1, is("Delivered", "Delivered"), isNot("Ended", "Ending"), is("Reconciling", "Ending")), status.InProgressStatus},
		{"a grant that was revoked", state("CapabilityGrant", 1, 1, is("Ended", "RevokedByAnnotation"), is("Stalled", "RevokedByAnnotation")), status.FailedStatus},
	} {
		judged, err := judges.Judge(t.Context(), test.object)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		for tool, got := range judged {
			if got != test.want {
				t.Errorf("%s: %s says %s; want %s", test.name, tool, got, test.want)
			}
		}
	}
}

// kinds are those of the CRDs.
func kinds(t *testing.T) []string {
	t.Helper()
	files, err := fs.Glob(os.DirFS(root), "config/crd/valetkey.dev_*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, file := range files {
		crd := struct{ Spec struct{ Names struct{ Kind string } } }{}
		text, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal(text, &crd); err != nil {
			t.Fatal(err)
		}
		all = append(all, crd.Spec.Names.Kind)
	}
	return all
}

func TestArgoCDHasACheckForEveryKind(t *testing.T) {
	checks, err := argoChecks(filepath.Join(root, "docs/gitops/argocd/argocd-cm.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	all := kinds(t)
	if len(all) != 5 || len(checks) != len(all) {
		t.Errorf("there are %d kinds and %d checks", len(all), len(checks))
	}
	for _, kind := range all {
		if checks[kind] == "" {
			t.Errorf("there is no check for %s", kind)
		}
	}
}

func TestFluxWaitsForEveryKindOfTheCatalogue(t *testing.T) {
	repository, kustomization, err := FluxSample(root)
	if err != nil {
		t.Fatal(err)
	}
	if !kustomization.Spec.Wait || !kustomization.Spec.Prune || kustomization.Spec.SourceRef.Name != repository.Name {
		t.Errorf("it does not wait, does not prune, or names another source: %+v", kustomization.Spec)
	}
	var checked []string
	for _, check := range kustomization.Spec.HealthCheckExprs {
		if check.APIVersion != v1alpha1.GroupVersion.String() {
			t.Errorf("a check is for %s", check.APIVersion)
		}
		checked = append(checked, check.Kind)
	}
	if want := []string{"CapabilityProvider", "Capability", "CapabilityPolicy"}; !slices.Equal(checked, want) {
		t.Errorf("it checks %v; want %v", checked, want)
	}
}
