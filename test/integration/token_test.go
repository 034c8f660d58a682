// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package integration

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// issuing starts an operator that issues tokens, over TLS, and returns the flags' URL and a client that trusts it.
func issuing(t *testing.T, flags ...string) (*operator, string, *http.Client) {
	t.Helper()
	more, issuer, https := issuerFlags(t)
	return stage.ownOperator(t, append(flags, more...)...), issuer, https
}

// issuerFlags are those of an operator that issues tokens.
func issuerFlags(t *testing.T) (flags []string, issuer string, https *http.Client) {
	t.Helper()
	dir := t.TempDir()
	write := func(name, kind string, der []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pair := httptest.NewTLSServer(nil)
	t.Cleanup(pair.Close)
	certificate, key := pair.Certificate(), pair.TLS.Certificates[0].PrivateKey
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write("tls.crt", "CERTIFICATE", certificate.Raw)
	write("tls.key", "PRIVATE KEY", der)
	signing, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if der, err = x509.MarshalECPrivateKey(signing); err != nil {
		t.Fatal(err)
	}
	write("signing.pem", "EC PRIVATE KEY", der)
	address, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	issuer = "https://" + address
	flags = []string{"--signer=internal=" + filepath.Join(dir, "signing.pem"), "--token-issuer=" + issuer,
		"--token-signer=internal", "--token-address=" + address, "--token-cert-dir=" + dir}
	return flags, issuer, pair.Client()
}

// service is an internal service with a ServiceAccount of its own, which asks the operator about tokens.
func (j *journey) service(name, issuer string, https *http.Client) func(text string) (int, map[string]any) {
	j.Helper()
	j.store(&corev1.ServiceAccount{ObjectMeta: j.meta(name)})
	clients, err := kubernetes.NewForConfig(j.w.adminConfig)
	j.must(err)
	answer, err := clients.CoreV1().ServiceAccounts(j.namespace).CreateToken(j.Context(), name,
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{issuer}}}, metav1.CreateOptions{})
	j.must(err)
	return func(text string) (int, map[string]any) {
		j.Helper()
		request, err := http.NewRequestWithContext(j.Context(), http.MethodPost, issuer+"/introspect", strings.NewReader(url.Values{"token": {text}}.Encode()))
		j.must(err)
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		request.Header.Set("Authorization", "Bearer "+answer.Status.Token)
		response, err := https.Do(request)
		j.must(err)
		defer func() { _ = response.Body.Close() }()
		body, err := io.ReadAll(response.Body)
		j.must(err)
		said := map[string]any{}
		_ = json.Unmarshal(body, &said) // a refusal is in words
		return response.StatusCode, said
	}
}

// internalToken has the journey ask for a token that a service named artifact-proxy asks about.
func (j *journey) internalToken(issuer string) {
	j.Helper()
	j.asks = j.name
	j.store(&v1alpha1.CapabilityProvider{ObjectMeta: metav1.ObjectMeta{Name: j.name}, Spec: v1alpha1.CapabilityProviderSpec{Token: &v1alpha1.TokenProvider{Issuer: issuer}}})
	j.store(&v1alpha1.Capability{ObjectMeta: metav1.ObjectMeta{Name: j.name}, Spec: v1alpha1.CapabilitySpec{
		Description: "Read the artifacts of one repository.", ProviderRef: v1alpha1.ProviderReference{Name: j.name},
		Token: &v1alpha1.TokenCapability{Audience: "artifact-proxy", Scope: []string{"artifacts:read:${request.repo}"}, Verification: v1alpha1.VerifyByIntrospection}}})
	j.store(&rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: j.name}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "valetkey-introspector"},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: j.namespace, Name: "artifact-proxy"}}})
}

// TestATokenIsInactiveFromTheMomentItsGrantEnds has a service ask, as whoever has the role, and as whoever has not.
func TestATokenIsInactiveFromTheMomentItsGrantEnds(t *testing.T) {
	o, issuer, https := issuing(t)
	j := alone(t, "internal-token", o)
	j.internalToken(issuer)
	proxy, stranger := j.service("artifact-proxy", issuer, https), j.service("stranger", issuer, https)
	g := j.deliverWithoutApproval()
	if len(g.Spec.Scope) != 1 || g.Spec.Scope[0] != "artifacts:read:web-app" || g.Spec.Provider.Type != "token" {
		t.Errorf("the grant shows %v of %s", g.Spec.Scope, g.Spec.Provider.Type)
	}
	secret := &corev1.Secret{}
	j.must(j.w.admin.Get(t.Context(), client.ObjectKey{Namespace: j.namespace, Name: g.Status.SecretName}, secret))
	token := string(secret.Data["token.token"])
	if status, said := proxy(token); status != http.StatusOK || said["active"] != true || said["lease"] != g.Spec.LeaseID || said["requester"] != g.Spec.Requester || said["task"] != g.Spec.TaskID {
		t.Errorf("while the grant lives: %d %v", status, said)
	}
	if status, said := stranger(token); status != http.StatusForbidden || len(said) > 0 {
		t.Errorf("a stranger is told %d %v", status, said)
	}
	j.annotate(j.w.alice, j.grantObject(), v1alpha1.AnnotationRevoke, "seen-enough")
	await(t, j.w, j.grantObject(), "ending", func(g *v1alpha1.CapabilityGrant) bool { return g.Status.Stop != nil })
	if status, said := proxy(token); status != http.StatusOK || said["active"] != false || len(said) != 1 {
		t.Errorf("from the moment that it ends: %d %v", status, said)
	}
	g = await(t, j.w, j.grantObject(), "ended", func(g *v1alpha1.CapabilityGrant) bool { return g.Status.EndedAt != nil })
	if r := g.Status.Revocation; r == nil || r.Mode != v1alpha1.RevocationImmediate || r.ConfirmedAt == nil {
		t.Errorf("the revocation is %+v", r)
	}
}
