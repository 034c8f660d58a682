// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package integration

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/audit"
)

// journey is one request, its Job and what becomes of them. Its policy, made by allow, is for the environment of its own name, so
// that journeys do not meet.
type journey struct {
	*testing.T
	w         *world
	name      string
	namespace string
	agent     client.Client
	operator  *operator
	// asks is the capability that the request asks for.
	asks string
}

// begin begins a journey beside others, with the shared operator.
func begin(t *testing.T, name string) *journey {
	t.Helper()
	t.Parallel()
	o := stage.sharedOperator(t)
	j := alone(t, name, o)
	t.Cleanup(func() {
		if lines := o.linesAbout(name); t.Failed() && lines != "" {
			t.Logf("the operator said:\n%s", lines)
		}
	})
	return j
}

// alone begins a journey of a test that runs its own operator.
func alone(t *testing.T, name string, o *operator) *journey {
	t.Helper()
	j := &journey{T: t, w: stage, name: name, namespace: agents, operator: o, asks: capability}
	j.agent = j.account("web-app-bot")
	return j
}

// account is a ServiceAccount of the journey's namespace, with a real token.
func (j *journey) account(name string) client.Client {
	j.Helper()
	c, err := j.w.account(j.Context(), j.namespace, name)
	j.must(err)
	return c
}

// as is a person whom an authenticator knows by more than a name.
func (j *journey) as(name string, extra map[string][]string, groups ...string) client.Client {
	j.Helper()
	config := rest.CopyConfig(j.w.adminConfig)
	config.Impersonate = rest.ImpersonationConfig{UserName: name, Groups: append(groups, "system:authenticated"), Extra: extra}
	c, err := client.New(config, client.Options{Scheme: j.w.scheme})
	j.must(err)
	return c
}

func (j *journey) must(err error) {
	j.Helper()
	if err != nil {
		j.Fatal(err)
	}
}

// allow stores the journey's policy, which asks for no approval unless an edit says so, and waits until the operator knows it.
func (j *journey) allow(edits ...func(*v1alpha1.CapabilityPolicySpec)) *v1alpha1.CapabilityPolicy {
	j.Helper()
	p := j.policy(edits...)
	j.store(p)
	return await(j.T, j.w, p, "known to the operator", func(p *v1alpha1.CapabilityPolicy) bool {
		return condition(p.Status.Conditions, v1alpha1.ConditionReady).Status == metav1.ConditionTrue
	})
}

// policy is the journey's, which asks for no approval unless an edit says so.
func (j *journey) policy(edits ...func(*v1alpha1.CapabilityPolicySpec)) *v1alpha1.CapabilityPolicy {
	p := &v1alpha1.CapabilityPolicy{ObjectMeta: metav1.ObjectMeta{Name: j.name}, Spec: v1alpha1.CapabilityPolicySpec{
		Effect: v1alpha1.EffectAllow, Capabilities: []string{"*"}, Repos: []string{"web-app"}, Environments: []string{j.name},
		Requesters: []v1alpha1.Subject{{Kind: v1alpha1.SubjectServiceAccount, Namespace: j.namespace, Name: "web-app-bot"}},
	}}
	for _, edit := range edits {
		edit(&p.Spec)
	}
	return p
}

// byAlice asks for one approval of a release manager.
func byAlice(p *v1alpha1.CapabilityPolicySpec) {
	p.Approval = &v1alpha1.Approval{Required: 1, TimeoutSeconds: 3600, Approvers: []v1alpha1.Subject{{Kind: v1alpha1.SubjectGroup, Name: "release-managers"}}}
}

// store creates an object as the administrator, and removes it when the test ends.
func (j *journey) store(object client.Object) {
	j.Helper()
	j.must(j.w.admin.Create(j.Context(), object))
	j.Cleanup(func() {
		if err := client.IgnoreNotFound(j.w.admin.Delete(context.Background(), object, client.PropagationPolicy(metav1.DeletePropagationBackground))); err != nil {
			j.Error(err)
		}
	})
}

// read decodes one of the samples.
func (j *journey) read(file string, into any) {
	j.Helper()
	text, err := os.ReadFile(filepath.Join(j.w.root, "config", "samples", file))
	j.must(err)
	j.must(yaml.UnmarshalStrict(text, into))
}

// sampleRequest is the sample's, under the journey's name.
func (j *journey) sampleRequest(edits ...func(*v1alpha1.CapabilityRequest)) *v1alpha1.CapabilityRequest {
	j.Helper()
	r := &v1alpha1.CapabilityRequest{}
	j.read("request/request.yaml", r)
	r.Namespace, r.Name, r.Spec.Environment = j.namespace, j.name, j.name
	r.Spec.Capability = j.asks
	for _, edit := range edits {
		edit(r)
	}
	return r
}

