// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package github

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/go-github/v88/github"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/internal/provider/outbound"
)

// api is an API of GitHub, and how it is reached: also from memory, when the provider is gone.
type api struct {
	url, bundle string
	outbound    outbound.Settings
	// about is what messages say of whom was asked.
	about string
}

// answered is what came back of a call: a status, zero for none, and GitHub's sentence where that is its error. The
// sentence is compared, and never repeated.
type answered struct {
	status   int
	sentence string
	// more is what it was answered otherwise.
	more answer
}

// with calls the API with a token, once: go-github's clients remember that they were throttled, and the controller backs off itself.
func (a api) with(bearer string, call func(*github.Client) (*github.Response, error)) (answered, error) {
	connection, err := a.outbound.Client(a.bundle, outbound.JSON, ownErrors)
	if err != nil {
		return answered{}, refused(err)
	}
	defer connection.CloseIdleConnections()
	client, err := github.NewClient(github.WithHTTPClient(connection), github.WithURLs(&a.url, nil), github.WithAuthToken(bearer))
	if err != nil {
		return answered{}, provider.NotAsked(provider.Final, "the provider's apiURL is not one of an API")
	}
	response, err := call(client)
	got := answered{sentence: said(err)}
	if response != nil && response.Response != nil {
		got.status = response.StatusCode
	}
	if err != nil {
		return got, classify(a.about, err, response)
	}
	return got, nil
}

func (a api) issue(ctx context.Context, installation int64, proof string, w wanted) (said answer, err error) {
	path := fmt.Sprintf("app/installations/%d/access_tokens", installation)
	_, err = a.with(proof, func(c *github.Client) (*github.Response, error) {
		request, err := c.NewRequest(ctx, http.MethodPost, path,
			&github.InstallationTokenOptions{Repositories: []string{w.repository}, Permissions: typed(w.permissions)})
		if err != nil {
			return nil, err
		}
		return c.Do(request, &said)
	})
	return said, err
}

// about names the installation, which messages of GitHub's do not.
func about(settings *v1alpha1.GitHubProvider, w wanted) string {
	return fmt.Sprintf("installation %d for %s/%s", settings.InstallationID, w.owner, w.repository)
}

// settles is how long GitHub may take until all of its servers know a new token. Those that do not know it yet answer
// as if it were none. It is seconds as a rule. Source: https://github.com/octokit/handbook, on the replication lag.
const settles = time.Minute

// The questions that end a token. The second is for more repositories than it is for: of one that works, GitHub says
// how many those are, and nothing else.
const (
	itself   = "installation/token"
	noneLeft = "installation/repositories?per_page=100&page=2"
)

// end has the token end itself. That GitHub does not accept it afterwards is the proof.
func (t *token) end(ctx context.Context, now time.Time) error {
	got, err := t.ask(ctx, http.MethodDelete, itself)
	switch {
	case err == nil && got.status == http.StatusNoContent:
	case err == nil: // A page of a gateway's, perhaps, which let nothing through.
		return provider.Unanswered(provider.Retryable, fmt.Sprintf("GitHub's answer to the token's end is %d, and not %d", got.status, http.StatusNoContent))
	case !got.isUnknown(err):
		return got.stays(err)
	case now.Before(t.since.Add(settles)):
		return provider.Unanswered(provider.Retryable, "GitHub does not know the token that was just issued, "+
			"or not yet; it is asked again until a minute has passed since")
	}
	got, err = t.ask(ctx, http.MethodGet, noneLeft, "total_count", "repository_selection")
	if got.isUnknown(err) {
		return nil
	}
	if err == nil {
		err = provider.Unanswered(provider.Retryable, "GitHub still accepts the token")
	}
	return got.stays(err)
}

// ask asks with the token, and has another one end itself that is shown in place of the answer. That it has ended proves
// nothing.
func (t *token) ask(ctx context.Context, method, path string, fields ...string) (answered, error) {
	got, err := t.api.ask(ctx, t.reveal(), method, path, fields...)
	if another := got.more.token(); another != "" && another != t.reveal() {
		_, ending := t.api.ask(ctx, another, http.MethodDelete, itself)
		err = provider.Join(err, ending)
	}
	return got, err
}

