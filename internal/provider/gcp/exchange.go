// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package gcp

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"cloud.google.com/go/auth/credentials/downscope"
	"cloud.google.com/go/auth/credentials/externalaccount"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/identity"
	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/internal/provider/outbound"
)

// Google's own hosts, by which its library knows them.
const (
	stsHost = "sts.googleapis.com"
	iamHost = "iamcredentials.googleapis.com"
)

// exchange has Google's library ask for a federated token, for the service account's, and for the narrowed one. It remembers nothing.
func (g *Provider) exchange(ctx context.Context, p *v1alpha1.GCPProvider, n narrowing, subject identity.Token, l provider.Lease) (*token, error) {
	client, err := g.options.Outbound.Client(p.CABundle, outbound.JSON, ownErrors)
	if err != nil {
		return nil, refused(err)
	}
	// The calls stand before it, and do not close what it holds.
	next := *client
	defer next.CloseIdleConnections()
	c := &calls{seen: []func() string{subject.Reveal}, next: next.Transport,
		reason: l.Session(), scopes: n.scopes, ttl: l.TTL, now: g.options.Clock.Now,
		to: map[string]string{stsHost: p.STSEndpoint, iamHost: p.IAMCredentialsEndpoint}}
	client.Transport = c
	// The library would log every token where an environment variable tells it to.
	silent := slog.New(slog.DiscardHandler)
	account, err := externalaccount.NewCredentials(&externalaccount.Options{
		Audience: "//iam.googleapis.com/" + p.WorkloadIdentityProvider, SubjectTokenType: "urn:ietf:params:oauth:token-type:jwt",
		SubjectTokenProvider: supplier(subject.Reveal), Scopes: n.scopes, Client: client, Logger: silent,
		ServiceAccountImpersonationURL:             "https://" + iamHost + "/v1/projects/-/serviceAccounts/" + url.PathEscape(n.account) + ":generateAccessToken",
		ServiceAccountImpersonationLifetimeSeconds: int(l.TTL / time.Second),
	})
	if err != nil {
		return nil, refused(errors.New("the provider is not one that Google's library accepts"))
	}
	if len(n.rules) > 0 {
		account, err = downscope.NewCredentials(&downscope.Options{Credentials: account, Rules: n.rules, Client: client, Logger: silent})
		if err != nil {
			return nil, refused(errors.New("the boundary is not one that Google's library accepts"))
		}
	}
	answer, err := account.Token(ctx)
	if err != nil {
		return nil, c.failure()
	}
	return &token{reveal: func() string { return answer.Value }, sent: c.sent, expires: answer.Expiry, works: c.works(0), whole: c.works(1).Until,
		bearer: strings.EqualFold(answer.Type, "Bearer")}, nil
}

// supplier gives the library the identity's token.
type supplier func() string

func (s supplier) SubjectToken(context.Context, *externalaccount.RequestOptions) (string, error) {
	return s(), nil
}

// calls are those of one attempt. They go to Google or to where an administrator allowed instead, and nowhere else; and they remember what
// was answered last, which the library tells in words alone.
type calls struct {
	next http.RoundTripper
	// to are the endpoints for Google's hosts; empty is Google itself.
	to map[string]string
	// reason stands in Google's audit log.
	reason string
	// scopes that the token is to have.
	scopes []string
	// ttl is for how long it is asked for, and now the present time.
	ttl time.Duration
	now func() time.Time

	// seen are the tokens that were sent or answered so far: each call's answer is sent by the next.
	seen []func() string

	made   int
	status int
	// code of the last answer, if it is an error in Google's form; empty if it is not.
	code string
	wait time.Duration
	// unsent says why nothing was sent by the last call; empty when something may have been.
	unsent string
	// unread says why nothing is read of the last answer; empty when it was read, or there was none.
	unread string
	// answered is until when what each call was answered works.
	answered []provider.Works
	// more is set when an answer says more of a token than was asked for, or is a token that was there before.
	more bool
}

// sent are all tokens but the last, which is the answer.
func (c *calls) sent() []string {
	var all []string
	for _, token := range c.seen[:len(c.seen)-1] {
		all = append(all, token())
	}
	return all
}

// works is until when all works that was answered to a call, and to those behind it.
func (c *calls) works(from int) (all provider.Works) {
	for _, one := range c.answered[min(from, len(c.answered)):] {
		all = all.And(one)
	}
	return all
}

// longestFederated is more than a federated token lives.
const longestFederated = 24 * time.Hour

// longestRefusal bounds what is read of a refusal, for its code.
const longestRefusal = 16 << 10

// errMore stands for an answer that is given to nobody.
var errMore = errors.New("the answer is not what was asked for")

