// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/internal/provider"
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

// TestFill_MoreThanASecretHoldsIsNotMade: sixteen files can name a field of an answer's size some hundred times each.
func TestFill_MoreThanASecretHoldsIsNotMade(t *testing.T) {
	s := &secret{data: map[string]any{"p": strings.Repeat("x", 59_500)}, used: map[string]any{}}
	if filled, err := s.fill("${data.p} ${data.p}"); err != nil || len(filled) != 2*59_500+1 {
		t.Fatalf("%d bytes, %v", len(filled), err)
	}
	if _, err := s.fill(strings.Repeat("${data.p}", 455)); !provider.IsFinal(err) || !strings.Contains(err.Error(), "more than a Secret holds") {
		t.Errorf("in one file: %v", err)
	}
	several, made := &secret{data: s.data, used: map[string]any{}}, 0
	for range 16 {
		if _, err := several.fill(strings.Repeat("${data.p}", 8)); err == nil {
			made++
		}
	}
	if made != 2 {
		t.Errorf("in several files: %d of them were made", made)
	}
}