// ask asks with a token for what holds nothing that works: a success that holds more than the fields is another answer.
func (a api) ask(ctx context.Context, bearer, method, path string, fields ...string) (answered, error) {
	var body bytes.Buffer
	got, err := a.with(bearer, func(c *github.Client) (*github.Response, error) {
		request, err := c.NewRequest(ctx, method, path, nil)
		if err != nil {
			return nil, err
		}
		return c.Do(request, &body)
	})
	if err != nil || !outbound.JSON.HoldsMore(body.Bytes(), outbound.Plain, fields...) {
		return got, err
	}
	_ = json.Unmarshal(body.Bytes(), &got.more) // as far as it is one
	return got, provider.Mismatched(provider.Retryable, got.more.works(), "GitHub answered the end of a token with something else, "+
		"or with more; see what stands between the operator and GitHub")
}

// badCredentials is what GitHub says of a token that is none. Where none was sent, for what is in between dropped it,
// say, GitHub answers with the same status, and another sentence. Source:
// https://docs.github.com/rest/authentication/authenticating-to-the-rest-api.
const badCredentials = "Bad credentials"

// isUnknown reports whether GitHub itself answered that it knows no such token.
func (a answered) isUnknown(err error) bool {
	return a.status == http.StatusUnauthorized && provider.IsRefused(err) && a.sentence == badCredentials
}

// stays says of a token that GitHub has not said to be none why that is.
func (a answered) stays(err error) error {
	if a.status != http.StatusUnauthorized || !provider.IsRefused(err) {
		return err
	}
	return provider.Unanswered(provider.Retryable, "GitHub answered 401, and not that it knows no such token; "+
		"see whether what stands between the operator and GitHub lets the token through")
}

// credential is what the container is given: for git, and for programs that read a token.
func (t *token) credential(settings *v1alpha1.GitHubProvider, delivery v1alpha1.CredentialDelivery, w wanted,
	expires time.Time, proof string) (*provider.Credential, error) {
	sum := sha256.Sum256([]byte(t.reveal()))
	f := provider.CredentialFields{
		// GitHub's audit log names a token by this, as hashed_token.
		ID:        "sha256=" + base64.StdEncoding.EncodeToString(sum[:]),
		Principal: fmt.Sprintf("app/%d/installation/%d", settings.AppID, settings.InstallationID), ExpiresAt: expires,
		Secrets: []string{t.reveal()}, Sent: []string{proof},
		Pointers: map[string]string{"GITHUB_API_URL": settings.APIURL, "GITHUB_REPOSITORY": w.owner + "/" + w.repository},
	}
	if delivery == v1alpha1.DeliveryEnv {
		f.Variables = map[string]string{"GITHUB_TOKEN": t.reveal(), "GH_TOKEN": t.reveal()}
	} else {
		server := gitServer(settings.APIURL)
		f.Files = map[string]string{
			"github/token":           t.reveal(),
			"github/git-credentials": fmt.Sprintf("%s://x-access-token:%s@%s\n", server.Scheme, t.reveal(), server.Host),
			"github/gitconfig": fmt.Sprintf("[credential %q]\n\thelper = \"store --file %s/github/git-credentials\"\n\tusername = x-access-token\n",
				server.String(), v1alpha1.MountPath),
		}
		f.Pointers["GITHUB_TOKEN_FILE"] = v1alpha1.MountPath + "/github/token"
		f.Pointers["GIT_CONFIG_GLOBAL"] = v1alpha1.MountPath + "/github/gitconfig"
	}
	credential, err := provider.NewCredential(f)
	if err != nil {
		return nil, provider.Mismatched(provider.Final, provider.WorksUntil(expires), "what GitHub answered cannot be projected: "+err.Error())
	}
	return credential, nil
}

// gitServer is where git finds the repositories of an API.
func gitServer(api string) *url.URL {
	u, err := url.Parse(api)
	if err != nil || outbound.Server(api) == OwnAPI {
		return &url.URL{Scheme: "https", Host: "github.com"}
	}
	// An enterprise with data residency has its API beside git's server.
	if name, is := strings.CutPrefix(u.Host, "api."); is && strings.HasSuffix(u.Hostname(), ".ghe.com") {
		return &url.URL{Scheme: u.Scheme, Host: name}
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host}
}
