// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package vault_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/utils/clock"

	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/internal/provider/vault"
)

// refusing is a Vault that answers one path with a status and one error, and remembers what it was asked.
type refusing struct {
	path   string
	status int
	line   string

	asked      []string
	namespaces []string
}

func (v *refusing) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	v.asked = append(v.asked, r.URL.Path+" "+string(body))
	v.namespaces = append(v.namespaces, r.Header.Get("X-Vault-Namespace"))
	gone := map[string]string{"/v1/sys/leases/lookup": "invalid lease", "/v1/auth/token/lookup-accessor": "invalid accessor"}
	switch said := answers()[r.URL.Path]; {
	case r.URL.Path == v.path || v.path != "" && strings.Contains(string(body), v.path):
		w.WriteHeader(v.status)
		_ = json.NewEncoder(w).Encode(map[string]any{"errors": []string{v.line}})
	case said != nil:
		_ = json.NewEncoder(w).Encode(said)
	case gone[r.URL.Path] != "":
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]any{"errors": []string{gone[r.URL.Path]}})
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

// revokeBy asks such a Vault to end two attempts, of a grant whose provider was in the namespace teams/web.
func revokeBy(t *testing.T, v *refusing) (provider.Revoked, error) {
	t.Helper()
	server := httptest.NewServer(v)
	defer server.Close()
	backend := vault.New(vault.Options{Addresses: []string{server.URL}, Audiences: []string{"vault"}, Identities: identityOf(t), Clock: clock.RealClock{}})
	handle := fmt.Sprintf(`{"capability":"read","account":"reader","role":"reader","revocation":"Immediate",`+
		`"server":{"address":%q,"namespace":"teams/web","authPath":"jwt","audience":"vault"},`+
		`"begun":[{"accessor":"first","lease":"database/creds/previews/1"},{"accessor":"second","lease":"database/creds/previews/2"}]}`, server.URL)
	return backend.Revoke(t.Context(), provider.Issued{ID: "1", Attempts: 2, Handle: handle})
}

// TestRevoke_AsksInTheNamespaceOfTheGrant: the handle has it, whatever the provider object says by now.
func TestRevoke_AsksInTheNamespaceOfTheGrant(t *testing.T) {
	v := &refusing{}
	if _, err := revokeBy(t, v); err != nil {
		t.Fatal(err)
	}
	if len(v.namespaces) < 9 || slices.ContainsFunc(v.namespaces, func(n string) bool { return n != "teams/web" }) {
		t.Errorf("asked %q in %q", v.asked, v.namespaces)
	}
}

// TestRevoke_WhatVaultCannotEndIsSaidAndTheRestIsEnded: a lease of a database that is gone stays for ever.
func TestRevoke_WhatVaultCannotEndIsSaidAndTheRestIsEnded(t *testing.T) {
	const lease = "database/creds/previews/1"
	for name, v := range map[string]*refusing{
		"a role of the database that is gone":  {path: lease, status: 400, line: "failed to revoke entry: pq: role \"v-1\" does not exist"},
		"a database that is gone":              {path: lease, status: 500, line: "failed to revoke entry: dial tcp 10.0.0.7:5432: connect: no route to host"},
		"a namespace that is gone":             {path: lease, status: 500, line: "no namespace"},
		"a policy that lets nobody end it":     {path: lease, status: 403, line: "permission denied"},
		"an accessor that nobody may end":      {path: "first", status: 403, line: "permission denied"},
		"a storage that is away for a login's": {path: "first", status: 500, line: "Unexpected response code: 500"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := revokeBy(t, v)
			if err == nil || strings.Contains(err.Error(), v.line) {
				t.Fatalf("got %v", err)
			}
			if v.path == lease && !strings.Contains(err.Error(), "revoking lease "+lease) {
				t.Errorf("it is not said what stays: %v", err)
			}
			for _, want := range []string{`/v1/sys/leases/revoke {"lease_id":"database/creds/previews/2","sync":true}`,
				`/v1/auth/token/revoke-accessor {"accessor":"second"}`} {
				if !slices.Contains(v.asked, want) {
					t.Errorf("the other attempt works on: %q", v.asked)
				}
			}
		})
	}
}

