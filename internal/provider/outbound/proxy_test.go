// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package outbound_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/internal/provider/outbound"
)

func TestProxy_LeadsToEverythingButWhatIsListedAndLoopback(t *testing.T) {
	list := []string{"example.net", ".example.org", "*.example.edu", "svc", "10.0.0.0/8", "192.0.2.7", "vault.example.com:8200", "[2001:db8::7]:443", "2001:db8:1::/48"}
	for _, entry := range list {
		if !outbound.IsDestination(entry) {
			t.Errorf("%s is none", entry)
		}
	}
	by := outbound.Proxy("http://proxy.example.com:3128", list)
	for server, proxied := range map[string]bool{
		"https://sts.amazonaws.com": true, "https://api.github.com": true, "https://198.51.100.1": true,
		"https://example.net": false, "https://a.example.net": false, "https://EXAMPLE.NET": false, "https://notexample.net": true,
		"https://example.org": true, "https://a.example.org": false, "https://example.edu": true, "https://a.example.edu": false,
		"https://vault.vault.svc": false, "https://vault.vault.svc:8200": false, "https://vault.vault": true,
		"https://10.1.2.3": false, "https://11.1.2.3": true, "https://192.0.2.7": false, "https://192.0.2.8": true,
		"https://vault.example.com:8200": false, "https://vault.example.com": true,
		"https://[2001:db8::7]": false, "https://[2001:db8::7]:8200": true, "https://[2001:db8:1::9]": false,
		"https://127.0.0.1:8200": false, "https://127.9.9.9": false, "https://localhost": false, "https://[::1]": false,
		"http://sts.example.com": false,
	} {
		at, err := url.Parse(server)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := by(at); err != nil || (got != nil) != proxied {
			t.Errorf("%s: by %v, %v", server, got, err)
		}
	}
}

// TestIsDestination_WhatTheLibraryWouldPassOverIsNone: each would be taken for nothing, or for another host.
func TestIsDestination_WhatTheLibraryWouldPassOverIsNone(t *testing.T) {
	for _, text := range []string{"", " ", "*", "a,b", "a b", "https://example.com", "example.com/", "example.com:", "example.com:0",
		"example.com:65536", "example.com:0443", "example.com:https", "10.0.0", "10.0.0.256", "10.0.0.0/33", "10.0.0.0/", "010.0.0.1", "[::1]",
		":443", ".", "*.", "*example.com", "a.*.example.com", "exa_mple.com", "example.com.", "..example.com", "user@example.com", strings.Repeat("a", 300)} {
		if outbound.IsDestination(text) {
			t.Errorf("%q is one", text)
		}
	}
}
