// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package aws_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/internal/provider/aws"
	"github.com/valetkey/valetkey/internal/provider/conformance"
)

func TestAWSDoesWhatEveryBackEndDoes(t *testing.T) {
	conformance.Run(t, "aws, stand-in for STS", func(t *testing.T) conformance.Harness {
		w := newWorld(t)
		return conformance.Harness{
			Provider: w, Lease: w.lease(), Clock: w.clock,
			Unscope: func(c *v1alpha1.Capability) { c.Spec.AWS.Scope = nil },
			Works: func(_ *testing.T, c *provider.Credential) bool {
				return w.sts.does(c.ID(), "arn:aws:s3:::previews/web-app/*")
			},
			Beyond: func(_ *testing.T, c *provider.Credential) bool {
				return w.sts.does(c.ID(), "arn:aws:s3:::previews/payments/*")
			},
			Throttle: func(*testing.T) { w.sts.answerNext(refuse(http.StatusBadRequest, "Throttling")) },
			Break:    w.sts.gate.Break,
			Restart:  func(*testing.T) provider.Provider { return w.another(t) },
			Secrets:  secrets,
		}
	})
}

func secrets() []string { return []string{identityToken, secretKey, sessionToken} }

func expectNoSecret(t *testing.T, err error) {
	t.Helper()
	for _, secret := range secrets() {
		if text := fmt.Sprintf("%v %+v %#v", err, err, err); strings.Contains(text, secret) {
			t.Error("the error tells a secret")
		}
	}
	if len(err.Error()) > 512 {
		t.Errorf("the error is %d characters long", len(err.Error()))
	}
}

func TestSTSIsAskedForTheLeaseAndNothingWider(t *testing.T) {
	w := newWorld(t)
	c, err := w.Issue(t.Context(), w.lease())
	if err != nil {
		t.Fatal(err)
	}
	want := []url.Values{{
		"Action": {"AssumeRoleWithWebIdentity"}, "Version": {"2011-06-15"}, "RoleArn": {role}, "DurationSeconds": {"3600"},
		"RoleSessionName":  {"agent-9f8c6b6a-9c2a-4e0b-8a4d-2d7db8f80731-3"},
		"WebIdentityToken": {identityToken},
		"Policy":           {`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:PutObject"],"Resource":["arn:aws:s3:::previews/web-app/*"]}]}`},
	}}
	if diff := cmp.Diff(want, w.sts.calls()); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
	if c.Principal() != "arn:aws:sts::123456789012:assumed-role/publisher/agent-9f8c6b6a-9c2a-4e0b-8a4d-2d7db8f80731-3" {
		t.Errorf("principal %s", c.Principal())
	}
}

