// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package provider_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace/noop"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/internal/provider/fake"
)

func TestErrorsSayWhatToDo(t *testing.T) {
	tests := []struct {
		name                                 string
		err                                  error
		final, throttled, retryable, refused bool
		after                                time.Duration
	}{
		{name: "no error"},
		{name: "a final refusal", err: provider.NotAsked(provider.Final, ""), final: true, refused: true},
		{name: "something passing", err: &provider.Error{Class: provider.Retryable}, retryable: true},
		{name: "throttling, wrapped", err: fmt.Errorf("issuing: %w", &provider.Error{Class: provider.Throttled, RetryAfter: time.Minute}), throttled: true, after: time.Minute},
		{name: "an error of somebody else is nothing final", err: errors.New("unknown"), retryable: true},
		{name: "nor is a cancelled context", err: context.Canceled, retryable: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := provider.IsFinal(test.err); got != test.final {
				t.Errorf("final: %t", got)
			}
			if got := provider.IsThrottled(test.err); got != test.throttled {
				t.Errorf("throttled: %t", got)
			}
			if got := provider.IsRetryable(test.err); got != test.retryable {
				t.Errorf("retryable: %t", got)
			}
			if got := provider.IsRefused(test.err); got != test.refused {
				t.Errorf("refused: %t", got)
			}
			if got := provider.RetryAfter(test.err); got != test.after {
				t.Errorf("retry after: %s", got)
			}
		})
	}
}

func TestASessionsNameIsOneThatSTSAccepts(t *testing.T) {
	form := regexp.MustCompile(`^[\w+=,.@-]{2,64}$`)
	for _, attempt := range []int32{1, 100, math.MaxInt32} {
		l := provider.Lease{ID: "9f8c6b6a-9c2a-4e0b-8a4d-2d7db8f80731", Attempt: attempt}
		want := fmt.Sprintf("agent-9f8c6b6a-9c2a-4e0b-8a4d-2d7db8f80731-%d", attempt)
		if got := l.Session(); got != want || !form.MatchString(got) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestABackEndIsFoundByItsProviderAndByItsType(t *testing.T) {
	backend := newFake()
	set := provider.NewSet(backend)
	aws := &v1alpha1.CapabilityProvider{Spec: v1alpha1.CapabilityProviderSpec{AWS: &v1alpha1.AWSProvider{}}}
	if got, err := set.For(aws); err != nil || got.Type() != backend.Type() {
		t.Errorf("of an AWS provider: got %v, %v", got, err)
	}
	if got, err := set.OfType("aws-sts"); err != nil || got.Type() != backend.Type() {
		t.Errorf("of type aws-sts: got %v, %v", got, err)
	}
	for name, look := range map[string]func() (provider.Provider, error){
		"a provider without a back end": func() (provider.Provider, error) {
			return set.For(&v1alpha1.CapabilityProvider{ObjectMeta: metav1.ObjectMeta{Name: "empty"}})
		},
		"an unknown type":          func() (provider.Provider, error) { return set.OfType("vault") },
		"a set without that one":   func() (provider.Provider, error) { return provider.NewSet().For(aws) },
		"the set that nobody made": func() (provider.Provider, error) { return provider.Set{}.OfType("aws-sts") },
	} {
		got, err := look()
		var problem *provider.NotReadyError
		if got != nil || !errors.As(err, &problem) || problem.Reason != v1alpha1.ReasonProviderNotReady {
			t.Errorf("%s: got %v, %v", name, got, err)
		}
	}
}

func newFake() *fake.Provider {
	return fake.New(clocktesting.NewFakePassiveClock(time.Unix(0, 0)), 0, v1alpha1.RevocationImmediate)
}

// slow takes two seconds of a clock for every call.
type slow struct {
	provider.Provider
	clock *clocktesting.FakePassiveClock
}

func (s slow) Issue(ctx context.Context, l provider.Lease) (*provider.Credential, error) {
	s.clock.SetTime(s.clock.Now().Add(2 * time.Second))
	return s.Provider.Issue(ctx, l)
}

func TestCallsAreCountedAndTimedByResult(t *testing.T) {
	clock := clocktesting.NewFakePassiveClock(time.Unix(0, 0))
	registry := prometheus.NewPedanticRegistry()
	instrument, err := provider.NewInstrument(registry, noop.NewTracerProvider().Tracer(""), clock)
	if err != nil {
		t.Fatal(err)
	}
	backend := newFake()
	backend.NextErr(nil, &provider.Error{Class: provider.Final}, &provider.Error{Class: provider.Throttled}, errors.New("other"), nil)
	wrapped := instrument.Wrap(slow{backend, clock})
	l := provider.Lease{Values: provider.Longest(nil), Capability: &v1alpha1.Capability{Spec: v1alpha1.CapabilitySpec{AWS: &v1alpha1.AWSCapability{Scope: []v1alpha1.AWSStatement{{}}}}}}
	for range 4 {
		_, _ = wrapped.Issue(t.Context(), l)
	}
	if _, err := wrapped.Revoke(t.Context(), l.Issued("", clock.Now())); err != nil {
		t.Fatal(err)
	}
	text, err := testutil.CollectAndFormat(registry, expfmt.TypeTextPlain, "valetkey_provider_call_duration_seconds")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`_count{operation="issue",result="ok",type="aws-sts"} 1`,
		`_count{operation="issue",result="final",type="aws-sts"} 1`,
		`_count{operation="issue",result="throttled",type="aws-sts"} 1`,
		`_count{operation="issue",result="retryable",type="aws-sts"} 1`,
		`_sum{operation="issue",result="ok",type="aws-sts"} 2`,
		`_count{operation="revoke",result="ok",type="aws-sts"} 1`,
		`_sum{operation="revoke",result="ok",type="aws-sts"} 0`,
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%s is missing in\n%s", want, text)
		}
	}
}

