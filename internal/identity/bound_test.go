// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package identity_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/valetkey/valetkey/internal/identity"
	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/internal/provider/outbound/outboundtest"
)

// said is what a server that is no API server says of a token, in the token and beside it.
type said struct {
	claims  map[string]any
	expires time.Time
	deleted bool
}

func (s *said) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	switch r.Method + " " + r.URL.Path {
	case "GET /api/v1/namespaces/identities/serviceaccounts/publisher":
		_ = json.NewEncoder(w).Encode(newAPI().account)
	case "POST /api/v1/namespaces/identities/secrets":
		_ = json.NewEncoder(w).Encode(map[string]any{"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": "anchor", "uid": "1"}})
	case "POST /api/v1/namespaces/identities/serviceaccounts/publisher/token":
		payload, _ := json.Marshal(s.claims)
		token := "e30." + base64.RawURLEncoding.EncodeToString(payload) + ".e30"
		asked := map[string]any{}
		_ = json.NewDecoder(r.Body).Decode(&asked)
		_ = json.NewEncoder(w).Encode(map[string]any{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": asked["spec"],
			"status": map[string]any{"token": token, "expirationTimestamp": metav1.NewTime(s.expires)}})
	case "POST /apis/authentication.k8s.io/v1/tokenreviews":
		asked := map[string]any{}
		_ = json.NewDecoder(r.Body).Decode(&asked)
		_ = json.NewEncoder(w).Encode(map[string]any{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": asked["spec"],
			"status": map[string]any{"authenticated": true, "audiences": []string{"https://issuer.example.com", "https://kubernetes"}}})
	default:
		s.deleted = s.deleted || r.Method == http.MethodDelete
		w.WriteHeader(http.StatusNotFound)
		_ = json.NewEncoder(w).Encode(status(http.StatusNotFound, metav1.StatusReasonNotFound))
	}
}

func TestBind_ATokenThatWasNotAskedForIsGivenToNobody(t *testing.T) {
	begun := time.Now()
	for _, tt := range []struct {
		name  string
		spoil func(*said)
		given bool
	}{
		{"what was asked for", func(*said) {}, true},
		{"an hour for a quarter", func(s *said) {
			s.claims["exp"], s.expires = begun.Add(time.Hour).Unix(), begun.Add(time.Hour)
		}, false},
		{"a token that lives longer than is said", func(s *said) { s.expires = begun.Add(10 * time.Minute) }, false},
		{"a token that says no end", func(s *said) { delete(s.claims, "exp") }, false},
		{"a token that says no beginning", func(s *said) { delete(s.claims, "iat") }, false},
		{"another account's", func(s *said) { s.claims["sub"] = "system:serviceaccount:identities:admin" }, false},
		{"another account's, behind a name that is read as the same", func(s *said) {
			s.claims["sub"], s.claims["\u017fub"] = "system:serviceaccount:identities:admin", s.claims["sub"]
		}, false},
		{"one for another audience, too", func(s *said) {
			s.claims["aud"] = []string{"https://kubernetes", "https://issuer.example.com", "https://artifacts.internal"}
		}, false},
		{"one for another audience", func(s *said) { s.claims["aud"] = []string{"https://artifacts.internal"} }, false},
		{"one for no audience", func(s *said) { delete(s.claims, "aud") }, false},
		{"one that is not bound", func(s *said) { delete(s.claims, "kubernetes.io") }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &said{expires: begun.Add(15 * time.Minute), claims: map[string]any{
				"jti": "1", "aud": []string{"https://kubernetes", "https://issuer.example.com"}, "sub": "system:serviceaccount:identities:publisher", "iat": begun.Unix(), "exp": begun.Add(15 * time.Minute).Unix(),
				"kubernetes.io": map[string]any{"secret": map[string]any{"name": "anchor", "uid": "1"}},
			}}
			tt.spoil(s)
			server := httptest.NewServer(s)
			defer server.Close()
			client, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL, ContentConfig: rest.ContentConfig{ContentType: "application/json"}})
			if err != nil {
				t.Fatal(err)
			}
			bound, err := identity.NewSource(client, "identities").Bind(t.Context(), "publish", "publisher", "anchor", 15*time.Minute)
			if (err == nil) != tt.given || (bound.Reveal() != "") != tt.given || s.deleted == tt.given || err != nil && (!provider.IsMismatched(err) || provider.IsRefused(err)) {
				t.Errorf("given %t, ended %t, error %v", bound.Reveal() != "", s.deleted, err)
			}
			if err != nil {
				outboundtest.ExpectMismatched(t, err, begun, begun.Add(10*time.Minute), provider.StillWorks(err).Unknown)
			}
			last, says := s.expires, s.claims["exp"] != nil
			if exp, _ := s.claims["exp"].(int64); exp > last.Unix() {
				last = time.Unix(exp, 0)
			}
			if works := provider.StillWorks(err); err != nil && says && works.Until.Unix() != last.Unix() && !works.Unknown {
				t.Errorf("it works until %s, want %s", works.Until, last)
			}
		})
	}
}