// sampleJob is the sample's, for the journey's request.
func (j *journey) sampleJob(edits ...func(*batchv1.Job)) *batchv1.Job {
	j.Helper()
	job := &batchv1.Job{}
	j.read("request/job.yaml", job)
	labels := map[string]string{v1alpha1.LabelRequest: j.name}
	job.Namespace, job.Name, job.Labels, job.Spec.Template.Labels = j.namespace, v1alpha1.NamePrefix+j.name, labels, labels
	for _, edit := range edits {
		edit(job)
	}
	return job
}

// request creates the request, as the agent.
func (j *journey) request(edits ...func(*v1alpha1.CapabilityRequest)) {
	j.Helper()
	j.must(j.agent.Create(j.Context(), j.sampleRequest(edits...)))
}

// job creates the Job, as the agent.
func (j *journey) job(edits ...func(*batchv1.Job)) {
	j.Helper()
	j.must(j.agent.Create(j.Context(), j.sampleJob(edits...)))
}

// ask creates both.
func (j *journey) ask() {
	j.Helper()
	j.request()
	j.job()
}

// meta is what every object of the journey is found by.
func (j *journey) meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: j.namespace, Name: name}
}

func (j *journey) grantObject() *v1alpha1.CapabilityGrant {
	return &v1alpha1.CapabilityGrant{ObjectMeta: j.meta(j.name)}
}

func (j *journey) requestObject() *v1alpha1.CapabilityRequest {
	return &v1alpha1.CapabilityRequest{ObjectMeta: j.meta(j.name)}
}

// awaitDecision returns the request when its decision has the reason.
func (j *journey) awaitDecision(reason string) *v1alpha1.CapabilityRequest {
	j.Helper()
	return await(j.T, j.w, j.requestObject(), reason, func(r *v1alpha1.CapabilityRequest) bool {
		return condition(r.Status.Conditions, v1alpha1.ConditionAllowed).Reason == reason
	})
}

// awaitDelivered returns the grant when the Job was started.
func (j *journey) awaitDelivered() *v1alpha1.CapabilityGrant {
	j.Helper()
	return await(j.T, j.w, j.grantObject(), "delivered", func(g *v1alpha1.CapabilityGrant) bool {
		return condition(g.Status.Conditions, v1alpha1.ConditionDelivered).Status == metav1.ConditionTrue
	})
}

// deliverWithoutApproval is the way to a running Job.
func (j *journey) deliverWithoutApproval() *v1alpha1.CapabilityGrant {
	j.Helper()
	j.allow()
	j.ask()
	return j.awaitDelivered()
}

// enrol makes a namespace of the journey's own, with an agent in it.
func (j *journey) enrol(namespace string) {
	j.Helper()
	j.namespace = namespace
	j.store(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace,
		Labels: map[string]string{v1alpha1.LabelEnrolled: "true", "pod-security.kubernetes.io/enforce": "baseline"}}})
	for _, name := range []string{"web-app-bot", "runner"} {
		j.must(j.w.admin.Create(j.Context(), &corev1.ServiceAccount{ObjectMeta: j.meta(name)}))
	}
	j.must(j.w.admin.Create(j.Context(), &rbacv1.RoleBinding{ObjectMeta: j.meta("web-app-bot"),
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "valetkey-requester"},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: "web-app-bot"}}}))
	j.agent = j.account("web-app-bot")
}

// awaitIssued returns the grant when its condition Issued has the reason.
func (j *journey) awaitIssued(reason string) *v1alpha1.CapabilityGrant {
	j.Helper()
	return await(j.T, j.w, j.grantObject(), reason, func(g *v1alpha1.CapabilityGrant) bool {
		return condition(g.Status.Conditions, v1alpha1.ConditionIssued).Reason == reason
	})
}

// awaitEnd returns the grant when it has ended, and expects how.
func (j *journey) awaitEnd(outcome v1alpha1.GrantOutcome, reason string) *v1alpha1.CapabilityGrant {
	j.Helper()
	g := await(j.T, j.w, j.grantObject(), "ended", func(g *v1alpha1.CapabilityGrant) bool { return g.Status.EndedAt != nil })
	c := condition(g.Status.Conditions, v1alpha1.ConditionEnded)
	if g.Status.Outcome != outcome || c.Status != metav1.ConditionTrue || c.Reason != reason {
		j.Errorf("the grant ended with %s, %s=%s: %s; want %s, %s", g.Status.Outcome, c.Reason, c.Status, c.Message, outcome, reason)
	}
	j.expectNoSecret()
	return g
}

