// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package exec

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"io"
	"math/bits"
	"net/url"
	"strings"
)

const (
	// mark is what stands in the place of a secret.
	mark = "[redacted]"
	// shortest is the shortest value that is looked for: in shorter ones ordinary words would be found.
	shortest = 6
	// widest is how many bytes in a row, of any form of a secret, are enough to redact them.
	widest = 16
	// filterBits is the size of the filter that most windows end at, as a power of two.
	filterBits = 20
)

// patterns are the forms in which secrets are looked for. They are not changed once they are made.
//
// A library that finds words would have to be told every word; here any window of a form counts, so that a secret that was cut off, or
// broken into lines, is found too, in memory that does not grow with the forms' number of states.
type patterns struct {
	window int
	filter []uint64
	// windows are the hashes of all windows of all forms.
	windows map[uint64]struct{}
	// starts are the beginnings of the forms, shorter than a window: what ends a chunk like that may be continued by the next.
	starts map[string]struct{}
	// in and out make the rolling hash (a cyclic polynomial): of the byte that comes into the window, and of the one that leaves it.
	in, out [256]uint64
}

// newPatterns makes them of secret values. Values that are too short to be looked for are left out.
func newPatterns(secrets []string) *patterns {
	forms := map[string]struct{}{}
	for _, secret := range secrets {
		if len(secret) >= shortest {
			for _, form := range formsOf(secret) {
				forms[form] = struct{}{}
			}
		}
	}
	p := &patterns{window: widest, windows: map[uint64]struct{}{}, starts: map[string]struct{}{}, filter: make([]uint64, 1<<(filterBits-6))}
	for form := range forms {
		p.window = min(p.window, len(form))
	}
	p.seed()
	for form := range forms {
		for k := 1; k < p.window; k++ {
			p.starts[form[:k]] = struct{}{}
		}
		var h uint64
		for i := range len(form) {
			h = bits.RotateLeft64(h, 1) ^ p.in[form[i]]
			if i >= p.window {
				h ^= p.out[form[i-p.window]]
			}
			if i >= p.window-1 {
				p.windows[h] = struct{}{}
				p.filter[h>>(64-filterBits)>>6] |= 1 << (h >> (64 - filterBits) & 63)
			}
		}
	}
	return p
}

// seed chooses the hash anew in each process, so that nobody can write what is taken for a secret and is none.
func (p *patterns) seed() {
	seed := maphash.MakeSeed()
	for i := range p.in {
		p.in[i] = maphash.Bytes(seed, []byte{byte(i)})
		p.out[i] = bits.RotateLeft64(p.in[i], p.window)
	}
}

// formsOf are a secret as it is, and as it is commonly written: in JSON, in a URL, in base64 wherever it begins, and in hexadecimal. Line
// ends are left out of all: whoever breaks a form into lines puts them anywhere.
func formsOf(secret string) []string {
	quoted, _ := json.Marshal(secret) // a string can always be encoded
	var plain bytes.Buffer
	encoder := json.NewEncoder(&plain)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(secret) // as above
	inJSON, unescaped := string(quoted[1:len(quoted)-1]), strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(plain.String()), `"`), `"`)
	percent := strings.Builder{}
	for i := range len(secret) {
		fmt.Fprintf(&percent, "%%%02X", secret[i])
	}
	inURL, inPath := url.QueryEscape(secret), url.PathEscape(secret)
	forms := []string{
		secret, inJSON, unescaped, strings.ReplaceAll(unescaped, "/", `\/`), inURL, lowerEscapes(inURL), inPath, lowerEscapes(inPath),
		percent.String(), strings.ToLower(percent.String()), hex.EncodeToString([]byte(secret)), strings.ToUpper(hex.EncodeToString([]byte(secret))),
	}
	for offset := range 3 {
		for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
			encoded := encoding.EncodeToString(append(make([]byte, offset), secret...))
			// Only the characters that are made of the secret's bits alone are the same whatever stands before and behind it. Where
			// nothing stands behind it, the last ones are known too.
			from := (offset*8 + 5) / 6
			forms = append(forms, encoded[from:(offset+len(secret))*8/6], encoded[from:])
		}
	}
	for i, form := range forms {
		forms[i] = strings.NewReplacer("\n", "", "\r", "").Replace(form)
	}
	return forms
}

