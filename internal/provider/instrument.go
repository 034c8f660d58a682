// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"

	"github.com/valetkey/valetkey/internal/exemplar"
)

// Instrument counts and times what back ends are asked.
type Instrument struct {
	calls *prometheus.HistogramVec
	clock clock.PassiveClock
}

// NewInstrument registers its metric.
func NewInstrument(registry prometheus.Registerer, clock clock.PassiveClock) (*Instrument, error) {
	calls := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "valetkey_provider_call_duration_seconds",
		Help:    "How long a back end took to answer, by type, operation and result.",
		Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	}, []string{"type", "operation", "result"})
	if err := registry.Register(calls); err != nil {
		return nil, err
	}
	return &Instrument{calls: calls, clock: clock}, nil
}

// Wrap makes a back end counted and timed.
func (i *Instrument) Wrap(p Provider) Provider { return instrumented{Provider: p, instrument: i} }

type instrumented struct {
	Provider
	instrument *Instrument
}

func (p instrumented) Issue(ctx context.Context, l Lease) (*Credential, error) {
	start := p.instrument.clock.Now()
	credential, err := p.Provider.Issue(ctx, l)
	p.observe("issue", err, p.instrument.clock.Since(start).Seconds(), l.ID)
	return credential, err
}

func (p instrumented) Revoke(ctx context.Context, i Issued) (Revoked, error) {
	start := p.instrument.clock.Now()
	revoked, err := p.Provider.Revoke(ctx, i)
	p.observe("revoke", err, p.instrument.clock.Since(start).Seconds(), i.ID)
	return revoked, err
}

func (p instrumented) observe(operation string, err error, seconds float64, lease string) {
	exemplar.Observe(p.instrument.calls.WithLabelValues(p.Type(), operation, result(err)), seconds, lease)
}

// result is one of four words, whatever went wrong.
func result(err error) string {
	switch {
	case err == nil:
		return "ok"
	case IsFinal(err):
		return "final"
	case IsThrottled(err):
		return "throttled"
	default:
		return "retryable"
	}
}
