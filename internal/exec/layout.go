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
	rest := withoutBlanks(text)
	return len(rest) > 0 && rest[0] == '\n'
}

// withoutBlanks is what stands behind the blanks at the beginning, within a line.
func withoutBlanks(text []byte) []byte {
	for i, c := range text {
		if c != ' ' && c != '\t' && c != '\r' {
			return text[i:]
		}
	}
	return nil
}

// colour leaves out a control sequence of a terminal, with which programs paint a part of a word.
func colour(text []byte, more bool) symbol {
	if len(text) > 1 && text[1] != '[' {
		return plainSymbol(text[0])
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

// margin leaves out a line end with what programs write at the beginning of each line: an offset or a line's number,
// a frame, a mark of quoted text.
func margin(text []byte, more bool) symbol {
	rest := withoutBlanks(text[1:])
	if len(rest) == 0 && more {
		return incomplete()
	} else if len(rest) == 0 {
		return leftOut(1, false)
	}
	blank := len(text) - len(rest)
	if rest[0] == '|' || rest[0] == '>' {
		return leftOut(blank+1, true)
	}
	end, letters := 0, 0
	for end < len(rest) && isHexadecimal(rest[end]) {
		if rest[end] > '9' {
			letters++
		}
		end++
	}
	colon := 0
	if end > 0 && end < len(rest) && rest[end] == ':' {
		colon = 1
	}
	const least = 4
	if end+colon == len(rest) && more {
		return incomplete()
	} else if end == 0 || letters > 0 && end < least || end+colon == len(rest) {
		return leftOut(1, false)
	}
	// A line's number stands before a blank, or a colon alone (grep -n).
	if after := rest[end+colon]; after != ' ' && after != '\t' && (colon == 0 || letters > 0) {
		return leftOut(1, false)
	}
	return leftOut(blank+end+colon, true)
}
