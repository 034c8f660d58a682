// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package identity_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/identity"
	"github.com/valetkey/valetkey/internal/provider"
)

const secretToken = "header.payload.signature"

// api is as much of an API server as the source asks.
type api struct {
	account *corev1.ServiceAccount
	// refusal, when set, is the answer to the operation get or create.
	refusal   *metav1.Status
	operation string
	answer    string
	// changes, when set, is what somebody's rule makes of what is asked for.
	changes func(*authenticationv1.TokenRequestSpec)
	// asked are the token requests that came, by path.
	asked map[string]authenticationv1.TokenRequestSpec
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	operation := map[string]string{http.MethodGet: "get", http.MethodPost: "create"}[r.Method]
	if a.refusal != nil && operation == a.operation {
		w.WriteHeader(int(a.refusal.Code))
		_ = json.NewEncoder(w).Encode(a.refusal)
		return
	}
	if operation == "get" {
		_ = json.NewEncoder(w).Encode(a.account)
		return
	}
	var request authenticationv1.TokenRequest
	_ = json.NewDecoder(r.Body).Decode(&request)
	a.asked[r.URL.Path] = request.Spec
	request.TypeMeta = metav1.TypeMeta{APIVersion: "authentication.k8s.io/v1", Kind: "TokenRequest"}
	request.Status.Token = a.answer
	if a.changes != nil {
		a.changes(&request.Spec)
	}
	_ = json.NewEncoder(w).Encode(request)
}

func newAPI() *api {
	return &api{
		account: &corev1.ServiceAccount{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"},
			ObjectMeta: metav1.ObjectMeta{Name: "publisher", Namespace: "identities", Annotations: map[string]string{v1alpha1.AnnotationCapability: "publish"}},
		},
		answer: secretToken, asked: map[string]authenticationv1.TokenRequestSpec{},
	}
}

func (a *api) source(t *testing.T) *identity.Source {
	t.Helper()
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	client, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL, ContentConfig: rest.ContentConfig{ContentType: "application/json"}})
	if err != nil {
		t.Fatal(err)
	}
	return identity.NewSource(client, "identities")
}

func status(code int32, reason metav1.StatusReason) *metav1.Status {
	return &metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure,
		Code: code, Reason: reason, Message: "the words of the API server, with " + secretToken,
	}
}

func TestATokenIsForOneAudienceAndTenMinutes(t *testing.T) {
	a := newAPI()
	token, err := a.source(t).Token(t.Context(), "publish", "publisher", "sts.amazonaws.com")
	if err != nil {
		t.Fatal(err)
	}
	if token.Reveal() != secretToken {
		t.Error("another token than the API server's")
	}
	seconds := int64(600)
	want := map[string]authenticationv1.TokenRequestSpec{
		"/api/v1/namespaces/identities/serviceaccounts/publisher/token": {Audiences: []string{"sts.amazonaws.com"}, ExpirationSeconds: &seconds},
	}
	if diff := cmp.Diff(want, a.asked); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
}

func TestAnAccountThatIsNotTheCapabilitysIdentityIsRefused(t *testing.T) {
	tests := map[string]func(*api){
		"it names another capability": func(a *api) { a.account.Annotations[v1alpha1.AnnotationCapability] = "deploy" },
		"it names none":               func(a *api) { a.account.Annotations = nil },
		"it is being deleted":         func(a *api) { now := metav1.Now(); a.account.DeletionTimestamp = &now },
		"there is none":               func(a *api) { a.operation, a.refusal = "get", status(http.StatusNotFound, metav1.StatusReasonNotFound) },
	}
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			a := newAPI()
			spoil(a)
			source := a.source(t)
			err := source.Check(t.Context(), "publish", "publisher")
			var problem *provider.NotReadyError
			if !errors.As(err, &problem) || problem.Reason != v1alpha1.ReasonIdentityInvalid {
				t.Errorf("check: got %v, want IdentityInvalid", err)
			}
			token, err := source.Token(t.Context(), "publish", "publisher", "sts.amazonaws.com")
			if token.Reveal() != "" || !provider.IsFinal(err) || !provider.IsRefused(err) {
				t.Errorf("token: got %v, want a final refusal", err)
			}
			if len(a.asked) != 0 {
				t.Error("a token was asked for all the same")
			}
		})
	}
}

func TestTheCapabilitysOwnIdentityIsAccepted(t *testing.T) {
	if err := newAPI().source(t).Check(t.Context(), "publish", "publisher"); err != nil {
		t.Error(err)
	}
}

func TestWithoutAnAudienceThereIsNoToken(t *testing.T) {
	a := newAPI()
	if _, err := a.source(t).Token(t.Context(), "publish", "publisher", ""); !provider.IsFinal(err) || len(a.asked) != 0 {
		t.Errorf("got %v, want a final refusal: such a token would be good for the API server", err)
	}
}

