// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package github_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/utils/clock"

	"github.com/valetkey/valetkey/api/v1alpha1"
	standin "github.com/valetkey/valetkey/hack/standin/github"
	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/internal/provider/conformance"
	"github.com/valetkey/valetkey/internal/provider/github"
	"github.com/valetkey/valetkey/internal/signer"
)

// world is the back end with a stand-in for GitHub.
type world struct {
	*github.Provider
	github *standin.Server
	gate   *conformance.Gate
	url    string
	key    string
	// change spoils what the stand-in answers to whoever asks for a token.
	change func(map[string]any)
	// proof is what it was last sent.
	proof string

	mu     sync.Mutex
	issued []string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{key: filepath.Join(t.TempDir(), "app.pem")}
	text := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	if err := os.WriteFile(w.key, text, 0o600); err != nil {
		t.Fatal(err)
	}
	server := &standin.Server{AppID: 4711, Key: &key.PublicKey, InstallationID: 42, Owner: "Acme", Repositories: []string{"Web-App", "other", "payments"}, Renamed: map[string]string{"web-old": "payments"},
		Permissions: map[string]string{"actions": "write", "contents": "read", "metadata": "read"}}
	w.github = server
	w.gate = conformance.NewGate(w.spoiling(server))
	listening := httptest.NewServer(w.gate)
	t.Cleanup(listening.Close)
	w.url = listening.URL
	w.Provider = w.another(t)
	return w
}

func (w *world) spoiling(next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if w.change == nil || r.Method != http.MethodPost {
			next.ServeHTTP(rw, r)
			return
		}
		record := httptest.NewRecorder()
		_, w.proof, _ = strings.Cut(r.Header.Get("Authorization"), " ")
		next.ServeHTTP(record, r)
		answer := map[string]any{}
		_ = json.Unmarshal(record.Body.Bytes(), &answer)
		w.change(answer)
		rw.WriteHeader(record.Code)
		_ = json.NewEncoder(rw).Encode(answer)
	})
}

// another is the back end in another process.
func (w *world) another(t *testing.T) *github.Provider {
	t.Helper()
	key, err := signer.New(w.key)
	if err != nil {
		t.Fatal(err)
	}
	return github.New(github.Options{APIs: []string{w.url}, Signers: map[string]signer.Signer{"app": key}, Clock: clock.RealClock{}})
}

// Issue remembers the token, for the suite to look for.
func (w *world) Issue(ctx context.Context, l provider.Lease) (*provider.Credential, error) {
	c, err := w.Provider.Issue(ctx, l)
	if c != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.issued = append(w.issued, c.Files()["github/token"])
	}
	return c, err
}

func (w *world) secrets() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.issued)
}

func (w *world) lease() provider.Lease {
	return provider.Lease{
		ID: "9f8c6b6a-9c2a-4e0b-8a4d-2d7db8f80731", Attempt: 1, TTL: time.Hour, Values: provider.Values{Repo: "web-app", Environment: "preview", Namespace: "agents"},
		Capability: &v1alpha1.Capability{Spec: v1alpha1.CapabilitySpec{GitHub: &v1alpha1.GitHubCapability{
			Owner: "acme", Repositories: []string{"web-*"}, Permissions: map[string]v1alpha1.GitHubAccess{"actions": "read"}}}},
		Provider: &v1alpha1.CapabilityProvider{Spec: v1alpha1.CapabilityProviderSpec{GitHub: &v1alpha1.GitHubProvider{APIURL: w.url, AppID: 4711, InstallationID: 42, Signer: "app"}}},
	}
}

func (w *world) get(t *testing.T, c *provider.Credential, path string) bool {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+c.Files()["github/token"])
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	return answer.StatusCode == http.StatusOK
}

func throttle(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Retry-After", "7")
	w.WriteHeader(http.StatusForbidden)
	_, _ = io.WriteString(w, `{"message":"You have exceeded a secondary rate limit","documentation_url":"https://docs.github.com/rest/overview/rate-limits-for-the-rest-api#about-secondary-rate-limits"}`)
}

func TestGitHubDoesWhatEveryBackEndDoes(t *testing.T) {
	conformance.Run(t, "github-app, stand-in", func(t *testing.T) conformance.Harness {
		w := newWorld(t)
		return conformance.Harness{
			Provider: w, Lease: w.lease(), Clock: clock.RealClock{},
			Unscope: func(c *v1alpha1.Capability) { c.Spec.GitHub.Permissions = nil },
			Works: func(t *testing.T, c *provider.Credential) bool {
				return w.get(t, c, "/repos/acme/web-app/actions/artifacts")
			},
			Beyond: func(t *testing.T, c *provider.Credential) bool {
				return w.get(t, c, "/repos/acme/other/actions/artifacts")
			},
			Otherwise: []string{"acme/web-app", "ACME/web-app", "Acme/Web-App"},
			Throttle:  func(*testing.T) { w.gate.AnswerNext(throttle) },
			Break:     w.gate.Break,
			Restart:   func(t *testing.T) provider.Provider { return w.another(t) },
			Secrets:   w.secrets,
		}
	})
}

