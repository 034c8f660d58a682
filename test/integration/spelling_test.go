// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package integration

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/valetkey/valetkey/api/v1alpha1"
	standin "github.com/valetkey/valetkey/hack/standin/github"
)

// spellingAttacks ask for a thing in another spelling than the one that a policy denies.
func spellingAttacks() []attack {
	const denied, name = v1alpha1.ReasonDeniedByPolicy, v1alpha1.ReasonNameRefused
	return []attack{
		{"a denied repository of GitHub by its own name", "agent", denied, "-not denies it", pastDeny((*journey).gitHub, "payments", "payments")},
		{"a denied repository of GitHub with its owner", "agent", name, "write repo as payments, not acme/payments", pastDeny((*journey).gitHub, "payments", "acme/payments")},
		{"a denied repository of GitHub with its owner in capitals", "agent", name, "write repo as payments, not ACME/payments", pastDeny((*journey).gitHub, "payments", "ACME/payments")},
		{"a denied repository of GitHub in capitals", "agent", name, "write repo as payments, not Payments", pastDeny((*journey).gitHub, "payments", "Payments")},
		{"a repository of GitHub that a Deny names with its owner", "agent", denied, "-not denies it", pastDeny((*journey).gitHub, "acme/payments", "payments")},
		{"a repository of GitHub that a Deny names in capitals", "agent", denied, "-not denies it", pastDeny((*journey).gitHub, "ACME/Payments", "payments")},
		{"a repository of GitHub of another owner", "agent", name, "repo mallory/payments is not of acme", pastDeny((*journey).gitHub, "payments", "mallory/payments")},
		{"a repository of GitHub that the capability is not for", "agent", name, "repo secrets is none that capability", pastDeny((*journey).gitHub, "payments", "secrets")},
		{"a denied repository in capitals where AWS tells case apart", "agent", denied, "-not denies it", pastDeny((*journey).onAWS, "payments", "Payments")},
		{"a repository that a Deny names in capitals where AWS tells case apart", "agent", denied, "-not denies it", pastDeny((*journey).onAWS, "PAY*", "payments")},
		{"a folder in which a denied repository is", "agent", denied, "-not denies it", pastDeny((*journey).onAWS, "acme/payments", "acme")},
		{"a folder in which all repositories are denied", "agent", denied, "-not denies it", pastDeny((*journey).onAWS, "acme/*", "acme")},
		{"a folder in a denied repository", "agent", name, "write repo as prod, not payments/prod", pastDeny((*journey).onAWS, "payments", "payments/prod")},
		{"a folder in a denied repository of a service", "agent", name, "write repo as prod, not payments/prod", pastDeny((*journey).someToken, "payments", "payments/prod")},
		{"a denied repository in capitals at a service that may not tell case apart", "agent", name, "write repo as payments, not Payments", pastDeny((*journey).someToken, "payments", "Payments")},
		{"an environment in capitals at a service that may not tell case apart", "agent", name, "write environment as", func(j *journey) error {
			j.someToken()
			j.allow(func(p *v1alpha1.CapabilityPolicySpec) { p.Environments = []string{strings.ToUpper(j.name)} })
			j.asksFor(func(r *v1alpha1.CapabilityRequest) { r.Spec.Environment = strings.ToUpper(j.name) })
			return nil
		}},
		{"a denied environment in capitals where AWS tells case apart", "agent", denied, "-not denies it", func(j *journey) error {
			j.denies(func(*v1alpha1.CapabilityPolicySpec) {})
			j.allow(func(p *v1alpha1.CapabilityPolicySpec) { p.Environments = []string{strings.ToUpper(j.name)} })
			j.asksFor(func(r *v1alpha1.CapabilityRequest) { r.Spec.Environment = strings.ToUpper(j.name) })
			return nil
		}},
		{"an image whose registry is denied, without its registry", "agent", denied, "-not denies it", pastDenyOfImages("tool" + imageDigest)},
		{"an image whose registry is denied, by the registry's other name", "agent", denied, "-not denies it", pastDenyOfImages("index.docker.io/library/tool:v1" + imageDigest)},
		{"an image that is no image's name", "agent", v1alpha1.ReasonJobRefused, "is not a name that a container can be made of", pastDenyOfImages("docker.io/../tool" + imageDigest)},
		{"a denied person whose name is reported in capitals", "Mallory@example.com", denied, "-not denies it", func(j *journey) error {
			mallory := j.askedBy("Mallory@example.com", nil)
			j.denies(func(p *v1alpha1.CapabilityPolicySpec) {
				p.Requesters = []v1alpha1.Subject{{Kind: v1alpha1.SubjectUser, Name: "mallory@example.com"}}
			})
			j.allow(mallory)
			j.ask()
			return nil
		}},
	}
}

