// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// What of an ended grant can still be there.
const (
	// outlivedByPod: a Pod that was given the credential is not known to have ended.
	outlivedByPod = "pod"
	// outlivedAbandoned: somebody gave up on the revocation, and the credential has not expired yet.
	outlivedAbandoned = "abandoned"
	// outlivedUntilExpiry: the back end cannot end a credential early, and this one has not expired yet.
	outlivedUntilExpiry = "until-expiry"
)

// remembered is how long a grant that expired late is told of after its end: an operator that was away at the time was not asked.
const remembered = time.Hour

// trouble is what somebody on call is woken for. All of it is taken from what is stored, so that a restart forgets nothing, and all of
// it is always told: a zero is an answer, a missing series is none.
type trouble struct {
	// oldest is how long the oldest grant has been in each state.
	oldest map[string]time.Duration
	// unconfirmed is the longest that a grant waits for its back end to confirm that the credential is revoked.
	unconfirmed time.Duration
	// late is the longest that a grant was, or is, there after its time was over.
	late time.Duration
	// unseen is how many grants are being ended, and no node has reported in time that their containers ended.
	unseen int
	// outlived is how many grants have ended and left something behind.
	outlived map[string]int
}

func troubleOf(grants []v1alpha1.CapabilityGrant, pods []corev1.Pod, now time.Time) trouble {
	t := trouble{oldest: map[string]time.Duration{stateIssuing: 0, stateLive: 0, stateEnding: 0},
		outlived: map[string]int{outlivedByPod: 0, outlivedAbandoned: 0, outlivedUntilExpiry: 0}}
	alive := map[types.UID]bool{}
	for i := range grants {
		g := &grants[i]
		t.late = max(t.late, lateness(g, now))
		if g.Status.EndedAt != nil {
			t.left(g, now)
			continue
		}
		alive[g.UID] = true
		state := stateOf(g)
		t.oldest[state] = max(t.oldest[state], now.Sub(since(g, state)))
		if ended := meta.FindStatusCondition(g.Status.Conditions, v1alpha1.ConditionEnded); ended != nil && ended.Reason == v1alpha1.ReasonEndNotSeen {
			t.unseen++
		}
		if state == stateEnding && g.Status.Revocation == nil && g.Status.CredentialExpiresAt != nil {
			t.unconfirmed = max(t.unconfirmed, now.Sub(g.Status.Stop.At.Time))
		}
	}
	for i := range pods {
		if of := pods[i].Annotations[v1alpha1.AnnotationGrant]; of != "" && !alive[types.UID(of)] && mayRun(&pods[i]) {
			t.outlived[outlivedByPod]++
		}
	}
	return t
}

// left counts a grant that ended while its credential works on.
func (t *trouble) left(g *v1alpha1.CapabilityGrant, now time.Time) {
	switch {
	case !g.StillWorks(now) || g.Status.Revocation.Mode != v1alpha1.RevocationAtExpiry:
	case g.Abandoned():
		t.outlived[outlivedAbandoned]++
	default:
		t.outlived[outlivedUntilExpiry]++
	}
}

// lateness is how long after its time a grant was there: up to now, or up to its end, if that is not long ago and nothing else ended it.
func lateness(g *v1alpha1.CapabilityGrant, now time.Time) time.Duration {
	s := &g.Status
	switch {
	case s.ExpiresAt == nil:
		return 0
	case s.EndedAt == nil:
		return max(0, now.Sub(s.ExpiresAt.Time))
	case s.Outcome == v1alpha1.OutcomeExpired && now.Sub(s.EndedAt.Time) < remembered:
		return max(0, s.EndedAt.Sub(s.ExpiresAt.Time))
	default:
		return 0
	}
}

func since(g *v1alpha1.CapabilityGrant, state string) time.Time {
	switch state {
	case stateEnding:
		return g.Status.Stop.At.Time
	case stateLive:
		return meta.FindStatusCondition(g.Status.Conditions, v1alpha1.ConditionDelivered).LastTransitionTime.Time
	default:
		return g.CreationTimestamp.Time
	}
}

// mayRun: a node has the Pod, and has not said that its containers ended.
func mayRun(p *corev1.Pod) bool {
	return p.Spec.NodeName != "" && p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed
}

// troubles describes what of it is told.
type troubles struct{ oldest, unconfirmed, late, unseen, outlived *prometheus.Desc }

func newTroubles() troubles {
	return troubles{
		oldest: prometheus.NewDesc("valetkey_oldest_grant_seconds", "How long the oldest grant has been in a state: issuing, live or ending.", []string{"state"}, nil),
		unconfirmed: prometheus.NewDesc("valetkey_oldest_unconfirmed_revocation_seconds",
			"The longest that a grant waits for its back end to confirm that its credential is revoked.", nil, nil),
		late: prometheus.NewDesc("valetkey_worst_expiry_lateness_seconds",
			"The longest that a grant was there after its time was over, of those that are there and those that ended within the last hour.", nil, nil),
		unseen: prometheus.NewDesc("valetkey_unseen_ends",
			"Grants that are being ended and whose containers no node has reported to have ended in time.", nil, nil),
		outlived: prometheus.NewDesc("valetkey_outlived_grants",
			"Grants that ended and left something: a Pod not known to have ended (pod), a credential whose revocation was given up (abandoned) or cannot be had (until-expiry).",
			[]string{"by"}, nil),
	}
}

func (d troubles) describe(to chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{d.oldest, d.unconfirmed, d.late, d.unseen, d.outlived} {
		to <- desc
	}
}

func (d troubles) tell(t trouble, to chan<- prometheus.Metric) {
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	for state, age := range t.oldest {
		gauge(d.oldest, age.Truncate(time.Second).Seconds(), state)
	}
	gauge(d.unconfirmed, t.unconfirmed.Truncate(time.Second).Seconds())
	gauge(d.unseen, float64(t.unseen))
	gauge(d.late, t.late.Truncate(time.Second).Seconds())
	for by, n := range t.outlived {
		gauge(d.outlived, float64(n), by)
	}
}
