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
	clocktesting "k8s.io/utils/clock/testing"

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
	quarter, month := time.Now().Add(15*time.Minute), time.Now().Add(30*24*time.Hour).Truncate(time.Second)
	for name, test := range map[string]struct {
		atExpiry bool
		change   func(answer map[string]any)
		// until is when it works no more; zero if that is not known.
		until   time.Time
		unknown bool
		// lost: the answer never comes, raw: it is this text, and stuck: Vault cannot end the lease.
		lost, stuck bool
		raw         string
	}{
		"an answer that was lost, AtExpiry":  {atExpiry: true, unknown: true, lost: true},
		"an answer that was lost, Immediate": {unknown: true, lost: true},
		"an answer that says one thing twice": {atExpiry: true, unknown: true,
			raw: `{"lease_id":"database/creds/previews/1","lease_duration":900,"lease_duration":9000,"data":{"password":"` + password + `"}}`},
		"an answer that is cut short, Immediate": {unknown: true, raw: `{"lease_id":"database/creds/previews/1"`},
		"a lease that Vault cannot end":          {until: quarter, unknown: true, stuck: true, change: func(a map[string]any) { a["data"] = map[string]any{"username": "u"} }},

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
		"a time that is no end, AtExpiry": {atExpiry: true, until: v1alpha1.LatestInstant(), change: func(a map[string]any) {
			a["data"] = map[string]any{"password": password, "expires_at": "9999-12-31T00:00:00Z"}
		}},
		"a time that is no end, Immediate": {until: v1alpha1.LatestInstant(), change: func(a map[string]any) {
			a["data"] = map[string]any{"password": password, "expires_at": "2400-12-31T00:00:00Z"}
		}},
		"a file of a certificate, Immediate": {until: month, change: func(a map[string]any) {
			file, _ := json.Marshal(map[string]any{"private_key": "k", "valid_until": month.UTC().Format(time.RFC3339)})
			a["data"] = map[string]any{"password": string(file)}
		}},
		"a file of a certificate, AtExpiry": {atExpiry: true, until: month, change: func(a map[string]any) {
			file, _ := json.Marshal(map[string]any{"private_key": "k", "valid_until": month.UTC().Format(time.RFC3339)})
			a["data"] = map[string]any{"password": base64.StdEncoding.EncodeToString(file)}
		}},
		"a time beside a key, Immediate": {until: month, unknown: true, change: func(a map[string]any) {
			a["data"] = map[string]any{"password": "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n# until " + month.UTC().Format(time.RFC3339)}
		}},
		"a token beside a key, AtExpiry": {atExpiry: true, until: month, unknown: true, change: func(a map[string]any) {
			a["data"] = map[string]any{"password": "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n" + tokenUntil(month)}
		}},
		"what says nothing, and is no word, Immediate": {until: quarter, change: func(a map[string]any) {
			a["data"] = map[string]any{"password": `{"type":"account"}`}
		}},
		"several lines, Immediate": {until: quarter, unknown: true, change: func(a map[string]any) {
			a["data"] = map[string]any{"password": password + "\n" + password}
		}},
		"a field is missing, AtExpiry": {atExpiry: true, until: month, change: func(a map[string]any) {
			a["data"] = map[string]any{"ttl": time.Until(month).Seconds()}
		}},
		"who knows how long, AtExpiry": {atExpiry: true, unknown: true, change: func(a map[string]any) {
			a["data"] = map[string]any{"password": password, "valid_until": "next month"}
		}},
		"a field is missing, Immediate": {until: quarter, change: func(a map[string]any) { a["data"] = map[string]any{"username": "u"} }},
		"a secret that is not leased, and may have been made": {unknown: true, change: func(a map[string]any) {
			a["lease_id"], a["lease_duration"] = "", 0
		}},
		"a session that is not leased": {unknown: true, change: func(a map[string]any) {
			a["lease_id"], a["lease_duration"], a["data"] = "", 0, map[string]any{"session_token": password}
		}},
		"a secret that is kept, in a version of tomorrow": {unknown: true, change: func(a map[string]any) {
			a["lease_id"], a["lease_duration"] = "", 0
			a["data"] = map[string]any{"data": map[string]any{"password": password}, "metadata": map[string]any{"version": 3, "created_time": "2099-01-01T00:00:00Z"}}
		}},
		"a lease for another time than any lives, AtExpiry": {atExpiry: true, unknown: true, change: func(a map[string]any) {
			a["lease_duration"] = 400_000_000
		}},
		"a certificate of SSH's, which is not leased": {unknown: true, change: func(a map[string]any) {
			a["lease_id"], a["lease_duration"] = "", 0
			a["data"] = map[string]any{"serial_number": "c73f26d2340276aa", "signed_key": "ssh-ed25519-cert-v01@openssh.com AAAAC3NzaC1lZDI1NTE5AAAA"}
		}},
		"a secret that is kept, in a version": {unknown: true, change: func(a map[string]any) {
			a["lease_id"], a["lease_duration"] = "", 0
			a["data"] = map[string]any{"data": map[string]any{"password": password}, "metadata": map[string]any{"version": 3, "created_time": "2026-01-01T00:00:00Z", "deletion_time": ""}}
		}},
		"a secret without a lease, by who knows whom": {unknown: true, change: func(a map[string]any) {
			delete(a, "request_id")
			a["lease_id"], a["lease_duration"] = "", 0
		}},
		"no secret, and no lease": {unknown: true, change: func(a map[string]any) {
			delete(a, "data")
			a["lease_id"], a["lease_duration"] = "", 0
		}},
		"wrapped, by who knows whom": {unknown: true, change: func(a map[string]any) {
			delete(a, "data")
			a["lease_id"], a["lease_duration"] = "", 0
			a["wrap_info"] = map[string]any{"token": "hvs.wrapping-0123456789", "ttl": 300, "creation_time": "2026-01-01T00:00:00Z"}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			said, kept := answers(), ""
			login, _ := said[logsIn]["auth"].(map[string]any)
			login["lease_duration"] = 900 // it hides no other end
			if test.change != nil {
				test.change(said[leases])
			}
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.URL.Path == leases && test.lost:
					panic(http.ErrAbortHandler)
				case r.URL.Path == leases && test.raw != "":
					_, _ = w.Write([]byte(test.raw))
					return
				case r.URL.Path == looksUp && !test.stuck:
					refuseLookup(w)
					return
				case r.URL.Path == looksUpAccessor:
					refuseAccessor(w)
					return
				}
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
			final := !test.lost && test.raw == ""
			if provider.IsFinal(err) != final || provider.IsRefused(err) || provider.IsMismatched(err) == test.lost || works.Unknown != test.unknown || strings.Contains(err.Error(), password) {
				t.Fatalf("got %v, %+v", err, works)
			}
			if apart := works.Until.Sub(test.until).Abs(); !test.until.IsZero() && apart > 5*time.Second {
				t.Errorf("it works until %s, want %s", works.Until, test.until)
			}
			if test.stuck {
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

// TestRevoke_AnInterruptedAttemptIsNotConfirmed: what it was leased nobody knows, and the end of its login is no proof.
func TestRevoke_AnInterruptedAttemptIsNotConfirmed(t *testing.T) {
	const whole = `{"accessor":"b","lease":"database/creds/previews/1"}`
	for name, row := range map[string]struct {
		begun    string
		attempts int32
		nothing  []int32
		want     v1alpha1.RevocationMode
	}{
		"Vault did not answer a login":              {"", 1, nil, v1alpha1.RevocationAtExpiry},
		"it did not answer what was asked":          {`{"accessor":"b"}`, 1, nil, v1alpha1.RevocationAtExpiry},
		"it answered":                               {whole, 1, nil, v1alpha1.RevocationImmediate},
		"it answered one of two":                    {whole + `,{"accessor":"c"}`, 2, nil, v1alpha1.RevocationAtExpiry},
		"it answered one, and not another's login":  {whole, 2, nil, v1alpha1.RevocationAtExpiry},
		"it answered one, and refused another":      {whole, 2, []int32{1}, v1alpha1.RevocationImmediate},
		"it answered one, and refused all that are": {whole, 3, []int32{1, 3}, v1alpha1.RevocationImmediate},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.URL.Path == looksUp:
				refuseLookup(w)
			case strings.HasSuffix(r.URL.Path, "lookup-accessor"):
				w.WriteHeader(http.StatusForbidden)
				_, _ = w.Write([]byte(`{"errors":["invalid accessor"]}`))
			case r.URL.Path == logsIn:
				_ = json.NewEncoder(w).Encode(answers()[logsIn])
			default:
				w.WriteHeader(http.StatusNoContent)
			}
		}))
		l := leaseOf(server.URL, "")
		v := vault.New(vault.Options{Addresses: []string{server.URL}, Audiences: []string{"vault"}, Identities: identityOf(t), Clock: clock.RealClock{}})
		handle := strings.TrimSuffix(v.Handle(l), "}") + `,"begun":[` + row.begun + `]}`
		l.Attempt = row.attempts
		issued := l.Issued(handle, time.Now().Add(time.Hour))
		issued.Nothing = row.nothing
		revoked, err := v.Revoke(t.Context(), issued)
		if err != nil || revoked.Mode != row.want {
			t.Errorf("%s: got %+v, %v", name, revoked, err)
		}
		server.Close()
	}
}

