// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"k8s.io/utils/clock"

	"github.com/valetkey/valetkey/internal/callers"
)

// The paths below the issuer's URL.
const (
	discoveryPath  = "/.well-known/openid-configuration"
	keysPath       = "/jwks"
	introspectPath = "/introspect"
	// longestBody bounds what is read of a question.
	longestBody = 64 << 10
)

// algorithms that a token may be signed with.
var algorithms = []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.ES384, jose.ES512}

// errNotOurs: the token is none that this issuer signed.
var errNotOurs = errors.New("the token is not this issuer's")

// verify returns the claims of a token that this issuer signed, whether or not it has expired. Any error but errNotOurs means that it
// could not be found out.
func (t *Provider) verify(ctx context.Context, text string) (Claims, error) {
	payload, err := t.payload(ctx, text)
	if err != nil {
		return Claims{}, err
	}
	var c Claims
	if json.Unmarshal(payload, &c) != nil || c.Issuer != t.options.Issuer {
		return Claims{}, errNotOurs
	}
	return c, nil
}

// says reports whether a token that this issuer signed says exactly the claims: a claim that was not asked for could
// be one that a service goes by.
func (t *Provider) says(ctx context.Context, text string, claims Claims) bool {
	payload, err := t.payload(ctx, text)
	if err != nil {
		return false
	}
	asked, err := json.Marshal(claims)
	var got, want any
	return err == nil && json.Unmarshal(payload, &got) == nil && json.Unmarshal(asked, &want) == nil &&
		reflect.DeepEqual(got, want)
}

// payload is what a token says that one of the signer's keys signed.
func (t *Provider) payload(ctx context.Context, text string) ([]byte, error) {
	signed, err := jose.ParseSignedCompact(text, algorithms)
	if err != nil || len(signed.Signatures) != 1 {
		return nil, errNotOurs
	}
	keys, err := t.options.Signer.Keys(ctx)
	if err != nil {
		return nil, err
	}
	for _, key := range keys.Key(signed.Signatures[0].Header.KeyID) {
		if payload, err := signed.Verify(key); err == nil {
			return payload, nil
		}
	}
	return nil, errNotOurs
}

// Authorize returns nil if whoever brings a bearer token may ask about tokens. What they are answered if not is a
// *callers.Refusal.
type Authorize func(ctx context.Context, bearer string) error

// Handler serves discovery and keys to everybody, and introspection to those who may.
func (t *Provider) Handler(authorize Authorize) http.Handler {
	mux := http.NewServeMux()
	keys := remember(t.options.Clock, t.options.Signer.Keys)
	mux.HandleFunc("GET "+discoveryPath, func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{
			"issuer": t.options.Issuer, "jwks_uri": t.options.Issuer + keysPath, "introspection_endpoint": t.options.Issuer + introspectPath,
			"response_types_supported": []string{"none"}, "subject_types_supported": []string{"public"},
			"id_token_signing_alg_values_supported": algorithms,
		})
	})
	mux.HandleFunc("GET "+keysPath, func(w http.ResponseWriter, r *http.Request) {
		set, err := keys(r.Context())
		if err != nil {
			refuse(w, later("the keys cannot be read now"))
			return
		}
		answer(w, set)
	})
	mux.HandleFunc("POST "+introspectPath, func(w http.ResponseWriter, r *http.Request) {
		if err := authorize(r.Context(), bearerOf(r)); err != nil {
			refuse(w, err)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, longestBody)
		text := r.PostFormValue("token")
		if text == "" {
			http.Error(w, "send the token as the form's field token (RFC 7662)", http.StatusBadRequest)
			return
		}
		t.introspect(w, r, text)
	})
	return mux
}

// introspection is RFC 7662's answer; of a token that is not active, nothing but that is said.
type introspection struct {
	Active bool `json:"active"`
	*Claims
	TokenType string `json:"token_type,omitempty"`
}

func (t *Provider) introspect(w http.ResponseWriter, r *http.Request, text string) {
	claims, err := t.verify(r.Context(), text)
	if errors.Is(err, errNotOurs) {
		answer(w, introspection{})
		return
	}
	lives := false
	if now := t.options.Clock.Now().Unix(); err == nil && claims.NotBefore <= now && now < claims.ExpiresAt {
		lives, err = t.options.Lives(r.Context(), Grant{Namespace: claims.Namespace, Name: claims.Grant, Lease: claims.Lease, Session: claims.ID})
	}
	switch {
	case err != nil:
		// Whoever asks is not told that it is active, and can ask again.
		refuse(w, later("whether the token is active cannot be found out now"))
	case lives:
		answer(w, introspection{Active: true, Claims: &claims, TokenType: "Bearer"})
	default:
		answer(w, introspection{})
	}
}

// keysLast is how long the published keys are remembered: everybody may ask for them, and an external signer would
// be asked each time.
const keysLast = 5 * time.Second

// readKeys returns the public keys of a signer.
type readKeys = func(context.Context) (jose.JSONWebKeySet, error)

// remember has the signer say its keys once for all that ask at a time, and a failure too is believed for that long.
func remember(clock clock.PassiveClock, read readKeys) readKeys {
	var mu sync.Mutex
	var set jose.JSONWebKeySet
	var problem error
	var until time.Time
	return func(ctx context.Context) (jose.JSONWebKeySet, error) {
		mu.Lock()
		defer mu.Unlock()
		if now := clock.Now(); !now.Before(until) {
			// Others wait for the answer too. The signer bounds how long it takes.
			set, problem = read(context.WithoutCancel(ctx))
			until = now.Add(keysLast)
		}
		return set, problem
	}
}

// later is what whoever may help by asking again is told.
func later(problem string) *callers.Refusal {
	return &callers.Refusal{Status: http.StatusServiceUnavailable, RetryAfter: time.Second, Message: problem +
		"; ask again"}
}

// refuse answers in words, and says when to ask again where that is known.
func refuse(w http.ResponseWriter, err error) {
	refusal := &callers.Refusal{Status: http.StatusServiceUnavailable, Message: err.Error()}
	errors.As(err, &refusal)
	if refusal.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	if refusal.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(refusal.RetryAfter.Seconds()))))
	}
	http.Error(w, refusal.Message, refusal.Status)
}

func answer(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(body) // whoever asked has gone
}

// bearerOf is the token that a request brings; empty when it brings none.
func bearerOf(r *http.Request) string {
	kind, value, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(kind, "Bearer") {
		return ""
	}
	return value
}
