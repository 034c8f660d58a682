// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package callers_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/valetkey/valetkey/internal/callers"
)

const (
	audience = "https://valetkey.example.com"
	cluster  = "https://kubernetes.default.svc"
	proxy    = "system:serviceaccount:agents:artifact-proxy"
)

// apiServer signs tokens, publishes its keys, and answers reviews. It counts what it is asked.
type apiServer struct {
	*testing.T
	rsa   *rsa.PrivateKey
	ec    *ecdsa.PrivateKey
	reads atomic.Int32
	asked atomic.Int32

	// keysFail and reviewsFail are its errors.
	keysFail, reviewsFail error
	// wait holds reviews up until it is closed.
	wait chan struct{}
	// edit changes what a TokenReview says; allowed is what a SubjectAccessReview does.
	edit    func(*authenticationv1.TokenReviewStatus)
	allowed bool
}

// signers are made once: an RSA key takes a while.
var signers = struct {
	rsa *rsa.PrivateKey
	ec  *ecdsa.PrivateKey
}{must(rsa.GenerateKey(rand.Reader, 2048)), must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func newAPIServer(t *testing.T) *apiServer {
	return &apiServer{T: t, rsa: signers.rsa, ec: signers.ec, allowed: true}
}

func (s *apiServer) get(_ context.Context, path string) ([]byte, error) {
	s.reads.Add(1)
	if s.keysFail != nil {
		return nil, s.keysFail
	}
	if path == "/.well-known/openid-configuration" {
		return json.Marshal(map[string]string{"issuer": cluster})
	}
	return json.Marshal(
		jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: s.rsa.Public(), KeyID: "rsa", Algorithm: "RS256", Use: "sig"},
			{Key: s.ec.Public(), KeyID: "ec", Algorithm: "ES256", Use: "sig"}}},
	)
}

