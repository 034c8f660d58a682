// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package exec

import (
	"bytes"
	"math/bits"
	"slices"
	"unicode/utf8"
)

const (
	// widestNumbers is how many bytes in a row that are written as numbers are enough to redact them.
	widestNumbers = 8
	// shortestRun is the least that a number takes, with what stands between it and that of the next line.
	shortestRun = 12
	// longestGap is how far apart two numbers of one value can stand.
	longestGap = 1 << 10
)

// dump finds the bytes of secrets in numbers: as xxd, hexdump, od and openssl write them, and programs that print
// bytes one by one. It reads a text from its beginning to its end.
type dump struct {
	*patterns
	text    []byte
	numbers []number
	lanes   [4]lane
	found   func(from, to int)
	// digits are the hexadecimal ones of the last stretch of numbers, which begins at digitsFrom.
	digits     []byte
	digitsFrom int
	// line is where the line ends, or the text, that the last number stands in.
	line int
	// enough is how many words of each size, that are of a secret as a whole, a window has at least.
	enough [4]int
	// open is where a number begins that can go on behind the text; the text's length if there is none.
	open int
	// redacted is where the last stretch that was found ends.
	redacted int
	// known is set once from and count are what begins returns.
	known       bool
	from, count int
	// last is set if nothing comes behind the text, or not soon.
	last bool
	// numbered is set once the present line has a number. within is set if the text begins in the middle of a line.
	numbered, within bool
	// withinNumbered is set if that line begins with a numbering, rest if its rest has to be redacted. toEnd is set if
	// that is so of the last line of the text.
	withinNumbered, rest, toEnd bool
	// ofLine is the line that was redacted last, as far as the text has it; isNumbered: it begins with a numbering.
	ofLine     span
	isNumbered bool
	// space are bytes that were read of numbers, places where each of them stands.
	space  []byte
	places []span
	// links are those of the last number, if they can be of a secret: linked is for hexadecimal and binary ones.
	links  [kinds]link
	linked [2]bool
}

func newDump(p *patterns, found func(from, to int)) dump {
	d := dump{patterns: p, found: found}
	d.lanes[1].offsets, d.lanes[2].offsets, d.lanes[2].columns, d.lanes[3].columns = true, true, true, true
	d.enough = [4]int{max(p.values.window, 1), max((p.values.window-1)/2, 1), 1, 1}
	return d
}

// look reports what it finds in a text, which is new from a place on and goes on unless it is the last.
func (d *dump) look(text []byte, next int, last bool) {
	d.last, d.known, d.ofLine, d.toEnd = last, false, span{}, false
	d.text, d.open, d.redacted, d.numbered, d.line = text, len(text), 0, false, 0
	d.numbers = d.numbers[:0]
	d.digits = d.digits[:0]
	for i := range d.lanes {
		d.lanes[i].clear()
	}
	if d.rest {
		d.ofLine = span{next, d.lineEnd(next, len(text))}
		d.isNumbered, d.toEnd = true, d.ofLine.to == len(text)
		d.found(next, d.ofLine.to)
	}
	for i := 0; i < len(text); {
		from, to := d.run(i)
		d.skip(text[i:from])
		d.take(from, to)
		// A number that goes on can turn out to be a 0x.
		d.lookAtDigits(from, min(to, d.open))
		i = max(to, i+1)
	}
}

// pending reports whether what comes next can be read only together with what came before.
func (d *dump) pending() bool {
	_, count := d.begins()
	return count > 0 || d.redacted > 0 || d.numbered || d.open < len(d.text)
}

// run is the next stretch of the text, not before i, that has nothing but digits and what divides them, and is not
// short or reaches to the end.
func (d *dump) run(i int) (from, to int) {
	const step = shortestRun - 1
	text, signs := d.text, &d.signs
	for from = i; ; {
		last := min(from+step, len(text)-1)
		back := last
		for ; back >= from; back-- {
			c := text[back]
			if signs[c]&foreignSign == 0 {
				continue
			}
			if c < utf8.RuneSelf && (back == 0 || signs[text[back-1]]&beforeLetterSign == 0) || !d.isAmongNumbers(back) {
				break
			}
		}
		switch {
		case back < from:
			to = last + 1
			for to < len(text) && !d.isForeign(to) {
				if to++; text[to-1] >= utf8.RuneSelf {
					for to < len(text) && !utf8.RuneStart(text[to]) {
						to++
					}
				}
			}
			return from, to
		case back == len(text)-1:
			return len(text), len(text)
		}
		from = back + 1
	}
}

