// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package github

import "testing"

// TestGitServer_IsWhereGitFindsTheRepositories of each kind of GitHub.
// Source: https://docs.github.com/en/enterprise-cloud@latest/admin/data-residency and
// https://docs.github.com/en/enterprise-server@latest/rest/quickstart.
func TestGitServer_IsWhereGitFindsTheRepositories(t *testing.T) {
	for api, want := range map[string]string{
		OwnAPI:                              "https://github.com",
		"https://github.example.com/api/v3": "https://github.example.com",
		"https://api.acme.ghe.com":          "https://acme.ghe.com",
		"https://api.acme.ghe.com:443":      "https://acme.ghe.com:443",
		"https://api.example.com/api/v3":    "https://api.example.com",
	} {
		if got := gitServer(api).String(); got != want {
			t.Errorf("%s: %s, want %s", api, got, want)
		}
	}
}