func TestWhatGitHubRefusesSaysWhatToDo(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(*provider.Lease)
		final bool
		words string
	}{
		{"the same repository in capitals", func(l *provider.Lease) { l.Values.Repo = "Web-App" }, true, "write repo as web-app, not Web-App"},
		{"the same repository with its owner", func(l *provider.Lease) { l.Values.Repo = "acme/web-app" }, true, "write repo as web-app, not acme/web-app"},
		{"the same environment in capitals", func(l *provider.Lease) { l.Values.Environment = "Preview" }, true, "write environment as preview, not Preview"},
		{"a repository of somebody else", func(l *provider.Lease) { l.Values.Repo = "mallory/web-app" }, true, "is not of acme"},
		{"a repository that the capability is not for", func(l *provider.Lease) { l.Values.Repo = "other" }, true, "none that capability"},
		{"a repository that the installation lacks", func(l *provider.Lease) { l.Values.Repo = "web-site" }, true, "lacks the repository"},
		{"a permission that the installation lacks", func(l *provider.Lease) { l.Capability.Spec.GitHub.Permissions["contents"] = "write" }, true, "or one of the permissions"},
		{"a permission that GitHub does not have", func(l *provider.Lease) { l.Capability.Spec.GitHub.Permissions["nonsense"] = "read" }, true, `no permission "nonsense"`},
		{"an installation that is not the App's", func(l *provider.Lease) { l.Provider.Spec.GitHub.InstallationID = 43 }, true, "no such installation"},
		{"another App", func(l *provider.Lease) { l.Provider.Spec.GitHub.AppID = 4712 }, false, "the App's proof is not accepted"},
		{"a signer that is not there", func(l *provider.Lease) { l.Provider.Spec.GitHub.Signer = "absent" }, true, "--signer=absent="},
		{"an API that is not allowed", func(l *provider.Lease) { l.Provider.Spec.GitHub.APIURL = "https://elsewhere.example.com" }, true, "--github-api="},
	}
	w := newWorld(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			l := w.lease()
			test.spoil(&l)
			c, err := w.Issue(t.Context(), l)
			if c != nil || provider.IsFinal(err) != test.final || !provider.IsRefused(err) || !strings.Contains(err.Error(), test.words) {
				t.Errorf("got credential %t, refused %t, error %v", c != nil, provider.IsRefused(err), err)
			}
		})
	}
}

