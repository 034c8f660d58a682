// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package token issues signed tokens for internal services, and answers for them: their keys (RFC 7517), and whether a token is active
// (RFC 7662), which it is not from the moment its grant ends.
package token

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"k8s.io/utils/clock"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/internal/signer"
)

// askingTime is what may pass between the beginning of an attempt and the signer's answer.
const askingTime = time.Minute

// Grant says which attempt of which grant a token is of.
type Grant struct {
	Namespace, Name, Lease, Session string
}

// Options of the back end.
type Options struct {
	// Issuer is the URL that stands in the tokens. Empty turns the back end off.
	Issuer string
	// Signer signs them.
	Signer signer.Signer
	// Lives reports whether a grant lives, and the attempt is its last. It is asked past any cache.
	Lives func(ctx context.Context, g Grant) (bool, error)
	// Clock is the present time.
	Clock clock.PassiveClock
}

// Provider is the back end.
type Provider struct{ options Options }

// New makes the back end.
func New(o Options) *Provider { return &Provider{options: o} }

// Type names the back end.
func (*Provider) Type() string { return provider.TypeToken }

// CheckProvider refuses issuers that the operator is not.
func (t *Provider) CheckProvider(p *v1alpha1.CapabilityProvider) error {
	if p.Spec.Token == nil {
		return &provider.NotReadyError{Reason: v1alpha1.ReasonProviderNotReady, Message: fmt.Sprintf("provider %q has no spec.token", p.Name)}
	}
	if issuer := p.Spec.Token.Issuer; t.options.Issuer == "" || issuer != t.options.Issuer {
		return &provider.NotReadyError{Reason: v1alpha1.ReasonEndpointNotAllowed,
			Message: fmt.Sprintf("issuer %s is not this operator's; start it with --token-issuer=%s and --token-signer", issuer, issuer)}
	}
	return nil
}

// CheckCapability renders the scope for the longest values.
func (t *Provider) CheckCapability(ctx context.Context, c *v1alpha1.Capability, p *v1alpha1.CapabilityProvider) error {
	if c.Spec.Token == nil {
		return &provider.NotReadyError{Reason: v1alpha1.ReasonProviderNotReady,
			Message: fmt.Sprintf("the capability has no spec.token, but its provider %q is of tokens", p.Name)}
	}
	longest, err := t.Render(ctx, c, provider.Longest(c))
	if err == nil {
		err = longest.Fits()
	}
	if err != nil {
		return &provider.NotReadyError{Reason: v1alpha1.ReasonScopeInvalid, Message: err.Error()}
	}
	return nil
}

// wordForm is the CRD's, looked at again where it counts: no word holds a blank, which would make two of it.
var wordForm = regexp.MustCompile(`^([A-Za-z0-9/_.:@+-]|\$\{request\.(repo|environment|namespace)\})+$`)

// Render makes the words of the claim scope.
func (*Provider) Render(_ context.Context, c *v1alpha1.Capability, v provider.Values) (provider.Scope, error) {
	if c.Spec.Token == nil || len(c.Spec.Token.Scope) == 0 || c.Spec.Token.Audience == "" {
		return provider.Scope{}, fmt.Errorf("capability %s has no scope: nothing is issued unscoped", c.Name)
	}
	if err := v.Check(c); err != nil {
		return provider.Scope{}, err
	}
	fill, s := v.Fill(), provider.Scope{Principal: c.Spec.Token.Audience}
	for _, word := range c.Spec.Token.Scope {
		if !wordForm.MatchString(word) {
			return provider.Scope{}, fmt.Errorf("capability %s: %q is not a word of a scope", c.Name, word)
		}
		s.Actions = append(s.Actions, fill.Replace(word))
		s.Lines = append(s.Lines, fill.Replace(word)+" at "+c.Spec.Token.Audience)
	}
	s.Document = strings.Join(s.Actions, " ")
	return s, nil
}

// Lifetime is the TTL, and the time that asking takes.
func (*Provider) Lifetime(l provider.Lease) (time.Duration, bool) { return l.TTL + askingTime, true }

// handle is what says whether a token is over when the capability is gone.
type handle struct {
	Namespace    string                     `json:"namespace"`
	Grant        string                     `json:"grant"`
	Verification v1alpha1.TokenVerification `json:"verification"`
}

// Handle is the grant's name, and how tokens are verified.
func (*Provider) Handle(l provider.Lease) string {
	if l.Capability.Spec.Token == nil {
		return ""
	}
	text, _ := json.Marshal(handle{Namespace: l.Values.Namespace, Grant: l.Grant, Verification: l.Capability.Spec.Token.Verification}) // strings can always be encoded
	return string(text)
}

