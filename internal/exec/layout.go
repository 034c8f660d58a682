// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package exec

import (
	"bytes"
	"unicode"
	"unicode/utf8"
)

// quoted leaves out a quote. Two in a row are one that is doubled, or strings in several lines that a program's
// source joins.
func quoted(text []byte, more bool) symbol {
	next := bytes.TrimLeft(text[1:], " \t\r\n")
	switch {
	case len(next) == 0 && more:
		return incomplete()
	case len(next) == 0 || next[0] != '"' && next[0] != '\'':
		return leftOut(1, false)
	}
	gap := text[1 : len(text)-len(next)]
	return leftOut(1, len(gap) == 0 || bytes.IndexByte(gap, '\n') >= 0)
}

// box leaves out a line that a table is drawn with.
func box(text []byte, more bool) symbol {
	if more && !utf8.FullRune(text) {
		return incomplete()
	}
	if r, size := utf8.DecodeRune(text); r >= '─' && r <= '╿' {
		return leftOut(size, true)
	}
	return plainSymbol(text[0])
}

func endsLine(text []byte) bool {
	at := behindBlanks(text, 0)
	return at < len(text) && text[at] == '\n'
}

// behindBlanks is where the blanks end that stand at a place, within a line.
func behindBlanks(text []byte, at int) int {
	for at < len(text) && (text[at] == ' ' || text[at] == '\t' || text[at] == '\r') {
		at++
	}
	return at
}

// colour leaves out a control sequence of a terminal, with which programs paint a part of a word, and the choice of
// characters, which terminfo has go before the end of a colour.
func colour(text []byte, more bool) symbol {
	if len(text) > 1 && text[1] != '[' {
		switch {
		case text[1] != '(' && text[1] != ')':
			return plainSymbol(text[0])
		case len(text) > 2:
			return leftOut(3, true)
		}
	}
	for i := 2; i < len(text); i++ {
		if text[i] >= '@' && text[i] <= '~' {
			return leftOut(i+1, true)
		}
	}
	if more {
		return incomplete()
	}
	return plainSymbol(text[0])
}

// margin leaves out a line end with what programs write at the beginning of each line: an offset or a line's number
// with the signs around it, a frame, a mark of quoted text.
func margin(text []byte, more bool) symbol {
	at := behindBlanks(text, 1)
	if at < len(text) && (text[at] == '|' || text[at] == '>') {
		return leftOut(at+1, true)
	}
	n := numberingAt(text, at)
	switch {
	case n.end == len(text) && more:
		return incomplete()
	case !n.is || n.digits > longestOffset || n.end == len(text) || text[n.end] == '\n':
		return leftOut(1, false)
	}
	return leftOut(n.end, !n.word)
}

// longestOffset is how many digits an offset has at most, longestAddress how many one has that is not filled up.
const (
	longestOffset  = 16
	longestAddress = 12
)

// numbering is the number or the offset that a line begins with, and the signs and blanks around it.
type numbering struct {
	// end is where it ends, digits how many it has. It is none unless is is set.
	end, digits int
	is          bool
	// word is set if it could as well be the first word of a sentence, such as Dec, or of a dump.
	word bool
}

// numberingAt reads the numbering at a place, which is behind the line's first blanks: one of [(#, 0x, digits, a name in
// <>, and at least one sign or blank.
func numberingAt(text []byte, at int) numbering {
	bare := true
	if at < len(text) && (text[at] == '[' || text[at] == '(' || text[at] == '#') {
		at, bare = behindBlanks(text, at+1), false
	}
	if at+1 < len(text) && text[at] == '0' && text[at+1]|0x20 == 'x' {
		at, bare = at+2, false
	}
	end, letters := at, true
	for end < len(text) && isHexadecimal(text[end]) {
		letters = letters && text[end] > '9'
		end++
	}
	n := numbering{end: behindNumber(text, end), digits: end - at}
	sign := n.end < len(text) && text[n.end] >= utf8.RuneSelf && !isLetterAt(text, n.end)
	n.is = end > at && (n.end > end || sign)
	n.word = bare && (letters || n.digits > longestAddress) && !sign && n.end == behindBlanks(text, end)
	return n
}

// behindNumber is where the signs and blanks end that stand behind a line's number. A full stop or a dash without a
// blank is taken for one of an address or a date.
func behindNumber(text []byte, at int) int {
	at = behindBlanks(text, at)
	for at < len(text) {
		switch text[at] {
		case ':', ')', ']', '|':
			at = behindBlanks(text, at+1)
		case '<':
			length := nameLength(text[at:])
			if length == 0 {
				return at
			}
			at += min(length, len(text)-at)
		case '.', '-':
			next := behindBlanks(text, at+1)
			if next == at+1 && next < len(text) {
				return at
			}
			at = next
		default:
			return at
		}
	}
	return at
}

// longestName is how many bytes the name of a place in memory has at most, in <>, that a debugger writes before a colon.
const longestName = 40

// nameLength is how long such a name is; more than the text if its end may be yet to come, 0 if it is none.
func nameLength(text []byte) int {
	name := text[:min(len(text), longestName)]
	length := bytes.IndexByte(name, '>') + 1
	switch {
	case length == 0 && len(text) < longestName && !bytes.ContainsAny(name, " \t\n"), length == len(text):
		return len(text) + 1
	case length == 0 || text[length] != ':' || bytes.ContainsAny(name[:length], " \t\n"):
		return 0
	}
	return length
}

// isLetterAt reports whether the character that has the byte at a place is a letter or a digit of any script.
func isLetterAt(text []byte, at int) bool {
	const first, last = 0xc2, 0xdf // of two bytes
	if c := text[at]; at > 0 && !utf8.RuneStart(c) && text[at-1] >= first && text[at-1] <= last {
		return commonLetters[int(text[at-1]&0x1f)<<6|int(c&0x3f)]
	}
	from := at
	for from > 0 && at-from < utf8.UTFMax-1 && !utf8.RuneStart(text[from]) {
		from--
	}
	r, size := utf8.DecodeRune(text[from:])
	if from+size <= at {
		return false
	}
	if int(r) < len(commonLetters) {
		return commonLetters[r]
	}
	return isLetter(r)
}

func isLetter(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }

// commonLetters says of the first characters whether they are letters or digits.
var commonLetters = func() (all [0x3000]bool) {
	for r := range all {
		all[r] = isLetter(rune(r))
	}
	return all
}()
