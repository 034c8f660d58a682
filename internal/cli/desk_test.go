// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/policy"
)

const (
	agent  = "system:serviceaccount:agents:web-app-bot"
	image  = "registry.example.com/publisher@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
	digest = "4355a46b19d348dc2f57c046f8ef63d4538ebb936000f3c9ee954a27460dd865"
)

func noon() time.Time { return time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC) }

// desk is where somebody types commands, at noon.
type desk struct {
	testing.TB
	// dial makes the client of a configuration.
	dial func(*rest.Config) (client.WithWatch, error)
	in   io.Reader
	// ctx is the command's.
	ctx context.Context
}

// at is a desk at a cluster with these objects.
func at(t testing.TB, objects ...client.Object) *desk {
	t.Helper()
	return intercepted(t, interceptor.Funcs{}, objects...)
}

// intercepted is a desk at a cluster that does something else than it is asked.
func intercepted(t testing.TB, funcs interceptor.Funcs, objects ...client.Object) *desk {
	t.Helper()
	c := fake.NewClientBuilder().WithScheme(scheme(t)).WithObjects(objects...).WithInterceptorFuncs(funcs).Build()
	return &desk{TB: t, dial: func(*rest.Config) (client.WithWatch, error) { return c, nil }, in: strings.NewReader(""), ctx: t.Context()}
}

func scheme(t testing.TB) *runtime.Scheme {
	t.Helper()
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(s); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// answered is what a command said.
type answered struct {
	testing.TB
	code           int
	stdout, stderr string
}

// types runs a command in namespace agents.
func (d *desk) types(args ...string) answered {
	d.Helper()
	flags := []string{"--kubeconfig=" + d.kubeconfig(), "--server=https://127.0.0.1:1", "--namespace=agents"}
	if args[0] == "__complete" {
		// What is being typed comes last.
		return d.anywhere(slices.Concat(args[:1], flags, args[1:])...)
	}
	return d.anywhere(append(args, flags...)...)
}

// anywhere runs a command that names no cluster and no namespace.
func (d *desk) anywhere(args ...string) answered {
	d.Helper()
	var stdout, stderr bytes.Buffer
	s := newShell(genericiooptions.IOStreams{In: d.in, Out: &stdout, ErrOut: &stderr}, clocktesting.NewFakePassiveClock(noon()), d.dial)
	code := s.run(d.ctx, args)
	return answered{TB: d.TB, code: code, stdout: stdout.String(), stderr: stderr.String()}
}

// onTerminal runs a command in namespace agents, and returns what a terminal of so many columns is given.
func (d *desk) onTerminal(columns int, args ...string) string {
	d.Helper()
	keyboard, tty, err := pty.Open()
	if err != nil {
		d.Fatal(err)
	}
	if err := pty.Setsize(tty, &pty.Winsize{Rows: 24, Cols: uint16(columns)}); err != nil {
		d.Fatal(err)
	}
	shown := make(chan string)
	go func() {
		text, _ := io.ReadAll(keyboard) // it ends with an error when the other end is closed
		shown <- strings.ReplaceAll(string(text), "\r\n", "\n")
	}()
	s := newShell(genericiooptions.IOStreams{In: d.in, Out: tty, ErrOut: io.Discard}, clocktesting.NewFakePassiveClock(noon()), d.dial)
	s.run(d.ctx, append(args, "--kubeconfig="+d.kubeconfig(), "--server=https://127.0.0.1:1", "--namespace=agents"))
	if err := tty.Close(); err != nil {
		d.Fatal(err)
	}
	text := <-shown
	_ = keyboard.Close()
	return text
}

// kubeconfig is an empty one, so that no test depends on whose machine it runs on.
func (d *desk) kubeconfig() string {
	d.Helper()
	path := filepath.Join(d.TempDir(), "kubeconfig")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		d.Fatal(err)
	}
	return path
}

// exits expects an exit code.
func (a answered) exits(code int) answered {
	a.Helper()
	if a.code != code {
		a.Errorf("it exited with %d; want %d\n%s%s", a.code, code, a.stdout, a.stderr)
	}
	return a
}

// says expects words on standard output.
func (a answered) says(words ...string) answered {
	a.Helper()
	for _, w := range words {
		if !strings.Contains(a.stdout, w) {
			a.Errorf("standard output does not say %q:\n%s", w, a.stdout)
		}
	}
	return a
}

