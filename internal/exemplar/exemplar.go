// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package exemplar marks what is observed with the lease of the grant that it was observed of, by which the audit log names it too.
package exemplar

import "github.com/prometheus/client_golang/prometheus"

// label is that of an exemplar, and the audit record's field.
const label = "lease_id"

// Inc adds one to a counter.
func Inc(c prometheus.Counter, lease string) {
	if with, ok := c.(prometheus.ExemplarAdder); ok && lease != "" {
		with.AddWithExemplar(1, prometheus.Labels{label: lease})
		return
	}
	c.Inc()
}

// Observe adds what was seen to a histogram.
func Observe(h prometheus.Observer, value float64, lease string) {
	if with, ok := h.(prometheus.ExemplarObserver); ok && lease != "" {
		with.ObserveWithExemplar(value, prometheus.Labels{label: lease})
		return
	}
	h.Observe(value)
}
