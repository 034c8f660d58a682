// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package telemetry

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// scrapeTime bounds what a scrape waits for.
const scrapeTime = 5 * time.Second

// The states of a grant that has not ended.
const (
	stateIssuing = "issuing"
	stateLive    = "live"
	stateEnding  = "ending"
)

// Living tells how many requests and grants there are in each state, and what is wrong with them, whenever Prometheus asks.
type Living struct {
	reader  client.Reader
	leads   <-chan struct{}
	watches func(namespace string) bool
	clock   clock.PassiveClock

	requests, grants, unwatched *prometheus.Desc
	troubles                    troubles
}

// NewLiving makes a collector that reads from a cache, once this process leads: replicas would tell the same twice. It
// asks which namespaces are watched.
func NewLiving(reader client.Reader, leads <-chan struct{}, watches func(namespace string) bool, clock clock.PassiveClock) *Living {
	return &Living{reader: reader, leads: leads, watches: watches, clock: clock, troubles: newTroubles(),
		unwatched: prometheus.NewDesc("valetkey_unwatched_namespace", "1 for each enrolled namespace that --watch-namespace leaves out: requests there wait for ever.", []string{"namespace"}, nil),
		requests:  prometheus.NewDesc("valetkey_requests", "Requests that have not ended and have no grant, by the reason of the condition Allowed.", []string{"reason"}, nil),
		grants: prometheus.NewDesc("valetkey_grants", "Grants that have not ended, by provider type and state: issuing, live (the Job has the credential) or ending.",
			[]string{"provider", "state"}, nil)}
}

// Describe implements [prometheus.Collector].
func (l *Living) Describe(to chan<- *prometheus.Desc) {
	to <- l.requests
	to <- l.grants
	to <- l.unwatched
	l.troubles.describe(to)
}

// Collect implements [prometheus.Collector]. What cannot be read is not told.
func (l *Living) Collect(to chan<- prometheus.Metric) {
	select {
	case <-l.leads:
	default:
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTime)
	defer cancel()
	l.namespaces(ctx, to)
	requests, grants, pods := &v1alpha1.CapabilityRequestList{}, &v1alpha1.CapabilityGrantList{}, &corev1.PodList{}
	for _, list := range []client.ObjectList{requests, grants, pods} {
		if l.reader.List(ctx, list, client.UnsafeDisableDeepCopy) != nil {
			return
		}
	}
	l.tellWaiting(requests.Items, to)
	l.tellLiving(grants.Items, to)
	l.troubles.tell(troubleOf(grants.Items, pods.Items, l.clock.Now()), to)
}

func (l *Living) tellWaiting(requests []v1alpha1.CapabilityRequest, to chan<- prometheus.Metric) {
	waiting := map[string]int{}
	for i := range requests {
		if r := &requests[i]; r.Status.EndedAt == nil && r.Status.GrantName == "" {
			waiting[reasonOf(r)]++
		}
	}
	for reason, n := range waiting {
		to <- prometheus.MustNewConstMetric(l.requests, prometheus.GaugeValue, float64(n), reason)
	}
}

func (l *Living) tellLiving(grants []v1alpha1.CapabilityGrant, to chan<- prometheus.Metric) {
	living := map[[2]string]int{}
	for i := range grants {
		if g := &grants[i]; g.Status.EndedAt == nil {
			living[[2]string{g.Spec.Provider.Type, stateOf(g)}]++
		}
	}
	for is, n := range living {
		to <- prometheus.MustNewConstMetric(l.grants, prometheus.GaugeValue, float64(n), is[0], is[1])
	}
}

func (l *Living) namespaces(ctx context.Context, to chan<- prometheus.Metric) {
	namespaces := &corev1.NamespaceList{}
	if l.reader.List(ctx, namespaces, client.MatchingLabels{v1alpha1.LabelEnrolled: "true"}, client.UnsafeDisableDeepCopy) != nil {
		return
	}
	for i := range namespaces.Items {
		if name := namespaces.Items[i].Name; !l.watches(name) {
			to <- prometheus.MustNewConstMetric(l.unwatched, prometheus.GaugeValue, 1, name)
		}
	}
}

func reasonOf(r *v1alpha1.CapabilityRequest) string {
	if c := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionAllowed); c != nil {
		return c.Reason
	}
	return "New"
}

func stateOf(g *v1alpha1.CapabilityGrant) string {
	switch {
	case g.Status.Stop != nil:
		return stateEnding
	case meta.IsStatusConditionTrue(g.Status.Conditions, v1alpha1.ConditionDelivered):
		return stateLive
	default:
		return stateIssuing
	}
}
