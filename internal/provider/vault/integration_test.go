// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package vault_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	clients "k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/hack/localcluster"
	"github.com/valetkey/valetkey/hack/localcluster/clustertest"
	"github.com/valetkey/valetkey/internal/identity"
	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/internal/provider/conformance"
	"github.com/valetkey/valetkey/internal/provider/vault"
)

const (
	identities = "valetkey-identities"
	audience   = "vault"
)

// realWorld is the back end with a real Vault, which makes users of a real PostgreSQL.
type realWorld struct {
	*vault.Provider
	cluster *localcluster.Cluster
	vault   *localcluster.Vault
	api     *clients.Clientset
	gate    *conformance.Gate
	url     string
	context context.Context

	mu     sync.Mutex
	issued []string
}

func newRealWorld(t *testing.T) *realWorld {
	t.Helper()
	cluster := clustertest.Start(t, localcluster.Options{Vault: true, Fast: true})
	w := &realWorld{cluster: cluster, vault: cluster.Vault(), api: clients.NewForConfigOrDie(cluster.AdminConfig()), context: t.Context()}
	w.setUp(t)
	w.gate, w.url = conformance.Proxy(t, w.vault.Address, &http.Transport{})
	w.Provider = w.another()
	return w
}

// setUp makes the identity, its role in Vault, and two roles of the database, of which it may use one.
func (w *realWorld) setUp(t *testing.T) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err := w.api.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: identities}}, metav1.CreateOptions{})
	must(err)
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "reader", Annotations: map[string]string{v1alpha1.AnnotationCapability: "read"}}}
	_, err = w.api.CoreV1().ServiceAccounts(identities).Create(t.Context(), account, metav1.CreateOptions{})
	must(err)
	must(w.vault.SQL(t.Context(), "CREATE TABLE builds (name text)", "CREATE TABLE salaries (name text)"))
	must(w.vault.EnsureDatabase(t.Context(), map[string]string{"preview": "builds", "production": "salaries"}))
	must(w.vault.EnsureRole(t.Context(), localcluster.VaultRole{Name: "reader", Namespace: identities, ServiceAccount: "reader", Audience: audience,
		TokenTTL: 2 * time.Hour, Databases: []string{"preview"}}))
}

// another is the back end in another process.
func (w *realWorld) another() *vault.Provider {
	return vault.New(vault.Options{
		Addresses: []string{w.url}, Audiences: []string{audience}, Identities: identity.NewSource(w.api, identities), Clock: clock.RealClock{},
	})
}

func (w *realWorld) lease() provider.Lease {
	return provider.Lease{
		ID: "9f8c6b6a-9c2a-4e0b-8a4d-2d7db8f80731", Attempt: 1, TTL: time.Hour, Values: provider.Values{Repo: "web-app", Environment: "preview", Namespace: "agents"},
		Capability: &v1alpha1.Capability{ObjectMeta: metav1.ObjectMeta{Name: "read"}, Spec: v1alpha1.CapabilitySpec{Vault: &v1alpha1.VaultCapability{
			ServiceAccountName: "reader", Role: "reader", Path: "database/creds/${request.environment}", Revocation: v1alpha1.VaultImmediate,
			Postgres: &v1alpha1.VaultPostgres{Host: w.vault.PostgresHost, Port: 5432, Database: w.vault.Database, SSLMode: "disable"},
		}}},
		Provider: &v1alpha1.CapabilityProvider{Spec: v1alpha1.CapabilityProviderSpec{Vault: &v1alpha1.VaultProvider{Address: w.url, AuthPath: "jwt", Audience: audience}}},
	}
}

// Issue remembers the password, for the suite to look for.
func (w *realWorld) Issue(ctx context.Context, l provider.Lease) (*provider.Credential, error) {
	c, err := w.Provider.Issue(ctx, l)
	if c != nil {
		_, password, _ := strings.Cut(c.Files()["postgres/service"], "password=")
		w.mu.Lock()
		defer w.mu.Unlock()
		w.issued = append(w.issued, strings.TrimSpace(password))
	}
	return c, err
}

func (w *realWorld) secrets() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.issued)
}

