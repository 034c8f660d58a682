// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package integration

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"golang.org/x/sync/errgroup"
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

// issuerFlags are those of an operator that issues tokens, with keys of its own.
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

// TestToken_CallersThatMayNotCostTheAPIServerNothing has ten thousand bad requests come, each of its own kind, and
// counts what the operator asks of the API server, at a gate between the two and by the API server's own metrics.
func TestToken_CallersThatMayNotCostTheAPIServerNothing(t *testing.T) {
	const requests, atOnce = 10_000, 32
	j := alone(t, "token-flood", nil)
	flags, issuer, https := issuerFlags(t)
	g := j.w.apiGate(t)
	o, err := j.w.start(exec.Command(j.w.manager), g.kubeconfig(t, j.w), t.TempDir(), flags...)
	j.must(err)
	t.Cleanup(func() { _ = o.stop() })
	j.must(o.awaitReady(t.Context()))
	j.internalToken(issuer)
	proxy, stranger := j.service("artifact-proxy", issuer, https), j.service("stranger", issuer, https)
	if status, said := proxy("x"); status != http.StatusOK || said["active"] != false {
		t.Fatalf("whoever may is told %d %v", status, said)
	}
	var asked, keys atomic.Int32
	g.on(func(_ string, r *http.Request, _ []byte) fate {
		switch path := r.URL.Path; {
		case strings.HasSuffix(path, "/tokenreviews"), strings.HasSuffix(path, "/subjectaccessreviews"):
			asked.Add(1)
		case strings.HasPrefix(path, "/openid/"), strings.HasPrefix(path, "/.well-known/"):
			keys.Add(1)
		}
		return fate{}
	})
	https.Transport.(*http.Transport).MaxIdleConnsPerHost = atOnce
	before := j.w.reviews(t)
	bad := j.badTokens(issuer)
	var group errgroup.Group
	group.SetLimit(atOnce)
	began := time.Now()
	for i := range requests {
		group.Go(func() error {
			status, err := introspectAs(t.Context(), https, issuer, bad[i%len(bad)])
			if err == nil && status != http.StatusUnauthorized {
				err = fmt.Errorf("token %d of the bad ones is told %d", i%len(bad), status)
			}
			return err
		})
	}
	j.must(group.Wait())
	took := time.Since(began)
	after := j.w.reviews(t)
	t.Logf("%d bad requests in %s: the operator asked the API server %d times, and read its keys by %d requests; it counts %v reviews before and %v after",
		requests, took.Round(time.Millisecond), asked.Load(), keys.Load(), before, after)
	// The keys are read by two requests a minute, whatever comes.
	if minutes := int32(took/time.Minute) + 1; asked.Load() > 0 || keys.Load() > 2*minutes || after != before {
		t.Error("bad requests cost the API server something")
	}
	asked.Store(0)
	for range 100 {
		if status, _ := stranger("x"); status != http.StatusForbidden {
			t.Fatalf("a stranger is told %d", status)
		}
		if status, _ := proxy("x"); status != http.StatusOK {
			t.Fatalf("whoever may is told %d", status)
		}
	}
	if n := asked.Load(); n > 8 {
		t.Errorf("for a hundred requests each of two accounts the API server was asked %d times", n)
	}
}

// badTokens are such as anybody can bring: none, nonsense, forged ones, and real ones that are for something else.
func (j *journey) badTokens(issuer string) []string {
	j.Helper()
	real, err := j.w.token(j.Context(), j.namespace, "stranger")
	j.must(err)
	header, err := base64.RawURLEncoding.DecodeString(strings.Split(real, ".")[0])
	j.must(err)
	var known struct {
		KeyID string `json:"kid"`
	}
	j.must(json.Unmarshal(header, &known))
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	j.must(err)
	forge := func(kid string) string {
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: key,
			KeyID: kid}}, nil)
		j.must(err)
		var claims map[string]any
		payload, err := base64.RawURLEncoding.DecodeString(strings.Split(real, ".")[1])
		j.must(err)
		j.must(json.Unmarshal(payload, &claims))
		claims["aud"] = []string{issuer}
		text, err := jwt.Signed(signer).Claims(claims).Serialize()
		j.must(err)
		return text
	}
	cut := strings.LastIndex(real, ".")
	return []string{"", "let-me-in", forge(known.KeyID), forge("a-key-that-is-new"), real, real[:cut] + ".AAAA",
		real + "x"}
}

func introspectAs(ctx context.Context, https *http.Client, issuer, bearer string) (int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, issuer+"/introspect", strings.NewReader("token=x"))
	if err != nil {
		return 0, err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if bearer != "" {
		request.Header.Set("Authorization", "Bearer "+bearer)
	}
	response, err := https.Do(request)
	if err != nil {
		return 0, err
	}
	defer func() { _ = response.Body.Close() }()
	_, err = io.Copy(io.Discard, response.Body)
	return response.StatusCode, err
}

// reviews is how many TokenReviews and SubjectAccessReviews the API server has answered so far, by its own metrics.
func (w *world) reviews(t *testing.T) float64 {
	t.Helper()
	text, err := w.kubectl(t.Context(), "get", "--raw", "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, m := range families["apiserver_request_total"].GetMetric() {
		for _, label := range m.GetLabel() {
			if label.GetName() == "resource" && (label.GetValue() == "tokenreviews" ||
				label.GetValue() == "subjectaccessreviews") {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}