// TestIssue_ALimitOfVaultsOwnShortensTheGrant: Vault says in a warning that it did not give what was asked for.
func TestIssue_ALimitOfVaultsOwnShortensTheGrant(t *testing.T) {
	for name, row := range map[string]struct {
		path, under string
		want        time.Duration
	}{
		"of the mount of the secret":             {leases, "", 10 * time.Minute},
		"of the token that the lease hangs on":   {makes, "auth", 10 * time.Minute},
		"of neither, and the lease lives longer": {"", "", 15 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			said := answers()
			said[leases]["lease_duration"] = 43_200
			if row.path != "" {
				in := said[row.path]
				in["warnings"] = []any{`TTL of "15m0s" exceeded the effective max_ttl of "10m0s"; TTL value is capped accordingly`}
				if row.under != "" {
					in, _ = in[row.under].(map[string]any)
				}
				in["lease_duration"] = 600
			}
			o := askVault(t, said)
			if o.err != nil {
				t.Fatal(o.err)
			}
			if left := time.Until(o.credential.ExpiresAt()); left > row.want || left < row.want-time.Minute {
				t.Errorf("it is said to work for %s, want %s", left, row.want)
			}
		})
	}
}

// TestIssue_WhatIsWrappedIsRefusedInWordsThatSayWhy: what was wrapped ends with the login that it was made by.
func TestIssue_WhatIsWrappedIsRefusedInWordsThatSayWhy(t *testing.T) {
	wrapped := map[string]any{"lease_id": "", "lease_duration": 0, "renewable": false, "data": nil, "auth": nil, "warnings": nil,
		"wrap_info": map[string]any{"token": "hvs.wrapping-0123456789", "accessor": "w", "ttl": 300, "creation_path": "x",
			"wrapped_accessor": "", "creation_time": "2026-01-01T00:00:00Z"}}
	for path, what := range map[string]string{
		logsIn: "logging in with role reader", makes: "making the token that the lease hangs on", leases: "asking for database/creds/previews",
	} {
		t.Run(what, func(t *testing.T) {
			said := answers()
			said[path] = wrapped
			o := askVault(t, said)
			if o.credential != nil || !provider.IsFinal(o.err) || !strings.Contains(o.err.Error(), what) ||
				!strings.Contains(o.err.Error(), "take response wrapping away") || strings.Contains(o.err.Error(), "hvs.") {
				t.Errorf("got credential %t, %v", o.credential != nil, o.err)
			}
			if o.ended != (path != logsIn) {
				t.Errorf("the login was ended: %t", o.ended)
			}
		})
	}
}

func TestIssue_ATokenThatNobodyCanEndIsRefusedInWordsThatSayWhy(t *testing.T) {
	said := answers()
	in, _ := said[logsIn]["auth"].(map[string]any)
	in["accessor"], in["token_type"] = "", "batch"
	if o := askVault(t, said); o.credential != nil || !provider.IsFinal(o.err) || !strings.Contains(o.err.Error(), "token_type to service") {
		t.Errorf("got credential %t, %v", o.credential != nil, o.err)
	}
}

// TestIssue_ASealedVaultIssuesNothing: one that was sealed while it handled the request may have.
func TestIssue_ASealedVaultIssuesNothing(t *testing.T) {
	for line, refused := range map[string]bool{
		"Vault is sealed": true,
		"1 error occurred:\n\t* Vault is sealed\n\n":      false,
		"failed to create user: Vault is sealed":          false,
		"local node not active but active node is sealed": false,
		"": false,
	} {
		for _, path := range []string{logsIn, makes, leases} {
			server := httptest.NewServer(&refusing{path: path, status: http.StatusServiceUnavailable, line: line})
			_, err := issueFrom(t, server.URL, func(context.Context, string) error { return nil })
			server.Close()
			if !provider.IsRetryable(err) || provider.IsRefused(err) != refused {
				t.Errorf("%q at %s: refused %t, %v", line, path, provider.IsRefused(err), err)
			}
		}
	}
}

