// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace/noop"
	authorizationv1 "k8s.io/api/authorization/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/controller/observe"
	"github.com/valetkey/valetkey/internal/guard"
	"github.com/valetkey/valetkey/internal/live"
	"github.com/valetkey/valetkey/internal/policy"
	"github.com/valetkey/valetkey/internal/provider"
	providerfake "github.com/valetkey/valetkey/internal/provider/fake"
	"github.com/valetkey/valetkey/internal/telemetry"
)

const (
	namespace = "agents"
	bot       = "system:serviceaccount:agents:web-app-bot"
	image     = "registry.example.com/publisher@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
)

// env is a grant controller with an API server, a back end and a clock that are all in memory. Tests play the job-controller and the node.
type env struct {
	*testing.T
	client  client.Client
	clock   *clocktesting.FakeClock
	backend *providerfake.Provider
	guard   *fakeGuard
	audit   *fakeAudit
	funcs   interceptor.Funcs
	// statusRefused, if set, is what the API server answers to each write of a status.
	statusRefused error
	grants        *Controller
}

// fakeGuard says what the admission rules are.
type fakeGuard struct{ status guard.Status }

func (g *fakeGuard) Check(context.Context) (guard.Status, error) { return g.status, nil }
func (g *fakeGuard) Probe(context.Context) (string, error)       { return "", nil }

// fakeAudit remembers records.
type fakeAudit struct {
	mu      sync.Mutex
	records []audit.Record
	// before, if set, is asked before each record.
	before func(audit.Event) error
}

func (a *fakeAudit) Append(_ context.Context, r audit.Record) (v1alpha1.AuditAnchor, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.before != nil {
		if err := a.before(r.Event); err != nil {
			return v1alpha1.AuditAnchor{}, err
		}
	}
	a.records = append(a.records, r)
	return v1alpha1.AuditAnchor{Writer: "w", Seq: int64(len(a.records))}, nil
}

// events are the kinds of the records, in their order.
func (a *fakeAudit) events() []audit.Event {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []audit.Event
	for _, r := range a.records {
		all = append(all, r.Event)
	}
	return all
}

// newEnv has a catalogue, a request and its held Job, and the grant that the request controller made. Edits change the Job before it is
// reviewed.
func newEnv(t *testing.T, edits ...func(*batchv1.Job)) *env {
	t.Helper()
	return newEnvWith(t, nil, edits...)
}

// newEnvWith is newEnv in a namespace that has ConfigMaps.
func newEnvWith(t *testing.T, inputs []*corev1.ConfigMap, edits ...func(*batchv1.Job)) *env {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	e := &env{T: t, clock: clocktesting.NewFakeClock(time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)), guard: &fakeGuard{}, audit: &fakeAudit{}}
	e.backend = providerfake.New(e.clock, 15*time.Minute, v1alpha1.RevocationImmediate)
	e.guard.status.Since = e.clock.Now().Add(-time.Hour)
	stored := fake.NewClientBuilder().WithScheme(scheme).WithIndex(&corev1.Pod{}, PodRequestField, PodRequest).WithStatusSubresource(&v1alpha1.CapabilityRequest{}, &v1alpha1.CapabilityGrant{}, &batchv1.Job{}, &corev1.Pod{}).Build()
	e.client = interceptor.NewClient(stored, interceptor.Funcs{Create: e.create, Patch: e.patch, Delete: e.delete, SubResourceUpdate: e.updateStatus})
	e.catalogue()
	for _, input := range inputs {
		e.must(e.client.Create(t.Context(), input))
	}
	e.grants = e.controller()
	e.ask(edits...)
	return e
}

// create answers access reviews, as an API server that lets nobody do anything, and whatever a test has instead.
func (e *env) create(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
	switch o.(type) {
	case *authorizationv1.SubjectAccessReview, *authorizationv1.SelfSubjectRulesReview:
		return nil
	}
	if e.funcs.Create != nil {
		return e.funcs.Create(ctx, c, o, opts...)
	}
	return c.Create(ctx, o, opts...)
}

func (e *env) updateStatus(ctx context.Context, c client.Client, sub string, o client.Object, opts ...client.SubResourceUpdateOption) error {
	if e.statusRefused != nil {
		return e.statusRefused
	}
	return c.SubResource(sub).Update(ctx, o, opts...)
}

func (e *env) patch(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
	if e.funcs.Patch != nil {
		return e.funcs.Patch(ctx, c, o, p, opts...)
	}
	return c.Patch(ctx, o, p, opts...)
}

func (e *env) delete(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
	if e.funcs.Delete != nil {
		return e.funcs.Delete(ctx, c, o, opts...)
	}
	return c.Delete(ctx, o, opts...)
}