// TestBind_AnAnchorIsGoneOnlyWhereTheAPIServerSaysSo: a token whose answer was lost works as long as its anchor is there.
func TestBind_AnAnchorIsGoneOnlyWhereTheAPIServerSaysSo(t *testing.T) {
	own, err := json.Marshal(status(http.StatusNotFound, metav1.StatusReasonNotFound))
	if err != nil {
		t.Fatal(err)
	}
	for body, refused := range map[string]bool{
		string(own): true, "": false, "{}": false, "null": false, "404 page not found\n": false,
		"<html>Not Found</html>": false, `{"message":"Not Found"}`: false,
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.Method == http.MethodDelete:
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(http.StatusNotFound)
				_, _ = w.Write([]byte(body))
			case r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/token"):
				w.WriteHeader(http.StatusBadGateway)
			default:
				(&said{}).ServeHTTP(w, r)
			}
		}))
		client, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL,
			ContentConfig: rest.ContentConfig{ContentType: "application/json"}})
		if err != nil {
			t.Fatal(err)
		}
		source := identity.NewSource(client, "identities")
		bound, err := source.Bind(t.Context(), "publish", "publisher", "anchor", 15*time.Minute)
		server.Close()
		if bound.Reveal() != "" || provider.IsRefused(err) != refused {
			t.Errorf("%q: given %t, refused %t: %v", body, bound.Reveal() != "", provider.IsRefused(err), err)
		}
	}
}

// TestBind_AnAnswerThatCannotBeReadIsNoLostOne: without its anchor a token that was asked for is worth nothing, and one that
// was answered may be bound to none.
func TestBind_AnAnswerThatCannotBeReadIsNoLostOne(t *testing.T) {
	for name, row := range map[string]struct {
		answer     http.HandlerFunc
		mismatched bool
	}{
		"a success that is none": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusCreated)
			_, _ = w.Write([]byte("<html>"))
		}, true},
		"it hangs up": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, false},
		"it refuses": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			_ = json.NewEncoder(w).Encode(status(http.StatusForbidden, metav1.StatusReasonForbidden))
		}, false},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/token") {
				row.answer(w, r)
				return
			}
			(&said{}).ServeHTTP(w, r)
		}))
		client, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL, ContentConfig: rest.ContentConfig{ContentType: "application/json"}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = identity.NewSource(client, "identities").Bind(t.Context(), "publish", "publisher", "anchor", 15*time.Minute)
		server.Close()
		if err == nil || provider.IsMismatched(err) != row.mismatched || provider.IsRefused(err) == row.mismatched {
			t.Errorf("%s: mismatched %t, refused %t, %v", name, provider.IsMismatched(err), provider.IsRefused(err), err)
		}
	}
}
