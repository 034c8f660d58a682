// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package vault_test

import (
	"context"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/jackc/pgx/v5"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/clock"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/identity"
	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/internal/provider/vault"
)

// ledger stores handles as a grant does.
type ledger struct {
	handle string
	// after is how many are stored before the rest is refused; negative means all are.
	after int
}

func (b *ledger) begin(w *realWorld, p provider.Provider, l provider.Lease) (*provider.Credential, error) {
	l.Handle = b.handle
	b.handle = p.Handle(l)
	l.Handle = b.handle
	l.Keep = func(_ context.Context, handle string) error {
		if b.after == 0 {
			return errors.New("the API server is away")
		}
		b.after--
		b.handle = handle
		return nil
	}
	return p.Issue(w.context, l)
}

func (b *ledger) issued(l provider.Lease) provider.Issued {
	return l.Issued(b.handle, time.Now().Add(time.Hour))
}

func mustIssue(t *testing.T, w *realWorld, b *ledger, l provider.Lease) *provider.Credential {
	t.Helper()
	c, err := b.begin(w, w, l)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// awaitNoUsers waits until Vault has no user left in the database.
func (w *realWorld) awaitNoUsers(t *testing.T) {
	t.Helper()
	admin, err := pgx.Connect(t.Context(), w.vault.AdminString())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = admin.Close(context.WithoutCancel(t.Context())) }()
	err = wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		users := 0
		err := admin.QueryRow(ctx, `SELECT count(*) FROM pg_roles WHERE rolname LIKE 'v-%'`).Scan(&users)
		return users == 0, err
	})
	if err != nil {
		t.Errorf("users are left in the database: %v", err)
	}
}

func (w *realWorld) root(t *testing.T) *api.Client {
	t.Helper()
	client, err := w.vault.Client()
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func (w *realWorld) configure(t *testing.T, path string, values map[string]any) {
	t.Helper()
	if _, err := w.root(t).Logical().WriteWithContext(t.Context(), path, values); err != nil {
		t.Fatal(err)
	}
}

// awaitDatabase asks until it answers, which it tells nobody.
func (w *realWorld) awaitDatabase(t *testing.T) error {
	t.Helper()
	return wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		return w.vault.SQL(ctx, "SELECT 1") == nil, nil
	})
}

