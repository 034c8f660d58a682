// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/internal/provider/outbound"
)

// shortest is the shortest lifetime that the API server gives a token.
const shortest = tokenSeconds * time.Second

// Bound is a token for the API server itself, which works as long as its anchor is there.
type Bound struct {
	Token
	// ID is the token's own, as the API server's audit log names it.
	ID string
	// User is who it authenticates.
	User string
	// ExpiresAt is when the API server stops accepting it in any case.
	ExpiresAt time.Time
}

// Bind makes an anchor, and a token for the API server that is bound to it. Its errors are *provider.Error. A token that
// was asked for and of which no answer is known is worth nothing without its anchor, and one that was answered may be
// bound to none.
func (s *Source) Bind(ctx context.Context, capability, account, anchor string, ttl time.Duration) (Bound, error) {
	if err := s.mine(ctx, capability, account); err != nil {
		return Bound{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	made, err := s.secrets.Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: anchor}, Type: v1alpha1.AnchorType}, metav1.CreateOptions{})
	if err != nil {
		return Bound{}, failure("making the anchor "+anchor, err)
	}
	seconds := int64(max(ttl, shortest) / time.Second)
	answer, err := s.accounts.CreateToken(ctx, account, &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: &seconds,
		BoundObjectRef:    &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Secret", Name: anchor, UID: made.UID},
	}}, metav1.CreateOptions{})
	bound, because := s.judge(ctx, answer, err, account, anchor, made.UID, seconds)
	if because == nil {
		return bound, nil
	}
	if err := s.Unbind(context.WithoutCancel(ctx), anchor); err != nil {
		because = because.Leaving(provider.StillWorks(err))
	}
	return Bound{}, because
}

// judge sees whether what was answered is what was asked for.
func (s *Source) judge(ctx context.Context, answer *authenticationv1.TokenRequest, err error, account, anchor string, uid types.UID, seconds int64) (
	Bound, *provider.Error) {
	if err != nil {
		return Bound{}, notAnswered("asking for a token of ServiceAccount "+account, err)
	}
	bound, audiences, err := s.read(answer, account, anchor, uid, seconds)
	if err != nil {
		return Bound{}, provider.Mismatched(provider.Retryable, works(answer), err.Error())
	}
	switch own, err := s.isOwn(ctx, bound.Token, audiences); {
	case provider.IsMismatched(err):
		return Bound{}, provider.Mismatched(provider.Retryable, works(answer).And(provider.StillWorks(err)), err.Error())
	case err != nil:
		return Bound{}, provider.NotAsked(provider.Retryable, err.Error())
	case !own:
		return Bound{}, provider.Mismatched(provider.Retryable, works(answer), "the API server's token is good for another audience, too, "+
			"which was not asked for; see which admission policy or webhook adds it")
	}
	return bound, nil
}

// isOwn reports whether audiences are those of the API server itself, which are asked for by naming none. It says them
// of a token, and is asked anew where they are others than they were.
func (s *Source) isOwn(ctx context.Context, t Token, audiences []string) (bool, error) {
	s.mu.Lock()
	known := s.own
	s.mu.Unlock()
	audiences = slices.Sorted(slices.Values(audiences))
	if len(known) > 0 && slices.Equal(known, audiences) {
		return true, nil
	}
	answer, err := s.review(ctx, t)
	if err != nil {
		return false, err
	}
	own := slices.Sorted(slices.Values(answer.Audiences))
	s.mu.Lock()
	s.own = own
	s.mu.Unlock()
	return answer.Authenticated && len(own) > 0 && slices.Equal(own, audiences), nil
}

// notAnswered is a failure to be answered with what was asked for. client-go makes the API server's own status, or the
// connection's failure, of all that is not a success which it cannot read.
func notAnswered(what string, err error) *provider.Error {
	answered, lost := apierrors.APIStatus(nil), (*url.Error)(nil)
	if errors.As(err, &answered) || errors.As(err, &lost) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return failure(what, err)
	}
	return provider.Mismatched(provider.Retryable, provider.Works{Unknown: true}, what+": the API server's answer cannot be read")
}

// works is until when a token works by all that its answer and the token say.
func works(answer *authenticationv1.TokenRequest) provider.Works {
	said := provider.WorksUntil(answer.Status.ExpirationTimestamp.Time)
	payload, err := payloadOf(answer.Status.Token)
	if err != nil {
		return said.And(provider.Works{Unknown: true})
	}
	token, err := readClaims(payload)
	if err != nil || token.expiresAt <= 0 {
		return said.And(provider.Works{Unknown: true})
	}
	return said.And(provider.WorksUntil(time.Unix(token.expiresAt, 0)))
}

// payloadOf is the payload of a token.
func payloadOf(token string) ([]byte, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, errors.New("it is no token")
	}
	return base64.RawURLEncoding.DecodeString(parts[1])
}

// claims are what a bound token says of itself.
type claims struct {
	id, subject         string
	audiences           []string
	issuedAt, expiresAt int64
	secret              struct {
		name string
		uid  types.UID
	}
}

// object is one of JSON. Its members are told apart by case, as whoever verifies a token does.
type object map[string]json.RawMessage

