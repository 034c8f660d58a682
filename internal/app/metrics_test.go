// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package app

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/telemetry"
)

func scrape(t *testing.T, from prometheus.Gatherer, accept string) string {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil)
	r.Header.Set("Accept", accept)
	w := httptest.NewRecorder()
	metricsHandler(from).ServeHTTP(w, r)
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
