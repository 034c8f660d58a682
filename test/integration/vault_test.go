// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package integration

import (
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/hack/localcluster"
)

// onVault makes the journey's capability a role of the database that Vault makes users of.
func onVault(t *testing.T, name string) *journey {
	t.Helper()
	j := begin(t, name)
	j.asks = name
	v := j.w.cluster.Vault()
	j.must(v.EnsureDatabase(t.Context(), map[string]string{name: ""}))
	j.must(v.EnsureRole(t.Context(), localcluster.VaultRole{Name: name, Namespace: identities, ServiceAccount: name, Audience: "vault",
		TokenTTL: 2 * time.Hour, Databases: []string{name}}))
	j.store(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: identities, Name: name, Annotations: map[string]string{v1alpha1.AnnotationCapability: name}}})
	j.store(&v1alpha1.CapabilityProvider{ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1alpha1.CapabilityProviderSpec{Vault: &v1alpha1.VaultProvider{Address: v.Address}}})
	j.store(&v1alpha1.Capability{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.CapabilitySpec{
		Description: "Read the list of previews.", ProviderRef: v1alpha1.ProviderReference{Name: name},
		Vault: &v1alpha1.VaultCapability{ServiceAccountName: name, Role: name, Path: "database/creds/" + name, Revocation: v1alpha1.VaultImmediate,
			Postgres: &v1alpha1.VaultPostgres{Host: v.PostgresHost, Port: 5432, Database: v.Database, SSLMode: "disable"}}}})
	return j
}

// connector connects to the database with a copy of what the container finds; refused says that the database refused it.
func (j *journey) connector(g *v1alpha1.CapabilityGrant) func() (refused bool) {
	j.Helper()
	secret := &corev1.Secret{}
	j.must(j.w.admin.Get(j.Context(), client.ObjectKey{Namespace: j.namespace, Name: g.Status.SecretName}, secret))
	copied := strings.ReplaceAll(strings.TrimPrefix(string(secret.Data["postgres.service"]), "[valetkey]\n"), "\n", " ")
	return func() bool {
		connection, err := pgx.Connect(j.Context(), copied)
		if refusal := (*pgconn.PgError)(nil); errors.As(err, &refusal) {
			return true
		}
		j.must(err)
		j.must(connection.Close(j.Context()))
		return false
	}
}

// TestWhileVaultIsAwayAGrantIsNotSaidToBeRevoked has Vault hang when the grant ends, and the capability gone.
func TestWhileVaultIsAwayAGrantIsNotSaidToBeRevoked(t *testing.T) {
	j := onVault(t, "vault-away")
	g := j.deliverWithoutApproval()
	if want := []string{"read database/creds/vault-away"}; !slices.Equal(g.Spec.Scope, want) || g.Spec.Provider.Type != "vault" {
		t.Errorf("the grant shows %v of %s; want %v", g.Spec.Scope, g.Spec.Provider.Type, want)
	}
	if c := g.Status.Credential; c == nil || !strings.HasPrefix(c.ID, "database/creds/vault-away/") || !strings.Contains(g.Status.RevocationHandle, c.ID) {
		t.Errorf("the credential is %+v, what ends it %s", c, g.Status.RevocationHandle)
	}
	refused := j.connector(g)
	if refused() {
		t.Fatal("what was granted does not work")
	}
	j.must(j.w.admin.Delete(t.Context(), &v1alpha1.Capability{ObjectMeta: metav1.ObjectMeta{Name: j.name}}))
	j.must(j.w.cluster.Signal("vault", syscall.SIGSTOP))
	t.Cleanup(func() { _ = j.w.cluster.Signal("vault", syscall.SIGCONT) })
	j.annotate(j.w.alice, j.grantObject(), v1alpha1.AnnotationRevoke, "seen-enough")
	g = await(t, j.w, j.grantObject(), "ending, and saying what is not confirmed", func(g *v1alpha1.CapabilityGrant) bool {
		c := condition(g.Status.Conditions, v1alpha1.ConditionEnded)
		return g.Status.EndedAt != nil || strings.Contains(c.Message, "has not confirmed that the credential is revoked: logging in with role vault-away: Vault did not answer")
	})
	if g.Status.EndedAt != nil || g.Status.Revocation != nil {
		t.Errorf("the grant ended with %+v, and nothing was revoked", g.Status.Revocation)
	}
	j.expectNoSecret()
	if err := j.w.admin.Delete(t.Context(), j.grantObject()); err != nil {
		t.Error(err)
	}
	if refused() {
		t.Error("nobody revoked it, and it does not work: the test shows nothing")
	}
	j.must(j.w.cluster.Signal("vault", syscall.SIGCONT))
	g = await(t, j.w, j.grantObject(), "revoked", func(g *v1alpha1.CapabilityGrant) bool { return g.Status.Revocation != nil })
	if r := g.Status.Revocation; r.Mode != v1alpha1.RevocationImmediate || r.ConfirmedAt == nil || r.ExposedUntil != nil {
		t.Errorf("the revocation is %+v", r)
	}
	if !refused() {
		t.Error("a copy works after the grant's end")
	}
	awaitGone(t, j.w, g)
}

func TestAUserOfADatabaseLivesAsLongAsItsJob(t *testing.T) {
	j := onVault(t, "vault-database")
	refused := j.connector(j.deliverWithoutApproval())
	if refused() {
		t.Fatal("what was granted does not work")
	}
	j.finish(corev1.PodSucceeded)
	g := j.awaitEnd(v1alpha1.OutcomeCompleted, v1alpha1.ReasonJobCompleted)
	if r := g.Status.Revocation; r == nil || r.Mode != v1alpha1.RevocationImmediate || r.ConfirmedAt == nil || !refused() {
		t.Errorf("the revocation is %+v", r)
	}
	j.expectAudited("completed_without_reuse", v1alpha1.ReasonJobCompleted)
}