func (o object) read(name string, into any) error { return json.Unmarshal(o[name], into) }

// readClaims reads the payload of a token, which can be read in one way alone.
func readClaims(payload []byte) (said claims, err error) {
	var all, kubernetes, secret object
	if why := outbound.JSON.Problem(payload); why != "" {
		return said, errors.New("it " + why)
	}
	if err := json.Unmarshal(payload, &all); err != nil {
		return said, err
	}
	return said, errors.Join(all.read("jti", &said.id), all.read("sub", &said.subject), all.read("aud", &said.audiences), all.read("iat", &said.issuedAt),
		all.read("exp", &said.expiresAt), all.read("kubernetes.io", &kubernetes), kubernetes.read("secret", &secret),
		secret.read("name", &said.secret.name), secret.read("uid", &said.secret.uid))
}

// read sees that the token is what was asked for: one that is not bound could not be ended. It returns the audiences that it
// is good for.
func (s *Source) read(answer *authenticationv1.TokenRequest, account, anchor string, uid types.UID, seconds int64) (bound Bound, audiences []string, err error) {
	payload, err := payloadOf(answer.Status.Token)
	if err != nil || answer.Status.ExpirationTimestamp.IsZero() {
		return Bound{}, nil, errors.New("the API server's answer holds no token that can be read")
	}
	said, err := readClaims(payload)
	if err != nil {
		return Bound{}, nil, errors.New("the API server's answer holds no token that can be read")
	}
	user := fmt.Sprintf("system:serviceaccount:%s:%s", s.namespace, account)
	if said.subject != user || said.id == "" || said.secret.name != anchor || said.secret.uid != uid {
		return Bound{}, nil, errors.New("the API server's token is not the one that was asked for")
	}
	// The answer's own time is read a moment later than the token's.
	apart := answer.Status.ExpirationTimestamp.Sub(time.Unix(said.expiresAt, 0)).Abs()
	if said.expiresAt-said.issuedAt > seconds || apart > answerTime {
		return Bound{}, nil, errors.New("the API server's token lives for another time than was asked for, or than is said of it")
	}
	return Bound{Token: Token{reveal: func() string { return answer.Status.Token }}, ID: "JTI=" + said.id, User: user,
		ExpiresAt: answer.Status.ExpirationTimestamp.Time}, said.audiences, nil
}

// Unbind deletes anchors, and succeeds when the API server says that there are none of them.
func (s *Source) Unbind(ctx context.Context, anchors ...string) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	for _, anchor := range anchors {
		if err := s.delete(ctx, anchor); err != nil {
			return err
		}
	}
	return nil
}

// delete asks a second time: a first answer that it was deleted would also be given for one that somebody holds with a finalizer.
// That there is none has to be the API server's own answer: client-go makes the same of any with its status.
func (s *Source) delete(ctx context.Context, anchor string) error {
	what, background := "deleting the anchor "+anchor, metav1.DeletePropagationBackground
	for range 2 {
		answer, err := s.core.Delete().Namespace(s.namespace).Resource("secrets").Name(anchor).
			Body(&metav1.DeleteOptions{PropagationPolicy: &background}).Do(ctx).Get()
		if apierrors.IsNotFound(err) && !apierrors.IsUnexpectedServerError(err) {
			return nil
		}
		if err != nil {
			return notAnswered(what, err)
		}
		if !isDeleted(answer, anchor) {
			return provider.Mismatched(provider.Retryable, worksOf(answer), what+": the API server answered with something else than was asked for")
		}
	}
	return provider.Unanswered(provider.Retryable, what+": somebody keeps it there; take its finalizers off")
}

// isDeleted reports whether an answer is one to the deletion of an anchor: that it was deleted, or the anchor, which holds nothing.
func isDeleted(answer runtime.Object, anchor string) bool {
	switch said := answer.(type) {
	case *metav1.Status:
		return said.Message == ""
	case *corev1.Secret:
		return said.Name == anchor && len(said.Data) == 0
	default:
		return false
	}
}

// worksOf is until when that works which an answer to another question holds.
func worksOf(answer runtime.Object) provider.Works {
	if token, is := answer.(*authenticationv1.TokenRequest); is {
		return works(token)
	}
	return provider.Works{Unknown: true}
}

// Accepted asks the API server whether it accepts a token.
func (s *Source) Accepted(ctx context.Context, t Token) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	answer, err := s.review(ctx, t)
	return answer.Authenticated, err
}

// review asks the API server of a token. It says of which one it answers.
func (s *Source) review(ctx context.Context, t Token) (authenticationv1.TokenReviewStatus, error) {
	const what = "reviewing a token"
	answer, err := s.reviews.Create(ctx, &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: t.Reveal()}}, metav1.CreateOptions{})
	switch {
	case err != nil:
		return authenticationv1.TokenReviewStatus{}, notAnswered(what, err)
	case answer.Spec.Token != t.Reveal():
		return authenticationv1.TokenReviewStatus{}, provider.Mismatched(provider.Retryable, provider.Works{Unknown: true},
			what+": the API server answered with something else than was asked for")
	}
	return answer.Status, nil
}
