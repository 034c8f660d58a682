// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package visible_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/internal/visible"
)

// TestName_OrdinaryOnesStay: the messages that people know do not change.
func TestName_OrdinaryOnesStay(t *testing.T) {
	for _, name := range []string{
		"edit", "a", "system:serviceaccount:agents:runner", "alice@example.com", "system:authenticated", "oidc:team_a/b+c", "~deployer",
		"pods/log", "*", "/healthz/*", "registry.example.com:5000/web@sha256:00", "RoleBinding-1", strings.Repeat("a", 253),
	} {
		if got := visible.Name(name); got != name {
			t.Errorf("%s becomes %s", name, got)
		}
	}
}

// TestName_TakenForWordsOfNobody: nothing that somebody else chose ends a sentence, a line or a pair of brackets, or moves a cursor.
func TestName_TakenForWordsOfNobody(t *testing.T) {
	for name, want := range map[string]string{
		"":                            `""`,
		"two words":                   `"two words"`,
		"reader), and all is well":    `"reader), and all is well"`,
		`a "quote" and a \`:           `"a \"quote\" and a \\"`,
		"a\nb":                        `"a\nb"`,
		"a\x1b[31mb":                  `"a\x1b[31mb"`,
		"a\u202eb":                    `"a\u202eb"`,
		"a\u00a0b":                    `"a\u00a0b"`,
		"\u0430dmin":                  `"\u0430dmin"`,
		"a,b":                         `"a,b"`,
		"a;b":                         `"a;b"`,
		"a\xffb":                      `"a\xffb"`,
		strings.Repeat("a", 254):      `"` + strings.Repeat("a", 100) + `"…`,
		strings.Repeat("\n", 101):     `"` + strings.Repeat(`\n`, 100) + `"…`,
		strings.Repeat("\u202e", 100): `"` + strings.Repeat(`\u202e`, 100) + `"`,
	} {
		if got := visible.Name(name); got != want {
			t.Errorf("%q becomes %s, want %s", name, got, want)
		}
	}
	if got, want := visible.Names([]string{"alice", "b c"}), []string{"alice", `"b c"`}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
