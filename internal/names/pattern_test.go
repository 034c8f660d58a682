// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package names

import (
	"regexp"
	"strings"
	"testing"
)

func TestMatch(t *testing.T) {
	for _, tt := range []struct {
		name, pattern, with string
		want                bool
	}{
		{"a whole name matches itself", "main", "main", true},
		{"a whole name is anchored at its end", "main", "main-attacker", false},
		{"a whole name is anchored at its start", "main", "not-main", false},
		{"case counts", "main", "Main", false},
		{"a dot is a dot", "a.b", "axb", false},
		{"a bar is no alternative", "a|b", "b", false},
		{"a bracket is no class", "[ab]", "a", false},
		{"a question mark is a question mark", "a?", "ab", false},
		{"a star alone is any name", "*", "acme/web/app", true},
		{"a star alone is the empty name too", "*", "", true},
		{"a star stands for nothing", "web*", "web", true},
		{"a star at the end is anchored at the start", "web-*", "my-web-app", false},
		{"a star at the start is anchored at the end", "*-app", "web-app-2", false},
		{"a star stands for a run", "web-*", "web-app", true},
		{"a star in the middle", "a*z", "abcz", true},
		{"what is before and after a star may not overlap", "aba*aba", "aba", false},
		{"a star stays before a slash", "acme/*", "acme/web/app", false},
		{"a star matches one part", "acme/*", "acme/web", true},
		{"a part for a part", "*/*", "acme/web", true},
		{"two parts are not three", "*/*", "a/b/c", false},
		{"two stars are one", "**", "a/b", false},
		{"two stars match a part", "**", "ab", true},
		{"a literal between stars is found", "*b*d*", "abcde", true},
		{"literals between stars keep their order", "*d*b*", "abcde", false},
		{"the last literal is looked for at the end", "*a*a", "aba", true},
		{"a part too few", "acme/web", "acme", false},
		{"the empty pattern matches nothing but the empty name", "", "a", false},
		{"a line break is nothing special", "web*", "web\nevil", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Match(tt.pattern, tt.with); got != tt.want {
				t.Errorf("Match(%q, %q) = %v", tt.pattern, tt.with, got)
			}
		})
	}
}

// FuzzPattern compares with an anchored regular expression.
func FuzzPattern(f *testing.F) {
	for _, seed := range []string{"*", "a*b", "*a*b*", "acme/*", "a/*/c*", "**", "aba*aba", "", "a.b|c"} {
		f.Add(seed, "a/b/c")
		f.Add(seed, "abab")
		f.Add(seed, "aba")
	}
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if strings.ToValidUTF8(pattern, "") != pattern || strings.ToValidUTF8(name, "") != name {
			t.Skip("names are valid UTF-8")
		}
		want := pattern == "*" || regexp.MustCompile(`\A`+strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, `[^/]*`)+`\z`).MatchString(name)
		if got := Match(pattern, name); got != want {
			t.Errorf("Match(%q, %q) = %v", pattern, name, got)
		}
	})
}
