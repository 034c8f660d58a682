// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package gcp_test

import (
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/provider"
)

// TestIssue_SaysUntilWhenATokenThatIsNotUsedWorks: it is nobody's, and works all the same; also the account's own, of
// which the narrowed one is made.
func TestIssue_SaysUntilWhenATokenThatIsNotUsedWorks(t *testing.T) {
	const year = 365 * 24 * time.Hour
	narrowed := func(path string, a map[string]any) bool { return path == "/v1/token" && a["expires_in"] == nil }
	impersonated := func(path string, _ map[string]any) bool { return strings.Contains(path, "generateAccessToken") }
	for name, test := range map[string]struct {
		is     func(path string, a map[string]any) bool
		field  string
		value  func(w *world) any
		extend time.Duration
	}{
		"the narrowed one lives for a year": {narrowed, "expires_in", func(*world) any { return int(year / time.Second) }, year},
		"the account's lives for a year": {impersonated, "expireTime",
			func(*world) any { return time.Now().Add(year).UTC().Format(time.RFC3339) }, year},
		"the narrowed one says more, and not until when": {narrowed, "more", func(*world) any { return true }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.change = func(path string, a map[string]any) {
				switch {
				case test.is(path, a):
					a[test.field] = test.value(w)
				case narrowed(path, a):
					a["expires_in"] = 900 // the narrowed token's own end hides no other
				}
			}
			_, err := w.Issue(t.Context(), w.lease())
			works := provider.StillWorks(err)
			if !provider.IsFinal(err) || provider.IsRefused(err) || works.Unknown != (test.extend == 0) {
				t.Fatalf("got %+v, %v", works, err)
			}
			if apart := works.Until.Sub(time.Now().Add(test.extend)).Abs(); test.extend > 0 && apart > 5*time.Second {
				t.Errorf("it works until %s", works.Until)
			}
		})
	}
}

// TestIssue_AnAnswerThatIsRefusedUnreadWorksNobodyKnowsHowLong: it was given all the same, by whichever call.
func TestIssue_AnAnswerThatIsRefusedUnreadWorksNobodyKnowsHowLong(t *testing.T) {
	for name, test := range map[string]struct{ path, text, words string }{
		"the federated token, twice":   {"/v1/token", `{"access_token":"x","access_token":"y","expires_in":864000}`, "says one thing twice"},
		"the account's, twice":         {"generateAccessToken", `{"accessToken":"x","accessToken":"y","expireTime":"2040-01-01T00:00:00Z"}`, "says one thing twice"},
		"the account's, twice by case": {"generateAccessToken", `{"accessToken":"x","accesstoken":"y"}`, "says one thing twice"},
		"the account's, a page":        {"generateAccessToken", `<html>`, "cannot be read as JSON"},
		"the account's, and more":      {"generateAccessToken", `{"accessToken":"x"}{}`, "more than one way"},
		"the account's, too long":      {"generateAccessToken", `{"accessToken":"` + strings.Repeat("x", 70<<10) + `"}`, "longer than its answers"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.instead = func(path string) string {
				if strings.Contains(path, test.path) {
					return test.text
				}
				return ""
			}
			_, err := w.Issue(t.Context(), w.lease())
			if !provider.IsRetryable(err) || provider.IsRefused(err) || !provider.StillWorks(err).Unknown {
				t.Fatalf("got %+v, %v", provider.StillWorks(err), err)
			}
			if !strings.Contains(err.Error(), test.words) || !strings.Contains(err.Error(), "it is refused") {
				t.Errorf("it says: %v", err)
			}
		})
	}
}

// TestIssue_ANarrowedTokenThatIsRefusedUnreadWorksNobodyKnowsHowLong, whatever is known of the one that it is made of.
func TestIssue_ANarrowedTokenThatIsRefusedUnreadWorksNobodyKnowsHowLong(t *testing.T) {
	w := newWorld(t)
	asked := 0
	w.instead = func(path string) string {
		if path == "/v1/token" {
			asked++
		}
		if asked < 2 {
			return ""
		}
		return `{"access_token":"x","access_token":"y","expires_in":864000}`
	}
	_, err := w.Issue(t.Context(), w.lease())
	if provider.IsRefused(err) || !provider.StillWorks(err).Unknown || !strings.Contains(err.Error(), "narrowing the token: Google answered with success") {
		t.Errorf("got %+v, %v", provider.StillWorks(err), err)
	}
}

// TestIssue_TheWholeTokenWorksAsLongAsItSays, also where the one that was narrowed from it ends before.
func TestIssue_TheWholeTokenWorksAsLongAsItSays(t *testing.T) {
	w := newWorld(t)
	whole := time.Now().Add(18 * time.Minute).UTC().Truncate(time.Second)
	w.change = func(path string, a map[string]any) {
		switch {
		case strings.Contains(path, "generateAccessToken"):
			a["expireTime"] = whole.Format(time.RFC3339)
		case a["expires_in"] == nil:
			a["expires_in"] = 60
		}
	}
	l := w.lease()
	l.TTL = 15 * time.Minute
	c, err := w.Issue(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	if time.Until(c.ExpiresAt()) > 2*time.Minute || c.WorksUntil().Sub(whole).Abs() > 2*time.Second {
		t.Errorf("it works until %s, and the whole one until %s", c.ExpiresAt(), c.WorksUntil())
	}
}
