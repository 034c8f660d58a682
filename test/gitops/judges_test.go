// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package gitops

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
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

// TestWhatTheToolsMakeOfEachState is about states that take a while to reach in a cluster, too; TestGitOpsToolsUnderstandWhatIsStored of
// test/integration is about those that an operator wrote.
func TestWhatTheToolsMakeOfEachState(t *testing.T) {
	checks, err := ReadChecks(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		object *unstructured.Unstructured
		want   string
	}{
		{"a provider that nobody has looked at", state("CapabilityProvider", 1, -1), Underway},
		{"a provider that can be used", state("CapabilityProvider", 1, 1, is("Ready", "Ready")), Done},
		{"a provider with an endpoint that the operator was not started with", state("CapabilityProvider", 1, 1,
			isNot("Ready", "EndpointNotAllowed"), is("Stalled", "EndpointNotAllowed")), Failed},
		{"a provider that changed since it was looked at", state("CapabilityProvider", 2, 1, is("Ready", "Ready")), Underway},
		{"an invalid policy that was mended and not looked at again", state("CapabilityPolicy", 2, 1,
			isNot("Ready", "ExpressionInvalid"), is("Stalled", "ExpressionInvalid")), Underway},
		{"a capability whose provider is not there yet", state("Capability", 1, 1, isNot("Ready", "ProviderNotFound")), Underway},
		{"a capability of which nothing could be found out", state("Capability", 1, 1, isNot("Ready", "Indeterminate")), Underway},
		{"a request that waits for an approval", state("CapabilityRequest", 1, 1,
			is("Reviewed", "Reviewed"), isNot("Allowed", "AwaitingApproval"), is("Reconciling", "AwaitingApproval")), Held},
		{"a request that waits for its Job", state("CapabilityRequest", 1, 1,
			isNot("Allowed", "AwaitingJob"), is("Reconciling", "AwaitingJob")), Underway},
		{"a request that somebody decided on and the operator has not seen", state("CapabilityRequest", 2, 1,
			isNot("Allowed", "AwaitingApproval"), is("Reconciling", "AwaitingApproval")), Underway},
		{"a request that is granted", state("CapabilityRequest", 2, 2, is("Allowed", "Allowed"), is("Granted", "Granted")), Done},
		{"a request whose Job did its work", state("CapabilityRequest", 2, 2, is("Granted", "Granted"), is("Ended", "GrantEnded")), Done},
		{"a request that was refused", state("CapabilityRequest", 1, 1,
			isNot("Allowed", "DeniedByPolicy"), is("Ended", "Refused"), is("Stalled", "Refused")), Failed},
		{"a grant whose issue is tried again", state("CapabilityGrant", 1, 1,
			isNot("Issued", "BackingOff"), isNot("Delivered", "Waiting"), is("Reconciling", "BackingOff")), Underway},
		{"a grant whose Job runs", state("CapabilityGrant", 1, 1, is("Issued", "Issued"), is("Delivered", "Delivered"), isNot("Ended", "Active")), Done},
		{"a grant that is being ended", state("CapabilityGrant", 1, 1, is("Delivered", "Delivered"), isNot("Ended", "Ending"), is("Reconciling", "Ending")), Underway},
		{"a grant that was revoked", state("CapabilityGrant", 1, 1, is("Ended", "RevokedByAnnotation"), is("Stalled", "RevokedByAnnotation")), Failed},
	} {
		got, err := checks.Judge(t.Context(), test.object)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		if got != test.want {
			t.Errorf("%s: %s; want %s", test.name, got, test.want)
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
		crd := struct {
			Spec struct{ Names struct{ Kind string } }
		}{}
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
	checks, err := ReadChecks(root)
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

// fluxSample reads the sample strictly, as the controllers' own types.
func fluxSample(t *testing.T) (*sourcev1.GitRepository, *kustomizev1.Kustomization) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "docs/gitops/flux/valetkey-catalogue.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	documents := bytes.Split(text, []byte("\n---\n"))
	if len(documents) != 2 {
		t.Fatalf("there are %d documents", len(documents))
	}
	repository, kustomization := &sourcev1.GitRepository{}, &kustomizev1.Kustomization{}
	if err := errors.Join(yaml.UnmarshalStrict(documents[0], repository), yaml.UnmarshalStrict(documents[1], kustomization)); err != nil {
		t.Fatal(err)
	}
	return repository, kustomization
}

// TestFluxWaitsByItsOwnRules wants no expressions, which would take the place of kstatus.
func TestFluxWaitsByItsOwnRules(t *testing.T) {
	repository, kustomization := fluxSample(t)
	spec := kustomization.Spec
	if !spec.Wait || !spec.Prune || spec.SourceRef.Name != repository.Name || len(spec.HealthCheckExprs) > 0 {
		t.Errorf("it does not wait, does not prune, names another source, or has expressions: %+v", spec)
	}
}