func TestATTLBelowSTSsShortestSessionIsToldTruthfully(t *testing.T) {
	w := newWorld(t)
	l := w.lease()
	l.TTL = time.Minute
	c, err := w.Issue(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	if want := w.clock.Now().Add(900 * time.Second); !c.ExpiresAt().Equal(want) {
		t.Errorf("expires at %s, want %s: the session's own end", c.ExpiresAt(), want)
	}
	if got, known := w.Lifetime(provider.Lease{TTL: time.Minute}); !known || got < 1500*time.Second || got > 1600*time.Second {
		t.Errorf("lifetime %s, want STS's shortest and the time until STS can begin it", got)
	}
	if got, known := w.Lifetime(provider.Lease{TTL: 2 * time.Hour}); !known || got < 2*time.Hour+10*time.Minute || got > 2*time.Hour+12*time.Minute {
		t.Errorf("lifetime %s, want the TTL and the time until STS can begin it", got)
	}
}

func TestWhatFilesTheContainerGets(t *testing.T) {
	w := newWorld(t)
	c, err := w.Issue(t.Context(), w.lease())
	if err != nil {
		t.Fatal(err)
	}
	const mount = "/var/run/secrets/valetkey.dev"
	wantFiles := map[string]string{
		"aws/credentials": "[default]\naws_access_key_id = ASIASTANDIN0\naws_secret_access_key = " + secretKey + "\naws_session_token = " + sessionToken + "\n",
		"aws/config":      "[default]\nregion = us-east-1\n",
		"exec/secrets":    `["` + secretKey + `","` + sessionToken + `"]`,
	}
	if diff := cmp.Diff(wantFiles, c.Files()); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	wantPointers := map[string]string{
		"AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true", "AWS_PROFILE": "default", "AWS_ROLE_ARN": "", "AWS_WEB_IDENTITY_TOKEN_FILE": "",
		"AWS_SHARED_CREDENTIALS_FILE": mount + "/aws/credentials", "AWS_CONFIG_FILE": mount + "/aws/config",
	}
	if diff := cmp.Diff(wantPointers, c.Pointers()); diff != "" {
		t.Errorf("pointers (-want +got):\n%s", diff)
	}
	if len(c.Variables()) > 0 {
		t.Error("the credential is in the environment, too")
	}
}

func TestWhatVariablesTheContainerGets(t *testing.T) {
	w := newWorld(t)
	l := w.lease()
	l.Capability.Spec.AWS.Delivery = v1alpha1.DeliveryEnv
	l.Provider.Spec.AWS.ServiceEndpoint = "http://s3.example.com:9000"
	c, err := w.Issue(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"AWS_ACCESS_KEY_ID": "ASIASTANDIN0", "AWS_SECRET_ACCESS_KEY": secretKey, "AWS_SESSION_TOKEN": sessionToken}
	if diff := cmp.Diff(want, c.Variables()); diff != "" {
		t.Errorf("variables (-want +got):\n%s", diff)
	}
	wantPointers := map[string]string{"AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true", "AWS_ENDPOINT_URL": "http://s3.example.com:9000"}
	if diff := cmp.Diff(wantPointers, c.Pointers()); diff != "" {
		t.Errorf("pointers (-want +got):\n%s", diff)
	}
	if len(c.Files()) > 0 {
		t.Error("the credential is in files, too")
	}
}

func TestEndpointsAndAudiencesComeFromTheOperatorsFlagsAlone(t *testing.T) {
	tests := []struct {
		name   string
		spoil  func(*v1alpha1.AWSProvider)
		reason string
	}{
		{"another STS", func(p *v1alpha1.AWSProvider) { p.STSEndpoint = "https://attacker.example.com" }, v1alpha1.ReasonEndpointNotAllowed},
		{"another STS that begins alike", func(p *v1alpha1.AWSProvider) { p.STSEndpoint += ".attacker.example.com" }, v1alpha1.ReasonEndpointNotAllowed},
		{"another service", func(p *v1alpha1.AWSProvider) { p.ServiceEndpoint = "https://attacker.example.com" }, v1alpha1.ReasonEndpointNotAllowed},
		{"the API server's audience", func(p *v1alpha1.AWSProvider) { p.Audience = "https://kubernetes.default.svc" }, v1alpha1.ReasonAudienceNotAllowed},
		{"no audience", func(p *v1alpha1.AWSProvider) { p.Audience = "" }, v1alpha1.ReasonAudienceNotAllowed},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			l := w.lease()
			test.spoil(l.Provider.Spec.AWS)
			var problem *provider.NotReadyError
			if err := w.CheckProvider(l.Provider); !errors.As(err, &problem) || problem.Reason != test.reason {
				t.Errorf("check: got %v, want %s", err, test.reason)
			}
			c, err := w.Issue(t.Context(), l)
			if c != nil || !provider.IsFinal(err) || !provider.IsRefused(err) || len(w.sts.calls()) > 0 {
				t.Errorf("issue: got %v, want a final refusal and nobody asked", err)
			}
		})
	}
	w := newWorld(t)
	l := w.lease()
	l.Provider.Spec.AWS.STSEndpoint, l.Provider.Spec.AWS.ServiceEndpoint = "https://sts.example.com", ""
	flagged := aws.New(aws.Options{Endpoints: []string{"https://STS.example.com:443/"}, Audiences: []string{l.Provider.Spec.AWS.Audience}})
	if err := flagged.CheckProvider(l.Provider); err != nil {
		t.Errorf("an endpoint that the flag spells otherwise: %v", err)
	}
	l.Provider.Spec.AWS.STSEndpoint, l.Provider.Spec.AWS.ServiceEndpoint = "", ""
	if err := w.CheckProvider(l.Provider); err != nil {
		t.Errorf("AWS's own endpoints: %v", err)
	}
	if err := w.CheckProvider(&v1alpha1.CapabilityProvider{}); err == nil {
		t.Error("a provider without spec.aws is ready")
	}
}

