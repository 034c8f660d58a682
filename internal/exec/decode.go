// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package exec

import (
	"slices"
	"strings"
)

// unescaped is a form after its escapes were undone: so it is compared with what is written with escapes.
func (p *patterns) unescaped(form string) string {
	var b strings.Builder
	for rest := []byte(strings.ReplaceAll(form, "\n", " ")); len(rest) > 0; {
		s := p.symbolAt(rest, false)
		b.Write(s.value[:s.n])
		rest = rest[s.size:]
	}
	return b.String()
}

// decoded is a stretch of the output without its escapes.
type decoded struct {
	bytes []byte
	// core are its letters and digits, and at says where in bytes they stand.
	core []byte
	at   []int
	// from is where what each byte was written as begins, and at last where that of the last one ends.
	from []int
	// end is where the stretch ends. It is open if that is within what may be an escape.
	end         int
	open, found bool
	// asBroken is set if the numberings of lines are not left out: what looks like one can be the secret's own. numbered
	// is set if one was left out, escaped if anything else was undone.
	asBroken, numbered, escaped bool
}

func (d *decoded) clear() {
	d.bytes, d.core, d.from, d.end, d.open, d.found = d.bytes[:0], d.core[:0], d.from[:0], 0, false, false
}

// leaveCore fills core and at. With the number of a line more may have been left out than stands around it: signs of
// the secret.
func (d *decoded) leaveCore(signs *[256]sign) {
	d.core, d.at = slices.Grow(d.core[:0], len(d.bytes)+lookahead), d.at[:0]
	for i, c := range d.bytes {
		if signs[c]&coreSign != 0 {
			d.core, d.at = append(d.core, c), append(d.at, i)
		}
	}
}

// before is as far before a place as a window can reach.
func (p *patterns) before(text []byte, i int) int {
	for left := p.reach; i > 0 && left > 0; {
		i--
		if p.signs[text[i]]&solidSign != 0 {
			left--
		}
	}
	return i
}

// after is as far behind a place as a window can reach.
func (p *patterns) after(text []byte, i int) int {
	for left := p.reach; i < len(text) && left > 0; i++ {
		left -= int(p.signs[text[i]] & solidSign)
	}
	return i
}

// decode undoes the escapes from a place on up to least, and until so much stands behind the last of them as a window
// can reach.
func (p *patterns) decode(d *decoded, text []byte, at, least int) {
	d.open, d.found, d.numbered, d.escaped = false, false, false, false
	decoded, signs, introducers := slices.Grow(d.bytes[:0], lookahead), &p.signs, &p.introducers
	for left := 0; at < len(text) && (at < least || left > 0); {
		c := text[at]
		if introducers[c] == 0 || c == '\n' && d.asBroken {
			at++
			if signs[c]&solidSign != 0 {
				decoded = append(decoded, c)
				left--
			}
			continue
		}
		s := p.symbolAt(text[at:], true)
		if s.size == 0 {
			d.open = true
			break
		}
		decoded = append(decoded, s.value[:s.n]...)
		at += s.size
		left -= s.n
		if s.written {
			left = p.reach
		}
		d.numbered = d.numbered || c == '\n' && s.size > 1
		d.escaped = d.escaped || c != '\n' && s.written
	}
	d.bytes = slices.Grow(decoded, lookahead)
	d.end = at
}

// locate notes where each of the bytes that were decoded from a place on stands.
func (p *patterns) locate(d *decoded, text []byte, at int) {
	d.from = d.from[:0]
	for at < d.end {
		if text[at] == '\n' && d.asBroken {
			at++
			continue
		}
		s := p.symbolAt(text[at:], true)
		for range s.n {
			d.from = append(d.from, at)
		}
		at += s.size
	}
	d.from = append(d.from, d.end)
}

// nextEscape is where the next escape is, or anything else that is left out between the characters of a secret; the
// text's length if there is none.
func (p *patterns) nextEscape(text []byte, i int) int {
	known := &p.introducers
	for ; i < len(text); i++ {
		// Most text has nothing of the kind: eight bytes are looked at together.
		for ; i+8 <= len(text); i += 8 {
			t := text[i : i+8 : i+8]
			if known[t[0]]|known[t[1]]|known[t[2]]|known[t[3]]|known[t[4]]|known[t[5]]|known[t[6]]|known[t[7]] != 0 {
				break
			}
		}
		for i < len(text) && known[text[i]] == 0 {
			i++
		}
		if i == len(text) {
			return i
		}
		if !p.introduces(text[i:]) {
			continue
		}
		if s := p.symbolOf(text[i:], true); s.written || s.size == 0 {
			return i
		}
	}
	return i
}