// controller is another process's, which knows nothing of what another did.
func (e *env) controller() *Controller {
	e.Helper()
	compiler, err := policy.NewCompiler()
	e.must(err)
	metrics, err := telemetry.New(prometheus.NewRegistry())
	e.must(err)
	reader := live.New(e.client)
	observer := &observe.Observer{Cache: e.client, Live: reader, Access: e.client, Providers: provider.NewSet(e.backend),
		Policies: observe.NewPolicies(e.client, compiler), Guard: e.guard, Clock: e.clock, Answers: observe.NewAnswers(e.clock)}
	return &Controller{Client: reader.Client(e.client), Live: reader, Observer: observer, Audit: e.audit, Events: events.NewFakeRecorder(1000),
		Metrics: metrics, Traces: telemetry.NewTraces(noop.NewTracerProvider()), Clock: e.clock, Answered: make(chan event.GenericEvent)}
}

func (e *env) must(err error) {
	e.Helper()
	if err != nil {
		e.Fatal(err)
	}
}

func (e *env) catalogue() {
	e.Helper()
	ready := []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, ObservedGeneration: 1}}
	prov := &v1alpha1.CapabilityProvider{ObjectMeta: metav1.ObjectMeta{Name: "aws-preview", Generation: 1}, Spec: v1alpha1.CapabilityProviderSpec{AWS: &v1alpha1.AWSProvider{}}}
	capability := &v1alpha1.Capability{ObjectMeta: metav1.ObjectMeta{Name: "publish", Generation: 1}, Spec: v1alpha1.CapabilitySpec{
		ProviderRef: v1alpha1.ProviderReference{Name: prov.Name}, DefaultTTLSeconds: 600, MaxTTLSeconds: 3600,
		AWS: &v1alpha1.AWSCapability{RoleARN: "arn:aws:iam::123456789012:role/preview", Scope: []v1alpha1.AWSStatement{{Actions: []string{"s3:PutObject"}, Resources: []string{"arn:aws:s3:::previews/${request.repo}/*"}}}}}}
	prov.Status.Conditions, capability.Status.Conditions = ready, ready
	allow := &v1alpha1.CapabilityPolicy{ObjectMeta: metav1.ObjectMeta{Name: "previews", UID: "policy"}, Spec: v1alpha1.CapabilityPolicySpec{Effect: v1alpha1.EffectAllow,
		Capabilities: []string{capability.Name}, Repos: []string{"web-app"}, Environments: []string{"preview"},
		Requesters: []v1alpha1.Subject{{Kind: v1alpha1.SubjectUser, Name: bot}}}}
	ns := &corev1.Namespace{Spec: corev1.NamespaceSpec{Finalizers: []corev1.FinalizerName{corev1.FinalizerKubernetes}}, ObjectMeta: metav1.ObjectMeta{Name: namespace, Labels: map[string]string{v1alpha1.LabelEnrolled: "true", "pod-security.kubernetes.io/enforce": "baseline"}}}
	for _, o := range []client.Object{prov, capability, allow, ns} {
		e.must(e.client.Create(e.Context(), o))
	}
}

// key is that of the request, and of its grant.
func key() client.ObjectKey { return client.ObjectKey{Namespace: namespace, Name: "pr-184"} }

// ask makes a request, its Job, the review of both, and the grant.
func (e *env) ask(edits ...func(*batchv1.Job)) {
	e.Helper()
	created := metav1.NewTime(e.clock.Now())
	r := &v1alpha1.CapabilityRequest{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: key().Name, UID: "request", CreationTimestamp: created}}
	r.Spec = v1alpha1.CapabilityRequestSpec{Capability: "publish", TaskID: "t", Actor: "a", Repo: "web-app", Environment: "preview", Container: "publish",
		TTLSeconds: ptr.To[int32](600), Requester: v1alpha1.Identity{Username: bot}}
	labels := map[string]string{v1alpha1.LabelRequest: r.Name}
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: policy.JobName(r), UID: "job", Generation: 1, Labels: labels, CreationTimestamp: created}}
	job.Spec.BackoffLimit, job.Spec.Template.Labels = ptr.To[int32](0), labels
	job.Spec.Template.Spec = corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, AutomountServiceAccountToken: ptr.To(false),
		Containers: []corev1.Container{{Name: "publish", Image: image, Command: []string{"/publish"}}}}
	for _, edit := range edits {
		edit(job)
	}
	job = policy.AsHeld(job, bot)
	e.must(e.client.Create(e.Context(), r))
	e.must(e.client.Create(e.Context(), job))
	found, err := e.grants.Observer.Observe(e.Context(), r)
	e.must(err)
	if found.Review == nil {
		e.Fatalf("there is no review: %s", found.Facts.CapabilityMessage)
	}
	r.Status.Review, r.Status.GrantName = found.Review, r.Name
	e.must(e.client.Status().Update(e.Context(), r))
	g := &v1alpha1.CapabilityGrant{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: r.Name, UID: "grant", CreationTimestamp: created, Finalizers: []string{v1alpha1.FinalizerRevoke}}}
	g.Spec = v1alpha1.CapabilityGrantSpec{LeaseID: "9f8c6b6a-9c2a-4e0b-8a4d-2d7db8f80731", RequestRef: v1alpha1.ObjectReference{Name: r.Name, UID: string(r.UID)},
		Requester: bot, Repo: r.Spec.Repo, Environment: r.Spec.Environment, Capability: r.Spec.Capability, Provider: v1alpha1.GrantProvider{Name: "aws-preview", Type: e.backend.Type()},
		Scope: found.Scope.Actions, TTLSeconds: found.Review.TTLSeconds, Job: v1alpha1.GrantJob{Name: job.Name, UID: string(job.UID), Container: "publish"},
		Approval: v1alpha1.GrantApproval{Policy: "previews", Digest: found.Review.Digest}}
	e.must(e.client.Create(e.Context(), g))
}

