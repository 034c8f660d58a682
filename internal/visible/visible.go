// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package visible prints text that others wrote so that a person sees every character of it, where it stands: a
// character that cannot be seen, that moves the cursor, that is painted over its neighbours or that turns them around
// is printed by its number. It is the one place that decides which those are.
package visible

import (
	"fmt"
	"regexp"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/unicode/bidi"
)

// Line returns a value on one line: line ends and tabs are printed by their numbers, too, so that a value cannot pass
// for a line of the program's own. A number is written as \u200b, and a byte that is no text as \xff. A run of more
// than three blanks is written as ␣{9}, with how many they are, so that a value cannot fill the rest of a row and go
// on in the next one. Apart from such runs Line(Line(v)) is Line(v).
func Line(value string) string {
	s := speller{number: escaped}
	safe, rest := s.spell([]byte(value))
	return longRun.ReplaceAllStringFunc(string(bytesByNumber(safe, rest)), func(run string) string { return Blanks(len(run)) })
}

// Blanks is how a run of so many blanks is written where nobody would see it, or how long it is.
func Blanks(n int) string { return fmt.Sprintf("%c{%d}", blankRun, n) }

// blankRun begins the count of a run of blanks. A value that has the character itself has it printed by its number.
const blankRun = '\u2423'

// longRun matches the blanks of a value that are counted.
var longRun = regexp.MustCompile(` {4,}`)

// Text returns text with its line ends and tabs as they are, and everything else as Line does. Of a text in JSON it
// makes the same JSON, because numbers are written as JSON writes them.
func Text(text []byte) []byte {
	s := speller{number: escaped, lines: true}
	safe, rest := s.spell(text)
	return bytesByNumber(safe, rest)
}

// YAML is Text for a text in JSON that is read as YAML, which writes the numbers above U+FFFF in another way.
func YAML(text []byte) []byte {
	s := speller{number: escapedInYAML, lines: true}
	safe, rest := s.spell(text)
	return bytesByNumber(safe, rest)
}

// escaped is a character's number as JSON writes it.
func escaped(r rune) string {
	if first, second := utf16.EncodeRune(r); r > 0xffff {
		return fmt.Sprintf(`\u%04x\u%04x`, first, second)
	}
	return fmt.Sprintf(`\u%04x`, r)
}

// escapedInYAML is a character's number as YAML writes it within double quotes.
func escapedInYAML(r rune) string {
	if r > 0xffff {
		return fmt.Sprintf(`\U%08x`, r)
	}
	return fmt.Sprintf(`\u%04x`, r)
}

// bytesByNumber appends bytes that are no text.
func bytesByNumber(safe, rest []byte) []byte {
	for _, b := range rest {
		safe = fmt.Appendf(safe, `\x%02x`, b)
	}
	return safe
}

// speller reads text from its beginning to its end, in pieces. It remembers what a combining mark needs to know:
// which letter it would be painted on.
type speller struct {
	number func(rune) string
	// lines keeps line ends and tabs, and counts of blanks that Line wrote.
	lines bool

	// letter is the letter or digit that a mark would belong to; 0 if there is none.
	letter rune
	// marks counts the nonspacing marks on the letter. last is the last character that was kept.
	marks int
	last  rune
	// escape is set behind a backslash and behind a number, while letters and digits follow: they can be the number
	// of a character, and no mark may be painted on it.
	escape bool
}

// mostMarks is how many nonspacing marks one letter can have. More than four are a sign of abuse by UTS #39, 5.4;
// ordinary text of no living language needs more.
const mostMarks = 4

// spell returns text as it is printed, and the beginning of a character whose end is missing.
func (s *speller) spell(text []byte) (safe, begun []byte) {
	safe = make([]byte, 0, len(text))
	for len(text) > 0 && utf8.FullRune(text) {
		r, size := utf8.DecodeRune(text)
		switch {
		case r == utf8.RuneError && size == 1:
			safe = bytesByNumber(safe, text[:1])
			s.letter, s.escape = 0, true
		case s.keeps(r):
			safe = append(safe, text[:size]...)
			s.last = r
		default:
			safe = append(safe, s.number(r)...)
			s.letter, s.escape = 0, true
		}
		text = text[size:]
	}
	return safe, text
}

// keeps reports whether the next character is printed as it is.
func (s *speller) keeps(r rune) bool {
	if joins(r) {
		return s.keepsMark(r)
	}
	s.letter, s.marks = 0, 0
	plain := unicode.IsLetter(r) || unicode.IsNumber(r)
	s.escape = r == '\\' || s.escape && plain
	if plain && !s.escape {
		s.letter = r
	}
	switch r {
	case '\n', '\t', blankRun:
		return s.lines
	}
	return seen(r)
}

// keepsMark reports whether a mark stands where its script has marks: on a letter of that script, not twice, and not
// on top of many. Everywhere else it is painted over whatever stands before it, which can be the program's own words.
func (s *speller) keepsMark(r rune) bool {
	if s.letter == 0 || r == s.last || !seen(r) || wide(r) || !sameScript(s.letter, r) {
		return false
	}
	if !unicode.Is(unicode.Mc, r) {
		s.marks++
	}
	return s.marks <= mostMarks
}

