// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package exec

import (
	"bytes"
	"slices"
)

const (
	// widestNumbers is how many bytes in a row that are written as numbers are enough to redact them.
	widestNumbers = 8
	// shortestRun is the least that so many numbers take, with what divides them: in less nothing is looked for.
	shortestRun = 12
	// longestGap is how far apart two numbers of one value can stand.
	longestGap = 1 << 10
	// around is how far from digits of a secret others of it may stand, in other lines.
	around = 256
)

// dump finds the bytes of secrets in numbers: as xxd, hexdump, od and openssl write them, and programs that print
// bytes one by one. It reads a text from its beginning to its end.
type dump struct {
	*patterns
	text  []byte
	read  [ways]reading
	found func(from, to int)
	// seen is how far the text was read. open is where a number begins that can go on behind the text; the text's
	// length if none does.
	seen, open int
	// redacted is where the last stretch that was found ends.
	redacted int
	// framed is set when the present line began with an offset: what stands behind its data are the same bytes as
	// characters. numbered is set once it has a number that is none.
	framed, numbered bool
	// size is how many bytes the present line has.
	size   int
	digits []byte
}

// look reports what it finds in a text. Numbers are read only around digits of a secret, and at the end, where one
// may begin.
func (d *dump) look(text []byte) {
	d.text, d.seen, d.open, d.redacted = text, 0, len(text), 0
	d.reset()
	end := max(0, len(text)-around)
	for i := 0; i < len(text); {
		from, to := d.run(i, d.values.digits.window)
		if from >= end || d.suspect(from, to) {
			d.readTo(max(0, from-around), min(len(text), to+around))
		}
		i = max(to+1, d.seen)
	}
}

// readTo reads a stretch of the text, and goes on where it begins before what was read.
func (d *dump) readTo(from, to int) {
	if from > d.seen {
		d.reset()
		if d.seen = from + bytes.IndexByte(d.text[from:], '\n') + 1; d.seen > to {
			d.seen = from
		}
	}
	for d.seen < to {
		d.take(d.run(d.seen, shortestRun))
	}
}

func (d *dump) reset() {
	for way := range d.read {
		d.read[way].clear()
	}
	d.newLine()
}

// suspect reports whether a stretch of numbers has digits of a secret.
func (d *dump) suspect(from, to int) bool {
	run, signs := d.text[from:to], &d.signs
	d.digits = slices.Grow(d.digits[:0], len(run)+lookahead)[:len(run)]
	digits, n := d.digits, 0
	for i := 0; i < len(run); i++ {
		c := run[i]
		if c == '"' {
			if end, is := key(run, i); is == yes {
				i = end
			}
		}
		if n < len(digits) {
			digits[n] = c | 0x20&(c>>1) // a letter in lower case
		}
		n += int(signs[c]&digitSign) / int(digitSign)
	}
	found := false
	d.values.digits.find(d.digits[:n], func(int) { found = true })
	return found
}

// pending reports whether what comes next can be read only together with what came before.
func (d *dump) pending() bool {
	_, count := d.begins()
	return count > 0 || d.redacted > 0 || d.framed || d.numbered || d.open < len(d.text)
}

// run is the next stretch of the text, not before i, that has nothing but digits and what divides them, and has at
// least so many bytes or reaches to the end.
func (d *dump) run(i, least int) (from, to int) {
	text, signs, step := d.text, &d.signs, least-1
	for from = i; ; {
		last := min(from+step, len(text)-1)
		back := last
		for back >= from && signs[text[back]]&foreignSign == 0 {
			back--
		}
		switch {
		case back < from:
			for to = last + 1; to < len(text) && signs[text[to]]&foreignSign == 0; to++ {
				continue
			}
			return from, to
		case back == len(text)-1:
			return len(text), len(text)
		}
		from = back + 1
	}
}

// take takes one number after the other.
func (d *dump) take(from, to int) {
	if bytes.IndexByte(d.text[d.seen:from], '\n') >= 0 {
		d.newLine()
	}
	d.interrupt()
	d.seen = min(to+1, len(d.text))
	for i := from; i < to; {
		switch c := d.text[i]; {
		case c == '\n':
			d.newLine()
			i++
		case isAlphanumeric(c):
			end := i + 1
			for end < to && isAlphanumeric(d.text[end]) {
				end++
			}
			if !d.number(i, end) {
				d.open = i
				return
			}
			i = end
		case c == '"':
			end, is := key(d.text[:to], i)
			if is == maybe && to == len(d.text) {
				d.open = i
				return
			}
			i = end + 1
		default:
			if d.isColumn(i) {
				d.interrupt()
			}
			i++
		}
	}
}

func (d *dump) newLine() {
	for way := range d.read {
		r := &d.read[way]
		if d.size > 0 && !r.begun {
			r.clear() // the line was read in another way
		}
		r.begun, r.over, r.width = false, false, 0
	}
	d.framed, d.numbered, d.size = false, false, 0
}

// interrupt is called where something else stands between numbers: behind the data of a line with an offset nothing
// more is read.
func (d *dump) interrupt() {
	for way := range d.read {
		d.read[way].over = d.framed && d.read[way].begun
	}
}