// reconcile goes on until the controller waits. It hears what the back end answers.
func (e *env) reconcile() ctrl.Result {
	e.Helper()
	for range 50 {
		result, err := e.grants.Reconcile(e.Context(), ctrl.Request{NamespacedName: key()})
		e.must(err)
		g := &v1alpha1.CapabilityGrant{}
		if e.client.Get(e.Context(), key(), g) == nil && e.grants.recall(g).Minting {
			<-e.grants.Answered
			continue
		}
		if result.RequeueAfter != time.Millisecond {
			return result
		}
	}
	e.Fatal("it does not come to rest")
	return ctrl.Result{}
}

// grant as it is stored.
func (e *env) grant() *v1alpha1.CapabilityGrant {
	e.Helper()
	g := &v1alpha1.CapabilityGrant{}
	e.must(e.client.Get(e.Context(), key(), g))
	return g
}

// job as it is stored.
func (e *env) job() *batchv1.Job {
	e.Helper()
	job := &batchv1.Job{}
	e.must(e.client.Get(e.Context(), client.ObjectKey{Namespace: namespace, Name: "valetkey-pr-184"}, job))
	return job
}

// delivered goes on until the Job has the credential, and makes its Pod, as the job-controller and the admission rules do, on a node that
// says that it runs.
func (e *env) delivered() *corev1.Pod {
	e.Helper()
	e.reconcile()
	job := e.job()
	if suspended(job) {
		e.Fatalf("the Job was not started: %+v", e.grant().Status.Conditions)
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: job.Name + "-x", UID: "pod", Labels: job.Spec.Template.Labels,
		Annotations: job.Spec.Template.Annotations, Finalizers: []string{batchv1.JobTrackingFinalizer, v1alpha1.FinalizerSeen},
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "batch/v1", Kind: "Job", Name: job.Name, UID: job.UID, Controller: ptr.To(true)}}},
		Spec: job.Spec.Template.Spec}
	pod.Spec.NodeName = "node1"
	e.must(e.client.Create(e.Context(), pod))
	e.nodeSays(pod, corev1.PodRunning, corev1.ContainerState{Running: &corev1.ContainerStateRunning{}})
	e.reconcile()
	return pod
}

// nodeSays writes what became of the Pod's container.
func (e *env) nodeSays(pod *corev1.Pod, phase corev1.PodPhase, state corev1.ContainerState) {
	e.Helper()
	e.must(e.client.Get(e.Context(), client.ObjectKeyFromObject(pod), pod))
	pod.Status.Phase = phase
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "publish", State: state}}
	e.must(e.client.Status().Update(e.Context(), pod))
	e.grants.Saw(pod)
}

// jobControllerSays writes a condition of the Job.
func (e *env) jobControllerSays(kind batchv1.JobConditionType) {
	e.Helper()
	job := e.job()
	job.Status.Conditions = append(job.Status.Conditions, batchv1.JobCondition{Type: kind, Status: corev1.ConditionTrue})
	e.must(e.client.Status().Update(e.Context(), job))
}

// annotate changes the grant as a person does.
func (e *env) annotate(name, value string) {
	e.Helper()
	g := e.grant()
	g.Annotations = map[string]string{name: value}
	e.must(e.client.Update(e.Context(), g))
}

// remove takes an object away, finalizers and all.
func (e *env) remove(o client.Object) {
	e.Helper()
	e.must(e.client.Get(e.Context(), client.ObjectKeyFromObject(o), o))
	o.SetFinalizers(nil)
	e.must(e.client.Update(e.Context(), o))
	e.must(client.IgnoreNotFound(e.client.Delete(e.Context(), o)))
}
