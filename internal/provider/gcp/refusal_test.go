// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package gcp_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/provider"
)

// TestIssue_WhatGoogleRefusesIsSorted, in no word of Google's.
func TestIssue_WhatGoogleRefusesIsSorted(t *testing.T) {
	const sts, account = "/v1/token", "generateAccessToken"
	oauth := func(code, description string) string {
		return `{"error":"` + code + `","error_description":"` + description + `"}`
	}
	google := func(status, message, details string) string {
		return `{"error":{"code":403,"message":"` + message + `","status":"` + status + `","details":[` + details + `]}}`
	}
	reason := func(name string) string {
		return `{"@type":"type.googleapis.com/google.rpc.Help"},{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"` + name + `"}`
	}
	for _, tt := range []struct {
		name, path string
		status     int
		body       string
		class      provider.Class
		words      string
	}{
		{"a pool that is disabled", sts, 400, oauth("invalid_target", `The target service indicated by the \"audience\" parameters is invalid. `+
			`This might either be because the pool or provider is disabled or deleted or because it doesn't exist.`),
			provider.Final, "or its pool is disabled or deleted"},
		{"a name that is none of a provider", sts, 400, oauth("invalid_request", `Invalid value for \"audience\". This value should be the full `+
			`resource name of the Identity Provider.`), provider.Final, "projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER"},
		{"an audience that the provider does not allow", sts, 400, oauth("invalid_grant", "The audience in ID Token does not match the expected audience."),
			provider.Retryable, "the audience and the attribute condition"},
		{"an API that is not enabled", account, 403, google("PERMISSION_DENIED", "IAM Service Account Credentials API has not been used in project",
			reason("SERVICE_DISABLED")), provider.Final, "enable iamcredentials.googleapis.com"},
		{"an identity that may not", account, 403, google("PERMISSION_DENIED", "Permission denied on resource (or it may not exist).",
			reason("IAM_PERMISSION_DENIED")), provider.Final, "roles/iam.workloadIdentityUser"},
		{"a reason that nobody knows", account, 403, google("PERMISSION_DENIED", "x", reason("SOMETHING_ELSE")), provider.Final, "is disabled, or lets"},
		{"a service account that is disabled, as 400", account, 400, google("FAILED_PRECONDITION", "Precondition check failed.", ""), provider.Final,
			"gcloud iam service-accounts enable"},
		{"a service account that is disabled, as 403", account, 403, google("PERMISSION_DENIED", "x", ""), provider.Final, "is disabled"},
		{"a service account that is disabled, as 404", account, 404, google("NOT_FOUND", "x", ""), provider.Final, "or it is disabled"},
		{"too many", account, 429, google("RESOURCE_EXHAUSTED", "x", ""), provider.Throttled, "Google throttles"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.refuse = func(path string) func(http.ResponseWriter) {
				if !strings.Contains(path, tt.path) {
					return nil
				}
				return func(rw http.ResponseWriter) {
					rw.WriteHeader(tt.status)
					_, _ = io.WriteString(rw, tt.body)
				}
			}
			c, err := w.Issue(t.Context(), w.lease())
			is := map[provider.Class]bool{provider.Final: provider.IsFinal(err), provider.Throttled: provider.IsThrottled(err), provider.Retryable: provider.IsRetryable(err)}
			if c != nil || !is[tt.class] || !provider.IsRefused(err) || !strings.Contains(err.Error(), tt.words) {
				t.Fatalf("got credential %t, %v", c != nil, err)
			}
			for _, told := range []string{"SOMETHING", "might", "Precondition", "(or it"} {
				if strings.Contains(err.Error(), told) {
					t.Errorf("Google's own words are repeated: %v", err)
				}
			}
		})
	}
}

// TestIssue_ALifetimeIsAskedForAsItIs: Google's own libraries bound it to ten minutes at the least, or an hour at the most.
func TestIssue_ALifetimeIsAskedForAsItIs(t *testing.T) {
	for ttl, given := range map[time.Duration]bool{10 * time.Second: true, 5 * time.Minute: true, time.Hour: true, time.Hour + time.Second: false, 12 * time.Hour: false} {
		w := newWorld(t)
		l := w.lease()
		l.TTL = ttl
		c, err := w.Issue(t.Context(), l)
		if (err == nil) != given {
			t.Errorf("%s: %v", ttl, err)
		}
		if err != nil && (!provider.IsFinal(err) || !strings.Contains(err.Error(), "iam.allowServiceAccountCredentialLifetimeExtension")) {
			t.Errorf("%s: %v", ttl, err)
		}
		if err == nil && time.Until(c.ExpiresAt()) > ttl {
			t.Errorf("%s: it works until %s", ttl, c.ExpiresAt())
		}
	}
}

// TestIssue_AUniverseOfTheEnvironmentDoesNotCount: the token goes to Google's hosts, or to those of a flag.
func TestIssue_AUniverseOfTheEnvironmentDoesNotCount(t *testing.T) {
	t.Setenv("GOOGLE_CLOUD_UNIVERSE_DOMAIN", "universe.example.com")
	w := newWorld(t)
	c, err := w.Issue(t.Context(), w.lease())
	if err != nil || !w.puts(t, tokenOf(c), "previews", "web-app/index.html") {
		t.Fatalf("%v", err)
	}
	if text := c.Files()["gcp/credentials"]; strings.Contains(text, "universe.example.com") || !strings.Contains(text, `"universe_domain":"googleapis.com"`) {
		t.Errorf("the container is told of another universe: %s", text)
	}
}
