// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package visible

import (
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
	"golang.org/x/text/width"
)

// Continuation begins each row after the first that a long line takes on a terminal, below the line's value and behind
// blanks. No value has it: in a value it is printed by its number.
const Continuation = '\u21b3'

const (
	// fewestColumns is the least width that lines are broken for, and usualColumns the width of a terminal that does
	// not say its own.
	fewestColumns = 20
	usualColumns  = 80
	// tabStop is how far apart a terminal's tab stops are.
	tabStop = 8
	// firstValue is the first column where a value can begin, behind a label, and usualValue where it mostly does.
	firstValue = 8
	usualValue = 14
	// spare columns at the end of a row are for the marks of its last letter, which cannot stand at the beginning of the
	// next row. The last column stays empty, because some terminals begin a new row as soon as it is written.
	spare = 4
)

// folder breaks the lines of a text before the terminal does. A row that the terminal begins itself begins with
// whatever a value has at that place, and so could be taken for a line of the program's own.
type folder struct {
	// columns is the terminal's present width; nil if the text goes elsewhere, and its lines stay whole.
	columns func() int
	// width is that of the line, column is the next one to be written. Both are 0 at the beginning of a line.
	width, column int
	// blanks counts those just before the next column. value is the column of the line's value; 0 if it is not known.
	blanks, value int
}

// columnsOf returns what tells the width of a terminal, or nil for anything else.
func columnsOf(to any) func() int {
	f, ok := to.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil
	}
	return func() int {
		if columns, _, err := term.GetSize(int(f.Fd())); err == nil && columns > 0 {
			return columns
		}
		return usualColumns
	}
}

// fold returns text, which spell has returned, in rows that fit.
func (f *folder) fold(text []byte) []byte {
	if f.columns == nil {
		return text
	}
	rows := make([]byte, 0, len(text))
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		text = text[size:]
		switch r {
		case '\n':
			rows = append(rows, '\n')
			*f = folder{columns: f.columns}
		case '\t':
			for range tabStop - f.column%tabStop {
				rows = f.put(rows, ' ')
			}
		default:
			rows = f.put(rows, r)
		}
	}
	return rows
}

// put appends a character, in the next row if this one has no room for it. A mark that has no room is printed by its
// number, for in the next row it would have no letter.
func (f *folder) put(rows []byte, r rune) []byte {
	if f.width == 0 {
		f.width = max(f.columns(), fewestColumns)
	}
	f.find(r)
	wide, room := columns(r), f.width-1
	if !joins(r) {
		room -= spare
	}
	switch {
	case r == ' ' && f.column+wide >= room: // at a row's end nobody would see it
		rows = f.next(rows)
		for _, r := range Blanks(1) {
			rows = f.put(rows, r)
		}
		return rows
	case f.column+wide <= room:
		f.column += wide
		return utf8.AppendRune(rows, r)
	case joins(r):
		for _, digit := range escaped(r) {
			rows = f.put(rows, digit)
		}
		return rows
	}
	return f.put(f.next(rows), r)
}

// find looks for the column of the line's value: that of the first word behind two blanks, or more, and a label.
func (f *folder) find(r rune) {
	if r == ' ' {
		f.blanks++
		return
	}
	if f.value == 0 && f.blanks > 1 && f.column >= firstValue {
		f.value = f.column
	}
	f.blanks = 0
}

// next begins another row of the line.
func (f *folder) next(rows []byte) []byte {
	if f.value == 0 {
		f.value = usualValue
	}
	indent := min(f.value, f.width/3)
	f.column = indent + columns(Continuation) + 1
	return append(rows, "\n"+strings.Repeat(" ", indent)+string(Continuation)+" "...)
}

// columns is the most that any terminal takes for a character: characters that are wide or narrow by the terminal's
// own setting (East Asian ambiguous), and pictures, count as wide.
func columns(r rune) int {
	if unicode.In(r, unicode.Mn, unicode.Me) {
		return 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth, width.EastAsianAmbiguous:
		return 2
	}
	if unicode.Is(unicode.So, r) {
		return 2
	}
	return 1
}