// isForeign reports whether no number can stand at a place.
func (d *dump) isForeign(i int) bool {
	return d.signs[d.text[i]]&foreignSign != 0 && !d.isAmongNumbers(i)
}

// isAmongNumbers reports whether what could be a letter can stand in numbers or between them. That is a character of
// any script that is no letter and no digit; the o of 0o17; and a letter that is quoted alone, as a debugger writes it
// behind the number.
func (d *dump) isAmongNumbers(i int) bool {
	text := d.text
	switch {
	case text[i] >= utf8.RuneSelf:
		return !isLetterAt(text, i)
	case i == 0 || d.signs[text[i-1]]&beforeLetterSign == 0:
		return false
	case text[i-1] == '0':
		return text[i] == 'o' && (i == 1 || !isAlphanumeric(text[i-2])) &&
			(i+1 == len(text) || text[i+1] >= '0' && text[i+1] <= '7')
	}
	return i+1 == len(text) || text[i+1] == '\''
}

// skip is called with what stands between two stretches of numbers.
func (d *dump) skip(between []byte) {
	if len(between) == 0 {
		return
	}
	if bytes.IndexByte(between, '\n') >= 0 {
		d.newLine()
		return
	}
	d.word()
}

func (d *dump) newLine() {
	d.numbered = false
	for i := range d.lanes {
		d.lanes[i].newLine()
	}
}

func (d *dump) word() {
	for i := range d.lanes {
		d.lanes[i].word()
	}
}

// take takes one number after the other.
func (d *dump) take(from, to int) {
	i := from
	if i > 0 && i < to && isAlphanumeric(d.text[i-1]) && isAlphanumeric(d.text[i]) {
		i = d.wordEnd(i, to) // the end of a word
	}
	for i < to {
		switch c := d.text[i]; {
		case c == '\n':
			d.newLine()
			i++
		case isAlphanumeric(c):
			end := d.wordEnd(i, to)
			if end == len(d.text) && !d.last {
				d.open = i
				return
			}
			d.number(i, end)
			i = end
		case c == '\'' || c == '"':
			end, is := aside(d.text[:to], i)
			if is == maybe && to == len(d.text) && !d.last {
				d.open = i
				return
			}
			i = end + 1
		case c >= utf8.RuneSelf:
			i++
		default:
			d.sign(i)
			i++
		}
	}
}

// wordEnd is where letters and digits end, or another 0x begins.
func (d *dump) wordEnd(i, to int) int {
	end := i + 1
	for end < to && isAlphanumeric(d.text[end]) {
		if end-i > 2 && d.text[end]|0x20 == 'x' && d.text[end-1] == '0' {
			return end - 1
		}
		end++
	}
	return end
}

// sign takes what is neither a number nor a word.
func (d *dump) sign(i int) {
	blank := func(at int) bool {
		return at >= 0 && at < len(d.text) && (d.text[at] == ' ' || d.text[at] == '\t')
	}
	switch c := d.text[i]; {
	case c == '-' && blank(i-1) && blank(i+1):
		for k := range d.lanes {
			l := &d.lanes[k]
			l.marked = l.marked || l.begun && l.taken == 0
		}
	case c == ':' && blank(i+1):
		for k := range d.lanes {
			if d.lanes[k].offsets {
				d.lanes[k].restart()
			}
		}
	case (c == '|' || c == '>') && blank(i-1):
		for k := range d.lanes {
			if l := &d.lanes[k]; l.columns && l.taken > 0 {
				l.over, l.marked = true, true
			}
		}
	}
}

