// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package aws_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
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

// TestIssue_AnAnswerThatIsRefusedUnreadWorksNobodyKnowsHowLong: a library would read one of two expiries, and leave the
// year unsaid.
func TestIssue_AnAnswerThatIsRefusedUnreadWorksNobodyKnowsHowLong(t *testing.T) {
	for name, test := range map[string]struct{ from, to, words string }{
		"two expiries":          {"<Expiration>", "<Expiration>2040-01-01T00:00:00Z</Expiration><Expiration>", "says one thing twice"},
		"two expiries by case":  {"<Expiration>", "<expiration>2040-01-01T00:00:00Z</expiration><Expiration>", "says one thing twice"},
		"two credentials":       {"<Credentials>", "<Credentials></Credentials><Credentials>", "says one thing twice"},
		"a comment in a value":  {"</SessionToken>", "<!-- --></SessionToken>", "more than one way"},
		"another answer behind": {"</AssumeRoleWithWebIdentityResponse>", "</AssumeRoleWithWebIdentityResponse><x/>", "more than one way"},
		"no whole answer":       {"</AssumeRoleWithWebIdentityResponse>", "", "cannot be read as XML to its end"},
		"JSON around it":        {"<AssumeRoleWithWebIdentityResponse ", "{}<AssumeRoleWithWebIdentityResponse ", "cannot be read as XML to its end"},
		"longer than any": {"<AssumedRoleUser>", "<RequestId>" + strings.Repeat("A", 200_000) + "</RequestId><AssumedRoleUser>",
			"longer than its answers are"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			record := httptest.NewRecorder()
			w.sts.answer(url.Values{"DurationSeconds": {"3600"}, "RoleSessionName": {w.lease().Session()}}).write(record, nil)
			text := strings.Replace(record.Body.String(), test.from, test.to, 1)
			w.sts.answerNext(func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprint(rw, text) })
			c, err := w.Issue(t.Context(), w.lease())
			if c != nil || !provider.IsRetryable(err) || provider.IsRefused(err) || !provider.StillWorks(err).Unknown {
				t.Fatalf("got credential %t, %+v, %v", c != nil, provider.StillWorks(err), err)
			}
			if !strings.Contains(err.Error(), test.words) || !strings.Contains(err.Error(), "it is refused") {
				t.Errorf("it says: %v", err)
			}
		})
	}
}

// TestIssue_AnAnswerWithoutACredentialWorksNobodyKnowsHowLong: STS answered with success, and may have made one.
func TestIssue_AnAnswerWithoutACredentialWorksNobodyKnowsHowLong(t *testing.T) {
	w := newWorld(t)
	w.sts.answerNext(answer{}.write)
	if _, err := w.Issue(t.Context(), w.lease()); !provider.StillWorks(err).Unknown {
		t.Errorf("got %+v, %v", provider.StillWorks(err), err)
	}
}
