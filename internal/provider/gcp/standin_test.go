// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package gcp_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
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
	"time"

	"cloud.google.com/go/auth/credentials"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/clock"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/hack/standin/google"
	"github.com/valetkey/valetkey/internal/handover"
	"github.com/valetkey/valetkey/internal/identity"
	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/internal/provider/conformance"
	"github.com/valetkey/valetkey/internal/provider/gcp"
)

const (
	identities = "valetkey-identities"
	issuer     = "https://oidc.example.com"
	pool       = "projects/123456789/locations/global/workloadIdentityPools/agents/providers/cluster"
	audience   = "https://iam.googleapis.com/" + pool
	reader     = "preview-reader@acme-previews.iam.gserviceaccount.com"
	readWrite  = "https://www.googleapis.com/auth/devstorage.read_write"
	everything = "https://www.googleapis.com/auth/cloud-platform"
)

// world is the back end with a stand-in for Google, which trusts the keys of a cluster.
type world struct {
	*gcp.Provider
	google *google.Server
	gate   *conformance.Gate
	url    string
	api    *fake.Clientset
	// change spoils what is answered to a call by its path, and stolen are the tokens that were in it.
	change func(path string, answer map[string]any)
	// refuse answers calls in Google's place, by their path; nil leaves them to it.
	refuse func(path string) func(http.ResponseWriter)
	// instead is answered to a call with success in Google's place, by its path; nothing leaves it to it.
	instead func(path string) string
	// claims spoils what the cluster signs.
	claims func(*jwt.Claims)

	mu     sync.Mutex
	issued []string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{}
	w.api = w.cluster(t, key)
	w.google = &google.Server{
		WorkloadIdentityProvider: pool, Issuer: issuer,
		Keys: func(context.Context) (jose.JSONWebKeySet, error) {
			return jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "cluster"}}}, nil
		},
		Accounts: map[string]google.Account{reader: {
			Users: []string{"system:serviceaccount:" + identities + ":reader"},
			Roles: map[string][]string{"previews": {"roles/storage.objectUser"}, "salaries": {"roles/storage.objectUser"}},
		}},
	}
	w.gate = conformance.NewGate(w.spoiling(w.google))
	server := httptest.NewServer(w.gate)
	t.Cleanup(server.Close)
	w.url = server.URL
	w.Provider = w.another()
	return w
}

// cluster is an API server that signs what it is asked for.
func (w *world) cluster(t *testing.T, key *ecdsa.PrivateKey) *fake.Clientset {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "cluster"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	api := fake.NewClientset(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: identities, Name: "reader", Annotations: map[string]string{v1alpha1.AnnotationCapability: "read"}}})
	api.PrependReactor("create", "serviceaccounts", func(action clienttesting.Action) (bool, runtime.Object, error) {
		create, ok := action.(clienttesting.CreateAction)
		if !ok || action.GetSubresource() != "token" {
			return false, nil, nil
		}
		asked, _ := create.GetObject().(*authenticationv1.TokenRequest)
		now := time.Now()
		c := jwt.Claims{Issuer: issuer, Subject: "system:serviceaccount:" + identities + ":reader", Audience: asked.Spec.Audiences,
			IssuedAt: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(10 * time.Minute))}
		if w.claims != nil {
			w.claims(&c)
		}
		text, err := jwt.Signed(signer).Claims(c).Serialize()
		asked.Status = authenticationv1.TokenRequestStatus{Token: text}
		w.remember(text)
		return true, asked, err
	})
	return api
}

func (w *world) spoiling(next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if w.refuse != nil {
			if refuse := w.refuse(r.URL.Path); refuse != nil {
				refuse(rw)
				return
			}
		}
		if w.instead != nil {
			if text := w.instead(r.URL.Path); text != "" {
				_, _ = io.WriteString(rw, text)
				return
			}
		}
		record := httptest.NewRecorder()
		next.ServeHTTP(record, r)
		answer := map[string]any{}
		_ = json.Unmarshal(record.Body.Bytes(), &answer)
		if w.change != nil {
			w.change(r.URL.Path, answer)
		}
		for _, name := range []string{"access_token", "accessToken"} {
			if text, found := answer[name].(string); found && text != "" {
				w.remember(text)
			}
		}
		rw.Header().Set("Content-Type", "application/json")
		rw.WriteHeader(record.Code)
		_ = json.NewEncoder(rw).Encode(answer)
	})
}

