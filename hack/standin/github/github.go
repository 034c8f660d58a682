// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package github stands in for GitHub's API, for which there is no emulator: the part that installation tokens need, written from the
// public REST reference, with every check that it documents.
package github

import (
	"crypto"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// Server is one App, installed once.
type Server struct {
	// AppID, and the public key of the App.
	AppID int64
	Key   crypto.PublicKey
	// InstallationID at the Owner of the Repositories, with the Permissions that the owner gave.
	InstallationID int64
	Owner          string
	Repositories   []string
	Permissions    map[string]string
	// Renamed are the repositories that had another name, by that name in lower case.
	Renamed map[string]string

	mu     sync.Mutex
	tokens map[string]*token
}

type token struct {
	repositories []string
	permissions  map[string]string
	expires      time.Time
}

const (
	tokenTime = time.Hour
	// longestProof is how long an App's own token may live.
	longestProof = 10 * time.Minute
	skew         = time.Minute
)

// ServeHTTP answers as GitHub does.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /app/installations/{id}/access_tokens", s.create)
	mux.HandleFunc("DELETE /installation/token", s.revoke)
	mux.HandleFunc("GET /installation/repositories", s.repositories)
	mux.HandleFunc("GET /repos/{owner}/{repo}/actions/artifacts", s.artifacts)
	mux.ServeHTTP(w, r)
}

func refuse(w http.ResponseWriter, status int, message string) {
	answer(w, status, map[string]any{"message": message, "status": strconv.Itoa(status),
		"documentation_url": "https://docs.github.com/rest"})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func bearer(r *http.Request) string {
	kind, value, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(kind, "Bearer") && !strings.EqualFold(kind, "token") {
		return ""
	}
	return value
}

// proven says what is wrong with the App's own token.
func (s *Server) proven(text string) string {
	signed, err := jwt.ParseSigned(text, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		return "A JSON web token could not be decoded"
	}
	var claims jwt.Claims
	if signed.Claims(s.Key, &claims) != nil {
		return "A JSON web token could not be decoded"
	}
	now := time.Now()
	switch {
	case claims.Issuer != strconv.FormatInt(s.AppID, 10):
		return "'Issuer' claim ('iss') must be an Integer"
	case claims.Expiry == nil || claims.IssuedAt == nil || claims.IssuedAt.Time().After(now.Add(skew)):
		return "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued"
	case !claims.Expiry.Time().After(now) || claims.Expiry.Time().After(now.Add(longestProof)):
		return "'Expiration time' claim ('exp') is too far in the future"
	}
	return ""
}

func (s *Server) create(w http.ResponseWriter, r *http.Request) {
	if problem := s.proven(bearer(r)); problem != "" {
		refuse(w, http.StatusUnauthorized, problem)
		return
	}
	if r.PathValue("id") != strconv.FormatInt(s.InstallationID, 10) {
		refuse(w, http.StatusNotFound, "Not Found")
		return
	}
	var asked struct {
		Repositories []string          `json:"repositories"`
		Permissions  map[string]string `json:"permissions"`
	}
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
		refuse(w, http.StatusBadRequest, "Problems parsing JSON")
		return
	}
	t := &token{repositories: make([]string, len(asked.Repositories)),
		permissions: map[string]string{"metadata": "read"}, expires: time.Now().Add(tokenTime).Truncate(time.Second)}
	for i, name := range asked.Repositories {
		if t.repositories[i] = s.named(name); t.repositories[i] == "" {
			refuse(w, http.StatusUnprocessableEntity, "There is at least one repository that does not exist or is not accessible to the parent installation.")
			return
		}
	}
	if len(asked.Repositories) == 0 {
		t.repositories = s.Repositories
	}
	if len(asked.Permissions) == 0 {
		asked.Permissions = s.Permissions
	}
	levels := []string{"", "read", "write", "admin"}
	for name, access := range asked.Permissions {
		if level := slices.Index(levels, access); level < 1 || level > slices.Index(levels, s.Permissions[name]) {
			refuse(w, http.StatusUnprocessableEntity, "The permissions requested are not granted to this installation.")
			return
		}
		t.permissions[name] = access
	}
	// Since April 2026 tokens are long, and of no fixed length.
	text := fmt.Sprintf("ghs_%d_%s.%s", s.AppID, rand.Text()+rand.Text(), rand.Text()+rand.Text()+rand.Text())
	s.mu.Lock()
	if s.tokens == nil {
		s.tokens = map[string]*token{}
	}
	s.tokens[text] = t
	s.mu.Unlock()
	answer(w, http.StatusCreated, map[string]any{"token": text, "expires_at": t.expires.UTC().Format(time.RFC3339), "permissions": t.permissions,
		"repository_selection": "selected", "repositories": s.described(t)})
}

// named is a repository's present name, whatever name it is asked for by and in whatever case; empty if there is
// none.
func (s *Server) named(name string) string {
	if now, renamed := s.Renamed[strings.ToLower(name)]; renamed {
		name = now
	}
	at := slices.IndexFunc(s.Repositories, func(r string) bool { return strings.EqualFold(r, name) })
	if at < 0 {
		return ""
	}
	return s.Repositories[at]
}

func (s *Server) described(t *token) []map[string]any {
	list := []map[string]any{}
	for i, name := range t.repositories {
		list = append(list, map[string]any{"id": i + 1, "name": name, "full_name": s.Owner + "/" + name})
	}
	return list
}

// known is the token that a request brings; nil, with an answer, when it is none, or none any more.
func (s *Server) known(w http.ResponseWriter, r *http.Request) *token {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tokens[bearer(r)]
	if t == nil || !time.Now().Before(t.expires) {
		refuse(w, http.StatusUnauthorized, "Bad credentials")
		return nil
	}
	return t
}

func (s *Server) revoke(w http.ResponseWriter, r *http.Request) {
	if s.known(w, r) == nil {
		return
	}
	s.mu.Lock()
	delete(s.tokens, bearer(r))
	s.mu.Unlock()
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) repositories(w http.ResponseWriter, r *http.Request) {
	t := s.known(w, r)
	if t == nil {
		return
	}
	all := s.described(t)
	if page := r.URL.Query().Get("page"); page != "" && page != "1" {
		all = all[:0] // it has not so many
	}
	answer(w, http.StatusOK, map[string]any{"total_count": len(t.repositories), "repository_selection": "selected", "repositories": all})
}

func (s *Server) artifacts(w http.ResponseWriter, r *http.Request) {
	t := s.known(w, r)
	switch {
	case t == nil:
	case !strings.EqualFold(r.PathValue("owner"), s.Owner),
		!slices.Contains(t.repositories, s.named(r.PathValue("repo"))):
		refuse(w, http.StatusNotFound, "Not Found")
	case t.permissions["actions"] == "":
		refuse(w, http.StatusForbidden, "Resource not accessible by integration")
	default:
		answer(w, http.StatusOK, map[string]any{"total_count": 0, "artifacts": []any{}})
	}
}
