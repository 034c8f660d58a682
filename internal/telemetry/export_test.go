// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package telemetry

import (
	"context"
	"io"
	stdlog "log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// flusher sends what waits.
type flusher interface {
	ForceFlush(ctx context.Context) error
}

// logbook is a log, and what it holds.
func logbook() (logr.Logger, *strings.Builder) {
	var text strings.Builder
	return funcr.New(func(_, line string) { text.WriteString(line + "\n") }, funcr.Options{}), &text
}

func TestACollectorsAnswerIsNotRepeated(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "Api-Key=the-key")
	log, text := logbook()
	asked := 0
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked++; asked == 1 {
			http.Error(w, "I do not know "+r.Header.Get("Api-Key"), http.StatusForbidden)
		}
	}))
	defer collector.Close()
	provider, flush, err := Export(t.Context(), collector.URL, http.ProxyURL(nil), log)
	if err != nil {
		t.Fatal(err)
	}
	traces := NewTraces(provider)
	tell := func() {
		traces.Ended(granted(v1alpha1.OutcomeCompleted, func(*v1alpha1.CapabilityGrantStatus) {}), after(0))
		if err := provider.(flusher).ForceFlush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	tell()
	tell()
	flush()
	want := `"level"=0 "msg"="spans are being lost" "why"="the collector answers 403"` + "\n" + `"level"=0 "msg"="the collector takes spans again" "lost"=5` + "\n"
	if text.String() != want {
		t.Errorf("logged\n%swant\n%s", text, want)
	}
}

func TestWhySpansAreLostIsSaidInOurOwnWords(t *testing.T) {
	log, text := logbook()
	untrusted := httptest.NewTLSServer(http.NotFoundHandler())
	defer untrusted.Close()
	untrusted.Config.ErrorLog = stdlog.New(io.Discard, "", 0)
	closed := httptest.NewServer(nil)
	closed.Close()
	release := make(chan struct{})
	hangs := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer hangs.Close()
	defer close(release)
	for endpoint, words := range map[string]string{untrusted.URL: "the collector's certificate is not trusted", closed.URL: "the collector cannot be reached", hangs.URL: "the collector does not answer in time"} {
		text.Reset()
		// In milliseconds. Who answers may take longer than a moment.
		t.Setenv("OTEL_BSP_EXPORT_TIMEOUT", map[bool]string{true: "100", false: "4000"}[endpoint == hangs.URL])
		provider, flush, err := Export(t.Context(), endpoint, http.ProxyURL(nil), log)
		if err != nil {
			t.Fatal(err)
		}
		NewTraces(provider).Ended(granted(v1alpha1.OutcomeCompleted, func(*v1alpha1.CapabilityGrantStatus) {}), after(0))
		flush()
		if want := `"level"=0 "msg"="spans are being lost" "why"="` + words + `"` + "\n"; text.String() != want {
			t.Errorf("logged %s, want %s", text, want)
		}
	}
}

// TestExport_GoesByTheProxyThatItIsTold: a proxy is asked for the collector of an http:// URL itself.
func TestExport_GoesByTheProxyThatItIsTold(t *testing.T) {
	asked := ""
	proxy := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked = r.URL.String() }))
	defer proxy.Close()
	at, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	provider, flush, err := Export(t.Context(), "http://collector.invalid", http.ProxyURL(at), logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	NewTraces(provider).Ended(granted(v1alpha1.OutcomeCompleted, func(*v1alpha1.CapabilityGrantStatus) {}), after(0))
	flush()
	if asked != "http://collector.invalid/v1/traces" {
		t.Errorf("the proxy was asked for %q", asked)
	}
}

func TestWithoutAnEndpointNothingIsTold(t *testing.T) {
	provider, flush, err := Export(t.Context(), "", nil, logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	defer flush()
	if _, span := provider.Tracer(Scope).Start(t.Context(), "anything"); span.IsRecording() {
		t.Error("it records")
	}
}

// BenchmarkAGrant is what a grant's whole trace costs whoever works on it: with none, with one that is sent, and with a collector that
// takes nothing while the queue is full.
func BenchmarkAGrant(b *testing.B) {
	takes := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer takes.Close()
	release := make(chan struct{})
	hangs := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer hangs.Close()
	defer close(release)
	g := granted(v1alpha1.OutcomeCompleted, func(*v1alpha1.CapabilityGrantStatus) {})
	for _, test := range []struct{ name, endpoint string }{{"off", ""}, {"taken", takes.URL}, {"hanging", hangs.URL}} {
		b.Run(test.name, func(b *testing.B) {
			provider, _, err := Export(b.Context(), test.endpoint, http.ProxyURL(nil), logr.Discard())
			if err != nil {
				b.Fatal(err)
			}
			traces := NewTraces(provider)
			b.ReportAllocs()
			for b.Loop() {
				traces.Ended(g, &g.CreationTimestamp)
			}
		})
	}
}
