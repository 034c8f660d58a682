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
	// within is where in what it was made of each of the bytes begins, and from where in the text; at last stands where
	// the last one ends.
	within []int32
	from   []int
	// left are the bytes with one sign, and at says where in bytes they stand.
	left []byte
	at   []int
}

// deepest is how many layers are looked through: JSON in JSON in JSON in a URL.
const deepest = 4

// mostDeep bounds how often a stretch is looked through in layers below its first: text that is full of escapes of all
// languages has more of them than there is time for.
const mostDeep = 24

// language is one in which characters are escaped, or layout: what stands for nothing.
type language struct {
	// first is the byte that escapes begin with, itself how that byte is escaped, if it can be, begin what each begins
	// with.
	first         byte
	itself, begin string
	// octal is how many digits an octal number has at most; printf %b takes one more than C.
	octal int
	// quote is set of a quote, which has no other escape than itself.
	quote bool
}

// languages are all of them.
var languages = [...]language{
	{first: '\\', itself: `\\`, begin: `\`, octal: 3}, {first: '\\', itself: `\\`, begin: `\0`, octal: 4},
	{first: '%', itself: "%25", begin: "%"}, {first: '&', itself: "&amp;", begin: "&"},
	{first: '=', itself: "=3D", begin: "="}, {first: '"', itself: `""`, begin: `""`, quote: true},
	{first: '\'', itself: `''`, begin: `''`, quote: true}, {first: '\'', itself: `'\''`, begin: `'\''`, quote: true},
}

// layouts are what programs paint a text with, and what they write at the beginning of each of its lines. Where it
// stands within what looks like an escape, but is the secret's own, as between the backslash and the 1 of \1, it has to
// be left out alone: nothing else may be undone.
var layouts = [...]language{{first: '\x1b', begin: "\x1b"}, {first: '\n', begin: "\n"}}

// findLayers looks through the escapes of each language in the text, the last of which ends here if last is set.
func (s *scrubber) findLayers(last bool) {
	for k := range s.languages {
		in := &s.languages[k]
		for i := s.nextExact(s.text, 0, in, !last); i < len(s.text); {
			from := s.before(s.text, i)
			end := from + s.undo(&s.layers[0], s.text[from:], in, i-from, !last)
			atEnd := end == len(s.text)
			s.deep = mostDeep * (end - from)
			// Where each byte stands is found out only where it has to be known.
			if s.look(0, !last && atEnd) || atEnd {
				s.deep = mostDeep * (end - from)
				s.locateIn(&s.layers[0], from, nil)
				s.report(0, atEnd, !last && atEnd)
			}
			i = s.nextExact(s.text, max(end, i+1), in, !last)
		}
	}
}

// look reports whether a layer, or one below it, has a secret.
func (s *scrubber) look(depth int, more bool) (found bool) {
	l := &s.layers[depth]
	for _, all := range []*search{s.forms, s.cores} {
		l.leave(all.sign, &s.signs)
		all.find(l.left, func(int) { found = true })
	}
	return found || s.below(depth, more, func() bool { return s.look(depth+1, more) })
}

// report redacts the secrets of a layer and of those below it, of which it is known where each byte stands. atEnd is
// set if the text ends with it.
func (s *scrubber) report(depth int, atEnd, more bool) {
	l := &s.layers[depth]
	for _, all := range []*search{s.forms, s.cores} {
		l.leave(all.sign, &s.signs)
		l.place(all.sign, &s.signs)
		all.find(l.left, func(at int) { s.redact(l.from[l.at[at]], l.from[l.at[at+all.window-1]+1]) })
		if atEnd {
			if k := all.starting(l.left); k > 0 {
				s.mayBegin(l.from[l.at[len(l.left)-k]], k)
			}
		}
	}
	s.below(depth, more, func() bool {
		s.locateIn(&s.layers[depth+1], 0, l.from)
		s.report(depth+1, atEnd, more)
		return false
	})
}

// below undoes the escapes of each language in a layer, until it is told that this is enough.
func (s *scrubber) below(depth int, more bool, enough func() bool) bool {
	if depth+1 == deepest {
		return false
	}
	l, below := &s.layers[depth], &s.layers[depth+1]
	for k := range s.languages {
		if s.deep < len(l.bytes) {
			return false
		}
		if s.nextExact(l.bytes, 0, &s.languages[k], more) == len(l.bytes) {
			continue
		}
		s.deep -= len(l.bytes)
		s.undo(below, l.bytes, &s.languages[k], len(l.bytes), more)
		if enough() {
			return true
		}
	}
	return false
}

// leave fills left with the bytes that have a sign.
func (l *layer) leave(kept sign, signs *[256]sign) {
	l.left = slices.Grow(l.left[:0], len(l.bytes)+lookahead)[:len(l.bytes)+lookahead]
	n := 0
	for _, c := range l.bytes {
		l.left[n] = c
		if signs[c]&kept != 0 {
			n++
		}
	}
	l.left = l.left[:n]
}

// place fills at.
func (l *layer) place(kept sign, signs *[256]sign) {
	l.at = l.at[:0]
	for i, c := range l.bytes {
		if signs[c]&kept != 0 {
			l.at = append(l.at, i)
		}
	}
}

// locateIn notes where in the text the bytes stand of a layer that begins there at first, or that lies below one whose
// bytes stand at so many places.
func (s *scrubber) locateIn(l *layer, first int, above []int) {
	l.from = l.from[:0]
	for _, at := range l.within {
		if above != nil {
			at = int32(above[at]) //nolint:gosec // a text has fewer bytes
		}
		l.from = append(l.from, first+int(at))
	}
}

// nextExact is where the next escape of a language is, not before i; the text's length if there is none.
func (s *scrubber) nextExact(text []byte, i int, in *language, more bool) int {
	for ; i < len(text); i++ {
		at := bytes.Index(text[i:], []byte(in.begin))
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
func (s *scrubber) undo(l *layer, text []byte, in *language, first int, more bool) int {
	l.bytes, l.within = l.bytes[:0], l.within[:0]
	at, end := 0, len(text)
	for at < end {
		plain := bytes.IndexByte(text[at:end], in.first)
		if plain < 0 {
			plain = end - at
		}
		l.copy(text[at:at+plain], at)
		if at += plain; at == end {
			break
		}
		one := s.exactly(text[at:], in, more)
		if one.size == 0 {
			break
		}
		for _, b := range one.value[:one.n] {
			l.bytes, l.within = append(l.bytes, b), append(l.within, int32(at)) //nolint:gosec // a text has fewer bytes
		}
		if at += one.size; one.written && at > first {
			end = max(at, s.after(text, at))
		}
	}
	l.within = append(l.within, int32(at)) //nolint:gosec // as above
	return at
}

// copy adds bytes that stand at a place.
func (l *layer) copy(plain []byte, at int) {
	l.bytes = append(l.bytes, plain...)
	n := len(l.within)
	l.within = slices.Grow(l.within, len(plain))[:n+len(plain)]
	for i := range plain {
		l.within[n+i] = int32(at + i) //nolint:gosec // as above
	}
}

// exactly undoes one escape; its size is 0 if its end may be yet to come. What is no escape stands for itself. A byte
// that is itself escaped is undone once, and what stands behind it is left to the next layer.
func (p *patterns) exactly(text []byte, in *language, more bool) symbol {
	if in.itself != "" && bytes.HasPrefix(text, []byte(in.itself)) {
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