// TestLifetime_OfWhatItsLeaseDoesNotEndNobodyKnowsIt before it is there: an attempt that a crash interrupts may have been
// leased a certificate of a month.
func TestLifetime_OfWhatItsLeaseDoesNotEndNobodyKnowsIt(t *testing.T) {
	for revocation, want := range map[v1alpha1.VaultRevocation]bool{v1alpha1.VaultImmediate: true, v1alpha1.VaultAtExpiry: false} {
		l := leaseOf("http://vault.example.com", "")
		l.Capability.Spec.Vault.Revocation = revocation
		if most, known := vault.New(vault.Options{}).Lifetime(l); known != want || most < l.TTL {
			t.Errorf("%s: %s, %t", revocation, most, known)
		}
	}
}

// TestIssue_AFailureBeforeAnythingWasAskedForLeavesTheLogin: no secret was leased, and the login's token may be there. How
// long that of a lost login works, Vault's role alone says.
func TestIssue_AFailureBeforeAnythingWasAskedForLeavesTheLogin(t *testing.T) {
	for _, path := range []string{logsIn, makes} {
		for _, revocation := range []v1alpha1.VaultRevocation{v1alpha1.VaultImmediate, v1alpha1.VaultAtExpiry} {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == path {
					panic(http.ErrAbortHandler)
				}
				_ = json.NewEncoder(w).Encode(answers()[r.URL.Path])
			}))
			l := leaseOf(server.URL, "")
			l.Capability.Spec.Vault.Revocation = revocation
			l.Keep = func(context.Context, string) error { return nil }
			v := vault.New(vault.Options{Addresses: []string{server.URL}, Audiences: []string{"vault"}, Identities: identityOf(t), Clock: clock.RealClock{}})
			l.Handle = v.Handle(l)
			_, err := v.Issue(t.Context(), l)
			works := provider.StillWorks(err)
			if works.Unknown != (path == logsIn) || provider.IsRefused(err) || provider.IsMismatched(err) ||
				path == makes && time.Until(works.Until).Round(time.Minute) != time.Hour {
				t.Errorf("%s: %+v, %v", path, works, err)
			}
			server.Close()
		}
	}
}