func TestATokenThatIsNotWhatWasAskedForIsEndedAndGivenToNobody(t *testing.T) {
	repository := func(name string) map[string]any { return map[string]any{"full_name": name} }
	for name, change := range map[string]func(map[string]any){
		"for another repository": func(a map[string]any) { a["repositories"] = []any{repository("acme/other")} },
		"for more repositories": func(a map[string]any) {
			a["repositories"] = []any{repository("acme/web-app"), repository("acme/other")}
		},
		"for no repository named":     func(a map[string]any) { delete(a, "repositories") },
		"for all repositories":        func(a map[string]any) { a["repository_selection"] = "all" },
		"that selects nothing":        func(a map[string]any) { delete(a, "repository_selection") },
		"that selects who knows what": func(a map[string]any) { a["repository_selection"] = []any{"selected"} },
		"with a permission that GitHub did not have before": func(a map[string]any) {
			a["permissions"] = map[string]any{"actions": "read", "enterprise_superpowers": "admin"}
		},
		"with a permission that is no text": func(a map[string]any) {
			a["permissions"] = map[string]any{"actions": "read", "contents": []any{"write"}}
		},
		"with an access in capitals":       func(a map[string]any) { a["permissions"] = map[string]any{"actions": "READ"} },
		"with more of what all can read":   func(a map[string]any) { a["permissions"] = map[string]any{"actions": "read", "metadata": "write"} },
		"with nothing said of permissions": func(a map[string]any) { delete(a, "permissions") },
		"with no permission":               func(a map[string]any) { a["permissions"] = map[string]any{} },
		"with null for permissions":        func(a map[string]any) { a["permissions"] = nil },
		"without the permission":           func(a map[string]any) { a["permissions"] = map[string]any{"metadata": "read"} },
		"with all files":                   func(a map[string]any) { a["single_file_paths"] = []any{"*"} },
		"with a file":                      func(a map[string]any) { a["single_file"] = "README.md" },
		"with several files":               func(a map[string]any) { a["has_multiple_single_files"] = true },
		"with a field that is not known":   func(a map[string]any) { a["organizations"] = []any{"acme"} },
		"with a repository's name in capitals": func(a map[string]any) {
			a["repositories"] = []map[string]any{{"FULL_NAME": "acme/web-app"}}
		},
		"with a field in capitals": func(a map[string]any) { a["Permissions"] = a["permissions"]; delete(a, "permissions") },
		"with more permissions":    func(a map[string]any) { a["permissions"] = map[string]any{"actions": "read", "contents": "read"} },
		"with more access":         func(a map[string]any) { a["permissions"] = map[string]any{"actions": "write"} },
		"that lives for a day":     func(a map[string]any) { a["expires_at"] = time.Now().Add(24 * time.Hour).Format(time.RFC3339) },
		"that has expired":         func(a map[string]any) { a["expires_at"] = time.Now().Add(-time.Hour).Format(time.RFC3339) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			stolen := ""
			w.change = func(a map[string]any) { change(a); stolen, _ = a["token"].(string) }
			l := w.lease()
			c, err := w.Issue(t.Context(), l)
			if c != nil || !provider.IsFinal(err) || stolen == "" || strings.Contains(err.Error(), stolen) {
				t.Fatalf("got credential %t, error %v", c != nil, err)
			}
			if revoked, err := w.Revoke(t.Context(), l.Issued("", time.Now().Add(time.Hour))); err != nil || revoked.Mode != v1alpha1.RevocationImmediate {
				t.Errorf("%+v, %v", revoked, err)
			}
			request, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+"/installation/repositories", http.NoBody)
			request.Header.Set("Authorization", "Bearer "+stolen)
			answer, err := http.DefaultClient.Do(request)
			if err != nil || answer.StatusCode != http.StatusUnauthorized {
				t.Errorf("the token works: %v", err)
			}
			_ = answer.Body.Close()
		})
	}
}

// TestIssue_WhatGitHubLeavesEmptyIsNoMoreThanWasAskedFor also has a permission that every token has be asked for.
// TestIssue_TheAppsProofIsNoToken: whoever has the proof is the App.
func TestIssue_TheAppsProofIsNoToken(t *testing.T) {
	for name, spoil := range map[string]func(proof string) string{
		"the proof itself": func(proof string) string { return proof }, "the proof with more": func(proof string) string { return "ghs_" + proof },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.change = func(a map[string]any) { a["token"] = spoil(w.proof) }
			c, err := w.Issue(t.Context(), w.lease())
			if w.proof == "" || c != nil || !provider.IsFinal(err) || provider.IsRefused(err) || strings.Contains(err.Error(), w.proof) {
				t.Fatalf("got credential %t, error %v", c != nil, err)
			}
		})
	}
	w := newWorld(t)
	w.change = func(a map[string]any) { a["token"] = w.proof }
	l := w.lease()
	if _, err := w.Issue(t.Context(), l); err == nil {
		t.Fatal("it was issued")
	}
	if revoked, err := w.Revoke(t.Context(), l.Issued("", time.Now().Add(time.Hour))); err != nil || revoked.Mode != v1alpha1.RevocationAtExpiry {
		t.Errorf("a token that nobody knows is said to be revoked: %+v, %v", revoked, err)
	}
}

func TestIssue_WhatGitHubLeavesEmptyIsNoMoreThanWasAskedFor(t *testing.T) {
	w := newWorld(t)
	w.change = func(a map[string]any) {
		a["single_file"], a["single_file_paths"], a["has_multiple_single_files"] = nil, []any{}, false
	}
	l := w.lease()
	if c, err := w.Issue(t.Context(), l); err != nil || c == nil {
		t.Errorf("empty fields: %v", err)
	}
	l.Capability.Spec.GitHub.Permissions["metadata"] = "read"
	if c, err := w.Issue(t.Context(), l); err != nil || c == nil {
		t.Errorf("metadata that was asked for: %v", err)
	}
	w.change = func(a map[string]any) { a["permissions"] = map[string]any{"actions": "read"} }
	if c, err := w.Issue(t.Context(), l); err == nil || c != nil {
		t.Error("metadata that was asked for is not there")
	}
}