// remember keeps every token that was made on the way, for the suite to look for.
func (w *world) remember(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.issued = append(w.issued, text)
}

func (w *world) secrets() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.issued)
}

// another is the back end in another process.
func (w *world) another() *gcp.Provider {
	return gcp.New(gcp.Options{Endpoints: []string{w.url}, Audiences: []string{audience}, Identities: identity.NewSource(w.api, identities), Clock: clock.RealClock{}})
}

func (w *world) lease() provider.Lease {
	return provider.Lease{
		ID: "9f8c6b6a-9c2a-4e0b-8a4d-2d7db8f80731", Attempt: 1, TTL: time.Hour, Values: provider.Values{Repo: "web-app", Environment: "preview", Namespace: "agents"},
		Capability: &v1alpha1.Capability{ObjectMeta: metav1.ObjectMeta{Name: "read"}, Spec: v1alpha1.CapabilitySpec{GCP: &v1alpha1.GCPCapability{
			ServiceAccountName: "reader", ServiceAccountEmail: reader, Scopes: []string{readWrite},
			Boundary: []v1alpha1.GCPBoundaryRule{{Bucket: "${request.environment}s", Prefix: "${request.repo}/", Roles: []string{"roles/storage.objectViewer", "roles/storage.objectCreator"}}}}}},
		Provider: &v1alpha1.CapabilityProvider{Spec: v1alpha1.CapabilityProviderSpec{GCP: &v1alpha1.GCPProvider{WorkloadIdentityProvider: pool, STSEndpoint: w.url, IAMCredentialsEndpoint: w.url}}},
	}
}

// puts and lists ask the stand-in's Cloud Storage.
func (w *world) puts(t *testing.T, token, bucket, object string) bool {
	t.Helper()
	return w.ask(t, token, http.MethodPost, "/upload/storage/v1/b/"+bucket+"/o?uploadType=media&name="+url.QueryEscape(object))
}

func (w *world) lists(t *testing.T, token, bucket, prefix string) bool {
	t.Helper()
	return w.ask(t, token, http.MethodGet, "/storage/v1/b/"+bucket+"/o?prefix="+url.QueryEscape(prefix))
}

func (w *world) ask(t *testing.T, token, method, path string) bool {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, w.url+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	return answer.StatusCode == http.StatusOK
}

func tokenOf(c *provider.Credential) string { return c.Files()["gcp/access-token"] }

func throttle(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Retry-After", "7")
	w.WriteHeader(http.StatusTooManyRequests)
	_, _ = io.WriteString(w, `{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","message":"Quota exceeded."}}`)
}

func TestGoogleCloudDoesWhatEveryBackEndDoes(t *testing.T) {
	conformance.Run(t, "gcp, stand-in", func(t *testing.T) conformance.Harness {
		w := newWorld(t)
		return conformance.Harness{
			Provider: w, Lease: w.lease(), Clock: clock.RealClock{},
			Unscope: func(c *v1alpha1.Capability) { c.Spec.GCP.Scopes = nil },
			Works: func(t *testing.T, c *provider.Credential) bool {
				return w.puts(t, tokenOf(c), "previews", "web-app/index.html") && w.lists(t, tokenOf(c), "previews", "web-app/")
			},
			Beyond: func(t *testing.T, c *provider.Credential) bool {
				return w.puts(t, tokenOf(c), "previews", "web-app-of-others/index.html") || w.puts(t, tokenOf(c), "salaries", "web-app/index.html") ||
					w.lists(t, tokenOf(c), "previews", "") || w.lists(t, tokenOf(c), "previews", "web-app")
			},
			Throttle: func(*testing.T) { w.gate.AnswerNext(throttle) },
			Break:    w.gate.Break,
			Restart:  func(*testing.T) provider.Provider { return w.another() },
			Secrets:  w.secrets,
		}
	})
}

