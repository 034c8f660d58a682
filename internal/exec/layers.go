// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package exec

import (
	"bytes"
	"slices"
	"unicode/utf8"
)

// layer is a stretch of the output of which the escapes of one language are undone, exactly and once: nothing is left
// out. So it is compared with the secret as it is, whatever signs that has. Escapes of another language, or of the same
// once more, are undone in a layer of its own.
type layer struct {
	bytes []byte
	// from is where in the text each of the bytes begins, and at last where the last one ends.
	from []int
	// left are the bytes with one sign, and at says where in bytes they stand.
	left []byte
	at   []int
}

// deepest is how many layers are looked through: JSON in JSON in JSON in a URL.
const deepest = 4

// language is one in which characters are escaped.
type language struct {
	// first is the byte that escapes begin with, itself how that byte is escaped.
	first  byte
	itself string
	// octal is how many digits an octal number has at most; printf %b takes one more than C.
	octal int
	// quote is set of a quote, which has no other escape than itself.
	quote bool
}

// languages are all of them.
var languages = [...]language{ //nolint:gochecknoglobals // a table
	{first: '\\', itself: `\\`, octal: 3}, {first: '\\', itself: `\\`, octal: 4},
	{first: '%', itself: "%25"}, {first: '&', itself: "&amp;"}, {first: '=', itself: "=3D"},
	{first: '"', itself: `""`, quote: true}, {first: '\'', itself: `''`, quote: true},
	{first: '\'', itself: `'\''`, quote: true},
}

// findLayers looks through the escapes of each language in the text, the last of which ends here if last is set.
func (s *scrubber) findLayers(last bool) {
	for k := range languages {
		more := !last
		for i := s.nextExact(s.text, 0, &languages[k], more); i < len(s.text); {
			from := s.before(s.text, i)
			l := &s.layers[0]
			end := from + s.undo(l, s.text[from:], &languages[k], i-from, more, func(at int) int { return from + at })
			s.look(l, 1, end == len(s.text), more)
			i = s.nextExact(s.text, max(end, i+1), &languages[k], more)
		}
	}
}

// look looks for secrets in a layer, and in those below it. It is at the end if the text ends with it.
func (s *scrubber) look(l *layer, depth int, end, more bool) {
	for _, all := range []*search{s.forms, s.cores} {
		l.leave(all.sign, &s.signs)
		all.find(l.left, func(at int) { s.redact(l.from[l.at[at]], l.from[l.at[at+all.window-1]+1]) })
		if k := all.starting(l.left); end && k > 0 {
			s.mayBegin(l.from[l.at[len(l.left)-k]], k)
		}
	}
	if depth == deepest {
		return
	}
	more = more && end
	for k := range languages {
		if first := s.nextExact(l.bytes, 0, &languages[k], more); first < len(l.bytes) {
			below := &s.layers[depth]
			s.undo(below, l.bytes, &languages[k], len(l.bytes), more, func(at int) int { return l.from[at] })
			s.look(below, depth+1, end, more)
		}
	}
}

// leave fills left with the bytes that have a sign.
func (l *layer) leave(kept sign, signs *[256]sign) {
	l.left, l.at = l.left[:0], l.at[:0]
	for i, c := range l.bytes {
		if signs[c]&kept != 0 {
			l.left, l.at = append(l.left, c), append(l.at, i)
		}
	}
	l.left = slices.Grow(l.left, lookahead)
}

// nextExact is where the next escape of a language is, not before i; the text's length if there is none.
func (s *scrubber) nextExact(text []byte, i int, in *language, more bool) int {
	for ; i < len(text); i++ {
		at := bytes.IndexByte(text[i:], in.first)
		if at < 0 {
			return len(text)
		}
		i += at
		one := s.exactly(text[i:], in, more)
		// Only numbers with as many digits need a language of their own.
		if one.size == 0 || one.written && (in.octal < len(`0057`) || one.size > in.octal) {
			return i
		}
	}
	return i
}

// undo undoes the escapes of one language, until so much stands behind the last of them, of which the first is at
// first, as a window can reach, and returns where that is.
func (s *scrubber) undo(l *layer, text []byte, in *language, first int, more bool, place func(int) int) int {
	l.bytes, l.from = l.bytes[:0], l.from[:0]
	at := 0
	for left := s.reach; at < len(text) && (at <= first || left > 0); {
		one := plainSymbol(text[at])
		if text[at] == in.first {
			one = s.exactly(text[at:], in, more)
		}
		if one.size == 0 {
			break
		}
		if one.written {
			left = s.reach
		}
		for _, b := range one.value[:one.n] {
			l.bytes, l.from = append(l.bytes, b), append(l.from, place(at))
			left -= int(s.signs[b] & solidSign)
		}
		at += one.size
	}
	l.from = append(l.from, place(at))
	return at
}

// exactly undoes one escape; its size is 0 if its end may be yet to come. What is no escape stands for itself. A byte
// that is itself escaped is undone once, and what stands behind it is left to the next layer.
func (p *patterns) exactly(text []byte, in *language, more bool) symbol {
	if bytes.HasPrefix(text, []byte(in.itself)) {
		return symbol{size: len(in.itself), value: [utf8.UTFMax]byte{in.first}, n: 1, written: true}
	}
	if in.quote || !p.introduces(text) {
		return plainSymbol(in.first)
	}
	if length := 1 + in.octal; in.octal > 0 && len(text) > 1 && text[1] >= '0' && text[1] <= '7' && len(text) >= length {
		text, more = text[:length], false
	}
	return p.symbolOf(text, more)
}
