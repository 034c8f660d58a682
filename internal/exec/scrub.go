// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package exec

import (
	"bytes"
	"cmp"
	"io"
	"slices"
)

const (
	// mark is what stands in the place of a secret.
	mark = "[redacted]"
	// before bounds how much of what was written is looked at again, in bytes.
	before = 512
	// mostHeld bounds what is held back, in bytes.
	mostHeld = 4 << 10
	// mostAtOnce bounds what is looked at in one piece, in bytes.
	mostAtOnce = 256 << 10
	// telling is how many characters of a secret tell something about it.
	telling = 4
)

// scrubber writes what it is given without the secrets. What may be the beginning of one is held back until it is
// known.
type scrubber struct {
	*patterns
	out io.Writer
	// text is the end of what was written or redacted, and behind it, from next on, what was not yet.
	text []byte
	next int
	// begun is how many characters of a secret what is held back may be. inside: the last byte before it was redacted.
	begun  int
	inside bool

	// What follows is used anew for each piece. solid is the text without blanks, core its letters and digits.
	solid, core extract
	decoded     decoded
	asBroken    decoded
	layers      [deepest]layer
	// deep is how many bytes may still be looked through in the layers below the first.
	deep int
	// held is from where on a layer may have the beginning of a secret, of so many characters.
	held, heldCount int
	dump            dump
	found           []span
	clean           []byte
}

// span is a stretch of the text.
type span struct{ from, to int }

func newScrubber(out io.Writer, p *patterns) *scrubber {
	s := &scrubber{patterns: p, out: out, solid: extract{sign: solidSign}, core: extract{sign: coreSign}}
	s.asBroken.asBroken = true
	s.dump = newDump(p, s.redact)
	return s
}

// Write scrubs and writes. It keeps nothing of p.
func (s *scrubber) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		piece := rest[:min(len(rest), mostAtOnce)]
		if err := s.scrub(piece, false); err != nil {
			return len(p) - len(rest), err
		}
		rest = rest[len(piece):]
	}
	return len(p), nil
}

// scrub holds nothing back if it is the last that comes, or that comes soon.
func (s *scrubber) scrub(p []byte, last bool) error {
	s.text = append(s.text, p...)
	s.found = s.found[:0]
	s.held, s.heldCount = len(s.text), 0
	fill(&s.solid, &s.core, s.text, &s.signs)
	s.findBetween(&s.solid, s.forms)
	s.findBetween(&s.core, s.cores)
	s.findEscaped()
	s.findLayers(last)
	s.dump.look(s.text, s.next, last)
	end := s.hold()
	if last {
		end = len(s.text)
	}
	return s.write(end)
}

// redact notes a stretch that is to be redacted.
func (s *scrubber) redact(from, to int) {
	if last := len(s.found) - 1; last >= 0 && from >= s.found[last].from && from <= s.found[last].to {
		s.found[last].to = max(s.found[last].to, to)
		return
	}
	s.found = append(s.found, span{from, to})
}

// findBetween looks for words in what is left of the text by a sign, whatever stands between.
func (s *scrubber) findBetween(left *extract, all *search) {
	all.find(left.bytes, func(at int) {
		s.redact(left.place(at, s.text, &s.signs), left.place(at+all.window-1, s.text, &s.signs)+1)
	})
	if k := all.starting(left.bytes); k > 0 {
		s.mayBegin(left.place(len(left.bytes)-k, s.text, &s.signs), k)
	}
}

// mayBegin notes that at a place the beginning of a secret may stand, of so many characters.
func (s *scrubber) mayBegin(from, count int) {
	s.held, s.heldCount = min(s.held, from), max(s.heldCount, count)
}

// findEscaped looks around everything that is written otherwise than it is. Where there are both escapes and numberings
// of lines, it looks once more without leaving out those.
func (s *scrubber) findEscaped() {
	d, other := &s.decoded, &s.asBroken
	d.clear()
	for i := s.nextEscape(s.text, 0); i < len(s.text); i = s.nextEscape(s.text, max(i+1, d.end)) {
		from := s.before(s.text, i)
		s.decode(d, s.text, from, i+1)
		s.findDecoded(d, from)
		if d.numbered && d.escaped {
			least := d.end
			if d.open {
				least = len(s.text)
			}
			s.decode(other, s.text, from, least)
			s.findDecoded(other, from)
			s.mayBeginIn(other)
		}
		if d.open {
			return
		}
	}
	if d.end < len(s.text) {
		d.clear() // nothing was left out near the end
	}
}

