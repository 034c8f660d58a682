// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"slices"
	"testing"
)

// TestSecrets_NamesAreNone: what names a secret is neither scrubbed from the output nor refused in a lease's ID.
func TestSecrets_NamesAreNone(t *testing.T) {
	for _, tt := range []struct {
		name string
		used map[string]string
		want []string
	}{
		{"a user and a password", map[string]string{"username": "u", "password": "p"}, []string{"p"}},
		{"a token of a cluster", map[string]string{"service_account_name": "deployer", "service_account_namespace": "previews",
			"service_account_token": "t"}, []string{"t"}},
		{"what is not known", map[string]string{"username": "u", "something": "s"}, []string{"s"}},
		{"nothing but names", map[string]string{"username": "u"}, []string{"u"}},
		{"nothing in it", map[string]string{"username": "", "password": ""}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := (&secret{used: tt.used}).secrets(); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