func TestWhatIsWrongWithACapability(t *testing.T) {
	tests := []struct {
		name   string
		spoil  func(*v1alpha1.Capability)
		reason string
	}{
		{"nothing", func(*v1alpha1.Capability) {}, ""},
		{"it is of another back end", func(c *v1alpha1.Capability) { c.Spec.AWS = nil }, v1alpha1.ReasonProviderNotReady},
		{"it has no scope", func(c *v1alpha1.Capability) { c.Spec.AWS.Scope = nil }, v1alpha1.ReasonScopeInvalid},
		{"its policy is too long for the longest values", func(c *v1alpha1.Capability) {
			c.Spec.AWS.Scope[0].Resources = many(16, "arn:aws:s3:::previews/${request.repo}/*")
		}, v1alpha1.ReasonScopeInvalid},
		{"its revoker is its own role", func(c *v1alpha1.Capability) { c.Spec.AWS.RevokerRoleARN = role }, v1alpha1.ReasonScopeInvalid},
		{"its revoker is of another account", func(c *v1alpha1.Capability) {
			c.Spec.AWS.RevokerRoleARN = "arn:aws:iam::210987654321:role/revoker"
		}, v1alpha1.ReasonScopeInvalid},
		{"its identity does not exist", func(c *v1alpha1.Capability) { c.Spec.AWS.ServiceAccountName = "nobody" }, v1alpha1.ReasonIdentityInvalid},
		{"its identity is another capability's", func(c *v1alpha1.Capability) { c.Name = "deploy" }, v1alpha1.ReasonIdentityInvalid},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			c := capability()
			test.spoil(c)
			err := w.CheckCapability(t.Context(), c, w.lease().Provider)
			var problem *provider.NotReadyError
			if test.reason == "" && err != nil || test.reason != "" && (!errors.As(err, &problem) || problem.Reason != test.reason) {
				t.Errorf("got %v, want reason %q", err, test.reason)
			}
		})
	}
}

func many(n int, s string) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = s
	}
	return list
}

func TestTheIdentityMustBeTheCapabilitysOwnWhenItIsUsed(t *testing.T) {
	w := newWorld(t)
	l := w.lease()
	l.Capability.Name = "deploy"
	if _, err := w.Issue(t.Context(), l); !provider.IsFinal(err) || len(w.sts.calls()) > 0 {
		t.Errorf("got %v, want a final refusal and STS not asked", err)
	}
}

func TestWhatSTSAnswersIsSorted(t *testing.T) {
	const final, retryable, throttled = provider.Final, provider.Retryable, provider.Throttled
	tests := []struct {
		status  int
		code    string
		class   provider.Class
		refused bool
	}{
		{400, "ExpiredTokenException", retryable, true},
		{400, "IDPCommunicationError", retryable, true},
		{400, "InvalidIdentityToken", retryable, true},
		{403, "IDPRejectedClaim", final, true},
		{400, "MalformedPolicyDocument", final, true},
		{400, "MalformedPolicyDocumentException", final, true},
		{400, "PackedPolicyTooLarge", final, true},
		{403, "RegionDisabledException", final, true},
		{403, "AccessDenied", final, true},
		{400, "ValidationError", final, true},
		{404, "NoSuchEntity", final, true},
		{400, "SomethingElse", final, true},
		{400, "Throttling", throttled, true},
		{400, "ThrottlingException", throttled, true},
		{503, "SlowDown", throttled, true},
		{429, "SomethingElse", throttled, true},
		{500, "InternalFailure", retryable, false},
		{503, "ServiceUnavailable", retryable, false},
		{502, "AccessDenied", retryable, false},
		{307, "AccessDenied", retryable, false},
		{403, "", retryable, false},
	}
	for _, test := range tests {
		t.Run(fmt.Sprintf("%d %s", test.status, test.code), func(t *testing.T) {
			w := newWorld(t)
			w.sts.answerNext(refuse(test.status, test.code))
			c, err := w.Issue(t.Context(), w.lease())
			var e *provider.Error
			if c != nil || !errors.As(err, &e) {
				t.Fatalf("got credential %t, %v", c != nil, err)
			}
			if e.Class != test.class || provider.IsRefused(e) != test.refused {
				t.Errorf("got %s, refused %t; want %s, refused %t", e.Class, provider.IsRefused(e), test.class, test.refused)
			}
			if strings.Contains(e.Message, "SomethingElse") {
				t.Error("an undocumented code is repeated")
			}
			if len(w.sts.calls()) != 1 {
				t.Errorf("STS was asked %d times", len(w.sts.calls()))
			}
			expectNoSecret(t, err)
		})
	}
}