// findDecoded looks for words in a stretch without its escapes, which begins at a place. Where each character stands is
// found out only where it has to be known.
func (s *scrubber) findDecoded(d *decoded, from int) {
	d.leaveCore(&s.signs)
	s.forms.find(d.bytes, func(int) { d.found = true })
	s.cores.find(d.core, func(int) { d.found = true })
	if !d.found && !d.open && d.end < len(s.text) {
		return
	}
	s.locate(d, s.text, from)
	redact := func(first, last int) {
		end := d.from[last+1]
		for d.asBroken && s.signs[s.text[end-1]]&blankSign != 0 {
			end-- // the line's end belongs to what is left out otherwise
		}
		s.redact(d.from[first], end)
	}
	s.forms.find(d.bytes, func(at int) { redact(at, at+s.forms.window-1) })
	s.cores.find(d.core, func(at int) { redact(d.at[at], d.at[at+s.cores.window-1]) })
}

// mayBeginIn notes the beginnings of secrets at the end of a stretch that the text ends with.
func (s *scrubber) mayBeginIn(d *decoded) (inForms, inCores int) {
	if d.end < len(s.text) && !d.open {
		return 0, 0
	}
	inForms, inCores = s.forms.starting(d.bytes), s.cores.starting(d.core)
	if inForms > 0 {
		s.mayBegin(d.from[len(d.bytes)-inForms], inForms)
	}
	if inCores > 0 {
		s.mayBegin(d.from[d.at[len(d.core)-inCores]], inCores)
	}
	return inForms, inCores
}

// hold returns from where on the text may be the beginning of a secret.
func (s *scrubber) hold() int {
	d := &s.decoded
	inForms, inCores := s.mayBeginIn(d)
	from, count := s.dump.begins()
	from, count = min(from, s.held), max(count, s.heldCount)
	if inForms+inCores == 0 && d.open && bytes.IndexByte([]byte("\\%=&\x1b\xe2"), s.text[d.end]) >= 0 {
		from = min(from, d.end)
	}
	if len(s.text)-from > mostHeld {
		from, count = len(s.text), 0
	}
	s.begun = count
	return from
}

// write writes what is before a place, without what was found, and keeps the rest.
func (s *scrubber) write(end int) error {
	slices.SortFunc(s.found, func(a, b span) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to)) })
	s.clean = s.clean[:0]
	done := s.next
	end = max(end, done)
	for _, secret := range s.found {
		if secret.from >= end {
			break // it is found again, once what is held back before it is known
		}
		if secret.to <= done {
			continue
		}
		if start := max(secret.from, done); start > done || !s.inside {
			s.clean = append(append(s.clean, s.text[done:start]...), mark...)
		}
		done, s.inside = secret.to, true
		end = max(end, done)
	}
	if end > done {
		s.clean = append(s.clean, s.text[done:end]...)
		s.inside = false
	}
	from := max(min(s.context(), end), end-before)
	s.dump.cut(from, done == len(s.text))
	s.text, s.next = append(s.text[:0], s.text[from:]...), end-from
	_, err := s.out.Write(s.clean)
	return err
}

// context is from where on the text has to be looked at again, together with what comes next.
func (s *scrubber) context() int {
	at := len(s.text)
	for _, left := range []struct {
		*extract
		window int
	}{{&s.solid, s.forms.window}, {&s.core, s.cores.window}} {
		if len(left.bytes) <= left.window || s.dump.pending() {
			return 0
		}
		at = min(at, left.place(len(left.bytes)-left.window, s.text, &s.signs))
	}
	if d := &s.decoded; len(d.from) > 0 {
		at = min(at, d.from[0])
	}
	return at
}

// waits reports whether so little of a secret is held back that it tells nothing.
func (s *scrubber) waits() bool { return len(s.text) > s.next && s.begun < telling }

// flush writes what is held back: nothing comes after it, or not soon.
func (s *scrubber) flush() error { return s.scrub(nil, true) }
