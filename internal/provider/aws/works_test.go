// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package aws_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/provider"
)

// TestIssue_SaysUntilWhenAnAnswerThatIsNotUsedWorks: it is nobody's, and works all the same.
func TestIssue_SaysUntilWhenAnAnswerThatIsNotUsedWorks(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(a *answer, year string)
		want  func(year time.Time) provider.Works
	}{
		"it lives for a year": {func(a *answer, year string) { a.Expires = year }, provider.WorksUntil},
		"it is another role's, and lives for a year": {func(a *answer, year string) {
			a.ARN, a.Expires = strings.Replace(a.ARN, "/publisher/", "/admin/", 1), year
		}, provider.WorksUntil},
		"it cannot be projected, and lives for a year": {func(a *answer, year string) { a.KeyID, a.Expires = a.Secret, year }, provider.WorksUntil},
		"it does not say": {func(a *answer, _ string) { a.Expires = "" }, func(time.Time) provider.Works { return provider.Works{Unknown: true} }},
		"it says so in a form that nobody knows": {func(a *answer, _ string) { a.Expires = "in a year" },
			func(time.Time) provider.Works { return provider.Works{Unknown: true} }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			year := w.clock.Now().Add(365 * 24 * time.Hour).UTC().Truncate(time.Second)
			a := w.sts.answer(url.Values{"DurationSeconds": {"3600"}, "RoleSessionName": {w.lease().Session()}})
			test.spoil(&a, year.Format(time.RFC3339))
			w.sts.answerNext(a.write)
			_, err := w.Issue(t.Context(), w.lease())
			if err == nil || provider.IsRefused(err) {
				t.Fatalf("got %v", err)
			}
			if got, want := provider.StillWorks(err), test.want(year); !got.Until.Equal(want.Until) || got.Unknown != want.Unknown {
				t.Errorf("got %+v, want %+v: %v", got, want, err)
			}
		})
	}
}
