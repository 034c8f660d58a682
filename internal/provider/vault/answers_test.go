// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package vault_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"k8s.io/utils/clock"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/identity"
	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/internal/provider/vault"
)

// anybody needs no token to be believed.
type anybody struct{}

func (anybody) Check(context.Context, string, string) error { return nil }

func (anybody) Token(context.Context, string, string, string) (identity.Token, error) {
	return identity.Token{}, nil
}

const (
	logsIn  = "/v1/auth/jwt/login"
	makes   = "/v1/auth/token/create"
	leases  = "/v1/database/creds/previews"
	endSelf = "/v1/auth/token/revoke-self"
)

// answers are what a server that is no Vault says, by path.
func answers() map[string]map[string]any {
	return map[string]map[string]any{
		logsIn: {"auth": map[string]any{"client_token": "login", "accessor": "a", "lease_duration": 3600,
			"policies": []any{"default", "previews"}}},
		makes: {"auth": map[string]any{"client_token": "child", "accessor": "b", "lease_duration": 900,
			"policies": []any{"default", "previews"}}},
		leases: {"lease_id": "database/creds/previews/1", "lease_duration": 900, "renewable": true,
			"data": map[string]any{"username": "u", "password": "p"}},
	}
}

// askVault asks such a server, and reports what was issued and whether the login was ended.
func askVault(t *testing.T, said map[string]map[string]any) (c *provider.Credential, ended bool, err error) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ended = ended || r.URL.Path == endSelf
		if said[r.URL.Path] == nil {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		_ = json.NewEncoder(w).Encode(said[r.URL.Path])
	}))
	defer server.Close()
	l := provider.Lease{
		ID: "9f8c6b6a-9c2a-4e0b-8a4d-2d7db8f80731", Attempt: 1, TTL: 15 * time.Minute,
		Values: provider.Values{Repo: "web-app", Environment: "preview", Namespace: "agents"},
		Capability: &v1alpha1.Capability{Spec: v1alpha1.CapabilitySpec{Vault: &v1alpha1.VaultCapability{
			ServiceAccountName: "reader", Role: "reader", Path: "database/creds/previews", Revocation: v1alpha1.VaultImmediate,
			Variables: []v1alpha1.VaultVariable{{Name: "PASSWORD", Value: "${data.password}"}}}}},
		Provider: &v1alpha1.CapabilityProvider{Spec: v1alpha1.CapabilityProviderSpec{Vault: &v1alpha1.VaultProvider{
			Address: server.URL, AuthPath: "jwt", Audience: "vault"}}},
		Keep: func(context.Context, string) error { return nil },
	}
	v := vault.New(vault.Options{Addresses: []string{server.URL}, Audiences: []string{"vault"}, Identities: anybody{}, Clock: clock.RealClock{}})
	l.Handle = v.Handle(l)
	c, err = v.Issue(t.Context(), l)
	return c, ended, err
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
			c := &v1alpha1.Capability{Spec: v1alpha1.CapabilitySpec{Vault: &v1alpha1.VaultCapability{Path: "database/creds/previews", Files: tt.files}}}
			for _, name := range tt.variables {
				c.Spec.Vault.Variables = append(c.Spec.Vault.Variables, v1alpha1.VaultVariable{Name: name, Value: "${data.password}"})
			}
			if tt.postgres {
				c.Spec.Vault.Postgres = &v1alpha1.VaultPostgres{Host: "db", Database: "app"}
			}
			err := vault.New(vault.Options{Identities: anybody{}}).CheckCapability(t.Context(), c, nil)
			problem := (*provider.NotReadyError)(nil)
			if (err == nil) != (tt.words == "") || err != nil && (!errors.As(err, &problem) || !strings.Contains(err.Error(), tt.words)) {
				t.Errorf("got %v, want %q", err, tt.words)
			}
		})
	}
}

func TestIssue_WhatVaultWasNotAskedForIsGivenToNobody(t *testing.T) {
	if c, _, err := askVault(t, answers()); c == nil || err != nil {
		t.Fatalf("what was asked for is not given: %v", err)
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
			c, ended, err := askVault(t, said)
			if c != nil || !provider.IsFinal(err) || !ended || !strings.Contains(err.Error(), "than") {
				t.Errorf("got credential %t, the login was ended %t, error %v", c != nil, ended, err)
			}
		})
	}
}