func (s *apiServer) reviews() client.Writer {
	return fake.NewClientBuilder().
		WithInterceptorFuncs(interceptor.Funcs{Create: func(ctx context.Context, _ client.WithWatch,
			object client.Object, _ ...client.CreateOption) error {
			s.asked.Add(1)
			if s.wait != nil {
				select {
				case <-s.wait:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			if s.reviewsFail != nil {
				return s.reviewsFail
			}
			switch review := object.(type) {
			case *authenticationv1.TokenReview:
				signed, err := jwt.ParseSigned(review.Spec.Token, []jose.SignatureAlgorithm{jose.RS256, jose.ES256})
				var c jwt.Claims
				if err != nil || signed.UnsafeClaimsWithoutVerification(&c) != nil {
					return errors.New("no token")
				}
				review.Status = authenticationv1.TokenReviewStatus{
					Authenticated: true,
					Audiences:     review.Spec.Audiences,
					User: authenticationv1.UserInfo{
						Username: c.Subject,
						UID:      "1",
						Groups:   []string{"system:serviceaccounts"},
					},
				}
				if s.edit != nil {
					s.edit(&review.Status)
				}
			case *authorizationv1.SubjectAccessReview:
				if review.Spec.ResourceAttributes.Verb != "introspect" || review.Spec.User == "" {
					return errors.New("another question")
				}
				review.Status.Allowed = s.allowed
			}
			return nil
		}}).
		Build()
}

// claims of a token that is right, but for the edits.
func claims(edits ...func(map[string]any)) map[string]any {
	now := time.Now()
	all := map[string]any{
		"iss": cluster,
		"aud": []string{audience},
		"sub": proxy,
		"iat": now.Unix(),
		"nbf": now.Unix(),
		"exp": now.Add(time.Hour).Unix(),
		"jti": "1",
	}
	for _, edit := range edits {
		edit(all)
	}
	return all
}

func with(name string, value any) func(map[string]any) {
	return func(all map[string]any) { all[name] = value }
}

// sign makes a token.
func sign(t *testing.T, algorithm jose.SignatureAlgorithm, key any, id string, claims any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: jose.JSONWebKey{Key: key, KeyID: id}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func (s *apiServer) token(edits ...func(map[string]any)) string {
	s.Helper()
	return sign(s.T, jose.ES256, s.ec, "ec", claims(edits...))
}

// checker is one whose keys are known, unless the API server fails.
func (s *apiServer) checker() *callers.Checker {
	s.Helper()
	keys := callers.NewKeys(s.get, clock.RealClock{}, logr.Discard())
	ctx, cancel := context.WithCancel(s.Context())
	s.Cleanup(cancel)
	go keys.Run(ctx)
	synctest.Wait()
	return callers.New(
		callers.Options{
			Audience: audience,
			API:      s.reviews(),
			Keys:     keys,
			Clock:    clock.RealClock{},
			NoAccess: "you lack the verb introspect",
			Access:   authorizationv1.ResourceAttributes{Verb: "introspect", Resource: "capabilitygrants"},
		},
	)
}

// expect looks at what a caller is told; status 0 is that they may.
func expect(t *testing.T, err error, status int, words string) {
	t.Helper()
	var refusal *callers.Refusal
	switch {
	case status == 0 && err != nil:
		t.Errorf("refused: %v", err)
	case status == 0:
	case !errors.As(err, &refusal) || refusal.Status != status || !strings.Contains(refusal.Message, words):
		t.Errorf("it is told %+v; want %d: %s", err, status, words)
	case (status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable) && refusal.RetryAfter <= 0:
		t.Errorf("%d without a time to ask again", status)
	}
}

// TestChecker_ForeignTokensCostTheAPIServerNothing tries what anybody can send.
func TestChecker_ForeignTokensCostTheAPIServerNothing(t *testing.T) {
	other := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	none := func(t *testing.T) string {
		parts := strings.Split(sign(t, jose.ES256, other, "ec", claims()), ".")
		return "eyJhbGciOiJub25lIiwia2lkIjoiZWMifQ." + parts[1] + "."
	}
	for name, token := range map[string]func(t *testing.T) string{
		"none":                    func(*testing.T) string { return "" },
		"no token at all":         func(*testing.T) string { return "let-me-in" },
		"three parts of nothing":  func(*testing.T) string { return "a.b.c" },
		"no signature":            none,
		"a signature of another":  func(t *testing.T) string { return sign(t, jose.ES256, other, "ec", claims()) },
		"a key that nobody knows": func(t *testing.T) string { return sign(t, jose.ES256, other, "new", claims()) },
		"a key without a name":    func(t *testing.T) string { return sign(t, jose.ES256, signers.ec, "", claims()) },
		"a key of another's name": func(t *testing.T) string {
			return sign(t, jose.ES256, signers.ec, "rsa",
				claims())
		},
		"the public key as a secret": func(t *testing.T) string {
			return sign(t, jose.HS256, x509.MarshalPKCS1PublicKey(&signers.rsa.PublicKey), "rsa", claims())
		},
		"for another audience": func(t *testing.T) string {
			return newAPIServer(t).token(with("aud",
				[]string{cluster}))
		},
		"for no audience": func(t *testing.T) string { return newAPIServer(t).token(with("aud", nil)) },
		"of another issuer": func(t *testing.T) string {
			return newAPIServer(t).token(with("iss",
				"https://elsewhere.example.com"))
		},
		"that has expired": func(t *testing.T) string {
			return newAPIServer(t).token(with("exp", time.Now().Add(-time.Minute).Unix()))
		},
		"that is not valid yet": func(t *testing.T) string {
			return newAPIServer(t).token(with("nbf", time.Now().Add(time.Minute).Unix()))
		},
		"that never expires": func(t *testing.T) string { return newAPIServer(t).token(func(c map[string]any) { delete(c, "exp") }) },
		"of a user":          func(t *testing.T) string { return newAPIServer(t).token(with("sub", "alice")) },
		"of an account of no name": func(t *testing.T) string {
			return newAPIServer(t).token(with("sub",
				"system:serviceaccount:agents:"))
		},
		"longer than any": func(t *testing.T) string {
			return newAPIServer(t).token(with("more",
				strings.Repeat("x", 20_000)))
		},
		"changed after it was made": func(t *testing.T) string {
			return strings.Replace(newAPIServer(t).token(), ".",
				".e", 1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newAPIServer(t)
				c, text := s.checker(), token(t)
				before := s.reads.Load()
				for range 3 {
					expect(
						t,
						c.Check(t.Context(), text),
						http.StatusUnauthorized,
						"bring a ServiceAccount token whose audience is this issuer",
					)
				}
				if s.asked.Load() > 0 || s.reads.Load() != before {
					t.Errorf(
						"the API server was asked %d questions, and its keys were read %d times more",
						s.asked.Load(),
						s.reads.Load()-before,
					)
				}
			})
		})
	}
}

// TestChecker_OwnTokensAreReviewed: what the API server says of a token that it signed decides, and is remembered
// for a moment.
func TestChecker_OwnTokensAreReviewed(t *testing.T) {
	type status = authenticationv1.TokenReviewStatus
	for name, row := range map[string]struct {
		server func(*apiServer)
		status int
		words  string
		asked  int32
	}{
		"whoever may": {func(*apiServer) {}, 0, "", 2},
		"whoever may not": {func(s *apiServer) { s.allowed = false }, http.StatusForbidden,
			"you lack the verb introspect", 2},
		"a token that was revoked": {func(s *apiServer) { s.edit = func(r *status) { *r = status{} } },
			http.StatusUnauthorized, "bring a", 1},
		"an audience that nobody checks": {func(s *apiServer) { s.edit = func(r *status) { r.Audiences = nil } },
			http.StatusUnauthorized, "bring a", 1},
		"another audience": {func(s *apiServer) { s.edit = func(r *status) { r.Audiences = []string{cluster} } },
			http.StatusUnauthorized, "bring a", 1},
		"another name": {func(s *apiServer) { s.edit = func(r *status) { r.User.Username = "alice" } },
			http.StatusUnauthorized, "bring a", 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newAPIServer(t)
				row.server(s)
				c, token := s.checker(), s.token()
				for range 3 {
					expect(t, c.Check(t.Context(), token), row.status, row.words)
				}
				if got := s.asked.Load(); got != row.asked {
					t.Errorf("the API server was asked %d questions; want %d", got, row.asked)
				}
				time.Sleep(10*time.Second + time.Millisecond)
				expect(t, c.Check(t.Context(), token), row.status, row.words)
				if got := s.asked.Load(); got != 2*row.asked {
					t.Errorf("ten seconds later it was asked %d questions; want %d", got, 2*row.asked)
				}
			})
		})
	}
}

