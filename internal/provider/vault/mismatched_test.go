// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package vault_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/utils/clock"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/internal/provider/outbound/outboundtest"
	"github.com/valetkey/valetkey/internal/provider/vault"
)

// TestIssue_NothingIsProvedOfAnAnswerThatWasNotAskedFor: what Vault shows of it is ended, and that is no proof. The
// longest that any of its answers spoke of counts.
func TestIssue_NothingIsProvedOfAnAnswerThatWasNotAskedFor(t *testing.T) {
	const decade, half = 315_360_000, 43_200
	auth := func(said map[string]any) map[string]any { in, _ := said["auth"].(map[string]any); return in }
	set := func(field string, value any) func(map[string]any) {
		return func(said map[string]any) { said[field] = value }
	}
	token := func(field string, value any) func(map[string]any) {
		return func(said map[string]any) { auth(said)[field] = value }
	}
	orphan := func(said map[string]any) {
		auth(said)["orphan"], auth(said)["policies"], auth(said)["lease_duration"] = true, []any{"root"}, decade
	}
	leased := func(said map[string]any) {
		said["lease_id"], said["lease_duration"], said["renewable"] = "database/creds/previews/2", half, true
		said["data"] = map[string]any{"username": "v-another", "password": "another"}
	}
	beside := func(said map[string]any) {
		said["auth"] = map[string]any{"client_token": "hvs.another-0123456789", "accessor": "c", "lease_duration": decade, "orphan": true}
	}
	wrapped := func(accessor string) func(map[string]any) {
		return func(said map[string]any) {
			delete(said, "auth")
			said["wrap_info"] = map[string]any{"token": "hvs.wrapping-0123456789", "ttl": 300, "wrapped_accessor": accessor}
		}
	}
	for name, test := range map[string]struct {
		path   string
		change func(said map[string]any)
		// raw is answered in place of that, with a status.
		raw    string
		status int
		// ends is the token that is asked to end itself.
		ends string
		// seconds until it works no more, zero where that is the login's hour or is not said.
		seconds int
		unknown bool
	}{
		"a lease beside the login":                 {path: logsIn, change: leased, seconds: half},
		"data beside the login":                    {path: logsIn, change: set("data", map[string]any{"password": "another"}), unknown: true},
		"a field beside the login":                 {path: logsIn, change: set("next", map[string]any{"client_token": "x"}), unknown: true},
		"a field of the login's that nobody knows": {path: logsIn, change: token("next_token", "x"), unknown: true, ends: loginToken},
		"a login's token that nobody can end":      {path: logsIn, change: func(s map[string]any) { delete(auth(s), "accessor") }, ends: loginToken},
		"a login's token that its accessor tells":  {path: logsIn, change: token("accessor", loginToken)},
		"what the login was sent":                  {path: logsIn, change: token("client_token", identityToken)},
		"a login that is wrapped":                  {path: logsIn, change: wrapped("a"), unknown: true},
		"a login without anything":                 {path: logsIn, change: func(s map[string]any) { delete(s, "auth"); s["request_id"] = "1" }, unknown: true},
		"a login without a token":                  {path: logsIn, change: token("client_token", ""), seconds: 3600},
		"a login that is not read":                 {path: logsIn, raw: `{"auth":{},"auth":{}}`, unknown: true},
		"an empty login":                           {path: logsIn, raw: " ", unknown: true},
		"a login beside an error":                  {path: logsIn, raw: `{"errors":["permission denied"],"auth":{"client_token":"x"}}`, status: 403, unknown: true},
		"a login in an error":                      {path: logsIn, raw: `{"errors":[{"auth":{"client_token":"x"}}]}`, status: 403, unknown: true},
		"a token in an error's words":              {path: logsIn, raw: `{"errors":["no: hvs.CAESIx7Q2nT8cK4mW9zR5vY1pL6dJ3hB0sF5g"]}`, status: 400, unknown: true},

		"a lease beside the token":      {path: makes, change: leased, seconds: half},
		"a field beside the token":      {path: makes, change: set("next", "x"), unknown: true},
		"an orphan":                     {path: makes, change: orphan, ends: childToken, seconds: decade},
		"an orphan without an accessor": {path: makes, change: func(s map[string]any) { orphan(s); delete(auth(s), "accessor") }, seconds: decade},
		"an orphan that can be renewed": {path: makes, change: func(s map[string]any) { orphan(s); auth(s)["renewable"] = true }, seconds: decade, unknown: true},
		"an orphan that lives for ever": {path: makes, change: func(s map[string]any) { orphan(s); auth(s)["lease_duration"] = 0 }, unknown: true},
		"a token for an hour":           {path: makes, change: token("lease_duration", 3600), ends: childToken, seconds: 3600},
		"a token of another entity":     {path: makes, change: token("entity_id", "another")},
		"a token of which more is said": {path: makes, change: token("period", 3600), unknown: true},
		"the login's own token":         {path: makes, change: token("client_token", loginToken)},
		"no token, and an accessor":     {path: makes, change: func(s map[string]any) { delete(auth(s), "client_token") }},
		"nothing of a token":            {path: makes, change: set("auth", map[string]any{}), unknown: true},
		"no answer about a token":       {path: makes, change: func(s map[string]any) { delete(s, "auth"); s["warnings"] = []any{"x"} }, unknown: true},
		"a wrapped token":               {path: makes, change: wrapped("b"), unknown: true},
		"a token that is not read":      {path: makes, raw: `{"auth":[]}`, unknown: true},
		"a token beside an error":       {path: makes, raw: `{"errors":["no"],"auth":{"client_token":"x"}}`, status: 400, unknown: true},

		"a token beside the secret": {path: leases, change: beside, ends: "hvs.another-0123456789", seconds: decade},
		"a field beside the secret": {path: leases, change: set("next", map[string]any{"password": "another"}), unknown: true},
		"another path's lease":      {path: leases, change: func(s map[string]any) { s["lease_id"], s["lease_duration"] = "database/creds/admin/1", half }, seconds: half},
		"a lease for half a day that is not what files want": {path: leases, change: func(s map[string]any) {
			s["lease_duration"], s["data"] = half, map[string]any{"username": "u"}
		}, seconds: half},
		"a secret that is not leased": {path: leases, change: func(s map[string]any) { s["lease_id"], s["lease_duration"] = "", 0 }, unknown: true},
		"a secret that is wrapped":    {path: leases, change: func(s map[string]any) { delete(s, "data"); wrapped("")(s) }, unknown: true},
		"a secret beside an error": {path: leases, status: 403, unknown: true,
			raw: `{"errors":["permission denied"],"lease_id":"database/creds/previews/1","lease_duration":900,"data":{"password":"x"}}`},
		"a success that says an error": {path: leases, unknown: true, raw: `{"errors":["permission denied"]}`},
	} {
		t.Run(name, func(t *testing.T) {
			said, asked := answers(), []string(nil)
			if test.change != nil {
				test.change(said[test.path])
			}
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.URL.Path == looksUp:
					refuseLookup(w)
				case r.URL.Path == looksUpAccessor:
					refuseAccessor(w)
				case r.URL.Path == test.path && test.raw != "":
					w.WriteHeader(max(test.status, http.StatusOK))
					_, _ = w.Write([]byte(test.raw))
				case said[r.URL.Path] != nil:
					_ = json.NewEncoder(w).Encode(said[r.URL.Path])
				default:
					if r.URL.Path == endSelf {
						asked = append(asked, r.Header.Get("X-Vault-Token"))
					}
					w.WriteHeader(http.StatusNoContent)
				}
			}))
			defer server.Close()
			for _, revocation := range []v1alpha1.VaultRevocation{v1alpha1.VaultImmediate, v1alpha1.VaultAtExpiry} {
				l := leaseOf(server.URL, "")
				l.Capability.Spec.Vault.Revocation = revocation
				l.Keep = func(context.Context, string) error { return nil }
				v := vault.New(vault.Options{Addresses: []string{server.URL}, Audiences: []string{"vault"}, Identities: identityOf(t), Clock: clock.RealClock{}})
				l.Handle = v.Handle(l)
				c, err := v.Issue(t.Context(), l)
				if c != nil {
					t.Fatalf("%s: it was given", revocation)
				}
				outboundtest.ExpectMismatched(t, err, time.Now(), time.Now().Add(time.Duration(max(test.seconds, 3600))*time.Second), test.unknown)
				if test.ends != "" && !slices.Contains(asked, test.ends) {
					t.Errorf("%s: the token was not asked to end itself", revocation)
				}
				if strings.Contains(err.Error(), "hvs.") || strings.Contains(err.Error(), password) {
					t.Errorf("%s: the error tells what is secret", revocation)
				}
			}
		})
	}
}

// TestRevoke_SaysWhatItWasAnsweredOtherwise: a lease beside the login by which a grant is ended works, too.
func TestRevoke_SaysWhatItWasAnsweredOtherwise(t *testing.T) {
	said := answers()
	said[logsIn]["lease_id"], said[logsIn]["lease_duration"], said[logsIn]["data"] = "database/creds/previews/2", 43_200, map[string]any{"password": "x"}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(said[r.URL.Path])
	}))
	defer server.Close()
	l := leaseOf(server.URL, "")
	v := vault.New(vault.Options{Addresses: []string{server.URL}, Audiences: []string{"vault"}, Identities: identityOf(t), Clock: clock.RealClock{}})
	handle := strings.TrimSuffix(v.Handle(l), "}") + `,"begun":[{"accessor":"b","lease":"database/creds/previews/1"}]}`
	_, err := v.Revoke(t.Context(), l.Issued(handle, time.Now().Add(time.Hour)))
	if !provider.IsRetryable(err) {
		t.Fatalf("got %v", err)
	}
	outboundtest.ExpectMismatched(t, err, time.Now(), time.Now().Add(12*time.Hour), false)
}