// complains expects words on standard error.
func (a answered) complains(words ...string) answered {
	a.Helper()
	for _, w := range words {
		if !strings.Contains(a.stderr, w) {
			a.Errorf("standard error does not say %q:\n%s", w, a.stderr)
		}
	}
	return a
}

// prints expects all of standard output.
func (a answered) prints(want string) answered {
	a.Helper()
	if diff := cmp.Diff(strings.Split(strings.TrimPrefix(want, "\n"), "\n"), strings.Split(a.stdout, "\n")); diff != "" {
		a.Errorf("(-want +got):\n%s", diff)
	}
	return a
}

// aRequest waits for an approval.
func aRequest(edits ...func(*v1alpha1.CapabilityRequest)) *v1alpha1.CapabilityRequest {
	r := &v1alpha1.CapabilityRequest{
		ObjectMeta: metav1.ObjectMeta{Namespace: "agents", Name: "publish-pr-184", UID: "r-1", CreationTimestamp: metav1.NewTime(noon().Add(-5 * time.Minute))},
		Spec: v1alpha1.CapabilityRequestSpec{Capability: "publish-preview-build", TaskID: "pr-184", Actor: "openclaw-agent", Repo: "web-app", Environment: "preview",
			Justification: "Publish the preview build for PR-184", TTLSeconds: ptr.To[int32](900), Container: "publish",
			Requester: v1alpha1.Identity{Username: agent, Groups: []string{"system:serviceaccounts", "system:authenticated"}}},
		Status: v1alpha1.CapabilityRequestStatus{
			Review: &v1alpha1.Review{Digest: digest, At: metav1.NewTime(noon().Add(-4 * time.Minute)), Scope: []string{"s3:PutObject on arn:aws:s3:::previews/web-app/*"}, TTLSeconds: 900,
				Capability: v1alpha1.ReviewedCapability{Name: "publish-preview-build", Description: "Upload the preview build of one repository.", Provider: "aws-preview",
					Principal: "arn:aws:iam::123456789012:role/preview-deployer"},
				Job: v1alpha1.ReviewedJob{Name: "valetkey-publish-pr-184", UID: "j-1", Container: "publish", Image: image, Command: []string{"/publish-preview"},
					Args: []string{"publish", "previews/web-app/pr-184/index.html"}, OtherContainers: []string{"beside=" + image}, ServiceAccountName: "runner"}},
			Policy:    &v1alpha1.PolicyReference{Name: "preview-builds", Generation: 1},
			Approvals: &v1alpha1.Approvals{Required: 1, Until: &metav1.Time{Time: noon().Add(56 * time.Minute)}},
			Conditions: []metav1.Condition{{Type: v1alpha1.ConditionAllowed, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonAwaitingApproval,
				LastTransitionTime: metav1.NewTime(noon().Add(-4 * time.Minute)),
				Message: "policy preview-builds waits for 1 approval by 2026-11-25T12:56:00Z, from group release-managers; look at status.review, then: " +
					"kubectl annotate capreq publish-pr-184 -n agents valetkey.dev/approve=" + digest}},
		},
	}
	for _, edit := range edits {
		edit(r)
	}
	return r
}

// aJob is the one that aRequest's review shows.
func aJob(edits ...func(*batchv1.Job)) *batchv1.Job {
	labels := map[string]string{v1alpha1.LabelRequest: "publish-pr-184"}
	j := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "agents", Name: "valetkey-publish-pr-184", UID: "j-1", Labels: labels}}
	j.Spec.BackoffLimit = ptr.To[int32](0)
	j.Spec.Template.Labels = labels
	j.Spec.Template.Spec = corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, ServiceAccountName: "runner", AutomountServiceAccountToken: ptr.To(false),
		Containers: []corev1.Container{{Name: "publish", Image: image, Command: []string{"/publish-preview"}}, {Name: "beside", Image: image}}}
	j = policy.AsHeld(j, agent)
	for _, edit := range edits {
		edit(j)
	}
	return j
}

