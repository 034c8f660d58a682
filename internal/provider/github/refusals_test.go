// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package github_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/internal/provider/github"
	"github.com/valetkey/valetkey/internal/signer"
)

// TestIssue_WhatGitHubAnswersIsSorted, in no word of GitHub's.
func TestIssue_WhatGitHubAnswersIsSorted(t *testing.T) {
	const (
		secondary = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."
		date      = "Mon, 13 Jun 2022 11:48:53 GMT"
	)
	at := func(after time.Duration) string {
		now, err := http.ParseTime(date)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(now.Add(after).Unix())
	}
	w := newWorld(t)
	for _, tt := range []struct {
		name    string
		status  int
		header  map[string]string
		message string
		class   provider.Class
		wait    time.Duration
		words   string
	}{
		{"suspended", 403, map[string]string{"X-RateLimit-Remaining": "4999", "X-RateLimit-Reset": at(time.Hour)}, "This installation has been suspended",
			provider.Final, 0, "installation 42 for acme/web-app is suspended; its account's owner can unsuspend it"},
		{"another reason", 403, nil, "Resource not accessible by integration", provider.Final, 0, "may not do this by installation 42"},
		{"a repository of another installation", 422, nil, "There is at least one repository that does not exist or is not accessible " +
			"to the parent installation.", provider.Final, 0, "installation 42 for acme/web-app lacks the repository"},
		{"the limit of an hour", 403, map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": at(24 * time.Minute)},
			"API rate limit exceeded for installation ID 42.", provider.Throttled, 24 * time.Minute, "GitHub throttles"},
		{"the same, by 429", 429, map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": at(24 * time.Minute)}, "x",
			provider.Throttled, 24 * time.Minute, "GitHub throttles"},
		{"a reset that lies in the past", 403, map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": at(-time.Minute)}, "x",
			provider.Throttled, time.Second, "GitHub throttles"},
		{"a reset in a year", 403, map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": at(9000 * time.Hour)}, "x",
			provider.Throttled, time.Hour, "GitHub throttles"},
		{"a reset that is none", 403, map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "soon"}, "x",
			provider.Throttled, time.Minute, "GitHub throttles"},
		{"the second limit, with a time", 403, map[string]string{"Retry-After": "60", "X-RateLimit-Remaining": "14"}, "x",
			provider.Throttled, time.Minute, "GitHub throttles"},
		{"the second limit, in words alone", 403, map[string]string{"X-RateLimit-Remaining": "14", "X-RateLimit-Reset": at(time.Hour)}, secondary,
			provider.Throttled, time.Minute, "GitHub throttles"},
		{"429 and nothing else", 429, nil, "x", provider.Throttled, time.Minute, "GitHub throttles"},
		{"a repository that has moved", 301, map[string]string{"Location": "/repositories/1"}, "Moved Permanently", provider.Retryable, 0, "status 301"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w.gate.AnswerNext(func(rw http.ResponseWriter, _ *http.Request) {
				rw.Header().Set("Date", date)
				for name, value := range tt.header {
					rw.Header().Set(name, value)
				}
				rw.WriteHeader(tt.status)
				_ = json.NewEncoder(rw).Encode(map[string]string{"message": tt.message, "documentation_url": "https://docs.github.com/rest"})
			})
			c, err := w.Issue(t.Context(), w.lease())
			e := (*provider.Error)(nil)
			if c != nil || !errors.As(err, &e) || e.Class != tt.class || e.RetryAfter != tt.wait || !strings.Contains(e.Message, tt.words) {
				t.Fatalf("got credential %t, %s after %s: %v", c != nil, e.Class, e.RetryAfter, err)
			}
			if strings.Contains(e.Message, "parent") || strings.Contains(e.Message, "has been") {
				t.Errorf("GitHub's own words are repeated: %s", e.Message)
			}
		})
	}
}

// lagging is a GitHub whose servers do not all know a new token yet: the one that is asked to end it, and to list for it.
type lagging struct {
	knows   bool
	ended   bool
	changed map[string]any
	// refusal is the body of the answer that there is no such token.
	refusal string
	// gateway answers every DELETE by a page of its own.
	gateway bool
}

// badCredentials is GitHub's own.
const badCredentials = `{"message":"Bad credentials","documentation_url":"https://docs.github.com/rest","status":"401"}`