// container connects as an ordinary client that was given what the projection gives a container, and nothing else.
func container(t *testing.T, c *provider.Credential) (*pgx.Conn, error) {
	t.Helper()
	mount := t.TempDir()
	for path, content := range c.Files() {
		file := filepath.Join(mount, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(content), 0o400)); err != nil {
			t.Fatal(err)
		}
	}
	for name, value := range c.Pointers() {
		t.Setenv(name, strings.Replace(value, v1alpha1.MountPath, mount, 1))
	}
	return pgx.Connect(t.Context(), "")
}

func works(t *testing.T, c *provider.Credential) bool {
	t.Helper()
	return reads(t, c, "builds")
}

func reads(t *testing.T, c *provider.Credential, table string) bool {
	t.Helper()
	connection, err := container(t, c)
	if refused := (*pgconn.PgError)(nil); errors.As(err, &refused) {
		return false
	}
	if err != nil {
		t.Fatalf("PostgreSQL says neither yes nor no: %v", err)
	}
	defer func() { _ = connection.Close(t.Context()) }()
	_, err = connection.Exec(t.Context(), "SELECT * FROM "+table)
	return err == nil
}

func throttle(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Retry-After", "1")
	w.WriteHeader(http.StatusTooManyRequests)
	_, _ = io.WriteString(w, `{"errors":["request path \"auth/jwt/login\": rate limit quota exceeded"]}`)
}

func TestVaultDoesWhatEveryBackEndDoes(t *testing.T) {
	w := newRealWorld(t)
	conformance.Run(t, "vault, real Vault and PostgreSQL", func(*testing.T) conformance.Harness {
		return conformance.Harness{
			Provider: w, Lease: w.lease(), Clock: clock.RealClock{}, Works: works,
			Unscope:  func(c *v1alpha1.Capability) { c.Spec.Vault.Path = "" },
			Beyond:   func(t *testing.T, c *provider.Credential) bool { return reads(t, c, "salaries") },
			Throttle: func(*testing.T) { w.gate.AnswerNext(throttle) },
			Break:    w.gate.Break,
			Restart:  func(*testing.T) provider.Provider { return w.another() },
			Secrets:  w.secrets,
		}
	})
}