// aPolicy lets the agent have previews, with an approval.
func aPolicy(name string, edits ...func(*v1alpha1.CapabilityPolicySpec)) *v1alpha1.CapabilityPolicy {
	p := &v1alpha1.CapabilityPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.CapabilityPolicySpec{Effect: v1alpha1.EffectAllow,
		Capabilities: []string{"publish-preview-build"}, Requesters: []v1alpha1.Subject{{Kind: v1alpha1.SubjectServiceAccount, Namespace: "agents", Name: "web-app-bot"}},
		Repos: []string{"web-app"}, Environments: []string{"preview"}, MaxTTLSeconds: ptr.To[int32](900),
		When:     []v1alpha1.Expression{{Expression: "request.ttlSeconds <= 900", Message: "a preview gets at most fifteen minutes"}},
		Approval: &v1alpha1.Approval{Required: 1, TimeoutSeconds: 3600, Approvers: []v1alpha1.Subject{{Kind: v1alpha1.SubjectGroup, Name: "release-managers"}}}}}
	for _, edit := range edits {
		edit(&p.Spec)
	}
	return p
}

// aCapability is the one that is asked for.
func aCapability() *v1alpha1.Capability {
	return &v1alpha1.Capability{ObjectMeta: metav1.ObjectMeta{Name: "publish-preview-build"},
		Spec: v1alpha1.CapabilitySpec{Description: "Upload the preview build of one repository.", ProviderRef: v1alpha1.ProviderReference{Name: "aws-preview"},
			DefaultTTLSeconds: 900, MaxTTLSeconds: 3600},
		Status: v1alpha1.CapabilityStatus{Conditions: []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonReady}}}}
}

// aGrant lives, and its Job runs.
func aGrant(name string, edits ...func(*v1alpha1.CapabilityGrant)) *v1alpha1.CapabilityGrant {
	issued, expires := metav1.NewTime(noon().Add(-3*time.Minute)), metav1.NewTime(noon().Add(12*time.Minute))
	g := &v1alpha1.CapabilityGrant{
		ObjectMeta: metav1.ObjectMeta{Namespace: "agents", Name: name, UID: "g-1", CreationTimestamp: issued},
		Spec: v1alpha1.CapabilityGrantSpec{LeaseID: "9f8c6b6a-9c2a-4e0b-8a4d-2d7db8f80731", Capability: "publish-preview-build", Repo: "web-app", Environment: "preview",
			Requester: agent, TaskID: "pr-184", Actor: "openclaw-agent", Provider: v1alpha1.GrantProvider{Name: "aws-preview", Type: "aws-sts"}, TTLSeconds: 900,
			Approval: v1alpha1.GrantApproval{Policy: "preview-builds", ApprovedBy: []string{"alice@example.com"}}},
		Status: v1alpha1.CapabilityGrantStatus{IssuedAt: &issued, ExpiresAt: &expires, CredentialExpiresAt: &expires,
			Credential: &v1alpha1.CredentialReference{ID: "ASIAEXAMPLE", Principal: "arn:aws:sts::123456789012:assumed-role/preview-deployer/agent-9f8c6b6a-1"},
			Conditions: []metav1.Condition{{Type: v1alpha1.ConditionDelivered, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonDelivered}}},
	}
	for _, edit := range edits {
		edit(g)
	}
	return g
}

// ending is a grant that is being ended.
func ending(g *v1alpha1.CapabilityGrant) {
	g.Status.Stop = &v1alpha1.GrantStop{Outcome: v1alpha1.OutcomeRevoked, Reason: v1alpha1.ReasonRevokedByAnnotation, Message: "revoked by alice@example.com: enough", At: metav1.NewTime(noon())}
	g.Status.Conditions = append(g.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionEnded, Status: metav1.ConditionFalse,
		Reason: v1alpha1.ReasonEnding, Message: "revoked by alice@example.com: enough"})
}

// over is a grant that has ended, and whose credential works on.
func over(g *v1alpha1.CapabilityGrant) {
	ended := metav1.NewTime(noon().Add(-time.Minute))
	ending(g)
	g.Status.EndedAt, g.Status.Outcome = &ended, v1alpha1.OutcomeRevoked
	g.Status.Revocation = &v1alpha1.Revocation{Mode: v1alpha1.RevocationAtExpiry, ExposedUntil: g.Status.CredentialExpiresAt}
}