func TestVaultAndWhatGoesWrong(t *testing.T) {
	w := newRealWorld(t)
	t.Run("a lease that could not be stored is ended", func(t *testing.T) {
		l, b := w.lease(), &ledger{after: 1}
		c, err := b.begin(w, w, l)
		if c != nil || !provider.IsRetryable(err) || !strings.Contains(err.Error(), "leased could not be stored") {
			t.Fatalf("got credential %t, error %v", c != nil, err)
		}
		w.awaitNoUsers(t)
		// Nor could be stored that it was: the grant knows of a login alone.
		if revoked, err := w.Revoke(t.Context(), b.issued(l)); err != nil || revoked.Mode != v1alpha1.RevocationAtExpiry {
			t.Errorf("%+v, %v", revoked, err)
		}
	})
	t.Run("while the database is down, nothing is said to be revoked", func(t *testing.T) {
		l, b := w.lease(), &ledger{after: -1}
		c := mustIssue(t, w, b, l)
		if err := w.cluster.StopProgram("postgres"); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			revoked, err := w.Revoke(t.Context(), b.issued(l))
			if err == nil || !strings.Contains(err.Error(), "Vault still knows it") || !provider.StillWorks(err).Unknown {
				t.Errorf("%+v, %v", revoked, err)
			}
		}
		// Vault itself tries again some time, and must not before the user was seen to be there.
		if err := errors.Join(w.cluster.Signal("vault", syscall.SIGSTOP), w.cluster.StartProgram("postgres"), w.awaitDatabase(t)); err != nil {
			t.Fatal(err)
		}
		there := works(t, c)
		if err := w.cluster.Signal("vault", syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		if !there {
			t.Error("it was ended by nobody, and does not work: the test shows nothing")
		}
		if revoked, err := w.Revoke(t.Context(), b.issued(l)); err != nil || revoked.Mode != v1alpha1.RevocationImmediate {
			t.Errorf("%+v, %v", revoked, err)
		}
		if works(t, c) {
			t.Error("it works after it was revoked")
		}
	})
	t.Run("a session that is open is ended too", func(t *testing.T) {
		l, b := w.lease(), &ledger{after: -1}
		open, err := container(t, mustIssue(t, w, b, l))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := open.Exec(t.Context(), "SELECT * FROM builds"); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Revoke(t.Context(), b.issued(l)); err != nil {
			t.Fatal(err)
		}
		if _, err := open.Exec(t.Context(), "SELECT 1"); err == nil {
			t.Error("it goes on")
		}
	})
	t.Run("Vault itself ends what nobody ends", func(t *testing.T) {
		l, b := w.lease(), &ledger{after: -1}
		l.TTL = 5 * time.Second
		c := mustIssue(t, w, b, l)
		if !works(t, c) || time.Until(c.ExpiresAt()) > l.TTL {
			t.Errorf("it works until %s", c.ExpiresAt())
		}
		w.awaitNoUsers(t)
	})
	t.Run("refusals", func(t *testing.T) { w.refusals(t) })
	t.Run("an address that is not allowed is never asked", func(t *testing.T) {
		l := w.lease()
		l.Provider.Spec.Vault.Address = "http://elsewhere.example.com"
		if _, err := (&ledger{after: -1}).begin(w, w, l); !provider.IsFinal(err) || !strings.Contains(err.Error(), "--vault-address") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a server with a certificate of one's own", func(t *testing.T) { w.withTLS(t) })
	t.Run("the Kubernetes auth method", func(t *testing.T) { w.withKubernetesAuth(t) })
	t.Run("certificates, which work until they expire", func(t *testing.T) { w.withPKI(t) })
}

// refusals change one thing each.
func (w *realWorld) refusals(t *testing.T) {
	const outlives, static, absent = "more than was granted", "Vault does not lease what is at secret/data/static", `no field "absent"`
	w.configure(t, "secret/data/static", map[string]any{"data": map[string]any{"password": "for-ever"}})
	if err := w.root(t).Sys().PutPolicyWithContext(t.Context(), "static", `path "secret/data/*" { capabilities = ["read"] }`); err != nil {
		t.Fatal(err)
	}
	role := func(name string, ttl string, policies ...string) {
		w.configure(t, "auth/jwt/role/"+name, map[string]any{"role_type": "jwt", "user_claim": "sub", "bound_audiences": audience,
			"bound_subject": "system:serviceaccount:" + identities + ":reader", "token_policies": policies, "token_ttl": ttl})
	}
	role("hasty", "5m", "reader")
	role("static", "2h", "reader", "static")
	w.configure(t, "auth/jwt/role/others", map[string]any{"role_type": "jwt", "user_claim": "sub", "bound_audiences": audience, "bound_subject": "system:serviceaccount:agents:mallory"})
	tests := []struct {
		name  string
		spoil func(*v1alpha1.VaultCapability)
		final bool
		words string
	}{
		{"a path that its policies do not allow", func(c *v1alpha1.VaultCapability) { c.Path = "database/creds/production" }, true, "Vault's policies do not allow it"},
		{"a path where nothing is", func(c *v1alpha1.VaultCapability) { c.Role, c.Path = "static", "secret/data/absent" }, true, "Vault has nothing at secret/data/absent"},
		{"a static secret", func(c *v1alpha1.VaultCapability) { c.Role, c.Path = "static", "secret/data/static" }, true, static},
		{"a login that ends before the grant", func(c *v1alpha1.VaultCapability) { c.Role = "hasty" }, true, "token_ttl"},
		{"a role for somebody else", func(c *v1alpha1.VaultCapability) { c.Role = "others" }, false, "logging in with role others: Vault refused: status 400"},
		{"a role that is not there", func(c *v1alpha1.VaultCapability) { c.Role = "absent" }, false, "logging in with role absent: Vault refused: status 400"},
		{"a field that is not there", func(c *v1alpha1.VaultCapability) {
			c.Files = []v1alpha1.VaultFile{{Path: "x", Content: "${data.absent}"}}
		}, true, absent},
		{"a lease that outlives the grant and cannot be ended", func(c *v1alpha1.VaultCapability) { c.Revocation = v1alpha1.VaultAtExpiry }, true, outlives},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			l, b := w.lease(), &ledger{after: -1}
			test.spoil(l.Capability.Spec.Vault)
			c, err := b.begin(w, w, l)
			// It was issued, or read, all the same, and is not said to have been refused.
			issued := slices.Contains([]string{outlives, static, absent}, test.words)
			if c != nil || provider.IsFinal(err) != test.final || provider.IsRefused(err) == issued || !strings.Contains(err.Error(), test.words) {
				t.Errorf("got credential %t, final %t, refused %t, error %v", c != nil, provider.IsFinal(err), provider.IsRefused(err), err)
			}
			w.awaitNoUsers(t)
		})
	}
}

func (w *realWorld) withTLS(t *testing.T) {
	target, err := url.Parse(w.vault.Address)
	if err != nil {
		t.Fatal(err)
	}
	seen := ""
	server := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		seen = r.Header.Get("X-Vault-Namespace")
		r.Header.Del("X-Vault-Namespace") // this Vault has none
		httputil.NewSingleHostReverseProxy(target).ServeHTTP(rw, r)
	}))
	t.Cleanup(server.Close)
	backend := vault.New(vault.Options{Addresses: []string{server.URL}, Audiences: []string{audience}, Identities: identity.NewSource(w.api, identities), Clock: clock.RealClock{}})
	l, b := w.lease(), &ledger{after: -1}
	l.Provider.Spec.Vault.Address = server.URL
	if _, err := b.begin(w, backend, l); err == nil || !strings.Contains(err.Error(), "not one that the operator trusts") {
		t.Errorf("without its authority: %v", err)
	}
	l.Provider.Spec.Vault.Namespace = "teams/web"
	l.Provider.Spec.Vault.CABundle = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	if _, err := b.begin(w, backend, l); err != nil || seen != "teams/web" {
		t.Errorf("with its authority: %v, namespace %q", err, seen)
	}
	if _, err := backend.Revoke(t.Context(), b.issued(l)); err != nil {
		t.Error(err)
	}
	l.Provider.Spec.Vault.CABundle = "no certificate"
	if err := backend.CheckProvider(l.Provider); err == nil || !strings.Contains(err.Error(), "caBundle") {
		t.Errorf("got %v", err)
	}
}