func (g *lagging) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method == http.MethodPost:
		a := map[string]any{"token": "ghs_new-0123456789", "expires_at": time.Now().Add(time.Hour).Format(time.RFC3339), "permissions": map[string]any{"actions": "read"},
			"repository_selection": "selected", "repositories": []any{map[string]any{"full_name": "acme/web-app"}}}
		maps.Copy(a, g.changed)
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(a)
	case g.gateway && r.Method == http.MethodDelete:
		w.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprint(w, "<html>DELETE is not allowed here</html>")
	case !g.knows || g.ended:
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = fmt.Fprint(w, g.refusal)
	case r.Method == http.MethodDelete:
		g.ended = true
		w.WriteHeader(http.StatusNoContent)
	default:
		_, _ = fmt.Fprint(w, `{"total_count":1,"repositories":[]}`)
	}
}

// behind is the back end with this GitHub, a lease of it, and the clock that it goes by.
func (g *lagging) behind(t *testing.T, w *world) (*github.Provider, provider.Lease, *clocktesting.FakePassiveClock) {
	t.Helper()
	server := httptest.NewServer(g)
	t.Cleanup(server.Close)
	key, err := signer.New(w.key)
	if err != nil {
		t.Fatal(err)
	}
	clock := clocktesting.NewFakePassiveClock(time.Now())
	l := w.lease()
	l.Provider.Spec.GitHub.APIURL = server.URL
	return github.New(github.Options{APIs: []string{server.URL}, Signers: map[string]signer.Signer{"app": key}, Clock: clock}), l, clock
}

