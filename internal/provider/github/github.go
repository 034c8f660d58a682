// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package github issues tokens of a GitHub App's installation, for one repository and a list of permissions. The App's key stays with a
// signer. A token is ended by itself alone: GitHub has no other way to end one.
package github

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"k8s.io/utils/clock"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/internal/provider/outbound"
	"github.com/valetkey/valetkey/internal/signer"
)

const (
	// tokenTime is how long GitHub's tokens live, whatever is asked for.
	tokenTime = time.Hour
	// askingTime is what may pass between the beginning of an attempt and GitHub's answer.
	askingTime = time.Minute
	// proofTime is how long the App's proof is good: GitHub takes none for more than ten minutes. So long can GitHub issue
	// for a question that was held up.
	proofTime = 8 * time.Minute
	// clockSkew is how far the clocks of GitHub and operator may be apart before an expiry is not believed.
	clockSkew = 10 * time.Minute
	// OwnAPI is GitHub's own.
	OwnAPI = "https://api.github.com"
)

// Options of the back end. All but Outbound are required.
type Options struct {
	// APIs that providers may name, beside GitHub's own.
	APIs []string
	// Outbound says how APIs are reached.
	Outbound outbound.Settings
	// Signers by the names that providers know them by.
	Signers map[string]signer.Signer
	// Clock is the present time.
	Clock clock.PassiveClock
}

// Provider is the back end.
type Provider struct {
	options Options

	mu sync.Mutex
	// attempts that this process made, by their sessions.
	attempts map[string]*attempt
}

// attempt is what is known of one session.
type attempt struct {
	// token is nil when there is none, or none any more.
	token *token
	// over is when it works no more in any case.
	over time.Time
	// ended: nothing that was issued for it works.
	ended bool
}

// token is an installation's token, and the API that accepts it. It cannot be printed.
type token struct {
	provider.Unprintable
	reveal func() string
	api    api
	// since is when it was answered.
	since time.Time
}

// New makes the back end.
func New(o Options) *Provider { return &Provider{options: o, attempts: map[string]*attempt{}} }

// Type names the back end.
func (*Provider) Type() string { return provider.TypeGitHub }

// CheckProvider refuses APIs and signers that the operator was not started with: what proves to be the App is sent nowhere else. A
// caBundle that cannot be read is refused, too.
func (g *Provider) CheckProvider(p *v1alpha1.CapabilityProvider) error {
	if p.Spec.GitHub == nil {
		return &provider.NotReadyError{Reason: v1alpha1.ReasonProviderNotReady, Message: fmt.Sprintf("provider %q has no spec.github", p.Name)}
	}
	if api := p.Spec.GitHub.APIURL; !outbound.IsOneOf(append([]string{OwnAPI}, g.options.APIs...), api) {
		return &provider.NotReadyError{Reason: v1alpha1.ReasonEndpointNotAllowed,
			Message: fmt.Sprintf("API %s is not allowed; start the operator with --github-api=%s", api, api)}
	}
	if name := p.Spec.GitHub.Signer; g.options.Signers[name] == nil {
		return &provider.NotReadyError{Reason: v1alpha1.ReasonSignerNotAllowed,
			Message: fmt.Sprintf("there is no signer %q; start the operator with --signer=%s=/path/to/the/key.pem", name, name)}
	}
	if err := outbound.CheckBundle(p.Spec.GitHub.CABundle); err != nil {
		return &provider.NotReadyError{Reason: v1alpha1.ReasonProviderNotReady, Message: err.Error()}
	}
	return nil
}

// CheckCapability looks at the scope. What the installation may give is GitHub's to say, when it is asked.
func (*Provider) CheckCapability(_ context.Context, c *v1alpha1.Capability, p *v1alpha1.CapabilityProvider) error {
	if c.Spec.GitHub == nil {
		return &provider.NotReadyError{Reason: v1alpha1.ReasonProviderNotReady,
			Message: fmt.Sprintf("the capability has no spec.github, but its provider %q is of GitHub", p.Name)}
	}
	if _, err := permissions(c); err != nil {
		return &provider.NotReadyError{Reason: v1alpha1.ReasonScopeInvalid, Message: err.Error()}
	}
	return nil
}

// Render shows each permission on the request's repository.
func (*Provider) Render(_ context.Context, c *v1alpha1.Capability, v provider.Values) (provider.Scope, error) {
	w, err := render(c, v)
	if err != nil {
		return provider.Scope{}, err
	}
	return w.scope(), nil
}

