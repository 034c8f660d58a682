// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package vault_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/clock"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/identity"
	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/internal/provider/vault"
)

// identityToken is what the identity proves itself by.
const identityToken = "eyJhbGciOiJSUzI1NiJ9.identity-token.signature"

// identityOf is an API server's ServiceAccount of the capability read, with a token.
func identityOf(t *testing.T) *identity.Source {
	t.Helper()
	api := fake.NewClientset(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{
		Namespace: "identities", Name: "reader", Annotations: map[string]string{v1alpha1.AnnotationCapability: "read"}}})
	api.PrependReactor("create", "serviceaccounts", func(action clienttesting.Action) (bool, runtime.Object, error) {
		create, ok := action.(clienttesting.CreateAction)
		if !ok || action.GetSubresource() != "token" {
			return false, nil, nil
		}
		asked, _ := create.GetObject().(*authenticationv1.TokenRequest)
		return true, &authenticationv1.TokenRequest{Spec: asked.Spec, Status: authenticationv1.TokenRequestStatus{Token: identityToken}}, nil
	})
	return identity.NewSource(api, "identities")
}

const (
	logsIn  = "/v1/auth/jwt/login"
	makes   = "/v1/auth/token/create"
	leases  = "/v1/database/creds/previews"
	endSelf = "/v1/auth/token/revoke-self"
	looksUp = "/v1/sys/leases/lookup"

	looksUpAccessor = "/v1/auth/token/lookup-accessor"

	loginToken = "hvs.login-0123456789"
	childToken = "hvs.child-0123456789"
	password   = "uYOeenSAas5pEY-W99bl"
)

// answers are what a server that is no Vault says, by path.
func answers() map[string]map[string]any {
	return map[string]map[string]any{
		logsIn: {"auth": map[string]any{"client_token": loginToken, "accessor": "a", "lease_duration": 3600,
			"policies": []any{"default", "previews"}}},
		makes: {"auth": map[string]any{"client_token": childToken, "accessor": "b", "lease_duration": 900,
			"policies": []any{"default", "previews"}, "token_type": "service"}},
		leases: {"request_id": "5d1b0a3e-0000-4000-8000-000000000001", "lease_id": "database/creds/previews/1",
			"lease_duration": 900, "renewable": true,
			"data": map[string]any{"username": "u", "password": password}},
	}
}

// refuseLookup says that there is no such lease any more.
func refuseLookup(w http.ResponseWriter) {
	w.WriteHeader(http.StatusBadRequest)
	_, _ = w.Write([]byte(`{"errors":["invalid lease"]}`))
}

// refuseAccessor says that there is no such token any more.
func refuseAccessor(w http.ResponseWriter) {
	w.WriteHeader(http.StatusForbidden)
	_, _ = w.Write([]byte(`{"errors":["invalid accessor"]}`))
}

// outcome is what came of asking a server.
type outcome struct {
	credential *provider.Credential
	err        error
	// ended: the login was.
	ended bool
	// kept are the handles that were stored, one a line.
	kept string
}

// issueFrom asks a server for a lease of a quarter of an hour, and has its handles stored by keep.
func issueFrom(t *testing.T, url string, keep func(context.Context, string) error) (*provider.Credential, error) {
	t.Helper()
	l := leaseOf(url, "")
	l.Keep = keep
	v := vault.New(vault.Options{Addresses: []string{url}, Audiences: []string{"vault"}, Identities: identityOf(t), Clock: clock.RealClock{}})
	l.Handle = v.Handle(l)
	return v.Issue(t.Context(), l)
}

// askVault asks such a server.
func askVault(t *testing.T, said map[string]map[string]any) (o outcome) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o.ended = o.ended || r.URL.Path == endSelf
		if r.URL.Path == looksUp {
			refuseLookup(w)
			return
		}
		if said[r.URL.Path] == nil {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		_ = json.NewEncoder(w).Encode(said[r.URL.Path])
	}))
	defer server.Close()
	o.credential, o.err = issueFrom(t, server.URL, func(_ context.Context, handle string) error {
		o.kept += handle + "\n"
		return nil
	})
	return o
}

