// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package aws_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/identity"
	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/internal/provider/aws"
	"github.com/valetkey/valetkey/internal/provider/conformance"
)

const (
	// identityToken is of issuer and subject.
	identityToken = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlLmNvbSIsInN1YiI6InN5c3RlbTpzZXJ2aWNlYWNjb3VudDppZGVudGl0aWVzOnB1Ymxpc2hlciJ9.signature"
	issuer        = "https://issuer.example.com"
	subject       = "system:serviceaccount:identities:publisher"
	secretKey     = "stand-in/secret+key"
	sessionToken  = "stand-in/session+token=="
	role          = "arn:aws:iam::123456789012:role/agents/publisher"
	audience      = "sts.amazonaws.com"
	unreachable   = "http://127.0.0.1:1"
)

// stsStandIn answers AssumeRoleWithWebIdentity as the public API reference says, and checks what the real one checks. It stands
// in for what no real server can be made to do: fail, and lie. That a real one accepts what is asked is tested beside it.
type stsStandIn struct {
	t     *testing.T
	clock *clocktesting.FakePassiveClock
	url   string

	gate *conformance.Gate
	// elsewhere answers what it knows before the stand-in does; nil knows nothing.
	elsewhere func(w http.ResponseWriter, r *http.Request) bool

	mu    sync.Mutex
	next  http.HandlerFunc
	asked []url.Values
	// works holds until when each access key works.
	works map[string]time.Time
	// policies holds the session policy of each.
	policies map[string]string
}

// does reports whether a session works and its policy names a resource.
func (s *stsStandIn) does(keyID, resource string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clock.Now().Before(s.works[keyID]) && strings.Contains(s.policies[keyID], `"`+resource+`"`)
}

func newSTS(t *testing.T, clock *clocktesting.FakePassiveClock) *stsStandIn {
	s := &stsStandIn{t: t, clock: clock, works: map[string]time.Time{}, policies: map[string]string{}}
	s.gate = conformance.NewGate(s)
	server := httptest.NewServer(s.gate)
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

// answerNext makes the next call be answered by something else.
func (s *stsStandIn) answerNext(with http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = with
}

func (s *stsStandIn) calls() []url.Values {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func (s *stsStandIn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		s.t.Error(err)
	}
	if s.elsewhere != nil && s.elsewhere(w, r) {
		return
	}
	if r.Header.Get("Authorization") != "" {
		s.t.Error("the request was signed: there is a key")
	}
	s.mu.Lock()
	s.asked = append(s.asked, r.Form)
	next := s.next
	s.next = nil
	s.mu.Unlock()
	if next != nil {
		next(w, r)
		return
	}
	s.assume(w, r.Form)
}

var sessionForm = regexp.MustCompile(`^[\w+=,.@-]{2,64}$`)

func (s *stsStandIn) assume(w http.ResponseWriter, form url.Values) {
	duration, err := strconv.Atoi(form.Get("DurationSeconds"))
	switch {
	case form.Get("Action") != "AssumeRoleWithWebIdentity" || form.Get("Version") != "2011-06-15":
		refuse(http.StatusBadRequest, "InvalidAction")(w, nil)
	case err != nil || duration < 900 || duration > 43200 || !sessionForm.MatchString(form.Get("RoleSessionName")) || len(form.Get("Policy")) > 2048:
		refuse(http.StatusBadRequest, "ValidationError")(w, nil)
	case form.Get("WebIdentityToken") != identityToken:
		refuse(http.StatusBadRequest, "InvalidIdentityToken")(w, nil)
	case !json.Valid([]byte(form.Get("Policy"))):
		refuse(http.StatusBadRequest, "MalformedPolicyDocument")(w, nil)
	case form.Get("RoleArn") != role:
		refuse(http.StatusForbidden, "AccessDenied")(w, nil)
	default:
		a := s.answer(form)
		s.mu.Lock()
		a.KeyID = fmt.Sprintf("ASIASTANDIN%d", len(s.works))
		s.policies[a.KeyID] = form.Get("Policy")
		s.works[a.KeyID] = s.clock.Now().Add(time.Duration(duration) * time.Second)
		s.mu.Unlock()
		a.write(w, nil)
	}
}

// answer is the truthful one.
func (s *stsStandIn) answer(form url.Values) answer {
	duration, _ := strconv.Atoi(form.Get("DurationSeconds"))
	return answer{
		KeyID: "ASIASTANDIN", Secret: secretKey, Token: sessionToken,
		Expires: s.clock.Now().Add(time.Duration(duration) * time.Second).UTC().Format(time.RFC3339),
		ARN:     "arn:aws:sts::123456789012:assumed-role/publisher/" + form.Get("RoleSessionName"),
		UserID:  "AROASTANDIN:" + form.Get("RoleSessionName"),
		Issuer:  "arn:aws:iam::123456789012:oidc-provider/issuer.example.com", Audience: audience, Subject: subject,
	}
}

type answer struct {
	KeyID, Secret, Token, Expires, ARN, UserID string
	Issuer, Audience, Subject, Source          string
}

func (a answer) write(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/xml")
	fmt.Fprintf(w, `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult>
<Credentials><AccessKeyId>%s</AccessKeyId><SecretAccessKey>%s</SecretAccessKey><SessionToken>%s</SessionToken><Expiration>%s</Expiration></Credentials>
<AssumedRoleUser><Arn>%s</Arn><AssumedRoleId>%s</AssumedRoleId></AssumedRoleUser>
<Provider>%s</Provider><Audience>%s</Audience><SubjectFromWebIdentityToken>%s</SubjectFromWebIdentityToken><SourceIdentity>%s</SourceIdentity><PackedPolicySize>6</PackedPolicySize>
</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`, a.KeyID, a.Secret, a.Token, a.Expires, a.ARN, a.UserID,
		a.Issuer, a.Audience, a.Subject, a.Source)
}

// refuse answers as STS does.
func refuse(status int, code string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		fmt.Fprintf(w, `<ErrorResponse><Error><Type>Sender</Type><Code>%s</Code><Message>refused</Message></Error><RequestId>1</RequestId></ErrorResponse>`, code)
	}
}

