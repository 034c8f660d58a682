// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package app

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"runtime"
	"strings"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/manager"
)

// How much of what goroutines wait for is sampled while profiles are served: one of so many events of contended locks, and one wait in so
// many nanoseconds of waiting.
const (
	contendedLocks = 5
	waitingTime    = 10_000
)

// addProfileServer serves Go's profiles from every replica, if an address is given. Their handlers are those of net/http/pprof, on a server
// with the same bounds as the operator's others.
func addProfileServer(mgr ctrl.Manager, o options) error {
	if o.pprofAddress == "" {
		return nil
	}
	listener, err := listen(context.Background(), onLoopback(o.pprofAddress))
	if err != nil {
		return fmt.Errorf("--pprof-address: %w", err)
	}
	runtime.SetMutexProfileFraction(contendedLocks)
	runtime.SetBlockProfileRate(waitingTime)
	grace := time.Second
	return mgr.Add(&manager.Server{Name: "profiles", ShutdownTimeout: &grace, Server: newServer(profileHandler()), Listener: listener})
}

// profileHandler serves all profiles but the command line: the flags are in the Pod's spec.
func profileHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "not served: see the arguments in the Pod's spec", http.StatusNotFound)
	})
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}

// onLoopback completes an address that names no host with loopback. Profiles show what the operator does and cost it processor time, so
// that every interface has to be asked for by name.
func onLoopback(address string) string {
	if strings.HasPrefix(address, ":") {
		return net.JoinHostPort("127.0.0.1", address[1:])
	}
	return address
}
