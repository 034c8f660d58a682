// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package identity_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/valetkey/valetkey/internal/identity"
	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/internal/provider/outbound/outboundtest"
)

// tokenUntil is an answer to whoever asks for a token.
func tokenUntil(until time.Time) string {
	payload := base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"jti":"1","sub":"x","aud":["x"],"iat":1,"exp":%d,`+
		`"kubernetes.io":{"secret":{"name":"x","uid":"1"}}}`, until.Unix()))
	return fmt.Sprintf(`{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","status":{"token":"e30.%s.e30","expirationTimestamp":%q}}`,
		payload, until.UTC().Format(time.RFC3339))
}

// endingAt is a source at an API server that answers the first question with a method so, and is the one of [said] otherwise.
func endingAt(t *testing.T, method, path, answer string) *identity.Source {
	t.Helper()
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == method && strings.HasSuffix(r.URL.Path, path) {
			if asked++; asked == 1 {
				w.Header().Set("Content-Type", "application/json")
				_, _ = w.Write([]byte(answer))
				return
			}
		}
		(&said{}).ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	client, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL, ContentConfig: rest.ContentConfig{ContentType: "application/json"}})
	if err != nil {
		t.Fatal(err)
	}
	return identity.NewSource(client, "identities")
}

// TestUnbind_WhatIsAnsweredOtherwiseCounts: an anchor's deletion is answered with that it was done, or with the anchor.
func TestUnbind_WhatIsAnsweredOtherwiseCounts(t *testing.T) {
	const day = 24 * time.Hour
	secret := func(name string, data map[string][]byte) string {
		text, _ := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": name}, "data": data})
		return string(text)
	}
	for name, row := range map[string]struct {
		answer     string
		mismatched bool
		unknown    bool
	}{
		"it was done":     {`{"apiVersion":"v1","kind":"Status","status":"Success","details":{"name":"anchor","kind":"secrets"}}`, false, false},
		"the anchor":      {secret("anchor", nil), false, false},
		"another Secret":  {secret("other", nil), true, true},
		"a Secret's data": {secret("anchor", map[string][]byte{"token": []byte("x")}), true, true},
		"a token":         {tokenUntil(time.Now().Add(day)), true, false},
		"a text":          {`{"apiVersion":"v1","kind":"Status","status":"Success","message":"x"}`, true, true},
		"a page":          {`<html>`, true, true},
		"nothing":         {``, true, true},
	} {
		err := endingAt(t, http.MethodDelete, "/anchor", row.answer).Unbind(t.Context(), "anchor")
		if (err != nil) != row.mismatched {
			t.Errorf("%s: got %v", name, err)
		}
		if row.mismatched {
			outboundtest.ExpectMismatched(t, err, time.Now(), time.Now().Add(day), row.unknown)
		}
	}
}

// TestAccepted_OnlyAReviewOfTheTokenSaysThatItIsNot: what is none says nothing of it either.
func TestAccepted_OnlyAReviewOfTheTokenSaysThatItIsNot(t *testing.T) {
	token, err := endingAt(t, "", "", "").Token(t.Context(), "publish", "publisher", "vault")
	if err != nil {
		t.Fatal(err)
	}
	review := func(of string) string {
		return fmt.Sprintf(`{"apiVersion":"authentication.k8s.io/v1","kind":"TokenReview","spec":{"token":%q},"status":{"error":"it is none"}}`, of)
	}
	for name, row := range map[string]struct {
		answer     string
		mismatched bool
	}{
		"its review":     {review(token.Reveal()), false},
		"another's":      {review("another"), true},
		"a token":        {tokenUntil(time.Now().Add(time.Hour)), true},
		"an empty one":   {`{}`, true},
		"a page":         {`<html>`, true},
		"a plain status": {`{"apiVersion":"v1","kind":"Status","status":"Success"}`, true},
	} {
		accepted, err := endingAt(t, http.MethodPost, "/tokenreviews", row.answer).Accepted(t.Context(), token)
		if accepted || (err != nil) != row.mismatched || provider.IsMismatched(err) != row.mismatched {
			t.Errorf("%s: accepted %t, mismatched %t, %v", name, accepted, provider.IsMismatched(err), err)
		}
	}
}