// TestIssue_WhatASlowVaultLeasedIsNotSaidToEndTooEarly: nobody knows when on the way its time began, so that the grant
// ends by the first instant, and a copy is said to work until the last.
func TestIssue_WhatASlowVaultLeasedIsNotSaidToEndTooEarly(t *testing.T) {
	const slow = 9 * time.Second
	for _, revocation := range []v1alpha1.VaultRevocation{v1alpha1.VaultImmediate, v1alpha1.VaultAtExpiry} {
		clock := clocktesting.NewFakePassiveClock(time.Now())
		began := clock.Now()
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == leases {
				clock.SetTime(clock.Now().Add(slow))
			}
			_ = json.NewEncoder(w).Encode(answers()[r.URL.Path])
		}))
		l := leaseOf(server.URL, "")
		l.Capability.Spec.Vault.Revocation = revocation
		l.Keep = func(context.Context, string) error { return nil }
		v := vault.New(vault.Options{Addresses: []string{server.URL}, Audiences: []string{"vault"}, Identities: identityOf(t), Clock: clock})
		l.Handle = v.Handle(l)
		c, err := v.Issue(t.Context(), l)
		if err != nil {
			t.Fatal(err)
		}
		if first, last := c.ExpiresAt(), c.WorksUntil(); first.After(began.Add(15*time.Minute)) || !last.Equal(first.Add(slow)) {
			t.Errorf("%s: it works until %s at the earliest, and until %s at the latest", revocation, first, last)
		}
		server.Close()
	}
}