func TestCheckCapability_NamesOfValetkeysOwnAreRefused(t *testing.T) {
	file := func(path string) v1alpha1.VaultFile {
		return v1alpha1.VaultFile{Path: path, Content: "${data.password}"}
	}
	for _, tt := range []struct {
		name      string
		files     []v1alpha1.VaultFile
		variables []string
		postgres  bool
		// words of the refusal; empty where it is Ready.
		words string
	}{
		{name: "files of its own", files: []v1alpha1.VaultFile{file("app/password"), file("exec-terms"), file("my/exec/terms"), file("postgres/x")}},
		{name: "the terms", files: []v1alpha1.VaultFile{file("exec/terms")}, words: "file exec/terms has the name of one that Valetkey writes"},
		{name: "the secrets", files: []v1alpha1.VaultFile{file("exec/secrets")}, words: "exec/secrets"},
		{name: "a variable of the command's", files: []v1alpha1.VaultFile{file("exec/environment/path")}, words: "exec/environment/path"},
		{name: "anything in the folder", files: []v1alpha1.VaultFile{file("exec/x")}, words: "give it a folder of its own"},
		{name: "the folder itself", files: []v1alpha1.VaultFile{file("exec")}, words: "file exec has the name"},
		{name: "a PostgreSQL client's", files: []v1alpha1.VaultFile{file("postgres/pgpass")}, postgres: true, words: "file postgres/pgpass has the name"},
		{name: "a folder of another", files: []v1alpha1.VaultFile{file("app"), file("app/password")}, words: "file app is the folder of file app/password"},
		{name: "variables of its own", variables: []string{"PASSWORD", "PGX"}},
		{name: "the end of the grant", variables: []string{"VALETKEY_EXPIRES_AT"}, words: "variable VALETKEY_EXPIRES_AT is one that Valetkey sets"},
		{name: "a PostgreSQL client's variable", variables: []string{"PGHOST"}, postgres: true, words: "variable PGHOST is one"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := &v1alpha1.Capability{ObjectMeta: metav1.ObjectMeta{Name: "read"}, Spec: v1alpha1.CapabilitySpec{Vault: &v1alpha1.VaultCapability{
				ServiceAccountName: "reader", Path: "database/creds/previews", Files: tt.files}}}
			for _, name := range tt.variables {
				c.Spec.Vault.Variables = append(c.Spec.Vault.Variables, v1alpha1.VaultVariable{Name: name, Value: "${data.password}"})
			}
			if tt.postgres {
				c.Spec.Vault.Postgres = &v1alpha1.VaultPostgres{Host: "db", Database: "app", SSLMode: "verify-full"}
			}
			err := vault.New(vault.Options{Identities: identityOf(t)}).CheckCapability(t.Context(), c, nil)
			problem := (*provider.NotReadyError)(nil)
			if (err == nil) != (tt.words == "") || err != nil && (!errors.As(err, &problem) || !strings.Contains(err.Error(), tt.words)) {
				t.Errorf("got %v, want %q", err, tt.words)
			}
		})
	}
}

func TestCheckCapability_ADatabaseThatTheNamespaceAnswersForIsRefused(t *testing.T) {
	for host, modes := range map[string]struct{ ready, refused []string }{
		"db.data.svc":     {ready: []string{"disable", "require", "verify-ca", "verify-full"}},
		"db.example.com":  {ready: []string{"disable", "verify-full"}},
		"10.0.0.7":        {ready: []string{"disable"}},
		"localhost":       {ready: []string{"disable"}},
		"db":              {ready: []string{"verify-full"}, refused: []string{"disable", "require", "verify-ca"}},
		"db.data":         {ready: []string{"verify-full"}, refused: []string{"disable", "require", "verify-ca"}},
		"127.0.1":         {ready: []string{"verify-full"}, refused: []string{"require"}},
		"127.000.000.001": {refused: []string{"require"}},
		"0x7f.0.0.1":      {refused: []string{"disable"}},
		"0.0.0":           {refused: []string{"disable"}},
		"2130706433":      {refused: []string{"disable"}},
		"Acme-db.com":     {ready: []string{"verify-full"}, refused: []string{"require"}},
	} {
		check := func(mode string, refused bool) {
			c := &v1alpha1.Capability{ObjectMeta: metav1.ObjectMeta{Name: "read"}, Spec: v1alpha1.CapabilitySpec{Vault: &v1alpha1.VaultCapability{
				ServiceAccountName: "reader", Path: "database/creds/previews", Postgres: &v1alpha1.VaultPostgres{Host: host, Database: "app", SSLMode: mode}}}}
			err := vault.New(vault.Options{Identities: identityOf(t)}).CheckCapability(t.Context(), c, nil)
			words := "postgres.host " + host + " is "
			if (err != nil) != refused || refused && !strings.Contains(err.Error(), words) {
				t.Errorf("%s with %s: got %v, want refused: %t", host, mode, err, refused)
			}
		}
		for _, mode := range modes.ready {
			check(mode, false)
		}
		for _, mode := range modes.refused {
			check(mode, true)
		}
	}
}

