// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package visible

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf16"

	"github.com/creack/pty"
	"golang.org/x/text/width"
)

// onScreen prints a text on a terminal of so many columns.
func onScreen(text string, columns int) string {
	var rows bytes.Buffer
	_, _ = newWriter(&rows, func() int { return columns }).Write([]byte(text))
	return rows.String()
}

// screen is what a terminal shows of a text: it begins a row where a character has no room. wideToo is set where East
// Asian ambiguous characters and pictures are wide.
func screen(text string, columns int, wideToo bool) (rows []string) {
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		row, used := "", 0
		for _, r := range line {
			taken := 1
			switch kind := width.LookupRune(r).Kind(); {
			case unicode.In(r, unicode.Mn, unicode.Me):
				taken = 0
			case kind == width.EastAsianWide, kind == width.EastAsianFullwidth,
				wideToo && (kind == width.EastAsianAmbiguous || unicode.Is(unicode.So, r)):
				taken = 2
			}
			if used+taken > columns {
				rows, row, used = append(rows, row), "", 0
			}
			row, used = row+string(r), used+taken
		}
		rows = append(rows, row)
	}
	return rows
}

// rowByRow is what somebody writes who wants a value to go on as the next sections of the page.
func rowByRow(columns int) string {
	forged := "Publish the preview build for PR-184." + strings.Repeat(" ", columns-len("  why         \"Publish the preview build for PR-184."))
	for _, row := range []string{"", "What it gets", "  capability  read-settings: Read the docs.", "  scope       nothing", "",
		"What is decided", "  decision    Approve by bob@example.com (first of two)"} {
		forged += row + strings.Repeat(" ", columns-len(row))
	}
	return forged
}

// TestWriter_NoValueBeginsARow prints a value in the way that every page of the plugin does.
func TestWriter_NoValueBeginsARow(t *testing.T) {
	for _, columns := range []int{80, 120} {
		for name, value := range map[string]string{
			"rows padded by blanks": rowByRow(columns), "padded by letters": strings.ReplaceAll(rowByRow(columns), " ", "x"),
			"by wide letters": strings.ReplaceAll(rowByRow(columns), " ", "本"), "by ambiguous ones": strings.ReplaceAll(rowByRow(columns), " ", "ж"),
			"by pictures": strings.ReplaceAll(rowByRow(columns), " ", "🔑"), "by regional letters": strings.ReplaceAll(rowByRow(columns), " ", "🇩"),
			"by tabs": strings.ReplaceAll(rowByRow(columns), " ", "\t"), "by marks": strings.ReplaceAll(rowByRow(columns), " ", "காிாி"),
			"with our mark": strings.ReplaceAll(rowByRow(columns), " ", string(Continuation)),
		} {
			text := "Who asks\n  requester   me\n" + Sprintf("  %-11s %s\n", "why", strconv.Quote(value)) + "next: nothing\n"
			for _, raw := range []string{text, strings.Replace(text, Line(strconv.Quote(value)), strings.ReplaceAll(value, "\n", ""), 1)} {
				for _, wideToo := range []bool{true, false} {
					for i, row := range screen(onScreen(raw, columns), columns, wideToo) {
						ours := row == "Who asks" || row == "next: nothing" || strings.HasPrefix(row, "  requester   me") || strings.HasPrefix(row, "  why         ")
						if !ours && !strings.HasPrefix(row, strings.Repeat(" ", 14)+string(Continuation)+" ") {
							t.Errorf("%s, %d columns: row %d is %q", name, columns, i, row)
						}
					}
				}
			}
		}
	}
}

// TestWriter_ContinuesBelowTheValue: also where the label is long, or the terminal is narrow.
func TestWriter_ContinuesBelowTheValue(t *testing.T) {
	for _, row := range []struct {
		line    string
		columns int
		want    string
	}{
		{"  why         0123456789012345678901234567890", 40,
			"  why         012345678901234567890\n" + strings.Repeat(" ", 13) + "↳ 1234567890"},
		{"runner.exec         step=012345678901234567890123456789012345678901234567890123456789", 80,
			"runner.exec         step=01234567890123456789012345678901234567890123456789\n" + strings.Repeat(" ", 20) + "↳ 0123456789"},
		{"error: 0123456789012345678901234567890123456789012345678901234567890123456789", 80,
			"error: 01234567890123456789012345678901234567890123456789012345678901234567\n" + strings.Repeat(" ", 14) + "↳ 89"},
		{"0123456789012345", 1, "012345678901234\n" + strings.Repeat(" ", 6) + "↳ 5"},
		{"NAME             CAPABILITY   STATE\nx                a            0123456789", 45,
			"NAME             CAPABILITY   STATE\nx                a            0123456789"},
		{"NAME             CAPABILITY   STATE\nx                a            01234567890123", 45,
			"NAME             CAPABILITY   STATE\nx                a            0123456789\n" + strings.Repeat(" ", 15) + "↳ 0123"},
	} {
		if got := onScreen(row.line, row.columns); got != row.want {
			t.Errorf("%d columns:\n%s\nwant\n%s", row.columns, got, row.want)
		}
	}
}

