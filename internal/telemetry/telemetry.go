// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package telemetry is what the operator tells of requests and grants: metrics to Prometheus, and traces to a collector. The names are
// stable; docs/metrics.md and docs/tracing.md list them. No label holds what an agent wrote.
package telemetry

import (
	"cmp"
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/exemplar"
)

// The stages of a grant that somebody waits for.
const (
	// StageIssue is from the grant's creation to the credential's.
	StageIssue = "issue"
	// StageDelivery is from there until the Job was started with it.
	StageDelivery = "delivery"
	// StageEnd is from the reason to end the grant until it had ended: revoked, its Pods and Secrets gone.
	StageEnd = "end"
)

// Metrics counts and times. Only the process that leads observes anything.
type Metrics struct {
	decisions     *prometheus.CounterVec
	decided       *prometheus.HistogramVec
	ended         *prometheus.CounterVec
	stages        *prometheus.HistogramVec
	lateness      prometheus.Histogram
	exposure      *prometheus.HistogramVec
	auditFailures prometheus.Counter
}

// New registers the metrics.
func New(registry prometheus.Registerer) (*Metrics, error) {
	minutes := []float64{.5, 1, 2, 5, 10, 30, 60, 300, 900, 3600, 14400, 43200}
	m := &Metrics{
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "valetkey_decisions_total",
			Help: "Final decisions on requests, by decision (granted or refused) and the reason of the condition Allowed."}, []string{"decision", "reason"}),
		decided: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "valetkey_decision_duration_seconds",
			Help: "How long it took from a request's creation to the final decision, approvals included, by decision; to the second.", Buckets: minutes}, []string{"decision"}),
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "valetkey_grants_ended_total",
			Help: "Grants that ended, by capability, provider type, outcome and revocation mode."}, []string{"capability", "provider", "outcome", "revocation"}),
		stages: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "valetkey_stage_duration_seconds",
			Help: "How long grants were in a stage, by stage and provider type; to the second.", Buckets: minutes}, []string{"stage", "provider"}),
		lateness: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "valetkey_expiry_lateness_seconds",
			Help: "How long after the end of its time a grant that expired had ended; to the second.", Buckets: []float64{0, 1, 2, 5, 10, 30, 60, 300}}),
		exposure: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "valetkey_residual_exposure_seconds",
			Help: "How long after a grant's end a copy of its credential could still be used, by provider type; 0 where revocation was confirmed.", Buckets: minutes},
			[]string{"provider"}),
		auditFailures: prometheus.NewCounter(prometheus.CounterOpts{Name: "valetkey_audit_failures_total",
			Help: "Audit records that could not be written. Nothing is issued, ended or revoked meanwhile."}),
	}
	for _, c := range []prometheus.Collector{m.decisions, m.decided, m.ended, m.stages, m.lateness, m.exposure, m.auditFailures} {
		if err := registry.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// Decided counts a final decision on a request, once it is stored, and times it. lease is that of the grant, if there is one.
func (m *Metrics) Decided(r *v1alpha1.CapabilityRequest, lease string) {
	allowed := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionAllowed)
	if allowed == nil {
		return
	}
	decision := "refused"
	if allowed.Status == metav1.ConditionTrue {
		decision = "granted"
	}
	exemplar.Inc(m.decisions.WithLabelValues(decision, allowed.Reason), lease)
	exemplar.Observe(m.decided.WithLabelValues(decision), seconds(&r.CreationTimestamp, decidedAt(r, allowed)), lease)
}

// decidedAt is when a request was decided on. The condition tells when its status changed last; one that was false all along, while an
// approval was awaited, does not tell when the request was refused, which was its end.
func decidedAt(r *v1alpha1.CapabilityRequest, allowed *metav1.Condition) *metav1.Time {
	return cmp.Or(r.Status.EndedAt, &allowed.LastTransitionTime)
}

// Ended counts a grant whose end was stored, and times its stages.
func (m *Metrics) Ended(g *v1alpha1.CapabilityGrant) {
	s := &g.Status
	provider, revocation := g.Spec.Provider.Type, v1alpha1.RevocationNone
	if s.Revocation != nil {
		revocation = s.Revocation.Mode
	}
	exemplar.Inc(m.ended.WithLabelValues(g.Spec.Capability, provider, string(s.Outcome), string(revocation)), g.Spec.LeaseID)
	m.stage(StageIssue, g, &g.CreationTimestamp, s.IssuedAt)
	if delivered := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionDelivered); delivered != nil && delivered.Status == metav1.ConditionTrue {
		m.stage(StageDelivery, g, s.IssuedAt, &delivered.LastTransitionTime)
	}
	if s.Stop != nil {
		m.stage(StageEnd, g, &s.Stop.At, s.EndedAt)
	}
	if s.Outcome == v1alpha1.OutcomeExpired && s.ExpiresAt != nil {
		exemplar.Observe(m.lateness, seconds(s.ExpiresAt, s.EndedAt), g.Spec.LeaseID)
	}
	if revocation == v1alpha1.RevocationNone {
		return
	}
	if revocation == v1alpha1.RevocationAtExpiry && s.Revocation.ExposedUntil == nil {
		return // nobody can say how long it works, and none would say that it does not
	}
	exemplar.Observe(m.exposure.WithLabelValues(provider), seconds(s.EndedAt, s.Revocation.ExposedUntil), g.Spec.LeaseID)
}

func (m *Metrics) stage(stage string, g *v1alpha1.CapabilityGrant, from, to *metav1.Time) {
	if from != nil && to != nil {
		exemplar.Observe(m.stages.WithLabelValues(stage, g.Spec.Provider.Type), seconds(from, to), g.Spec.LeaseID)
	}
}

// seconds from one instant to another, as far as they are stored: whole ones. What did not happen, or happened before, took none.
func seconds(from, to *metav1.Time) float64 {
	if from == nil || to == nil {
		return 0
	}
	return max(0, to.Truncate(time.Second).Sub(from.Truncate(time.Second)).Seconds())
}

// Auditor writes one audit record, and returns when it is stored.
type Auditor interface {
	Append(ctx context.Context, record audit.Record) (v1alpha1.AuditAnchor, error)
}

// Audit counts what an Auditor could not write.
func (m *Metrics) Audit(to Auditor) Auditor { return counted{Auditor: to, failures: m.auditFailures} }

type counted struct {
	Auditor
	failures prometheus.Counter
}

func (c counted) Append(ctx context.Context, record audit.Record) (v1alpha1.AuditAnchor, error) {
	anchor, err := c.Auditor.Append(ctx, record)
	if err != nil {
		exemplar.Inc(c.failures, record.LeaseID)
	}
	return anchor, err
}