func TestIssue_WhatVaultWasNotAskedForIsGivenToNobody(t *testing.T) {
	if o := askVault(t, answers()); o.credential == nil || o.err != nil || !strings.Contains(o.kept, "database/creds/previews/1") {
		t.Fatalf("what was asked for is not given, or not kept: %v", o.err)
	}
	for _, tt := range []struct {
		name, path, under, field string
		value                    any
	}{
		{"a token that outlives the grant", makes, "auth", "lease_duration", 86_400},
		{"a token that lives for ever", makes, "auth", "lease_duration", 0},
		{"a login whose seconds overflow into the grant's", logsIn, "auth", "lease_duration", int64(3600 + 1<<55)},
		{"a login of the past", logsIn, "auth", "lease_duration", -3600},
		{"a token whose seconds overflow into the grant's", makes, "auth", "lease_duration", int64(900 + 1<<55)},
		{"a lease whose seconds overflow into the grant's", leases, "", "lease_duration", int64(900 + 1<<55)},
		{"a lease whose seconds overflow into the past", leases, "", "lease_duration", int64(1 << 40)},
		{"a lease for longer than anything lives", leases, "", "lease_duration", 400_000_000},
		{"a token that can be renewed", makes, "auth", "renewable", true},
		{"a token that outlives the login", makes, "auth", "orphan", true},
		{"a token that may do more", makes, "auth", "policies", []any{"default", "previews", "root"}},
		{"a token whose own policies are more", makes, "auth", "token_policies", []any{"root"}},
		{"a token whose entity's policies are more", makes, "auth", "identity_policies", []any{"admin"}},
		{"a token of another entity", makes, "auth", "entity_id", "another"},
		{"a token of another kind", makes, "auth", "token_type", "batch"},
		{"a token of no kind", makes, "auth", "token_type", nil},
		{"a token that can be used once", makes, "auth", "num_uses", 1},
		{"a token that asks for more", makes, "auth", "mfa_requirement", map[string]any{"mfa_request_id": "1"}},
		{"a token of which something is said that is not known", makes, "auth", "period", 3600},
		{"the login's own token", makes, "auth", "client_token", loginToken},
		{"the identity's own token", makes, "auth", "client_token", identityToken},
		{"no token", makes, "auth", "client_token", ""},
		{"another path's lease with this path in it", leases, "", "lease_id", "database/creds/other/database/creds/previews/1"},
		{"a lease behind this path", leases, "", "lease_id", "sys/x/database/creds/previews/1"},
		{"a lease with segments of dots", leases, "", "lease_id", "database/creds/previews/../../../auth/token/create"},
		{"a lease that is only dots", leases, "", "lease_id", "database/creds/previews/.."},
		{"a lease of a path below", leases, "", "lease_id", "database/creds/previews/a/1"},
		{"a lease with nothing behind the path", leases, "", "lease_id", "database/creds/previews/"},
		{"another path's lease", leases, "", "lease_id", "database/creds/admin/1"},
		{"the lease of a path that begins alike", leases, "", "lease_id", "database/creds/previews-2/1"},
		{"a login beside the secret", leases, "", "auth", map[string]any{"client_token": "root"}},
		{"a secret that is wrapped", leases, "", "wrap_info", map[string]any{"token": "w"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			said := answers()
			in := said[tt.path]
			if tt.under != "" {
				in, _ = in[tt.under].(map[string]any)
			}
			in[tt.field] = tt.value
			o := askVault(t, said)
			if o.credential != nil || !provider.IsFinal(o.err) || !o.ended || !strings.Contains(o.err.Error(), "than") {
				t.Errorf("got credential %t, the login was ended %t, error %v", o.credential != nil, o.ended, o.err)
			}
		})
	}
}