// awaitRequestEnd returns the request when it has ended, and expects a message.
func (j *journey) awaitRequestEnd(reason, words string) *v1alpha1.CapabilityRequest {
	j.Helper()
	r := await(j.T, j.w, j.requestObject(), "ended", func(r *v1alpha1.CapabilityRequest) bool { return r.Status.EndedAt != nil })
	c := condition(r.Status.Conditions, v1alpha1.ConditionEnded)
	if c.Status != metav1.ConditionTrue || c.Reason != reason || !strings.Contains(c.Message, words) {
		j.Errorf("the request ended with %s: %s; want %s: …%s…", c.Reason, c.Message, reason, words)
	}
	return r
}

// expectRefused: the request ends without a grant, for a reason and with words that help, and its Job, if any, stays held.
func (j *journey) expectRefused(reason, words string) {
	j.Helper()
	r := j.awaitRequestEnd(v1alpha1.ReasonRefused, words)
	if got := condition(r.Status.Conditions, v1alpha1.ConditionAllowed); got.Reason != reason || got.Status != metav1.ConditionFalse {
		j.Errorf("the request was refused for %s=%s; want %s", got.Reason, got.Status, reason)
	}
	j.expectNothingIssued()
	if err := j.w.admin.Get(j.Context(), client.ObjectKeyFromObject(j.grantObject()), j.grantObject()); client.IgnoreNotFound(err) != nil || err == nil {
		j.Errorf("there is a grant: %v", err)
	}
}

// expectNothingIssued: no Secret, and the Job is held.
func (j *journey) expectNothingIssued() {
	j.Helper()
	j.expectNoSecret()
	jobs := &batchv1.JobList{}
	j.must(j.w.admin.List(j.Context(), jobs, client.InNamespace(j.namespace), client.MatchingLabels{v1alpha1.LabelRequest: j.name}))
	for _, job := range jobs.Items {
		if job.Spec.Suspend == nil || !*job.Spec.Suspend {
			j.Errorf("Job %s is not held", job.Name)
		}
	}
}

func (j *journey) expectNoSecret() {
	j.Helper()
	j.expectSecrets(0)
}

// expectSecrets counts the Secrets that hold a credential of the journey.
func (j *journey) expectSecrets(want int) {
	j.Helper()
	list := &corev1.SecretList{}
	j.must(j.w.admin.List(j.Context(), list, client.InNamespace(j.namespace), client.MatchingLabels{v1alpha1.LabelRequest: j.name}))
	if len(list.Items) != want {
		j.Errorf("there are %d Secrets; want %d", len(list.Items), want)
	}
}

// expectNoPods: whatever ran has ended, and is gone.
func (j *journey) expectNoPods() {
	j.Helper()
	source, err := j.w.source(&corev1.Pod{}, j.namespace, nil, v1alpha1.LabelRequest+"="+j.name)
	j.must(err)
	if _, err := until(j.Context(), j.w, &corev1.Pod{}, source, true, nil); err != nil {
		j.Errorf("a Pod is left: %v", err)
	}
}

// expectAudited: the log's last word is the end, with one of the outcomes (a|b), and for one of the reasons.
func (j *journey) expectAudited(outcomes string, reasons ...string) {
	j.Helper()
	records, err := j.operator.records(j.namespace, j.name)
	j.must(err)
	if len(records) == 0 {
		j.Fatal("the audit log has no record")
	}
	last := records[len(records)-1]
	if last.Event != audit.EventEnded || !slices.Contains(strings.Split(outcomes, "|"), last.Outcome) || !slices.Contains(reasons, last.Reason) {
		j.Errorf("the last record is %s, %s for %s; want %s for one of %v", last.Event, last.Outcome, last.Reason, outcomes, reasons)
	}
}

// awaitRunning returns the Pod when its containers run.
func (j *journey) awaitRunning() *corev1.Pod {
	j.Helper()
	source, err := j.w.source(&corev1.Pod{}, j.namespace, nil, v1alpha1.LabelRequest+"="+j.name)
	j.must(err)
	pod, err := until(j.Context(), j.w, &corev1.Pod{}, source, false, func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodRunning })
	if err != nil {
		j.Fatalf("no Pod of %s runs: %v", j.name, err)
	}
	return pod
}

// finish ends the running containers.
func (j *journey) finish(phase corev1.PodPhase) {
	j.Helper()
	j.must(j.w.report(j.Context(), j.awaitRunning(), phase, ""))
}

// annotate patches one annotation, as somebody.
func (j *journey) annotate(who client.Client, object client.Object, key, value string) {
	j.Helper()
	patch := []byte(`{"metadata":{"annotations":{"` + key + `":"` + value + `"}}}`)
	j.must(who.Patch(j.Context(), object, client.RawPatch(types.MergePatchType, patch)))
}