// TestWriter_NoBlankIsLostAtTheEndOfARow has all short texts at the place where a row ends, and takes from each row what
// nobody sees: the blanks at its end.
func TestWriter_NoBlankIsLostAtTheEndOfARow(t *testing.T) {
	texts := []string{""}
	for at := 0; len([]rune(texts[at])) < 4; at++ {
		for _, next := range []string{"x", " ", "é", "本", "🔑", "\u0301"} {
			texts = append(texts, texts[at]+next)
		}
	}
	shown := map[string]string{}
	for before := range 40 {
		for _, text := range texts {
			text = Line(strings.Repeat("x", before) + text)
			rows := strings.Split(onScreen(text+"z", 30), "\n")
			for i := range rows {
				rows[i] = strings.TrimRight(rows[i], " ")
			}
			looks := strings.Join(rows, "\n")
			if other, seen := shown[looks]; seen && other != text {
				t.Fatalf("%q and %q look alike:\n%s", other, text, looks)
			}
			shown[looks] = text
		}
	}
}

// TestWriter_AsksTheTerminalForItsWidth, which can change between two lines, and keeps lines whole elsewhere.
func TestWriter_AsksTheTerminalForItsWidth(t *testing.T) {
	keyboard, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = keyboard.Close(), tty.Close() }()
	shown := bufio.NewReader(keyboard)
	for columns, want := range map[uint16]int{80: 75, 120: 115, 0: 75} {
		if err := pty.Setsize(tty, &pty.Winsize{Rows: 24, Cols: columns}); err != nil {
			t.Fatal(err)
		}
		for _, to := range []io.Writer{NewWriter(tty), OnTerminal(tty)} {
			if _, err := fmt.Fprintf(to, "%sy\nlast\n", strings.Repeat("x", want)); err != nil {
				t.Fatal(err)
			}
			first, _ := shown.ReadString('\n')
			second, err := shown.ReadString('\n')
			if second != "last\r\n" {
				_, err = shown.ReadString('\n')
			}
			if first != strings.Repeat("x", want)+"\r\n" || second != strings.Repeat(" ", 14)+"↳ y\r\n" {
				t.Errorf("%d columns: %q, then %q: %v", columns, first, second, err)
			}
		}
	}
	var file bytes.Buffer
	if _, err := NewWriter(&file).Write([]byte(strings.Repeat("x", 1000))); err != nil || file.Len() != 1000 {
		t.Error(file.String(), err)
	}
}

// TestLine_CountsLongRunsOfBlanks: where nobody knows the width, a value cannot fill a row with nothing.
func TestLine_CountsLongRunsOfBlanks(t *testing.T) {
	for text, want := range map[string]string{
		"a  b   c": "a  b   c", "a    b": "a␣{4}b", "    ": "␣{4}", "a" + strings.Repeat(" ", 1000) + "b": "a␣{1000}b",
		"a␣{4}b": `a\u2423{4}b`, "a    5": "a␣{4}5", "a\t\tb": `a\u0009\u0009b`,
	} {
		if got := Line(text); got != want {
			t.Errorf("%q is printed as %q; want %q", text, got, want)
		}
		if got := string(Text([]byte(Line(text)))); got != want {
			t.Errorf("%q is printed by the Writer as %q; want %q", text, got, want)
		}
	}
}

// numbers matches the numbers of characters that stand side by side.
var numbers = regexp.MustCompile(`(\\u[0-9a-f]{4})+`)

// unnumbered has the characters themselves in the place of their numbers.
func unnumbered(text string) string {
	return numbers.ReplaceAllStringFunc(text, func(all string) string {
		var units []uint16
		for _, digits := range strings.Split(all, `\u`)[1:] {
			unit, _ := strconv.ParseUint(digits, 16, 16) // it has four hexadecimal digits
			units = append(units, uint16(unit))
		}
		return string(utf16.Decode(units))
	})
}

// FuzzWriter_RowsAreFoundAgainWhole: no row is longer than the terminal, each begins with our words or our mark, and
// without indents and marks the value is there as Line prints it.
func FuzzWriter_RowsAreFoundAgainWhole(f *testing.F) {
	f.Add(rowByRow(80), uint16(80))
	f.Add("本ж🔑 காிாிாிாி \u1112\u1161\u11ab\u0338 ↳ ␣{4} e\u0301\u0302\u0303 "+strings.Repeat("க\u0bbe\u0bbf\u0bc1\u0bc2\u0bbe", 9), uint16(20))
	broken := regexp.MustCompile("\n +" + string(Continuation) + " ")
	f.Fuzz(func(t *testing.T, value string, width uint16) {
		columns, label := 20+int(width)%281, "  why         "
		got := onScreen(label+Line(value)+"\n", columns)
		for _, wideToo := range []bool{true, false} {
			for i, row := range screen(got, columns, wideToo) {
				if begins := strings.TrimLeft(row, " "); i > 0 && !strings.HasPrefix(begins, string(Continuation)+" ") {
					t.Errorf("%q in %d columns: row %d is %q", value, columns, i, row)
				}
			}
		}
		blank := regexp.MustCompile(broken.String() + regexp.QuoteMeta(Blanks(1)))
		whole := strings.TrimSuffix(strings.TrimPrefix(broken.ReplaceAllString(blank.ReplaceAllString(got, " "), ""), label), "\n")
		if unnumbered(whole) != unnumbered(Line(value)) {
			t.Errorf("%q in %d columns reads back as %q; want %q", value, columns, whole, Line(value))
		}
	})
}
