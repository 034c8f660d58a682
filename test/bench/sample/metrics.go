// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package sample

import (
	"bytes"
	"fmt"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// The metrics that are read.
const (
	requests       = "apiserver_request_total"
	admissionCount = "apiserver_admission_controller_admission_duration_seconds_count"
	admissionSum   = "apiserver_admission_controller_admission_duration_seconds_sum"
	clientCalls    = "rest_client_requests_total"
	reconciles     = "controller_runtime_reconcile_total"
	reconcileTime  = "controller_runtime_reconcile_time_seconds_sum"
	allocated      = "go_memstats_alloc_bytes_total"
	heapInUse      = "go_memstats_heap_inuse_bytes"
	goroutines     = "go_goroutines"
)

// series is one line of a page of metrics.
type series struct {
	name   string
	labels map[string]string
	value  float64
}

// read finds the series of some metrics in a page. The API server's page has tens of thousands of lines, of which a few hundred are wanted:
// the others are not parsed.
func read(page []byte, names ...string) ([]series, error) {
	var wanted bytes.Buffer
	for line := range bytes.Lines(page) {
		name := string(line[:nameLength(line)])
		for _, n := range names {
			if name == n {
				wanted.Write(line)
			}
		}
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(&wanted)
	if err != nil {
		return nil, fmt.Errorf("reading metrics: %w", err)
	}
	var found []series
	for name, family := range families {
		for _, m := range family.GetMetric() {
			found = append(found, series{name: name, labels: labels(m), value: m.GetUntyped().GetValue()})
		}
	}
	return found, nil
}

func nameLength(line []byte) int {
	if end := bytes.IndexAny(line, "{ "); end >= 0 {
		return end
	}
	return 0
}

func labels(m *dto.Metric) map[string]string {
	all := map[string]string{}
	for _, pair := range m.GetLabel() {
		all[pair.GetName()] = pair.GetValue()
	}
	return all
}

// call names what apiserver_request_total counts: PUT capabilitygrants/status, and with what is not ordinary about it: POST dry-run pods,
// DELETE 404 secrets.
func call(l map[string]string) string {
	words := []string{l["verb"]}
	if l["dry_run"] != "" {
		words = append(words, "dry-run")
	}
	if code := l["code"]; code != "" && code[0] != '2' {
		words = append(words, code)
	}
	resource := l["resource"]
	if l["subresource"] != "" {
		resource += "/" + l["subresource"]
	}
	return strings.Join(append(words, resource), " ")
}
