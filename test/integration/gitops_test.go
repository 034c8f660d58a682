// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package integration

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/test/gitops"
)

// tools are Flux and Argo CD, with what is shipped for it.
type tools struct {
	*journey
	checks gitops.Checks
}

// expect says what the tools make of an object, as it was stored.
func (t *tools) expect(what string, object client.Object, want string) {
	t.Helper()
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	t.must(err)
	kind, err := apiutil.GVKForObject(object, t.w.scheme)
	t.must(err)
	stored := &unstructured.Unstructured{Object: content}
	stored.SetGroupVersionKind(kind)
	got, err := t.checks.Judge(t.Context(), stored)
	t.must(err)
	if got != want {
		t.Errorf("%s: %s; want %s\n%s", what, got, want, describeYAML(object))
	}
}

// stored reads an object anew.
func (t *tools) stored(object client.Object) client.Object {
	t.Helper()
	t.must(t.w.admin.Get(t.Context(), client.ObjectKeyFromObject(object), object))
	return object
}

// provider is one whose region does not matter; with an endpoint of which the operator knows nothing, if that is wanted.
func (t *tools) provider(name, endpoint string) *v1alpha1.CapabilityProvider {
	return &v1alpha1.CapabilityProvider{ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1alpha1.CapabilityProviderSpec{AWS: &v1alpha1.AWSProvider{Region: "us-east-1", STSEndpoint: endpoint}}}
}

func (t *tools) capability(name, provider string) *v1alpha1.Capability {
	t.Helper()
	c := &v1alpha1.Capability{}
	t.read("capability.yaml", c)
	c.ObjectMeta, c.Spec.ProviderRef.Name = metav1.ObjectMeta{Name: name}, provider
	return c
}

// invalid is a policy whose expression does not compile.
func (t *tools) invalid() *v1alpha1.CapabilityPolicy {
	p := t.policy(func(p *v1alpha1.CapabilityPolicySpec) {
		p.When = []v1alpha1.Expression{{Expression: "request.ttl < 900", Message: "at most fifteen minutes"}}
	})
	p.Name = t.name + "-invalid"
	return p
}

// TestGitOpsToolsUnderstandWhatIsStored has every kind judged as the API server stores it: before an operator looks, by what it writes,
// and when the object has changed since.
func TestGitOpsToolsUnderstandWhatIsStored(t *testing.T) {
	checks, err := gitops.ReadChecks(stage.root)
	if err != nil {
		t.Fatal(err)
	}
	tool := &tools{alone(t, "gitops", nil), checks}
	// An operator is ready when the API server knows the kinds and enforces the rules.
	tool.must(stage.ownOperator(t).stop())
	good, bad, endpoint := tool.policy(byAlice), tool.invalid(), tool.provider("gitops", "http://198.51.100.7")
	missing := tool.capability("gitops", "gitops-is-not-there")
	for _, object := range []client.Object{good, bad, endpoint, missing} {
		tool.store(object)
	}
	early := alone(t, "gitops-early", nil)
	early.request()
	for _, object := range []client.Object{good, bad, endpoint, missing, early.requestObject()} {
		tool.expect("nobody has looked at it", tool.stored(object), gitops.Underway)
	}
	tool.must(stage.admin.Delete(t.Context(), early.requestObject()))

	o := stage.ownOperator(t)
	good = await(t, stage, good, "looked at", func(p *v1alpha1.CapabilityPolicy) bool { return len(p.Status.Conditions) > 0 })
	tool.expect("a policy that can be used", good, gitops.Done)
	bad = await(t, stage, bad, "looked at", func(p *v1alpha1.CapabilityPolicy) bool { return len(p.Status.Conditions) > 0 })
	tool.expect("a policy whose expression does not compile", bad, gitops.Failed)
	endpoint = await(t, stage, endpoint, "looked at", func(p *v1alpha1.CapabilityProvider) bool { return len(p.Status.Conditions) > 0 })
	tool.expect("a provider with an endpoint that is not allowed", endpoint, gitops.Failed)
	missing = await(t, stage, missing, "looked at", func(c *v1alpha1.Capability) bool { return len(c.Status.Conditions) > 0 })
	tool.expect("a capability whose provider is not there", missing, gitops.Underway)
	ready := await(t, stage, tool.capabilityObject(), "Ready", func(c *v1alpha1.Capability) bool {
		return condition(c.Status.Conditions, v1alpha1.ConditionReady).Status == metav1.ConditionTrue
	})
	tool.expect("a capability that can be used", ready, gitops.Done)
	tool.expectOfARequest()

	if err := o.stop(); err != nil {
		t.Fatal(err)
	}
	good.Spec.Environments = append(good.Spec.Environments, "another")
	tool.must(stage.admin.Update(t.Context(), good))
	tool.expect("a policy that changed since it was looked at", tool.stored(good), gitops.Underway)
	bad.Spec.When[0].Expression = "request.ttlSeconds < 900"
	tool.must(stage.admin.Update(t.Context(), bad))
	tool.expect("a policy that was mended and not looked at again", tool.stored(bad), gitops.Underway)

	stage.ownOperator(t)
	bad = await(t, stage, bad, "looked at again", func(p *v1alpha1.CapabilityPolicy) bool { return p.Status.ObservedGeneration == p.Generation })
	tool.expect("a policy that was mended", bad, gitops.Done)
}

func (t *tools) capabilityObject() *v1alpha1.Capability {
	return &v1alpha1.Capability{ObjectMeta: metav1.ObjectMeta{Name: capability}}
}

// expectOfARequest follows one request to its good end, and others to bad ones.
func (t *tools) expectOfARequest() {
	t.Helper()
	t.ask()
	waiting := t.awaitDecision(v1alpha1.ReasonAwaitingApproval)
	t.expect("a request that waits for an approval", waiting, gitops.Held)
	t.annotate(t.w.alice, t.requestObject(), v1alpha1.AnnotationApprove, waiting.Status.Review.Digest)
	t.expect("a grant whose Job has the credential", t.awaitDelivered(), gitops.Done)
	t.expect("a request that is granted", t.stored(t.requestObject()), gitops.Done)
	t.awaitRunning()
	t.finish(corev1.PodSucceeded)
	t.expect("a grant whose Job did its work", t.awaitEnd(v1alpha1.OutcomeCompleted, v1alpha1.ReasonJobCompleted), gitops.Done)
	t.expect("its request", t.awaitRequestEnd(v1alpha1.ReasonGrantEnded, "Completed"), gitops.Done)

	refused := &tools{alone(t.T, "gitops-refused", t.operator), t.checks}
	refused.ask()
	t.expect("a request that was refused", refused.awaitRequestEnd(v1alpha1.ReasonRefused, ""), gitops.Failed)

	revoked := &tools{alone(t.T, "gitops-revoked", t.operator), t.checks}
	revoked.deliverWithoutApproval()
	revoked.annotate(t.w.alice, revoked.grantObject(), v1alpha1.AnnotationRevoke, "the build leaked")
	t.expect("a grant that was revoked", revoked.awaitEnd(v1alpha1.OutcomeRevoked, v1alpha1.ReasonRevokedByAnnotation), gitops.Failed)
	t.expect("its request", revoked.awaitRequestEnd(v1alpha1.ReasonGrantEnded, "revoked by alice"), gitops.Failed)
}
