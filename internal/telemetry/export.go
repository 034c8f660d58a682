// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package telemetry

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"time"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/valetkey/valetkey/internal/provider/outbound"
)

// flushTime bounds how long an operator that ends waits for its last spans to be taken.
const flushTime = 5 * time.Second

// Export makes tracers whose spans go to a collector at a URL, and what sends the last of them. Without a URL they go nowhere. Spans wait
// in a queue of limited size; those for which there is no room, and those that the collector does not take, are lost. Nobody waits for them.
//
// The collector is reached as back ends are, and no variable of the environment says otherwise.
func Export(ctx context.Context, endpoint string, way outbound.Settings, log logr.Logger) (trace.TracerProvider, func(), error) {
	if endpoint == "" {
		return noop.NewTracerProvider(), func() {}, nil
	}
	// The library logs settings that it cannot parse, headers with their secrets among them, and errors that can hold
	// a collector's words.
	otel.SetLogger(logr.Discard())
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(error) {}))
	authorities, certificates, err := readCertificates(os.Getenv)
	if err != nil {
		return nil, nil, err
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(endpoint+"/v1/traces"), otlptracehttp.WithHTTPClient(way.Collector(authorities, certificates)))
	if err != nil {
		return nil, nil, errors.New("traces cannot be exported: see the variables OTEL_EXPORTER_OTLP_*")
	}
	who, err := resource.New(ctx, resource.WithAttributes(semconv.ServiceName("valetkey")), resource.WithHost(), resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil {
		return nil, nil, errors.New("traces cannot be exported: see the variables OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES")
	}
	provider := newProvider(sdktrace.WithBatcher(&discreet{SpanExporter: exporter, log: log}), sdktrace.WithResource(who))
	return provider, func() { flush(provider, log) }, nil
}

// newProvider makes tracers that record everything, under the IDs of requests. There is no sampling by ratio: what the SDK compares with it
// is the half of the trace's ID in which UUIDs have a fixed part.
func newProvider(options ...sdktrace.TracerProviderOption) *sdktrace.TracerProvider {
	return sdktrace.NewTracerProvider(append(options, sdktrace.WithIDGenerator(identities{}), sdktrace.WithSampler(sdktrace.AlwaysSample()))...)
}

func flush(provider *sdktrace.TracerProvider, log logr.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), flushTime)
	defer cancel()
	if provider.Shutdown(ctx) != nil {
		log.Info("the collector did not take the last spans in time")
	}
}

// discreet keeps to itself what a collector said, for that can repeat what it was sent. It says once that spans are being lost, and
// once how many were.
type discreet struct {
	sdktrace.SpanExporter
	log  logr.Logger
	lost int
}

// ExportSpans implements [sdktrace.SpanExporter]. It is not called twice at the same time.
func (d *discreet) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := d.SpanExporter.ExportSpans(ctx, spans)
	switch {
	case err != nil:
		if d.lost == 0 {
			d.log.Info("spans are being lost", "why", why(errors.Join(err, ctx.Err())))
		}
		d.lost += len(spans)
	case d.lost > 0:
		d.log.Info("the collector takes spans again", "lost", d.lost)
		d.lost = 0
	}
	return nil
}

// status is that of HTTP in the exporter's words, which has no other place.
var status = regexp.MustCompile(`/v1/traces: ([1-5][0-9][0-9]) `)

// why in our own words.
func why(err error) string {
	untrusted, unreached := (*tls.CertificateVerificationError)(nil), (*url.Error)(nil)
	switch {
	case errors.As(err, &untrusted):
		return "the collector's certificate is not trusted"
	case errors.Is(err, context.DeadlineExceeded):
		return "the collector does not answer in time"
	case errors.As(err, &unreached):
		return "the collector cannot be reached"
	}
	if code := status.FindStringSubmatch(err.Error()); code != nil {
		return fmt.Sprintf("the collector answers %s", code[1])
	}
	return "the collector does not take them"
}
