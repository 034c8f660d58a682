// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package app

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

// addMetricsServer serves the metrics from every replica, whoever leads, unless the address is 0. controller-runtime's own server is
// turned off: it does not speak OpenMetrics, and so tells no exemplars.
func addMetricsServer(mgr ctrl.Manager, o options) error {
	if o.metricsAddress == "0" {
		return nil
	}
	listener, err := listen(context.Background(), o.metricsAddress)
	if err != nil {
		return fmt.Errorf("--metrics-address: %w", err)
	}
	grace, server := time.Second, newServer(metricsHandler(metrics.Registry, o.clock))
	server.WriteTimeout = 3 * callerTime
	return mgr.Add(&manager.Server{Name: "metrics", ShutdownTimeout: &grace, Server: server, Listener: listener})
}

// addHealthServer serves what the kubelet asks from every replica. controller-runtime's own server reads a MiB of
// headers of each of as many connections as come.
func addHealthServer(mgr ctrl.Manager, o options, ready map[string]healthz.Checker) error {
	listener, err := listen(context.Background(), o.healthAddress)
	if err != nil {
		return fmt.Errorf("--health-address: %w", err)
	}
	grace := time.Second
	return mgr.Add(&manager.Server{Name: "health probe", ShutdownTimeout: &grace, Server: newServer(healthHandler(ready)), Listener: listener})
}

func healthHandler(ready map[string]healthz.Checker) http.Handler {
	mux := http.NewServeMux()
	for path, checks := range map[string]map[string]healthz.Checker{"/healthz": {"ping": healthz.Ping}, "/readyz": ready} {
		handler := http.StripPrefix(path, &healthz.Handler{Checks: checks})
		mux.Handle(path, handler)
		mux.Handle(path+"/", handler)
	}
	return mux
}

func metricsHandler(from prometheus.Gatherer, clock clock.PassiveClock) http.Handler {
	mux := http.NewServeMux()
	shared := &sharedGatherer{from: from, clock: clock}
	// What compresses an answer takes hundreds of KiB for each question, and anybody may ask.
	mux.Handle("/metrics", promhttp.HandlerFor(shared, promhttp.HandlerOpts{EnableOpenMetrics: true, DisableCompression: true}))
	return mux
}

// gatheredFor is how long what was gathered is told to all who ask.
const gatheredFor = time.Second

// sharedGatherer gathers once for all who ask at a time: some figures are counted over all that lives, and the port asks for no token.
type sharedGatherer struct {
	from  prometheus.Gatherer
	clock clock.PassiveClock

	mu       sync.Mutex
	at       time.Time
	families []*dto.MetricFamily
	err      error
}

// Gather implements [prometheus.Gatherer].
func (s *sharedGatherer) Gather() ([]*dto.MetricFamily, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := s.clock.Now(); s.at.IsZero() || now.Before(s.at) || now.Sub(s.at) >= gatheredFor {
		s.families, s.err = s.from.Gather()
		s.at = now
	}
	return s.families, s.err
}