// Lifetime is an hour, and the time until GitHub can issue. A grant that is longer ends with its token.
func (*Provider) Lifetime(provider.Lease) (time.Duration, bool) {
	return tokenTime + askingTime + proofTime, true
}

// Handle is not needed: without the token nothing ends it.
func (*Provider) Handle(provider.Lease) string { return "" }

// Issue asks GitHub, once.
func (g *Provider) Issue(ctx context.Context, l provider.Lease) (*provider.Credential, error) {
	if err := g.CheckProvider(l.Provider); err != nil {
		return nil, refused(err)
	}
	wanted, err := render(l.Capability, l.Values)
	if err != nil {
		return nil, refused(err)
	}
	settings, now := l.Provider.Spec.GitHub, g.options.Clock.Now()
	// GitHub takes the App's own token for ten minutes at the most, and allows for a clock that is a minute ahead.
	proof, err := g.options.Signers[settings.Signer].Sign(ctx, map[string]any{
		"iss": strconv.FormatInt(settings.AppID, 10), "iat": now.Add(-time.Minute).Unix(), "exp": now.Add(proofTime).Unix(),
	})
	if err != nil {
		return nil, provider.NotAsked(provider.Retryable, err.Error())
	}
	mine := g.begin(l.Session(), now)
	at := api{url: settings.APIURL, bundle: settings.CABundle, outbound: g.options.Outbound, about: about(settings, wanted)}
	answer, err := at.issue(ctx, settings.InstallationID, proof, wanted)
	if err != nil {
		if provider.IsRefused(err) {
			g.end(mine)
		}
		return nil, err
	}
	if answer.token() == proof {
		// With it, its holder would be the App. What GitHub issued, if it did, is not known, and works until it expires.
		return nil, answer.unused("the proof that it was sent, and not with a token")
	}
	t := &token{api: at, reveal: answer.token, since: g.options.Clock.Now()}
	if answer.token() != "" {
		g.hold(mine, t, answer.expires())
	}
	if problem := answer.believable(wanted, now); problem != nil {
		// What is not what was asked for is given to nobody, and ended if GitHub does that.
		cleanUp, cancel := provider.CleanUp(ctx)
		defer cancel()
		if answer.token() == "" {
			return nil, problem
		}
		err := t.end(cleanUp, g.options.Clock.Now())
		if err == nil {
			g.end(mine)
		}
		return nil, problem.Leaving(provider.StillWorks(err))
	}
	return t.credential(settings, l.Capability.Spec.GitHub.Delivery, wanted, answer.expires(), proof)
}

// refused: GitHub was not even asked.
func refused(err error) error {
	return provider.NotAsked(provider.Final, err.Error())
}

// begin remembers an attempt, and forgets those that are over.
func (g *Provider) begin(session string, now time.Time) *attempt {
	g.mu.Lock()
	defer g.mu.Unlock()
	for name, a := range g.attempts {
		if now.After(a.over) {
			delete(g.attempts, name)
		}
	}
	a := &attempt{over: now.Add(tokenTime + clockSkew)}
	g.attempts[session] = a
	return a
}

// hold remembers a token as long as it works.
func (g *Provider) hold(a *attempt, t *token, expires time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	a.token = t
	if expires.After(a.over) {
		a.over = expires
	}
}

func (g *Provider) end(a *attempt) {
	g.mu.Lock()
	defer g.mu.Unlock()
	a.token, a.ended = nil, true
}

// known is what this process knows of a session; false when that is nothing.
func (g *Provider) known(session string) (*attempt, *token, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	a := g.attempts[session]
	if a == nil {
		return nil, nil, false
	}
	return a, a.token, a.ended
}

// Revoke has each token end itself, and asks GitHub whether it still accepts it. A token that another process of the operator was given
// is not known here, and works until it expires.
func (g *Provider) Revoke(ctx context.Context, i provider.Issued) (provider.Revoked, error) {
	stays := provider.EndAll(i.Sessions(), func(session string) error {
		a, t, ended := g.known(session)
		if ended || t == nil {
			return nil
		}
		if err := t.end(ctx, g.options.Clock.Now()); err != nil {
			return err
		}
		g.end(a)
		return nil
	})
	if stays != nil {
		return provider.Revoked{}, stays
	}
	mode := v1alpha1.RevocationImmediate
	if slices.ContainsFunc(i.Open(), func(session string) bool { _, _, ended := g.known(session); return !ended }) {
		mode = v1alpha1.RevocationAtExpiry
	}
	return provider.Revoked{Mode: mode}, nil
}
