// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package gcp_test

import (
	"strings"
	"testing"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/provider"
)

// TestIssue_ATokenThatWasSentIsNotTakenForTheAnswer: each exchange gives another token than the one it was sent, or
// than any before.
func TestIssue_ATokenThatWasSentIsNotTakenForTheAnswer(t *testing.T) {
	narrows := func(path string, a map[string]any) (string, bool) {
		return "access_token", path == "/v1/token" && a["expires_in"] == nil
	}
	impersonates := func(path string, _ map[string]any) (string, bool) {
		return "accessToken", strings.Contains(path, "generateAccessToken")
	}
	federates := func(path string, a map[string]any) (string, bool) {
		return "access_token", path == "/v1/token" && a["expires_in"] != nil
	}
	// The tokens in the order in which they come: the identity's, the federated one, the account's.
	for _, tt := range []struct {
		name   string
		step   func(path string, a map[string]any) (string, bool)
		before int
		spoil  func(string) string
	}{
		{"the account's token for the narrowed one", narrows, 2, nil},
		{"the federated token for the narrowed one", narrows, 1, nil},
		{"the identity's token for the narrowed one", narrows, 0, nil},
		{"the account's token within the narrowed one", narrows, 2, func(s string) string { return s + "." }},
		{"the federated token for the account's", impersonates, 1, nil},
		{"the identity's token for the account's", impersonates, 0, nil},
		{"the identity's token for the federated one", federates, 0, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.change = func(path string, a map[string]any) {
				name, is := tt.step(path, a)
				if !is {
					return
				}
				a[name] = w.secrets()[tt.before]
				if tt.spoil != nil {
					a[name] = tt.spoil(w.secrets()[tt.before])
				}
			}
			c, err := w.Issue(t.Context(), w.lease())
			if c != nil || !provider.IsFinal(err) || provider.IsRefused(err) {
				t.Fatalf("got credential %t, refused %t, error %v", c != nil, provider.IsRefused(err), err)
			}
			for _, secret := range w.secrets() {
				if strings.Contains(err.Error(), secret) {
					t.Error("the error tells a token")
				}
			}
		})
	}
}

func TestRender_AScopeOfMoreThanOneServiceIsAccepted(t *testing.T) {
	for scope, narrow := range map[string]bool{
		"devstorage.read_write": true, "bigquery": true, "bigquery.readonly": true, "logging.read": true, "ndev.clouddns.readwrite": true, "userinfo.email": true,
		"cloud-platform": false, "cloud-platform.read-only": false, "iam": false, "compute": false, "appengine.admin": false, "ndev.cloudman": false,
		"bigquery-and-more": false, "devstorages": false, "something.new": false,
	} {
		t.Run(scope, func(t *testing.T) {
			w := newWorld(t)
			l := w.lease()
			c := l.Capability.Spec.GCP
			// A narrow scope beside it does not help.
			c.Boundary, c.Scopes = nil, []string{readWrite, "https://www.googleapis.com/auth/" + scope}
			if _, err := w.Render(t.Context(), l.Capability, l.Values); (err == nil) != narrow || err != nil && !strings.Contains(err.Error(), "the scope "+scope+" is not known") {
				t.Errorf("without a boundary: %v", err)
			}
			c.Accept = []v1alpha1.GCPAcceptance{v1alpha1.AcceptWholeServiceAccount}
			if _, err := w.Render(t.Context(), l.Capability, l.Values); err != nil {
				t.Errorf("accepted: %v", err)
			}
			c.Accept, c.Boundary = nil, w.lease().Capability.Spec.GCP.Boundary
			if _, err := w.Render(t.Context(), l.Capability, l.Values); err != nil {
				t.Errorf("with a boundary: %v", err)
			}
		})
	}
}
