// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package outbound

import "testing"

func TestIsOneOf_ServersAreComparedAndNotTheirTexts(t *testing.T) {
	for _, tt := range []struct {
		allowed, asked string
		same           bool
	}{
		{"https://sts.example.com", "https://sts.example.com", true},
		{"https://sts.example.com/", "https://sts.example.com", true},
		{"https://STS.Example.com", "https://sts.example.com", true},
		{"HTTPS://sts.example.com", "https://sts.example.com", true},
		{"https://sts.example.com:443", "https://sts.example.com", true},
		{"https://sts.example.com", "https://sts.example.com:443", true},
		{"http://sts.example.com:80", "http://sts.example.com", true},
		{"https://github.example.com/api/v3/", "https://github.example.com/api/v3", true},
		{"https://[::1]:443", "https://[::1]", true},
		{"https://sts.example.com", "http://sts.example.com", false},
		{"https://sts.example.com:80", "https://sts.example.com", false},
		{"https://sts.example.com", "https://sts.example.com:8443", false},
		{"https://sts.example.com", "https://sts.example.com.attacker.example.com", false},
		{"https://sts.example.com", "https://sts.example.com@attacker.example.com", false},
		{"https://sts.example.com", "https://me@sts.example.com", false},
		{"https://sts.example.com", "https://sts.example.com?to=attacker", false},
		{"https://sts.example.com", "https://sts.example.com?", false},
		{"https://sts.example.com", "https://sts.example.com#x", false},
		{"https://sts.example.com", "https://sts.example.com/proxy", false},
		{"https://sts.example.com/a/b", "https://sts.example.com/a%2fb", false},
		// With a dot at its end a name is looked up as it is, without one in the cluster's own domains first.
		{"https://sts.example.com", "https://sts.example.com.", false},
		{"https://sts.example.com", "", false},
		{"", "", true},
	} {
		if got := IsOneOf([]string{"https://other.example.com", tt.allowed}, tt.asked); got != tt.same {
			t.Errorf("%q is %q: %t", tt.asked, tt.allowed, got)
		}
	}
	if IsOneOf(nil, "https://sts.example.com") {
		t.Error("where nothing is allowed, something is")
	}
}
