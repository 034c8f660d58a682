// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package exec

import (
	"bytes"
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
	digits, bare := at, true
	if at < len(text) && bytes.IndexByte([]byte(beforeNumber), text[at]) >= 0 {
		digits, bare = behindBlanks(text, at+1), false
	}
	end, letters := digits, false
	for end < len(text) && isHexadecimal(text[end]) {
		letters = letters || text[end] > '9'
		end++
	}
	signs := behindNumber(text, end)
	const least = 4
	switch {
	case signs == len(text) && more:
		return incomplete()
	case end == digits || signs == end || signs == len(text) || text[signs] == '\n':
		return leftOut(1, false)
	case letters && (!bare || end-digits < least || text[signs-1] != ' ' && text[signs-1] != '\t'):
		return leftOut(1, false) // it is the secret's
	}
	return leftOut(signs, true)
}

// beforeNumber are the signs that stand before a line's number.
const beforeNumber = "[(#"

// behindNumber is where the signs and blanks end that stand behind a line's number. A full stop or a dash without a
// blank is taken for one of an address or a date.
func behindNumber(text []byte, at int) int {
	at = behindBlanks(text, at)
	for at < len(text) {
		switch next := behindBlanks(text, at+1); text[at] {
		case ':', ')', ']', '|':
			at = next
		case '.', '-':
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