// pastDeny asks for a repo of one back end, where any is allowed and one is denied.
func pastDeny(backend func(*journey), denied, asked string) func(*journey) error {
	return func(j *journey) error {
		backend(j)
		j.denies(func(p *v1alpha1.CapabilityPolicySpec) { p.Repos = []string{denied} })
		j.allow(func(p *v1alpha1.CapabilityPolicySpec) { p.Repos = []string{"*"} })
		j.asksFor(func(r *v1alpha1.CapabilityRequest) { r.Spec.Repo = asked })
		return nil
	}
}

const imageDigest = "@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

// pastDenyOfImages asks with an image of the one registry from which none may come.
func pastDenyOfImages(image string) func(*journey) error {
	return func(j *journey) error {
		j.ownCapability(func(c *v1alpha1.Capability) { c.Spec.Runner = nil })
		j.asks = j.name
		j.denies(func(p *v1alpha1.CapabilityPolicySpec) {
			p.When = []v1alpha1.Expression{{Expression: "job.images.exists(i, i.startsWith('docker.io/'))", Message: "nothing from there"}}
		})
		j.allow()
		j.request()
		j.job(func(job *batchv1.Job) { job.Spec.Template.Spec.Containers[0].Image = image })
		return nil
	}
}

func (j *journey) asksFor(edits ...func(*v1alpha1.CapabilityRequest)) {
	j.Helper()
	j.request(edits...)
	j.job()
}

// denies stores a Deny for the journey's environment, and waits until the operator knows it.
func (j *journey) denies(edit func(*v1alpha1.CapabilityPolicySpec)) {
	j.Helper()
	p := j.policy()
	p.Name += "-not"
	p.Spec = v1alpha1.CapabilityPolicySpec{Effect: v1alpha1.EffectDeny, Capabilities: []string{"*"}, Environments: []string{j.name}}
	edit(&p.Spec)
	j.store(p)
	await(j.T, j.w, p, "known to the operator", func(p *v1alpha1.CapabilityPolicy) bool { return len(p.Status.Conditions) > 0 })
}

// onAWS leaves the journey the sample's capability.
func (*journey) onAWS() {}

// gitHub makes the journey's capability one of GitHub. Nothing can be issued by it: names are looked at before that
// is known.
func (j *journey) gitHub() {
	j.Helper()
	j.asks = j.name
	j.store(&v1alpha1.CapabilityProvider{ObjectMeta: metav1.ObjectMeta{Name: j.name}, Spec: v1alpha1.CapabilityProviderSpec{
		GitHub: &v1alpha1.GitHubProvider{AppID: 1, InstallationID: 2, Signer: "absent"}}})
	j.store(&v1alpha1.Capability{ObjectMeta: metav1.ObjectMeta{Name: j.name}, Spec: v1alpha1.CapabilitySpec{
		Description: "Read the artifacts of one repository.", ProviderRef: v1alpha1.ProviderReference{Name: j.name},
		GitHub: &v1alpha1.GitHubCapability{Owner: "acme", Repositories: []string{"payments", "web-*"}, Permissions: map[string]v1alpha1.GitHubAccess{"actions": "read"}}}})
}

// someToken makes the journey's capability one of tokens for a service, of an issuer that is not the operator.
func (j *journey) someToken() {
	j.Helper()
	j.asks = j.name
	j.store(&v1alpha1.CapabilityProvider{ObjectMeta: metav1.ObjectMeta{Name: j.name}, Spec: v1alpha1.CapabilityProviderSpec{Token: &v1alpha1.TokenProvider{Issuer: "https://tokens.example.com"}}})
	j.store(&v1alpha1.Capability{ObjectMeta: metav1.ObjectMeta{Name: j.name}, Spec: v1alpha1.CapabilitySpec{
		Description: "Read the artifacts of one repository.", ProviderRef: v1alpha1.ProviderReference{Name: j.name},
		Token: &v1alpha1.TokenCapability{Audience: "artifact-proxy", Scope: []string{"artifacts:read:${request.repo}"}, Verification: v1alpha1.VerifyByIntrospection}}})
}

