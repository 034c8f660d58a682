// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package redirects_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/valetkey/valetkey/internal/redirects"
)

// TestDrop_NoClientFollows, one of a library's own included, by any status of a redirect, to the same server or
// to another.
func TestDrop_NoClientFollows(t *testing.T) {
	followed := atomic.Int32{}
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { followed.Add(1) }))
	t.Cleanup(elsewhere.Close)
	status := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/elsewhere" {
			followed.Add(1)
			return
		}
		w.Header().Set("Location", r.Header.Get("To"))
		w.WriteHeader(status)
	}))
	t.Cleanup(server.Close)
	c := &http.Client{Transport: redirects.Drop(http.DefaultTransport)}
	for _, status = range []int{300, 301, 302, 303, 307, 308, 399} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			for _, to := range []string{"/elsewhere", elsewhere.URL} {
				request, err := http.NewRequestWithContext(t.Context(), method, server.URL, strings.NewReader("a token"))
				if err != nil {
					t.Fatal(err)
				}
				request.Header.Set("To", to)
				response, err := c.Do(request)
				if err != nil || followed.Load() > 0 {
					t.Fatalf("%s by %d to %s: followed %t, %v", method, status, to, followed.Load() > 0, err)
				}
				if _ = response.Body.Close(); response.StatusCode != status {
					t.Errorf("%s by %d to %s: status %d", method, status, to, response.StatusCode)
				}
			}
		}
	}
}