// TestGooglesOwnLibraryUsesWhatTheContainerIsGiven has Google's client library find its default credentials in the projected file, as
// the program that starts the command completes it.
func TestGooglesOwnLibraryUsesWhatTheContainerIsGiven(t *testing.T) {
	w := newWorld(t)
	c, err := w.Issue(t.Context(), w.lease())
	if err != nil {
		t.Fatal(err)
	}
	mount := t.TempDir()
	for path, content := range c.Files() {
		file := filepath.Join(mount, path)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(strings.ReplaceAll(content, v1alpha1.MountPath, mount)), 0o400); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", strings.Replace(c.Pointers()["GOOGLE_APPLICATION_CREDENTIALS"], v1alpha1.MountPath, mount, 1))
	detect := &credentials.DetectOptions{Scopes: []string{readWrite}}
	found, err := credentials.DetectDefault(detect)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := found.Token(t.Context()); err == nil || !strings.Contains(err.Error(), "start-the-command-with-valetkey-exec.invalid") {
		t.Errorf("as it is, the file says %v", err)
	}
	service := httptest.NewServer(handover.Handler(clock.RealClock{}))
	t.Cleanup(service.Close)
	file := os.Getenv("GOOGLE_APPLICATION_CREDENTIALS")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if text, err = handover.Complete(text, service.URL+"/token"); err != nil {
		t.Fatal(err)
	}
	completed := filepath.Join(t.TempDir(), "credentials")
	if err := os.WriteFile(completed, text, 0o400); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", completed)
	if found, err = credentials.DetectDefault(detect); err != nil {
		t.Fatal(err)
	}
	token, err := found.Token(t.Context())
	if err != nil || token.Value != tokenOf(c) || token.Expiry.Sub(c.ExpiresAt()).Abs() > 2*time.Second {
		t.Fatalf("the library has another token, or none: %v", err)
	}
	if !w.puts(t, token.Value, "previews", "web-app/index.html") || w.puts(t, token.Value, "previews", "other/index.html") {
		t.Error("the library's token does not do what the scope says, or more")
	}
}

func TestWhatGoogleRefusesSaysWhatToDo(t *testing.T) {
	capability := func(change func(*v1alpha1.GCPCapability)) func(*world, *provider.Lease) {
		return func(_ *world, l *provider.Lease) { change(l.Capability.Spec.GCP) }
	}
	settings := func(change func(*v1alpha1.GCPProvider)) func(*world, *provider.Lease) {
		return func(_ *world, l *provider.Lease) { change(l.Provider.Spec.GCP) }
	}
	claims := func(change func(*jwt.Claims)) func(*world, *provider.Lease) {
		return func(w *world, _ *provider.Lease) { w.claims = change }
	}
	tests := []struct {
		name  string
		spoil func(*world, *provider.Lease)
		final bool
		words string
	}{
		{"an endpoint that is not allowed", settings(func(p *v1alpha1.GCPProvider) { p.STSEndpoint = "https://elsewhere.example.com" }), true, "--gcp-endpoint=https://elsewhere.example.com"},
		{"another endpoint that is not allowed", settings(func(p *v1alpha1.GCPProvider) { p.IAMCredentialsEndpoint = "https://elsewhere.example.com" }), true, "--gcp-endpoint="},
		{"a provider that is not allowed", settings(func(p *v1alpha1.GCPProvider) { p.WorkloadIdentityProvider += "-2" }), true, "--gcp-audience=https://iam.googleapis.com/projects/"},
		{"an issuer that the pool does not trust", claims(func(c *jwt.Claims) { c.Issuer = "https://elsewhere.example.com" }), false, "compare the cluster's issuer"},
		{"a token that is too old", claims(func(c *jwt.Claims) { c.Expiry = jwt.NewNumericDate(time.Now().Add(-time.Minute)) }), false, "could not verify the identity's token"},
		{"an identity that may not impersonate", claims(func(c *jwt.Claims) { c.Subject += "-2" }), true, "roles/iam.workloadIdentityUser"},
		{"a service account that is not there", capability(func(c *v1alpha1.GCPCapability) { c.ServiceAccountEmail = "x@acme-previews.iam.gserviceaccount.com" }), true, "the service account does not exist"},
		{"an identity that is another capability's", capability(func(c *v1alpha1.GCPCapability) { c.ServiceAccountName = "x" }), true, "there is no ServiceAccount x"},
		{"longer than Google gives", func(_ *world, l *provider.Lease) { l.TTL = 2 * time.Hour }, true, "more than an hour needs"},
		{"a role that is none", capability(func(c *v1alpha1.GCPCapability) { c.Boundary[0].Roles = []string{"owner"} }), true, `"owner" is no role`},
		{"everything, in one word", capability(func(c *v1alpha1.GCPCapability) { c.Scopes, c.Boundary = []string{everything}, nil }), true, "accept WholeServiceAccount"},
		{"a scope that is none", capability(func(c *v1alpha1.GCPCapability) { c.Scopes = []string{"https://elsewhere.example.com/auth/x"} }), true, "no OAuth scope of Google's"},
		{"a prefix that does not end", capability(func(c *v1alpha1.GCPCapability) { c.Boundary[0].Prefix = "a" }), true, "does not end in a slash"},
		{"a prefix with a quote", capability(func(c *v1alpha1.GCPCapability) { c.Boundary[0].Prefix = "'||true||'/" }), true, "holds what no prefix may"},
		{"a bucket that a repository chooses", capability(func(c *v1alpha1.GCPCapability) { c.Boundary[0].Bucket = "${request.repo}" }), true, "the name of a bucket"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			l := w.lease()
			test.spoil(w, &l)
			c, err := w.Issue(t.Context(), l)
			if c != nil || provider.IsFinal(err) != test.final || !provider.IsRefused(err) || !strings.Contains(err.Error(), test.words) {
				t.Errorf("got credential %t, refused %t, error %v", c != nil, provider.IsRefused(err), err)
			}
		})
	}
}

