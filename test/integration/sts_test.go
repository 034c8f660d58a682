// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package integration

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
)

// strangeSTS answers as its tests want: each has a role of its own.
type strangeSTS struct {
	server *httptest.Server
	// closed is the URL of a port on which nobody listens.
	closed string

	mu      sync.Mutex
	answers map[string]http.HandlerFunc
	calls   map[string]int
}

func newStrangeSTS() *strangeSTS {
	s := &strangeSTS{answers: map[string]http.HandlerFunc{}, calls: map[string]int{}}
	s.server = httptest.NewServer(s)
	unused := httptest.NewServer(nil)
	s.closed = unused.URL
	unused.Close()
	return s
}

func (s *strangeSTS) url() string { return s.server.URL }

func (s *strangeSTS) close() { s.server.Close() }

// answer says what to answer for a role from now on.
func (s *strangeSTS) answer(role string, with http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers[role] = with
}

// called is how often the role was asked for.
func (s *strangeSTS) called(role string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[role]
}

func (s *strangeSTS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	arn := r.PostFormValue("RoleArn")
	role := arn[strings.LastIndex(arn, "/")+1:]
	s.mu.Lock()
	s.calls[role]++
	with := s.answers[role]
	s.mu.Unlock()
	if with == nil {
		http.Error(w, "nobody taught me what to answer", http.StatusNotImplemented)
		return
	}
	with(w, r)
}
