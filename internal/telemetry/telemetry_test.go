// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package telemetry

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/audit"
)

// after is so many seconds past noon.
func after(seconds float64) *metav1.Time {
	return &metav1.Time{Time: time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC).Add(time.Duration(seconds * float64(time.Second)))}
}

func newMetrics(t *testing.T) (*Metrics, *prometheus.Registry) {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	m, err := New(registry)
	if err != nil {
		t.Fatal(err)
	}
	return m, registry
}

// sums are the counters' values, and of each histogram how often it was told something, and how much in all.
func sums(t *testing.T, from prometheus.Gatherer) map[string][2]float64 {
	t.Helper()
	families, err := from.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string][2]float64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			name := family.GetName()
			for _, label := range metric.GetLabel() {
				name += " " + label.GetValue()
			}
			if h := metric.GetHistogram(); h != nil {
				found[name] = [2]float64{float64(h.GetSampleCount()), h.GetSampleSum()}
			} else {
				found[name] = [2]float64{metric.GetCounter().GetValue() + metric.GetGauge().GetValue()}
			}
		}
	}
	return found
}

func expect(t *testing.T, from prometheus.Gatherer, want map[string][2]float64) {
	t.Helper()
	got := sums(t, from)
	for name, value := range want {
		if got[name] != value {
			t.Errorf("%s is %v, want %v", name, got[name], value)
		}
		delete(got, name)
	}
	for name, value := range got {
		if value != [2]float64{} {
			t.Errorf("and %s is %v", name, value)
		}
	}
}

func ended(outcome v1alpha1.GrantOutcome, edit func(*v1alpha1.CapabilityGrantStatus)) *v1alpha1.CapabilityGrant {
	g := &v1alpha1.CapabilityGrant{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: *after(0)},
		Spec: v1alpha1.CapabilityGrantSpec{Capability: "publish", Provider: v1alpha1.GrantProvider{Type: "aws-sts"}, TaskID: "the agent's", Actor: "the agent's"},
		Status: v1alpha1.CapabilityGrantStatus{Outcome: outcome, IssuedAt: after(2), ExpiresAt: after(602), CredentialExpiresAt: after(902),
			Conditions: []metav1.Condition{{Type: v1alpha1.ConditionDelivered, Status: metav1.ConditionTrue, LastTransitionTime: *after(3)}},
			Stop:       &v1alpha1.GrantStop{At: *after(602)}, EndedAt: after(604), Revocation: &v1alpha1.Revocation{Mode: v1alpha1.RevocationAtExpiry, ExposedUntil: after(902)}}}
	edit(&g.Status)
	return g
}

func TestWhatBecameOfAGrantIsCountedAndTimed(t *testing.T) {
	m, registry := newMetrics(t)
	m.Ended(ended(v1alpha1.OutcomeExpired, func(*v1alpha1.CapabilityGrantStatus) {}))
	m.Ended(ended(v1alpha1.OutcomeCompleted, func(s *v1alpha1.CapabilityGrantStatus) {
		s.Stop.At, s.EndedAt = *after(10), after(11.9)
		s.Revocation = &v1alpha1.Revocation{Mode: v1alpha1.RevocationImmediate, ConfirmedAt: after(11)}
	}))
	m.Ended(ended(v1alpha1.OutcomeFailed, func(s *v1alpha1.CapabilityGrantStatus) {
		*s = v1alpha1.CapabilityGrantStatus{Outcome: s.Outcome, Revocation: &v1alpha1.Revocation{Mode: v1alpha1.RevocationAtExpiry}}
	}))
	m.Ended(ended(v1alpha1.OutcomeIssueFailed, func(s *v1alpha1.CapabilityGrantStatus) {
		*s = v1alpha1.CapabilityGrantStatus{Outcome: s.Outcome, Stop: &v1alpha1.GrantStop{At: *after(20)}, EndedAt: after(20)}
	}))
	expect(t, registry, map[string][2]float64{
		"valetkey_grants_ended_total publish Expired aws-sts AtExpiry":    {1},
		"valetkey_grants_ended_total publish Completed aws-sts Immediate": {1},
		"valetkey_grants_ended_total publish IssueFailed aws-sts None":    {1},
		"valetkey_grants_ended_total publish Failed aws-sts AtExpiry":     {1},
		"valetkey_stage_duration_seconds aws-sts issue":                   {2, 4},
		"valetkey_stage_duration_seconds aws-sts delivery":                {2, 2},
		"valetkey_stage_duration_seconds aws-sts end":                     {3, 3},
		"valetkey_expiry_lateness_seconds":                                {1, 2},
		"valetkey_residual_exposure_seconds aws-sts":                      {2, 298},
	})
}

