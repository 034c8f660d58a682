// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/valetkey/valetkey/internal/provider"
)

// made is all that Vault says of a token that it makes. The type of Vault's own client leaves out of which kind it is
// and how often it can be used, so the answer is read here, and a field that is not known is refused: it may be what
// else the token is good for.
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
func (s *session) child(ctx context.Context, l provider.Lease) (*session, error) {
	answer, err := s.create(ctx, l)
	if err != nil {
		return nil, classify(makingChild, err)
	}
	token, err := answer.read()
	isRead := err == nil
	switch {
	case !isRead:
	case !s.asked(token, l.TTL):
		err = final("Vault made another token than was asked for: one that lives longer, can be made to, may do more, " +
			"or is of another kind")
	case provider.Tells(s.accessor, token.ClientToken):
		err = final("the token that Vault made stands in the login's accessor, which is stored in clear")
	}
	if err != nil {
		works := s.endShown(ctx, answer.shows(token))
		works.Unknown = works.Unknown || !isRead && !works.Until.IsZero()
		return nil, outliving(err, works)
	}
	c, err := s.client.CloneWithHeaders()
	if err != nil {
		return nil, retryable("Vault's client cannot be made")
	}
	c.SetToken(token.ClientToken)
	sent := func() []string { return append(s.sent(), c.Token()) }
	// Vault may have made a shorter life of it than was asked for, by a limit of its own.
	lifetime, _ := provider.Seconds(token.LeaseDuration) // it was looked at
	return &session{client: c, http: s.http, sent: sent, now: s.now, lifetime: min(lifetime, s.lifetime)}, nil
}

// answerOfMaking is what Vault answers to the making of a token.
type answerOfMaking struct {
	Auth     json.RawMessage     `json:"auth"`
	WrapInfo *api.SecretWrapInfo `json:"wrap_info"`
}

// create has Vault make the token.
func (s *session) create(ctx context.Context, l provider.Lease) (answer answerOfMaking, err error) {
	renewable := false
	body, _ := json.Marshal(&api.TokenCreateRequest{
		TTL: l.TTL.String(), ExplicitMaxTTL: l.TTL.String(), Renewable: &renewable, DisplayName: l.Session(),
		Type: serviceToken, Metadata: map[string]string{"valetkey-lease": l.ID},
	}) // strings can always be encoded
	response, err := s.client.Logical().WriteRawWithContext(ctx, "auth/token/create", body)
	if response != nil {
		defer func() { _ = response.Body.Close() }()
	}
	if err != nil {
		return answer, err
	}
	return answer, response.DecodeJSON(&answer)
}

// read returns what Vault says of the token, as far as it is known, and why it is not one that was asked for.
func (a answerOfMaking) read() (m made, err error) {
	strict := json.NewDecoder(bytes.NewReader(a.Auth))
	strict.DisallowUnknownFields()
	switch problem := strict.Decode(&m); {
	case a.WrapInfo != nil:
		return m, final("%s", wrapped(makingChild))
	case len(a.Auth) == 0:
		return m, retryable(makingChild + ": Vault answered with success, and without a token")
	case problem != nil:
		return m, final("Vault made another token than was asked for: it says something of it that is not known")
	}
	return m, nil
}

// shows returns what ends the token that an answer shows, and says until when it works; nil if it shows none.
func (a answerOfMaking) shows(m made) *api.SecretAuth {
	switch {
	case a.WrapInfo != nil:
		return &api.SecretAuth{Accessor: a.WrapInfo.WrappedAccessor}
	case m.ClientToken == "" && m.Accessor == "":
		return nil
	}
	return &api.SecretAuth{ClientToken: m.ClientToken, Accessor: m.Accessor, LeaseDuration: int(m.LeaseDuration), Renewable: m.Renewable}
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