// TestRevoke_AGatewaysPageEndsNothing: GitHub itself says 204 of a token that it has ended, and one of its servers that
// does not know a new token yet proves nothing.
func TestRevoke_AGatewaysPageEndsNothing(t *testing.T) {
	far := &lagging{refusal: badCredentials, gateway: true}
	backend, l, _ := far.behind(t, newWorld(t))
	if _, err := backend.Issue(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	issued := l.Issued("", time.Now().Add(time.Hour))
	if revoked, err := backend.Revoke(t.Context(), issued); !provider.IsRetryable(err) {
		t.Errorf("it is said to be ended, and works a second later: %+v, %v", revoked, err)
	}
	far.gateway, far.knows = false, true
	if revoked, err := backend.Revoke(t.Context(), issued); err != nil || revoked.Mode != v1alpha1.RevocationImmediate || !far.ended {
		t.Errorf("%+v, %v", revoked, err)
	}
}

// TestRevoke_ATokenThatGitHubDoesNotKnowYetIsNotSaidToBeEnded: a server of GitHub's that does not know a new token yet
// answers as if it were none, and it works a second later.
func TestRevoke_ATokenThatGitHubDoesNotKnowYetIsNotSaidToBeEnded(t *testing.T) {
	w := newWorld(t)
	for name, changed := range map[string]map[string]any{
		"one that was given":              nil,
		"one that was not what was asked": {"permissions": map[string]any{"actions": "write"}},
	} {
		t.Run(name, func(t *testing.T) {
			far := &lagging{changed: changed, refusal: badCredentials}
			backend, l, _ := far.behind(t, w)
			if _, err := backend.Issue(t.Context(), l); (err == nil) != (changed == nil) {
				t.Fatal(err)
			}
			issued := l.Issued("", time.Now().Add(time.Hour))
			if revoked, err := backend.Revoke(t.Context(), issued); !provider.IsRetryable(err) {
				t.Fatalf("it is said to be ended, and works a second later: %+v, %v", revoked, err)
			}
			far.knows = true
			if revoked, err := backend.Revoke(t.Context(), issued); err != nil || revoked.Mode != v1alpha1.RevocationImmediate || !far.ended {
				t.Errorf("%+v, %v", revoked, err)
			}
		})
	}
}

// TestRevoke_ATokenThatGitHubNoLongerKnowsIsEnded: its holder can end it, and the answer to its end can be lost.
func TestRevoke_ATokenThatGitHubNoLongerKnowsIsEnded(t *testing.T) {
	far := &lagging{knows: true, ended: true, refusal: badCredentials}
	backend, l, clock := far.behind(t, newWorld(t))
	if _, err := backend.Issue(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	clock.SetTime(time.Now().Add(2 * time.Minute))
	if revoked, err := backend.Revoke(t.Context(), l.Issued("", time.Now().Add(time.Hour))); err != nil || revoked.Mode != v1alpha1.RevocationImmediate {
		t.Errorf("%+v, %v", revoked, err)
	}
}

// TestRevoke_OnlyGitHubSaysThatATokenIsNone: what stands before it can answer with the same status.
func TestRevoke_OnlyGitHubSaysThatATokenIsNone(t *testing.T) {
	w := newWorld(t)
	for _, body := range []string{"", "{}", "<html>Unauthorized</html>", `{"message":"Unauthorized"}`,
		`{"message":"Requires authentication","documentation_url":"https://docs.github.com/rest","status":"401"}`,
		`{"message":"Must authenticate to access this API.","documentation_url":"https://docs.github.com/rest","status":"401"}`,
		`{"message":"bad credentials","documentation_url":"https://docs.github.com/rest","status":"401"}`,
		strings.Replace(badCredentials, "}", `,"token":"ghs_x"}`, 1), strings.Replace(badCredentials, "Bad", "No Bad", 1)} {
		far := &lagging{knows: true}
		backend, l, clock := far.behind(t, w)
		if _, err := backend.Issue(t.Context(), l); err != nil {
			t.Fatal(err)
		}
		far.knows, far.refusal = false, body
		clock.SetTime(time.Now().Add(2 * time.Minute))
		if revoked, err := backend.Revoke(t.Context(), l.Issued("", time.Now().Add(time.Hour))); !provider.IsRetryable(err) {
			t.Errorf("%q: it is said to be ended: %+v, %v", body, revoked, err)
		}
	}
}

// TestRevoke_ATokenThatStaysKeepsNoOther working.
func TestRevoke_ATokenThatStaysKeepsNoOther(t *testing.T) {
	var issued, asked int
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodPost:
			issued++
			w.WriteHeader(http.StatusCreated)
			_ = json.NewEncoder(w).Encode(map[string]any{"token": fmt.Sprintf("ghs_new-%010d", issued), "permissions": map[string]any{"actions": "read"},
				"expires_at": time.Now().Add(time.Hour).Format(time.RFC3339), "repository_selection": "selected",
				"repositories": []any{map[string]any{"full_name": "acme/web-app"}}})
		case http.MethodDelete:
			asked++
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	defer server.Close()
	w := newWorld(t)
	key, err := signer.New(w.key)
	if err != nil {
		t.Fatal(err)
	}
	l := w.lease()
	l.Provider.Spec.GitHub.APIURL = server.URL
	backend := github.New(github.Options{APIs: []string{server.URL}, Signers: map[string]signer.Signer{"app": key}, Clock: clocktesting.NewFakePassiveClock(time.Now())})
	for attempt := range int32(2) {
		l.Attempt = attempt + 1
		if _, err := backend.Issue(t.Context(), l); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := backend.Revoke(t.Context(), l.Issued("", time.Now().Add(time.Hour))); err == nil || asked != issued {
		t.Errorf("%d of %d tokens were asked to end: %v", asked, issued, err)
	}
}

// TestIssue_OfAnInstallationOverManyRepositoriesOneIsAskedFor: what the token is for is not read page by page.
func TestIssue_OfAnInstallationOverManyRepositoriesOneIsAskedFor(t *testing.T) {
	w := newWorld(t)
	for i := range 3000 {
		w.github.Repositories = append(w.github.Repositories, fmt.Sprintf("repository-%d", i))
	}
	c, err := w.Issue(t.Context(), w.lease())
	if err != nil || !w.get(t, c, "/repos/acme/web-app/actions/artifacts") || w.get(t, c, "/repos/acme/repository-7/actions/artifacts") {
		t.Errorf("it does not work, or for more: %v", err)
	}
	w.change = func(a map[string]any) {
		all := make([]any, 3000)
		for i := range all {
			all[i] = map[string]any{"full_name": fmt.Sprintf("acme/repository-%d", i)}
		}
		a["repositories"] = all
	}
	if c, err := w.Issue(t.Context(), w.lease()); c != nil || err == nil || provider.IsRefused(err) {
		t.Errorf("a token for all of them: got credential %t, %v", c != nil, err)
	}
}

// TestTransferred_ARepositoryOfAnotherOwnerIsNotReached: the answer names who has it now.
func TestTransferred_ARepositoryOfAnotherOwnerIsNotReached(t *testing.T) {
	w := newWorld(t)
	w.change = func(a map[string]any) { a["repositories"] = []any{map[string]any{"full_name": "mallory/web-app"}} }
	l := w.lease()
	if c, err := w.Issue(t.Context(), l); c != nil || !provider.IsFinal(err) || !strings.Contains(err.Error(), "renamed or transferred") {
		t.Fatalf("got credential %t, %v", c != nil, err)
	}
	if revoked, err := w.Revoke(t.Context(), l.Issued("", time.Now().Add(time.Hour))); err != nil || revoked.Mode != v1alpha1.RevocationImmediate {
		t.Errorf("the token that nobody was given works on: %+v, %v", revoked, err)
	}
}
