// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package app

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/telemetry"
)

func scrape(t *testing.T, from prometheus.Gatherer, accept string) string {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil)
	r.Header.Set("Accept", accept)
	w := httptest.NewRecorder()
	metricsHandler(from, clock.RealClock{}).ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	return w.Body.String()
}

func TestAnExemplarNamesTheLeaseAndNothingOfTheAgents(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	told, err := telemetry.New(registry)
	if err != nil {
		t.Fatal(err)
	}
	now := metav1.Now()
	const lease = "9f8c6b6a-9c2a-4e0b-8a4d-2d7db8f80731"
	told.Ended(&v1alpha1.CapabilityGrant{
		Spec:   v1alpha1.CapabilityGrantSpec{LeaseID: lease, TaskID: "the agent's", Actor: "the agent's", Provider: v1alpha1.GrantProvider{Type: "aws-sts"}},
		Status: v1alpha1.CapabilityGrantStatus{Outcome: v1alpha1.OutcomeExpired, IssuedAt: &now, ExpiresAt: &now, EndedAt: &now},
	})
	open := scrape(t, registry, "application/openmetrics-text; version=1.0.0")
	if want := `# {lease_id="` + lease + `"}`; strings.Count(open, want) != 3 || !strings.HasSuffix(open, "# EOF\n") {
		t.Errorf("there are not three exemplars %s in\n%s", want, open)
	}
	if strings.Contains(open, "the agent's") {
		t.Error("what the agent wrote is told")
	}
	if old := scrape(t, registry, "text/plain"); strings.Contains(old, "lease_id") || !strings.Contains(old, "valetkey_expiry_lateness_seconds_count 1") {
		t.Errorf("whoever does not ask for OpenMetrics gets\n%s", old)
	}
}

// TestMetrics_AreGatheredOnceForAllWhoAsk: the port asks for no token, and some figures are counted over all that lives.
func TestMetrics_AreGatheredOnceForAllWhoAsk(t *testing.T) {
	gathered := 0
	from := prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		gathered++
		name, kind := fmt.Sprintf("gathered_%d", gathered), dto.MetricType_GAUGE
		return []*dto.MetricFamily{{Name: &name, Type: &kind, Metric: []*dto.Metric{{Gauge: &dto.Gauge{Value: new(float64)}}}}}, nil
	})
	now := clocktesting.NewFakePassiveClock(time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC))
	handler := metricsHandler(from, now)
	ask := func(want string) {
		t.Helper()
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil)
		r.Header.Set("Accept-Encoding", "gzip")
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("got %s; want %s", w.Body, want)
		}
	}
	for range 512 {
		ask("gathered_1 0")
	}
	now.SetTime(now.Now().Add(gatheredFor - time.Nanosecond))
	ask("gathered_1 0")
	now.SetTime(now.Now().Add(time.Nanosecond))
	ask("gathered_2 0")
	now.SetTime(now.Now().Add(-time.Hour)) // somebody set the clock
	ask("gathered_3 0")
}