// withKubernetesAuth logs in by the method that has the API server itself review the token.
func (w *realWorld) withKubernetesAuth(t *testing.T) {
	if err := w.root(t).Sys().EnableAuthWithOptionsWithContext(t.Context(), "clusters/one", &api.EnableAuthOptions{Type: "vault-plugin-auth-kubernetes"}); err != nil {
		t.Fatal(err)
	}
	binding := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "reviewers"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "system:auth-delegator"},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: identities, Name: "reader"}}}
	if _, err := w.api.RbacV1().ClusterRoleBindings().Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	reviewer, err := w.api.CoreV1().ServiceAccounts(identities).CreateToken(t.Context(), "reader", tokenRequest(), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w.configure(t, "auth/clusters/one/config", map[string]any{"kubernetes_host": "https://10.96.0.1", "kubernetes_ca_cert": string(w.cluster.AdminConfig().CAData),
		"token_reviewer_jwt": reviewer.Status.Token, "disable_iss_validation": true})
	w.configure(t, "auth/clusters/one/role/reader", map[string]any{"bound_service_account_names": "reader", "bound_service_account_namespaces": identities,
		"audience": audience, "token_policies": "reader", "token_ttl": "2h"})
	l, b := w.lease(), &ledger{after: -1}
	l.Provider.Spec.Vault.AuthPath = "clusters/one"
	c := mustIssue(t, w, b, l)
	if !works(t, c) {
		t.Error("it does not work")
	}
	if revoked, err := w.Revoke(t.Context(), b.issued(l)); err != nil || revoked.Mode != v1alpha1.RevocationImmediate || works(t, c) {
		t.Errorf("%+v, %v", revoked, err)
	}
}

// withPKI writes with parameters, and gets what no lease ends.
func (w *realWorld) withPKI(t *testing.T) {
	if err := w.root(t).Sys().MountWithContext(t.Context(), "pki", &api.MountInput{Type: "pki"}); err != nil {
		t.Fatal(err)
	}
	w.configure(t, "pki/root/generate/internal", map[string]any{"common_name": "example.com", "ttl": "24h"})
	w.configure(t, "pki/roles/previews", map[string]any{"allowed_domains": "example.com", "allow_subdomains": true, "generate_lease": true, "ttl": "1h", "key_type": "ec", "key_bits": 256})
	policy, err := w.root(t).Sys().GetPolicyWithContext(t.Context(), "reader")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.root(t).Sys().PutPolicyWithContext(t.Context(), "reader", policy+`path "pki/issue/previews" { capabilities = ["update"] }`); err != nil {
		t.Fatal(err)
	}
	l, b := w.lease(), &ledger{after: -1}
	l.Values.Repo = "web"
	l.Capability.Spec.Vault = &v1alpha1.VaultCapability{ServiceAccountName: "reader", Role: "reader", Path: "pki/issue/previews", Revocation: v1alpha1.VaultAtExpiry,
		Parameters: []v1alpha1.VaultParameter{{Name: "common_name", Value: "${request.repo}.example.com"}},
		Files:      []v1alpha1.VaultFile{{Path: "tls/chain", Content: "${data.certificate}\n${data.ca_chain}\n"}, {Path: "tls/key", Content: "${data.private_key}\n"}},
		Variables:  []v1alpha1.VaultVariable{{Name: "TLS_SERIAL", Value: "${data.serial_number}"}}}
	scope, err := w.Render(t.Context(), l.Capability, l.Values)
	if err != nil || len(scope.Lines) != 1 || scope.Lines[0] != "write pki/issue/previews with common_name=web.example.com" {
		t.Errorf("%v, %v", scope.Lines, err)
	}
	c := mustIssue(t, w, b, l)
	if chain := c.Files()["tls/chain"]; strings.Count(chain, "BEGIN CERTIFICATE") != 2 || !strings.Contains(c.Files()["tls/key"], "PRIVATE KEY") || c.Variables()["TLS_SERIAL"] == "" {
		t.Error("the files hold no certificate, chain and key")
	}
	if left := time.Until(c.ExpiresAt()); left < 59*time.Minute || left > time.Hour+time.Minute {
		t.Errorf("expires in %s", left)
	}
	for range 2 {
		if revoked, err := w.Revoke(t.Context(), b.issued(l)); err != nil || revoked.Mode != v1alpha1.RevocationAtExpiry {
			t.Errorf("%+v, %v", revoked, err)
		}
	}
}
