// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package github_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/internal/provider/outbound/outboundtest"
)

// TestIssue_NothingIsProvedOfAnAnswerThatWasNotAskedFor: GitHub ends the one token that is known of it.
func TestIssue_NothingIsProvedOfAnAnswerThatWasNotAskedFor(t *testing.T) {
	const token = "ghs_AWLXx7Q2nT8cK4mW9zR5vY1pL6dJ3hB0sF5g"
	said := func() map[string]any {
		return map[string]any{"token": token, "expires_at": time.Now().Add(time.Hour).UTC().Format(time.RFC3339), "permissions": map[string]any{"actions": "read"},
			"repository_selection": "selected", "repositories": []any{map[string]any{"full_name": "acme/web-app"}}}
	}
	set := func(field string, value any) func(map[string]any) { return func(a map[string]any) { a[field] = value } }
	refusal := func(errors any) func(map[string]any) {
		return func(a map[string]any) {
			if errors == nil {
				errors = []any{maps.Clone(a)}
			}
			clear(a)
			maps.Copy(a, map[string]any{"message": "Validation Failed", "documentation_url": "https://docs.github.com/rest", "status": "422", "errors": errors})
		}
	}
	for name, test := range map[string]struct {
		status  int
		change  func(map[string]any)
		least   time.Duration
		unknown bool
	}{
		"another token in a field that is not known": {change: set("next_token", token+"2"), unknown: true},
		"an object in a field that is not known":     {change: set("next", map[string]any{"token": token}), unknown: true},
		"more permissions":                           {change: set("permissions", map[string]any{"actions": "read", "contents": "write"}), least: time.Hour},
		"another repository":                         {change: set("repositories", []any{map[string]any{"full_name": "acme/payments"}}), least: time.Hour},
		"all repositories":                           {change: set("repository_selection", "all"), least: time.Hour},
		"a file":                                     {change: set("single_file", "secrets"), least: time.Hour},
		"for a day":                                  {change: set("expires_at", time.Now().Add(24*time.Hour).UTC().Format(time.RFC3339)), least: 24 * time.Hour},
		"without an end":                             {change: set("expires_at", nil), unknown: true},
		"no token":                                   {change: set("token", ""), least: time.Hour},
		"no token that can be used":                  {change: set("token", "a b"), least: time.Hour},
		"an end by another name":                     {change: set("EXPIRES_AT", "2040-01-01T00:00:00Z"), unknown: true},
		"a success that says an error":               {change: refusal([]any{"no"}), unknown: true},
		"its answer in an error":                     {status: 422, change: refusal(nil), unknown: true},
		"a token in an error":                        {status: 422, change: refusal([]any{map[string]any{"resource": "x", "token": "x"}}), unknown: true},
		"an answer as an error's value":              {status: 422, change: refusal([]any{map[string]any{"value": said()}}), unknown: true},
		"a token as an error":                        {status: 422, change: refusal([]any{token}), unknown: true},
		"a token as an error's value":                {status: 422, change: refusal([]any{map[string]any{"value": token}}), unknown: true},
		"a token in an error's words":                {status: 422, change: func(a map[string]any) { refusal("no")(a); a["message"] = "no: " + token }, unknown: true},
		"a token beside an error":                    {status: 403, change: func(a map[string]any) { refusal([]any{"no"})(a); a["token"] = token }, unknown: true},
	} {
		t.Run(name, func(t *testing.T) {
			ended, asked := false, false
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.Method == http.MethodPost && !asked:
					asked = true
					a := said()
					test.change(a)
					w.WriteHeader(max(test.status, http.StatusCreated))
					_ = json.NewEncoder(w).Encode(a)
				case r.Method == http.MethodDelete:
					ended = true
					w.WriteHeader(http.StatusNoContent)
				default:
					w.WriteHeader(http.StatusUnauthorized)
					_, _ = w.Write([]byte(badCredentials))
				}
			}))
			defer server.Close()
			w := newWorld(t)
			w.url = server.URL
			c, err := w.another(t).Issue(t.Context(), w.lease())
			if c != nil || err == nil || strings.Contains(err.Error(), "ghs_") {
				t.Fatalf("given %t: %v", c != nil, err)
			}
			outboundtest.ExpectMismatched(t, err, time.Now(), time.Now().Add(test.least), test.unknown)
			if strings.HasPrefix(name, "another token") && !ended {
				t.Error("the token that is known was not ended")
			}
		})
	}
	w := newWorld(t)
	w.change = func(a map[string]any) { a["token"] = w.proof }
	_, err := w.Issue(t.Context(), w.lease())
	outboundtest.ExpectMismatched(t, err, time.Now(), time.Now().Add(50*time.Minute), false)
	if provider.IsRefused(err) {
		t.Errorf("got %v", err)
	}
}

// TestIssue_ARefusalOfGitHubsOwnIsOne: its elements are texts, or objects of texts.
func TestIssue_ARefusalOfGitHubsOwnIsOne(t *testing.T) {
	for _, errors := range []string{`null`, `[]`, `"There is at least one repository that does not exist"`, `["no"]`,
		`[{"resource":"Installation","field":"permissions","code":"custom","message":"not granted","value":"write"}]`,
		`[{"resource":"Installation","field":"repositories","code":"invalid","index":0,"value":["web-app"]}]`} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusUnprocessableEntity)
			_, _ = w.Write([]byte(`{"message":"Validation Failed","documentation_url":"https://docs.github.com/rest/apps/apps#create-an-installation-access-token-for-an-app","status":"422","errors":` + errors + `}`))
		}))
		w := newWorld(t)
		w.url = server.URL
		_, err := w.another(t).Issue(t.Context(), w.lease())
		server.Close()
		if !provider.IsFinal(err) || !provider.IsRefused(err) {
			t.Errorf("%s: refused %t, %v", errors, provider.IsRefused(err), err)
		}
	}
}
