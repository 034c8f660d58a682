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
	"math"
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

// notLeased says of a failure after which nothing is leased, but perhaps a token is there, how long that works.
func (v *Provider) notLeased(l provider.Lease, e *provider.Error) *provider.Error {
	if most, known := v.Lifetime(l); !known && !e.Refused && e.Works == (provider.Works{}) {
		e.Works = provider.WorksUntil(v.options.Clock.Now().Add(most))
	}
	return e
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

// outlived notes that something was leased which goes on when its lease ends: then nothing is confirmed to have ended.
func (h *handle) outlived(is bool) {
	if is {
		h.Revocation = v1alpha1.VaultAtExpiry
	}
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
		h.outlived(before.Revocation == v1alpha1.VaultAtExpiry)
	}
	return h.String()
}

func parse(text string) (handle, error) {
	var h handle
	if json.Unmarshal([]byte(text), &h) != nil {
		return h, &provider.Error{Class: provider.Final, Message: "the grant's revocation handle cannot be read"}
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
	if e := (*provider.Error)(nil); errors.As(err, &e) {
		return nil, v.notLeased(l, e)
	}
	if err != nil {
		return nil, err
	}
	defer s.close()
	before := h
	credential, err := v.read(ctx, s, l, asked, h)
	if err == nil {
		return credential, nil
	}
	cleanUp, cancel := provider.CleanUp(ctx)
	defer cancel()
	return nil, v.undo(cleanUp, s, l, before, err)
}

// undo ends the login of an attempt that failed, and with it whatever it was leased. Nothing was issued for certain if Vault says so.
func (v *Provider) undo(ctx context.Context, s *session, l provider.Lease, before handle, failure error) error {
	e := &provider.Error{Class: provider.Retryable, Message: failure.Error()}
	if provider.IsFinal(failure) {
		e.Class = provider.Final
	}
	if provider.IsThrottled(failure) {
		e.Class, e.RetryAfter = provider.Throttled, provider.RetryAfter(failure)
	}
	e.Works = provider.StillWorks(failure)
	outlives := (*outlivesError)(nil)
	if errors.As(failure, &outlives) {
		e.Works = outlives.works
		before.outlived(true)
	}
	if s.endSelf(ctx) == nil && l.Keep(ctx, before.String()) == nil {
		e.Refused = outlives == nil && provider.IsRefused(failure)
	}
	return v.notLeased(l, e)
}

func (v *Provider) read(ctx context.Context, s *session, l provider.Lease, asked question, h handle) (*provider.Credential, error) {
	if s.lifetime < l.TTL {
		return nil, final("a token of Vault's role %s lives for %s, which is less than was granted; set its token_ttl to the capability's maxTTLSeconds", h.Role, s.lifetime)
	}
	h.Begun = append(slices.Clone(h.Begun), login{Accessor: s.accessor})
	if err := l.Keep(ctx, h.String()); err != nil {
		return nil, retryable("the login's accessor could not be stored")
	}
	credential, err := v.lease(ctx, s, l, asked, h)
	if outlives := (*outlivesError)(nil); errors.As(err, &outlives) {
		// Whoever ends the login must not take that for the end of what outlives it.
		h.outlived(true)
		_ = l.Keep(ctx, h.String())
	}
	return credential, err
}

// lease has the secret leased to a token of its own. What is given to nobody is ended.
func (v *Provider) lease(ctx context.Context, s *session, l provider.Lease, asked question, h handle) (*provider.Credential, error) {
	child, err := s.child(ctx, l)
	if err != nil {
		return nil, err
	}
	began := v.options.Clock.Now()
	secret, err := child.ask(ctx, asked)
	switch {
	case err == nil:
	case provider.IsRefused(err):
		return nil, err
	default:
		// Something may have been leased of which nobody knows the lease.
		return nil, outliving(err, provider.Works{Unknown: true})
	}
	secret.slow = v.options.Clock.Now().Sub(began)
	credential, err := v.take(ctx, s, l, asked, h, secret, began)
	if err != nil {
		return nil, s.endUnused(ctx, asked, secret, secret.afterLease(err, h.Revocation, began))
	}
	return credential, nil
}

// take makes a credential of what was leased, and has its lease stored.
func (v *Provider) take(ctx context.Context, s *session, l provider.Lease, asked question, h handle, leased *secret, began time.Time) (
	*provider.Credential, error) {
	if leased.problem != nil {
		return nil, leased.problem
	}
	credential, err := leased.granted(l, asked, h.Role, began)
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
	// The lease's ID is stored in clear, and so only when it is known to tell nothing of the secret.
	h.Begun[len(h.Begun)-1].Lease = leased.lease
	if err := l.Keep(ctx, h.String()); err != nil {
		return nil, retryable("what Vault leased could not be stored")
	}
	return credential, nil
}

// endUnused ends the lease of what is given to nobody, and the token beside it. The end of the login is no proof: Vault
// confirms it at once, and ends the leases that hang on it afterwards, if it can.
func (s *session) endUnused(ctx context.Context, asked question, leased *secret, failure error) error {
	cleanUp, cancel := provider.CleanUp(ctx)
	defer cancel()
	outlives := (*outlivesError)(nil)
	ended := leased.lease == "" || asked.leases(leased.lease) && s.endLease(cleanUp, leased.lease) == nil
	if !ended && !errors.As(failure, &outlives) {
		failure = outliving(failure, provider.Works{Unknown: true})
	}
	if leased.auth != nil {
		failure = outliving(failure, s.endShown(ctx, leased.auth))
	}
	return failure
}

// outlivesError is a failure after which something works on that the end of the login does not end.
type outlivesError struct {
	error
	works provider.Works
}

func (e *outlivesError) Unwrap() error { return e.error }

// outliving says of a failure until when something works that the end of the login does not end: nothing, for the zero
// value. It takes nothing from what the failure says.
func outliving(failure error, works provider.Works) error {
	if works == (provider.Works{}) {
		return failure
	}
	if known := (*outlivesError)(nil); errors.As(failure, &known) {
		works.Unknown = works.Unknown || known.works.Unknown
		if known.works.Until.After(works.Until) {
			works.Until = known.works.Until
		}
	}
	return &outlivesError{failure, works}
}

// afterLease says of a failure until when what was leased works all the same: where the end of its lease does not end
// it.
func (s *secret) afterLease(failure error, revocation v1alpha1.VaultRevocation, began time.Time) error {
	lifetime, unknown := s.works(began)
	switch {
	case s.notLeased && lifetime <= 0 && s.isKept(began):
		return failure // it was there before it was asked for, and made for nobody
	case s.lease == "" && lifetime <= 0:
		return outliving(failure, provider.Works{Unknown: true}) // perhaps it was made for the grant, or leased
	case s.lease != "" && revocation == v1alpha1.VaultImmediate && s.goesOn(began) == nil:
		return failure
	}
	works := provider.Works{Unknown: unknown != nil || lifetime <= 0}
	if lifetime > 0 {
		works.Until = began.Add(lifetime)
		if lifetime == math.MaxInt64 { // or longer: it is the longest that can be told
			works.Until = v1alpha1.LatestInstant()
		} else {
			works.Until = works.Until.Add(s.slow)
		}
	}
	return outliving(failure, works)
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
func refused(err error) error {
	return &provider.Error{Class: provider.Final, Refused: true, Message: err.Error()}
}

func final(format string, args ...any) error {
	return &provider.Error{Class: provider.Final, Refused: true, Message: fmt.Sprintf(format, args...)}
}

func retryable(message string) error {
	return &provider.Error{Class: provider.Retryable, Refused: true, Message: message}
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
		return provider.Revoked{}, &provider.Error{Class: provider.Retryable, Message: err.Error()}
	}
	s, err := v.logIn(ctx, h)
	if err != nil {
		return provider.Revoked{}, &provider.Error{Class: provider.Retryable, Message: err.Error(), RetryAfter: provider.RetryAfter(err)}
	}
	defer s.close()
	stays := provider.EndAll(h.Begun, func(begun login) error { return s.end(ctx, begun) })
	// The token of this call ends by itself if this fails.
	_ = s.endSelf(ctx)
	if stays != nil {
		return provider.Revoked{}, stays
	}
	if slices.ContainsFunc(h.Begun, func(begun login) bool { return begun.Lease == "" }) {
		// The attempt was interrupted. What it may have been leased nobody knows, and so not whether it has ended.
		mode = v1alpha1.RevocationAtExpiry
	}
	return provider.Revoked{Mode: mode}, nil
}
