// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package vault reads secrets that HashiCorp Vault leases: a token of the capability's own ServiceAccount logs in, a token of Vault that
// lives as long as the grant reads the path, and the end of the lease, looked up afterwards, ends the secret.
package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"k8s.io/utils/clock"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/identity"
	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/internal/provider/outbound"
)

// askingTime is what may pass between the beginning of an attempt and Vault's last answer.
const askingTime = time.Minute

// Identities makes tokens of capabilities' ServiceAccounts.
type Identities interface {
	Check(ctx context.Context, capability, account string) error
	Token(ctx context.Context, capability, account, audience string) (identity.Token, error)
}

// Options of the back end. All but Outbound are required.
type Options struct {
	// Addresses that providers may name.
	Addresses []string
	// Audiences that providers may name.
	Audiences []string
	// Outbound says how addresses are reached.
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
func (*Provider) Type() string { return provider.TypeVault }

// CheckProvider refuses addresses and audiences that the operator was not started with: a token is sent nowhere else.
func (v *Provider) CheckProvider(p *v1alpha1.CapabilityProvider) error {
	if p.Spec.Vault == nil {
		return &provider.NotReadyError{Reason: v1alpha1.ReasonProviderNotReady, Message: fmt.Sprintf("provider %q has no spec.vault", p.Name)}
	}
	s := p.Spec.Vault
	if !outbound.IsOneOf(v.options.Addresses, s.Address) {
		return &provider.NotReadyError{Reason: v1alpha1.ReasonEndpointNotAllowed,
			Message: fmt.Sprintf("address %s is not allowed; start the operator with --vault-address=%s", s.Address, s.Address)}
	}
	if !slices.Contains(v.options.Audiences, s.Audience) {
		return &provider.NotReadyError{Reason: v1alpha1.ReasonAudienceNotAllowed,
			Message: fmt.Sprintf("audience %s is not allowed; start the operator with --vault-audience=%s", s.Audience, s.Audience)}
	}
	if err := outbound.CheckBundle(s.CABundle); err != nil {
		return &provider.NotReadyError{Reason: v1alpha1.ReasonProviderNotReady, Message: err.Error()}
	}
	return nil
}

// CheckCapability renders the path for the longest values, and looks for the capability's identity.
func (v *Provider) CheckCapability(ctx context.Context, c *v1alpha1.Capability, p *v1alpha1.CapabilityProvider) error {
	if c.Spec.Vault == nil {
		return &provider.NotReadyError{Reason: v1alpha1.ReasonProviderNotReady,
			Message: fmt.Sprintf("the capability has no spec.vault, but its provider %q is of Vault", p.Name)}
	}
	longest, err := render(c, provider.Longest(c))
	if err == nil {
		err = longest.scope(c.Spec.Vault.Role).Fits()
	}
	if err != nil {
		return &provider.NotReadyError{Reason: v1alpha1.ReasonScopeInvalid, Message: err.Error()}
	}
	return v.options.Identities.Check(ctx, c.Name, c.Spec.Vault.ServiceAccountName)
}

// Render shows the path and what it is asked with. What Vault's role allows at that path is Vault's to say.
func (*Provider) Render(_ context.Context, c *v1alpha1.Capability, values provider.Values) (provider.Scope, error) {
	q, err := render(c, values)
	if err != nil {
		return provider.Scope{}, err
	}
	return q.scope(c.Spec.Vault.Role), nil
}

// Lifetime is the TTL, to which the token is bound that the lease hangs on, and the time that asking takes. How long a
// secret works that its lease does not end is not known before it is there.
func (*Provider) Lifetime(l provider.Lease) (time.Duration, bool) {
	c := l.Capability.Spec.Vault
	return l.TTL + askingTime, c != nil && c.Revocation == v1alpha1.VaultImmediate
}

// handle is what ends a lease when capability and provider are gone. Accessors and lease IDs name tokens and leases, and are neither.
type handle struct {
	Capability string                   `json:"capability"`
	Account    string                   `json:"account"`
	Role       string                   `json:"role"`
	Server     v1alpha1.VaultProvider   `json:"server"`
	Revocation v1alpha1.VaultRevocation `json:"revocation"`
	// Begun are the logins that may still have something to end.
	Begun []login `json:"begun,omitempty"`
}

// login is one attempt's token, and what was leased to it.
type login struct {
	Accessor string `json:"accessor"`
	Lease    string `json:"lease,omitempty"`
}

func (h handle) String() string {
	text, _ := json.Marshal(h) // strings can always be encoded
	return string(text)
}

// Handle keeps what earlier attempts began.
func (*Provider) Handle(l provider.Lease) string {
	c, p := l.Capability.Spec.Vault, l.Provider.Spec.Vault
	if c == nil || p == nil {
		return l.Handle
	}
	h := handle{Capability: l.Capability.Name, Account: c.ServiceAccountName, Role: c.Role, Server: *p, Revocation: c.Revocation}
	if before, err := parse(l.Handle); err == nil {
		h.Begun = before.Begun
	}
	return h.String()
}

func parse(text string) (handle, error) {
	var h handle
	if json.Unmarshal([]byte(text), &h) != nil {
		return h, provider.Unanswered(provider.Final, "the grant's revocation handle cannot be read")
	}
	return h, nil
}

// Issue logs in, has the login's accessor stored, and reads the path with a token that ends when the grant does. What is leased is
// stored before anybody is given it. Whatever fails on the way is ended again, as far as Vault can be reached.
func (v *Provider) Issue(ctx context.Context, l provider.Lease) (*provider.Credential, error) {
	if err := v.CheckProvider(l.Provider); err != nil {
		return nil, refused(err)
	}
	asked, err := render(l.Capability, l.Values)
	if err != nil {
		return nil, refused(err)
	}
	h, err := parse(l.Handle)
	if err != nil {
		return nil, refused(err)
	}
	s, err := v.logIn(ctx, h)
	if e := (*provider.Error)(nil); errors.As(err, &e) && !provider.IsRefused(e) && !provider.IsMismatched(e) {
		// A login that nobody saw has a token, which works as long as Vault's role says.
		return nil, e.Leaving(provider.Works{Unknown: true})
	}
	if err != nil {
		return nil, err
	}
	defer s.close()
	credential, failure := v.read(ctx, s, l, asked, h)
	if failure == nil {
		return credential, nil
	}
	cleanUp, cancel := provider.CleanUp(ctx)
	defer cancel()
	return nil, v.undo(cleanUp, s, l, h, failure)
}

// undo ends the login of an attempt that failed, and with it whatever it was leased. Nothing was issued if Vault refused
// it, and says that the login's token is gone: then the handle is again what it was before.
func (v *Provider) undo(ctx context.Context, s *session, l provider.Lease, before handle, failure *provider.Error) error {
	ending := s.endSelf(ctx)
	if !provider.IsRefused(failure) {
		return failure.Leaving(s.works).Leaving(provider.StillWorks(ending))
	}
	err := provider.Join(ending, v.confirmGone(ctx, before, s.accessor))
	if err == nil && l.Keep(ctx, before.String()) == nil {
		return failure
	}
	return failure.Leaving(s.works).Leaving(provider.StillWorks(err))
}

// confirmGone has another login see to it that Vault knows no token by an accessor.
func (v *Provider) confirmGone(ctx context.Context, h handle, accessor string) error {
	s, err := v.logIn(ctx, h)
	if err != nil {
		return err
	}
	defer s.close()
	return provider.Join(s.endLogin(ctx, login{Accessor: accessor}), s.endSelf(ctx))
}

func (v *Provider) read(ctx context.Context, s *session, l provider.Lease, asked question, h handle) (*provider.Credential, *provider.Error) {
	if s.lifetime < l.TTL {
		return nil, provider.NotAsked(provider.Final, fmt.Sprintf("a token of Vault's role %s lives for %s, which is less than was granted; "+
			"set its token_ttl to the capability's maxTTLSeconds", h.Role, s.lifetime))
	}
	h.Begun = append(slices.Clone(h.Begun), login{Accessor: s.accessor})
	if err := l.Keep(ctx, h.String()); err != nil {
		return nil, provider.NotAsked(provider.Retryable, "the login's accessor could not be stored")
	}
	return v.lease(ctx, s, l, asked, h)
}

// lease has the secret leased to a token of its own, and its lease stored. What is given to nobody is ended.
func (v *Provider) lease(ctx context.Context, s *session, l provider.Lease, asked question, h handle) (*provider.Credential, *provider.Error) {
	child, failure := s.child(ctx, l)
	if failure != nil {
		return nil, failure
	}
	began := v.options.Clock.Now()
	secret, failure := child.ask(ctx, asked)
	if failure != nil {
		return nil, failure
	}
	secret.slow = v.options.Clock.Now().Sub(began)
	credential, err := s.take(l, asked, h.Role, secret, began)
	if err != nil {
		works := secret.answer.works(began, secret.slow).And(s.endUnused(ctx, asked, secret))
		return nil, provider.Mismatched(provider.Final, works, err.Error())
	}
	// The lease's ID is stored in clear, and so only when it is known to tell nothing of the secret.
	h.Begun[len(h.Begun)-1].Lease = secret.lease
	if err := l.Keep(ctx, h.String()); err != nil {
		works := s.endUnused(ctx, asked, secret)
		return nil, provider.Unanswered(provider.Retryable, "what Vault leased could not be stored").Leaving(works)
	}
	return credential, nil
}

// take makes a credential of what was leased, or says why it is not used.
func (s *session) take(l provider.Lease, asked question, role string, leased *secret, began time.Time) (*provider.Credential, error) {
	if leased.problem != nil {
		return nil, leased.problem
	}
	if asked.hasOtherNames(leased, began) {
		return nil, final("what Vault leased at %s is a certificate of another name than was asked for", asked.path)
	}
	credential, err := leased.granted(l, asked, role, began)
	if err != nil {
		return nil, err
	}
	secrets := leased.told(asked.path)
	if provider.Tells(s.accessor, secrets...) {
		return nil, final("what Vault leased stands in the login's accessor, which is stored in clear")
	}
	if provider.Tells(leased.lease, secrets...) {
		return nil, final("what Vault leased stands in its lease's ID, which is stored in clear")
	}
	return credential, nil
}

// endUnused ends the lease of what is given to nobody, and the token beside it, as far as Vault can. What is answered on
// that way works as long as it says.
func (s *session) endUnused(ctx context.Context, asked question, leased *secret) (works provider.Works) {
	cleanUp, cancel := provider.CleanUp(ctx)
	defer cancel()
	if asked.leases(leased.lease) {
		works = provider.StillWorks(s.endLease(cleanUp, leased.lease))
	}
	return works.And(s.endShown(ctx, leased.answer))
}

// granted makes the credential, and says until when it works.
func (s *secret) granted(l provider.Lease, asked question, role string, began time.Time) (*provider.Credential, error) {
	expires := began.Add(min(l.TTL, s.lifetime, s.ends))
	if l.Capability.Spec.Vault.Revocation == v1alpha1.VaultImmediate {
		if err := s.goesOn(began); err != nil {
			return nil, err
		}
	} else {
		// It goes on when its lease ends.
		lifetime, err := s.works(began)
		if err != nil {
			return nil, err
		}
		if lifetime > l.TTL+askingTime {
			return nil, final("what Vault leased at %s works for %s, and cannot be ended before: it is more than was granted; "+
				"shorten what the path's role gives (a mount's max_lease_ttl shortens the lease alone), or grant that much", asked.path, lifetime)
		}
		expires = began.Add(lifetime)
	}
	return s.credential(l.Capability.Spec.Vault, role, expires)
}

// refused: Vault was not even asked.
func refused(err error) error { return provider.NotAsked(provider.Final, err.Error()) }

// final says what is wrong with what was leased, or would be, and is so again.
func final(format string, args ...any) error {
	return &provider.Error{Class: provider.Final, Message: fmt.Sprintf(format, args...)}
}

// Revoke ends every lease and every login that the handle tells of, and succeeds when Vault says of each that there is none of it. A
// lease that Vault cannot end, for its database is down say, is there until it can.
func (v *Provider) Revoke(ctx context.Context, i provider.Issued) (provider.Revoked, error) {
	h, err := parse(i.Handle)
	if err != nil {
		return provider.Revoked{}, err
	}
	mode := v1alpha1.RevocationAtExpiry
	if h.Revocation == v1alpha1.VaultImmediate {
		mode = v1alpha1.RevocationImmediate
	}
	if len(h.Begun) < len(i.Open()) {
		// An attempt was interrupted before anything was known that could be ended: nobody can confirm that it has.
		mode = v1alpha1.RevocationAtExpiry
	}
	if len(h.Begun) == 0 {
		return provider.Revoked{Mode: mode}, nil
	}
	if err := v.CheckProvider(&v1alpha1.CapabilityProvider{Spec: v1alpha1.CapabilityProviderSpec{Vault: &h.Server}}); err != nil {
		return provider.Revoked{}, provider.Again("", err)
	}
	s, err := v.logIn(ctx, h)
	if err != nil {
		return provider.Revoked{}, provider.Again("", err)
	}
	defer s.close()
	stays := provider.EndAll(h.Begun, func(begun login) error { return s.end(ctx, begun) })
	// The token of this call ends by itself if this fails.
	stays = provider.Join(stays, s.endSelf(ctx))
	if stays != nil {
		return provider.Revoked{}, stays
	}
	if slices.ContainsFunc(h.Begun, func(begun login) bool { return begun.Lease == "" }) {
		// The attempt was interrupted. What it may have been leased nobody knows, and so not whether it has ended.
		mode = v1alpha1.RevocationAtExpiry
	}
	return provider.Revoked{Mode: mode}, nil
}
