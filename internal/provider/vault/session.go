// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/internal/provider/outbound"
)

// session is a login: Vault's client with its token.
type session struct {
	client   *api.Client
	http     *http.Client
	accessor string
	lifetime time.Duration
	// policies of the login's token, and the entity that it is of.
	policies []string
	entity   string
	// sent are the tokens that led to this one, and it.
	sent func() []string
	// now is the present time.
	now func() time.Time
}

// client asks one server, once per call. What the operator's environment says of Vault is put aside: no token, no namespace and no
// header come from there.
func (h handle) client(connection *http.Client) (*api.Client, error) {
	c, err := api.NewClient(&api.Config{Address: h.Server.Address, HttpClient: connection, MaxRetries: -1, DisableRedirects: true})
	if err != nil {
		return nil, &provider.Error{Class: provider.Final, Refused: true, Message: "the provider's address is not one of a server"}
	}
	c.ClearToken()
	c.SetHeaders(http.Header{api.RequestHeaderName: {"true"}})
	if h.Server.Namespace != "" {
		c.SetNamespace(h.Server.Namespace)
	}
	return c, nil
}

// logIn proves to Vault who the capability's identity is. The JWT and the Kubernetes auth method are asked alike.
func (v *Provider) logIn(ctx context.Context, h handle) (*session, error) {
	connection, err := v.options.Outbound.Client(h.Server.CABundle, outbound.JSON, ownErrors)
	if err != nil {
		return nil, refused(err)
	}
	token, err := v.options.Identities.Token(ctx, h.Capability, h.Account, h.Server.Audience)
	if err != nil {
		return nil, err
	}
	c, err := h.client(connection)
	if err != nil {
		return nil, err
	}
	s := &session{client: c, http: connection, sent: func() []string { return []string{token.Reveal()} }, now: v.options.Clock.Now}
	what := "logging in with role " + h.Role
	answer, err := c.Logical().WriteWithContext(ctx, "auth/"+h.Server.AuthPath+"/login", map[string]any{"role": h.Role, "jwt": token.Reveal()})
	switch {
	case err != nil:
		s.close()
		return nil, classify(what, err)
	case answer == nil:
		s.close()
		return nil, classify(what, errEmpty)
	}
	if e := loginProblem(what, answer, token.Reveal()); e != nil {
		e.Works = s.endShown(ctx, answer.Auth)
		e.Refused = e.Works == (provider.Works{})
		s.close()
		return nil, e
	}
	c.SetToken(answer.Auth.ClientToken)
	s.accessor, s.policies, s.entity = answer.Auth.Accessor, answer.Auth.Policies, answer.Auth.EntityID
	s.sent = func() []string { return []string{token.Reveal(), c.Token()} }
	// A lifetime that there cannot be is none, which is too short for any grant.
	s.lifetime, _ = provider.Seconds(int64(answer.Auth.LeaseDuration))
	return s, nil
}

// loginProblem says why the answer to a login is not used: its token could not be ended, for it has no accessor, or is
// none of its own. The accessor is stored in clear.
func loginProblem(what string, answer *api.Secret, sent string) *provider.Error {
	e := &provider.Error{Class: provider.Final}
	switch auth := answer.Auth; {
	case answer.WrapInfo != nil:
		e.Message = wrapped(what)
	case auth == nil || auth.ClientToken == "":
		e.Class, e.Message = provider.Retryable, what+": Vault answered with success, and without a token"
	case auth.Accessor == "":
		e.Message = what + ": Vault gave a token without an accessor, as batch tokens are, which nobody can end; " +
			"set the role's token_type to service"
	case auth.ClientToken == sent || provider.Tells(auth.Accessor, sent, auth.ClientToken):
		e.Message = what + ": Vault answered with what it was sent, or with an accessor that tells the token"
	default:
		return nil
	}
	return e
}

