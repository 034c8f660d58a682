// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package google stands in for Google Cloud, for which there is no emulator: the Security Token Service with workload identity federation
// and credential access boundaries, the Service Account Credentials API, and as much of Cloud Storage as shows what a token can do. It is
// written from the public references, with the checks that they document.
package google

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// Server is a project with one workload identity provider.
type Server struct {
	// WorkloadIdentityProvider is the provider's resource name. It trusts Issuer, whose keys are Keys.
	WorkloadIdentityProvider, Issuer string
	Keys                             func(ctx context.Context) (jose.JSONWebKeySet, error)
	// Accounts are the service accounts by their e-mail addresses.
	Accounts map[string]Account

	mu      sync.Mutex
	tokens  map[string]*token
	objects map[string]map[string]bool
	reasons []string
}

// Account is a service account.
type Account struct {
	// Users are the subjects that have roles/iam.workloadIdentityUser on it.
	Users []string
	// Roles that it has on buckets.
	Roles map[string][]string
}

// token is one that was issued: a federated one, of a subject, or one of a service account.
type token struct {
	subject  string
	account  string
	scopes   []string
	boundary []rule
	expires  time.Time
}

const (
	audiencePrefix = "https://iam.googleapis.com/"
	scopePrefix    = "https://www.googleapis.com/auth/"
	cloudPlatform  = scopePrefix + "cloud-platform"
	federatedTime  = time.Hour
	// longestToken is the longest that a service account's token lives where no organization policy says otherwise.
	longestToken = time.Hour
	tokenType    = "urn:ietf:params:oauth:token-type:"
)

// ServeHTTP answers for all three services, whatever name it is reached by.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/token", s.exchange)
	mux.HandleFunc("POST /v1/projects/-/serviceAccounts/{call}", s.impersonate)
	mux.HandleFunc("GET /storage/v1/b/{bucket}/o", s.list)
	mux.HandleFunc("GET /storage/v1/b/{bucket}/o/{object}", s.get)
	mux.HandleFunc("POST /upload/storage/v1/b/{bucket}/o", s.put)
	mux.ServeHTTP(w, r)
}

// Reasons are what the audit log has of why calls were made.
func (s *Server) Reasons() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.reasons)
}

func (s *Server) store(t *token) string {
	// An access token is long, and of no fixed length.
	text := "ya29." + rand.Text() + rand.Text() + rand.Text() + strings.Repeat("a", 900)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tokens == nil {
		s.tokens = map[string]*token{}
	}
	s.tokens[text] = t
	return text
}

// known is the token that a text is; nil when it is none, or none any more.
func (s *Server) known(text string) *token {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tokens[text]
	if t == nil || !time.Now().Before(t.expires) {
		return nil
	}
	return t
}

