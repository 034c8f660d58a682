// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package telemetry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	stdlog "log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/provider/outbound"
	"github.com/valetkey/valetkey/internal/provider/outbound/outboundtest"
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
	provider, flush, err := Export(t.Context(), collector.URL, outbound.Settings{}, log)
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
		provider, flush, err := Export(t.Context(), endpoint, outbound.Settings{}, log)
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

// export tells a collector of one grant.
func export(t *testing.T, endpoint string, way outbound.Settings, log logr.Logger) {
	t.Helper()
	provider, flush, err := Export(t.Context(), endpoint, way, log)
	if err != nil {
		t.Fatal(err)
	}
	NewTraces(provider).Ended(granted(v1alpha1.OutcomeCompleted, func(*v1alpha1.CapabilityGrantStatus) {}), after(0))
	flush()
}

// TestExport_GoesTheWayOfBackEnds: by the proxy and with the authorities of flags, or the authority that a variable
// names, and never by a proxy of the environment.
func TestExport_GoesTheWayOfBackEnds(t *testing.T) {
	company := outboundtest.NewNetwork(t)
	proxy := company.Proxy(t, false)
	asked := atomic.Int32{}
	byName, onLoopback := company.Serve(t, "collector.example.com", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, []byte(company.Authority), 0o400); err != nil {
		t.Fatal(err)
	}
	t.Setenv("HTTPS_PROXY", "http://nobody-named-it.invalid:3128")
	t.Setenv("HTTP_PROXY", "http://nobody-named-it.invalid:3128")
	for _, tt := range []struct {
		name, endpoint, variable string
		way                      outbound.Settings
		heard                    int
	}{
		{"straight", onLoopback, "", outbound.Settings{Authorities: company.Pool()}, 0},
		{"an authority of its own", onLoopback, file, outbound.Settings{}, 0},
		{"by a proxy", byName, "", outbound.Settings{Authorities: company.Pool(), Proxy: outbound.Proxy(proxy.URL, nil)}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", tt.variable)
			asked.Store(0)
			log, text := logbook()
			if export(t, tt.endpoint, tt.way, log); asked.Load() != 1 || text.String() != "" {
				t.Errorf("the collector was asked %d times: %s", asked.Load(), text)
			}
			if heard := proxy.Heard(); len(heard) != tt.heard {
				t.Errorf("the proxy was asked: %s", heard)
			}
		})
	}
}

// TestExport_FollowsNoRedirect: the collector's key would go along.
func TestExport_FollowsNoRedirect(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "Api-Key=the-key")
	followed := atomic.Int32{}
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { followed.Add(1) }))
	t.Cleanup(elsewhere.Close)
	for _, status := range []int{301, 302, 303, 307, 308} {
		for _, to := range []string{"/elsewhere", elsewhere.URL} {
			collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/elsewhere" {
					followed.Add(1)
				}
				w.Header().Set("Location", to)
				w.WriteHeader(status)
			}))
			t.Cleanup(collector.Close)
			log, text := logbook()
			export(t, collector.URL, outbound.Settings{}, log)
			if want := fmt.Sprintf("the collector answers %d", status); followed.Load() > 0 || !strings.Contains(text.String(), want) {
				t.Errorf("%d to %s: followed %t, logged %s", status, to, followed.Load() > 0, text)
			}
		}
	}
}

// TestExport_ShowsTheCertificateThatVariablesName to a collector that wants one.
func TestExport_ShowsTheCertificateThatVariablesName(t *testing.T) {
	shown := atomic.Int32{}
	collector := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		shown.Store(int32(len(r.TLS.PeerCertificates)))
	}))
	collector.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	collector.StartTLS()
	t.Cleanup(collector.Close)
	folder := t.TempDir()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o400); err != nil {
			t.Fatal(err)
		}
		return path
	}
	key, err := x509.MarshalPKCS8PrivateKey(collector.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	certificate := write("tls.crt", "CERTIFICATE", collector.Certificate().Raw)
	t.Setenv("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", certificate)
	t.Setenv("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", certificate)
	t.Setenv("OTEL_EXPORTER_OTLP_CLIENT_KEY", write("tls.key", "PRIVATE KEY", key))
	if export(t, collector.URL, outbound.Settings{}, logr.Discard()); shown.Load() != 1 {
		t.Error("it was not shown")
	}
}

// TestExport_AFileThatCannotBeUsedIsRefused, and nothing of it is repeated.
func TestExport_AFileThatCannotBeUsedIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("hunter2"), 0o400); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"CERTIFICATE", "TRACES_CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY"} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("OTEL_EXPORTER_OTLP_"+name, file)
			_, _, err := Export(t.Context(), "https://collector.example.com", outbound.Settings{}, logr.Discard())
			if err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "CERTIFICATE") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestWithoutAnEndpointNothingIsTold(t *testing.T) {
	provider, flush, err := Export(t.Context(), "", outbound.Settings{}, logr.Discard())
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
			provider, _, err := Export(b.Context(), test.endpoint, outbound.Settings{}, logr.Discard())
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
