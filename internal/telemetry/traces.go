// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package telemetry

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// Scope names what the spans come from.
const Scope = "github.com/valetkey/valetkey"

// The spans of a trace that metrics do not time.
const (
	// SpanRequest is the whole, and what belongs to no stage is a part of it.
	SpanRequest  = "request"
	spanDecision = "decision"
	// spanApproval is a part of the decision.
	spanApproval = "approval"
	spanRun      = "run"
)

// Traces tells of each request in one trace, whose ID is the request's UID. The spans' IDs are made of that too, and their times are
// what is stored in the objects: nothing has to be remembered, so a trace is whole whichever process told of a part of it. No span
// holds what an agent wrote beside the names of objects.
type Traces struct{ tracer trace.Tracer }

// NewTraces tells by way of a provider.
func NewTraces(provider trace.TracerProvider) *Traces {
	return &Traces{tracer: provider.Tracer(Scope)}
}

// Decided tells of a final decision on a request, once it is stored. A refusal is the end of the trace.
func (t *Traces) Decided(r *v1alpha1.CapabilityRequest) {
	allowed := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionAllowed)
	if allowed == nil {
		return
	}
	at, decision := decidedAt(r, allowed), "granted"
	if allowed.Status != metav1.ConditionTrue {
		decision = "refused"
	}
	words := []attribute.KeyValue{attribute.String("valetkey.decision", decision), attribute.String("valetkey.reason", allowed.Reason)}
	if r.Status.Policy != nil {
		words = append(words, attribute.String("valetkey.policy", r.Status.Policy.Name))
	}
	j := t.journey(r.UID)
	j.tell(stage{name: spanDecision, parent: SpanRequest, from: &r.CreationTimestamp, to: at, words: words})
	if review := r.Status.Review; review != nil && (len(r.Status.SeenDecisions) > 0 || allowed.Reason == v1alpha1.ReasonApprovalTimedOut) {
		j.tell(stage{name: spanApproval, parent: spanDecision, from: &review.At, to: at, words: []attribute.KeyValue{attribute.Int("valetkey.decisions", len(r.Status.SeenDecisions))}})
	}
	if decision == "refused" {
		j.tell(stage{name: SpanRequest, from: &r.CreationTimestamp, to: at, words: append(words, named(r.Namespace, r.Name, r.Spec.Capability)...)})
	}
}

// Ended tells of a grant whose end was stored: of its stages, and of the request, which was made at the given time, or is taken to
// be as old as the grant if that is not known any more.
func (t *Traces) Ended(g *v1alpha1.CapabilityGrant, requested *metav1.Time) {
	s, j := &g.Status, t.journey(types.UID(g.Spec.RequestRef.UID))
	stopped := s.EndedAt
	if s.Stop != nil {
		stopped = &s.Stop.At
	}
	var delivered *metav1.Time
	if c := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionDelivered); c != nil && c.Status == metav1.ConditionTrue {
		delivered = &c.LastTransitionTime
	}
	unissued := s.Outcome == v1alpha1.OutcomeIssueFailed
	for _, stage := range []stage{
		{name: StageIssue, parent: SpanRequest, from: &g.CreationTimestamp, to: cmp.Or(s.IssuedAt, stopped), failed: unissued},
		{name: StageDelivery, parent: SpanRequest, from: s.IssuedAt, to: cmp.Or(delivered, stopped)},
		{name: spanRun, parent: SpanRequest, from: delivered, to: stopped},
		{name: StageEnd, parent: SpanRequest, from: stopped, to: s.EndedAt},
		{name: SpanRequest, from: cmp.Or(requested, &g.CreationTimestamp), to: s.EndedAt, failed: unissued || s.Outcome == v1alpha1.OutcomeUnknown, words: became(g)},
	} {
		j.tell(stage)
	}
}