// TestIssue_WhatVaultSaysInClearTellsNoSecret: nothing of a secret gets into the handle, which is stored in clear, and
// no secret is one of the tokens by which it was asked for.
func TestIssue_WhatVaultSaysInClearTellsNoSecret(t *testing.T) {
	lease := func(id string) func(map[string]map[string]any) {
		return func(said map[string]map[string]any) { said[leases]["lease_id"] = "database/creds/previews/" + id }
	}
	answered := func(text string) func(map[string]map[string]any) {
		return func(said map[string]map[string]any) { said[leases]["data"] = map[string]any{"password": text} }
	}
	login := func(field, value string) func(map[string]map[string]any) {
		return func(said map[string]map[string]any) {
			in, _ := said[logsIn]["auth"].(map[string]any)
			in[field] = value
		}
	}
	for _, tt := range []struct {
		name  string
		spoil func(map[string]map[string]any)
		words string
	}{
		{"a lease that is named by the password", lease(password), "tells what is secret"},
		{"a lease that is named by the password and more", lease("x" + password + "y"), "tells what is secret"},
		{"a lease that is named by the beginning of the password", lease(password[:12]), "tells what is secret"},
		{"an accessor that is the password", login("accessor", password), "stands in the login's accessor"},
		{"an accessor that is the token on which the lease hangs", func(said map[string]map[string]any) {
			const other = "hvs.AnotherTokenOfItsOwn"
			login("accessor", other)(said)
			made, _ := said[makes]["auth"].(map[string]any)
			made["client_token"] = other
		}, "stands in the login's accessor"},
		{"a lease that is named by what nobody is given", func(said map[string]map[string]any) {
			said[leases]["data"] = map[string]any{"password": "0123456789abcdef", "api_key": password}
			lease(password)(said)
		}, "stands in its lease's ID"},
		{"an accessor that is the login's token", login("accessor", loginToken), "an accessor that tells the token"},
		{"an accessor that has the identity's token in it", login("accessor", "x"+identityToken), "an accessor that tells the token"},
		{"the identity's token in place of the login's", login("client_token", identityToken), "what it was sent"},
		{"the identity's token in the secret", answered(identityToken), "not made of plain words"},
		{"the login's token in the secret", answered("token=" + loginToken), "holds what was sent"},
		{"the token that the lease hangs on in the secret", answered(childToken), "holds what was sent"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			said := answers()
			tt.spoil(said)
			o := askVault(t, said)
			if o.credential != nil || !provider.IsFinal(o.err) || !strings.Contains(o.err.Error(), tt.words) {
				t.Fatalf("got credential %t, error %v", o.credential != nil, o.err)
			}
			for _, secret := range []string{password[:12], loginToken, childToken, identityToken} {
				// An accessor is stored before the secret is known.
				stored := o.kept
				if strings.Contains(tt.name, "accessor that is the password") || strings.Contains(tt.name, "the lease hangs") {
					stored = ""
				}
				if strings.Contains(stored+o.err.Error(), secret) {
					t.Error("a secret was stored, or told")
				}
			}
		})
	}
}

// TestRevoke_TheProofIsTheWholeLine: what Vault says of a lease and a login that are gone proves it, and no line that
// merely has the words in it.
func TestRevoke_TheProofIsTheWholeLine(t *testing.T) {
	for _, tt := range []struct {
		name            string
		lease, accessor []string
		gone            bool
	}{
		{"as Vault says it", []string{"invalid lease"}, []string{"1 error occurred:\n\t* invalid accessor\n\n"}, true},
		{"each the other way", []string{"1 error occurred:\n\t* invalid lease\n\n"}, []string{"invalid accessor"}, true},
		{"a lease that lives", []string{"yes, invalid lease? no: it lives"}, []string{"invalid accessor"}, false},
		{"a login that lives", []string{"invalid lease"}, []string{"no invalid accessor"}, false},
		{"another error beside it", []string{"invalid lease", "it lives"}, []string{"invalid accessor"}, false},
		{"two errors, of which one is it", []string{"2 errors occurred:\n\t* invalid lease\n\t* it lives\n\n"}, []string{"invalid accessor"}, false},
		{"in capitals", []string{"INVALID LEASE"}, []string{"invalid accessor"}, false},
		{"nothing", nil, nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				said := map[string][]string{"/v1/sys/leases/lookup": tt.lease, "/v1/auth/token/lookup-accessor": tt.accessor}
				errs, lookup := said[r.URL.Path]
				switch {
				case lookup:
					w.WriteHeader(http.StatusBadRequest)
					_ = json.NewEncoder(w).Encode(map[string]any{"errors": errs})
				case r.URL.Path == logsIn:
					_ = json.NewEncoder(w).Encode(answers()[logsIn])
				default:
					w.WriteHeader(http.StatusNoContent)
				}
			}))
			defer server.Close()
			v := vault.New(vault.Options{Addresses: []string{server.URL}, Audiences: []string{"vault"}, Identities: identityOf(t), Clock: clock.RealClock{}})
			handle := fmt.Sprintf(`{"capability":"read","account":"reader","role":"reader","revocation":"Immediate","server":{"address":%q,"authPath":"jwt","audience":"vault"},`+
				`"begun":[{"accessor":"a","lease":"database/creds/previews/1"}]}`, server.URL)
			revoked, err := v.Revoke(t.Context(), provider.Issued{ID: "1", Attempts: 1, Handle: handle})
			if (err == nil) != tt.gone || err == nil && revoked.Mode != v1alpha1.RevocationImmediate || err != nil && !provider.IsRetryable(err) {
				t.Errorf("got %+v, %v", revoked, err)
			}
		})
	}
}
