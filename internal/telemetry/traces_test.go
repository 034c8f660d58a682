// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package telemetry

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

const (
	uid     = "0f8c6b6a-9c2a-4e0b-8a4d-2d7db8f80731"
	traceID = "0f8c6b6a9c2a4e0b8a4d2d7db8f80731"
)

func newTraces() (*Traces, *tracetest.InMemoryExporter) {
	exporter := tracetest.NewInMemoryExporter()
	return NewTraces(newProvider(sdktrace.WithSyncer(exporter))), exporter
}

// told are the spans, a line each: the parent's name, its own, and the seconds past noon when it began and ended.
func told(t *testing.T, exporter *tracetest.InMemoryExporter) []string {
	t.Helper()
	names := map[trace.SpanID]string{{}: ""}
	for _, s := range exporter.GetSpans() {
		if names[s.SpanContext.SpanID()] != "" {
			t.Errorf("two spans have the ID of %s", s.Name)
		}
		names[s.SpanContext.SpanID()] = s.Name
	}
	var lines []string
	for _, s := range exporter.GetSpans() {
		parent, known := names[s.Parent.SpanID()]
		if !known {
			t.Errorf("the parent of %s is not told of", s.Name)
		}
		if id := s.SpanContext.TraceID().String(); id != traceID {
			t.Errorf("%s belongs to trace %s", s.Name, id)
		}
		lines = append(lines, fmt.Sprintf("%s/%s %g-%g", parent, s.Name, s.StartTime.Sub(after(0).Time).Seconds(), s.EndTime.Sub(after(0).Time).Seconds()))
	}
	slices.Sort(lines)
	return lines
}

func expectTold(t *testing.T, exporter *tracetest.InMemoryExporter, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, told(t, exporter)); diff != "" {
		t.Error(diff)
	}
}

// said is everything that spans say, in one text.
func said(exporter *tracetest.InMemoryExporter) string {
	var text strings.Builder
	for _, s := range exporter.GetSpans() {
		fmt.Fprintln(&text, s.Name, s.Attributes, s.Status, s.Events, s.Links)
	}
	return text.String()
}

const secret = "what nobody may read"

func decided(status metav1.ConditionStatus, reason string, edit func(*v1alpha1.CapabilityRequest)) *v1alpha1.CapabilityRequest {
	r := &v1alpha1.CapabilityRequest{ObjectMeta: metav1.ObjectMeta{UID: uid, Namespace: "agents", Name: "pr-184", CreationTimestamp: *after(0)},
		Spec: v1alpha1.CapabilityRequestSpec{Capability: "publish", TaskID: secret, Actor: secret, Justification: secret}}
	r.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionAllowed, Status: status, Reason: reason, Message: secret, LastTransitionTime: *after(90)}}
	edit(r)
	return r
}

func approved(r *v1alpha1.CapabilityRequest) {
	r.Status.Review = &v1alpha1.Review{At: *after(1), Scope: []string{secret}}
	r.Status.SeenDecisions = []v1alpha1.SeenDecision{{By: secret, SeenAt: *after(89)}}
}

// granted is a grant of the request that ended in the way that metrics are tested with.
func granted(outcome v1alpha1.GrantOutcome, edit func(*v1alpha1.CapabilityGrantStatus)) *v1alpha1.CapabilityGrant {
	g := ended(outcome, edit)
	g.Namespace, g.Name, g.Spec.LeaseID, g.Spec.Requester = "agents", "pr-184", "lease-7", secret
	g.Spec.RequestRef = v1alpha1.ObjectReference{Name: "pr-184", UID: uid}
	g.Spec.Job, g.Spec.Approval = v1alpha1.GrantJob{Name: "valetkey-pr-184", UID: "job", Container: "publish"}, v1alpha1.GrantApproval{Policy: "previews", ApprovedBy: []string{secret}}
	g.Spec.Scope, g.Spec.TaskID, g.Spec.Actor, g.Status.RevocationHandle = []string{secret}, secret, secret, secret
	g.Status.Credential = &v1alpha1.CredentialReference{ID: secret, Principal: secret}
	if g.Status.Stop != nil {
		g.Status.Stop.Message = secret
	}
	return g
}

