// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package aws issues sessions of IAM roles: a token of the capability's own ServiceAccount is exchanged, without any key, by
// AssumeRoleWithWebIdentity, for a session that the rendered scope narrows.
package aws

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
	// minimumSession is the shortest session that STS gives.
	minimumSession = 900 * time.Second
	// askingTime is what may pass between the beginning of an attempt and STS's answer.
	askingTime = time.Minute
	// lateTime is how long after that STS can begin a session all the same, for a question that was held up: as long as
	// the identity's token is good.
	lateTime = identity.TokenTime
)

// Identities makes tokens of capabilities' ServiceAccounts.
type Identities interface {
	Check(ctx context.Context, capability, account string) error
	Token(ctx context.Context, capability, account, audience string) (identity.Token, error)
}

// Options of the back end. All but Outbound are required.
type Options struct {
	// Endpoints that providers may name, beside AWS's own.
	Endpoints []string
	// Audiences that providers may name.
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

// New makes the back end. It reads no environment, no file and no metadata service: the operator holds no key.
func New(o Options) *Provider { return &Provider{options: o} }

// Type names the back end.
func (*Provider) Type() string { return provider.TypeAWS }

// CheckProvider refuses endpoints and audiences that the operator was not started with: a token is sent nowhere else. A
// caBundle that cannot be read, and a region that has no STS of its own, are refused, too.
func (a *Provider) CheckProvider(p *v1alpha1.CapabilityProvider) error {
	if err := a.checkSettings(p); err != nil {
		return err
	}
	if err := checkRegion(p.Spec.AWS); err != nil {
		return &provider.NotReadyError{Reason: v1alpha1.ReasonProviderNotReady, Message: err.Error()}
	}
	return nil
}

// checkSettings is CheckProvider for ending what was issued, in whichever region.
func (a *Provider) checkSettings(p *v1alpha1.CapabilityProvider) error {
	if p.Spec.AWS == nil {
		return &provider.NotReadyError{Reason: v1alpha1.ReasonProviderNotReady, Message: fmt.Sprintf("provider %q has no spec.aws", p.Name)}
	}
	for _, endpoint := range []string{p.Spec.AWS.STSEndpoint, p.Spec.AWS.IAMEndpoint, p.Spec.AWS.ServiceEndpoint} {
		if endpoint != "" && !outbound.IsOneOf(a.options.Endpoints, endpoint) {
			return &provider.NotReadyError{Reason: v1alpha1.ReasonEndpointNotAllowed,
				Message: fmt.Sprintf("endpoint %s is not allowed; start the operator with --aws-endpoint=%s", endpoint, endpoint)}
		}
	}
	if audience := p.Spec.AWS.Audience; !slices.Contains(a.options.Audiences, audience) {
		return &provider.NotReadyError{Reason: v1alpha1.ReasonAudienceNotAllowed,
			Message: fmt.Sprintf("audience %s is not allowed; start the operator with --aws-audience=%s", audience, audience)}
	}
	if err := outbound.CheckBundle(p.Spec.AWS.CABundle); err != nil {
		return &provider.NotReadyError{Reason: v1alpha1.ReasonProviderNotReady, Message: err.Error()}
	}
	return nil
}

// CheckCapability renders the scope for the longest values, and looks for the capability's identity.
func (a *Provider) CheckCapability(ctx context.Context, c *v1alpha1.Capability, p *v1alpha1.CapabilityProvider) error {
	if c.Spec.AWS == nil {
		return &provider.NotReadyError{Reason: v1alpha1.ReasonProviderNotReady,
			Message: fmt.Sprintf("the capability has no spec.aws, but its provider %q is of AWS", p.Name)}
	}
	if _, err := render(c, provider.Longest(c)); err != nil {
		return &provider.NotReadyError{Reason: v1alpha1.ReasonScopeInvalid, Message: err.Error()}
	}
	if err := checkPartition(c.Spec.AWS, p.Spec.AWS); err != nil {
		return &provider.NotReadyError{Reason: v1alpha1.ReasonScopeInvalid, Message: err.Error()}
	}
	return a.options.Identities.Check(ctx, c.Name, c.Spec.AWS.ServiceAccountName)
}

// Render makes the session policy.
func (*Provider) Render(_ context.Context, c *v1alpha1.Capability, v provider.Values) (provider.Scope, error) {
	return render(c, v)
}

// Lifetime is the session's, and the time until STS can begin it.
func (*Provider) Lifetime(l provider.Lease) (time.Duration, bool) {
	return sessionTime(l.TTL) + askingTime + lateTime, true
}

// sessionTime is the TTL, but never less than STS's shortest session.
func sessionTime(ttl time.Duration) time.Duration { return max(ttl, minimumSession) }

// Issue asks STS, once.
func (a *Provider) Issue(ctx context.Context, l provider.Lease) (*provider.Credential, error) {
	if err := a.CheckProvider(l.Provider); err != nil {
		return nil, refused(err)
	}
	scope, err := render(l.Capability, l.Values)
	if err != nil {
		return nil, refused(err)
	}
	settings, capability := l.Provider.Spec.AWS, l.Capability.Spec.AWS
	token, err := a.options.Identities.Token(ctx, l.Capability.Name, capability.ServiceAccountName, settings.Audience)
	if err != nil {
		return nil, err
	}
	asked := assumption{
		region: settings.Region, endpoint: settings.STSEndpoint, role: capability.RoleARN,
		session: l.Session(), policy: scope.Document, token: token, audience: settings.Audience, duration: sessionTime(l.TTL),
		longest: longest(capability.Scope),
	}
	c, err := a.connect(settings.CABundle, ownErrors)
	if err != nil {
		return nil, err
	}
	defer c.close()
	answer, err := c.assume(ctx, asked)
	if err != nil {
		return nil, err
	}
	if err := answer.believable(a.options.Clock.Now(), asked); err != nil {
		return nil, err
	}
	return answer.credential(settings, capability.Delivery, token)
}

// refused: STS was not even asked.
func refused(err error) error {
	return provider.NotAsked(provider.Final, err.Error())
}