// TestRenamed_ARepositoryIsNotReachedByItsOldName: GitHub would answer for the repository that has another name now, which a policy may deny.
func TestRenamed_ARepositoryIsNotReachedByItsOldName(t *testing.T) {
	w := newWorld(t)
	asked := 0
	w.change = func(map[string]any) { asked++ }
	l := w.lease()
	l.Values.Repo = "web-old"
	c, err := w.Issue(t.Context(), l)
	if c != nil || !provider.IsFinal(err) || !strings.Contains(err.Error(), "one that was renamed or transferred is asked for by its new name") || asked != 1 {
		t.Fatalf("got credential %t, error %v, after %d tokens", c != nil, err, asked)
	}
	if revoked, err := w.Revoke(t.Context(), l.Issued("", time.Now().Add(time.Hour))); err != nil || revoked.Mode != v1alpha1.RevocationImmediate {
		t.Errorf("the token that nobody was given works on: %+v, %v", revoked, err)
	}
}

// TestATokenOfAnotherProcessIsSaidToWorkUntilItExpires: nothing but itself ends it, and only the process that asked for it has it.
func TestATokenOfAnotherProcessIsSaidToWorkUntilItExpires(t *testing.T) {
	w := newWorld(t)
	l := w.lease()
	if _, err := w.Issue(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	another := w.another(t)
	l.Attempt = 2
	c, err := another.Issue(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	revoked, err := another.Revoke(t.Context(), l.Issued("", time.Now().Add(time.Hour)))
	if err != nil || revoked.Mode != v1alpha1.RevocationAtExpiry {
		t.Errorf("%+v, %v", revoked, err)
	}
	if w.get(t, c, "/repos/acme/web-app/actions/artifacts") {
		t.Error("its own works on")
	}
}

// TestRevoke_AnAttemptOfWhichNothingCameTakesNothingFromTheOthers: its signer did not answer, and GitHub was not asked.
func TestRevoke_AnAttemptOfWhichNothingCameTakesNothingFromTheOthers(t *testing.T) {
	w := newWorld(t)
	l := w.lease()
	l.Attempt = 2
	if _, err := w.Issue(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		nothing []int32
		want    v1alpha1.RevocationMode
	}{
		"nobody knows what became of the first": {nil, v1alpha1.RevocationAtExpiry},
		"the first was not asked for":           {[]int32{1}, v1alpha1.RevocationImmediate},
	} {
		issued := l.Issued("", time.Now().Add(time.Hour))
		issued.Nothing = row.nothing
		if revoked, err := w.Revoke(t.Context(), issued); err != nil || revoked.Mode != row.want {
			t.Errorf("%s: %+v, %v", name, revoked, err)
		}
	}
}

func TestCheckProvider_GitHubsOwnAPIIsItHoweverItIsSpelt(t *testing.T) {
	w := newWorld(t)
	for api, allowed := range map[string]bool{
		github.OwnAPI: true, github.OwnAPI + ":443": true, w.url: true, w.url + "/": true, "http://api.github.com": false, github.OwnAPI + "/api/v3": false, "https://api.github.com.example.com": false,
	} {
		l := w.lease()
		l.Provider.Spec.GitHub.APIURL = api
		if err := w.CheckProvider(l.Provider); (err == nil) != allowed {
			t.Errorf("%s: %v", api, err)
		}
	}
}

func TestWhatGitAndProgramsAreGiven(t *testing.T) {
	w := newWorld(t)
	c, err := w.Issue(t.Context(), w.lease())
	if err != nil {
		t.Fatal(err)
	}
	token := c.Files()["github/token"]
	if c.Files()["github/git-credentials"] != strings.Replace(w.url, "://", "://x-access-token:"+token+"@", 1)+"\n" {
		t.Error("git would not find the token")
	}
	if config := c.Files()["github/gitconfig"]; strings.Contains(config, token) || !strings.Contains(config, "store --file /var/run/secrets/valetkey.dev/github/git-credentials") {
		t.Error("git is not told where it is")
	}
	if !strings.HasPrefix(c.ID(), "sha256=") || c.Principal() != "app/4711/installation/42" || c.Pointers()["GITHUB_REPOSITORY"] != "acme/web-app" {
		t.Errorf("it is %s of %s, for %s", c.ID(), c.Principal(), c.Pointers()["GITHUB_REPOSITORY"])
	}
	l := w.lease()
	l.ID, l.Capability.Spec.GitHub.Delivery = "9f8c6b6a-9c2a-4e0b-8a4d-2d7db8f80732", v1alpha1.DeliveryEnv
	if c, err = w.Issue(t.Context(), l); err != nil || len(c.Files()) > 0 || c.Variables()["GITHUB_TOKEN"] == "" || c.Variables()["GH_TOKEN"] != c.Variables()["GITHUB_TOKEN"] {
		t.Errorf("in the environment: %v", err)
	}
}
