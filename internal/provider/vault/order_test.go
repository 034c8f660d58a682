// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package vault_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/utils/clock"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/internal/provider/outbound/outboundtest"
	"github.com/valetkey/valetkey/internal/provider/vault"
)

const (
	endsLease    = "/v1/sys/leases/revoke"
	endsAccessor = "/v1/auth/token/revoke-accessor"

	anotherToken = "hvs.another-0123456789"
)

// said is an answer: a status, and a body.
type said struct {
	status int
	body   string
}

// ending is a Vault that ends what it is told to, and answers the first questions at a path otherwise.
type ending struct {
	otherwise map[string][]said

	mu sync.Mutex
	// ended are the tokens that were asked to end themselves.
	ended []string
}

func (e *ending) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	answers := e.otherwise[r.URL.Path]
	if len(answers) > 0 {
		e.otherwise[r.URL.Path] = answers[1:]
	}
	if r.URL.Path == endSelf {
		e.ended = append(e.ended, r.Header.Get("X-Vault-Token"))
	}
	e.mu.Unlock()
	switch {
	case len(answers) > 0:
		w.WriteHeader(answers[0].status)
		_, _ = w.Write([]byte(answers[0].body))
	case r.URL.Path == looksUp:
		refuseLookup(w)
	case r.URL.Path == looksUpAccessor:
		refuseAccessor(w)
	default:
		standIn(w, r)
	}
}

// revoke asks such a Vault to end so many attempts.
func (e *ending) revoke(t *testing.T, attempts int32) (provider.Revoked, error) {
	t.Helper()
	server := httptest.NewServer(e)
	defer server.Close()
	v := vault.New(vault.Options{Addresses: []string{server.URL}, Audiences: []string{"vault"}, Identities: identityOf(t), Clock: clock.RealClock{}})
	l := leaseOf(server.URL, "")
	l.Attempt = attempts
	var begun []string
	for attempt := range attempts {
		begun = append(begun, fmt.Sprintf(`{"accessor":"accessor-%[1]d","lease":"database/creds/previews/%[1]d"}`, attempt))
	}
	handle := strings.TrimSuffix(v.Handle(l), "}") + `,"begun":[` + strings.Join(begun, ",") + `]}`
	return v.Revoke(t.Context(), l.Issued(handle, time.Now().Add(time.Hour)))
}

const (
	quarterYear = 7_776_000

	leaseAndToken = `{"lease_id":"database/creds/previews-rehearsal/abc","lease_duration":7776000,"renewable":true,` +
		`"data":{"username":"u","password":"` + password + `"},` +
		`"auth":{"client_token":"` + anotherToken + `","accessor":"c","lease_duration":7776000}}`
)

// TestRevoke_WhatASuccessHoldsBesideItsAnswerCounts, to whichever question of the end Vault gives it, and a token that it
// shows is ended.
func TestRevoke_WhatASuccessHoldsBesideItsAnswerCounts(t *testing.T) {
	for name, row := range map[string]struct {
		body    string
		seconds int
		unknown bool
	}{
		"a lease and a token":       {body: leaseAndToken, seconds: quarterYear},
		"a token":                   {body: `{"auth":{"client_token":"` + anotherToken + `","lease_duration":7776000}}`, seconds: quarterYear},
		"a user without a lease":    {body: `{"data":{"username":"u","password":"` + password + `"}}`, unknown: true},
		"a user beside a look-up":   {body: `{"data":{"id":"x","ttl":7776000,"password":"` + password + `"}}`, seconds: quarterYear},
		"a token for a name":        {body: `{"data":{"display_name":"hvs.CAESIx7Q2nT8cK4mW9zR5vY1pL6dJ3hB0sF5g"}}`, unknown: true},
		"a wrapping token":          {body: `{"wrap_info":{"token":"hvs.wrapping","ttl":300}}`, unknown: true},
		"a field that is not known": {body: `{"next":"x"}`, unknown: true},
		"a list":                    {body: `["x"]`, unknown: true},
		"a page":                    {body: `<html>`, unknown: true},
		"an answer in two ways":     {body: `{"data":null,"data":{}}`, unknown: true},
		"an error":                  {body: `{"errors":["permission denied"]}`, unknown: true},
	} {
		for _, path := range []string{endsLease, looksUp, endsAccessor, looksUpAccessor, endSelf} {
			e := &ending{otherwise: map[string][]said{path: {{http.StatusOK, row.body}}}}
			_, err := e.revoke(t, 1)
			if !provider.IsRetryable(err) || strings.Contains(err.Error(), "hvs.") || strings.Contains(err.Error(), password) {
				t.Fatalf("%s to %s: got %v", name, path, err)
			}
			outboundtest.ExpectMismatched(t, err, time.Now(), time.Now().Add(time.Duration(row.seconds)*time.Second), row.unknown)
			if strings.Contains(row.body, anotherToken) && !slices.Contains(e.ended, anotherToken) {
				t.Errorf("%s to %s: the token that was shown was not ended", name, path)
			}
		}
	}
}

