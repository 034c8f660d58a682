// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package exec

import (
	"bytes"
	"encoding/base64"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// alike are two secrets of one shape, which begin and end with the same characters: what is written beside them can
// show a few bits of those.
func alike(r *rand.Rand, alphabet string, size int) [2]string {
	characters := []rune(alphabet)
	pick := func() rune { return characters[r.IntN(len(characters))] }
	first, last := 'K', 'Y'
	var both [2]string
	for i := range both {
		both[i] = string(first)
		for range size - 2 {
			both[i] += string(pick())
		}
		both[i] += string(last)
	}
	return both
}

// scrubbed is what is left of a text that is written in pieces.
func scrubbed(t testing.TB, secret, text string, size func() int) string {
	t.Helper()
	return scrubbedBy(t, newPatterns([]string{secret}), text, size)
}

func scrubbedBy(t testing.TB, p *patterns, text string, size func() int) string {
	t.Helper()
	var out bytes.Buffer
	s := newScrubber(&out, p)
	for rest := []byte(text); len(rest) > 0; {
		n := min(max(size(), 1), len(rest))
		if _, err := s.Write(rest[:n]); err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	if err := s.flush(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// frame matches what a writer writes beside the text, and parts of it.
func frame(name string) *regexp.Regexp {
	switch {
	case strings.Contains(name, "with an index"):
		return regexp.MustCompile(`(?m)^\d+ `)
	case strings.Contains(name, "a table of numbers"):
		return regexp.MustCompile(`(?m)^│ +\d+ `)
	case strings.Contains(name, "offset"):
		return regexp.MustCompile(`(?m)^[ \[(#]*(0[xX]?)?(55555555a2)?[0-9a-fA-F]{0,8}( <k?e?y?\+?8?>?)?`)
	case strings.Contains(name, "numbered"):
		return regexp.MustCompile(`(?m)^[ \[(#]*\d*`)
	case strings.Contains(name, "colours"):
		return regexp.MustCompile(`\x1b[\[(]?[\d;]*[mKB]?`)
	case strings.Contains(name, "logger"):
		return regexp.MustCompile(`(?m)^[=| ]*0[0-9a-f]*:?`)
	case strings.HasPrefix(name, "gdb"):
		return regexp.MustCompile(`(?m)^(0?x)?[0-9a-f]{5,} ?<?k?e?y?>?:?`)
	case regexp.MustCompile(`^(this machine's )?(xxd|hexdump|od|openssl's|curl|tcpdump|tshark)\b`).MatchString(name):
		return regexp.MustCompile(`(?m)^[\t \[]*((0x)?0[0-9a-f]*|\d+:):?`)
	}
	return regexp.MustCompile(`^$`)
}

// toldOf is what of a text could tell about a secret: letters and digits, apart from what is written beside it. How
// many marks there are depends on the pieces.
func toldOf(text string, beside *regexp.Regexp) string {
	text = beside.ReplaceAllString(strings.ReplaceAll(text, mark, "#"), "")
	text = regexp.MustCompile(`[^A-Za-z0-9#]`).ReplaceAllString(text, "")
	return regexp.MustCompile(`#+`).ReplaceAllString(text, "#")
}

// TestForms_NothingDependsOnTheSecret writes two secrets in every way, and in pieces of any size: what is left has to
// be the same for both, and to have a mark. Nothing, then, of a secret is left, however somebody would read it.
func TestForms_NothingDependsOnTheSecret(t *testing.T) {
	const letters = "ABCDEFGHIJLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	alphabets := map[string]struct {
		characters string
		sizes      []int
	}{
		"letters":     {letters, []int{16, 40, 300}},
		"base64":      {letters + "+/", []int{20, 40, 200}},
		"hexadecimal": {"0123456789abcdef", []int{32, 64}},
		"signs":       {letters + "!#$%&()*+,-./:;<=>?@[]^_{|}~", []int{24, 60}},
		"short":       {letters, []int{8, 12}},
	}
	pieces := map[string]func(*rand.Rand) func() int{
		"whole":     func(*rand.Rand) func() int { return func() int { return 1 << 20 } },
		"in pieces": func(r *rand.Rand) func() int { return func() int { return 1 + r.IntN(1<<r.IntN(9)) } },
		"by bytes":  func(*rand.Rand) func() int { return func() int { return 1 } },
	}
	for _, w := range slices.Concat(offlineWriters(), toolWriters()) {
		t.Run(w.name, func(t *testing.T) {
			for name, a := range alphabets {
				for _, size := range a.sizes {
					r := rand.New(rand.NewPCG(1, uint64(size))) //nolint:gosec // a test's own choice, the same each time
					both := alike(r, a.characters, size)
					for how, piece := range pieces {
						if how == "by bytes" && size > 64 {
							continue // it is slow, and shows no more
						}
						var left [2]string
						for i, secret := range both {
							text := w.write("\t.. .. " + secret + " ..\n")
							if text == "" {
								t.Skip("this machine does not have it")
							}
							text = "before\n" + text + "\nafter\n"
							left[i] = scrubbed(t, secret, text, piece(rand.New(rand.NewPCG(2, 3)))) //nolint:gosec // as above
							if !strings.Contains(left[i], mark) {
								t.Fatalf("%s of %d, %s: nothing is redacted in %q", name, size, how, text)
							}
						}
						if one, other := toldOf(left[0], frame(w.name)), toldOf(left[1], frame(w.name)); one != other {
							t.Fatalf("%s of %d, %s: what is left tells which secret it was\n%q\n%q", name, size, how, one, other)
						}
					}
				}
			}
		})
	}
}

// TestForms_LettersBeyondASCII has a secret with letters that are no ASCII, in the ways in which those are special.
func TestForms_LettersBeyondASCII(t *testing.T) {
	for _, secret := range []string{"75€JHhJqkUi5woDöüM2qqm6z", "пароль-для-базы-данных", "pässwörd-für-die-Dätenbänk"} {
		visible := visibly(secret)
		for name, text := range map[string]string{
			"UTF-16":           wide(secret),
			"cat -A":           visible + "$\n",
			"base64 of UTF-16": base64.StdEncoding.EncodeToString([]byte(wide(secret))),
			"as it is":         secret,
		} {
			left := scrubbed(t, secret, "key "+text+" end\n", func() int { return 7 })
			told := strings.NewReplacer(mark, "", "\x00", "", "\n", "", "$", "", " ", "").Replace(left)
			if told != "keyend" {
				t.Errorf("%s of %q: %q", name, secret, left)
			}
		}
		if shown := tool("cat", "-A")(secret); shown != visible {
			t.Errorf("cat -A writes %q, and is expected to write %q", shown, visible)
		}
	}
}