func bearer(r *http.Request) string {
	kind, value, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(kind, "Bearer") {
		return ""
	}
	return value
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// refuseOAuth answers as the Security Token Service does, refuse as the other services.
func refuseOAuth(w http.ResponseWriter, code, words string) {
	answer(w, http.StatusBadRequest, map[string]any{"error": code, "error_description": words})
}

func refuse(w http.ResponseWriter, status int, code, words string) {
	answer(w, status, map[string]any{"error": map[string]any{"code": status, "message": words, "status": code}})
}

func (s *Server) exchange(w http.ResponseWriter, r *http.Request) {
	if r.FormValue("grant_type") != "urn:ietf:params:oauth:grant-type:token-exchange" || r.FormValue("requested_token_type") != tokenType+"access_token" {
		refuseOAuth(w, "invalid_request", "Invalid grant type or requested token type.")
		return
	}
	switch r.FormValue("subject_token_type") {
	case tokenType + "jwt":
		s.federate(w, r)
	case tokenType + "access_token":
		s.narrow(w, r)
	default:
		refuseOAuth(w, "invalid_request", "Invalid subject token type.")
	}
}

func (s *Server) federate(w http.ResponseWriter, r *http.Request) {
	if r.FormValue("audience") != "//iam.googleapis.com/"+s.WorkloadIdentityProvider {
		refuseOAuth(w, "invalid_target", "The target service indicated by the \"audience\" parameters is invalid.")
		return
	}
	if !slices.Contains(strings.Fields(r.FormValue("scope")), cloudPlatform) {
		refuseOAuth(w, "invalid_scope", "The scope is invalid.")
		return
	}
	subject, problem := s.verified(r)
	if problem != "" {
		refuseOAuth(w, "invalid_grant", problem)
		return
	}
	text := s.store(&token{subject: subject, expires: time.Now().Add(federatedTime)})
	answer(w, http.StatusOK, map[string]any{"access_token": text, "issued_token_type": tokenType + "access_token", "token_type": "Bearer", "expires_in": int(federatedTime / time.Second)})
}

// verified is the subject of the token that is to be exchanged, or what is wrong with it.
func (s *Server) verified(r *http.Request) (subject, problem string) {
	signed, err := jwt.ParseSigned(r.FormValue("subject_token"), []jose.SignatureAlgorithm{jose.RS256, jose.ES256})
	if err != nil {
		return "", "Unable to parse the ID Token."
	}
	keys, err := s.Keys(r.Context())
	if err != nil {
		return "", "Error connecting to the given credential's issuer."
	}
	var claims jwt.Claims
	if signed.Claims(keys, &claims) != nil {
		return "", "Error verifying the signature of the ID Token."
	}
	switch now := time.Now(); {
	case claims.Issuer != s.Issuer:
		return "", "The issuer in ID Token does not match the expected one."
	case !slices.Contains(claims.Audience, audiencePrefix+s.WorkloadIdentityProvider):
		return "", "The audience in ID Token does not match the expected audience."
	case claims.Expiry == nil || !claims.Expiry.Time().After(now):
		return "", "ID Token has expired."
	case claims.IssuedAt == nil || claims.Expiry.Time().Sub(claims.IssuedAt.Time()) > 24*time.Hour:
		return "", "The lifetime of the ID Token is more than 24 hours."
	case claims.Subject == "":
		return "", "The subject is missing."
	}
	return claims.Subject, ""
}

func (s *Server) impersonate(w http.ResponseWriter, r *http.Request) {
	email, method, _ := strings.Cut(r.PathValue("call"), ":")
	if method != "generateAccessToken" {
		refuse(w, http.StatusNotFound, "NOT_FOUND", "Method not found.")
		return
	}
	caller := s.known(bearer(r))
	if caller == nil || caller.subject == "" {
		refuse(w, http.StatusUnauthorized, "UNAUTHENTICATED", "Request had invalid authentication credentials.")
		return
	}
	account, found := s.Accounts[email]
	if !found || !slices.Contains(account.Users, caller.subject) {
		refuse(w, http.StatusForbidden, "PERMISSION_DENIED", "Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist).")
		return
	}
	var asked struct {
		Scope    []string `json:"scope"`
		Lifetime string   `json:"lifetime"`
	}
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
		refuse(w, http.StatusBadRequest, "INVALID_ARGUMENT", "Invalid JSON payload received.")
		return
	}
	lifetime, err := time.ParseDuration(asked.Lifetime)
	if err != nil || lifetime <= 0 || lifetime > longestToken || len(asked.Scope) == 0 {
		refuse(w, http.StatusBadRequest, "INVALID_ARGUMENT", "The access token lifetime cannot exceed 3600s, and scopes must be provided.")
		return
	}
	s.mu.Lock()
	s.reasons = append(s.reasons, r.Header.Get("X-Goog-Request-Reason"))
	s.mu.Unlock()
	t := &token{account: email, scopes: asked.Scope, expires: time.Now().Add(lifetime).Truncate(time.Second)}
	answer(w, http.StatusOK, map[string]any{"accessToken": s.store(t), "expireTime": t.expires.UTC().Format(time.RFC3339)})
}

