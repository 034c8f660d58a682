// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"k8s.io/utils/clock"

	"github.com/valetkey/valetkey/internal/exemplar"
)

// Instrument counts, times and traces what back ends are asked.
type Instrument struct {
	calls  *prometheus.HistogramVec
	tracer trace.Tracer
	clock  clock.PassiveClock
}

// NewInstrument registers its metric.
func NewInstrument(registry prometheus.Registerer, tracer trace.Tracer, clock clock.PassiveClock) (*Instrument, error) {
	calls := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "valetkey_provider_call_duration_seconds",
		Help:    "How long a back end took to answer, by type, operation and result.",
		Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	}, []string{"type", "operation", "result"})
	if err := registry.Register(calls); err != nil {
		return nil, err
	}
	return &Instrument{calls: calls, tracer: tracer, clock: clock}, nil
}

// Wrap makes a back end counted, timed and traced. What it was never asked, or never answered, counts as none from the start: Prometheus
// sees no increase in a series that begins with the first failure.
func (i *Instrument) Wrap(p Provider) Provider {
	for _, operation := range []string{opIssue, opRevoke} {
		for _, result := range []string{resultOK, resultFinal, resultThrottled, resultRetryable} {
			i.calls.WithLabelValues(p.Type(), operation, result)
		}
	}
	return instrumented{Provider: p, instrument: i}
}

const (
	opIssue, opRevoke                                       = "issue", "revoke"
	resultOK, resultFinal, resultThrottled, resultRetryable = "ok", "final", "throttled", "retryable"
)

type instrumented struct {
	Provider
	instrument *Instrument
}

func (p instrumented) Issue(ctx context.Context, l Lease) (*Credential, error) {
	ctx, done := p.begin(ctx, opIssue, l.ID, l.Attempt)
	credential, err := p.Provider.Issue(ctx, l)
	done(err)
	return credential, err
}

func (p instrumented) Revoke(ctx context.Context, i Issued) (Revoked, error) {
	ctx, done := p.begin(ctx, opRevoke, i.ID, i.Attempts)
	revoked, err := p.Provider.Revoke(ctx, i)
	done(err)
	return revoked, err
}

// begin begins a call; what it returns ends it. The span says what class a failure is of, and nothing that the error says.
func (p instrumented) begin(ctx context.Context, operation, lease string, attempt int32) (context.Context, func(error)) {
	start := p.instrument.clock.Now()
	ctx, span := p.instrument.tracer.Start(ctx, p.Type()+" "+operation, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
		attribute.String("valetkey.provider", p.Type()), attribute.String("valetkey.operation", operation), attribute.Int("valetkey.attempt", int(attempt))))
	return ctx, func(err error) {
		exemplar.Observe(p.instrument.calls.WithLabelValues(p.Type(), operation, result(err)), p.instrument.clock.Since(start).Seconds(), lease)
		span.SetAttributes(attribute.String("valetkey.result", result(err)))
		if err != nil {
			span.SetStatus(codes.Error, "")
		}
		span.End()
	}
}

// result is one of four words, whatever went wrong.
func result(err error) string {
	switch {
	case err == nil:
		return resultOK
	case IsFinal(err):
		return resultFinal
	case IsThrottled(err):
		return resultThrottled
	default:
		return resultRetryable
	}
}