// endShown ends a token that an answer shows and that is given to nobody, by itself or by its accessor: it may be no
// child of the login, whose end would be no end of it. It returns until when the token works where Vault has not
// confirmed that; nil is a token of which nothing is shown.
func (s *session) endShown(ctx context.Context, auth *api.SecretAuth) provider.Works {
	if auth == nil {
		return provider.Works{Unknown: true}
	}
	ctx, cancel := provider.CleanUp(ctx)
	defer cancel()
	own := auth.ClientToken != "" && !slices.Contains(s.sent(), auth.ClientToken)
	if c, err := s.client.CloneWithHeaders(); own && err == nil {
		c.SetToken(auth.ClientToken)
		if (&session{client: c}).endSelf(ctx) == nil {
			return provider.Works{}
		}
	}
	if auth.Accessor != "" && auth.Accessor != s.accessor && s.client.Token() != "" && s.endLogin(ctx, login{Accessor: auth.Accessor}) == nil {
		return provider.Works{}
	}
	lifetime, known := provider.Seconds(int64(auth.LeaseDuration))
	if !known || lifetime == 0 {
		return provider.Works{Unknown: true}
	}
	return provider.Works{Until: s.now().Add(lifetime), Unknown: auth.Renewable}
}

func (s *session) close() { s.http.CloseIdleConnections() }

// secret is what Vault leased. It lives no longer than a call, and is passed to nothing that prints.
type secret struct {
	lease    string
	lifetime time.Duration
	// slow is how long Vault took to answer: when its time began nobody knows more exactly.
	slow time.Duration
	// ends is when the token does on which the lease hangs, and the lease with it.
	ends time.Duration
	data map[string]any
	// sent are the tokens that led to it.
	sent func() []string
	// used are the fields that went into files and variables.
	used map[string]any
	// filled is how many bytes those files and variables have together.
	filled int
	// auth is the token beside it, which nobody asked for; mostly nil.
	auth *api.SecretAuth
	// problem is what is wrong with the answer; nil if nothing is. It was given to Vault's client all the same.
	problem error
	// notLeased reports whether Vault said that it leased nothing. An answer without a lease need not be Vault's.
	notLeased bool
}

func (s *session) ask(ctx context.Context, q question) (*secret, error) {
	answer, err := s.send(ctx, q)
	switch what := "asking for " + q.path; {
	case err != nil && refuses(err) && status(err) == http.StatusForbidden:
		return nil, final("%s: Vault's policies do not allow it, "+
			"or only wrapped (min_wrapping_ttl), which is not asked for", what)
	case err != nil && refuses(err) && status(err) == http.StatusNotFound:
		return nil, final("Vault has nothing at %s", q.path)
	case err != nil:
		return nil, classify(what, err)
	case answer.WrapInfo != nil:
		// It was leased, and whoever had it wrapped may have what opens it.
		return nil, &provider.Error{Class: provider.Final, Message: wrapped(what)}
	}
	lifetime, _ := provider.Seconds(int64(answer.LeaseDuration)) // its problem says that there is no such one
	return &secret{lease: answer.LeaseID, lifetime: lifetime, ends: s.lifetime, data: answer.Data, sent: s.sent,
		used: map[string]any{}, auth: answer.Auth, problem: q.problem(answer), notLeased: notLeased(answer)}, nil
}

// errEmpty stands for an answer without an error, and without anything else.
var errEmpty = errors.New("nothing was answered")

// send asks for a secret. Vault's client takes an empty answer, and one that nothing is at the path, for the same, and
// takes an error with a warning for a secret.
func (s *session) send(ctx context.Context, q question) (*api.Secret, error) {
	var raw *api.Response
	var failure error
	if q.parameters == nil {
		raw, failure = s.client.Logical().ReadRawWithContext(ctx, q.path)
	} else {
		body, _ := json.Marshal(q.parameters) // strings can always be encoded
		raw, failure = s.client.Logical().WriteRawWithContext(ctx, q.path, body)
	}
	answer, err := s.client.Logical().ParseRawResponseAndCloseBody(raw, failure)
	switch {
	case failure != nil:
		return nil, failure
	case err != nil:
		return nil, err
	case answer == nil:
		return nil, errEmpty
	}
	return answer, nil
}

