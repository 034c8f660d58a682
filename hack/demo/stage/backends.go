// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/valetkey/valetkey/hack/localcluster"
	"github.com/valetkey/valetkey/hack/standin/github"
	"github.com/valetkey/valetkey/hack/standin/google"
)

const (
	// signersPath is where the operator finds its signing keys.
	signersPath = "/etc/valetkey/signers"
	// tokenIssuer stands in the tokens. Nobody looks the name up: the story asks the operator's Pod.
	tokenIssuer = "http://tokens.valetkey.test"
	tokenPort   = "8443"
	// tokenAccount is the internal service of config/samples/token.
	tokenAccount = "artifact-proxy"
	appID        = 123456
	installation = 7890123
	// Google's side of config/samples/gcp.
	workloadIdentityProvider = "projects/123456789/locations/global/workloadIdentityPools/agents/providers/cluster"
	googleAudience           = "https://iam.googleapis.com/" + workloadIdentityProvider
	serviceAccount           = "preview-writer@acme-previews.iam.gserviceaccount.com"
)

// GitHubURL is the stand-in for GitHub's API, as this machine and Pods reach it.
func (s *Stage) GitHubURL() string { return "http://" + s.github.Addr().String() }

// GoogleURL is the stand-in for Google Cloud, as this machine and Pods reach it.
func (s *Stage) GoogleURL() string { return "http://" + s.google.Addr().String() }

// standInForGoogle serves the stand-in for Google Cloud, which trusts this cluster's issuer.
func (s *Stage) standInForGoogle(ctx context.Context) error {
	clients, err := kubernetes.NewForConfig(s.Cluster.AdminConfig())
	if err != nil {
		return err
	}
	keys := func(ctx context.Context) (set jose.JSONWebKeySet, err error) {
		text, err := clients.RESTClient().Get().AbsPath("/openid/v1/jwks").DoRaw(ctx)
		if err != nil {
			return set, err
		}
		return set, json.Unmarshal(text, &set)
	}
	s.google, err = s.serve(ctx, &google.Server{
		WorkloadIdentityProvider: workloadIdentityProvider, Issuer: s.Cluster.AWS().Issuer, Keys: keys,
		Accounts: map[string]google.Account{serviceAccount: {
			Users: []string{"system:serviceaccount:valetkey-identities:write-previews"},
			Roles: map[string][]string{"acme-previews": {"roles/storage.objectUser"}, "acme-salaries": {"roles/storage.objectUser"}},
		}},
	})
	return err
}

// serve serves where this machine and Pods reach it, until the listener is closed.
func (s *Stage) serve(ctx context.Context, handler http.Handler) (net.Listener, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(s.Cluster.HostAddress(), "0"))
	if err != nil {
		return nil, err
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: handler}
	go func() { _ = server.Serve(listener) }()
	return listener, nil
}

// standInForGitHub serves the stand-in for GitHub, and makes the keys of the operator's signers, in PEM by their files' names.
func (s *Stage) standInForGitHub(ctx context.Context) error {
	app, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	internal, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	s.signers = map[string]string{}
	for name, key := range map[string]any{"github-acme.pem": app, "internal.pem": internal} {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return err
		}
		s.signers[name] = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	}
	s.github, err = s.serve(ctx, &github.Server{AppID: appID, Key: &app.PublicKey, InstallationID: installation,
		Owner: "acme", Repositories: []string{"web-app", "payments"}, Permissions: map[string]string{"actions": "read", "contents": "write"}})
	return err
}

// backEndArgs are the operator's flags for what it talks to.
func (s *Stage) backEndArgs() []string {
	var args []string
	if v := s.Cluster.Vault(); v != nil {
		args = append(args, "--vault-address="+v.InCluster)
	}
	if s.google != nil {
		args = append(args, "--gcp-endpoint="+s.GoogleURL(), "--gcp-audience="+googleAudience)
	}
	if s.github != nil {
		args = append(args, "--github-api="+s.GitHubURL(), "--signer=github-acme="+signersPath+"/github-acme.pem", "--signer=internal="+signersPath+"/internal.pem",
			"--token-issuer="+tokenIssuer, "--token-signer=internal")
	}
	return args
}

