// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package gcp_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/provider/outbound/outboundtest"
)

// tokenInWords is a text that could be a token.
const tokenInWords = "no: ya29.c0AfH6SMBx7Q2nT8cK4mW9zR5vY1pL6dJ3"

// TestIssue_NothingIsProvedOfAnAnswerThatWasNotAskedFor, and the longest that any of Google's answers spoke of counts.
func TestIssue_NothingIsProvedOfAnAnswerThatWasNotAskedFor(t *testing.T) {
	const federates, impersonates, narrows = 1, 2, 3
	const account = 18 * time.Minute // the account's token, of which a quarter of an hour was asked
	set := func(field string, value any) func(a map[string]any) {
		return func(a map[string]any) { a[field] = value }
	}
	drop := func(field string) func(a map[string]any) { return func(a map[string]any) { delete(a, field) } }
	whole := ""
	for name, test := range map[string]struct {
		call    int
		change  func(a map[string]any)
		text    string
		status  int
		least   time.Duration
		unknown bool
	}{
		"the account's token, for a minute": {call: narrows, least: account, change: func(a map[string]any) { a["access_token"], a["expires_in"] = whole, 60 }},
		"of another kind, for a minute":     {call: narrows, least: account, change: func(a map[string]any) { a["token_type"], a["expires_in"] = "mac", 60 }},
		"of another type, for a minute":     {call: narrows, least: account, change: func(a map[string]any) { a["issued_token_type"], a["expires_in"] = "x", 60 }},
		"of more scopes, for a minute": {call: narrows, least: account, change: func(a map[string]any) {
			a["scope"], a["expires_in"] = "https://mail.google.com/", 60
		}},
		"for a day":                                  {call: narrows, least: 24 * time.Hour, change: set("expires_in", 86400)},
		"a narrowed token beside another":            {call: narrows, least: account, unknown: true, change: set("next_token", "another")},
		"a narrowed token of another field, by case": {call: narrows, unknown: true, text: `{"access_token":"x","ACCESS_TOKEN":"y","expires_in":60}`},
		"no narrowed token":                          {call: narrows, least: account, change: drop("access_token")},
		"nothing that can be read of it":             {call: narrows, unknown: true, text: "<html></html>"},
		"the account's, for a day":                   {call: impersonates, least: 24 * time.Hour, change: set("expireTime", time.Now().Add(24*time.Hour).UTC().Format(time.RFC3339))},
		"the account's, beside another":              {call: impersonates, least: account, unknown: true, change: set("next", map[string]any{"accessToken": "another"})},
		"the account's, without an end":              {call: impersonates, unknown: true, change: drop("expireTime")},
		"the account's, twice":                       {call: impersonates, unknown: true, text: `{"accessToken":"x","accessToken":"y","expireTime":"2040-01-01T00:00:00Z"}`},
		"a federated token beside another":           {call: federates, unknown: true, change: set("refresh_token", "another")},
		"a federated token for two days":             {call: federates, least: 48 * time.Hour, change: set("expires_in", 172800)},
		"a success that says an error":               {call: impersonates, unknown: true, text: `{"error":{"code":403,"message":"no","status":"PERMISSION_DENIED"}}`},
		"a token beside an error": {call: impersonates, unknown: true, status: 403,
			text: `{"error":{"code":403,"message":"no","status":"PERMISSION_DENIED"},"accessToken":"x"}`},
		"a token within an error": {call: impersonates, unknown: true, status: 403,
			text: `{"error":{"code":403,"message":"no","status":"PERMISSION_DENIED","accessToken":"x"}}`},
		"a token in an error's details": {call: impersonates, unknown: true, status: 403,
			text: `{"error":{"code":403,"message":"no","status":"PERMISSION_DENIED","details":[{"@type":"x","accessToken":"x","expireTime":"2040-01-01T00:00:00Z"}]}}`},
		"a token in an error's errors": {call: impersonates, unknown: true, status: 403,
			text: `{"error":{"code":403,"message":"no","status":"PERMISSION_DENIED","errors":[{"message":"no","token":"x"}]}}`},
		"an answer in an error's metadata": {call: impersonates, unknown: true, status: 403,
			text: `{"error":{"code":403,"message":"no","status":"PERMISSION_DENIED","details":[{"metadata":{"x":{"accessToken":"x"}}}]}}`},
		"a token in an error's words": {call: impersonates, unknown: true, status: 403,
			text: `{"error":{"code":403,"message":"` + tokenInWords + `","status":"PERMISSION_DENIED"}}`},
		"a token in an error's description": {call: federates, unknown: true, status: 400,
			text: `{"error":"invalid_grant","error_description":"` + tokenInWords + `"}`},
	} {
		t.Run(name, func(t *testing.T) {
			w, calls := newWorld(t), 0
			w.refuse = func(string) func(http.ResponseWriter) {
				if calls++; calls != test.call || test.text == "" {
					return nil
				}
				return func(rw http.ResponseWriter) {
					rw.WriteHeader(max(test.status, http.StatusOK))
					_, _ = io.WriteString(rw, test.text)
				}
			}
			w.change = func(_ string, a map[string]any) {
				switch calls {
				case federates:
					a["expires_in"] = 600
				case impersonates:
					whole, _ = a["accessToken"].(string)
					a["expireTime"] = time.Now().Add(account).UTC().Format(time.RFC3339)
				case narrows:
					a["expires_in"] = 900
				}
				if calls == test.call && test.change != nil {
					test.change(a)
				}
			}
			l := w.lease()
			l.TTL = 15 * time.Minute
			c, err := w.Issue(t.Context(), l)
			if c != nil || calls != test.call {
				t.Fatalf("it was given %t, after %d calls", c != nil, calls)
			}
			outboundtest.ExpectMismatched(t, err, time.Now(), time.Now().Add(test.least), test.unknown)
			if strings.Contains(err.Error(), "ya29") || whole != "" && strings.Contains(err.Error(), whole) {
				t.Error("a token is told")
			}
		})
	}
}