func TestHowLongSTSAsksToBeLeftAlone(t *testing.T) {
	for header, want := range map[string]time.Duration{"": 0, "7": 7 * time.Second, "999999999": time.Hour, "-1": 0, "soon": 0, "1h": 0} {
		w := newWorld(t)
		w.sts.answerNext(func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Retry-After", header)
			refuse(http.StatusTooManyRequests, "Throttling")(rw, r)
		})
		_, err := w.Issue(t.Context(), w.lease())
		if got := provider.RetryAfter(err); got != want || !provider.IsThrottled(err) {
			t.Errorf("Retry-After %q: got %s, %v; want %s", header, got, err, want)
		}
	}
}

func TestAnAnswerThatIsNotWhatWasAskedForIsNotUsed(t *testing.T) {
	at := func(w world, d time.Duration) string { return w.clock.Now().Add(d).UTC().Format(time.RFC3339) }
	tests := []struct {
		name  string
		spoil func(w world, a *answer)
	}{
		{"no key ID", func(_ world, a *answer) { a.KeyID = "" }},
		{"no secret", func(_ world, a *answer) { a.Secret = "" }},
		{"no session token", func(_ world, a *answer) { a.Token = "" }},
		{"expired already", func(w world, a *answer) { a.Expires = at(w, -time.Second) }},
		{"expiring this very moment", func(w world, a *answer) { a.Expires = at(w, 0) }},
		{"living on far beyond what was asked", func(w world, a *answer) { a.Expires = at(w, 12*time.Hour) }},
		{"another role", func(_ world, a *answer) { a.ARN = strings.Replace(a.ARN, "/publisher/", "/admin/", 1) }},
		{"another account", func(_ world, a *answer) { a.ARN = strings.Replace(a.ARN, "123456789012", "210987654321", 1) }},
		{"another lease's session", func(_ world, a *answer) { a.ARN = strings.Replace(a.ARN, "9f8c", "0000", 1) }},
		{"another attempt's session", func(_ world, a *answer) { a.ARN += "1" }},
		{"another session's user", func(_ world, a *answer) { a.UserID = "AROASTANDIN:somebody-else" }},
		{"no role", func(_ world, a *answer) { a.ARN = "" }},
		{"no session's user", func(_ world, a *answer) { a.UserID = "" }},
		{"another identity", func(_ world, a *answer) { a.Subject = "system:serviceaccount:identities:admin" }},
		{"no identity", func(_ world, a *answer) { a.Subject = "" }},
		{"another audience", func(_ world, a *answer) { a.Audience = "another" }},
		{"no audience", func(_ world, a *answer) { a.Audience = "" }},
		{"another identity provider", func(_ world, a *answer) { a.Issuer = "https://issuer.example.org" }},
		{"another account's identity provider", func(_ world, a *answer) { a.Issuer = strings.Replace(a.Issuer, "1234", "4321", 1) }},
		{"no identity provider", func(_ world, a *answer) { a.Issuer = "" }},
		{"a person behind it", func(_ world, a *answer) { a.Source = "mallory" }},
		{"a line break in the secret, which would begin a line of the file", func(_ world, a *answer) { a.Secret = secretKey + "&#10;[profile x]" }},
		{"a line break in the session token", func(_ world, a *answer) { a.Token = sessionToken + "&#13;x" }},
		{"a space in the key ID", func(_ world, a *answer) { a.KeyID = "ASIA 1" }},
		{"the identity's token in place of the secret", func(_ world, a *answer) { a.Secret = identityToken }},
		{"the identity's token in place of the session's", func(_ world, a *answer) { a.Token = identityToken }},
		{"the identity's token within the session's", func(_ world, a *answer) { a.Token = "x" + identityToken }},
		{"the identity's token in place of the key ID", func(_ world, a *answer) { a.KeyID = identityToken }},
		{"a key ID that is the secret", func(_ world, a *answer) { a.KeyID = a.Secret }},
		{"a key ID that is the most of the session token", func(_ world, a *answer) { a.KeyID = a.Token[4:] }},
		{"a key ID that fits no status", func(_ world, a *answer) { a.KeyID = strings.Repeat("A", 300) }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			a := w.sts.answer(url.Values{"DurationSeconds": {"3600"}, "RoleSessionName": {w.lease().Session()}})
			test.spoil(w, &a)
			w.sts.answerNext(a.write)
			c, err := w.Issue(t.Context(), w.lease())
			if c != nil || !provider.IsFinal(err) || provider.IsRefused(err) {
				t.Errorf("got credential %t, %v: want none, finally, and no claim that nothing was issued", c != nil, err)
			}
			expectNoSecret(t, err)
		})
	}
}

