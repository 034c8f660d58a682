// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package gcp issues access tokens of service accounts of Google Cloud: a token of the capability's own identity is exchanged by workload
// identity federation, the service account is impersonated, and where the capability names parts of buckets, the token is narrowed to them.
package gcp

import (
	"context"
	"fmt"
	"slices"
	"time"

	"k8s.io/utils/clock"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/identity"
	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/internal/provider/outbound"
)

const (
	// askingTime is what may pass between the beginning of an attempt and Google's last answer.
	askingTime = time.Minute
	// lateTime is how long after that Google can issue all the same, for a question that was held up: as long as the
	// federated token is good, an hour as a rule, and the identity's before.
	lateTime = identity.TokenTime + time.Hour
	// audiencePrefix and a provider's resource name are the audience that Google expects in an identity's token.
	audiencePrefix = "https://iam.googleapis.com/"
)

// Identities makes tokens of capabilities' ServiceAccounts.
type Identities interface {
	Check(ctx context.Context, capability, account string) error
	Token(ctx context.Context, capability, account, audience string) (identity.Token, error)
}

// Options of the back end. All but Outbound are required.
type Options struct {
	// Endpoints that providers may name, beside Google's own.
	Endpoints []string
	// Audiences that providers may have.
	Audiences []string
	// Outbound says how endpoints are reached.
	Outbound outbound.Settings
	// Identities makes the tokens.
	Identities Identities
	// Clock is the present time.
	Clock clock.PassiveClock
}

// Provider is the back end.
type Provider struct{ options Options }

// New makes the back end.
func New(o Options) *Provider { return &Provider{options: o} }

// Type names the back end.
func (*Provider) Type() string { return provider.TypeGCP }

// CheckProvider refuses endpoints and audiences that the operator was not started with: a token is sent nowhere else. A
// caBundle that cannot be read is refused, too.
func (g *Provider) CheckProvider(p *v1alpha1.CapabilityProvider) error {
	if p.Spec.GCP == nil {
		return &provider.NotReadyError{Reason: v1alpha1.ReasonProviderNotReady, Message: fmt.Sprintf("provider %q has no spec.gcp", p.Name)}
	}
	for _, endpoint := range []string{p.Spec.GCP.STSEndpoint, p.Spec.GCP.IAMCredentialsEndpoint} {
		if endpoint != "" && !outbound.IsOneOf(g.options.Endpoints, endpoint) {
			return &provider.NotReadyError{Reason: v1alpha1.ReasonEndpointNotAllowed,
				Message: fmt.Sprintf("endpoint %s is not allowed; start the operator with --gcp-endpoint=%s", endpoint, endpoint)}
		}
	}
	if audience := audiencePrefix + p.Spec.GCP.WorkloadIdentityProvider; !slices.Contains(g.options.Audiences, audience) {
		return &provider.NotReadyError{Reason: v1alpha1.ReasonAudienceNotAllowed,
			Message: fmt.Sprintf("audience %s is not allowed; start the operator with --gcp-audience=%s", audience, audience)}
	}
	if err := outbound.CheckBundle(p.Spec.GCP.CABundle); err != nil {
		return &provider.NotReadyError{Reason: v1alpha1.ReasonProviderNotReady, Message: err.Error()}
	}
	return nil
}

// CheckCapability renders the scope for the longest values, and looks for the capability's identity.
func (g *Provider) CheckCapability(ctx context.Context, c *v1alpha1.Capability, p *v1alpha1.CapabilityProvider) error {
	if c.Spec.GCP == nil {
		return &provider.NotReadyError{Reason: v1alpha1.ReasonProviderNotReady,
			Message: fmt.Sprintf("the capability has no spec.gcp, but its provider %q is of Google Cloud", p.Name)}
	}
	longest, err := render(c, provider.Longest(c))
	if err == nil {
		err = longest.scope().Fits()
	}
	if err != nil {
		return &provider.NotReadyError{Reason: v1alpha1.ReasonScopeInvalid, Message: err.Error()}
	}
	return g.options.Identities.Check(ctx, c.Name, c.Spec.GCP.ServiceAccountName)
}

// Render shows the OAuth scopes and the boundary.
func (*Provider) Render(_ context.Context, c *v1alpha1.Capability, v provider.Values) (provider.Scope, error) {
	n, err := render(c, v)
	if err != nil {
		return provider.Scope{}, err
	}
	return n.scope(), nil
}

// Lifetime is the TTL, and the time until Google can issue.
func (*Provider) Lifetime(l provider.Lease) (time.Duration, bool) {
	return l.TTL + askingTime + lateTime, true
}

// Handle is not needed: nothing ends a token of a service account.
func (*Provider) Handle(provider.Lease) string { return "" }

// Issue asks Google, once.
func (g *Provider) Issue(ctx context.Context, l provider.Lease) (*provider.Credential, error) {
	if err := g.CheckProvider(l.Provider); err != nil {
		return nil, refused(err)
	}
	narrowed, err := render(l.Capability, l.Values)
	if err != nil {
		return nil, refused(err)
	}
	settings := l.Provider.Spec.GCP
	token, err := g.options.Identities.Token(ctx, l.Capability.Name, l.Capability.Spec.GCP.ServiceAccountName, audiencePrefix+settings.WorkloadIdentityProvider)
	if err != nil {
		return nil, err
	}
	answer, err := g.exchange(ctx, settings, narrowed, token, l)
	if err != nil {
		return nil, err
	}
	if err := answer.believable(g.options.Clock.Now(), l.TTL); err != nil {
		return nil, err
	}
	return answer.credential(settings, l, narrowed.account)
}

// refused: Google was not even asked.
func refused(err error) error {
	return provider.NotAsked(provider.Final, err.Error())
}

// Revoke cannot: a service account's access token works until it expires.
func (*Provider) Revoke(context.Context, provider.Issued) (provider.Revoked, error) {
	return provider.Revoked{Mode: v1alpha1.RevocationAtExpiry}, nil
}