// lowerEscapes writes %2F as %2f.
func lowerEscapes(s string) string {
	b := []byte(s)
	for i := 0; i+2 < len(b); i++ {
		if b[i] == '%' {
			copy(b[i+1:i+3], bytes.ToLower(b[i+1:i+3]))
		}
	}
	return string(b)
}

// scrubber writes what it is given without the secrets. What may be the beginning of one is held back until it is known.
type scrubber struct {
	*patterns
	out io.Writer

	// recent are the last bytes but line ends, as a ring that is longer than a window; seen is how many there were.
	recent [2 * widest]byte
	seen   uint
	hash   uint64
	// held are bytes that were not written yet. inside: the last byte before them was redacted.
	held   []byte
	inside bool
	clean  []byte
}

func newScrubber(out io.Writer, p *patterns) *scrubber { return &scrubber{patterns: p, out: out} }

// Write scrubs and writes. It keeps nothing of p.
func (s *scrubber) Write(p []byte) (int, error) {
	data := p
	if len(s.held) > 0 {
		data = append(s.held, p...)
	}
	from := len(data) - len(p)
	s.clean = s.clean[:0]
	done := 0 // what is before was written, or redacted
	for i := s.scan(data, from); i < len(data); i = s.scan(data, i+1) {
		start := s.start(data, done, i)
		if start > done || !s.inside {
			s.clean = append(append(s.clean, data[done:start]...), mark...)
		}
		done, s.inside = i+1, true
	}
	keep := s.unknown(data[done:])
	if free := data[done : len(data)-keep]; len(free) > 0 {
		s.clean = append(s.clean, free...)
		s.inside = false
	}
	s.held = append(s.held[:0], data[len(data)-keep:]...)
	_, err := s.out.Write(s.clean)
	return len(p), err
}

// scan goes on to the next byte that ends a window of a secret's, or to the end.
func (s *scrubber) scan(data []byte, i int) int {
	h, n, window := s.hash, s.seen, uint(s.window)
	for ; i < len(data); i++ {
		c := data[i]
		if c == '\n' || c == '\r' {
			continue
		}
		h = bits.RotateLeft64(h, 1) ^ s.in[c]
		if n >= window {
			h ^= s.patterns.out[s.recent[(n-window)%(2*widest)]]
		}
		s.recent[n%(2*widest)] = c
		n++
		if n >= window && s.filter[h>>(64-filterBits)>>6]&(1<<(h>>(64-filterBits)&63)) != 0 {
			if _, found := s.windows[h]; found {
				break
			}
		}
	}
	s.hash, s.seen = h, n
	return i
}

// start is where the window begins that ends at the byte i, as far as it was not written before.
func (s *scrubber) start(data []byte, done, i int) int {
	for left := s.window; i >= done; i-- {
		if data[i] != '\n' && data[i] != '\r' {
			left--
		}
		if left == 0 {
			return i
		}
	}
	return done
}

// unknown is how many bytes at the end may be the beginning of a secret.
func (s *scrubber) unknown(data []byte) int {
	for k := min(s.window-1, int(min(s.seen, widest))); k > 0; k-- {
		n, text := 0, make([]byte, 0, widest)
		for n < len(data) && len(text) < k {
			n++
			if c := data[len(data)-n]; c != '\n' && c != '\r' {
				text = append(text, c)
			}
		}
		if len(text) < k {
			continue
		}
		for i, j := 0, k-1; i < j; i, j = i+1, j-1 {
			text[i], text[j] = text[j], text[i]
		}
		if _, found := s.starts[string(text)]; found {
			return n
		}
	}
	return 0
}

// waits reports whether so little is held back that nothing would be told by it.
func (s *scrubber) waits() bool { return len(s.held) > 0 && len(s.held) < 4 }

// flush writes what is held back: nothing comes after it, or not soon.
func (s *scrubber) flush() error {
	_, err := s.out.Write(s.held)
	if len(s.held) > 0 {
		s.inside = false
	}
	s.held = s.held[:0]
	return err
}