// TestRevoke_WhatVaultSaysAsARuleIsHarmless: the end is confirmed, or Vault is asked again.
func TestRevoke_WhatVaultSaysAsARuleIsHarmless(t *testing.T) {
	const (
		nothing = `{"request_id":"5d1b0a3e-0000-4000-8000-000000000001","lease_id":"","renewable":false,"lease_duration":0,"data":null,` +
			`"wrap_info":null,"warnings":["No token found with this accessor"],"auth":null,"mount_type":"token"}`
		aLease = `{"request_id":"5d1b0a3e-0000-4000-8000-000000000001","lease_id":"","renewable":false,"lease_duration":0,"data":{"expire_time":"2026-07-01T01:00:00.123456789Z",` +
			`"id":"database/creds/previews/0","issue_time":"2026-07-01T00:00:00Z","last_renewal":null,"renewable":true,"ttl":3600},"wrap_info":null,"warnings":null,"auth":null}`
		aToken = `{"lease_id":"","data":{"accessor":"accessor-0","creation_time":1782864000,"creation_ttl":3600,"display_name":"jwt-system:serviceaccount:identities:reader",` +
			`"entity_id":"7d2e3179-f69b-450c-7179-ac8ee8bd8ca9","expire_time":"2026-07-01T01:00:00Z","explicit_max_ttl":0,"external_namespace_policies":{},"id":"","identity_policies":["readers"],` +
			`"issue_time":"2026-07-01T00:00:00Z","meta":{"role":"reader"},"num_uses":0,"orphan":true,"path":"auth/jwt/login","policies":["default"],"renewable":true,"ttl":3600,"type":"service"},"auth":null}`
	)
	for name, row := range map[string]struct {
		path string
		said
		again, unknown bool
	}{
		"nothing":                 {endsLease, said{http.StatusOK, nothing}, false, false},
		"nothing of a login":      {endsAccessor, said{http.StatusOK, nothing}, false, false},
		"nothing of its own":      {endSelf, said{http.StatusOK, nothing}, false, false},
		"accepted":                {endsLease, said{http.StatusAccepted, ""}, false, false},
		"nothing to end":          {endsLease, said{http.StatusBadRequest, `{"errors":["invalid lease"]}`}, false, false},
		"its own cannot end":      {endSelf, said{http.StatusServiceUnavailable, "<html>"}, false, false},
		"a lease that is there":   {looksUp, said{http.StatusOK, aLease}, true, true},
		"a token that is there":   {looksUpAccessor, said{http.StatusOK, aToken}, true, true},
		"a gateway's page":        {endsLease, said{http.StatusBadGateway, "<html>"}, true, false},
		"a lease that cannot end": {endsLease, said{http.StatusInternalServerError, `{"errors":["failed to revoke entry"]}`}, true, true},
	} {
		revoked, err := (&ending{otherwise: map[string][]said{row.path: {row.said}}}).revoke(t, 1)
		if (err != nil) != row.again || provider.IsMismatched(err) || provider.StillWorks(err).Unknown != row.unknown || err == nil && revoked.Mode != v1alpha1.RevocationImmediate {
			t.Errorf("%s: got %+v, mismatched %t, %v", name, revoked, provider.IsMismatched(err), err)
		}
	}
}