// number takes what may be one.
func (d *dump) number(from, to int) {
	n, digits, ok := d.numberAt(from, to)
	if !ok {
		d.word()
		return
	}
	d.add(n, digits)
}

// numberAt reads letters and digits as a number, and returns its digits. It is not ok if they are none.
func (d *dump) numberAt(from, to int) (n number, digits []byte, ok bool) {
	digits, only := d.text[from:to], bases
	if len(digits) > 2 && digits[0] == '0' && digits[1]|0x20 == 'x' {
		digits, only = digits[2:], hexadecimals
	}
	if len(digits) > 2 && digits[0] == '0' && digits[1] == 'o' {
		digits, only = digits[2:], octal
	}
	if !hexadecimal(digits) || only == octal && bytes.ContainsAny(digits, "89abcdefABCDEF") {
		return n, digits, false
	}
	if len(digits) > 2 && digits[0] == '0' && digits[1]|0x20 == 'b' && len(bytes.Trim(digits[2:], "01")) == 0 {
		digits, only = digits[2:], twos
	}
	negative := from > 0 && d.text[from-1] == '-' && (from < 2 || !isAlphanumeric(d.text[from-2]))
	n = number{from: from, digits: to - len(digits), to: to, negative: negative}
	n.read(digits, only)
	return n, digits, true
}

// add gives a number to each lane.
func (d *dump) add(n number, digits []byte) {
	if !d.numbered {
		d.firstOfLine(n.from, n.to)
	}
	if last := len(d.numbers) - 1; last >= 0 && n.from-d.numbers[last].to > longestGap {
		for i := range d.lanes {
			d.lanes[i].apart()
		}
	}
	d.numbers = append(d.numbers, n)
	if n.to > d.line || d.line == 0 {
		d.line = d.lineEnd(n.to, len(d.text))
	}
	full := d.values.plausible(&n)
	plausible := full | full&bySize[0]<<2 | full&bySize[0]<<3
	alive, size, length := d.linksOf(&n), bytesOf(digits), len(digits)
	if n.to < len(d.text) && d.text[n.to] == ',' {
		length = 0 // it is no offset
	}
	cut := n.to < len(d.text) && isAlphanumeric(d.text[n.to]) && d.signs[d.text[n.to]]&foreignSign != 0
	for i := range d.lanes {
		l := &d.lanes[i]
		if l.over || cut && (l.offsets || l.columns) {
			l.word()
			continue
		}
		data := len(l.numbers)
		suspect := l.take(len(d.numbers)-1, length, size, plausible, full, &d.enough)
		if len(l.numbers) > data && alive {
			d.extend(l)
		} else if len(l.numbers) > data {
			l.chains = [kinds]chain{}
		}
		if l.columns && !l.over && !l.uneven && l.bytes > 0 && (l.marked || l.offset >= leastOffset) {
			d.endData(l, n.to)
		}
		if suspect {
			d.check(l, l.suspects|l.before)
		}
	}
}

// firstOfLine is called with the first number of a line. If the line begins with that number, and a blank follows, the
// bytes may stand behind the numbers once more, as characters. The lanes without offsets then redact the whole line.
// Otherwise the line is no such dump, and the lane that looks for that column leaves the line out.
func (d *dump) firstOfLine(from, to int) {
	d.numbered = true
	for from > 0 && blank(d.text[from-1:from]) {
		from--
	}
	begins := from == 0 && !d.within || from > 0 && d.text[from-1] == '\n'
	begins = begins && blank(d.text[to:min(to+1, len(d.text))])
	for i := range d.lanes {
		if l := &d.lanes[i]; !l.offsets {
			l.marked, l.over = begins, l.columns && !begins
		}
	}
}

// endData ends the data of a line where behind a number its bytes stand as characters. Where the line is not yet there
// as a whole, they may.
func (d *dump) endData(l *lane, to int) {
	blanks := d.line - to - l.bytes
	if d.line > 0 && d.text[d.line-1] == '\r' {
		blanks--
	}
	if d.line == len(d.text) {
		l.over = blanks <= 0 || blank(d.text[to:to+blanks])
		return
	}
	if blanks > 0 && blank(d.text[to:to+blanks]) {
		l.over, l.marked = true, true
	}
}

