// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/valetkey/valetkey/internal/provider"
)

// made is all that Vault says of a token that it makes. The type of Vault's own client leaves out of which kind it is
// and how often it can be used, so the answer is read here.
type made struct {
	ClientToken      string            `json:"client_token"`
	Accessor         string            `json:"accessor"`
	Policies         []string          `json:"policies"`
	TokenPolicies    []string          `json:"token_policies"`
	IdentityPolicies []string          `json:"identity_policies"`
	Metadata         map[string]string `json:"metadata"`
	LeaseDuration    int64             `json:"lease_duration"`
	Renewable        bool              `json:"renewable"`
	EntityID         string            `json:"entity_id"`
	TokenType        string            `json:"token_type"`
	Orphan           bool              `json:"orphan"`
	MFARequirement   any               `json:"mfa_requirement"`
	NumUses          int               `json:"num_uses"`
}

// serviceToken is the kind that has children and leases, and can be ended.
const serviceToken = "service"

// makingChild is what messages say of it.
const makingChild = "making the token that the lease hangs on"

// child is a token that Vault itself ends when the grant does, and with it what was leased to it: whatever becomes of
// the operator.
func (s *session) child(ctx context.Context, l provider.Lease) (*session, *provider.Error) {
	renewable := false
	body, _ := json.Marshal(&api.TokenCreateRequest{
		TTL: l.TTL.String(), ExplicitMaxTTL: l.TTL.String(), Renewable: &renewable, DisplayName: l.Session(),
		Type: serviceToken, Metadata: map[string]string{"valetkey-lease": l.ID},
	}) // strings can always be encoded
	answer, err := read(s.client.Logical().WriteRawWithContext(ctx, "auth/token/create", body))
	if err != nil {
		return nil, classify(makingChild, err)
	}
	if class, why := s.childProblem(answer, l.TTL); why != "" {
		return nil, provider.Mismatched(class, answer.works(s.now(), 0).And(s.endShown(ctx, answer)), why)
	}
	c, err := s.client.CloneWithHeaders()
	if err != nil {
		return nil, provider.Unanswered(provider.Retryable, "Vault's client cannot be made")
	}
	c.SetToken(answer.token.ClientToken)
	sent := func() []string { return append(s.sent(), c.Token()) }
	// Vault may have made a shorter life of it than was asked for, by a limit of its own.
	lifetime, _ := provider.Seconds(answer.token.LeaseDuration) // it was looked at
	return &session{client: c, http: s.http, sent: sent, now: s.now, lifetime: min(lifetime, s.lifetime)}, nil
}

// childProblem says why an answer is not the token that was asked for; empty if it is.
func (s *session) childProblem(answer *reply, ttl time.Duration) (provider.Class, string) {
	switch {
	case answer.WrapInfo != nil:
		return provider.Final, wrapped(makingChild)
	case answer.token == nil:
		return provider.Retryable, makingChild + ": Vault answered with success, and without a token"
	case answer.more || answer.leases():
		return provider.Final, "Vault made another token than was asked for: it says something of it, or beside it, that is not known"
	case !s.asked(*answer.token, ttl):
		return provider.Final, "Vault made another token than was asked for: one that lives longer, can be made to, may do more, " +
			"or is of another kind"
	case provider.Tells(s.accessor, answer.token.ClientToken):
		return provider.Final, "the token that Vault made stands in the login's accessor, which is stored in clear"
	}
	return "", ""
}

// asked reports whether a token is the one that was asked for: a new one, which ends with the grant and with the
// login, cannot be renewed, and may do no more than the login.
func (s *session) asked(m made, ttl time.Duration) bool {
	isNew := m.ClientToken != "" && !slices.Contains(s.sent(), m.ClientToken)
	lifetime, known := provider.Seconds(m.LeaseDuration)
	ends := known && lifetime > 0 && lifetime < ttl+time.Second && !m.Renewable && !m.Orphan
	more := slices.ContainsFunc(slices.Concat(m.Policies, m.TokenPolicies, m.IdentityPolicies),
		func(name string) bool { return !slices.Contains(s.policies, name) })
	plain := m.TokenType == serviceToken && m.EntityID == s.entity && m.MFARequirement == nil && m.NumUses == 0
	return isNew && ends && !more && plain
}