// TestChecker_ATokenHasOneSpelling: another text that means the same would be reviewed anew.
func TestChecker_ATokenHasOneSpelling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newAPIServer(t)
		c, token := s.checker(), s.token()
		expect(t, c.Check(t.Context(), token), 0, "")
		asked := s.asked.Load()
		const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
		last := strings.IndexByte(letters, token[len(token)-1])
		for other := range 64 {
			if spelt := token[:len(token)-1] + letters[other:other+1]; other != last {
				expect(t, c.Check(t.Context(), spelt), http.StatusUnauthorized, "bring a")
			}
		}
		expect(t, c.Check(t.Context(), token+"\n"), http.StatusUnauthorized, "bring a")
		expect(t, c.Check(t.Context(), otherSignature(t, token)), 0, "")
		if got := s.asked.Load(); got != asked {
			t.Errorf("the API server was asked %d questions more", got-asked)
		}
	})
}

// otherSignature is a token with the other signature of P-256 that is as good: of (r, s) that is (r, n-s).
func otherSignature(t *testing.T, token string) string {
	t.Helper()
	at := strings.LastIndexByte(token, '.') + 1
	signature, err := base64.RawURLEncoding.DecodeString(token[at:])
	if err != nil || len(signature) != 64 {
		t.Fatalf("%d bytes are no signature of P-256: %v", len(signature), err)
	}
	s := new(big.Int).SetBytes(signature[32:])
	s.Sub(elliptic.P256().Params().N, s).FillBytes(signature[32:])
	return token[:at] + base64.RawURLEncoding.EncodeToString(signature)
}

