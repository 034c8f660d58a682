// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package exec

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"io"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// secretsLikeReal are values as back ends issue them.
func secretsLikeReal() []string {
	return []string{
		"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "IQoJb3JpZ2luX2VjEJr//////////wEaCXVzLWVhc3QtMSJHMEUCIQ" + strings.Repeat("Dq7/x+Y9", 90) + "==",
		`p&ss<w"rd\with/every%kind of+character`, "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQ\nC7VJTUt9Us8cKj\n-----END PRIVATE KEY-----\n",
	}
}

// writtenAs writes a secret among other things, in any of the ways in which programs write.
func writtenAs(secret string, r *rand.Rand) string {
	around := func(n int) string { return strings.Repeat("x", r.IntN(n)) }
	ways := offlineWriters()
	if way := r.IntN(2 * len(ways)); way < len(ways) {
		return ways[way].write(around(20) + secret + around(20))
	}
	return secret
}

// legible are the forms of a secret that can be read out of a text.
func legible(text, secret string) []string {
	p := newPatterns([]string{secret})
	var found []string
	for _, form := range formsOf(secret) {
		if strings.Contains(p.only(text, solidSign), p.only(form, solidSign)) {
			found = append(found, form)
		}
	}
	return found
}

// TestNoSecretGetsThrough plants secrets in words, in every form, and writes them in pieces of any size.
func TestNoSecretGetsThrough(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a test's own choice, the same each time
	secrets := secretsLikeReal()
	p := newPatterns(secrets)
	for range 300 {
		var plain, planted strings.Builder
		for range 1 + r.IntN(20) {
			word := strings.Repeat(string(rune('a'+r.IntN(26))), r.IntN(40)) + []string{" ", "\n", "=", ""}[r.IntN(4)]
			plain.WriteString(word)
			planted.WriteString(word)
			planted.WriteString(" " + writtenAs(secrets[r.IntN(len(secrets))], r) + " ")
		}
		var out bytes.Buffer
		s := newScrubber(&out, p)
		for rest := []byte(planted.String()); len(rest) > 0; {
			n := min(1+r.IntN(1<<r.IntN(12)), len(rest))
			if _, err := s.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if err := s.flush(); err != nil {
			t.Fatal(err)
		}
		for _, secret := range secrets {
			if found := legible(out.String(), secret); len(found) > 0 {
				t.Fatalf("got through: %q\nin %q", found, out.String())
			}
		}
		if !strings.Contains(out.String(), mark) {
			t.Fatalf("nothing was redacted in %q", out.String())
		}
	}
}

// TestWhatIsNoSecretIsNotTouched writes everything else, byte by byte.
func TestWhatIsNoSecretIsNotTouched(t *testing.T) {
	p := newPatterns(secretsLikeReal())
	texts := []string{"", "hello\n", "[119 74 97 108 114 88 1 2 3]\n", "│ 0x77 │\n0000010: 774a 616c  wJal\n",
		hex.Dump([]byte("wJalr is how a secret begins, and this is none, nor are 30 40 50 60 70")),
		`{"a":"\u0077\u004a\"","b":[119,74,97],"0":119} 100%41 a=3D&lt;&#119;\x77\112\\` + "\n",
		"$ ls > x | y\n> quoted\n  | frame |\n", "2026-11-25 15:20:00.123 INFO 10.0.0.1:8080 77:4a:61\n",
		"wJalr is how a secret begins, and this is none\n", "\x00\xff\x1b[31mred\x1b[0m\r\n", strings.Repeat("wJalrXUtnFEMI/", 50), "-----BEGIN"}
	for _, text := range texts {
		var out bytes.Buffer
		s := newScrubber(&out, p)
		for i := range len(text) {
			if _, err := s.Write([]byte{text[i]}); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.flush(); err != nil || out.String() != text {
			t.Errorf("%q became %q: %v", text, out.String(), err)
		}
	}
}

func TestWhereASecretStandsIsMarked(t *testing.T) {
	secret := secretsLikeReal()[0]
	for _, test := range []struct{ text, want string }{
		{"a " + secret + " b", "a " + mark + " b"},
		{secret, mark},
		{secret + secret, mark},
		{secret + " " + secret, mark + " " + mark},
		{"a " + secret[:20] + " b", "a " + mark + " b"},
		{"a " + secret[10:] + " b", "a " + mark + " b"},
		{"a " + secret[:15] + " b", "a " + secret[:15] + " b"},
		{"a " + secret[:20] + "\n" + secret[20:] + "\nb", "a " + mark + "\nb"},
	} {
		var out bytes.Buffer
		s := newScrubber(&out, newPatterns([]string{secret}))
		_, err := s.Write([]byte(test.text))
		if err = flushed(s, err); err != nil || out.String() != test.want {
			t.Errorf("%q became %q, want %q: %v", test.text, out.String(), test.want, err)
		}
	}
}

func flushed(s *scrubber, err error) error {
	if err != nil {
		return err
	}
	return s.flush()
}

// TestAPromptIsNotHeldBack: what cannot be the beginning of a secret is written at once, and a character or two that
// can be are, once nothing comes behind them for a moment.
func TestAPromptIsNotHeldBack(t *testing.T) {
	var out bytes.Buffer
	s := newScrubber(&out, newPatterns([]string{"secret-value-of-some-length"}))
	_, _ = s.Write([]byte("continue? [y/9] "))
	if out.String() != "continue? [y/9] " || s.waits() {
		t.Errorf("wrote %q", out.String())
	}
	_, _ = s.Write([]byte("se"))
	if strings.HasSuffix(out.String(), "se") || !s.waits() {
		t.Errorf("wrote %q: two bytes may begin a secret, and may be flushed", out.String())
	}
	_, _ = s.Write([]byte("cret-va"))
	if strings.HasSuffix(out.String(), "va") || s.waits() {
		t.Errorf("wrote %q: nine bytes of a secret are held until it is known", out.String())
	}
	_, _ = s.Write([]byte("rious!\n"))
	if !strings.Contains(out.String(), "secret-variou") || !s.waits() {
		t.Errorf("wrote %q: an s may begin a secret", out.String())
	}
	if err := s.flush(); err != nil || !strings.HasSuffix(out.String(), "secret-various!\n") {
		t.Errorf("wrote %q: %v", out.String(), err)
	}
}

// TestScrubber_HoldsLittle goes on for long with what may be the beginning of a secret, or of an escape.
func TestScrubber_HoldsLittle(t *testing.T) {
	const secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
	for _, text := range []string{
		"wJalr" + strings.Repeat(" ", 1<<20), "77 4a 61" + strings.Repeat(" ,", 1<<19), "\x1b[" + strings.Repeat("0;", 1<<19),
		"00000000: 774a" + strings.Repeat(" 774a", 1<<17), strings.Repeat("0000 77\n", 1<<17), strings.Repeat("w\n", 1<<19),
		strings.Repeat("\n", 1<<20), strings.Repeat("\\", 1<<20), strings.Repeat("&", 1<<20), strings.Repeat(`"`, 1<<20),
		strings.Repeat(`\u0077`, 1<<17),
	} {
		s := newScrubber(io.Discard, newPatterns([]string{secret}))
		for piece := range slices.Chunk([]byte(text), 1000) {
			if _, err := s.Write(piece); err != nil {
				t.Fatal(err)
			}
			if held := len(s.text) - s.next; held > mostHeld || s.next > before {
				t.Fatalf("%.20q…: %d bytes are held back, behind %d that were written", text, held, s.next)
			}
		}
		if _, err := s.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if most := 2 * (mostAtOnce + mostHeld + before); cap(s.text) > most || cap(s.solid.bytes) > most {
			t.Errorf("%.20q…: it has room for %d and %d bytes", text, cap(s.text), cap(s.solid.bytes))
		}
	}
}

// TestScrubber_WhatBelongsToADumpGoesWithIt: the same bytes as characters, up to the line's end and no further.
func TestScrubber_WhatBelongsToADumpGoesWithIt(t *testing.T) {
	const secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
	for text, want := range map[string]string{
		hex.Dump([]byte("its key is " + secret + " and no other")): "00000000  69 74 73 20 6b 65 79 20  69 73 20 [redacted]\n",
		"ssl_msg.c:2345: |4| 0000:  77 4a 61 6c 72 58 55 74  wJalrXUt\n" +
			"ssl_msg.c:2345: |4| 0010:  6e 46 45 20  nFE \nend\n": "ssl_msg.c:2345: |4| 0000:  [redacted]\nend\n",
		"bytes [119 74 97 108 114 88 85 116 110] of it\n":      "bytes [[redacted]] of it\n",
		"0000000b: 774a616c725855746e4645  wJalrXUtnFE\nend\n": "0000000b: [redacted]\nend\n",
		"7 77 4a 61 6c 72 58 55 74 wJalrXUt\nend\n":            "7 [redacted]\nend\n",
		"[07] 774a6 16c72 58557 46e46 wJalrXUtnF\nend\n":       "[07] [redacted]\nend\n",
		"0x07│774a616c725855746e│wJalrXUtn\nend\n":             "0x07│[redacted]\nend\n",
	} {
		if got := scrubbed(t, secret, text, func() int { return len(text) }); got != want {
			t.Errorf("%q became\n%q; want\n%q", text, got, want)
		}
	}
}

func TestValuesThatAreTooShortAreNotLookedFor(t *testing.T) {
	var out bytes.Buffer
	s := newScrubber(&out, newPatterns([]string{"", "a", "yes"}))
	_, err := s.Write([]byte("yes, a word\n"))
	if err = flushed(s, err); err != nil || out.String() != "yes, a word\n" {
		t.Errorf("%q: %v", out.String(), err)
	}
}

// FuzzNoSecretGetsThrough has any secret, among anything.
func FuzzNoSecretGetsThrough(f *testing.F) {
	f.Add("before", "a-secret-of-some-length", "after", uint8(3))
	f.Add("AAAA", "p&ss<w\"rd\\/%", "====", uint8(1))
	f.Add("\n0000 ", "\\u0041%2541=3D&amp;#65;\x1b[0m", "|\n", uint8(7))
	f.Fuzz(func(t *testing.T, before, secret, after string, size uint8) {
		if strings.TrimSpace(secret) != secret || len(newPatterns(nil).only(secret, solidSign)) < 8 {
			return
		}
		among := before + secret + after
		for _, text := range []string{among, base64.StdEncoding.EncodeToString([]byte(among)), url.QueryEscape(secret),
			hex.Dump([]byte(secret))} {
			left := scrubbed(t, secret, text, func() int { return int(size) })
			if found := legible(left, secret); len(found) > 0 {
				t.Errorf("%q of %q got through in %q", found, secret, left)
			}
		}
	})
}

// FuzzNothingDependsOnTheSecret writes two secrets of one shape in any of all ways, among signs, and in pieces.
func FuzzNothingDependsOnTheSecret(f *testing.F) {
	for i := range offlineWriters() {
		f.Add(uint8(i), []byte("a seed of forty letters, more or less...."), []byte("\n\n"), uint8(i))
	}
	f.Fuzz(func(t *testing.T, kind uint8, seed, around []byte, size uint8) {
		const letters, signs = "ABCDEFGHIJLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_", " \t\n.,;:!?()*"
		if len(seed) < 7 || len(seed) > 200 || len(around) > 100 {
			return
		}
		w := offlineWriters()[int(kind)%len(offlineWriters())]
		beside := strings.Map(func(r rune) rune { return rune(signs[int(r)%len(signs)]) }, string(around))
		var left [2]string
		for i := range left {
			secret := "K"
			for k, c := range seed {
				secret += string(letters[(int(c)+i*(k+7))%len(letters)])
			}
			secret += "Y"
			text := w.write(beside + secret + " " + beside)
			left[i] = toldOf(scrubbed(t, secret, text, func() int { return int(size) }), frame(w.name))
		}
		if left[0] != left[1] {
			t.Errorf("%s: what is left tells which secret it was\n%q\n%q", w.name, left[0], left[1])
		}
	})
}

func BenchmarkScrub(b *testing.B) {
	p := newPatterns(secretsLikeReal())
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a benchmark's own choice
	for _, text := range []struct {
		name string
		data []byte
	}{
		{"log", lines("2026-11-25T15:20:00Z INFO uploaded previews/web-app/pr-184/index.html in 32ms")},
		{"base64", []byte(base64.StdEncoding.EncodeToString(random(r, 180000)))},
		{"digests", lines("2026-11-25T15:20:00Z INFO uploaded previews/web-app/pr-184/index.html in 32ms, " +
			"etag=9f86d081884c7d659a2feaa0c55ad015")},
		{"times", lines(`2026-11-25 15:20:00.123 10.0.0.1 - - [25/Nov/2026:15:20:00 +0000] "GET /a?b=1&c=%20d HTTP/1.1" 200`)},
		{"JSON", lines(`{"level":"info","ts":1732547000.123,"msg":"it said \"done\"","path":"a\/b","n":[1,2,3,40,50,60]}`)},
		{"dump", []byte(hex.Dump(random(r, 40000)))},
	} {
		b.Run(text.name, func(b *testing.B) {
			b.SetBytes(int64(len(text.data)))
			s := newScrubber(io.Discard, p)
			for b.Loop() {
				_, _ = s.Write(text.data)
			}
		})
	}
}

// lines are many of one kind.
func lines(line string) []byte { return bytes.Repeat([]byte(line+"\n"), 2000) }

func random(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.UintN(256))
	}
	return b
}
