// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	testingclock "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

const (
	image  = "registry.example.com/publisher@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
	digest = "4355a46b19d348dc2f57c046f8ef63d4538ebb936000f3c9ee954a27460dd865"
	// planted stands wherever a credential could be found.
	planted = "canary-credential"
	// asking is the name that is made up for what plea asks.
	asking = "publish-preview-build-pr-184"
)

func noon() time.Time { return time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC) }

// world is an agent's client, the server that it talks to, and a cluster in which the test plays everybody else.
type world struct {
	*testing.T
	ctx     context.Context
	api     *apiServer
	clock   *testingclock.FakeClock
	session *sdk.ClientSession
	// progress has the messages of whatever waits.
	progress chan string
	said     *transcript
}

// transcript has every answer.
type transcript struct {
	mu      sync.Mutex
	answers []string
}

// in is the same world, for a part of a test.
func (w *world) in(t *testing.T) *world {
	part := *w
	part.T = t
	return &part
}

// newWorld has one capability, which a release manager has to approve for previews, and nobody for rehearsals.
func newWorld(t *testing.T, more ...client.Object) *world {
	t.Helper()
	ctx, giveUp := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(giveUp)
	w := &world{T: t, ctx: ctx, clock: testingclock.NewFakeClock(noon()), progress: make(chan string, 100), said: &transcript{}}
	w.api = newAPIServer(t, w.clock, append([]client.Object{newCapability(), previews(), rehearsals(), enrolled("baseline")}, more...)...)
	server, err := New(w.api.agent(t), agents, w.clock, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := sdk.NewInMemoryTransports()
	serving, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- server.Serve(serving, ours) }()
	c := sdk.NewClient(&sdk.Implementation{Name: "an agent/2", Version: "1"}, &sdk.ClientOptions{
		ProgressNotificationHandler: func(_ context.Context, r *sdk.ProgressNotificationClientRequest) { w.progress <- r.Params.Message }})
	if w.session, err = c.Connect(ctx, theirs, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = w.session.Close()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the server ended with: %v", err)
		}
		w.expectNoCredential()
	})
	return w
}

// expectNoCredential: whatever the test did, no call went where credentials are, and no answer holds one.
func (w *world) expectNoCredential() {
	w.Helper()
	for _, call := range w.api.seen() {
		for _, never := range []string{"/secrets", "/pods", "/log", "/configmaps", "/token", "/exec"} {
			if strings.Contains(call, never) {
				w.Errorf("it called %s", call)
			}
		}
	}
	w.said.mu.Lock()
	defer w.said.mu.Unlock()
	for _, answer := range w.said.answers {
		if strings.Contains(answer, planted) || strings.Contains(answer, token) {
			w.Errorf("a credential stands in %s", answer)
		}
	}
}

// reply is an answer, read.
type reply struct {
	text   string
	failed bool
	told
	offered offered
	listed  listed
}

// call uses a tool, and asks for its progress.
func (w *world) call(tool string, arguments any) reply {
	w.Helper()
	params := &sdk.CallToolParams{Name: tool, Arguments: arguments}
	params.SetProgressToken("waiting")
	result, err := w.session.CallTool(w.ctx, params)
	if err != nil {
		w.Errorf("%s: %v", tool, err)
		return reply{}
	}
	if len(result.Content) != 1 || result.StructuredContent != nil {
		w.Errorf("%s answers with %d contents, and %v", tool, len(result.Content), result.StructuredContent)
		return reply{}
	}
	r := reply{text: result.Content[0].(*sdk.TextContent).Text, failed: result.IsError}
	for _, into := range []any{&r.told, &r.offered, &r.listed} {
		if err := json.Unmarshal([]byte(r.text), into); err != nil {
			w.Errorf("%s answers what is no JSON: %v\n%s", tool, err, r.text)
		}
	}
	w.said.mu.Lock()
	defer w.said.mu.Unlock()
	w.said.answers = append(w.said.answers, r.text)
	return r
}

type arguments map[string]any

// plea is an ask that fits the first policy.
func plea(edits ...arguments) arguments {
	all := arguments{"capability": "publish-preview-build", "repo": "web-app", "environment": "preview", "task": "pr-184",
		"justification": "Publish the preview build for PR-184", "ttl_seconds": 900, "args": []string{"publish", "index.html"}}
	for _, edit := range edits {
		for k, v := range edit {
			if all[k] = v; v == nil {
				delete(all, k)
			}
		}
	}
	return all
}

