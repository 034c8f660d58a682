// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package exec

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/url"
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

// writtenAs are ways in which programs write a secret: whole, and among other things.
func writtenAs(secret string, r *rand.Rand) string {
	around := func(n int) string { return strings.Repeat("x", r.IntN(n)) }
	wrapped := func(s string, columns int) string {
		var b strings.Builder
		for i := range len(s) {
			if i > 0 && i%columns == 0 {
				b.WriteString("\r\n"[r.IntN(2):])
			}
			b.WriteByte(s[i])
		}
		return b.String()
	}
	among := []byte(around(20) + secret + around(20))
	switch r.IntN(10) {
	case 0:
		text, _ := json.Marshal(map[string]string{"key": around(5) + secret})
		return string(text)
	case 1:
		return url.QueryEscape(around(5) + secret)
	case 2:
		return url.PathEscape(secret)
	case 3:
		return base64.StdEncoding.EncodeToString(among)
	case 4:
		return base64.RawURLEncoding.EncodeToString(among)
	case 5:
		return wrapped(base64.StdEncoding.EncodeToString(among), 76)
	case 6:
		return hex.EncodeToString(among)
	case 7:
		return wrapped(secret, 20)
	case 8:
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		_ = e.Encode([]string{secret})
		return strings.ReplaceAll(b.String(), "/", `\/`)
	default:
		return secret
	}
}

// legible are the secrets that can be read out of a text, whatever way they are written in.
func legible(text string, secrets []string) []string {
	var found []string
	joined := strings.NewReplacer("\n", "", "\r", "").Replace(text)
	for _, secret := range secrets {
		for _, form := range formsOf(secret) {
			if strings.Contains(joined, form) {
				found = append(found, form)
			}
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
		if found := legible(out.String(), secrets); len(found) > 0 {
			t.Fatalf("got through: %q\nin %q", found, out.String())
		}
		if !strings.Contains(out.String(), mark) {
			t.Fatalf("nothing was redacted in %q", out.String())
		}
	}
}

// TestWhatIsNoSecretIsNotTouched writes everything else, byte by byte.
func TestWhatIsNoSecretIsNotTouched(t *testing.T) {
	p := newPatterns(secretsLikeReal())
	texts := []string{"", "hello\n", "wJalr is how a secret begins, and this is none\n", "\x00\xff\x1b[31mred\x1b[0m\r\n", strings.Repeat("wJalrXUtnFEMI/", 50), "-----BEGIN"}
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

// TestAPromptIsNotHeldBack: what cannot be the beginning of a secret is written at once.
func TestAPromptIsNotHeldBack(t *testing.T) {
	var out bytes.Buffer
	s := newScrubber(&out, newPatterns([]string{"secret-value-of-some-length"}))
	_, _ = s.Write([]byte("continue? [y/N] "))
	if out.String() != "continue? [y/N] " || s.waits() {
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
	if !strings.HasSuffix(out.String(), "secret-various!\n") {
		t.Errorf("wrote %q", out.String())
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

func FuzzNoSecretGetsThrough(f *testing.F) {
	f.Add("before", "a-secret-of-some-length", "after", uint8(3))
	f.Add("AAAA", "p&ss<w\"rd\\/%", "====", uint8(1))
	f.Fuzz(func(t *testing.T, before, secret, after string, size uint8) {
		if len(strings.NewReplacer("\n", "", "\r", "").Replace(secret)) < 8 || size == 0 {
			return
		}
		p := newPatterns([]string{secret})
		text := before + " " + secret + "|" + base64.StdEncoding.EncodeToString([]byte(before+secret+after)) + "|" + url.QueryEscape(secret) + "|" + after
		var out bytes.Buffer
		s := newScrubber(&out, p)
		for rest := []byte(text); len(rest) > 0; {
			n := min(int(size), len(rest))
			_, _ = s.Write(rest[:n])
			rest = rest[n:]
		}
		_ = s.flush()
		if found := legible(strings.ReplaceAll(out.String(), mark, "\x00"), []string{secret}); len(found) > 0 {
			t.Errorf("got through: %q", found)
		}
	})
}

func BenchmarkScrub(b *testing.B) {
	p := newPatterns(secretsLikeReal())
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a benchmark's own choice
	for _, text := range []struct {
		name string
		data []byte
	}{{"log", bytes.Repeat([]byte("2026-11-25T15:20:00Z INFO uploaded previews/web-app/pr-184/index.html in 32ms\n"), 3000)}, {"base64", []byte(base64.StdEncoding.EncodeToString(random(r, 180000)))}} {
		b.Run(text.name, func(b *testing.B) {
			b.SetBytes(int64(len(text.data)))
			s := newScrubber(io.Discard, p)
			for b.Loop() {
				_, _ = s.Write(text.data)
			}
		})
	}
}

func random(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.UintN(256))
	}
	return b
}
