// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package identity proves to back ends who a capability is: with a short-lived token of the capability's own ServiceAccount, from
// a namespace in which no Pod can run.
package identity

import (
	"context"
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/provider"
)

// tokenSeconds is the shortest lifetime that the API server gives a token.
const tokenSeconds = 600

// Source makes tokens of the ServiceAccounts of one namespace.
type Source struct {
	accounts  corev1client.ServiceAccountInterface
	namespace string
}

// NewSource makes tokens of the ServiceAccounts of the namespace.
func NewSource(client corev1client.ServiceAccountsGetter, namespace string) *Source {
	return &Source{accounts: client.ServiceAccounts(namespace), namespace: namespace}
}

// Token is a ServiceAccount's token. It cannot be printed.
type Token struct{ value string }

// Reveal is the token itself, for the back end alone.
func (t Token) Reveal() string { return t.value }

// String hides the token.
func (t Token) String() string { return "[token]" }

// GoString hides the token from %#v.
func (t Token) GoString() string { return "[token]" }

// MarshalJSON hides the token.
func (t Token) MarshalJSON() ([]byte, error) { return []byte(`"[token]"`), nil }

// MarshalLog hides the token from logr.
func (t Token) MarshalLog() any { return "[token]" }

// Check says why the account is not the capability's identity: it is missing, or does not name the capability.
func (s *Source) Check(ctx context.Context, capability, account string) error {
	sa, err := s.accounts.Get(ctx, account, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return s.invalid("there is no ServiceAccount %s in namespace %s", account, s.namespace)
	case err != nil:
		return failure("looking up ServiceAccount "+account, err)
	case sa.Annotations[v1alpha1.AnnotationCapability] != capability:
		return s.invalid("ServiceAccount %s in namespace %s is not annotated %s=%s", account, s.namespace, v1alpha1.AnnotationCapability, capability)
	}
	return nil
}

func (s *Source) invalid(format string, args ...any) error {
	return &provider.NotReadyError{Reason: v1alpha1.ReasonIdentityInvalid, Message: fmt.Sprintf(format, args...)}
}

// Token makes a token for exactly one audience, of the shortest lifetime there is.
func (s *Source) Token(ctx context.Context, capability, account, audience string) (Token, error) {
	if err := s.Check(ctx, capability, account); err != nil {
		if problem, ok := err.(*provider.NotReadyError); ok { //nolint:errorlint // Check returns it bare
			return Token{}, &provider.Error{Class: provider.Final, Refused: true, Message: problem.Message}
		}
		return Token{}, err
	}
	seconds := int64(tokenSeconds)
	answer, err := s.accounts.CreateToken(ctx, account, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{Audiences: []string{audience}, ExpirationSeconds: &seconds},
	}, metav1.CreateOptions{})
	if err != nil {
		return Token{}, failure("asking for a token of ServiceAccount "+account, err)
	}
	return Token{value: answer.Status.Token}, nil
}

// failure keeps the API server's reason and drops its words.
func failure(what string, err error) error {
	reason := apierrors.ReasonForError(err)
	message := what + ": the API server did not answer"
	if reason != "" {
		message = fmt.Sprintf("%s: %s", what, reason)
	}
	switch {
	case apierrors.IsTooManyRequests(err):
		return &provider.Error{Class: provider.Throttled, Refused: true, Message: message}
	default:
		// Rights and rules can be mended while the grant waits; nothing was issued, for there was no token to ask with.
		return &provider.Error{Class: provider.Retryable, Refused: true, Message: message}
	}
}