// TestIssue_ALoginIsOverOnlyWhereVaultSaysSo: Vault answers 204 to its end, as others do who let nothing through, and then
// knows its accessor no more.
func TestIssue_ALoginIsOverOnlyWhereVaultSaysSo(t *testing.T) {
	const unknown = `{"errors":["invalid accessor"]}`
	for name, row := range map[string]struct {
		status int
		body   string
		// again reports whether Vault lets nobody log in a second time.
		again bool
		over  bool
	}{
		"Vault knows it no more":           {status: 403, body: unknown, over: true},
		"by 404":                           {status: 404, body: unknown, over: true},
		"Vault knows it":                   {status: 200, body: `{"data":{"accessor":"a"}}`},
		"a gateway's answer":               {status: 204},
		"a gateway's page":                 {status: 403, body: "<html></html>"},
		"another refusal":                  {status: 403, body: `{"errors":["permission denied"]}`},
		"another refusal beside":           {status: 403, body: `{"errors":["invalid accessor","permission denied"]}`},
		"Vault is away":                    {status: 503, body: `{"errors":["Vault is sealed"]}`},
		"nobody can log in to find it out": {status: 403, body: unknown, again: true},
	} {
		for _, path := range []string{leases, makes} {
			t.Run(name+", "+path, func(t *testing.T) {
				logins, kept := 0, ""
				server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == logsIn {
						logins++
					}
					switch {
					case r.URL.Path == looksUpAccessor:
						w.WriteHeader(row.status)
						_, _ = io.WriteString(w, row.body)
					case r.URL.Path == logsIn && logins > 1 && row.again:
						w.WriteHeader(http.StatusServiceUnavailable)
					default:
						(&refusing{path: path, status: http.StatusForbidden, line: "permission denied"}).ServeHTTP(w, r)
					}
				}))
				defer server.Close()
				_, err := issueFrom(t, server.URL, func(_ context.Context, handle string) error { kept = handle; return nil })
				if !provider.IsFinal(err) || provider.IsRefused(err) != row.over || strings.Contains(kept, `"begun"`) == row.over {
					t.Errorf("refused %t, %s: %v", provider.IsRefused(err), kept, err)
				}
				if left := time.Until(provider.StillWorks(err).Until); !row.over && left < 59*time.Minute {
					t.Errorf("the login works for an hour, and is said to for %s", left)
				}
			})
		}
	}
}

// TestIssue_WhatVaultRefusesSaysWhatToDo, in no word of Vault's.
func TestIssue_WhatVaultRefusesSaysWhatToDo(t *testing.T) {
	const past = "cannot satisfy request, as TTL would result in notAfter 2027-01-01T00:00:00Z that is beyond the expiration " +
		"of the CA certificate at 2026-12-31T00:00:00Z " + password
	for name, row := range map[string]struct {
		status int
		line   string
		final  bool
		words  string
	}{
		"an authority that ends before": {400, past, true, "renew the authority"},
		"the same, counted":             {400, "1 error occurred:\n\t* " + past + "\n\n", true, "renew the authority"},
		"of an older Vault": {400, "cannot satisfy request, as TTL is beyond the expiration of the CA certificate", true,
			"shorten the ttl of the path's role"},
		"the same, and Vault fails":      {500, past, false, "Vault failed: status 500"},
		"another sentence that holds it": {400, "x " + past, false, "Vault refused: status 400; see Vault's log"},
		"the engine's own credential": {500, "1 error occurred:\n\t* failed to verify connection: pq: password authentication failed " +
			"for user \"vault\" " + password, false, "may no longer accept the credential that Vault has for it"},
		"a policy that wants it wrapped": {403, "1 error occurred:\n\t* permission denied\n\n", true, "min_wrapping_ttl"},
	} {
		t.Run(name, func(t *testing.T) {
			v := &refusing{path: leases, status: row.status, line: row.line}
			server := httptest.NewServer(v)
			defer server.Close()
			c, err := issueFrom(t, server.URL, func(context.Context, string) error { return nil })
			if c != nil || provider.IsFinal(err) != row.final || !strings.Contains(err.Error(), row.words) {
				t.Fatalf("got credential %t, final %t: %v", c != nil, provider.IsFinal(err), err)
			}
			if strings.Contains(err.Error(), password) || strings.Contains(err.Error(), "2026") {
				t.Errorf("Vault's own words are repeated: %v", err)
			}
		})
	}
}