func TestWhatTheAPIServerAnswersIsSortedAndNotRepeated(t *testing.T) {
	throttled := status(http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests)
	throttled.Details = &metav1.StatusDetails{RetryAfterSeconds: 7}
	odd := status(http.StatusTeapot, metav1.StatusReason("Reason"+secretToken))
	tests := []struct {
		name      string
		operation string
		refusal   *metav1.Status
		class     provider.Class
		after     time.Duration
		message   string
	}{
		{"no right to look", "get", status(http.StatusForbidden, metav1.StatusReasonForbidden), provider.Retryable, 0, "looking up ServiceAccount publisher: Forbidden"},
		{"no right to ask, or a rule against it", "create", status(http.StatusForbidden, metav1.StatusReasonForbidden), provider.Retryable, 0, "asking for a token of ServiceAccount publisher: Forbidden"},
		{"an internal error", "create", status(http.StatusInternalServerError, metav1.StatusReasonInternalError), provider.Retryable, 0, "asking for a token of ServiceAccount publisher: InternalError"},
		{"too many requests", "create", throttled, provider.Throttled, 7 * time.Second, "asking for a token of ServiceAccount publisher: TooManyRequests"},
		{"a reason that Kubernetes does not know", "create", odd, provider.Retryable, 0, "asking for a token of ServiceAccount publisher: the API server refused"},
		{"it went in between", "create", status(http.StatusNotFound, metav1.StatusReasonNotFound), provider.Retryable, 0, "asking for a token of ServiceAccount publisher: NotFound"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a := newAPI()
			a.operation, a.refusal = test.operation, test.refusal
			_, err := a.source(t).Token(t.Context(), "publish", "publisher", "sts.amazonaws.com")
			want := provider.NotAsked(test.class, test.message)
			want.RetryAfter = test.after
			if diff := cmp.Diff(error(want), err, cmp.AllowUnexported(provider.Error{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestAnEmptyAnswerIsNoToken(t *testing.T) {
	a := newAPI()
	a.answer = ""
	if _, err := a.source(t).Token(t.Context(), "publish", "publisher", "sts.amazonaws.com"); !provider.IsRetryable(err) || !provider.IsRefused(err) {
		t.Errorf("got %v, want a retryable refusal", err)
	}
}

func TestACallerWhoGaveUpMayTryAgain(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := newAPI().source(t).Token(ctx, "publish", "publisher", "sts.amazonaws.com")
	if !provider.IsRetryable(err) || !provider.IsRefused(err) || err.Error() != "looking up ServiceAccount publisher: the API server did not answer" {
		t.Errorf("got %v", err)
	}
}

func TestATokenIsPrintedNowhere(t *testing.T) {
	token, err := newAPI().source(t).Token(t.Context(), "publish", "publisher", "sts.amazonaws.com")
	if err != nil {
		t.Fatal(err)
	}
	type holder struct{ token identity.Token }
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "%t"} {
		for _, value := range []any{token, &token, holder{token}, &holder{token}, []identity.Token{token}} {
			if text := fmt.Sprintf(verb, value); strings.Contains(text, secretToken) || strings.Contains(text, fmt.Sprintf("%x", secretToken)) {
				t.Errorf("%s of %T prints the token", verb, value)
			}
		}
	}
	if text, err := json.Marshal(map[string]any{"token": token}); err != nil || strings.Contains(string(text), secretToken) {
		t.Errorf("json prints the token, or fails: %v", err)
	}
	if (identity.Token{}).Reveal() != "" {
		t.Error("no token reveals something")
	}
}

// TestToken_OneForAnotherTimeOrAudienceIsNotSent: somebody's admission rule has the API server make another than was asked for. One that lives
// longer would have a back end issue for a question that reaches it late.
func TestToken_OneForAnotherTimeOrAudienceIsNotSent(t *testing.T) {
	for name, row := range map[string]struct {
		changes func(*authenticationv1.TokenRequestSpec)
		taken   bool
	}{
		"an hour":           {func(s *authenticationv1.TokenRequestSpec) { *s.ExpirationSeconds = 3600 }, false},
		"no time":           {func(s *authenticationv1.TokenRequestSpec) { s.ExpirationSeconds = nil }, false},
		"another audience":  {func(s *authenticationv1.TokenRequestSpec) { s.Audiences = []string{"other"} }, false},
		"one audience more": {func(s *authenticationv1.TokenRequestSpec) { s.Audiences = append(s.Audiences, "other") }, false},
		"a shorter time":    {func(s *authenticationv1.TokenRequestSpec) { *s.ExpirationSeconds = 300 }, true},
	} {
		a := newAPI()
		a.changes = row.changes
		_, err := a.source(t).Token(t.Context(), "publish", "publisher", "sts.amazonaws.com")
		if (err == nil) != row.taken {
			t.Errorf("%s: %v", name, err)
		}
	}
}
