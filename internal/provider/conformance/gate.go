// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"
)

// Gate stands before a server and makes it fail when it is told to: what a real server cannot be asked to do.
type Gate struct {
	next http.Handler

	mu     sync.Mutex
	broken bool
	answer http.HandlerFunc
}

// NewGate stands before a handler.
func NewGate(next http.Handler) *Gate { return &Gate{next: next} }

// Proxy stands before a server that is reached by a transport, and returns the gate and the URL where it listens, on loopback.
func Proxy(t *testing.T, upstream string, transport http.RoundTripper) (*Gate, string) {
	t.Helper()
	target, err := url.Parse(upstream)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Transport: transport,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host // it is signed
		},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	gate := NewGate(proxy)
	server := httptest.NewServer(gate)
	t.Cleanup(server.Close)
	return gate, server.URL
}

// Break lets nothing through from now on, or everything again: connections end without an answer.
func (g *Gate) Break(_ *testing.T, broken bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.broken = broken
}

// AnswerNext answers the next request that would make something, a POST or a PUT, in the server's place.
func (g *Gate) AnswerNext(with http.HandlerFunc) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.answer = with
}

func (g *Gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	broken, answer := g.broken, g.answer
	makes := r.Method == http.MethodPost || r.Method == http.MethodPut
	if !broken && makes {
		g.answer = nil
	}
	g.mu.Unlock()
	switch {
	case broken:
		panic(http.ErrAbortHandler)
	case answer != nil && makes:
		answer(w, r)
	default:
		g.next.ServeHTTP(w, r)
	}
}
