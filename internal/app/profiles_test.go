// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package app

import (
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestProfiles_AreServedOnLoopbackUnlessAHostIsNamed(t *testing.T) {
	for given, want := range map[string]string{
		":6060": "127.0.0.1:6060", "0.0.0.0:6060": "0.0.0.0:6060", "[::]:6060": "[::]:6060", "10.0.0.7:6060": "10.0.0.7:6060",
	} {
		if got := onLoopback(given); got != want {
			t.Errorf("%s is served at %s, want %s", given, got, want)
		}
	}
	listener, err := listen(t.Context(), onLoopback(":0"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	if address, ok := listener.Addr().(*net.TCPAddr); !ok || !address.IP.IsLoopback() {
		t.Errorf("it listens at %s", listener.Addr())
	}
}

func TestProfiles_AreThoseOfGoWithoutTheCommandLine(t *testing.T) {
	for path, want := range map[string]int{
		"/debug/pprof/": http.StatusOK, "/debug/pprof/heap": http.StatusOK, "/debug/pprof/mutex": http.StatusOK,
		"/debug/pprof/profile?seconds=1": http.StatusOK, "/debug/pprof/cmdline": http.StatusNotFound, "/metrics": http.StatusNotFound,
	} {
		w := httptest.NewRecorder()
		profileHandler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		if w.Code != want {
			t.Errorf("%s: %d, want %d", path, w.Code, want)
		}
	}
}