// TestRevoke_NothingIsForgottenForWhatFailsBeside: a gateway answers one question, and Vault another with more.
func TestRevoke_NothingIsForgottenForWhatFailsBeside(t *testing.T) {
	more := said{http.StatusForbidden, strings.Replace(leaseAndToken, "{", `{"errors":["permission denied"],`, 1)}
	gateway, refused := said{http.StatusServiceUnavailable, "<html>"}, said{http.StatusBadRequest, `{"errors":["no"]}`}
	success := said{http.StatusOK, leaseAndToken}
	for name, row := range map[string]struct {
		otherwise map[string][]said
		attempts  int32
		unknown   bool
	}{
		"a login's behind its lease's":         {map[string][]said{endsLease: {gateway}, endsAccessor: {more}}, 1, true},
		"a lease's before its login's":         {map[string][]said{endsLease: {success}, endsAccessor: {gateway}}, 1, false},
		"a look-up's behind a refusal":         {map[string][]said{endsLease: {refused}, looksUp: {more}}, 1, true},
		"its own behind a lease's":             {map[string][]said{endsLease: {gateway}, endSelf: {success}}, 1, false},
		"one attempt's of several":             {map[string][]said{endsLease: {gateway}, looksUpAccessor: {more}}, 3, true},
		"one that says when, and one that not": {map[string][]said{endsLease: {success}, endsAccessor: {{http.StatusOK, `{"next":"x"}`}}}, 1, true},
		"what the end of what is shown is":     {map[string][]said{endsLease: {{http.StatusOK, half}}, endSelf: {success}}, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := (&ending{otherwise: row.otherwise}).revoke(t, row.attempts)
			outboundtest.ExpectMismatched(t, err, time.Now(), time.Now().Add(quarterYear*time.Second), row.unknown)
		})
	}
}

// half is a token that lives for less than a quarter of a year.
const half = `{"auth":{"client_token":"hvs.half-0123456789","accessor":"d","lease_duration":900}}`

// TestIssue_WhatIsAnsweredToTheEndOfWhatIsNotGivenCounts: an attempt that failed is ended again.
func TestIssue_WhatIsAnsweredToTheEndOfWhatIsNotGivenCounts(t *testing.T) {
	refused, fine, success := said{http.StatusForbidden, `{"errors":["permission denied"]}`}, said{http.StatusNoContent, ""}, said{http.StatusOK, leaseAndToken}
	for name, row := range map[string]struct {
		otherwise map[string][]said
		// full: the second handle cannot be stored.
		full bool
	}{
		"the login of what was refused":          {map[string][]said{leases: {refused}, endSelf: {success}}, false},
		"its accessor":                           {map[string][]said{leases: {refused}, endsAccessor: {success}}, false},
		"the login by which the end is seen":     {map[string][]said{leases: {refused}, endSelf: {fine, success}}, false},
		"a lease that could not be stored":       {map[string][]said{endsLease: {success}}, true},
		"the login of what could not be stored":  {map[string][]said{endSelf: {success}}, true},
		"a token that was not asked for":         {map[string][]said{makes: {{http.StatusOK, half}}, endSelf: {success}}, false},
		"its accessor, of one that was not":      {map[string][]said{makes: {{http.StatusOK, half}}, endsAccessor: {success}}, false},
		"a token in place of what is leased":     {map[string][]said{leases: {{http.StatusOK, half}}, endSelf: {success}}, false},
		"a token that is no login's":             {map[string][]said{logsIn: {{http.StatusOK, strings.Replace(half, `,"accessor":"d"`, "", 1)}}, endSelf: {success}}, false},
		"the end of the login and what it shows": {map[string][]said{leases: {refused}, endSelf: {{http.StatusOK, half}, success}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			kept := 0
			server := httptest.NewServer(&ending{otherwise: row.otherwise})
			defer server.Close()
			_, err := issueFrom(t, server.URL, func(context.Context, string) error {
				if kept++; row.full && kept == 2 {
					return http.ErrHandlerTimeout
				}
				return nil
			})
			outboundtest.ExpectMismatched(t, err, time.Now(), time.Now().Add(quarterYear*time.Second), false)
		})
	}
}
