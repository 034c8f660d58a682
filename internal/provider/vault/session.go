// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/valetkey/valetkey/api/v1alpha1"
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
	// works is until when the login's token works.
	works provider.Works
	// last reports whether what it ends was shown by an answer: what it is shown in turn is counted, and not ended, so that
	// there is an end to it.
	last bool
}

// client asks one server, once per call. What the operator's environment says of Vault is put aside: no token, no namespace and no
// header come from there.
func (h handle) client(connection *http.Client) (*api.Client, error) {
	c, err := api.NewClient(&api.Config{Address: h.Server.Address, HttpClient: connection, MaxRetries: -1, DisableRedirects: true})
	if err != nil {
		return nil, provider.NotAsked(provider.Final, "the provider's address is not one of a server")
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
	body, _ := json.Marshal(map[string]any{"role": h.Role, "jwt": token.Reveal()}) // strings can always be encoded
	answer, err := read(c.Logical().WriteRawWithContext(ctx, "auth/"+h.Server.AuthPath+"/login", body))
	if err != nil {
		s.close()
		return nil, classify(what, err)
	}
	if class, why := loginProblem(what, answer, token.Reveal()); why != "" {
		works := answer.works(s.now(), 0).And(s.endShown(ctx, answer))
		s.close()
		return nil, provider.Mismatched(class, works, why)
	}
	c.SetToken(answer.token.ClientToken)
	s.accessor, s.policies, s.entity = answer.token.Accessor, answer.token.Policies, answer.token.EntityID
	s.sent = func() []string { return []string{token.Reveal(), c.Token()} }
	// A lifetime that there cannot be is none, which is too short for any grant.
	s.lifetime, _ = provider.Seconds(answer.token.LeaseDuration)
	s.works = lasts(s.now(), s.lifetime, 0)
	return s, nil
}

// loginProblem says why the answer to a login is not used; empty if it is. Its token could not be ended, for it has no
// accessor, or is none of its own, or there is more than a token. The accessor is stored in clear.
func loginProblem(what string, answer *reply, sent string) (provider.Class, string) {
	switch auth := answer.token; {
	case answer.WrapInfo != nil:
		return provider.Final, wrapped(what)
	case auth == nil || auth.ClientToken == "":
		return provider.Retryable, what + ": Vault answered with success, and without a token"
	case auth.Accessor == "":
		return provider.Final, what + ": Vault gave a token without an accessor, as batch tokens are, which nobody can end; " +
			"set the role's token_type to service"
	case auth.ClientToken == sent || provider.Tells(auth.Accessor, sent, auth.ClientToken):
		return provider.Final, what + ": Vault answered with what it was sent, or with an accessor that tells the token"
	case answer.more || answer.leases():
		return provider.Final, what + ": Vault answered with more than a token, or says something of it that is not known"
	}
	return "", ""
}

// endShown ends a token that an answer shows and that is given to nobody, by itself or by its accessor: it may be no
// child of the login, whose end would be no end of it. That it has ended proves nothing: the answer is not what was
// asked for. What is answered on that way works as long as it says.
func (s *session) endShown(ctx context.Context, answer *reply) provider.Works {
	ctx, cancel := provider.CleanUp(ctx)
	defer cancel()
	shown, works := made{}, provider.Works{}
	if answer.token != nil {
		shown = *answer.token
	}
	if answer.WrapInfo != nil {
		shown.Accessor = answer.WrapInfo.WrappedAccessor
	}
	ending := *s
	ending.last = true
	own := shown.ClientToken != "" && !slices.Contains(s.sent(), shown.ClientToken)
	if c, err := s.client.CloneWithHeaders(); own && err == nil {
		c.SetToken(shown.ClientToken)
		itself := ending
		itself.client = c
		works = works.And(provider.StillWorks(itself.endSelf(ctx)))
	}
	if shown.Accessor != "" && shown.Accessor != s.accessor && s.client.Token() != "" {
		works = works.And(provider.StillWorks(ending.endLogin(ctx, login{Accessor: shown.Accessor})))
	}
	return works
}

// lasts is until when something works that lives so long.
func lasts(from time.Time, lifetime, slow time.Duration) provider.Works {
	switch {
	case lifetime <= 0:
		return provider.Works{Unknown: true}
	case lifetime == math.MaxInt64: // or longer: it is the longest that can be told
		return provider.WorksUntil(v1alpha1.LatestInstant())
	}
	return provider.WorksUntil(from.Add(lifetime).Add(slow))
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
	// problem is what is wrong with the answer; nil if nothing is. It was given to Vault's client all the same.
	problem error
	// answer is all that Vault said.
	answer *reply
}

func (s *session) ask(ctx context.Context, q question) (*secret, *provider.Error) {
	answer, err := s.send(ctx, q)
	if err != nil {
		return nil, q.failure(err)
	}
	lifetime, _ := provider.Seconds(int64(answer.LeaseDuration)) // its problem says that there is no such one
	return &secret{lease: answer.LeaseID, lifetime: lifetime, ends: s.lifetime, data: answer.Data, sent: s.sent,
		used: map[string]any{}, problem: q.problem(answer), answer: answer}, nil
}

// failure sorts what came in place of a secret. Where no answer is known, something may have been leased of which nobody
// knows the lease.
func (q question) failure(err error) *provider.Error {
	what, refused := "asking for "+q.path, refuses(err)
	switch {
	case refused && status(err) == http.StatusForbidden:
		return provider.Refused(provider.Final, refused, what+": Vault's policies do not allow it, "+
			"or only wrapped (min_wrapping_ttl), which is not asked for")
	case refused && status(err) == http.StatusNotFound:
		return provider.Refused(provider.Final, refused, "Vault has nothing at "+q.path)
	}
	e := classify(what, err)
	if !provider.IsRefused(e) {
		e = e.Leaving(provider.Works{Unknown: true})
	}
	return e
}

// send asks for a secret.
func (s *session) send(ctx context.Context, q question) (*reply, error) {
	if q.parameters == nil {
		return read(s.client.Logical().ReadRawWithContext(ctx, q.path))
	}
	body, _ := json.Marshal(q.parameters) // strings can always be encoded
	return read(s.client.Logical().WriteRawWithContext(ctx, q.path, body))
}

// problem says why an answer is not what was asked for; nil if it is.
func (q question) problem(answer *reply) error {
	_, known := provider.Seconds(int64(answer.LeaseDuration))
	switch {
	case answer.WrapInfo != nil:
		// It was leased, and whoever had it wrapped may have what opens it.
		return final("%s", wrapped("asking for "+q.path))
	case !known:
		return final("Vault says of the lease of what is at %s that it lives for another time than any can", q.path)
	case answer.LeaseID == "" || answer.LeaseDuration <= 0:
		return final("Vault does not lease what is at %s: nobody could end it; for pki, set generate_lease on the role", q.path)
	case !q.leases(answer.LeaseID) || answer.token != nil || answer.more:
		return final("Vault answered with something else than a lease of what is at %s, or with more", q.path)
	case len(answer.Data) == 0:
		return final("what Vault leases at %s has no fields", q.path)
	}
	return nil
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
	return provider.Join(stays, s.endLogin(ctx, l))
}

func (s *session) endLease(ctx context.Context, lease string) error {
	what := "revoking lease " + lease
	// A lease that is gone already is no error here; what it is, lookup tells.
	err := s.order(ctx, "sys/leases/revoke", map[string]any{"lease_id": lease, "sync": true})
	if err != nil && status(err) != http.StatusBadRequest {
		return unended(what, err)
	}
	err = s.order(ctx, "sys/leases/lookup", map[string]any{"lease_id": lease}, leaseFields...)
	if !says(err, http.StatusBadRequest, "invalid lease") {
		return stillThere(what, err)
	}
	return nil
}

func (s *session) endLogin(ctx context.Context, l login) error {
	const what = "revoking the login"
	accessor := map[string]any{"accessor": l.Accessor}
	if err := s.order(ctx, "auth/token/revoke-accessor", accessor); err != nil && !noAccessor(err) {
		return classify(what, err)
	}
	if err := s.order(ctx, "auth/token/lookup-accessor", accessor, tokenFields...); !noAccessor(err) {
		return stillThere(what, err)
	}
	return nil
}

// stillThere: Vault has not confirmed the end. Its own words may name what it cannot reach, and are not repeated.
func stillThere(what string, err error) error {
	if err != nil && status(err) != http.StatusBadRequest {
		return unended(what, err)
	}
	return leaving(provider.Unanswered(provider.Retryable, what+": Vault still knows it; see Vault's log for why it cannot end it"))
}

// unended is the failure to end something: where Vault itself says that it failed, it does not know when that ends.
func unended(what string, err error) error {
	e, answer := classify(what, err), (*api.ResponseError)(nil)
	if !errors.As(err, &answer) || !inForm(answer) || isSealed(answer) || provider.IsMismatched(e) {
		return e
	}
	return leaving(e)
}

// leaving: what Vault cannot end now, it may not be able to end later. That it was to end by itself says nothing any more.
func leaving(e *provider.Error) error { return e.Leaving(provider.WorksUntil(time.Time{})) }

// endSelf ends this login, and every token and lease that hangs on it. Vault answers 204, as others do who let nothing
// through: it is no proof. A failure is told where it is an answer that holds more.
func (s *session) endSelf(ctx context.Context) error {
	err := s.order(ctx, "auth/token/revoke-self", map[string]any{})
	if err == nil {
		return nil
	}
	if e := classify("ending the login", err); provider.IsMismatched(e) {
		return e
	}
	return nil
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
	Text:   outbound.Plain,
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
func classify(what string, err error) *provider.Error {
	code, unsent, unread := status(err), outbound.Unsent("Vault", err), outbound.Unread("Vault", err)
	const notRead = "Vault did not answer, or not in a form that can be read"
	known, isKnown := knownRefusal(err)
	refused, more := refuses(err), (*moreError)(nil)
	switch {
	case errors.As(err, &more):
		return provider.Mismatched(provider.Retryable, more.works, what+": "+more.Error())
	case unread != "" || errors.Is(err, errUnread):
		return provider.Mismatched(provider.Retryable, provider.Works{Unknown: true}, what+": "+cmp.Or(unread, notRead))
	case unsent != "":
		return provider.NotAsked(provider.Retryable, unsent)
	case code == 0:
		return provider.Unanswered(provider.Retryable, what+": "+notRead)
	case isKnown && refused:
		return provider.Refused(provider.Final, refused, what+": Vault refused: "+known)
	case code == http.StatusTooManyRequests:
		return provider.Refused(provider.Throttled, refused, "Vault throttles")
	case !refused:
		return provider.Unanswered(provider.Retryable, what+": "+unproven(err, code))
	case code == http.StatusServiceUnavailable:
		return provider.Refused(provider.Retryable, refused, sealed)
	case code == http.StatusForbidden:
		return provider.Refused(provider.Final, refused, what+": Vault's policies do not allow it")
	default:
		// Roles that are not there yet, keys that could not be fetched, databases that are away: Vault calls all of it 400.
		return provider.Refused(provider.Retryable, refused, fmt.Sprintf("%s: Vault refused: status %d; see Vault's log", what, code))
	}
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