// TestDeny_NoSpellingOfARepositoryOfGitHubIsPastIt goes the whole way, to a stand-in that reads names as GitHub does.
func TestDeny_NoSpellingOfARepositoryOfGitHubIsPastIt(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "app.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}), 0o600); err != nil {
		t.Fatal(err)
	}
	github := httptest.NewServer(&standin.Server{AppID: 4711, Key: &key.PublicKey, InstallationID: 42, Owner: "Acme", Repositories: []string{"Web-App", "Payments"},
		Renamed: map[string]string{"pay": "Payments"}, Permissions: map[string]string{"actions": "read"}})
	t.Cleanup(github.Close)
	o := stage.ownOperator(t, "--github-api="+github.URL, "--signer=app="+file)
	const name = "github-names"
	shared := alone(t, name, o)
	shared.store(&v1alpha1.CapabilityProvider{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.CapabilityProviderSpec{
		GitHub: &v1alpha1.GitHubProvider{APIURL: github.URL, AppID: 4711, InstallationID: 42, Signer: "app"}}})
	shared.store(&v1alpha1.Capability{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.CapabilitySpec{
		Description: "Read the artifacts of one repository.", ProviderRef: v1alpha1.ProviderReference{Name: name},
		GitHub: &v1alpha1.GitHubCapability{Owner: "acme", Repositories: []string{"*"}, Permissions: map[string]v1alpha1.GitHubAccess{"actions": "read"}}}})
	shared.denies(func(p *v1alpha1.CapabilityPolicySpec) { p.Repos = []string{"payments"} })
	shared.allow(func(p *v1alpha1.CapabilityPolicySpec) { p.Repos = []string{"*"} })
	for i, tt := range []struct{ repo, reason, words string }{
		{"payments", v1alpha1.ReasonDeniedByPolicy, "policy github-names-not denies it"},
		{"acme/payments", v1alpha1.ReasonNameRefused, "write repo as payments, not acme/payments"},
		{"ACME/payments", v1alpha1.ReasonNameRefused, "write repo as payments, not ACME/payments"},
		{"Acme/Payments", v1alpha1.ReasonNameRefused, "write repo as payments, not Acme/Payments"},
		{"Payments", v1alpha1.ReasonNameRefused, "write repo as payments, not Payments"},
	} {
		t.Run(tt.repo, func(t *testing.T) {
			j := alone(t, fmt.Sprintf("%s-%d", name, i), o)
			j.asks = name
			j.asksFor(func(r *v1alpha1.CapabilityRequest) { r.Spec.Repo, r.Spec.Environment = tt.repo, name })
			j.expectRefused(tt.reason, tt.words)
		})
	}
	t.Run("another repository, in capitals at GitHub", func(t *testing.T) {
		j := alone(t, name+"-other", o)
		j.asks = name
		j.asksFor(func(r *v1alpha1.CapabilityRequest) { r.Spec.Repo, r.Spec.Environment = "web-app", name })
		g := j.awaitDelivered()
		if g.Spec.Repo != "web-app" || len(g.Spec.Scope) != 1 || g.Spec.Scope[0] != "actions: read" {
			t.Errorf("the grant is for %s, %v", g.Spec.Repo, g.Spec.Scope)
		}
	})
	t.Run("by the name that it had before", func(t *testing.T) {
		j := alone(t, name+"-renamed", o)
		j.asks = name
		j.asksFor(func(r *v1alpha1.CapabilityRequest) { r.Spec.Repo, r.Spec.Environment = "pay", name })
		g := await(t, j.w, j.grantObject(), "ended", func(g *v1alpha1.CapabilityGrant) bool { return g.Status.EndedAt != nil })
		if c := condition(g.Status.Conditions, v1alpha1.ConditionIssued); g.Status.Outcome != v1alpha1.OutcomeIssueFailed || !strings.Contains(c.Message, "one that was renamed or transferred is asked for by its new name") {
			t.Errorf("the grant ended with %s: %s", g.Status.Outcome, c.Message)
		}
		j.expectNothingIssued()
	})
}