func TestClocksFiveMinutesApartDoNoHarm(t *testing.T) {
	for _, off := range []time.Duration{-5 * time.Minute, 5 * time.Minute} {
		w := newWorld(t)
		l := w.lease()
		l.TTL = 900 * time.Second
		a := w.sts.answer(url.Values{"DurationSeconds": {"900"}, "RoleSessionName": {l.Session()}})
		want := w.clock.Now().Add(off + 903*time.Second)
		a.Expires = want.UTC().Format(time.RFC3339)
		w.sts.answerNext(a.write)
		c, err := w.Issue(t.Context(), l)
		if err != nil {
			t.Errorf("STS %s off: %v", off, err)
			continue
		}
		if !c.ExpiresAt().Equal(want) {
			t.Errorf("STS %s off: expires at %s, want what STS said, %s", off, c.ExpiresAt(), want)
		}
	}
}

func TestGarbageIsAFailureThatMayPass(t *testing.T) {
	tests := map[string]http.HandlerFunc{
		"nothing":                        func(http.ResponseWriter, *http.Request) {},
		"an answer without a credential": answer{}.write,
		"no XML":                         func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "it works! ", identityToken) },
		"broken XML": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, "<AssumeRoleWithWebIdentityResponse><Assume")
		},
		"a web page": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, "<html><p>no")
		},
		"a broken answer": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, "<A")
		},
		"a hung up connection": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	}
	for name, handler := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.sts.answerNext(handler)
			c, err := w.Issue(t.Context(), w.lease())
			if c != nil || !provider.IsRetryable(err) || provider.IsRefused(err) {
				t.Errorf("got credential %t, %v: want none, and no claim that nothing was issued", c != nil, err)
			}
			expectNoSecret(t, err)
			if len(w.sts.calls()) != 1 {
				t.Errorf("STS was asked %d times", len(w.sts.calls()))
			}
		})
	}
}