// Claims of a token.
type Claims struct {
	Issuer    string   `json:"iss"`
	Subject   string   `json:"sub"`
	Audience  []string `json:"aud"`
	ID        string   `json:"jti"`
	IssuedAt  int64    `json:"iat"`
	NotBefore int64    `json:"nbf"`
	ExpiresAt int64    `json:"exp"`
	// Scope is of words with blanks between them (RFC 8693).
	Scope       string `json:"scope"`
	Capability  string `json:"capability"`
	Repo        string `json:"repo"`
	Environment string `json:"environment"`
	Task        string `json:"task"`
	Requester   string `json:"requester"`
	Lease       string `json:"lease"`
	// Namespace and Grant say where the grant is.
	Namespace string `json:"namespace"`
	Grant     string `json:"grant"`
}

// Issue signs, and looks whether what was signed can be verified by the keys that are published.
func (t *Provider) Issue(ctx context.Context, l provider.Lease) (*provider.Credential, error) {
	if err := t.CheckProvider(l.Provider); err != nil {
		return nil, refused(err)
	}
	scope, err := t.Render(ctx, l.Capability, l.Values)
	if err != nil {
		return nil, refused(err)
	}
	now := t.options.Clock.Now()
	expires := now.Add(l.TTL).Truncate(time.Second)
	claims := Claims{
		Issuer: t.options.Issuer, Subject: "capability:" + l.Capability.Name, Audience: []string{scope.Principal}, ID: l.Session(),
		IssuedAt: now.Unix(), NotBefore: now.Unix(), ExpiresAt: expires.Unix(), Scope: scope.Document, Capability: l.Capability.Name,
		Repo: l.Values.Repo, Environment: l.Values.Environment, Task: l.Task, Requester: l.Requester, Lease: l.ID,
		Namespace: l.Values.Namespace, Grant: l.Grant,
	}
	signed, err := t.options.Signer.Sign(ctx, claims)
	if err != nil {
		class := provider.Retryable
		if errors.Is(err, signer.ErrBusy) {
			class = provider.Throttled
		}
		switch {
		case errors.Is(err, signer.ErrNoSignature):
			return nil, provider.Mismatched(class, provider.Works{Unknown: true}, err.Error())
		case errors.Is(err, signer.ErrUnproven):
			return nil, provider.Unanswered(class, err.Error())
		default:
			return nil, provider.NotAsked(class, err.Error())
		}
	}
	if !t.says(ctx, signed, claims) {
		return nil, provider.Mismatched(provider.Retryable, provider.Works{Unknown: true},
			"what the signer signed is not exactly what it was asked to sign, or cannot be verified by the keys that it names")
	}
	return credential(signed, l, scope, expires)
}

func credential(signed string, l provider.Lease, scope provider.Scope, expires time.Time) (*provider.Credential, error) {
	f := provider.CredentialFields{ID: l.Session(), Principal: scope.Principal, ExpiresAt: expires, Secrets: []string{signed}}
	if l.Capability.Spec.Token.Delivery == v1alpha1.DeliveryEnv {
		f.Variables = map[string]string{"VALETKEY_TOKEN": signed}
	} else {
		f.Files = map[string]string{"token/token": signed}
		f.Pointers = map[string]string{"VALETKEY_TOKEN_FILE": v1alpha1.MountPath + "/token/token"}
	}
	c, err := provider.NewCredential(f)
	if err != nil {
		return nil, provider.Mismatched(provider.Final, provider.WorksUntil(expires), "the token cannot be projected: "+err.Error())
	}
	return c, nil
}

// refused: nothing was signed.
func refused(err error) error {
	return provider.NotAsked(provider.Final, err.Error())
}

// Revoke has nothing to end: whoever asks whether a token is active is told of its grant. It sees to it that they are told no.
func (t *Provider) Revoke(ctx context.Context, i provider.Issued) (provider.Revoked, error) {
	var h handle
	if json.Unmarshal([]byte(i.Handle), &h) != nil {
		return provider.Revoked{}, provider.Unanswered(provider.Final, "the grant's revocation handle cannot be read")
	}
	if h.Verification != v1alpha1.VerifyByIntrospection {
		return provider.Revoked{Mode: v1alpha1.RevocationAtExpiry}, nil
	}
	for _, session := range slices.Backward(i.Sessions()) {
		lives, err := t.options.Lives(ctx, Grant{Namespace: h.Namespace, Name: h.Grant, Lease: i.ID, Session: session})
		if err != nil {
			return provider.Revoked{}, provider.Unanswered(provider.Retryable, "whether the grant lives could not be found out")
		}
		if lives {
			return provider.Revoked{}, &provider.Error{Class: provider.Retryable, RetryAfter: time.Second, Message: "the grant lives, and its token is active"}
		}
	}
	return provider.Revoked{Mode: v1alpha1.RevocationImmediate}, nil
}
