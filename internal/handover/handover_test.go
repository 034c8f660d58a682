// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package handover_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/valetkey/valetkey/internal/handover"
)

func TestATokenIsGivenBackAsLongAsItLives(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	whole := url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "subject_token_type": {"urn:ietf:params:oauth:token-type:access_token"}, "subject_token": {"ya29.a"}}
	without := func(name string) url.Values {
		v := url.Values{}
		for key, value := range whole {
			if key != name {
				v[key] = value
			}
		}
		return v
	}
	tests := []struct {
		name, query string
		form        url.Values
		status      int
		words       string
	}{
		{"one that lives", "expires=1800000060", whole, http.StatusOK, `"expires_in":60`},
		{"one that has just expired", "expires=1800000000", whole, http.StatusBadRequest, "expired 0 seconds ago"},
		{"one of which nobody says when", "", whole, http.StatusBadRequest, "invalid_request"},
		{"no token", "expires=1800000060", without("subject_token"), http.StatusBadRequest, "invalid_request"},
		{"another exchange", "expires=1800000060", without("grant_type"), http.StatusBadRequest, "invalid_request"},
		{"another kind of token", "expires=1800000060", without("subject_token_type"), http.StatusBadRequest, "invalid_request"},
		{"a token that is huge", "expires=1800000060", url.Values{"subject_token": {strings.Repeat("a", 1<<20)}}, http.StatusBadRequest, "invalid_request"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/token?"+test.query, strings.NewReader(test.form.Encode()))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			w := httptest.NewRecorder()
			handover.Handler(clocktesting.NewFakePassiveClock(now)).ServeHTTP(w, r)
			given := strings.Contains(w.Body.String(), `"access_token":"ya29.a"`)
			if w.Code != test.status || !strings.Contains(w.Body.String(), test.words) || given != (test.status == http.StatusOK) {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
}

func TestOnlyItsOwnFilesAreCompleted(t *testing.T) {
	own := handover.Credentials("/token", "//iam.googleapis.com/x", time.Unix(1_800_000_000, 0))
	completed, err := handover.Complete([]byte(own), "http://127.0.0.1:4000/abc")
	said := struct {
		URL    string `json:"token_url"`
		Source struct {
			File string `json:"file"`
		} `json:"credential_source"`
	}{}
	if err != nil || json.Unmarshal(completed, &said) != nil || said.URL != "http://127.0.0.1:4000/abc?expires=1800000000" || said.Source.File != "/token" {
		t.Errorf("%s: %v", completed, err)
	}
	for name, text := range map[string]string{
		"nothing": "", "no JSON": "x", "completed already": string(completed), "another kind": strings.Replace(own, "external_account", "service_account", 1),
		"another token": strings.Replace(own, "token-type:access_token", "token-type:jwt", 1), "no expiry": strings.Replace(own, "?expires=1800000000", "", 1),
		"Google's own": strings.Replace(own, "start-the-command-with-valetkey-exec.invalid", "sts.googleapis.com", 1),
	} {
		if text, err := handover.Complete([]byte(text), "http://127.0.0.1:4000/abc"); err == nil {
			t.Errorf("%s: made %s", name, text)
		}
	}
}
