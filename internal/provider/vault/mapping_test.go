// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// TestSecrets_NamesAreNone: what names a secret is neither scrubbed from the output nor refused in a lease's ID.
func TestSecrets_NamesAreNone(t *testing.T) {
	for _, tt := range []struct {
		name string
		used map[string]any
		want []string
	}{
		{"a user and a password", map[string]any{"username": "u", "password": "p"}, []string{"p"}},
		{"a token of a cluster", map[string]any{"service_account_name": "deployer", "service_account_namespace": "previews",
			"service_account_token": "t"}, []string{"t"}},
		{"what is not known", map[string]any{"username": "u", "something": "s"}, []string{"s"}},
		{"a list", map[string]any{"codes": []any{"b", "a"}}, []string{"a", "b", "b\na"}},
		{"an object", map[string]any{"account": map[string]any{"password": "p"}}, []string{"p", `{"password":"p"}`}},
		{"a list of numbers", map[string]any{"codes": []any{json.Number("12345678"), json.Number("87654321")}},
			[]string{"12345678", "12345678\n87654321", "87654321"}},
		{"numbers in an object", map[string]any{"pin": map[string]any{"n": json.Number("55443322"), "deep": []any{json.Number("-1.5e7")}}},
			[]string{"-1.5e7", "55443322", `{"deep":[-1.5e7],"n":55443322}`}},
		{"lists in lists", map[string]any{"codes": []any{[]any{json.Number("12345678"), "a"}, []any{}}},
			[]string{"12345678", "12345678\na\n", "a"}},
		{"what can be guessed", map[string]any{"flags": []any{true, nil, ""}}, []string{"true\nnull\n"}},
		{"a number alone", map[string]any{"pin": json.Number("55443322")}, []string{"55443322"}},
		{"an object that is written with escapes", map[string]any{"account": map[string]any{"password": "p&s\"s"}},
			[]string{`p\u0026s\"s`, `{"password":"p\u0026s\"s"}`}},
		{"nothing but names", map[string]any{"username": "u"}, []string{"u"}},
		{"nothing in it", map[string]any{"username": "", "password": ""}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := (&secret{used: tt.used}).secrets(); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestFill_NothingLargerThanASecretIsMade: neither one file, nor all of them together.
func TestFill_NothingLargerThanASecretIsMade(t *testing.T) {
	s := &secret{data: map[string]any{"p": strings.Repeat("p", 60_000)}, used: map[string]any{}}
	if filled, err := s.fill("user:${data.p}"); err != nil || len(filled) != 60_005 {
		t.Errorf("%d bytes, %v", len(filled), err)
	}
	for _, times := range []int{455, 16} {
		if times == 16 {
			s.filled = 60_000
		}
		if filled, err := s.fill(strings.Repeat("${data.p}", times)); filled != "" != (times == 16) || (err == nil) != (times == 16) {
			t.Errorf("%d times: %d bytes, %v", times, len(filled), err)
		}
	}
	if filled, err := s.fill("${data.p}${data.p}"); err == nil || !strings.Contains(err.Error(), "larger than a Secret can be") {
		t.Errorf("%d bytes more, %v", len(filled), err)
	}
}
