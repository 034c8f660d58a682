// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package exec

import (
	"math/rand/v2"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// someOf escapes some of the characters, by chance.
func someOf(r *rand.Rand, one func(string) string) func(string) string {
	return func(text string) string {
		return eachRune(func(c rune) string {
			if r.IntN(2) == 0 || strings.ContainsRune(`\%&=`, c) {
				return one(string(c))
			}
			return string(c)
		})(text)
	}
}

// punctuated are encoders of text with signs in it, with those of escapedWriters and one in another.
func punctuated(r *rand.Rand) []writer {
	// That writer breaks lines within escapes, which no program does.
	list := slices.DeleteFunc(escapedWriters(), func(w writer) bool { return w.name == "YAML, folded within quotes" })
	for _, w := range escapedWriters() {
		switch w.name {
		case `JSON of \u alone`, `C's \x`, "octal escapes", "percent signs alone", "decimal entities",
			"quoted-printable alone", "Rust's escapes", "hexadecimal entities":
			list = append(list, writer{"some characters: " + w.name, someOf(r, w.write)})
		}
	}
	for _, w := range list {
		list = append(list, writer{w.name + ", in JSON", func(text string) string { return marshalled(w.write(text)) }},
			writer{w.name + ", in a URL", func(text string) string { return url.QueryEscape(w.write(text)) }})
	}
	return list
}

// longer has the property test try so many secrets of each length and alphabet.
const longer = "VALETKEY_TEST_SECRETS"

// TestEscapes_AnyPunctuationIsFound writes random secrets of all signs of ASCII, with every encoder: nothing but
// signs may be left of one, whichever they are.
func TestEscapes_AnyPunctuationIsFound(t *testing.T) {
	const signs = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	rounds, err := strconv.Atoi(os.Getenv(longer))
	if err != nil {
		rounds = 1
	}
	r := rand.New(rand.NewPCG(5, uint64(rounds))) //nolint:gosec // a test's own choice, the same each time
	for _, w := range punctuated(r) {
		whole, tried := 0, 0
		for _, alphabet := range []string{
			letters + signs, signs + letters[52:], signs + "xun04a", letters + `\`, letters + "%=&"} {
			for size := 8; size <= 64; size += 1 + r.IntN(16) {
				for range rounds {
					secret := ""
					for range size {
						secret += string(alphabet[r.IntN(len(alphabet))])
					}
					tried++
					text := "password: " + w.write(secret) + "\n"
					if left := scrubbed(t, secret, text, func() int { return len(text) }); !strings.Contains(left, mark) {
						whole++
						if whole < 3 {
							t.Errorf("%s: %q came through as %q", w.name, secret, left)
						}
					}
				}
			}
		}
		if whole > 0 {
			t.Errorf("%s: %d of %d came through", w.name, whole, tried)
		}
	}
}

// TestEscapes_WhatLooksLikeANumberingIsTheSecretsOwn breaks a text that is full of escapes before what could be the
// number of a line.
func TestEscapes_WhatLooksLikeANumberingIsTheSecretsOwn(t *testing.T) {
	for _, own := range []string{"12)", "7:", "#3]", "(4)", "0x1f:", "[0a]", "Dec|"} {
		secret := "ab/cd/ef/" + own + "gh/ij/kl/mn"
		text := strings.ReplaceAll(strings.Replace(secret, own, "\n"+own, 1), "/", `\/`)
		for _, size := range []int{1, 3, len(text)} {
			if left := scrubbed(t, secret, "before "+text+" after\n", func() int { return size }); left != "before [redacted] after\n" {
				t.Errorf("%q by %d: %q", text, size, left)
			}
		}
	}
}

// TestLayouts_NothingElseIsUndoneInThem has secrets with signs that look like escapes, and puts a colour, or the
// number of a line, between any two of their characters.
func TestLayouts_NothingElseIsUndoneInThem(t *testing.T) {
	beside := regexp.MustCompile(`\x1b[\[(][\d;]*[mKB]|(?m)^ *\d+\b`)
	for _, secret := range []string{`8TW5G*R5FTa\1'U\64Sw!`, `rT5%41x+Qz!p\u0041K7w_m`, `a=41Zq7&lt;pR\x2fTT9.b-c`, `q&#65;W\\n7dZ%255k)p=3D4f`} {
		for at := 1; at < len(secret); at++ {
			for name, text := range map[string]string{
				"a colour":        secret[:at] + "\x1b[31m" + secret[at:] + "\x1b[0m\n",
				"its end":         "\x1b[1;32m" + secret[:at] + "\x1b[0m" + secret[at:] + "\n",
				"its other end":   "\x1b[32m" + secret[:at] + "\x1b(B\x1b[m" + secret[at:] + "\n",
				"a line's number": "     7\t" + secret[:at] + "\n     8\t" + secret[at:] + "\n",
			} {
				if strings.Contains(name, "number") && (at < 8 || len(secret)-at < 8) {
					continue
				}
				for _, size := range []int{1, 3, len(text)} {
					left := scrubbed(t, secret, "before\n"+text, func() int { return size })
					if told := toldOf(left, beside); told != "before#" {
						t.Errorf("%s at %d of %q, by %d: %q", name, at, secret, size, left)
					}
				}
			}
		}
	}
}
