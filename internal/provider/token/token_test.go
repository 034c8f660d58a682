// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package token_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"k8s.io/utils/clock"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/callers"
	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/internal/provider/conformance"
	"github.com/valetkey/valetkey/internal/provider/outbound/outboundtest"
	"github.com/valetkey/valetkey/internal/provider/token"
	"github.com/valetkey/valetkey/internal/signer"
)

const issuer = "https://valetkey.example.com"

// world is the back end, its server, and grants that end when they are revoked, as the controller's do.
type world struct {
	*token.Provider
	server *httptest.Server
	key    string

	mu       sync.Mutex
	issued   []string
	ended    map[string]bool
	last     map[string]string
	broken   bool
	throttle bool
	// asked counts how often the signer was asked for its keys.
	asked int
}

// moody is a signer that fails when it is told to.
type moody struct {
	signer.Signer
	w *world
}

func (m moody) Sign(ctx context.Context, claims any) (string, error) {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case m.w.broken:
		return "", errors.New("the signer did not sign")
	case m.w.throttle:
		m.w.throttle = false
		return "", signer.ErrBusy
	}
	return m.Signer.Sign(ctx, claims)
}

func (m moody) Keys(ctx context.Context) (jose.JSONWebKeySet, error) {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	if m.w.asked++; m.w.broken {
		return jose.JSONWebKeySet{}, errors.New("the signer does not say its keys")
	}
	return m.Signer.Keys(ctx)
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{key: filepath.Join(t.TempDir(), "key.pem"), ended: map[string]bool{}, last: map[string]string{}}
	w.replaceKey(t)
	w.Provider = w.another(t)
	w.server = httptest.NewServer(w.Handler(func(_ context.Context, bearer string) error {
		switch bearer {
		case "a-service":
			return nil
		case "a-service-in-a-hurry":
			return &callers.Refusal{Status: http.StatusTooManyRequests, Message: "too many questions",
				RetryAfter: 1500 * time.Millisecond}
		default:
			return &callers.Refusal{Status: http.StatusUnauthorized, Message: "who are you?"}
		}
	}))
	t.Cleanup(w.server.Close)
	return w
}

func (w *world) replaceKey(t *testing.T) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(w.key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (w *world) another(t *testing.T) *token.Provider {
	t.Helper()
	s, err := signer.New(w.key)
	if err != nil {
		t.Fatal(err)
	}
	return token.New(token.Options{Issuer: issuer, Signer: moody{s, w}, Lives: w.lives, Clock: clock.RealClock{}})
}

func (w *world) lives(_ context.Context, g token.Grant) (bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken {
		return false, errors.New("the API server did not answer")
	}
	return g.Namespace == "agents" && g.Name == "publish" && w.last[g.Lease] == g.Session && !w.ended[g.Lease], nil
}

// Issue is the last attempt of its grant, and remembers the token for the suite to look for.
func (w *world) Issue(ctx context.Context, l provider.Lease) (*provider.Credential, error) {
	c, err := w.Provider.Issue(ctx, l)
	if c != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.issued = append(w.issued, text(c))
		w.last[l.ID] = l.Session()
	}
	return c, err
}

// grants ends the grant first, as the controller does, and then asks the back end.
type grants struct {
	provider.Provider
	w *world
}

func (g grants) Issue(ctx context.Context, l provider.Lease) (*provider.Credential, error) {
	return g.w.Issue(ctx, l)
}

func (g grants) Revoke(ctx context.Context, i provider.Issued) (provider.Revoked, error) {
	g.w.mu.Lock()
	g.w.ended[i.ID] = true
	g.w.mu.Unlock()
	return g.Provider.Revoke(ctx, i)
}

func text(c *provider.Credential) string { return c.Files()["token/token"] }

func (w *world) secrets() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.issued)
}

func lease(verification v1alpha1.TokenVerification) provider.Lease {
	return provider.Lease{
		ID: "9f8c6b6a-9c2a-4e0b-8a4d-2d7db8f80731", Attempt: 1, TTL: time.Hour, Values: provider.Values{Repo: "web-app", Environment: "preview", Namespace: "agents"},
		Grant: "publish", Requester: "system:serviceaccount:agents:web-app-bot", Task: "pr-184",
		Capability: &v1alpha1.Capability{Spec: v1alpha1.CapabilitySpec{Token: &v1alpha1.TokenCapability{
			Audience: "artifact-proxy", Scope: []string{"artifacts:read:${request.repo}", "${request.environment}"}, Verification: verification}}},
		Provider: &v1alpha1.CapabilityProvider{Spec: v1alpha1.CapabilityProviderSpec{Token: &v1alpha1.TokenProvider{Issuer: issuer}}},
	}
}

