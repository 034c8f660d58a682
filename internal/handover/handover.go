// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package handover lets Google's client libraries use an access token that lies in a file. None of them reads one: their credentials files
// name a token service at which what a file holds is exchanged. Here that service is on loopback, run by the program that starts the
// command, and gives back what it is shown.
package handover

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"k8s.io/utils/clock"
)

const (
	// nowhere is the token service of a credentials file that nobody has completed. Its host's name is the advice that whoever uses
	// the file as it is finds in the library's error; nothing can answer for it.
	nowhere = "https://start-the-command-with-valetkey-exec.invalid/"
	// accessToken is the type of what is exchanged, and of what for (RFC 8693).
	accessToken   = "urn:ietf:params:oauth:token-type:access_token"
	tokenExchange = "urn:ietf:params:oauth:grant-type:token-exchange"
	// expiresAt is the parameter of the token service's URL that says when the token expires, in seconds since 1970.
	expiresAt = "expires"
	// longestRequest bounds what is read of an exchange.
	longestRequest = 64 << 10
)

// file is a credentials file of the type external_account, as Google's libraries read it.
type file struct {
	Type             string `json:"type"`
	UniverseDomain   string `json:"universe_domain"`
	Audience         string `json:"audience"`
	SubjectTokenType string `json:"subject_token_type"`
	TokenURL         string `json:"token_url"`
	CredentialSource source `json:"credential_source"`
}

type source struct {
	File string `json:"file"`
}

// Credentials is a credentials file for the access token that lies in another. It holds no secret, and works once it is completed.
func Credentials(tokenFile, audience string, expires time.Time) string {
	text, _ := json.Marshal(file{ // strings can always be encoded
		Type: "external_account", UniverseDomain: "googleapis.com", Audience: audience, SubjectTokenType: accessToken,
		TokenURL: nowhere + "?" + expiresAt + "=" + strconv.FormatInt(expires.Unix(), 10), CredentialSource: source{File: tokenFile},
	})
	return string(text)
}

// Complete is the credentials file with the token service at base, such as http://127.0.0.1:40000/path. A file that is not one of
// Credentials' is refused: it is somebody else's business.
func Complete(text []byte, base string) ([]byte, error) {
	var f file
	if json.Unmarshal(text, &f) != nil || f.Type != "external_account" || f.SubjectTokenType != accessToken {
		return nil, errors.New("not a credentials file of Valetkey's")
	}
	u, err := url.Parse(f.TokenURL)
	if err != nil || u.Scheme+"://"+u.Host+"/" != nowhere || u.Query().Get(expiresAt) == "" {
		return nil, errors.New("not a credentials file of Valetkey's")
	}
	f.TokenURL = base + "?" + u.RawQuery
	return json.Marshal(f)
}

// Handler is the token service: it gives back the token that it is shown, with what is left of its life.
func Handler(c clock.PassiveClock) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, longestRequest)
		seconds, err := strconv.ParseInt(r.URL.Query().Get(expiresAt), 10, 64)
		if err != nil || r.PostFormValue("grant_type") != tokenExchange || r.PostFormValue("subject_token_type") != accessToken || r.PostFormValue("subject_token") == "" {
			refuse(w, "invalid_request", "this gives back access tokens that valetkey granted, and nothing else")
			return
		}
		left := seconds - c.Now().Unix()
		if left <= 0 {
			refuse(w, "invalid_grant", fmt.Sprintf("the credential expired %d seconds ago; ask for another grant", -left))
			return
		}
		answer(w, http.StatusOK, map[string]any{"access_token": r.PostFormValue("subject_token"), "issued_token_type": accessToken, "token_type": "Bearer", "expires_in": left})
	})
}

// refuse answers as RFC 6749 has it; the libraries show both words.
func refuse(w http.ResponseWriter, code, words string) {
	answer(w, http.StatusBadRequest, map[string]any{"error": code, "error_description": words})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // whoever asked has gone
}