// TestATokenThatCouldNotBeNarrowedIsSaidToBeOut: it was issued, and is nobody's.
func TestATokenThatCouldNotBeNarrowedIsSaidToBeOut(t *testing.T) {
	w := newWorld(t)
	l := w.lease()
	l.Capability.Spec.GCP.Boundary[0].Roles = []string{"roles/storage.unheardOf"}
	c, err := w.Issue(t.Context(), l)
	if c != nil || !provider.IsFinal(err) || provider.IsRefused(err) || !strings.Contains(err.Error(), "narrowing the token: Google refused") {
		t.Errorf("got credential %t, refused %t, error %v", c != nil, provider.IsRefused(err), err)
	}
}

func TestAnAnswerThatIsNotWhatWasAskedForIsNotUsed(t *testing.T) {
	const narrow, account = "/v1/token", "generateAccessToken"
	later := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(time.RFC3339) }
	for name, change := range map[string]func(string, map[string]any){
		"a token for a day": func(path string, a map[string]any) {
			if strings.Contains(path, account) {
				a["expireTime"] = later(24 * time.Hour)
			}
		},
		"one that has expired": func(path string, a map[string]any) {
			if strings.Contains(path, account) {
				a["expireTime"] = later(-time.Hour)
			}
		},
		"an expiry that is none": func(path string, a map[string]any) {
			if strings.Contains(path, account) {
				a["expireTime"] = "soon"
			}
		},
		"no token": func(path string, a map[string]any) {
			if strings.Contains(path, account) {
				delete(a, "accessToken")
			}
		},
		"a narrowed token for a day": func(path string, a map[string]any) {
			if path == narrow && a["expires_in"] == nil {
				a["expires_in"] = 86400
			}
		},
		"a narrowed token whose seconds overflow into a minute": func(path string, a map[string]any) {
			if path == narrow && a["expires_in"] == nil {
				a["expires_in"] = int64(60 + 1<<55)
			}
		},
		"a narrowed token whose seconds overflow into the past": func(path string, a map[string]any) {
			if path == narrow && a["expires_in"] == nil {
				a["expires_in"] = int64(1 << 40)
			}
		},
		"a narrowed token that ended before now": func(path string, a map[string]any) {
			if path == narrow && a["expires_in"] == nil {
				a["expires_in"] = -60
			}
		},
		"a narrowed token that ends now": func(path string, a map[string]any) {
			if path == narrow && a["expires_in"] == nil {
				a["expires_in"] = 0
			}
		},
		"a federated token whose seconds overflow into a minute": func(path string, a map[string]any) {
			if path == narrow && a["expires_in"] != nil {
				a["expires_in"] = int64(60 + 1<<55)
			}
		},
		"no narrowed token": func(path string, a map[string]any) {
			if path == narrow && a["expires_in"] == nil {
				delete(a, "access_token")
			}
		},
		"a narrowed token with another line": func(path string, a map[string]any) {
			if path == narrow && a["expires_in"] == nil {
				a["access_token"] = "a\nb"
			}
		},
		"a narrowed token for more scopes": func(path string, a map[string]any) {
			if path == narrow && a["expires_in"] == nil {
				a["scope"] = "https://www.googleapis.com/auth/devstorage.read_write https://www.googleapis.com/auth/cloud-platform"
			}
		},
		"a federated token for more scopes": func(path string, a map[string]any) {
			if path == narrow && a["expires_in"] != nil {
				a["scope"] = "https://www.googleapis.com/auth/cloud-platform https://mail.google.com/"
			}
		},
		"scopes that are no text": func(path string, a map[string]any) {
			if path == narrow && a["expires_in"] == nil {
				a["scope"] = []any{"https://www.googleapis.com/auth/cloud-platform"}
			}
		},
		"an identity's token in place of an access token": func(path string, a map[string]any) {
			if path == narrow && a["expires_in"] == nil {
				a["issued_token_type"] = "urn:ietf:params:oauth:token-type:id_token"
			}
		},
		"a field that is not known": func(path string, a map[string]any) {
			if path == narrow && a["expires_in"] == nil {
				a["refresh_token"] = "r"
			}
		},
		"a field of the account's token that is not known": func(path string, a map[string]any) {
			if strings.Contains(path, account) {
				a["delegates"] = []any{"everybody"}
			}
		},
		"a narrowed token of another kind": func(path string, a map[string]any) {
			if path == narrow && a["expires_in"] == nil {
				a["token_type"] = "mac"
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.change = change
			c, err := w.Issue(t.Context(), w.lease())
			if c != nil || err == nil || provider.IsRefused(err) {
				t.Errorf("got credential %t, refused %t, error %v", c != nil, provider.IsRefused(err), err)
			}
		})
	}
}