// became is what became of a grant.
func became(g *v1alpha1.CapabilityGrant) []attribute.KeyValue {
	s := &g.Status
	words := append(named(g.Namespace, g.Spec.RequestRef.Name, g.Spec.Capability),
		attribute.String("valetkey.decision", "granted"), attribute.String("valetkey.policy", g.Spec.Approval.Policy),
		attribute.String("valetkey.provider", g.Spec.Provider.Type), attribute.String("valetkey.lease_id", g.Spec.LeaseID), attribute.String("valetkey.grant", g.Name),
		semconv.K8SJobName(g.Spec.Job.Name), semconv.K8SJobUID(g.Spec.Job.UID), semconv.K8SContainerName(g.Spec.Job.Container),
		attribute.Int("valetkey.attempts", int(s.Attempt)), attribute.String("valetkey.outcome", string(s.Outcome)))
	if s.Stop != nil {
		words = append(words, attribute.String("valetkey.reason", s.Stop.Reason))
	}
	if s.Revocation == nil {
		return words
	}
	words = append(words, attribute.String("valetkey.revocation", string(s.Revocation.Mode)))
	if until := s.Revocation.ExposedUntil; until != nil {
		words = append(words, attribute.String("valetkey.exposed_until", until.UTC().Format(time.RFC3339)))
	}
	return words
}

func named(namespace, request, capability string) []attribute.KeyValue {
	return []attribute.KeyValue{semconv.K8SNamespaceName(namespace), attribute.String("valetkey.request", request), attribute.String("valetkey.capability", capability)}
}

// Within makes what is done with a context a part of a stage of a grant, or of its whole.
func (t *Traces) Within(ctx context.Context, g *v1alpha1.CapabilityGrant, stage string) context.Context {
	return trace.ContextWithRemoteSpanContext(ctx, t.journey(types.UID(g.Spec.RequestRef.UID)).span(stage))
}

// journey is the trace of one request.
type journey struct {
	tracer trace.Tracer
	id     trace.TraceID
}

// journey of a request's UID. An API server makes UUIDs, which are as long as a trace's ID.
func (t *Traces) journey(request types.UID) journey {
	id, err := uuid.Parse(string(request))
	if err != nil {
		return journey{tracer: t.tracer} // of which nothing is told: the ID is not valid
	}
	return journey{tracer: t.tracer, id: trace.TraceID(id)}
}

// span of a name: there is one of each in a trace.
func (j journey) span(name string) trace.SpanContext {
	sum := sha256.Sum256(append(j.id[:], name...))
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: j.id, SpanID: trace.SpanID(sum[:8]), TraceFlags: trace.FlagsSampled})
}

// stage is what began and ended, if it did.
type stage struct {
	name, parent string
	from, to     *metav1.Time
	failed       bool
	words        []attribute.KeyValue
}

// tell makes a span of a stage. The clocks of the API server and of the operator can differ: what ended before it began took no time.
func (j journey) tell(s stage) {
	if !j.id.IsValid() || s.from.IsZero() || s.to.IsZero() {
		return
	}
	ctx := context.WithValue(context.Background(), identity{}, j.span(s.name))
	if s.parent != "" {
		ctx = trace.ContextWithRemoteSpanContext(ctx, j.span(s.parent))
	}
	_, span := j.tracer.Start(ctx, s.name, trace.WithTimestamp(s.from.Time), trace.WithAttributes(s.words...))
	if s.failed {
		span.SetStatus(codes.Error, "")
	}
	to := s.to
	if to.Before(s.from) {
		to = s.from
	}
	span.End(trace.WithTimestamp(to.Time))
}

// identity is the key under which a context says which span is begun.
type identity struct{}

// identities are those that a context says, and random ones for everything else.
type identities struct{}

// NewIDs implements [sdktrace.IDGenerator].
func (identities) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	if known, ok := ctx.Value(identity{}).(trace.SpanContext); ok {
		return known.TraceID(), known.SpanID()
	}
	return trace.TraceID(uuid.New()), random()
}

// NewSpanID implements [sdktrace.IDGenerator].
func (identities) NewSpanID(ctx context.Context, _ trace.TraceID) trace.SpanID {
	if known, ok := ctx.Value(identity{}).(trace.SpanContext); ok {
		return known.SpanID()
	}
	return random()
}

// random is any valid ID.
func random() (id trace.SpanID) {
	binary.BigEndian.PutUint64(id[:], rand.Uint64N(math.MaxUint64)+1)
	return id
}
