// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package github_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/provider"
)

// TestIssue_SaysUntilWhenATokenThatIsNotUsedWorks: the year that it lives for is known, whether or not GitHub says that it
// has ended it, and it is ended later where it does not.
func TestIssue_SaysUntilWhenATokenThatIsNotUsedWorks(t *testing.T) {
	year := time.Now().Add(365 * 24 * time.Hour).UTC().Truncate(time.Second)
	for name, test := range map[string]struct {
		expires any
		ends    bool
		want    provider.Works
	}{
		"GitHub ends it":           {expires: year.Format(time.RFC3339), ends: true, want: provider.WorksUntil(year)},
		"GitHub does not end it":   {expires: year.Format(time.RFC3339), want: provider.WorksUntil(year)},
		"it does not say":          {want: provider.Works{Unknown: true}},
		"it says so in other form": {expires: 31536000, want: provider.Works{Unknown: true}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			g := &lagging{refusal: badCredentials, knows: test.ends, changed: map[string]any{"expires_at": test.expires}}
			p, l, clock := g.behind(t, w)
			_, err := p.Issue(t.Context(), l)
			if got := provider.StillWorks(err); !provider.IsFinal(err) || !got.Until.Equal(test.want.Until) || got.Unknown != test.want.Unknown {
				t.Errorf("got %+v, want %+v: %v", got, test.want, err)
			}
			if test.want.Until.IsZero() {
				return
			}
			// Other attempts, hours later, forget nothing that works.
			clock.SetTime(clock.Now().Add(3 * time.Hour))
			another := l
			another.ID = "11111111-2222-3333-4444-555555555555"
			_, _ = p.Issue(t.Context(), another)
			g.knows, g.ended = true, false
			if revoked, err := p.Revoke(t.Context(), l.Issued("", year)); err != nil || revoked.Mode != v1alpha1.RevocationImmediate {
				t.Errorf("got %+v, %v", revoked, err)
			}
		})
	}
}

// TestIssue_AnAnswerThatCannotBeReadSaysSo: nobody looks for a failure of GitHub's where something stands in between.
func TestIssue_AnAnswerThatCannotBeReadSaysSo(t *testing.T) {
	for name, test := range map[string]struct {
		status  int
		body    string
		words   string
		unknown bool
	}{
		"longer than any": {http.StatusCreated, `{"token":"` + strings.Repeat("x", 70<<10) + `"}`, "its answer is longer than its answers are: it is refused", true},
		"a page":          {http.StatusOK, "<html>", "cannot be read as JSON to its end", true},
		"a list":          {http.StatusOK, "[]", "not in a form that can be read", true},
		"a token, twice": {http.StatusCreated, `{"token":"x","token":"y","expires_at":"2030-01-01T00:00:00Z"}`,
			"its answer says one thing twice: it is refused", true},
		"a token, twice by case": {http.StatusCreated, `{"token":"x","TOKEN":"y","expires_at":"2030-01-01T00:00:00Z"}`,
			"its answer says one thing twice: it is refused", true},
		"a redirect elsewhere": {http.StatusTemporaryRedirect, "", "sends elsewhere, and is not followed", false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
				rw.Header().Set("Location", "/elsewhere")
				rw.WriteHeader(test.status)
				fmt.Fprint(rw, test.body)
			}))
			defer server.Close()
			w.url = server.URL
			_, err := w.another(t).Issue(t.Context(), w.lease())
			if !provider.IsRetryable(err) || provider.IsRefused(err) || !strings.Contains(err.Error(), test.words) ||
				provider.StillWorks(err).Unknown != test.unknown {
				t.Errorf("got %v", err)
			}
		})
	}
}
