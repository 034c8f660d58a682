// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package integration

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// apiKey is what a collector may want to be shown.
const apiKey = "collectors-api-key"

// collector takes spans as collectors do: by OTLP over HTTP.
type collector struct {
	*httptest.Server
	mu      sync.Mutex
	bytes   []byte
	spans   []*tracepb.Span
	service string
	wrong   []string
}

func newCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{}
	c.Server = httptest.NewServer(c)
	t.Cleanup(c.Close)
	return c
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	export := &collectorpb.ExportTraceServiceRequest{}
	if err == nil {
		err = proto.Unmarshal(body, export)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil || r.URL.Path != "/v1/traces" || r.Header.Get("Api-Key") != apiKey {
		c.wrong = append(c.wrong, fmt.Sprintf("%s, %v", r.URL, err))
		http.Error(w, "no", http.StatusBadRequest)
		return
	}
	c.bytes = append(c.bytes, body...)
	for _, from := range export.ResourceSpans {
		for _, a := range from.Resource.Attributes {
			if a.Key == "service.name" {
				c.service = a.Value.GetStringValue()
			}
		}
		for _, scope := range from.ScopeSpans {
			c.spans = append(c.spans, scope.Spans...)
		}
	}
}

// trace is all that was told of a request.
func (c *collector) trace(r *v1alpha1.CapabilityRequest) []*tracepb.Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := strings.ReplaceAll(string(r.UID), "-", "")
	return slices.DeleteFunc(slices.Clone(c.spans), func(s *tracepb.Span) bool { return hex.EncodeToString(s.TraceId) != id })
}

// tree is a line for each span, below its parent's and in the order of their beginnings.
func tree(spans []*tracepb.Span, line func(indent string, s *tracepb.Span) string) string {
	slices.SortStableFunc(spans, func(a, b *tracepb.Span) int { return cmp.Compare(a.StartTimeUnixNano, b.StartTimeUnixNano) })
	var text strings.Builder
	var below func(parent []byte, indent string)
	below = func(parent []byte, indent string) {
		for _, s := range spans {
			if bytes.Equal(s.ParentSpanId, parent) {
				text.WriteString(line(indent, s) + "\n")
				below(s.SpanId, indent+"  ")
			}
		}
	}
	below(nil, "")
	return text.String()
}

func name(indent string, s *tracepb.Span) string { return indent + s.Name }

// times are when a span began, after the first, and how long it took.
func times(spans []*tracepb.Span) func(string, *tracepb.Span) string {
	began := slices.MinFunc(spans, func(a, b *tracepb.Span) int { return cmp.Compare(a.StartTimeUnixNano, b.StartTimeUnixNano) }).StartTimeUnixNano
	return func(indent string, s *tracepb.Span) string {
		return fmt.Sprintf("%-22s +%6.3fs %7.3fs", indent+s.Name, time.Duration(s.StartTimeUnixNano-began).Seconds(), time.Duration(s.EndTimeUnixNano-s.StartTimeUnixNano).Seconds())
	}
}

// words are what a span says of itself.
func words(spans []*tracepb.Span, name string) map[string]string {
	said := map[string]string{}
	for _, s := range spans {
		for _, a := range s.Attributes {
			if s.Name == name {
				said[a.Key] = a.Value.GetStringValue()
			}
		}
	}
	return said
}

// traced begins a journey whose operator tells a collector, to which it has to show a key. The other header is not well-formed.
func traced(t *testing.T, name, endpoint string) *journey {
	t.Helper()
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "Api-Key="+apiKey+","+apiKey)
	return alone(t, name, stage.ownOperator(t, "--trace-endpoint="+endpoint))
}