func TestChecker_TokensOfRSAKeysAreKnownToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newAPIServer(t)
		expect(t, s.checker().Check(t.Context(), sign(t, jose.RS256, s.rsa, "rsa", claims())), 0, "")
	})
}

// TestChecker_ARememberedTokenExpires although what was said about it is remembered.
func TestChecker_ARememberedTokenExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newAPIServer(t)
		c, token := s.checker(), s.token(with("exp", time.Now().Add(time.Second).Unix()))
		expect(t, c.Check(t.Context(), token), 0, "")
		time.Sleep(12 * time.Second)
		expect(t, c.Check(t.Context(), token), http.StatusUnauthorized, "bring a")
	})
}

// TestChecker_WithoutTheAPIServerNobodyIsLetIn: nothing is remembered of a failure, and its words are not repeated.
func TestChecker_WithoutTheAPIServerNobodyIsLetIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newAPIServer(t)
		c, token := s.checker(), s.token()
		s.reviewsFail = errors.New("cannot review " + token)
		err := c.Check(t.Context(), token)
		expect(t, err, http.StatusServiceUnavailable, "who you are cannot be found out now")
		if strings.Contains(err.Error(), token) {
			t.Error("the token is repeated")
		}
		s.reviewsFail = nil
		expect(t, c.Check(t.Context(), token), 0, "")
	})
	synctest.Test(t, func(t *testing.T) {
		s := newAPIServer(t)
		s.keysFail = errors.New("away")
		c := s.checker()
		for range 1000 {
			expect(
				t,
				c.Check(t.Context(), s.token()),
				http.StatusServiceUnavailable,
				"the API server's token keys could not be read yet",
			)
		}
		if s.reads.Load() > 1 || s.asked.Load() > 0 {
			t.Errorf("its keys were read %d times, and it was asked %d questions", s.reads.Load(), s.asked.Load())
		}
	})
}

// TestChecker_CallersAreHeldToARate: one account's questions, and a namespace's different tokens.
func TestChecker_CallersAreHeldToARate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newAPIServer(t)
		c, token := s.checker(), s.token()
		for range 400 {
			expect(t, c.Check(t.Context(), token), 0, "")
		}
		expect(t, c.Check(t.Context(), token), http.StatusTooManyRequests, "too many questions of "+proxy)
		expect(t, c.Check(t.Context(), s.token(with("sub", "system:serviceaccount:agents:other"))), 0, "")
		time.Sleep(5 * time.Millisecond)
		expect(t, c.Check(t.Context(), token), 0, "")
		expect(t, c.Check(t.Context(), token), http.StatusTooManyRequests, "too many questions of "+proxy)
	})
	synctest.Test(t, func(t *testing.T) {
		s := newAPIServer(t)
		c := s.checker()
		account := func(namespace string, i int) string {
			return s.token(with("sub", fmt.Sprintf("system:serviceaccount:%s:account-%d", namespace, i)))
		}
		first := account("agents", 0)
		expect(t, c.Check(t.Context(), first), 0, "")
		for i := range 199 {
			expect(t, c.Check(t.Context(), account("agents", i+1)), 0, "")
		}
		expect(
			t,
			c.Check(t.Context(), account("agents", 200)),
			http.StatusTooManyRequests,
			"too many different tokens of namespace agents",
		)
		expect(t, c.Check(t.Context(), first), 0, "")
		expect(t, c.Check(t.Context(), account("services", 0)), 0, "")
		if got := s.asked.Load(); got != 402 {
			t.Errorf("the API server was asked %d questions", got)
		}
	})
}