func TestDecisionsAreCountedWithoutTheAgentsWords(t *testing.T) {
	m, registry := newMetrics(t)
	decided := func(status metav1.ConditionStatus, reason string, ended *metav1.Time) {
		r := &v1alpha1.CapabilityRequest{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: *after(0)}, Spec: v1alpha1.CapabilityRequestSpec{Capability: "the agent's"}}
		r.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionAllowed, Status: status, Reason: reason, LastTransitionTime: *after(90)}}
		r.Status.EndedAt = ended
		m.Decided(r, "")
	}
	decided(metav1.ConditionTrue, v1alpha1.ReasonAllowed, nil)
	decided(metav1.ConditionFalse, v1alpha1.ReasonDeniedByPolicy, after(90))
	// An approval was awaited from the 90th second on.
	decided(metav1.ConditionFalse, v1alpha1.ReasonApprovalTimedOut, after(100))
	m.Decided(&v1alpha1.CapabilityRequest{}, "")
	expect(t, registry, map[string][2]float64{
		"valetkey_decisions_total granted Allowed":          {1},
		"valetkey_decisions_total refused DeniedByPolicy":   {1},
		"valetkey_decisions_total refused ApprovalTimedOut": {1},
		"valetkey_decision_duration_seconds granted":        {1, 90},
		"valetkey_decision_duration_seconds refused":        {2, 190},
	})
}

type full struct{ err error }

func (f full) Append(context.Context, audit.Record) (v1alpha1.AuditAnchor, error) {
	return v1alpha1.AuditAnchor{Seq: 7}, f.err
}

func TestARecordThatCannotBeWrittenIsCounted(t *testing.T) {
	m, registry := newMetrics(t)
	if anchor, err := m.Audit(full{}).Append(t.Context(), audit.Record{}); err != nil || anchor.Seq != 7 {
		t.Errorf("the anchor is %v, %v", anchor, err)
	}
	no := errors.New("no space")
	if _, err := m.Audit(full{no}).Append(t.Context(), audit.Record{}); !errors.Is(err, no) {
		t.Errorf("the error is %v", err)
	}
	expect(t, registry, map[string][2]float64{"valetkey_audit_failures_total": {1}})
}

func TestOnlyWhoLeadsTellsWhatLives(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := errors.Join(v1alpha1.AddToScheme(scheme), corev1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	request := func(name, reason string, edit func(*v1alpha1.CapabilityRequestStatus)) *v1alpha1.CapabilityRequest {
		r := &v1alpha1.CapabilityRequest{ObjectMeta: metav1.ObjectMeta{Namespace: "agents", Name: name}}
		if reason != "" {
			r.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionAllowed, Status: metav1.ConditionFalse, Reason: reason}}
		}
		edit(&r.Status)
		return r
	}
	grant := func(name string, edit func(*v1alpha1.CapabilityGrantStatus)) *v1alpha1.CapabilityGrant {
		g := ended("", func(s *v1alpha1.CapabilityGrantStatus) { s.EndedAt, s.Stop = nil, nil; edit(s) })
		g.Namespace, g.Name = "agents", name
		return g
	}
	reader := fake.NewClientBuilder().WithScheme(scheme).WithObjects(
		request("new", "", func(*v1alpha1.CapabilityRequestStatus) {}),
		request("waits", v1alpha1.ReasonAwaitingApproval, func(*v1alpha1.CapabilityRequestStatus) {}),
		request("has-one", v1alpha1.ReasonAllowed, func(s *v1alpha1.CapabilityRequestStatus) { s.GrantName = "live" }),
		request("over", v1alpha1.ReasonDeniedByPolicy, func(s *v1alpha1.CapabilityRequestStatus) { s.EndedAt = after(1) }),
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "agents", Labels: map[string]string{v1alpha1.LabelEnrolled: "true"}}},
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "left-out", Labels: map[string]string{v1alpha1.LabelEnrolled: "true"}}},
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "nobodys"}},
		grant("live", func(*v1alpha1.CapabilityGrantStatus) {}),
		grant("issuing", func(s *v1alpha1.CapabilityGrantStatus) { s.Conditions = nil }),
		grant("ending", func(s *v1alpha1.CapabilityGrantStatus) { s.Stop = &v1alpha1.GrantStop{} }),
		grant("gone", func(s *v1alpha1.CapabilityGrantStatus) { s.EndedAt = after(1) }),
	).Build()
	leads := make(chan struct{})
	living := NewLiving(reader, leads, func(namespace string) bool { return namespace == "agents" }, clocktesting.NewFakePassiveClock(after(0).Time))
	if n := testutil.CollectAndCount(living); n != 0 {
		t.Errorf("one that does not lead tells %d", n)
	}
	close(leads)
	err := testutil.CollectAndCompare(living, strings.NewReader(`
# HELP valetkey_grants Grants that have not ended, by provider type and state: issuing, live (the Job has the credential) or ending.
# TYPE valetkey_grants gauge
valetkey_grants{provider="aws-sts",state="ending"} 1
valetkey_grants{provider="aws-sts",state="issuing"} 1
valetkey_grants{provider="aws-sts",state="live"} 1
# HELP valetkey_requests Requests that have not ended and have no grant, by the reason of the condition Allowed.
# TYPE valetkey_requests gauge
valetkey_requests{reason="AwaitingApproval"} 1
valetkey_requests{reason="New"} 1
# HELP valetkey_unwatched_namespace 1 for each enrolled namespace that --watch-namespace leaves out: requests there wait for ever.
# TYPE valetkey_unwatched_namespace gauge
valetkey_unwatched_namespace{namespace="left-out"} 1
`), "valetkey_grants", "valetkey_requests", "valetkey_unwatched_namespace")
	if err != nil {
		t.Error(err)
	}
}
