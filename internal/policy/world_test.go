// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

const (
	agent       = "system:serviceaccount:agents:web-app-bot"
	image       = "registry.example.com/publisher@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
	digest      = "4355a46b19d348dc2f57c046f8ef63d4538ebb936000f3c9ee954a27460dd865"
	otherDigest = "53c234e5e8472b6ac51c1ae1cab3fe06fad053beb8ebfd8977b010655bfdd3c3"
)

// noon is when the review was written.
func noon() time.Time { return time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC) }

// leaving is the deletionTimestamp of an object that a finalizer holds.
func leaving() *metav1.Time { return &metav1.Time{Time: noon()} }

// world is what a case changes before it asks for a decision.
type world struct {
	Facts
	policies []*v1alpha1.CapabilityPolicy
}

// preview is the policy that the world begins with: it lets the agent have the capability without anybody's approval.
func (w *world) preview() *v1alpha1.CapabilityPolicySpec { return &w.policies[0].Spec }

func (w *world) add(p *v1alpha1.CapabilityPolicy) { w.policies = append(w.policies, p) }

// needs makes the first policy ask for approvals by the release managers, for an hour.
func (w *world) needs(required int32) {
	w.preview().Approval = &v1alpha1.Approval{
		Required: required, TimeoutSeconds: 3600,
		Approvers: []v1alpha1.Subject{{Kind: v1alpha1.SubjectGroup, Name: "release-managers"}},
	}
}

// decides stores a decision of a release manager, seen some time after the review.
func (w *world) decides(who string, what v1alpha1.DecisionKind, after time.Duration) *v1alpha1.Decision {
	w.Request.Decisions = append(w.Request.Decisions, v1alpha1.Decision{
		By: who, Groups: []string{"release-managers", "system:authenticated"}, Decision: what, Digest: digest,
	})
	w.Seen = append(w.Seen, v1alpha1.SeenDecision{By: who, Decision: what, Digest: digest, SeenAt: metav1.NewTime(noon().Add(after))})
	return &w.Request.Decisions[len(w.Request.Decisions)-1]
}

func newWorld() *world {
	return &world{
		Facts: Facts{
			Request: newRequest(), Capability: newCapability(), CapabilityReady: true, Job: newJob(),
			Digest: digest, ReviewedAt: noon(), Now: noon().Add(time.Minute),
		},
		policies: []*v1alpha1.CapabilityPolicy{allow("preview-builds")},
	}
}

func (w *world) decide(t testing.TB) Decision {
	t.Helper()
	c := newCompiler(t)
	for _, p := range w.policies {
		w.Policies = NewSet(append(w.Policies.All(), c.Compile(p))...)
	}
	w.expectExplained(t)
	return Evaluate(w.Facts)
}

// expectExplained sees that what is explained clause by clause comes to what is decided.
func (w *world) expectExplained(t testing.TB) {
	t.Helper()
	d, all := Explain(w.Facts)
	if decided := Evaluate(w.Facts); decided.Verdict != d.Verdict || decided.Message != d.Message {
		t.Errorf("explained %s, decided %s", d.Message, decided.Message)
	}
	e := evaluation{Facts: w.Facts}
	if e.jobTooLarge() != nil {
		e.Job = nil
	}
	if w.Capability != nil {
		e.vars = e.variables()
	}
	if len(all) != len(w.Policies.All()) {
		t.Fatalf("%d policies are explained, of %d", len(all), len(w.Policies.All()))
	}
	for _, x := range all {
		p := w.Policies.All()[slices.IndexFunc(w.Policies.All(), func(p *Compiled) bool { return p.name() == x.Policy })]
		no := slices.ContainsFunc(x.Clauses, func(c Clause) bool { return c.Holds == HoldsNo })
		switch {
		case p.allows() && e.Capability != nil && no == (len(e.misses(p)) == 0) && p.err == nil:
			t.Errorf("policy %s: a clause does not hold: %t, and it misses %d", x.Policy, no, len(e.misses(p)))
		case p.allows() && p.err != nil && (x.Matches != HoldsNo || x.Problem == ""):
			t.Errorf("policy %s is not valid, and matches: %s", x.Policy, x.Matches)
		case !p.allows():
			if denies, why := p.denies(e.Request, e.asked(), e.vars); denies && no {
				t.Errorf("policy %s denies (%s), and a clause does not hold", x.Policy, why)
			}
		}
		if x.Decides && d.Verdict == Allow && x.Matches == HoldsNo {
			t.Errorf("policy %s allows, and does not match", x.Policy)
		}
		for _, c := range x.Clauses {
			if c.Field == "" || c.Text == "" || c.Holds == "" {
				t.Errorf("policy %s: a clause says nothing: %+v", x.Policy, c)
			}
		}
	}
}

