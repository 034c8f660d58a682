// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package identity proves to back ends who a capability is: with a short-lived token of the capability's own ServiceAccount, from
// a namespace in which no Pod can run.
package identity

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	authenticationv1client "k8s.io/client-go/kubernetes/typed/authentication/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/provider"
)

const (
	// tokenSeconds is the shortest lifetime that the API server gives a token.
	tokenSeconds = 600
	// TokenTime is how long the token lives by which a capability proves itself. So long can a question be answered that
	// is late on its way.
	TokenTime = tokenSeconds * time.Second
	// answerTime bounds one call of the API server.
	answerTime = 10 * time.Second
)

// Source makes tokens of the ServiceAccounts of one namespace.
type Source struct {
	accounts  corev1client.ServiceAccountInterface
	secrets   corev1client.SecretInterface
	core      rest.Interface
	reviews   authenticationv1client.TokenReviewInterface
	namespace string

	mu sync.Mutex
	// own are the audiences of the API server itself, as it last said.
	own []string
}

// NewSource makes tokens of the ServiceAccounts of the namespace.
func NewSource(clients kubernetes.Interface, namespace string) *Source {
	return &Source{accounts: clients.CoreV1().ServiceAccounts(namespace), secrets: clients.CoreV1().Secrets(namespace), core: clients.CoreV1().RESTClient(),
		reviews: clients.AuthenticationV1().TokenReviews(), namespace: namespace}
}

// Token is a ServiceAccount's token. It cannot be printed.
type Token struct {
	provider.Unprintable
	// reveal returns it: no reflection looks into a function.
	reveal func() string
}

// Reveal is the token itself, for the back end alone.
func (t Token) Reveal() string {
	if t.reveal == nil {
		return ""
	}
	return t.reveal()
}

// Check says why the account is not the capability's identity: it is missing, or does not name the capability. That is a
// *provider.NotReadyError; any other error means that it could not be found out.
func (s *Source) Check(ctx context.Context, capability, account string) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	sa, err := s.accounts.Get(ctx, account, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return s.invalid("there is no ServiceAccount %s in namespace %s", account, s.namespace)
	case err != nil:
		return failure("looking up ServiceAccount "+account, err)
	case sa.DeletionTimestamp != nil:
		return s.invalid("ServiceAccount %s in namespace %s is being deleted", account, s.namespace)
	case sa.Annotations[v1alpha1.AnnotationCapability] != capability:
		return s.invalid("ServiceAccount %s in namespace %s is not annotated %s=%s", account, s.namespace, v1alpha1.AnnotationCapability, capability)
	}
	return nil
}

func (s *Source) invalid(format string, args ...any) error {
	return &provider.NotReadyError{Reason: v1alpha1.ReasonIdentityInvalid, Message: fmt.Sprintf(format, args...)}
}

// Token makes a token for exactly one audience, of the shortest lifetime there is. Its errors are *provider.Error, all of them
// of a back end that was not asked: it is not without a token.
func (s *Source) Token(ctx context.Context, capability, account, audience string) (Token, error) {
	if audience == "" {
		// The API server would put its own there: the token would be a key to the cluster.
		return Token{}, provider.NotAsked(provider.Final, "a token needs an audience")
	}
	if err := s.mine(ctx, capability, account); err != nil {
		return Token{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	seconds := int64(tokenSeconds)
	answer, err := s.accounts.CreateToken(ctx, account, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{Audiences: []string{audience}, ExpirationSeconds: &seconds},
	}, metav1.CreateOptions{})
	what := "asking for a token of ServiceAccount " + account
	if err != nil {
		return Token{}, failure(what, err)
	}
	if answer.Status.Token == "" {
		return Token{}, provider.NotAsked(provider.Retryable, what+": the API server's answer holds none")
	}
	// One that lives longer would have a back end answer a question that reaches it late.
	if most := answer.Spec.ExpirationSeconds; most == nil || *most > seconds || !slices.Equal(answer.Spec.Audiences, []string{audience}) {
		return Token{}, provider.NotAsked(provider.Retryable, what+": the API server made one for another time or audience than was asked for; "+
			"see which admission policy or webhook changes tokens of ServiceAccounts")
	}
	return Token{reveal: func() string { return answer.Status.Token }}, nil
}

// mine refuses an account that is not the capability's identity.
func (s *Source) mine(ctx context.Context, capability, account string) error {
	err := s.Check(ctx, capability, account)
	if problem := (*provider.NotReadyError)(nil); errors.As(err, &problem) {
		return provider.NotAsked(provider.Final, problem.Message)
	}
	return err
}

// failure keeps the API server's reason, where it is one that Kubernetes documents, and drops its words. What was refused for
// want of rights, or by a rule, is retryable: that is the installation's fault, which can be mended while the grant waits.
func failure(what string, err error) *provider.Error {
	e := provider.NotAsked(provider.Retryable, what+": "+reason(err))
	if apierrors.IsTooManyRequests(err) {
		e.Class = provider.Throttled
	}
	if seconds, ok := apierrors.SuggestsClientDelay(err); ok && seconds > 0 {
		e.RetryAfter = min(time.Duration(seconds)*time.Second, time.Hour)
	}
	return e
}

func reason(err error) string {
	switch r := apierrors.ReasonForError(err); r {
	case metav1.StatusReasonUnauthorized, metav1.StatusReasonForbidden, metav1.StatusReasonNotFound, metav1.StatusReasonConflict, metav1.StatusReasonAlreadyExists,
		metav1.StatusReasonInvalid, metav1.StatusReasonBadRequest, metav1.StatusReasonServerTimeout, metav1.StatusReasonTimeout,
		metav1.StatusReasonTooManyRequests, metav1.StatusReasonInternalError, metav1.StatusReasonServiceUnavailable:
		return string(r)
	case metav1.StatusReasonUnknown:
		return "the API server did not answer"
	default:
		return "the API server refused"
	}
}