// ask asks about a token, and returns the status and the answer.
func (w *world) ask(t *testing.T, as, text string) (int, map[string]any) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.server.URL+"/introspect", strings.NewReader(url.Values{"token": {text}}.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Authorization", "Bearer "+as)
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]any{}
	_ = json.Unmarshal(body, &said) // a refusal is in words
	return answer.StatusCode, said
}

func (w *world) active(t *testing.T, c *provider.Credential) bool {
	t.Helper()
	_, said := w.ask(t, "a-service", text(c))
	return said["active"] == true
}

// verified is what a service finds that has the keys alone.
func (w *world) verified(t *testing.T, c *provider.Credential) (token.Claims, bool) {
	t.Helper()
	answer, err := http.Get(w.server.URL + "/jwks")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	var keys jose.JSONWebKeySet
	if err := json.NewDecoder(answer.Body).Decode(&keys); err != nil {
		t.Fatal(err)
	}
	signed, err := jwt.ParseSigned(text(c), []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	var standard jwt.Claims
	var claims token.Claims
	if err := signed.Claims(keys, &standard, &claims); err != nil {
		return claims, false
	}
	return claims, standard.Validate(jwt.Expected{Issuer: issuer, AnyAudience: []string{"artifact-proxy"}, Time: time.Now()}) == nil
}

func TestTokenDoesWhatEveryBackEndDoes(t *testing.T) {
	for name, test := range map[string]struct {
		verification v1alpha1.TokenVerification
		works        func(w *world) func(*testing.T, *provider.Credential) bool
	}{
		"token, introspection": {v1alpha1.VerifyByIntrospection, func(w *world) func(*testing.T, *provider.Credential) bool { return w.active }},
		"token, signature": {v1alpha1.VerifyBySignature, func(w *world) func(*testing.T, *provider.Credential) bool {
			return func(t *testing.T, c *provider.Credential) bool { _, ok := w.verified(t, c); return ok }
		}},
	} {
		conformance.Run(t, name, func(t *testing.T) conformance.Harness {
			w := newWorld(t)
			return conformance.Harness{
				Provider: grants{w, w}, Lease: lease(test.verification), Clock: clock.RealClock{}, Works: test.works(w),
				Unscope: func(c *v1alpha1.Capability) { c.Spec.Token.Scope = nil },
				Beyond: func(t *testing.T, c *provider.Credential) bool {
					claims, _ := w.verified(t, c)
					return slices.Contains(strings.Fields(claims.Scope), "artifacts:read:other")
				},
				Throttle: func(*testing.T) { w.mu.Lock(); defer w.mu.Unlock(); w.throttle = true },
				Break:    func(_ *testing.T, broken bool) { w.mu.Lock(); defer w.mu.Unlock(); w.broken = broken },
				Restart:  func(t *testing.T) provider.Provider { return grants{w.another(t), w} },
				Secrets:  w.secrets,
			}
		})
	}
}

func TestWhatATokenSays(t *testing.T) {
	w, l := newWorld(t), lease(v1alpha1.VerifyByIntrospection)
	c, err := w.Issue(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	claims, ok := w.verified(t, c)
	want := token.Claims{Issuer: issuer, Subject: "capability:", Audience: []string{"artifact-proxy"}, ID: l.Session(), Scope: "artifacts:read:web-app preview",
		Repo: "web-app", Environment: "preview", Task: "pr-184", Requester: "system:serviceaccount:agents:web-app-bot", Lease: l.ID, Namespace: "agents", Grant: "publish",
		IssuedAt: claims.IssuedAt, NotBefore: claims.IssuedAt, ExpiresAt: c.ExpiresAt().Unix()}
	got, _ := json.Marshal(claims)
	if expected, _ := json.Marshal(want); !ok || string(got) != string(expected) {
		t.Errorf("got %s, want %s", got, expected)
	}
	if c.ID() != l.Session() || c.Principal() != "artifact-proxy" {
		t.Errorf("it is %s for %s", c.ID(), c.Principal())
	}
	status, said := w.ask(t, "a-service", text(c))
	if status != http.StatusOK || said["active"] != true || said["scope"] != want.Scope || said["token_type"] != "Bearer" || said["exp"] == nil {
		t.Errorf("introspection: %d %v", status, said)
	}
	l.Capability.Spec.Token.Delivery = v1alpha1.DeliveryEnv
	if c, err = w.Issue(t.Context(), l); err != nil || len(c.Files()) > 0 || c.Variables()["VALETKEY_TOKEN"] == "" {
		t.Errorf("in the environment: %v", err)
	}
}

// liar is a signer that signs something else than it was asked to.
type liar struct {
	signer.Signer
	change func(map[string]any)
}

func (l liar) Sign(ctx context.Context, claims any) (string, error) {
	text, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	other := map[string]any{}
	if err := json.Unmarshal(text, &other); err != nil {
		return "", err
	}
	l.change(other)
	return l.Signer.Sign(ctx, other)
}

func TestIssue_WhatTheSignerWasNotAskedToSignIsGivenToNobody(t *testing.T) {
	w := newWorld(t)
	key, err := signer.New(w.key)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(map[string]any){
		"another scope":             func(c map[string]any) { c["scope"] = "everything" },
		"another audience":          func(c map[string]any) { c["aud"] = []string{"artifact-proxy", "bank"} },
		"another subject":           func(c map[string]any) { c["sub"] = "root" },
		"a longer life":             func(c map[string]any) { c["exp"] = time.Now().Add(24 * time.Hour).Unix() },
		"another repository":        func(c map[string]any) { c["repo"] = "payments" },
		"a claim that is not known": func(c map[string]any) { c["groups"] = []string{"admin"} },
		"a claim less":              func(c map[string]any) { delete(c, "nbf") },
		"a claim in capitals":       func(c map[string]any) { c["Scope"] = "everything" },
	} {
		t.Run(name, func(t *testing.T) {
			lying := token.New(token.Options{Issuer: issuer, Signer: liar{key, change}, Clock: clock.RealClock{}})
			for _, verification := range []v1alpha1.TokenVerification{v1alpha1.VerifyBySignature, v1alpha1.VerifyByIntrospection} {
				c, err := lying.Issue(t.Context(), lease(verification))
				if c != nil || err == nil || !strings.Contains(err.Error(), "not exactly what it was asked") {
					t.Fatalf("got credential %t, error %v", c != nil, err)
				}
				outboundtest.ExpectMismatched(t, err, time.Now(), time.Time{}, true)
			}
		})
	}
}

func TestATokenThatIsNotActiveIsToldNothingOf(t *testing.T) {
	w, l := newWorld(t), lease(v1alpha1.VerifyByIntrospection)
	first, err := w.Issue(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	l.Attempt = 2
	second, err := w.Issue(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	stranger := newWorld(t)
	forged, err := stranger.Issue(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(text(second), ".")
	none := "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0." + parts[1] + "."
	expired := lease(v1alpha1.VerifyByIntrospection)
	expired.ID, expired.TTL = "9f8c6b6a-9c2a-4e0b-8a4d-2d7db8f80732", 0
	over, err := w.Issue(t.Context(), expired)
	if err != nil {
		t.Fatal(err)
	}
	for name, sent := range map[string]string{
		"of an attempt before":        text(first),
		"of another issuer's key":     text(forged),
		"signed by nobody":            none,
		"with another's claims":       strings.Split(text(first), ".")[0] + "." + parts[1] + "." + strings.Split(text(first), ".")[2],
		"that has expired":            text(over),
		"that is none":                "very-secret",
		"that is of nothing but dots": "..",
		"in another serialization":    `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`,
		"with blanks in it":           parts[0] + "." + parts[1] + ". " + parts[2],
	} {
		if status, said := w.ask(t, "a-service", sent); status != http.StatusOK || len(said) != 1 || said["active"] != false {
			t.Errorf("a token %s: %d %v", name, status, said)
		}
	}
	if !w.active(t, second) {
		t.Error("the last attempt's is not active: the test shows nothing")
	}
	for name, test := range map[string]struct {
		as, text string
		status   int
	}{
		"a stranger":   {"mallory", text(second), http.StatusUnauthorized},
		"nothing sent": {"a-service", "", http.StatusBadRequest},
		"far too much": {"a-service", strings.Repeat("a", 100<<10), http.StatusBadRequest},
	} {
		if status, said := w.ask(t, test.as, test.text); status != test.status || len(said) > 0 {
			t.Errorf("%s: %d %v", name, status, said)
		}
	}
	w.broken = true
	if status, said := w.ask(t, "a-service", text(second)); status != http.StatusServiceUnavailable || len(said) > 0 {
		t.Errorf("while the API server is away: %d %v", status, said)
	}
	w.broken = false
	w.replaceKey(t)
	if w.active(t, second) {
		t.Error("it is active when its key is no longer the issuer's")
	}
}

func TestDiscoveryLeadsToKeysAndIntrospection(t *testing.T) {
	w := newWorld(t)
	answer, err := http.Get(w.server.URL + "/.well-known/openid-configuration")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	said := map[string]any{}
	if err := json.NewDecoder(answer.Body).Decode(&said); err != nil {
		t.Fatal(err)
	}
	if said["issuer"] != issuer || said["jwks_uri"] != issuer+"/jwks" || said["introspection_endpoint"] != issuer+"/introspect" {
		t.Errorf("got %v", said)
	}
}

func TestAnIssuerThatTheOperatorIsNotIsRefused(t *testing.T) {
	l := lease(v1alpha1.VerifyByIntrospection)
	off := token.New(token.Options{Clock: clock.RealClock{}})
	l.Provider.Spec.Token.Issuer = ""
	if _, err := off.Issue(t.Context(), l); !provider.IsFinal(err) || !strings.Contains(err.Error(), "--token-issuer") {
		t.Errorf("an operator that issues none: %v", err)
	}
	l.Provider.Spec.Token.Issuer = "https://elsewhere.example.com"
	if _, err := newWorld(t).Issue(t.Context(), l); !provider.IsFinal(err) || !strings.Contains(err.Error(), "--token-issuer=https://elsewhere.example.com") {
		t.Errorf("another issuer: %v", err)
	}
}

// TestServer_RefusalsSayWhatToDo looks at what a client acts on: the challenge, and when to ask again.
func TestServer_RefusalsSayWhatToDo(t *testing.T) {
	w := newWorld(t)
	for bearer, row := range map[string]struct {
		status                int
		challenge, retryAfter string
	}{
		"a-stranger":           {http.StatusUnauthorized, "Bearer", ""},
		"a-service-in-a-hurry": {http.StatusTooManyRequests, "", "2"},
	} {
		request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/introspect",
			strings.NewReader("token=x"))
		request.Header.Set("Authorization", "Bearer "+bearer)
		recorder := httptest.NewRecorder()
		w.server.Config.Handler.ServeHTTP(recorder, request)
		if got := recorder.Result(); got.StatusCode != row.status ||
			got.Header.Get("WWW-Authenticate") != row.challenge || got.Header.Get("Retry-After") != row.retryAfter {
			t.Errorf("%s is told %d, challenge %q, retry after %q", bearer, got.StatusCode,
				got.Header.Get("WWW-Authenticate"), got.Header.Get("Retry-After"))
		}
	}
}

// TestServer_AskingForKeysCostsTheSignerLittle: everybody may, and an external signer is asked once for all of
// them, also when it fails.
func TestServer_AskingForKeysCostsTheSignerLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{key: filepath.Join(t.TempDir(), "key.pem")}
		w.replaceKey(t)
		handler := w.another(t).Handler(func(context.Context, string) error { return nil })
		keys := func() (int, string) {
			recorder := httptest.NewRecorder()
			handler.ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/jwks", nil))
			return recorder.Code, recorder.Body.String()
		}
		_, first := keys()
		w.replaceKey(t)
		for range 1000 {
			if status, set := keys(); status != http.StatusOK || set != first {
				t.Fatalf("%d %s", status, set)
			}
		}
		if w.asked != 1 {
			t.Errorf("the signer was asked %d times", w.asked)
		}
		time.Sleep(5 * time.Second)
		if _, set := keys(); set == first || w.asked != 2 {
			t.Error("five seconds later, a new key is not published")
		}
		time.Sleep(5 * time.Second)
		w.broken = true
		for range 1000 {
			if status, _ := keys(); status != http.StatusServiceUnavailable {
				t.Fatalf("a signer that fails: %d", status)
			}
		}
		if w.asked != 3 {
			t.Errorf("a signer that fails was asked %d times", w.asked-2)
		}
	})
}
