// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package app

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

// addMetricsServer serves the metrics from every replica, whoever leads, unless the address is 0. controller-runtime's own server is
// turned off: it does not speak OpenMetrics, and so tells no exemplars.
func addMetricsServer(mgr ctrl.Manager, o options) error {
	if o.metricsAddress == "0" {
		return nil
	}
	const wait = 10 * time.Second
	grace := time.Second
	return mgr.Add(&manager.Server{Name: "metrics", ShutdownTimeout: &grace, Server: &http.Server{Addr: o.metricsAddress, Handler: metricsHandler(metrics.Registry),
		ReadHeaderTimeout: wait, ReadTimeout: wait, WriteTimeout: 3 * wait, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10}})
}

func metricsHandler(from prometheus.Gatherer) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(from, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	return mux
}
