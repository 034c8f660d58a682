// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package exec

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// slowly is what is left of a text that is written so many bytes at a time, with pauses between.
func slowly(t *testing.T, secret, text string, size int) string {
	t.Helper()
	var out bytes.Buffer
	s := newScrubber(&out, newPatterns([]string{secret}))
	for piece := range slices.Chunk([]byte(text), size) {
		if _, err := s.Write(piece); err != nil {
			t.Fatal(err)
		}
		if !s.waits() {
			continue
		}
		if err := s.flush(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.flush(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestOpenTells_WordsThatAreWrittenSlowlyAreFound writes words in pieces, with pauses within them. What is shown before
// it can be told from any other number is fewer than four characters of the secret.
func TestOpenTells_WordsThatAreWrittenSlowlyAreFound(t *testing.T) {
	const letters = "ABCDEFGHIJLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	signs := regexp.MustCompile(`[\s-]+`)
	r := rand.New(rand.NewPCG(7, 1)) //nolint:gosec // a test's own choice, the same each time
	for base, digits := range map[string][2]int{"d": {10, 20}, "o": {11, 22}, "x": {8, 16}, "b": {32, 64}} {
		first := map[string]int{"d": 8, "o": 9, "x": 6, "b": 25}[base] // of three characters, with a nought
		for i, size := range []int{4, 8} {
			for pad := range 9 {
				for _, little := range []bool{true, false} {
					secret := alike(r, letters, 40)[0]
					d := dumped{format: "%0" + strconv.Itoa(digits[i]) + base, size: size, big: !little, perLine: 2}
					if base == "d" {
						d.format = fmt.Sprintf("%%%dd", digits[i])
					}
					for _, piece := range []int{4, 7, 13} {
						written := d.write(strings.Repeat(".", pad) + secret + "\n")
						whole := signs.Split(scrubbed(t, secret, written, func() int { return len(written) }), -1)
						left := signs.Split(slowly(t, secret, written, piece), -1)
						shown := -len(strings.Join(whole, ""))
						for _, word := range left {
							shown += len(word)
						}
						// The marks are as many or more.
						shown -= len(mark) * (strings.Count(strings.Join(left, ""), mark) - strings.Count(strings.Join(whole, ""), mark))
						most := first
						switch own := size - pad%size; {
						case own < telling && pad > 0:
							most += digits[i] // a word that has fewer characters of the secret
						case !little:
							most += (size - own) * digits[i] / size // those of what stands before it
						}
						if shown > most {
							t.Errorf("%s of %d, %d before, little %v, by %d: %d digits more are shown: %q; want %q",
								base, size, pad, little, piece, shown, left, whole)
						}
					}
				}
			}
		}
	}
}

// TestOpenTells_OtherNumbersAreNotHeldBack: whoever is asked for a number sees it as it is typed.
func TestOpenTells_OtherNumbersAreNotHeldBack(t *testing.T) {
	for _, number := range []string{"2026", "1732547111", "4111111111111111", "-273", "0x1f4", "0b1010", "added", "0755", "'", "0"} {
		s := newScrubber(io.Discard, newPatterns(secretsLikeReal()))
		if _, err := s.Write([]byte("how many? " + number)); err != nil {
			t.Fatal(err)
		}
		if held := len(s.text) > s.next; held && !s.waits() {
			t.Errorf("%s is held back", number)
		}
	}
}