func blank(text []byte) bool {
	for _, c := range text {
		if c != ' ' && c != '\t' {
			return false
		}
	}
	return true
}

// lineEnd is where a line ends, if that is not behind a place or the text's end, which it is otherwise.
func (d *dump) lineEnd(from, most int) int {
	most = min(most, len(d.text))
	if end := bytes.IndexByte(d.text[from:most], '\n'); end >= 0 {
		return from + end
	}
	return most
}

// read reads a lane's last numbers in one way. Noughts are left out unless a secret has some: they fill a word that is
// not full, on either side. Where each byte stands is in places, if that is asked for.
func (d *dump) read(l *lane, base, size, order int, placed bool) {
	d.space, d.places = d.space[:0], d.places[:0]
	var space [longestWord]byte
	filled := d.values.has[0]
	for i := len(l.numbers) - 1; i >= max(0, len(l.numbers)-mostNumbers); i-- {
		n := &d.numbers[l.numbers[i]]
		word := n.as(space[:0], base, size, order)
		if word == nil {
			break
		}
		for k := len(word) - 1; k >= 0; k-- {
			if word[k] == 0 && !filled {
				continue
			}
			d.space = append(d.space, word[k])
			if placed {
				d.places = append(d.places, span{n.from, n.to})
			}
		}
	}
	slices.Reverse(d.space)
	slices.Reverse(d.places)
}

// check looks for secrets in the last numbers, in some ways.
func (d *dump) check(l *lane, suspects ways) {
	window := d.values.window
	for ; suspects != 0; suspects &= suspects - 1 {
		way := bits.TrailingZeros64(uint64(suspects))
		size := way % 8 / 2
		d.read(l, way/8, size, way%2, false)
		// Those that end before the last two words were looked at before.
		for at := max(0, len(d.space)-window-(2<<size)+1); at+window <= len(d.space); at++ {
			if _, known := d.values.windows[string(d.space[at:at+window])]; known {
				if len(d.places) == 0 {
					d.read(l, way/8, size, way%2, true)
				}
				d.redact(d.places[at].from, d.places[at+window-1].to, l.marked)
			}
		}
	}
}

// redact reports a stretch, with the last byte as a character if that stands behind it. The rest of the line is
// redacted, too, if that may be the same bytes as characters: if whole is set, or the line begins with a numbering.
func (d *dump) redact(from, to int, whole bool) {
	if to+2 < len(d.text) && d.text[to] == ' ' && d.text[to+1] == '\'' {
		if end, is := character(d.text, to+1); is == yes {
			to = end + 1
		}
	}
	if d.ofLine.from > to || to > d.ofLine.to || d.ofLine.to == 0 {
		d.ofLine = span{bytes.LastIndexByte(d.text[:to], '\n') + 1, d.lineEnd(to, len(d.text))}
		d.isNumbered = d.beginsNumbered(d.text, d.ofLine.from)
	}
	if whole || d.isNumbered {
		to = d.ofLine.to
		d.toEnd = d.toEnd || to == len(d.text)
	}
	d.redacted = max(d.redacted, to)
	d.found(from, to)
}

// beginsNumbered reports whether the line that begins at a place, which may be that of which the text has only the end,
// begins with a numbering.
func (d *dump) beginsNumbered(text []byte, from int) bool {
	if from == 0 && d.within {
		return d.withinNumbered
	}
	from = behindBlanks(text, from)
	return numberingAt(text[:min(len(text), from+longestEscape)], from).is
}

// cut is called before the text is cut off at a place. rest is set if the line that was redacted to the text's end has
// to be redacted further.
func (d *dump) cut(at int, rest bool) {
	d.rest = rest && d.toEnd
	if at > 0 {
		d.withinNumbered = d.beginsNumbered(d.text, bytes.LastIndexByte(d.text[:at], '\n')+1)
		d.within = d.text[at-1] != '\n'
	}
}
