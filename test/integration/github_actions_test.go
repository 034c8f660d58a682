// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package integration

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// issuer signs tokens as GitHub's does for a workflow.
type issuer struct {
	url string
	key *rsa.PrivateKey
}

// newIssuer listens where the API server reaches it.
func newIssuer(t *testing.T) *issuer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	i := &issuer{key: key}
	listener, authority, err := stage.cluster.ListenTLS()
	if err != nil {
		t.Fatal(err)
	}
	i.url = "https://" + listener.Addr().String()
	server := &http.Server{Handler: i, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(listener) }() // until it is closed
	t.Cleanup(func() { _ = server.Close() })
	text, err := os.ReadFile(filepath.Join(stage.root, "config", "samples", "github-actions", "authentication.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var configuration map[string]any
	if err := yaml.Unmarshal(text, &configuration); err != nil {
		t.Fatal(err)
	}
	where := configuration["jwt"].([]any)[0].(map[string]any)["issuer"].(map[string]any)
	where["url"], where["certificateAuthority"] = i.url, string(authority)
	if text, err = yaml.Marshal(configuration); err != nil {
		t.Fatal(err)
	}
	if err := stage.cluster.Trust(text); err != nil {
		t.Fatal(err)
	}
	return i
}

func (i *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	encode := base64.RawURLEncoding.EncodeToString
	answer := map[string]any{"issuer": i.url, "jwks_uri": i.url + "/keys", "response_types_supported": []string{"id_token"},
		"subject_types_supported": []string{"public"}, "id_token_signing_alg_values_supported": []string{"RS256"}}
	if r.URL.Path == "/keys" {
		answer = map[string]any{"keys": []any{map[string]any{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "1",
			"n": encode(i.key.N.Bytes()), "e": encode(big.NewInt(int64(i.key.E)).Bytes())}}}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
}

// token is that of a workflow of acme/web-app, but for the claims that are given.
func (i *issuer) token(t *testing.T, claims map[string]any) string {
	t.Helper()
	all := map[string]any{"iss": i.url, "aud": "valetkey", "iat": time.Now().Add(-time.Minute).Unix(), "exp": time.Now().Add(time.Hour).Unix(),
		"sub": "repo:acme/web-app:environment:preview", "repository": "acme/web-app", "repository_owner": "acme", "ref": "refs/pull/184/merge", "actor": "octocat"}
	maps.Copy(all, claims)
	payload, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(`{"alg":"RS256","kid":"1","typ":"JWT"}`)) + "." + encode(payload)
	sum := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(rand.Reader, i.key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + encode(signature)
}

// workflow is a client with such a token.
func (i *issuer) workflow(t *testing.T, claims map[string]any) client.Client {
	t.Helper()
	config := rest.AnonymousClientConfig(stage.adminConfig)
	config.BearerToken = i.token(t, claims)
	c, err := client.New(config, client.Options{Scheme: stage.scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// awaitTrust asks until the API server knows the issuer: it has no way to say so.
func (i *issuer) awaitTrust(t *testing.T) {
	t.Helper()
	token := i.token(t, nil)
	err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}
		err := stage.admin.Create(ctx, review)
		return review.Status.Authenticated, err
	})
	if err != nil {
		t.Fatalf("the API server does not take the issuer's tokens: %v", err)
	}
}

// TestAWorkflowGetsWhatGitHubVouchesForAndNoMore runs config/samples/github-actions with an issuer that signs as GitHub's does.
func TestAWorkflowGetsWhatGitHubVouchesForAndNoMore(t *testing.T) {
	t.Parallel()
	stage.sharedOperator(t)
	i := newIssuer(t)
	i.awaitTrust(t)
	// The sample's policy, for the environments of the tests.
	read := func(into ...any) {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(stage.root, "config", "samples", "github-actions", "catalogue.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		for n, document := range strings.Split(string(text), "\n---\n") {
			if err := yaml.UnmarshalStrict([]byte(document), into[n]); err != nil {
				t.Fatal(err)
			}
		}
	}
	policy, binding := &v1alpha1.CapabilityPolicy{}, &rbacv1.RoleBinding{}
	read(policy, binding)
	policy.Spec.Environments = []string{"workflow-*"}
	for _, object := range []client.Object{policy, binding} {
		if err := stage.admin.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	await(t, stage, policy, "known to the operator", func(p *v1alpha1.CapabilityPolicy) bool {
		return condition(p.Status.Conditions, v1alpha1.ConditionReady).Status == metav1.ConditionTrue
	})

	t.Run("its own repository", func(t *testing.T) {
		j := i.journey(t, "workflow-own", nil)
		j.ask()
		g := j.awaitDelivered()
		if want := "github:repo:acme/web-app:environment:preview"; g.Spec.Requester != want {
			t.Errorf("the requester is %s, want %s", g.Spec.Requester, want)
		}
		j.finish(corev1.PodSucceeded)
		j.awaitEnd(v1alpha1.OutcomeCompleted, v1alpha1.ReasonJobCompleted)
	})
	for name, refused := range map[string]struct {
		claims map[string]any
		words  string
	}{
		"workflow-other-repo":     {map[string]any{"repository": "acme/payments"}, "a workflow asks for its own repository"},
		"workflow-other-env":      {map[string]any{"environment": "production"}, "a workflow asks for the environment that it runs in"},
		"workflow-no-environment": {map[string]any{"environment": ""}, "a workflow asks for the environment"},
	} {
		t.Run(name, func(t *testing.T) {
			j := i.journey(t, name, refused.claims)
			j.ask()
			j.expectRefused(v1alpha1.ReasonDeniedByPolicy, refused.words)
		})
	}
	t.Run("somebody else's organisation", func(t *testing.T) {
		stranger := i.workflow(t, map[string]any{"repository": "mallory/web-app", "repository_owner": "mallory"})
		if err := stranger.List(t.Context(), &v1alpha1.CapabilityRequestList{}, client.InNamespace(agents)); !apierrors.IsUnauthorized(err) {
			t.Errorf("got %v, want it not even known", err)
		}
	})
	t.Run("its extra is not its own to write", func(t *testing.T) {
		j := i.journey(t, "workflow-forged", map[string]any{"repository": "acme/payments"})
		j.request(func(r *v1alpha1.CapabilityRequest) {
			r.Spec.Requester.Extra = map[string]v1alpha1.ExtraValue{"github.com/repository": {"acme/web-app"}}
		})
		j.job()
		j.expectRefused(v1alpha1.ReasonDeniedByPolicy, "a workflow asks for its own repository")
	})
}

// journey is one of a workflow, which runs in the environment of the journey's name unless the claims say otherwise.
func (i *issuer) journey(t *testing.T, name string, claims map[string]any) *journey {
	t.Helper()
	o := stage.sharedOperator(t)
	j := alone(t, name, o)
	all := map[string]any{"environment": name}
	maps.Copy(all, claims)
	j.agent = i.workflow(t, all)
	t.Cleanup(func() {
		if lines := o.linesAbout(name); t.Failed() && lines != "" {
			t.Logf("the operator said:\n%s", lines)
		}
	})
	return j
}