// isColumn reports whether at a place on a line with an offset its bytes stand once more, as characters.
func (d *dump) isColumn(i int) bool {
	if !d.framed || d.size == 0 {
		return false
	}
	if d.text[i] == '|' || d.text[i] == '>' {
		return true
	}
	line := d.text[i:min(len(d.text), i+longestEscape)]
	end := bytes.IndexByte(line, '\n')
	if line[0] != ' ' || end < 0 {
		return false
	}
	rest := bytes.Trim(line[:end], " \r")
	return len(rest) <= d.size && !hexadecimal(bytes.ReplaceAll(rest, []byte(" "), nil))
}

// number takes one, and reports false if what it is depends on what comes behind the text.
func (d *dump) number(from, to int) bool {
	if to == len(d.text) {
		return false
	}
	digits, prefixed := d.text[from:to], false
	if len(digits) > 2 && digits[0] == '0' && digits[1]|0x20 == 'x' {
		digits, prefixed = digits[2:], true
	}
	switch d.isOffset(digits, to) {
	case maybe:
		return false
	case yes:
		d.framed, d.size = true, 0
		return true
	}
	d.numbered = true
	for way := range d.read {
		r := &d.read[way]
		if r.over {
			continue
		}
		var space [8]byte
		value := bytesOf(space[:0], way, digits, prefixed)
		if d.framed && r.begun && way <= littleEndian && len(digits) > r.width {
			value = nil // a word of the column of characters
		}
		switch {
		case len(value) > 0:
			r.width = len(digits)
			d.append(r, value, from, to)
		case d.framed && r.begun:
			r.over = true
		case r.begun:
			r.clear()
		}
	}
	d.size += size(digits)
	return true
}

// answer is what is known about a number.
type answer int

const (
	no answer = iota
	yes
	maybe
)

// isOffset reports whether a number before a line's data is an offset: behind it stands a colon, or a number of
// another length.
func (d *dump) isOffset(digits []byte, to int) answer {
	const least = 4
	rest := d.text[to:min(len(d.text), to+longestEscape)]
	if len(digits) < least {
		return no
	}
	if rest[0] == ':' && len(rest) > 1 && (rest[1] == ' ' || rest[1] == '\t') {
		return yes
	}
	if d.framed || d.numbered {
		return no
	}
	next := bytes.TrimLeft(rest, " \t-")
	end := 0
	for end < len(next) && isAlphanumeric(next[end]) {
		end++
	}
	switch {
	case end == len(next) && to+len(rest) == len(d.text):
		return maybe
	case len(next) < len(rest) && end != len(digits):
		return yes
	}
	return no
}

// key reports whether at a quote a member's name in JSON begins that is a number, and where it ends. The number is no
// byte: {"0":119,"1":74}.
func key(text []byte, i int) (end int, is answer) {
	end = i + 1
	for end < len(text) && text[end] >= '0' && text[end] <= '9' {
		end++
	}
	rest := text[end:]
	switch {
	case bytes.HasPrefix(rest, []byte(`":`)):
		return end + 1, yes
	case len(rest) == 0 || len(rest) == 1 && rest[0] == '"':
		return end, maybe
	}
	return i, no
}

// append adds what was read in one way.
func (d *dump) append(r *reading, value []byte, from, to int) {
	if len(r.to) > 0 && from-r.to[len(r.to)-1] > longestGap {
		r.clear()
	}
	for _, b := range value {
		if !d.values.has[b] {
			// What a line has before its data is no reason to begin anew: it can be a number of the line.
			if r.begun {
				r.clear()
			}
			continue
		}
		r.begun = true
		r.bytes, r.from, r.to = append(r.bytes, b), append(r.from, from), append(r.to, to)
		at := len(r.bytes) - d.values.window
		if at < 0 {
			continue
		}
		if _, known := d.values.windows[string(r.bytes[at:])]; known {
			d.redacted = d.lineEnd(to)
			d.found(r.from[at], d.redacted)
		}
		const most = 64
		if len(r.bytes) > most {
			r.keep(d.values.window)
		}
	}
}

// lineEnd is where what stands for the same bytes ends: with a line that begins with an offset, and else with the
// number.
func (d *dump) lineEnd(to int) int {
	if !d.framed {
		return to
	}
	rest := d.text[to:min(len(d.text), to+longestGap)]
	if end := bytes.IndexByte(rest, '\n'); end >= 0 {
		return to + end
	}
	return to + len(rest)
}

// begins is where what may be the beginning of a secret begins at the text's end, or a number that can be the next
// byte of one that was redacted, and how many bytes are there.
func (d *dump) begins() (from, count int) {
	from = d.open
	if d.redacted > 0 && d.redacted < from && d.goesOn(d.redacted) {
		from = d.redacted
	}
	for i := range d.read {
		r := &d.read[i]
		for k := min(d.values.window-1, len(r.bytes)); k > count; k-- {
			at := len(r.bytes) - k
			if _, known := d.values.starts[string(r.bytes[at:])]; known {
				from, count = min(from, r.from[at]), k
				break
			}
		}
	}
	return from, count
}

// goesOn reports whether nothing but numbers, and what divides them, stands between a place and the end.
func (d *dump) goesOn(from int) bool {
	for _, c := range d.text[from:] {
		if d.signs[c]&foreignSign != 0 {
			return false
		}
	}
	return true
}
