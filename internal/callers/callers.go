// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package callers finds out whether whoever calls an endpoint of the operator may, by the ServiceAccount token that
// they bring. The API server is asked about tokens that it signed itself, for this endpoint, and about nobody else.
// What it said is remembered for a moment.
package callers

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/sync/singleflight"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	utilcache "k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// remembered is how long it is believed what the API server said about a token and its owner's right.
	remembered = 10 * time.Second
	// mostRemembered bounds how many tokens' answers are remembered, by digest.
	mostRemembered = 4096
	// mostReviews is how many questions about tokens are put to the API server at a time.
	mostReviews = 8
	// reviewTime bounds how long the API server is waited for.
	reviewTime = 10 * time.Second
	// soon is when whoever could not be answered now should ask again.
	soon = time.Second
)

// Refusal says why somebody is not let in.
type Refusal struct {
	// Status of HTTP.
	Status int
	// Message is what they are told.
	Message string
	// RetryAfter is when it may help to ask again; 0 when that is not known.
	RetryAfter time.Duration
}

// Error is the message.
func (r *Refusal) Error() string { return r.Message }

var (
	errNoToken = &Refusal{Status: http.StatusUnauthorized,
		Message: "bring a ServiceAccount token whose audience is this issuer"}
	errUnknown = &Refusal{Status: http.StatusServiceUnavailable, RetryAfter: soon,
		Message: "who you are cannot be found out now; ask again"}
	errNoKeys = &Refusal{Status: http.StatusServiceUnavailable, RetryAfter: soon,
		Message: "who you are cannot be found out now: the API server's token keys could not be read yet; ask again"}
	errBusy = &Refusal{Status: http.StatusTooManyRequests, RetryAfter: soon,
		Message: "too many callers are being looked at; ask again"}
)

// Options of a Checker.
type Options struct {
	// Audience that tokens must be for.
	Audience string
	// Access is what callers must be allowed to do, and NoAccess what whoever is not is told.
	Access   authorizationv1.ResourceAttributes
	NoAccess string
	// API creates TokenReviews and SubjectAccessReviews.
	API client.Writer
	// Keys that the API server signs tokens with.
	Keys *Keys
	// Clock is the present time.
	Clock clock.PassiveClock
}

// Checker is safe for concurrent use.
type Checker struct {
	options Options
	// answers holds the refusal of a token, or nil, by the digest of what the token says. No token is kept.
	answers  *utilcache.LRUExpireCache
	flights  singleflight.Group
	reviews  *semaphore.Weighted
	requests *rates
	reviewed *rates
}

// New makes a Checker.
func New(o Options) *Checker {
	return &Checker{
		options: o, answers: utilcache.NewLRUExpireCacheWithClock(mostRemembered, o.Clock),
		reviews: semaphore.NewWeighted(mostReviews), requests: newRates(requestRate, requestBurst, o.Clock),
		reviewed: newRates(reviewRate, reviewBurst, o.Clock),
	}
}

// Check returns nil if whoever brings the token may call, or else a Refusal.
func (c *Checker) Check(ctx context.Context, token string) error {
	if refusal := c.check(ctx, token); refusal != nil {
		return refusal
	}
	return nil
}

func (c *Checker) check(ctx context.Context, token string) *Refusal {
	known := c.options.Keys.known.Load()
	if token == "" {
		return errNoToken
	}
	if known == nil {
		return errNoKeys
	}
	who, ok := known.read(token, c.options.Audience, c.options.Clock.Now())
	if !ok || !oneSpelling(token) {
		return errNoToken
	}
	if wait := c.requests.take(who.username); wait > 0 {
		return tooMany("questions of "+who.username, wait)
	}
	// A token is what was signed: whoever has one can write an ECDSA signature in two ways, and both are good.
	digest := sha256.Sum256([]byte(token[:strings.LastIndexByte(token, '.')]))
	key := string(digest[:])
	if answer, known := c.answers.Get(key); known {
		return answer.(*Refusal)
	}
	answer, _, _ := c.flights.Do(key, func() (any, error) { return c.review(ctx, key, token, who), nil })
	return answer.(*Refusal)
}

// oneSpelling reports whether a token is written as whoever signed it writes it. The last character of Base64 has bits that
// mean nothing: with others there it would be another text, and be reviewed anew.
func oneSpelling(token string) bool {
	for part := range strings.SplitSeq(token, ".") {
		if _, err := base64.RawURLEncoding.Strict().DecodeString(part); err != nil || strings.ContainsAny(part, "\r\n") {
			return false
		}
	}
	return true
}

func tooMany(what string, wait time.Duration) *Refusal {
	return &Refusal{Status: http.StatusTooManyRequests, RetryAfter: wait,
		Message: fmt.Sprintf("too many %s; ask again", what)}
}

// review asks the API server, and remembers what it said.
func (c *Checker) review(ctx context.Context, key, token string, who caller) *Refusal {
	if wait := c.reviewed.take(who.namespace); wait > 0 {
		return tooMany("different tokens of namespace "+who.namespace, wait)
	}
	if !c.reviews.TryAcquire(1) {
		return errBusy
	}
	defer c.reviews.Release(1)
	// Others wait for the same answer: it does not depend on whether the first that asked still does.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), reviewTime)
	defer cancel()
	refusal, err := c.ask(ctx, token, who)
	if err != nil {
		return errUnknown
	}
	c.answers.Add(key, refusal, min(remembered, who.expires.Sub(c.options.Clock.Now())))
	return refusal
}

// ask has the API server look at the token, and at what its owner may do.
func (c *Checker) ask(ctx context.Context, token string, who caller) (*Refusal, error) {
	audience := c.options.Audience
	review := &authenticationv1.TokenReview{
		Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: []string{audience}}}
	if err := c.options.API.Create(ctx, review); err != nil {
		return nil, errors.New("the API server did not look at the token") // its own words could repeat it
	}
	// An API server that knows no audiences says nothing of them, and has not looked whether the token is for this one.
	said, user := review.Status, review.Status.User
	if !said.Authenticated || !slices.Contains(said.Audiences, audience) || user.Username != who.username {
		return errNoToken, nil
	}
	access := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: user.Username, UID: user.UID, Groups: user.Groups, Extra: map[string]authorizationv1.ExtraValue{},
		ResourceAttributes: &c.options.Access,
	}}
	for key, values := range user.Extra {
		access.Spec.Extra[key] = authorizationv1.ExtraValue(values)
	}
	if err := c.options.API.Create(ctx, access); err != nil {
		return nil, err
	}
	if !access.Status.Allowed {
		return &Refusal{Status: http.StatusForbidden, Message: c.options.NoAccess}, nil
	}
	return nil, nil
}