// identities are the ServiceAccounts of an API server that knows one, publisher, of the capability publish.
func identities(t *testing.T) *identity.Source {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch {
		case r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/publisher/token"):
			asked := authenticationv1.TokenRequest{}
			_ = json.NewDecoder(r.Body).Decode(&asked)
			_ = json.NewEncoder(w).Encode(authenticationv1.TokenRequest{
				TypeMeta: metav1.TypeMeta{APIVersion: "authentication.k8s.io/v1", Kind: "TokenRequest"},
				Spec:     asked.Spec, Status: authenticationv1.TokenRequestStatus{Token: identityToken},
			})
		case strings.HasSuffix(r.URL.Path, "/publisher"):
			_ = json.NewEncoder(w).Encode(corev1.ServiceAccount{
				TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"},
				ObjectMeta: metav1.ObjectMeta{Name: "publisher", Annotations: map[string]string{v1alpha1.AnnotationCapability: "publish"}},
			})
		default:
			w.WriteHeader(http.StatusNotFound)
			_ = json.NewEncoder(w).Encode(metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Code: http.StatusNotFound, Reason: metav1.StatusReasonNotFound})
		}
	}))
	t.Cleanup(server.Close)
	client, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL, ContentConfig: rest.ContentConfig{ContentType: "application/json"}})
	if err != nil {
		t.Fatal(err)
	}
	return identity.NewSource(client, "identities")
}

// world is a back end with its STS and its identities.
type world struct {
	*aws.Provider
	sts   *stsStandIn
	clock *clocktesting.FakePassiveClock
}

func newWorld(t *testing.T) world {
	t.Helper()
	clock := clocktesting.NewFakePassiveClock(time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC))
	sts := newSTS(t, clock)
	w := world{clock: clock, sts: sts}
	w.Provider = w.another(t)
	return w
}

// another is the back end in another process.
func (w world) another(t *testing.T) *aws.Provider {
	t.Helper()
	return aws.New(aws.Options{
		Endpoints: []string{w.sts.url, "http://s3.example.com:9000", unreachable}, Audiences: []string{audience}, Identities: identities(t), Clock: w.clock,
	})
}

func (w world) lease() provider.Lease {
	return provider.Lease{
		ID: "9f8c6b6a-9c2a-4e0b-8a4d-2d7db8f80731", Attempt: 3, TTL: time.Hour, Values: values(), Capability: capability(),
		Provider: &v1alpha1.CapabilityProvider{
			ObjectMeta: metav1.ObjectMeta{Name: "aws-preview"},
			Spec:       v1alpha1.CapabilityProviderSpec{AWS: &v1alpha1.AWSProvider{Region: "us-east-1", STSEndpoint: w.sts.url, Audience: audience}},
		},
	}
}

func values() provider.Values {
	return provider.Values{Repo: "web-app", Environment: "preview", Namespace: "agents"}
}

func capability() *v1alpha1.Capability {
	return &v1alpha1.Capability{
		ObjectMeta: metav1.ObjectMeta{Name: "publish"},
		Spec: v1alpha1.CapabilitySpec{AWS: &v1alpha1.AWSCapability{
			RoleARN: role, ServiceAccountName: "publisher",
			Scope: []v1alpha1.AWSStatement{{Actions: []string{"s3:PutObject"}, Resources: []string{"arn:aws:s3:::previews/${request.repo}/*"}}},
		}},
	}
}