// Vault makes what config/samples/vault needs in Vault and PostgreSQL, as docs/backends/vault.md advises, and applies it.
func (s *Stage) Vault(ctx context.Context) error {
	v := s.Cluster.Vault()
	if err := v.SQL(ctx, "CREATE TABLE builds (name text)", "CREATE TABLE salaries (name text)"); err != nil {
		return err
	}
	if err := v.EnsureDatabase(ctx, map[string]string{"previews-rehearsal": "builds"}); err != nil {
		return err
	}
	err := v.EnsureRole(ctx, localcluster.VaultRole{Name: "read-previews", Namespace: "valetkey-identities", ServiceAccount: "read-previews",
		Audience: "vault", TokenTTL: 65 * time.Minute, Databases: []string{"previews-rehearsal"}})
	if err != nil {
		return err
	}
	overlay, err := s.overlay("vault", map[string]string{"kustomization.yaml": fmt.Sprintf(vaultOverlay, s.rel("vault", "config/samples/vault"),
		v.InCluster, v.InClusterPostgresHost)})
	if err != nil {
		return err
	}
	return s.applySample(ctx, overlay, "capprov/vault", "cap/read-previews", "cappol/read-previews")
}

const vaultOverlay = `resources:
- %s
patches:
- target: {kind: CapabilityProvider, name: vault}
  patch: |-
    - {op: replace, path: /spec/vault/address, value: %q}
- target: {kind: Capability, name: read-previews}
  patch: |-
    - {op: replace, path: /spec/vault/postgres/host, value: %q}
    - {op: replace, path: /spec/vault/postgres/sslMode, value: disable}
`

// GitHub applies config/samples/github with the stand-in.
func (s *Stage) GitHub(ctx context.Context) error {
	overlay, err := s.overlay("github", map[string]string{"kustomization.yaml": fmt.Sprintf(githubOverlay, s.rel("github", "config/samples/github"), s.GitHubURL())})
	if err != nil {
		return err
	}
	return s.applySample(ctx, overlay, "capprov/github-acme", "cap/read-ci-artifacts", "cappol/read-ci-artifacts")
}

const githubOverlay = `resources:
- %s
patches:
- target: {kind: CapabilityProvider, name: github-acme}
  patch: |-
    - {op: add, path: /spec/github/apiURL, value: %q}
`

// GoogleCloud applies config/samples/gcp with the stand-in.
func (s *Stage) GoogleCloud(ctx context.Context) error {
	overlay, err := s.overlay("gcp", map[string]string{"kustomization.yaml": fmt.Sprintf(googleOverlay, s.rel("gcp", "config/samples/gcp"), s.GoogleURL(), s.GoogleURL())})
	if err != nil {
		return err
	}
	return s.applySample(ctx, overlay, "capprov/gcp-acme", "cap/write-previews", "cappol/write-previews")
}

const googleOverlay = `resources:
- %s
patches:
- target: {kind: CapabilityProvider, name: gcp-acme}
  patch: |-
    - {op: add, path: /spec/gcp/stsEndpoint, value: %q}
    - {op: add, path: /spec/gcp/iamCredentialsEndpoint, value: %q}
`

// Token applies config/samples/token, and makes the internal service that it names.
func (s *Stage) Token(ctx context.Context) error {
	for _, args := range [][]string{{"create", "namespace", tokenAccount}, {"-n", tokenAccount, "create", "serviceaccount", tokenAccount}} {
		if _, err := s.Kubectl(ctx, Admin, args...); err != nil {
			return err
		}
	}
	overlay, err := s.overlay("token", map[string]string{"kustomization.yaml": fmt.Sprintf(tokenOverlay, s.rel("token", "config/samples/token"), tokenIssuer)})
	if err != nil {
		return err
	}
	return s.applySample(ctx, overlay, "capprov/internal", "cap/read-artifacts", "cappol/read-artifacts")
}

const tokenOverlay = `resources:
- %s
patches:
- target: {kind: CapabilityProvider, name: internal}
  patch: |-
    - {op: replace, path: /spec/token/issuer, value: %q}
`

// Introspect asks the operator about a token, as the internal service.
func (s *Stage) Introspect(ctx context.Context, text string) (active bool, err error) {
	clients, err := kubernetes.NewForConfig(s.Cluster.AdminConfig())
	if err != nil {
		return false, err
	}
	own, err := clients.CoreV1().ServiceAccounts(tokenAccount).CreateToken(ctx, tokenAccount,
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{tokenIssuer}}}, metav1.CreateOptions{})
	if err != nil {
		return false, err
	}
	address, err := s.Kubectl(ctx, Admin, "-n", "valetkey-system", "get", "pods", "-l", "app.kubernetes.io/name=valetkey", "-o", "jsonpath={.items[0].status.podIP}")
	if err != nil {
		return false, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+net.JoinHostPort(strings.TrimSpace(address), tokenPort)+"/introspect",
		strings.NewReader(url.Values{"token": {text}}.Encode()))
	if err != nil {
		return false, err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Authorization", "Bearer "+own.Status.Token)
	answer, err := (&http.Client{Transport: &http.Transport{}}).Do(request)
	if err != nil {
		return false, err
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		return false, errors.Join(err, fmt.Errorf("introspection: %s", answer.Status))
	}
	var said struct{ Active bool }
	return said.Active, json.Unmarshal(body, &said)
}