func newCompiler(t testing.TB) *Compiler {
	t.Helper()
	c, err := NewCompiler()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newRequest() *v1alpha1.CapabilityRequest {
	return &v1alpha1.CapabilityRequest{
		ObjectMeta: metav1.ObjectMeta{Name: "publish-pr-184", Namespace: "agents", UID: "request-uid"},
		Spec: v1alpha1.CapabilityRequestSpec{
			Capability: "publish-preview-build", TaskID: "pr-184", Actor: "openclaw-agent", Repo: "web-app",
			Environment: "preview", Justification: "Publish the preview build for PR-184", TTLSeconds: ptr.To[int32](900),
			Container: "publish",
			Requester: v1alpha1.Identity{
				Username: agent, UID: "agent-uid", Groups: []string{"system:serviceaccounts", "system:serviceaccounts:agents"},
			},
		},
	}
}

func newCapability() *v1alpha1.Capability {
	return &v1alpha1.Capability{
		ObjectMeta: metav1.ObjectMeta{Name: "publish-preview-build"},
		Spec: v1alpha1.CapabilitySpec{
			Description: "Upload the preview build of one repository.", ProviderRef: v1alpha1.ProviderReference{Name: "aws-preview"},
			DefaultTTLSeconds: 600, MaxTTLSeconds: 3600,
		},
	}
}

func newJob() *batchv1.Job {
	return AsHeld(&batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Name: "valetkey-publish-pr-184", Namespace: "agents", UID: "job-uid",
			Labels: map[string]string{v1alpha1.LabelRequest: "publish-pr-184", "team": "web"},
		},
		Spec: batchv1.JobSpec{
			BackoffLimit: ptr.To[int32](0),
			Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
				RestartPolicy: corev1.RestartPolicyNever, ServiceAccountName: "web-app-bot", AutomountServiceAccountToken: ptr.To(false),
				Containers: []corev1.Container{{
					Name: "publish", Image: image, Command: []string{"/scripts/publish-preview.sh"}, Args: []string{"--fast"},
					TerminationMessagePath: "/dev/termination-log", TerminationMessagePolicy: corev1.TerminationMessageReadFile,
				}},
			}},
		},
	}, agent)
}

func allow(name string) *v1alpha1.CapabilityPolicy {
	return &v1alpha1.CapabilityPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: name, Generation: 7},
		Spec: v1alpha1.CapabilityPolicySpec{
			Effect: v1alpha1.EffectAllow, Capabilities: []string{"publish-preview-build"},
			Requesters: []v1alpha1.Subject{{Kind: v1alpha1.SubjectServiceAccount, Namespace: "agents", Name: "web-app-bot"}},
			Repos:      []string{"web-app"}, Environments: []string{"preview"},
		},
	}
}

func deny(name string) *v1alpha1.CapabilityPolicy {
	return &v1alpha1.CapabilityPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: name, Generation: 3},
		Spec:       v1alpha1.CapabilityPolicySpec{Effect: v1alpha1.EffectDeny, Capabilities: []string{"*"}},
	}
}

func when(expression, message string) []v1alpha1.Expression {
	return []v1alpha1.Expression{{Expression: expression, Message: message}}
}

// row is one case: what is different, and what is decided then.
type row struct {
	name    string
	given   func(w *world)
	verdict Verdict
	reason  string
	policy  string
	// says are parts of the message.
	says []string
	by   []string
	// missing is how many approvals are.
	missing int32
	recheck time.Time
}

func run(t *testing.T, rows []row) {
	for _, tt := range rows {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld()
			tt.given(w)
			tt.expect(t, w.decide(t))
		})
	}
}

func (tt row) expect(t *testing.T, got Decision) {
	t.Helper()
	if got.Verdict != tt.verdict || got.Reason != tt.reason {
		t.Errorf("decided %s %s (%s), want %s %s", got.Verdict, got.Reason, got.Message, tt.verdict, tt.reason)
	}
	name := ""
	if got.Policy != nil {
		name = got.Policy.Name
	}
	if name != tt.policy {
		t.Errorf("policy %q decided, want %q (%s)", name, tt.policy, got.Message)
	}
	for _, part := range tt.says {
		if !strings.Contains(got.Message, part) {
			t.Errorf("the message does not say %q: %s", part, got.Message)
		}
	}
	if got.Message == "" || len(got.Message) > maxMessageLength {
		t.Errorf("the message has %d bytes", len(got.Message))
	}
	if !slices.Equal(got.ApprovedBy, tt.by) || got.ApprovalsMissing != tt.missing || !got.Recheck.Equal(tt.recheck) {
		t.Errorf("approved by %v, %d missing, recheck %v; want %v, %d, %v",
			got.ApprovedBy, got.ApprovalsMissing, got.Recheck, tt.by, tt.missing, tt.recheck)
	}
}

// input0 is the metadata of a ConfigMap that cannot be replaced while grants live.
