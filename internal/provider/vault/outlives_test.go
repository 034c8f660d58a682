// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package vault_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"k8s.io/utils/clock"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/internal/provider/vault"
)

// tokenUntil is a JSON Web Token that works so long.
func tokenUntil(until time.Time) string {
	part := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	return part(`{"alg":"RS256"}`) + "." + part(fmt.Sprintf(`{"exp":%d}`, until.Unix())) + "." + part("signature")
}

// TestIssue_WhatOutlivesItsLeaseIsNotSaidToBeNone: the end of the login ends the lease, and not what goes on without
// it.
func TestIssue_WhatOutlivesItsLeaseIsNotSaidToBeNone(t *testing.T) {
	month := time.Now().Add(30 * 24 * time.Hour).Truncate(time.Second)
	for name, test := range map[string]struct {
		atExpiry bool
		change   func(answer map[string]any)
		// until is when it works no more; zero if the end of the lease ended it, or if that is not known.
		until   time.Time
		unknown bool
		refused bool
	}{
		"a token of a month, AtExpiry": {atExpiry: true, until: month, change: func(a map[string]any) {
			a["data"] = map[string]any{"password": password, "token": tokenUntil(month)}
		}},
		"a token of a month, Immediate": {until: month, change: func(a map[string]any) {
			a["data"] = map[string]any{"password": password, "token": tokenUntil(month)}
		}},
		"a token of a month that is not leased": {until: month, change: func(a map[string]any) {
			a["lease_id"], a["lease_duration"], a["data"] = "", 0, map[string]any{"token": tokenUntil(month)}
		}},
		"a token of a month under another path's lease": {atExpiry: true, until: month, change: func(a map[string]any) {
			a["lease_id"], a["data"] = "database/creds/other/1", map[string]any{"token": tokenUntil(month)}
		}},
		"a field is missing, AtExpiry": {atExpiry: true, until: month, change: func(a map[string]any) {
			a["data"] = map[string]any{"ttl": time.Until(month).Seconds()}
		}},
		"who knows how long, AtExpiry": {atExpiry: true, unknown: true, change: func(a map[string]any) {
			a["data"] = map[string]any{"password": password, "valid_until": "next month"}
		}},
		"a field is missing, Immediate": {refused: true, change: func(a map[string]any) { a["data"] = map[string]any{"username": "u"} }},
		"a secret that is not leased": {refused: true, change: func(a map[string]any) {
			a["lease_id"], a["lease_duration"] = "", 0
		}},
	} {
		t.Run(name, func(t *testing.T) {
			said, kept := answers(), ""
			test.change(said[leases])
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if said[r.URL.Path] == nil {
					w.WriteHeader(http.StatusNoContent)
					return
				}
				_ = json.NewEncoder(w).Encode(said[r.URL.Path])
			}))
			defer server.Close()
			l := leaseOf(server.URL, "")
			if test.atExpiry {
				l.Capability.Spec.Vault.Revocation = v1alpha1.VaultAtExpiry
			}
			l.Keep = func(_ context.Context, handle string) error { kept = handle; return nil }
			v := vault.New(vault.Options{Addresses: []string{server.URL}, Audiences: []string{"vault"}, Identities: identityOf(t), Clock: clock.RealClock{}})
			l.Handle = v.Handle(l)
			_, err := v.Issue(t.Context(), l)
			works := provider.StillWorks(err)
			if !provider.IsFinal(err) || provider.IsRefused(err) != test.refused || works.Unknown != test.unknown || strings.Contains(err.Error(), password) {
				t.Fatalf("got %v, %+v", err, works)
			}
			if apart := works.Until.Sub(test.until).Abs(); !test.until.IsZero() && apart > 5*time.Second {
				t.Errorf("it works until %s, want %s", works.Until, test.until)
			}
			if test.refused {
				return
			}
			// Neither this attempt's end nor the next attempt's handle says more than is known.
			l.Handle = kept
			for _, handle := range []string{kept, v.Handle(l)} {
				if revoked, err := v.Revoke(t.Context(), l.Issued(handle, month)); err != nil || revoked.Mode != v1alpha1.RevocationAtExpiry {
					t.Errorf("got %+v, %v", revoked, err)
				}
			}
		})
	}
}