// TestNothingIsLoggedWhereTheEnvironmentAsksForIt: Google's library would log requests and answers with their tokens.
func TestNothingIsLoggedWhereTheEnvironmentAsksForIt(t *testing.T) {
	t.Setenv("GOOGLE_SDK_GO_LOGGING_LEVEL", "debug")
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, stderr := os.Stdout, os.Stderr
	os.Stdout, os.Stderr = write, write
	w := newWorld(t)
	_, err = w.Issue(t.Context(), w.lease())
	os.Stdout, os.Stderr = stdout, stderr
	if err != nil {
		t.Fatal(err)
	}
	if err := write.Close(); err != nil {
		t.Fatal(err)
	}
	logged, err := io.ReadAll(read)
	if err != nil || len(w.secrets()) < 4 {
		t.Fatalf("%d tokens were made: %v", len(w.secrets()), err)
	}
	for _, secret := range w.secrets() {
		if strings.Contains(string(logged), secret) {
			t.Fatal("a token was logged")
		}
	}
}

func TestWhatPeopleAndGooglesAuditLogSee(t *testing.T) {
	w := newWorld(t)
	l := w.lease()
	scope, err := w.Render(t.Context(), l.Capability, l.Values)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"roles/storage.objectViewer,roles/storage.objectCreator on gs://previews/web-app/*, scope devstorage.read_write"}
	if !slices.Equal(scope.Lines, want) || scope.Principal != reader {
		t.Errorf("people see %q of %s", scope.Lines, scope.Principal)
	}
	l.Capability.Spec.GCP.Boundary, l.Capability.Spec.GCP.Scopes, l.Capability.Spec.GCP.Accept = nil, []string{everything}, []v1alpha1.GCPAcceptance{v1alpha1.AcceptWholeServiceAccount}
	if scope, err = w.Render(t.Context(), l.Capability, l.Values); err != nil || !slices.Equal(scope.Lines, []string{"scope cloud-platform: whatever the roles of " + reader + " allow within it"}) {
		t.Errorf("people see %q: %v", scope.Lines, err)
	}
	c, err := w.Issue(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	if c.ID() != l.Session() || !slices.Equal(w.google.Reasons(), []string{l.Session()}) || c.Principal() != reader {
		t.Errorf("the credential is %s, Google's log has %v", c.ID(), w.google.Reasons())
	}
	if !w.puts(t, tokenOf(c), "salaries", "anything") {
		t.Error("without a boundary, the token does not do what the account may")
	}
}

func TestATokenInTheEnvironment(t *testing.T) {
	w := newWorld(t)
	l := w.lease()
	l.Capability.Spec.GCP.Delivery = v1alpha1.DeliveryEnv
	c, err := w.Issue(t.Context(), l)
	if err != nil || len(c.Files()) > 0 {
		t.Fatal(err)
	}
	for _, name := range []string{"CLOUDSDK_AUTH_ACCESS_TOKEN", "GOOGLE_OAUTH_ACCESS_TOKEN"} {
		if !w.puts(t, c.Variables()[name], "previews", "web-app/index.html") {
			t.Errorf("%s does not work", name)
		}
	}
}