// expect compares what an answer says of where a request stands, and wants words in its message.
func (w *world) expect(r reply, want state, words ...string) {
	w.Helper()
	if r.State != want {
		w.Errorf("the state is %s, not %s: %s", r.State, want, r.text)
	}
	for _, word := range words {
		if !strings.Contains(r.text, word) {
			w.Errorf("it does not say %q: %s", word, r.text)
		}
	}
	if r.Next == "" {
		w.Errorf("it does not say what comes next: %s", r.text)
	}
}

// expectRefusal: what was asked, what refused it, and what comes next.
func (w *world) expectRefusal(r reply, rule string, words ...string) {
	w.Helper()
	w.expect(r, stateRefused, words...)
	if !r.failed || r.Rule != rule || r.Asked == nil || r.Asked.Capability == "" || r.Asked.Repo == "" || r.Asked.Environment == "" || r.Asked.Task == "" {
		w.Errorf("the refusal does not say all: %s", r.text)
	}
}

// expectChanges: these calls were made, and no others that change something.
func (w *world) expectChanges(want ...string) {
	w.Helper()
	var got []string
	for _, call := range w.api.seen() {
		if (strings.HasPrefix(call, "POST") || strings.HasPrefix(call, "DELETE")) && !strings.Contains(call, "/selfsubject") {
			verb, path, _ := strings.Cut(call, " ")
			got = append(got, verb+" "+strings.TrimPrefix(path[strings.Index(path, agents)+len(agents):], "/"))
		}
	}
	if strings.Join(got, ", ") != strings.Join(want, ", ") {
		w.Errorf("it changed %q; want %q", got, want)
	}
}

// operator plays the operator: it changes how a request stands.
func (w *world) operator(name string, edit func(*v1alpha1.CapabilityRequest)) {
	w.Helper()
	r := &v1alpha1.CapabilityRequest{}
	if err := w.api.Get(w.ctx, client.ObjectKey{Namespace: agents, Name: name}, r); err != nil {
		w.Fatal(err)
	}
	edit(r)
	if err := w.api.Status().Update(w.ctx, r); err != nil {
		w.Fatal(err)
	}
}

// decides sets the condition Allowed.
func decides(reason, message string) func(*v1alpha1.CapabilityRequest) {
	return func(r *v1alpha1.CapabilityRequest) {
		meta.SetStatusCondition(&r.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionAllowed, Status: metav1.ConditionFalse, Reason: reason, Message: message})
	}
}

// awaitsApproval is what the operator writes for whoever approves.
func awaitsApproval(r *v1alpha1.CapabilityRequest) {
	r.Status.Review = &v1alpha1.Review{Digest: digest, Scope: []string{}}
	decides(v1alpha1.ReasonAwaitingApproval, "policy preview-builds waits for 1 approval by 2026-03-04T13:00:00Z, from group release-managers; look at status.review, then: kubectl annotate …")(r)
}

// refuses ends a request.
func refuses(reason, message string) func(*v1alpha1.CapabilityRequest) {
	return func(r *v1alpha1.CapabilityRequest) {
		decides(reason, message)(r)
		ends(v1alpha1.ReasonRefused, message)(r)
	}
}

func ends(reason, message string) func(*v1alpha1.CapabilityRequest) {
	return func(r *v1alpha1.CapabilityRequest) {
		r.Status.EndedAt = ptr.To(metav1.NewTime(noon().Add(time.Minute)))
		meta.SetStatusCondition(&r.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionEnded, Status: metav1.ConditionTrue, Reason: reason, Message: message})
	}
}

// grants makes the grant, delivered, with a canary wherever it leads to its credential.
func (w *world) grants(name string) {
	w.Helper()
	r := &v1alpha1.CapabilityRequest{}
	if err := w.api.Get(w.ctx, client.ObjectKey{Namespace: agents, Name: name}, r); err != nil {
		w.Fatal(err)
	}
	g := &v1alpha1.CapabilityGrant{ObjectMeta: metav1.ObjectMeta{Namespace: agents, Name: name},
		Spec: v1alpha1.CapabilityGrantSpec{RequestRef: v1alpha1.ObjectReference{Name: name, UID: string(r.UID)}, LeaseID: planted}}
	if err := w.api.Create(w.ctx, g); err != nil {
		w.Fatal(err)
	}
	g.Status.SecretName, g.Status.RevocationHandle = planted, planted
	g.Status.Credential = &v1alpha1.CredentialReference{ID: planted, Principal: planted}
	g.Status.ExpiresAt, g.Status.CredentialExpiresAt = ptr.To(metav1.NewTime(noon().Add(15*time.Minute))), ptr.To(metav1.NewTime(noon().Add(20*time.Minute)))
	meta.SetStatusCondition(&g.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionDelivered, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonDelivered})
	meta.SetStatusCondition(&g.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionRunning, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonRunning})
	if err := w.api.Status().Update(w.ctx, g); err != nil {
		w.Fatal(err)
	}
}