// TestARequestIsOneTraceFromItsBeginningToItsEnd has the operator restart while the grant lives: what the second one tells belongs to
// the same trace, and nothing is told twice.
func TestARequestIsOneTraceFromItsBeginningToItsEnd(t *testing.T) {
	c := newCollector(t)
	j := traced(t, "traced", c.URL)
	j.allow(byAlice)
	j.ask()
	digest := j.awaitDecision(v1alpha1.ReasonAwaitingApproval).Status.Review.Digest
	j.annotate(j.w.alice, j.requestObject(), v1alpha1.AnnotationApprove, digest)
	j.awaitDecision(v1alpha1.ReasonAllowed)
	j.awaitDelivered()
	j.must(j.operator.stop())
	j.operator = stage.ownOperator(t, "--trace-endpoint="+c.URL)
	j.finish(corev1.PodSucceeded)
	g := j.awaitEnd(v1alpha1.OutcomeCompleted, v1alpha1.ReasonJobCompleted)
	r := j.awaitRequestEnd(v1alpha1.ReasonGrantEnded, "Completed")
	refused := alone(t, "traced-refused", j.operator)
	refused.ask()
	refused.expectRefused(v1alpha1.ReasonDeniedByPolicy, "policy")
	j.must(j.operator.stop())

	spans := c.trace(r)
	if !slices.ContainsFunc(spans, func(s *tracepb.Span) bool { return s.Name == "request" }) {
		t.Fatalf("%d spans, and the request's is not among them", len(spans))
	}
	t.Log("\n" + tree(spans, times(spans)))
	// What was issued is ended once more after the end, if the operator still runs by then.
	root := spans[slices.IndexFunc(spans, func(s *tracepb.Span) bool { return s.Name == "request" })]
	spans = slices.DeleteFunc(spans, func(s *tracepb.Span) bool {
		return s.Name == "aws-sts revoke" && bytes.Equal(s.ParentSpanId, root.SpanId)
	})
	want := "request\n  decision\n    approval\n  issue\n    aws-sts issue\n  delivery\n  run\n  end\n    aws-sts revoke\n"
	if got := tree(spans, name); got != want {
		t.Errorf("the trace is\n%swant\n%s", got, want)
	}
	if said := words(spans, "request"); said["valetkey.outcome"] != "Completed" || said["valetkey.revocation"] != "AtExpiry" || said["valetkey.lease_id"] != g.Spec.LeaseID ||
		said["valetkey.capability"] != capability || said["k8s.namespace.name"] != agents || said["k8s.job.name"] != g.Spec.Job.Name || said["valetkey.request"] != j.name {
		t.Errorf("the request says %v", said)
	}
	if said := words(spans, "aws-sts issue"); said["valetkey.result"] != "ok" {
		t.Errorf("the call says %v", said)
	}
	theOther := c.trace(refused.awaitRequestEnd(v1alpha1.ReasonRefused, ""))
	if got := tree(theOther, name); got != "request\n  decision\n" {
		t.Errorf("the refusal's trace is\n%s", got)
	}
	if said := words(theOther, "request"); said["valetkey.decision"] != "refused" || said["valetkey.reason"] != v1alpha1.ReasonDeniedByPolicy {
		t.Errorf("the refusal says %v", said)
	}
	if c.service != "valetkey" || len(c.wrong) > 0 {
		t.Errorf("service %q; not taken: %v", c.service, c.wrong)
	}
	c.expectNoSecret(j, g.Status.Credential.ID, g.Status.Credential.Principal)
}

// expectNoSecret: neither a credential, nor what would prove who the operator is, nor what the agent wrote was exported; and no key of
// the collector's was logged.
func (c *collector) expectNoSecret(j *journey, more ...string) {
	j.Helper()
	values, _ := j.w.canary.Count()
	if values == 0 || len(c.bytes) == 0 {
		j.Fatalf("%d credentials, %d bytes: there is nothing to look for", values, len(c.bytes))
	}
	r := j.sampleRequest()
	exported := string(c.bytes)
	if j.w.canary.Stands(exported) {
		j.Error("a credential was exported")
	}
	for _, word := range append(more, r.Spec.TaskID, r.Spec.Actor, r.Spec.Justification, "Statement", "eyJ", "alice") {
		if strings.Contains(exported, word) {
			j.Errorf("%q was exported", word)
		}
	}
	log, err := os.ReadFile(j.operator.log)
	j.must(err)
	if strings.Contains(string(log), apiKey) {
		j.Error("the collector's key was logged")
	}
}

// TestNobodyWaitsForACollector has one that hangs until the test ends, one where nobody listens, and one that wants another key, which it repeats.
func TestNobodyWaitsForACollector(t *testing.T) {
	hung := make(chan struct{})
	hangs := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-hung:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(func() { close(hung); hangs.Close() })
	refuses := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "unknown key "+r.Header.Get("Api-Key"), http.StatusUnauthorized)
	}))
	t.Cleanup(refuses.Close)
	for _, test := range []struct{ name, endpoint, says string }{
		{"trace-hangs", hangs.URL, "the collector did not take the last spans in time"},
		{"trace-closed", stage.sts.closed, "the collector cannot be reached"},
		{"trace-refused", refuses.URL, "the collector answers 401"},
	} {
		t.Run(test.name, func(t *testing.T) {
			j := traced(t, test.name, test.endpoint)
			j.deliverWithoutApproval()
			j.finish(corev1.PodSucceeded)
			g := j.awaitEnd(v1alpha1.OutcomeCompleted, v1alpha1.ReasonJobCompleted)
			if took := g.Status.EndedAt.Sub(g.CreationTimestamp.Time); took > 20*time.Second {
				t.Errorf("it took %s", took)
			}
			began := time.Now()
			j.must(j.operator.stop())
			if took := time.Since(began); took > 15*time.Second {
				t.Errorf("the operator took %s to end", took)
			}
			log, err := os.ReadFile(j.operator.log)
			j.must(err)
			if !strings.Contains(string(log), test.says) || strings.Contains(string(log), apiKey) {
				t.Errorf("want %q and no key in\n%s", test.says, j.operator.tail())
			}
		})
	}
}