func (s *Server) narrow(w http.ResponseWriter, r *http.Request) {
	wide := s.known(r.FormValue("subject_token"))
	if wide == nil || wide.account == "" || len(wide.boundary) > 0 {
		refuseOAuth(w, "invalid_grant", "Invalid subject token.")
		return
	}
	rules, err := parse(r.FormValue("options"))
	if err != nil {
		refuseOAuth(w, "invalid_request", err.Error())
		return
	}
	// What is derived of a service account's token lives as long; expires_in is left out, as it may be.
	text := s.store(&token{account: wide.account, scopes: wide.scopes, boundary: rules, expires: wide.expires})
	answer(w, http.StatusOK, map[string]any{"access_token": text, "issued_token_type": tokenType + "access_token", "token_type": "Bearer"})
}

// permissions of the roles that the stand-in knows.
func permissions(role string) []string {
	switch role {
	case "roles/storage.objectViewer":
		return []string{"storage.objects.get", "storage.objects.list"}
	case "roles/storage.objectCreator":
		return []string{"storage.objects.create"}
	case "roles/storage.objectUser":
		return []string{"storage.objects.get", "storage.objects.list", "storage.objects.create"}
	}
	return nil
}

func has(roles []string, permission string) bool {
	return slices.ContainsFunc(roles, func(role string) bool { return slices.Contains(permissions(role), permission) })
}

// covers reports whether OAuth scopes are enough for a permission.
func covers(scopes []string, permission string) bool {
	wants := []string{cloudPlatform, scopePrefix + "devstorage.full_control", scopePrefix + "devstorage.read_write"}
	if permission != "storage.objects.create" {
		wants = append(wants, scopePrefix+"devstorage.read_only", scopePrefix+"cloud-platform.read-only")
	}
	return slices.ContainsFunc(wants, func(scope string) bool { return slices.Contains(scopes, scope) })
}

// allowed answers a call that is not allowed, and reports whether it is.
func (s *Server) allowed(w http.ResponseWriter, r *http.Request, permission, object, prefix string) bool {
	bucket := r.PathValue("bucket")
	t := s.known(bearer(r))
	if t == nil || t.account == "" {
		refuse(w, http.StatusUnauthorized, "UNAUTHENTICATED", "Invalid Credentials")
		return false
	}
	reaches := len(t.boundary) == 0 || slices.ContainsFunc(t.boundary, func(one rule) bool { return one.allows(bucket, permission, object, prefix) })
	if !reaches || !covers(t.scopes, permission) || !has(s.Accounts[t.account].Roles[bucket], permission) {
		refuse(w, http.StatusForbidden, "PERMISSION_DENIED", fmt.Sprintf("%s does not have %s access to the Google Cloud Storage object.", t.account, permission))
		return false
	}
	return true
}

func (s *Server) list(w http.ResponseWriter, r *http.Request) {
	prefix := r.FormValue("prefix")
	if !s.allowed(w, r, "storage.objects.list", "", prefix) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	items := []map[string]any{}
	for name := range s.objects[r.PathValue("bucket")] {
		if strings.HasPrefix(name, prefix) {
			items = append(items, map[string]any{"name": name})
		}
	}
	answer(w, http.StatusOK, map[string]any{"kind": "storage#objects", "items": items})
}

func (s *Server) get(w http.ResponseWriter, r *http.Request) {
	object := r.PathValue("object")
	if !s.allowed(w, r, "storage.objects.get", object, "") {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.objects[r.PathValue("bucket")][object] {
		refuse(w, http.StatusNotFound, "NOT_FOUND", "No such object.")
		return
	}
	answer(w, http.StatusOK, map[string]any{"kind": "storage#object", "name": object})
}

func (s *Server) put(w http.ResponseWriter, r *http.Request) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	object := query.Get("name")
	if err != nil || object == "" {
		refuse(w, http.StatusBadRequest, "INVALID_ARGUMENT", "Required parameter: name")
		return
	}
	if !s.allowed(w, r, "storage.objects.create", object, "") {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.objects == nil {
		s.objects = map[string]map[string]bool{}
	}
	if s.objects[r.PathValue("bucket")] == nil {
		s.objects[r.PathValue("bucket")] = map[string]bool{}
	}
	s.objects[r.PathValue("bucket")][object] = true
	answer(w, http.StatusOK, map[string]any{"kind": "storage#object", "name": object})
}
