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
