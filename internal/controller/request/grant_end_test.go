// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package request

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// TestEndMessage_SaysUntilWhenACopyWorks: or that nobody can say.
func TestEndMessage_SaysUntilWhenACopyWorks(t *testing.T) {
	until := metav1.NewTime(time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC))
	for want, revocation := range map[string]v1alpha1.Revocation{
		"Revoked": {Mode: v1alpha1.RevocationImmediate},
		"Revoked; a copy of the credential would work until 12:00:00Z":            {Mode: v1alpha1.RevocationAtExpiry, ExposedUntil: &until},
		"Revoked; nobody can say until when a copy of what was issued would work": {Mode: v1alpha1.RevocationAtExpiry},
		"Revoked; what was opened with it, such as a watch, may go on":            {Mode: v1alpha1.RevocationImmediate, LeavesOpen: true},
	} {
		g := &v1alpha1.CapabilityGrant{Status: v1alpha1.CapabilityGrantStatus{Outcome: v1alpha1.OutcomeRevoked, Revocation: &revocation}}
		if got := endMessage(g); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// TestADenialOfWhatIsOverIsToldSo: also one that is stored while the request is told that its grant has ended.
func TestADenialOfWhatIsOverIsToldSo(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	over := metav1.NewTime(time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC))
	denied := func(by, digest string) v1alpha1.Decision {
		return v1alpha1.Decision{By: by, Decision: v1alpha1.DecisionDeny, Digest: digest}
	}
	for name, row := range map[string]struct {
		stop        string
		first, then []v1alpha1.Decision
		want        string
	}{
		"nobody denied":           {stop: "the Job succeeded", want: "Completed: the Job succeeded"},
		"before the request knew": {"the Job succeeded", []v1alpha1.Decision{denied("alice", "d")}, nil, "Completed: the Job succeeded; denied by alice when it was over"},
		"as the request was told": {"the Job succeeded", nil, []v1alpha1.Decision{denied("alice", "d")}, "Completed: the Job succeeded; denied by alice when it was over"},
		"two, of whom one ended it": {"denied by alice2", []v1alpha1.Decision{denied("alice2", "d")}, []v1alpha1.Decision{denied("alice2", "d"), denied("alice", "d")},
			"Completed: denied by alice2; denied by alice when it was over"},
		"one whose name is none, who ended it": {`denied by "Bob, for alice"`, []v1alpha1.Decision{denied("Bob, for alice", "d")}, nil, `Completed: denied by "Bob, for alice"`},
		"another, who came late": {"the Job succeeded", []v1alpha1.Decision{denied("Bob, for alice", "d")}, nil,
			`Completed: the Job succeeded; denied by "Bob, for alice" when it was over`},
		"something else": {"the Job succeeded", []v1alpha1.Decision{denied("alice", "another")}, nil, "Completed: the Job succeeded"},
	} {
		g := &v1alpha1.CapabilityGrant{ObjectMeta: metav1.ObjectMeta{Name: "x", Namespace: "agents"}}
		g.Status = v1alpha1.CapabilityGrantStatus{EndedAt: &over, Outcome: v1alpha1.OutcomeCompleted, Stop: &v1alpha1.GrantStop{Message: row.stop}}
		c := &Controller{Client: fake.NewClientBuilder().WithScheme(scheme).WithObjects(g).Build(), Clock: clocktesting.NewFakePassiveClock(over.Time), Retention: time.Hour}
		r := &v1alpha1.CapabilityRequest{ObjectMeta: metav1.ObjectMeta{Name: "x", Namespace: "agents"}, Decisions: row.first}
		r.Status.GrantName, r.Status.Review = "x", &v1alpha1.Review{Digest: "d"}
		for range 3 {
			if _, err := c.step(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			if row.then != nil {
				r.Decisions = row.then
			}
		}
		if got := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionEnded).Message; got != row.want {
			t.Errorf("%s: the request says %q, want %q", name, got, row.want)
		}
	}
}