func TestNoMoreIsReadThanARealAnswerHas(t *testing.T) {
	for name, pad := range map[string]func(http.ResponseWriter){
		"body":   func(w http.ResponseWriter) { fmt.Fprint(w, "<!--", strings.Repeat("x", 1<<17), "-->") },
		"header": func(w http.ResponseWriter) { w.Header().Set("X-Large", strings.Repeat("x", 1<<17)) },
	} {
		w := newWorld(t)
		whole := w.sts.answer(url.Values{"DurationSeconds": {"3600"}, "RoleSessionName": {w.lease().Session()}})
		w.sts.answerNext(whole.write)
		if _, err := w.Issue(t.Context(), w.lease()); err != nil {
			t.Fatalf("as it is: %v", err)
		}
		w.sts.answerNext(func(rw http.ResponseWriter, r *http.Request) {
			pad(rw)
			whole.write(rw, r)
		})
		c, err := w.Issue(t.Context(), w.lease())
		if c != nil || !provider.IsRetryable(err) || provider.IsRefused(err) {
			t.Errorf("with an oversized %s: got credential %t, %v", name, c != nil, err)
		}
	}
}

func TestATokenIsNeverSentElsewhere(t *testing.T) {
	var reached atomic.Bool
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Store(true) }))
	t.Cleanup(elsewhere.Close)
	for _, status := range []int{http.StatusMovedPermanently, http.StatusFound, http.StatusTemporaryRedirect, http.StatusPermanentRedirect} {
		w := newWorld(t)
		w.sts.answerNext(func(rw http.ResponseWriter, r *http.Request) { http.Redirect(rw, r, elsewhere.URL, status) })
		c, err := w.Issue(t.Context(), w.lease())
		if c != nil || !provider.IsRetryable(err) || provider.IsRefused(err) {
			t.Errorf("redirected with %d: got %v", status, err)
		}
	}
	if reached.Load() {
		t.Error("a redirect was followed")
	}
}

func TestNothingOfTheEnvironmentCounts(t *testing.T) {
	var reached atomic.Bool
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Store(true) }))
	t.Cleanup(elsewhere.Close)
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL": elsewhere.URL, "AWS_ENDPOINT_URL_STS": elsewhere.URL, "AWS_REGION": "eu-north-1", "AWS_PROFILE": "other",
		"AWS_ACCESS_KEY_ID": "AKIAAMBIENT", "AWS_SECRET_ACCESS_KEY": "ambient", "AWS_MAX_ATTEMPTS": "7",
		"AWS_ROLE_ARN": "arn:aws:iam::1:role/other", "AWS_WEB_IDENTITY_TOKEN_FILE": "/nowhere",
	} {
		t.Setenv(name, value)
	}
	w := newWorld(t)
	if _, err := w.Issue(t.Context(), w.lease()); err != nil {
		t.Error(err) // the stand-in fails the test when a request is signed
	}
	w.sts.answerNext(refuse(http.StatusInternalServerError, "InternalFailure"))
	if _, err := w.Issue(t.Context(), w.lease()); !provider.IsRetryable(err) {
		t.Error(err)
	}
	if reached.Load() || len(w.sts.calls()) != 2 {
		t.Errorf("something else was asked: %t; STS was asked %d times, want 2", reached.Load(), len(w.sts.calls()))
	}
}

func TestAnUnreachableSTSMayComeBack(t *testing.T) {
	w := newWorld(t)
	l := w.lease()
	l.Provider.Spec.AWS.STSEndpoint = unreachable
	c, err := w.Issue(t.Context(), l)
	if c != nil || !provider.IsRetryable(err) {
		t.Errorf("got credential %t, %v", c != nil, err)
	}
	expectNoSecret(t, err)
}

func TestASlowSTSIsNotWaitedForWhenTheCallerGivesUp(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	w.sts.answerNext(func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	})
	c, err := w.Issue(ctx, w.lease())
	if c != nil || !provider.IsRetryable(err) || provider.IsRefused(err) {
		t.Errorf("got credential %t, %v: want none, and no claim that nothing was issued", c != nil, err)
	}
	expectNoSecret(t, err)
}

func TestASessionCannotBeRevokedAndSaysSo(t *testing.T) {
	w := newWorld(t)
	got, err := w.Revoke(t.Context(), w.lease().Issued(w.Handle(w.lease()), w.clock.Now().Add(time.Hour)))
	if err != nil || got.Mode != v1alpha1.RevocationAtExpiry || len(w.sts.calls()) > 0 {
		t.Errorf("got %+v, %v", got, err)
	}
}