// settles ends the grant.
func (w *world) settles(name string, outcome v1alpha1.GrantOutcome) {
	w.Helper()
	g := &v1alpha1.CapabilityGrant{}
	if err := w.api.Get(w.ctx, client.ObjectKey{Namespace: agents, Name: name}, g); err != nil {
		w.Fatal(err)
	}
	g.Status.Outcome, g.Status.EndedAt = outcome, ptr.To(metav1.NewTime(noon().Add(time.Minute)))
	if err := w.api.Status().Update(w.ctx, g); err != nil {
		w.Fatal(err)
	}
}

// job is the one that was made for a request.
func (w *world) job(name string) *batchv1.Job {
	w.Helper()
	job := &batchv1.Job{}
	if err := w.api.Get(w.ctx, client.ObjectKey{Namespace: agents, Name: "valetkey-" + name}, job); err != nil {
		w.Fatal(err)
	}
	return job
}

func newCapability(edits ...func(*v1alpha1.Capability)) *v1alpha1.Capability {
	c := &v1alpha1.Capability{ObjectMeta: metav1.ObjectMeta{Name: "publish-preview-build"}, Spec: v1alpha1.CapabilitySpec{
		Description: "Upload the preview build of one repository.", ProviderRef: v1alpha1.ProviderReference{Name: "aws-preview"},
		DefaultTTLSeconds: 900, MaxTTLSeconds: 3600,
		Runner: []v1alpha1.Runner{{Image: image, Command: []string{"/publish-preview"}, AnyArgs: true}},
	}}
	c.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonReady}}
	for _, edit := range edits {
		edit(c)
	}
	return c
}

func allow(name, environment string) *v1alpha1.CapabilityPolicy {
	return &v1alpha1.CapabilityPolicy{ObjectMeta: metav1.ObjectMeta{Name: name, Generation: 3}, Spec: v1alpha1.CapabilityPolicySpec{
		Effect: v1alpha1.EffectAllow, Capabilities: []string{"publish-preview-build"}, Repos: []string{"web-app"}, Environments: []string{environment},
		Requesters: []v1alpha1.Subject{{Kind: v1alpha1.SubjectServiceAccount, Namespace: agents, Name: "web-app-bot"}}, MaxTTLSeconds: ptr.To[int32](900)}}
}

func previews() *v1alpha1.CapabilityPolicy {
	p := allow("preview-builds", "preview")
	p.Spec.Approval = &v1alpha1.Approval{Required: 1, TimeoutSeconds: 3600, Approvers: []v1alpha1.Subject{{Kind: v1alpha1.SubjectGroup, Name: "release-managers"}}}
	p.Spec.When = []v1alpha1.Expression{{Expression: "request.taskID.startsWith('pr-')", Message: "a preview is for a pull request"}}
	return p
}

func rehearsals() *v1alpha1.CapabilityPolicy { return allow("rehearsals", "rehearsal") }

func enrolled(level string) *corev1.Namespace {
	return &corev1.Namespace{Spec: corev1.NamespaceSpec{Finalizers: []corev1.FinalizerName{corev1.FinalizerKubernetes}},
		ObjectMeta: metav1.ObjectMeta{Name: agents,
			Labels: map[string]string{v1alpha1.LabelEnrolled: "true", "pod-security.kubernetes.io/enforce": level}}}
}

// awaitProgress returns when whatever waits has said something with these words.
func (w *world) awaitProgress(words string) {
	w.Helper()
	for {
		select {
		case message := <-w.progress:
			if strings.Contains(message, words) {
				return
			}
		case <-w.ctx.Done():
			w.Fatalf("no progress says %q", words)
		}
	}
}

// while calls a tool that waits, does something meanwhile, and returns the answer.
func (w *world) while(tool string, arguments any, meanwhile func()) reply {
	w.Helper()
	answered, done := make(chan reply, 1), make(chan struct{})
	go func() {
		defer close(done)
		answered <- w.call(tool, arguments)
	}()
	w.Cleanup(func() { <-done })
	meanwhile()
	return <-answered
}

// asks uses ask, and has the operator say something first.
func (w *world) asks(p arguments, first func(*v1alpha1.CapabilityRequest)) reply {
	w.Helper()
	return w.while("ask", p, func() {
		w.awaitProgress("asked")
		w.operator(asking, first)
	})
}

// edit changes an object that is there.
func edit[T client.Object](w *world, object T, change func(T)) {
	w.Helper()
	if err := w.api.Get(w.ctx, client.ObjectKeyFromObject(object), object); err != nil {
		w.Fatal(err)
	}
	change(object)
	if err := w.api.Update(w.ctx, object); err != nil {
		w.Fatal(err)
	}
}