// TestChecker_FewQuestionsAreAskedAtATime: of a token once, however many bring it, and of no more than eight.
func TestChecker_FewQuestionsAreAskedAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newAPIServer(t)
		s.wait = make(chan struct{})
		c := s.checker()
		gone, cancel := context.WithCancel(t.Context())
		for i := range 8 {
			token := s.token(with("jti", fmt.Sprintf("at-a-time-%d", i)))
			go func() { _ = c.Check(gone, token) }()
			synctest.Wait()
			for range 5 {
				go func() { expect(t, c.Check(t.Context(), token), 0, "") }()
			}
		}
		synctest.Wait()
		cancel()
		if got := s.asked.Load(); got != 8 {
			t.Errorf("%d questions are asked at a time", got)
		}
		expect(t, c.Check(t.Context(), s.token(with("jti", "one-more"))), http.StatusTooManyRequests, "too many callers are being looked at")
		close(s.wait)
		synctest.Wait()
		expect(t, c.Check(t.Context(), s.token()), 0, "")
	})
}

// TestKeys_AreReadByTheClockAlone counts how often they are read, and looks at what is said when they cannot be.
func TestKeys_AreReadByTheClockAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said []string
		s := newAPIServer(t)
		s.keysFail = apierrors.NewForbidden(schema.GroupResource{}, "", errors.New("no"))
		keys := callers.NewKeys(
			s.get,
			clock.RealClock{},
			funcr.New(func(_, line string) { said = append(said, line) }, funcr.Options{}),
		)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go keys.Run(ctx)
		c := callers.New(callers.Options{Audience: audience, API: s.reviews(), Keys: keys, Clock: clock.RealClock{},
			Access: authorizationv1.ResourceAttributes{Verb: "introspect"}})
		time.Sleep(10 * time.Minute)
		if n := s.reads.Load(); n > 15 {
			t.Errorf("in ten minutes of failures, they were asked for %d times", n)
		}
		if len(said) != 1 ||
			!strings.Contains(said[0], "bind it the ClusterRole system:service-account-issuer-discovery") {
			t.Errorf("the log says %q", said)
		}
		s.keysFail = nil
		time.Sleep(time.Minute)
		expect(t, c.Check(t.Context(), s.token()), 0, "")
		s.keysFail = errors.New("away")
		time.Sleep(time.Hour)
		expect(t, c.Check(t.Context(), s.token()), 0, "")
		s.keysFail, s.ec = nil, must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
		expect(t, c.Check(t.Context(), s.token()), http.StatusUnauthorized, "bring a")
		time.Sleep(time.Minute)
		expect(t, c.Check(t.Context(), s.token()), 0, "")
		before := s.reads.Load()
		time.Sleep(time.Hour)
		if n := s.reads.Load() - before; n != 120 {
			t.Errorf("in an hour they are read by %d requests; want 120", n)
		}
		if slices.ContainsFunc(said, func(line string) bool { return strings.Contains(line, "eyJ") }) {
			t.Errorf("a token stands in the log: %q", said)
		}
	})
}

// TestKeys_WhatIsNoKeySetIsNotTaken leaves what was known before.
func TestKeys_WhatIsNoKeySetIsNotTaken(t *testing.T) {
	for name, answers := range map[string]map[string]string{
		"no issuer": {"/.well-known/openid-configuration": `{}`},
		"no keys":   {"/openid/v1/jwks": `{"keys":[]}`},
		"no JSON":   {"/openid/v1/jwks": `<html>`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newAPIServer(t)
				get := func(ctx context.Context, path string) ([]byte, error) {
					if text, ok := answers[path]; ok {
						return []byte(text), nil
					}
					return s.get(ctx, path)
				}
				keys := callers.NewKeys(get, clock.RealClock{}, logr.Discard())
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				go keys.Run(ctx)
				synctest.Wait()
				c := callers.New(
					callers.Options{Audience: audience, API: s.reviews(), Keys: keys, Clock: clock.RealClock{}},
				)
				expect(t, c.Check(t.Context(), s.token()), http.StatusServiceUnavailable, "could not be read yet")
				clear(answers)
				time.Sleep(time.Minute)
				synctest.Wait()
				if errors.As(c.Check(t.Context(), s.token()), new(*callers.Refusal)) && s.asked.Load() == 0 {
					t.Error("they are not read again")
				}
			})
		})
	}
}