// joins reports whether a character is painted onto the one before it: a mark, or a vowel or final consonant of a
// Korean syllable.
func joins(r rune) bool {
	return unicode.IsMark(r) || r >= 0x1160 && r <= 0x11ff || r >= 0xd7b0 && r <= 0xd7ff
}

// wide reports whether a mark covers the whole letter, or the next one as well: enclosing marks, and the double
// diacritics (canonical combining classes 233 and 234).
func wide(r rune) bool {
	return unicode.Is(unicode.Me, r) || r >= 0x035c && r <= 0x0362 || r == 0x1dcd || r == 0x1dfc
}

// sameScript reports whether a mark belongs to the letter's script, or to all.
func sameScript(letter, mark rune) bool {
	if unicode.In(mark, unicode.Inherited, unicode.Common) {
		return true
	}
	for _, script := range unicode.Scripts {
		if unicode.Is(script, mark) {
			return unicode.Is(script, letter)
		}
	}
	return false
}

// seen reports whether a character has a glyph that a person sees, in its place: letters, marks and digits of scripts
// that are written today, and signs of blocks whose glyphs keep to the cells that a terminal gives them. Of the rest
// nobody knows what a font makes of it: U+FDFD is painted over ten cells, U+2800 is blank.
func seen(r rune) bool {
	known := unicode.Is(signs, r) || unicode.In(r, unicode.L, unicode.M, unicode.Nd) && unicode.IsOneOf(scripts, r)
	return known && unicode.IsPrint(r) && !ignorable(r) && !turns(r) && r != Continuation && r != halfFill
}

// scripts are those in everyday use (UAX #31, table 5), without those that are written from right to left.
var scripts = []*unicode.RangeTable{
	unicode.Armenian, unicode.Bengali, unicode.Bopomofo, unicode.Cyrillic, unicode.Devanagari, unicode.Ethiopic,
	unicode.Georgian, unicode.Greek, unicode.Gujarati, unicode.Gurmukhi, unicode.Hangul, unicode.Han, unicode.Hiragana,
	unicode.Inherited, unicode.Kannada, unicode.Katakana, unicode.Khmer, unicode.Lao, unicode.Latin, unicode.Malayalam,
	unicode.Myanmar, unicode.Oriya, unicode.Sinhala, unicode.Tamil, unicode.Telugu, unicode.Thai, unicode.Tibetan,
}

// signs are the blocks of characters that belong to no script.
var signs = &unicode.RangeTable{
	R16: []unicode.Range16{
		{Lo: 0x0020, Hi: 0x007e, Stride: 1}, {Lo: 0x00a1, Hi: 0x00ff, Stride: 1}, // ASCII, Latin-1
		{Lo: 0x02b9, Hi: 0x02df, Stride: 1},                                      // modifiers
		{Lo: 0x055a, Hi: 0x055f, Stride: 1}, {Lo: 0x0964, Hi: 0x0965, Stride: 1}, // Armenian punctuation, dandas
		{Lo: 0x0e3f, Hi: 0x0e3f, Stride: 1}, {Lo: 0x0f0b, Hi: 0x0f14, Stride: 1}, // baht, Tibetan punctuation
		{Lo: 0x104a, Hi: 0x104f, Stride: 1}, {Lo: 0x10fb, Hi: 0x10fb, Stride: 1}, // Burmese, Georgian
		{Lo: 0x1361, Hi: 0x1368, Stride: 1}, {Lo: 0x17d4, Hi: 0x17d7, Stride: 1}, // Ethiopic, Khmer
		{Lo: 0x2010, Hi: 0x205e, Stride: 1}, {Lo: 0x2070, Hi: 0x20c0, Stride: 1}, // punctuation, raised and lowered, currencies
		{Lo: 0x2100, Hi: 0x23ff, Stride: 1},                                      // letterlike, numbers, arrows, mathematics, technical
		{Lo: 0x2460, Hi: 0x27ef, Stride: 1},                                      // enclosed, boxes, shapes, symbols, dingbats
		{Lo: 0x3001, Hi: 0x303f, Stride: 1}, {Lo: 0x30a0, Hi: 0x30ff, Stride: 1}, // CJK
		{Lo: 0x3200, Hi: 0x33ff, Stride: 1}, {Lo: 0xff01, Hi: 0xffee, Stride: 1}, // enclosed and squared, full and half width
	},
	R32: []unicode.Range32{{Lo: 0x1f1e6, Hi: 0x1f1ff, Stride: 1}, {Lo: 0x1f300, Hi: 0x1faff, Stride: 1}}, // flags, pictures
}

// turns reports whether a character has text around it painted from right to left: numbers, quotes and brackets,
// also those that stand outside its own value. Without such characters the Unicode bidirectional algorithm moves
// nothing. Isolating a value would not do: within it the words of a command still change places, and some terminals do
// not know isolates.
func turns(r rune) bool {
	properties, _ := bidi.LookupRune(r)
	switch properties.Class() {
	case bidi.R, bidi.AL, bidi.AN:
		return true
	}
	return false
}

// ignorable reports whether a character has Unicode's derived property Default_Ignorable_Code_Point, as UAX #44
// derives it: it is shown as nothing where it is not supported. Those that the derivation takes out again are
// formatting characters, which are not printable.
func ignorable(r rune) bool {
	return unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector, unicode.Cf)
}

// halfFill is the ideographic half fill space: printable by its category, and blank.
const halfFill = '\u303f'
