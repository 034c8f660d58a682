// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package exec

import (
	"bytes"
	"html"

	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// symbol is what a few characters of the output stand for.
type symbol struct {
	// size is how many bytes of the output it takes; 0 if its end may be yet to come.
	size int
	// value has the bytes that it stands for, of which there are n; none if it is left out.
	value [utf8.UTFMax]byte
	n     int
	// written is set of an escape, and of anything else that is left out between the characters of a secret.
	written bool
}

func plainSymbol(c byte) symbol { return symbol{size: 1, value: [utf8.UTFMax]byte{c}, n: 1} }

// escape is a symbol that stands for a character.
func escape(size int, r rune) symbol {
	s := symbol{size: size, written: true}
	s.n = utf8.EncodeRune(s.value[:], r)
	return s
}

// escapedByte is escape for a byte, which can be a part of a character.
func escapedByte(size int, b byte) symbol {
	return symbol{size: size, value: [utf8.UTFMax]byte{b}, n: 1, written: true}
}

func leftOut(size int, written bool) symbol { return symbol{size: size, written: written} }

// longestEscape bounds how many bytes one symbol takes.
const longestEscape = 64

// symbolAt undoes the escape at the beginning of the text, of whatever language: JSON, C, Python, YAML, Rust, Perl,
// URLs, HTML, quoted-printable. An escape that was escaped again, as in JSON within JSON, is undone as well. The text
// is not empty; more is set if its end is not the end of all.
func (p *patterns) symbolAt(text []byte, more bool) symbol {
	s := plainSymbol(text[0])
	if p.introduces(text) {
		s = p.symbolOf(text, more)
	}
	if s.n == 1 && !p.stays(s.value[0]) {
		s.n = 0
	}
	return s
}

// symbolOf is symbolAt for what begins like an escape. Nothing that it stands for is left out.
func (p *patterns) symbolOf(text []byte, more bool) symbol {
	head := text[:min(len(text), longestEscape)]
	more = more && len(head) == len(text)
	switch text[0] {
	case '\\':
		return p.backslash(head, more)
	case '%':
		return p.percent(head, more)
	case '=':
		return p.quotedPrintable(head, more)
	case '&':
		return p.entity(head, more)
	case '\x1b':
		return colour(head, more)
	case '"', '\'':
		return quoted(head, more)
	case '|', '>', '$':
		// The frame of a table, a mark of quoted text, or one for the line's end.
		if more && behindBlanks(head, 1) == len(head) {
			return incomplete()
		}
		return leftOut(1, endsLine(head[1:]))
	case '\n':
		return margin(head, more)
	case '\xe2':
		return box(head, more)
	}
	return plainSymbol(text[0])
}

// stays reports whether a byte that is no part of an escape is compared. Quotes and what else is written around a
// text are left out wherever they stand, since it is not known whether they belong to it.
func (p *patterns) stays(c byte) bool { return p.signs[c]&(solidSign|asideSign) == solidSign }

// introduces reports whether the beginning of a text may be an escape, or something else that is left out.
func (p *patterns) introduces(text []byte) bool {
	next := p.introducers[text[0]]
	return next != 0 && (len(text) == 1 || p.signs[text[1]]&next != 0)
}

// incomplete is returned when the text ends within what may be an escape.
func incomplete() symbol { return symbol{} }

// backslash undoes what languages write behind one, or behind several, as in JSON within JSON.
func (p *patterns) backslash(text []byte, more bool) symbol {
	run := len(text) - len(bytes.TrimLeft(text, `\`))
	rest := text[run:]
	if len(rest) == 0 {
		if more {
			return incomplete()
		}
		return leftOut(run, true)
	}
	switch c := rest[0]; c {
	case 'u':
		return p.numbered(text, run+1, 4, more)
	case 'U':
		return p.numbered(text, run+1, 8, more)
	case 'x':
		return p.numbered(text, run+1, 2, more)
	case '0', '1', '2', '3', '4', '5', '6', '7':
		return p.octal(text, run, more)
	default:
		if i := strings.IndexByte("abefnrtv", c); i >= 0 {
			return escapedByte(run+1, "\a\b\x1b\f\n\r\t\v"[i])
		}
		// A quote, a slash, or any other character that needs no escape: it stands for itself.
		return leftOut(run, true)
	}
}

// numbered undoes \u002f, \U0000002f, \x2f, \u{2f} and \x{2f}. The number begins at i.
func (p *patterns) numbered(text []byte, i, digits int, more bool) symbol {
	end, size := min(i+digits, len(text)), i+digits
	if i < len(text) && text[i] == '{' {
		length := bytes.IndexByte(text[i:], '}')
		if length < 0 && more {
			return incomplete()
		} else if length < 0 {
			return leftOut(1, true)
		}
		i, end, size = i+1, i+length, i+length+1
	} else if end < size && more && hexadecimal(text[i:end]) {
		return incomplete()
	}
	number, err := strconv.ParseUint(string(text[i:end]), 16, 32)
	if err != nil || size > len(text) {
		return leftOut(1, true)
	}
	if digits == 2 && number <= 0xff {
		return escapedByte(size, byte(number))
	}
	if r := rune(number); utf16.IsSurrogate(r) {
		return p.surrogate(text, size, r, more)
	}
	return escape(size, rune(number))
}

// surrogate undoes a character of two escapes, the first of which takes so many bytes.
func (p *patterns) surrogate(text []byte, size int, first rune, more bool) symbol {
	rest := bytes.TrimLeft(text[size:], `\`)
	run := len(text) - size - len(rest)
	const length = len("udc00")
	if len(rest) < length && more {
		return incomplete()
	}
	if run > 0 && len(rest) >= length && rest[0] == 'u' {
		if second, err := strconv.ParseUint(string(rest[1:length]), 16, 32); err == nil {
			return escape(size+run+length, utf16.DecodeRune(first, rune(second)))
		}
	}
	return escape(size, utf8.RuneError)
}

// octal undoes \57, \057 and \0057.
func (p *patterns) octal(text []byte, i int, more bool) symbol {
	most := 3
	if text[i] == '0' {
		most = 4
	}
	end := i
	for end < min(len(text), i+most) && text[end] >= '0' && text[end] <= '7' {
		end++
	}
	if end == len(text) && end < i+most && more {
		return incomplete()
	}
	number, err := strconv.ParseUint(string(text[i:end]), 8, 8)
	if err != nil {
		return leftOut(i, true)
	}
	return escapedByte(end, byte(number))
}

// percent undoes %2f and %252f, and %u002f.
func (p *patterns) percent(text []byte, more bool) symbol {
	if len(text) > 1 && text[1] == 'u' {
		if s := p.numbered(text, 2, 4, more); s.n > 0 || s.size == 0 {
			return s
		}
		return plainSymbol('%')
	}
	return p.repeated(text, "25", isHexadecimal, more)
}

// quotedPrintable undoes =2F and =3D2F, and lines that are broken by = at their ends.
func (p *patterns) quotedPrintable(text []byte, more bool) symbol {
	if endsLine(text[1:]) {
		return leftOut(1, true)
	}
	if more && behindBlanks(text, 1) == len(text) {
		return incomplete()
	}
	return p.repeated(text, "3D", func(c byte) bool { return p.signs[c]&capitalSign != 0 }, more)
}

// repeated undoes a byte that is written as a sign and two digits. The sign itself can be written so, several times.
func (p *patterns) repeated(text []byte, itself string, digit func(byte) bool, more bool) symbol {
	if len(text) > 2 && (!digit(text[1]) || !digit(text[2])) {
		return plainSymbol(text[0])
	}
	i := 1
	for bytes.HasPrefix(text[i:], []byte(itself)) {
		i += len(itself)
	}
	rest := text[i:min(len(text), i+2)]
	for _, c := range rest {
		if !digit(c) {
			rest = rest[:0]
			break
		}
	}
	switch {
	case len(rest) == 2:
		number, _ := strconv.ParseUint(string(rest), 16, 8) // they are two digits
		return escapedByte(i+2, byte(number))
	case more && i+len(rest) == len(text):
		return incomplete()
	case i > 1:
		return escapedByte(i, text[0])
	}
	return plainSymbol(text[0])
}

// entity undoes &#47; &#x2f; &sol; and &amp;#47; of HTML and XML.
func (p *patterns) entity(text []byte, more bool) symbol {
	const again = "amp;"
	i := 1
	for bytes.HasPrefix(text[i:], []byte(again)) {
		i += len(again)
	}
	end := i
	for end < len(text) && (text[end] == '#' || text[end] < 0x80 && isAlphanumeric(text[end])) {
		end++
	}
	if end == len(text) && more {
		return incomplete()
	}
	if end > i && end < len(text) && text[end] == ';' {
		if name := "&" + string(text[i:end+1]); html.UnescapeString(name) != name {
			r, _ := utf8.DecodeRuneInString(html.UnescapeString(name))
			return escape(end+1, r)
		}
	}
	if i > 1 {
		return escapedByte(i, '&')
	}
	return plainSymbol('&')
}

func isHexadecimal(c byte) bool {
	return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f'
}

func isAlphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z'
}

func hexadecimal(text []byte) bool {
	for _, c := range text {
		if !isHexadecimal(c) {
			return false
		}
	}
	return true
}