func TestACallsSpanSaysOfAFailureOnlyItsClass(t *testing.T) {
	exporter := tracetest.NewInMemoryExporter()
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter)).Tracer("")
	instrument, err := provider.NewInstrument(prometheus.NewRegistry(), tracer, clocktesting.NewFakePassiveClock(time.Unix(0, 0)))
	if err != nil {
		t.Fatal(err)
	}
	backend := newFake()
	backend.NextErr(&provider.Error{Class: provider.Throttled, Message: "what it said"}, nil)
	wrapped := instrument.Wrap(backend)
	_, _ = wrapped.Issue(t.Context(), provider.Lease{ID: "7", Attempt: 3, Handle: "a handle", Values: provider.Longest(nil), Capability: &v1alpha1.Capability{Spec: v1alpha1.CapabilitySpec{AWS: &v1alpha1.AWSCapability{Scope: []v1alpha1.AWSStatement{{}}}}}})
	if _, err := wrapped.Revoke(t.Context(), provider.Issued{ID: "7", Attempts: 4, Handle: "a handle"}); err != nil {
		t.Fatal(err)
	}
	var said []string
	for _, s := range exporter.GetSpans() {
		said = append(said, fmt.Sprint(s.Name, " ", s.SpanKind, s.Attributes, s.Status, s.Events))
	}
	want := []string{
		`aws-sts issue client [{"valetkey.provider":"aws-sts"} {"valetkey.operation":"issue"} {"valetkey.attempt":3} {"valetkey.result":"throttled"}] {Error } []`,
		`aws-sts revoke client [{"valetkey.provider":"aws-sts"} {"valetkey.operation":"revoke"} {"valetkey.attempt":4} {"valetkey.result":"ok"}] {Unset } []`,
	}
	if !slices.Equal(said, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(said, "\n"), strings.Join(want, "\n"))
	}
}

func TestAMetricIsRegisteredOnce(t *testing.T) {
	registry := prometheus.NewRegistry()
	clock := clocktesting.NewFakePassiveClock(time.Unix(0, 0))
	if _, err := provider.NewInstrument(registry, noop.NewTracerProvider().Tracer(""), clock); err != nil {
		t.Fatal(err)
	}
	if _, err := provider.NewInstrument(registry, noop.NewTracerProvider().Tracer(""), clock); err == nil {
		t.Error("registered twice without an error")
	}
}

func TestAScopeThatCannotBeShownWholeIsRefused(t *testing.T) {
	long := func(n int) []string { return []string{strings.Repeat("a", n)} }
	for _, test := range []struct {
		name  string
		scope provider.Scope
		fits  bool
	}{
		{"as much as fits", provider.Scope{Actions: slices.Repeat(long(256), 128), Lines: long(2048)}, true},
		{"too many parts", provider.Scope{Actions: slices.Repeat(long(1), 129)}, false},
		{"too long a part", provider.Scope{Actions: long(257)}, false},
		{"too long a line", provider.Scope{Lines: long(2049)}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := test.scope.Fits(); (err == nil) != test.fits {
				t.Errorf("got %v", err)
			}
		})
	}
}