func TestAGrantIsOneTraceWhoeverTellsOfItsParts(t *testing.T) {
	first, exporter := newTraces()
	first.Decided(decided(metav1.ConditionTrue, v1alpha1.ReasonAllowed, approved))
	second := NewTraces(newProvider(sdktrace.WithSyncer(exporter))) // of another process
	second.Ended(granted(v1alpha1.OutcomeExpired, func(*v1alpha1.CapabilityGrantStatus) {}), after(-90))
	expectTold(t, exporter, "/request -90-604", "decision/approval 1-90", "request/decision 0-90", "request/delivery 2-3", "request/end 602-604", "request/issue 0-2", "request/run 3-602")
	text := said(exporter)
	for _, want := range []string{`{"k8s.namespace.name":"agents"}`, `{"valetkey.capability":"publish"}`, `{"valetkey.provider":"aws-sts"}`, `{"valetkey.outcome":"Expired"}`,
		`{"valetkey.revocation":"AtExpiry"}`, `{"valetkey.lease_id":"lease-7"}`, `{"valetkey.policy":"previews"}`, `{"k8s.job.name":"valetkey-pr-184"}`} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is missing in\n%s", want, text)
		}
	}
	if strings.Contains(text, secret) {
		t.Errorf("a secret is told:\n%s", text)
	}
}

func TestARefusalIsATrace(t *testing.T) {
	traces, exporter := newTraces()
	traces.Decided(decided(metav1.ConditionFalse, v1alpha1.ReasonApprovalTimedOut, func(r *v1alpha1.CapabilityRequest) {
		r.Status.Review = &v1alpha1.Review{At: *after(1)}
		// It was false since noon, first for want of approval.
		r.Status.Conditions[0].LastTransitionTime, r.Status.EndedAt = *after(0), after(3601)
	}))
	expectTold(t, exporter, "/request 0-3601", "decision/approval 1-3601", "request/decision 0-3601")
	if text := said(exporter); !strings.Contains(text, `{"valetkey.reason":"ApprovalTimedOut"}`) || strings.Contains(text, secret) {
		t.Error(text)
	}
}

func TestWhatDidNotHappenIsNotTold(t *testing.T) {
	traces, exporter := newTraces()
	traces.Decided(&v1alpha1.CapabilityRequest{})
	traces.Decided(decided(metav1.ConditionFalse, v1alpha1.ReasonDeniedByPolicy, func(r *v1alpha1.CapabilityRequest) { r.UID = "no UUID" }))
	expectTold(t, exporter)
	never := granted(v1alpha1.OutcomeIssueFailed, func(s *v1alpha1.CapabilityGrantStatus) {
		*s = v1alpha1.CapabilityGrantStatus{Outcome: s.Outcome, Stop: &v1alpha1.GrantStop{At: *after(20)}, EndedAt: after(20)}
	})
	traces.Ended(never, nil)
	expectTold(t, exporter, "/request 0-20", "request/end 20-20", "request/issue 0-20")
	failed := 0
	for _, s := range exporter.GetSpans() {
		if s.Status.Code.String() == "Error" && s.Status.Description == "" {
			failed++
		}
	}
	if failed != 2 {
		t.Errorf("%d spans failed; want the issue and the request", failed)
	}
}

func TestACallIsAPartOfItsStage(t *testing.T) {
	traces, exporter := newTraces()
	g := granted(v1alpha1.OutcomeExpired, func(*v1alpha1.CapabilityGrantStatus) {})
	for range 2 {
		_, call := traces.tracer.Start(traces.Within(t.Context(), g, StageEnd), "call", trace.WithTimestamp(after(603).Time))
		call.End(trace.WithTimestamp(after(604).Time))
	}
	traces.Ended(g, after(0))
	expectTold(t, exporter, "/request 0-604", "end/call 603-604", "end/call 603-604", "request/delivery 2-3", "request/end 602-604", "request/issue 0-2", "request/run 3-602")
}

func TestWhatEndedBeforeItBeganTookNoTime(t *testing.T) {
	traces, exporter := newTraces()
	traces.Decided(decided(metav1.ConditionTrue, v1alpha1.ReasonAllowed, func(r *v1alpha1.CapabilityRequest) { r.CreationTimestamp = *after(95) }))
	if s := exporter.GetSpans(); len(s) != 1 || !s[0].StartTime.Equal(s[0].EndTime) || s[0].EndTime.Sub(after(0).Time) != 95*time.Second {
		t.Errorf("told %v", s)
	}
}
