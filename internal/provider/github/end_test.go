// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package github_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/internal/provider/outbound/outboundtest"
)

// ending stands before the stand-in, and answers the end of tokens otherwise.
type ending struct {
	next http.Handler
	// otherwise are the answers to the first questions with a method, and is a status and a body each.
	otherwise map[string][]said
	// asked are those questions, and ended the tokens that were asked to end themselves.
	asked, ended []string
}

type said struct {
	status int
	body   string
}

func (e *ending) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.HasPrefix(r.URL.Path, "/installation/") {
		e.next.ServeHTTP(w, r)
		return
	}
	e.asked = append(e.asked, r.Method)
	if r.Method == http.MethodDelete {
		e.ended = append(e.ended, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
	}
	answers := e.otherwise[r.Method]
	if len(answers) == 0 {
		e.next.ServeHTTP(w, r)
		return
	}
	e.otherwise[r.Method] = answers[1:]
	w.WriteHeader(answers[0].status)
	_, _ = w.Write([]byte(answers[0].body))
}

// behind is a world whose GitHub answers the ends of tokens so.
func (e *ending) behind(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	e.next = w.gate
	server := httptest.NewServer(e)
	t.Cleanup(server.Close)
	w.url = server.URL
	w.Provider = w.another(t)
	return w
}

const anotherToken = "ghs_4711_another.0123456789"

// quarterYear is when another token works no more, and tokenUntil such an answer.
func quarterYear() time.Time { return time.Now().Add(90 * 24 * time.Hour).UTC() }

func tokenUntil(until time.Time) string {
	return `{"token":"` + anotherToken + `","expires_at":"` + until.Format(time.RFC3339) + `",` +
		`"permissions":{"contents":"write","administration":"write"},"repository_selection":"all"}`
}

// TestRevoke_WhatASuccessHoldsBesideTheEndCounts: a token that is shown is ended, and the grant's own is in the end.
func TestRevoke_WhatASuccessHoldsBesideTheEndCounts(t *testing.T) {
	for name, row := range map[string]struct {
		body    string
		unknown bool
	}{
		"a token":                    {tokenUntil(quarterYear()), false},
		"a token without an end":     {`{"token":"` + anotherToken + `"}`, true},
		"a token in another field":   {`{"total_count":1,"repositories":[{"temp_clone_token":"` + anotherToken + `"}]}`, true},
		"a token in a field's words": {`{"repository_selection":"ghs_AWLXx7Q2nT8cK4mW9zR5vY1pL6dJ3hB0sF5g"}`, true},
		"a list":                     {`["x"]`, true},
		"a page":                     {`<html>`, true},
		"an error":                   {`{"error":"no"}`, true},
	} {
		for _, method := range []string{http.MethodDelete, http.MethodGet} {
			e := &ending{otherwise: map[string][]said{method: {{http.StatusOK, row.body}}}}
			w := e.behind(t)
			l := w.lease()
			if _, err := w.Issue(t.Context(), l); err != nil {
				t.Fatal(err)
			}
			_, err := w.Revoke(t.Context(), l.Issued("", time.Now().Add(time.Hour)))
			if !provider.IsRetryable(err) || strings.Contains(err.Error(), "ghs_") {
				t.Fatalf("%s to %s: got %v", name, method, err)
			}
			outboundtest.ExpectMismatched(t, err, time.Now(), quarterYear(), row.unknown)
			if strings.Contains(row.body, `"token":`) && !slices.Contains(e.ended, anotherToken) {
				t.Errorf("%s to %s: the token that was shown was not ended", name, method)
			}
		}
	}
}

// TestRevoke_WhatTheEndOfAnotherIsAnsweredCounts, and is not ended in turn.
func TestRevoke_WhatTheEndOfAnotherIsAnsweredCounts(t *testing.T) {
	soon, late := said{http.StatusOK, tokenUntil(time.Now().Add(time.Hour).UTC())}, said{http.StatusCreated, tokenUntil(quarterYear())}
	e := &ending{otherwise: map[string][]said{http.MethodDelete: {soon, late}}}
	w := e.behind(t)
	l := w.lease()
	if _, err := w.Issue(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	issued := l.Issued("", time.Now().Add(time.Hour))
	_, err := w.Revoke(t.Context(), issued)
	outboundtest.ExpectMismatched(t, err, time.Now(), quarterYear(), false)
	if len(e.ended) != 2 {
		t.Errorf("%d were ended", len(e.ended))
	}
	if revoked, err := w.Revoke(t.Context(), issued); err != nil || revoked.Mode != v1alpha1.RevocationImmediate {
		t.Errorf("asked again: %+v, %v", revoked, err)
	}
}

// TestIssue_WhatTheEndOfAnUnusedTokenIsAnsweredCounts: it works for an hour, and what was answered for longer.
func TestIssue_WhatTheEndOfAnUnusedTokenIsAnsweredCounts(t *testing.T) {
	e := &ending{otherwise: map[string][]said{http.MethodDelete: {{http.StatusOK, tokenUntil(quarterYear())}}}}
	w := e.behind(t)
	w.change = func(a map[string]any) { a["repository_selection"] = "all" }
	_, err := w.Issue(t.Context(), w.lease())
	if !provider.IsFinal(err) {
		t.Fatalf("got %v", err)
	}
	outboundtest.ExpectMismatched(t, err, time.Now(), quarterYear(), false)
}

// TestRevoke_OfATokenThatWorksGitHubSaysNothingElse: a server of GitHub's that does not know the end yet.
func TestRevoke_OfATokenThatWorksGitHubSaysNothingElse(t *testing.T) {
	for name, answer := range map[string]said{
		"GitHub's own":     {http.StatusNoContent, ""},
		"nothing":          {http.StatusOK, ""},
		"a gateway's page": {http.StatusBadGateway, "<html>"},
	} {
		e := &ending{otherwise: map[string][]said{http.MethodDelete: {answer}}}
		w := e.behind(t)
		l := w.lease()
		if _, err := w.Issue(t.Context(), l); err != nil {
			t.Fatal(err)
		}
		issued := l.Issued("", time.Now().Add(time.Hour))
		if _, err := w.Revoke(t.Context(), issued); !provider.IsRetryable(err) || provider.IsMismatched(err) {
			t.Errorf("%s: mismatched %t, %v", name, provider.IsMismatched(err), err)
		}
		if revoked, err := w.Revoke(t.Context(), issued); err != nil || revoked.Mode != v1alpha1.RevocationImmediate {
			t.Errorf("%s: asked again: %+v, %v", name, revoked, err)
		}
	}
}