// problem says why an answer is not what was asked for; nil if it is.
func (q question) problem(answer *api.Secret) error {
	_, known := provider.Seconds(int64(answer.LeaseDuration))
	switch {
	case !known:
		return final("Vault says of the lease of what is at %s that it lives for another time than any can", q.path)
	case answer.LeaseID == "" || answer.LeaseDuration <= 0:
		return final("Vault does not lease what is at %s: nobody could end it; for pki, set generate_lease on the role", q.path)
	case !q.leases(answer.LeaseID) || answer.Auth != nil:
		return final("Vault answered with something else than a lease of what is at %s", q.path)
	case len(answer.Data) == 0:
		return final("what Vault leases at %s has no fields", q.path)
	}
	return nil
}

// notLeased reports whether an answer is Vault's own, of something that it does not lease: it has the ID of the
// request, which Vault gives every answer, and what was read.
func notLeased(answer *api.Secret) bool {
	return answer.RequestID != "" && answer.LeaseID == "" && len(answer.Data) > 0 && answer.Auth == nil
}

// leaseForm is what stands behind the path in a lease's ID: random letters and digits, and in a namespace a dot and
// its ID.
var leaseForm = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)?$`)

// leases reports whether an ID is that of a lease of the path. It is what the end will have Vault revoke.
func (q question) leases(id string) bool {
	rest, found := strings.CutPrefix(id, q.path+"/")
	return found && leaseForm.MatchString(rest)
}

// end ends one attempt's lease and login. That Vault answers 204 says nothing: it does so for a lease that never was. That it knows the
// lease no more is the proof.
func (s *session) end(ctx context.Context, l login) error {
	var stays error
	if l.Lease != "" {
		stays = s.endLease(ctx, l.Lease)
	}
	return cmp.Or(stays, s.endLogin(ctx, l))
}

func (s *session) endLease(ctx context.Context, lease string) error {
	what := "revoking lease " + lease
	// A lease that is gone already is no error here; what it is, lookup tells.
	_, failure := s.client.Logical().WriteWithContext(ctx, "sys/leases/revoke", map[string]any{"lease_id": lease, "sync": true})
	if failure != nil && status(failure) != http.StatusBadRequest {
		return classify(what, failure)
	}
	_, err := s.client.Logical().WriteWithContext(ctx, "sys/leases/lookup", map[string]any{"lease_id": lease})
	if !says(err, http.StatusBadRequest, "invalid lease") {
		return stillThere(what, errors.Join(err, failure))
	}
	return nil
}

func (s *session) endLogin(ctx context.Context, l login) error {
	const what = "revoking the login"
	if _, err := s.client.Logical().WriteWithContext(ctx, "auth/token/revoke-accessor", map[string]any{"accessor": l.Accessor}); err != nil && !noAccessor(err) {
		return classify(what, err)
	}
	if _, err := s.client.Logical().WriteWithContext(ctx, "auth/token/lookup-accessor", map[string]any{"accessor": l.Accessor}); !noAccessor(err) {
		return stillThere(what, err)
	}
	return nil
}

// stillThere: Vault has not confirmed the end. Its own words may name what it cannot reach, and are not repeated.
func stillThere(what string, err error) error {
	e := &provider.Error{Class: provider.Retryable, Message: what + ": Vault still knows it; see Vault's log " +
		"for why it cannot end it"}
	if err != nil && status(err) != http.StatusBadRequest {
		return classify(what, err)
	}
	return e
}

// endSelf ends this login, and every token and lease that hangs on it. Vault's own function for it does not read what
// is answered: Vault confirms it by 204 alone.
func (s *session) endSelf(ctx context.Context) error {
	response, err := s.client.Logical().WriteRawWithContext(ctx, "auth/token/revoke-self", nil)
	if response != nil {
		defer func() { _ = response.Body.Close() }()
	}
	if err == nil && response.StatusCode != http.StatusNoContent {
		err = errEmpty
	}
	return err
}

// noAccessor: Vault says that it knows no token by this accessor.
func noAccessor(err error) bool {
	return says(err, http.StatusForbidden, "invalid accessor") || says(err, http.StatusBadRequest, "invalid accessor") || says(err, http.StatusNotFound, "invalid accessor")
}

// says reports whether Vault answered a status with words that are known, and with nothing else. Vault's token store
// counts its errors, also where it is one.
func says(err error, code int, words string) bool {
	answer := (*api.ResponseError)(nil)
	if !errors.As(err, &answer) || !inForm(answer) || answer.StatusCode != code || len(answer.Errors) != 1 {
		return false
	}
	line := strings.TrimSpace(answer.Errors[0])
	return line == words || line == oneError+words
}

func status(err error) int {
	if answer := (*api.ResponseError)(nil); errors.As(err, &answer) {
		return answer.StatusCode
	}
	return 0
}

// ownErrors are errors as Vault writes them: an object with the list errors, which may be empty.
var ownErrors = outbound.Errors{
	Fields: []string{"errors", "warnings"},
	Is: func(text []byte) bool {
		var said struct {
			Errors   []string `json:"errors"`
			Warnings []string `json:"warnings"`
		}
		return json.Unmarshal(text, &said) == nil && said.Errors != nil
	},
}

// inForm reports whether an answer is such an error: of any other, nothing was read.
func inForm(answer *api.ResponseError) bool { return !answer.RawError && answer.Errors != nil }

// sealed is the whole of what Vault says while it is sealed, before it looks at a request. Where it is sealed while it
// handles one, an engine may have made something, and Vault counts its errors: see oneError.
const sealed = "Vault is sealed"

// refuses reports whether Vault answered that it issued nothing.
func refuses(err error) bool {
	answer := (*api.ResponseError)(nil)
	if !errors.As(err, &answer) {
		return false
	}
	return outbound.Refuses(answer.StatusCode, inForm(answer)) || isSealed(answer)
}

func isSealed(answer *api.ResponseError) bool {
	return answer.StatusCode == http.StatusServiceUnavailable && inForm(answer) &&
		len(answer.Errors) == 1 && answer.Errors[0] == sealed
}

// classify keeps the status that Vault answered, and none of its words.
func classify(what string, err error) error {
	if e := (*provider.Error)(nil); errors.As(err, &e) {
		return e // said already
	}
	e := &provider.Error{Class: provider.Retryable,
		Message: what + ": " + cmp.Or(outbound.Unread("Vault", err), "Vault did not answer, or not in a form that can be read")}
	e.Refused, e.Works.Unknown = refuses(err), outbound.Unread("Vault", err) != ""
	refused, isKnown := knownRefusal(err)
	switch code, unsent := status(err), outbound.Unsent("Vault", err); {
	case isKnown && e.Refused:
		refused.Message = what + ": Vault refused: " + refused.Message
		return refused
	case unsent != "":
		e.Refused, e.Message = true, unsent
	case code == 0:
	case code == http.StatusTooManyRequests:
		e.Class, e.Message = provider.Throttled, "Vault throttles"
	case !e.Refused:
		e.Message = what + ": " + unproven(err, code)
	case code == http.StatusServiceUnavailable:
		e.Message = sealed
	case code == http.StatusForbidden:
		e.Class, e.Message = provider.Final, what+": Vault's policies do not allow it"
	default:
		// Roles that are not there yet, keys that could not be fetched, databases that are away: Vault calls all of it 400.
		e.Message = fmt.Sprintf("%s: Vault refused: status %d; see Vault's log", what, code)
	}
	return e
}

// unproven says of an answer that does not prove that nothing was issued what to look at.
func unproven(err error, code int) string {
	answer := (*api.ResponseError)(nil)
	own := errors.As(err, &answer) && inForm(answer)
	words := outbound.Unproven("Vault", code, own)
	if own {
		words += "; see Vault's log: what it depends on may be away, " +
			"or may no longer accept the credential that Vault has for it"
	}
	return words
}

// text is a field as a file or a variable has it.
func text(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case []any:
		lines := make([]string, 0, len(v))
		for _, one := range v {
			lines = append(lines, text(one))
		}
		return strings.Join(lines, "\n")
	default:
		encoded, _ := json.Marshal(v) // it was read from JSON
		return string(encoded)
	}
}