// RoundTrip sends one call.
func (c *calls) RoundTrip(r *http.Request) (*http.Response, error) {
	c.made++
	c.status, c.code, c.wait, c.unsent, c.unread = 0, "", 0, "", ""
	endpoint, known := c.to[r.URL.Host]
	if !known {
		return nil, errors.New("no host of Google's that is asked")
	}
	out := r.Clone(r.Context())
	out.Header.Set("X-Goog-Request-Reason", c.reason)
	if endpoint != "" {
		u, err := url.Parse(endpoint)
		if err != nil {
			return nil, errors.New("the endpoint is no URL")
		}
		out.URL.Scheme, out.URL.Host, out.Host = u.Scheme, u.Host, ""
	}
	response, err := c.next.RoundTrip(out)
	if err != nil {
		c.unsent, c.unread = outbound.Unsent("Google", err), outbound.Unread("Google", err)
		return nil, err
	}
	c.status, c.wait = response.StatusCode, outbound.RetryAfter(response.Header)
	if response.StatusCode >= http.StatusBadRequest {
		body, _ := io.ReadAll(io.LimitReader(response.Body, longestRefusal))
		_ = response.Body.Close()
		c.code = codeOf(r.URL.Host, body)
		// The library would make its error of Google's words.
		response.Body = io.NopCloser(strings.NewReader("{}"))
		return response, nil
	}
	if err := c.believe(r.URL.Host, response); err != nil {
		return nil, err
	}
	return response, nil
}

// believe reads an answer, and refuses one that says more than was asked for, or that is what was sent: a token that
// was not narrowed would pass for the narrowed one. The federated token, which only impersonates, is for all of
// Google's scopes.
func (c *calls) believe(host string, response *http.Response) error {
	body, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if err != nil {
		c.unread = outbound.Unread("Google", err)
		return err
	}
	scopes, most := c.scopes, c.ttl+clockSkew
	if c.made == 1 {
		// It lives as long as Google wants: nobody is given it.
		scopes, most = []string{wholeAccount}, longestFederated
	}
	token := tokenIn(host, body)
	works := worksUntil(host, body, c.now())
	c.answered = append(c.answered, works)
	repeated := slices.ContainsFunc(c.seen, func(before func() string) bool { return token != "" && before() == token })
	if repeated || works.Until.After(c.now().Add(most)) || !asAsked(host, body, scopes, most) {
		c.more = true
		return errMore
	}
	c.seen = append(c.seen, func() string { return token })
	response.Body = io.NopCloser(bytes.NewReader(body))
	return nil
}

// failure sorts what went wrong by the status and the code that Google answered to the last call. Not one word of an answer is repeated.
func (c *calls) failure() error {
	what := [...]string{"asking Google", "exchanging the identity's token", "impersonating the service account", "narrowing the token"}[min(c.made, 3)]
	var e *provider.Error
	switch {
	case c.more:
		return provider.Mismatched(provider.Final, c.works(0), what+": Google answered with a token of another kind, "+
			"for other scopes or for another time than was asked for, with the one that it was sent, "+
			"or with something that this version of Valetkey does not know; it is not used")
	case c.unsent != "":
		e = provider.NotAsked(provider.Retryable, what+": "+c.unsent)
	case c.unread != "" || c.status != 0 && c.status < http.StatusMultipleChoices:
		return provider.Mismatched(provider.Retryable, c.works(0).And(provider.Works{Unknown: true}),
			what+": "+cmp.Or(c.unread, "Google's answer is not in a form that can be read"))
	case c.status < http.StatusBadRequest:
		e = provider.Unanswered(provider.Retryable, what+": Google did not answer, or not in a form that can be read")
	default:
		e = c.refusal(what)
	}
	if c.made >= 3 {
		// A token that could not be narrowed was issued, and is nobody's.
		e = e.Leaving(c.works(1))
	}
	e.RetryAfter = c.wait
	return e
}

// refusal sorts an error that Google answered.
func (c *calls) refusal(what string) *provider.Error {
	own := c.code != ""
	refuses := outbound.Refuses(c.status, own)
	switch {
	case c.status == http.StatusTooManyRequests || c.code == "RESOURCE_EXHAUSTED":
		return provider.Refused(provider.Throttled, refuses, what+": Google throttles")
	case !refuses:
		return provider.Unanswered(provider.Retryable, what+": "+outbound.Unproven("Google", c.status, own))
	default:
		class, words := verdict(c.made, c.code)
		return provider.Refused(class, refuses, fmt.Sprintf("%s: Google refused, status %d: %s", what, c.status, words))
	}
}