// TestVault_AUserThatCannotBeDroppedIsLockedOut has a step make things that keep PostgreSQL from dropping or changing its user, and the
// user be gone already: the revocation goes through in either case.
func TestVault_AUserThatCannotBeDroppedIsLockedOut(t *testing.T) {
	w := newRealWorld(t)
	const changes, shared = `BEGIN; ALTER ROLE CURRENT_USER PASSWORD 'of-its-own'`, `BEGIN; GRANT SELECT ON builds TO CURRENT_USER`
	unending := "SELECT length(" + strings.Repeat("sha512(x) || ", 120) + "x) FROM (SELECT convert_to(repeat('a', 20000000), 'UTF8') x OFFSET 0) s"
	const locks = `SELECT lo_create(70000 + i) FROM generate_series(1, 20) i; DO $x$ BEGIN FOR i IN 1..20 LOOP
		EXECUTE format('GRANT SELECT ON LARGE OBJECT %s TO "USER"', 70000 + i); END LOOP; END $x$;
		BEGIN; DO $x$ BEGIN FOR i IN 1..20 LOOP EXECUTE format('GRANT SELECT ON LARGE OBJECT %s TO PUBLIC', 70000 + i); END LOOP; END $x$`
	for name, row := range map[string]struct {
		// does is what the step does with its user, then what it goes on doing, and comesBack what it does as often as it is ended.
		does, then, comesBack string
		// before and after are what another user does before this one is made, and then.
		before, after string
		gone          bool
	}{
		"more than one transaction can lock":      {does: "SELECT count(lo_create(0)) FROM generate_series(1, 30000)"},
		"a transaction that changes its password": {does: changes},
		"a transaction that reads on, whenever one has ended": {does: `SELECT count(lo_create(0)) FROM generate_series(1, 5000)`,
			comesBack: `DO $x$ BEGIN FOR i IN 1..600 LOOP PERFORM * FROM builds; PERFORM pg_sleep(1); END LOOP; END $x$`},
		"another such transaction whenever one has ended":        {does: changes, comesBack: changes},
		"a statement that nobody can end for seconds":            {does: changes, then: unending},
		"a row that users of the table share":                    {does: shared},
		"another user, a row that users of the table share":      {before: shared},
		"another user, things that it has a right on":            {after: locks},
		"a password of its own":                                  {does: changes + `; COMMIT`},
		"nothing, for it is locked out, and dropped, already":    {gone: true},
		"a lock that dropping what it may do would have to have": {does: `BEGIN; LOCK TABLE builds IN ACCESS SHARE MODE`},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, another := w.user(t)
			session(t, another.Config(), row.before)
			l, c, connection := w.user(t)
			config := connection.Config().Copy()
			session(t, another.Config(), strings.ReplaceAll(row.after, "USER", config.User))
			config.RuntimeParams["application_name"] = config.User
			other := session(t, config, row.does)
			if row.then != "" {
				go func() { _, _ = other.Exec(t.Context(), row.then) }()
				// Until it has its text, it can be ended.
				w.await(t, "EXISTS (SELECT FROM pg_stat_activity WHERE state = 'active' AND now() > query_start + interval '0.5s' AND application_name = '"+config.User+"')")
			}
			if row.comesBack != "" {
				for range 6 {
					go comeBack(t.Context(), config, row.comesBack)
				}
			}
			if row.gone {
				_ = w.vault.SQL(t.Context(), `DROP OWNED BY "`+config.User+`"`, `DROP ROLE "`+config.User+`"`)
			}
			revoked, err := w.Revoke(t.Context(), l.Issued(l.Handle, c.ExpiresAt()))
			if err != nil || revoked.Mode != v1alpha1.RevocationImmediate {
				t.Errorf("it ends as %v: %v", revoked.Mode, err)
			}
			if works(t, c) {
				t.Error("the password works")
			}
			config.Password = "of-its-own"
			if third, err := pgx.ConnectConfig(t.Context(), config); err == nil {
				_ = third.Close(t.Context())
				t.Error("a password of the user's own works")
			}
			if !row.gone { // nobody tells the sessions of a user that is gone to end
				w.await(t, "NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = '"+config.User+"')")
			}
			if _, err := connection.Exec(t.Context(), "SELECT * FROM builds"); err == nil {
				t.Error("an open session reads on")
			}
		})
	}
}

// user is a new user of the database, with the lease that it is issued under, and a session of its own.
func (w *realWorld) user(t *testing.T) (provider.Lease, *provider.Credential, *pgx.Conn) {
	t.Helper()
	l := w.lease()
	l.ID = uuid.NewString()
	l.Handle = w.Handle(l)
	l.Keep = func(_ context.Context, handle string) error {
		l.Handle = handle
		return nil
	}
	c, err := w.Issue(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	connection, err := container(t, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close(context.WithoutCancel(t.Context())) })
	return l, c, connection
}

// await asks the database until something is so.
func (w *realWorld) await(t *testing.T, what string) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		return w.vault.SQL(ctx, "DO $x$ BEGIN ASSERT "+what+"; END $x$") == nil, nil
	})
	if err != nil {
		t.Errorf("it is not so that %s", what)
	}
}

// session is one of the user's that does something, and stays.
func session(t *testing.T, config *pgx.ConnConfig, does string) *pgx.Conn {
	t.Helper()
	s, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(context.WithoutCancel(t.Context())) })
	if _, err := s.Exec(t.Context(), does); err != nil {
		t.Fatal(err)
	}
	return s
}

// comeBack does something in one session after the other, each of which stays until somebody ends it, as long as the user is let in.
func comeBack(ctx context.Context, config *pgx.ConnConfig, does string) {
	for {
		s, err := pgx.ConnectConfig(ctx, config)
		if err != nil {
			return
		}
		_, _ = s.Exec(ctx, does)
		_, _ = s.Exec(ctx, "SELECT pg_sleep(600)")
		_ = s.Close(ctx)
	}
}

// tokenRequest asks for a token of the API server's own audience, for Vault to review others with.
func tokenRequest() *authenticationv1.TokenRequest { return &authenticationv1.TokenRequest{} }
