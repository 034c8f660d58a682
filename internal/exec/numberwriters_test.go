// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package exec

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
)

// charactersOf writes bytes as a debugger does: each as a number and as a character.
func charactersOf(line []byte) string {
	var b strings.Builder
	for _, c := range line {
		fmt.Fprintf(&b, "\t%d %s", c, strconv.QuoteRuneToASCII(rune(c)))
	}
	return b.String()
}

// octalWords are od's own.
func octalWords(line []byte) string {
	var b strings.Builder
	for i := 0; i < len(line); i += 2 {
		word := int(line[i])
		if i+1 < len(line) {
			word |= int(line[i+1]) << 8
		}
		fmt.Fprintf(&b, " %06o", word)
	}
	return b.String()
}

// aligned writes as many columns at least, as before what stands behind the last, short line.
func aligned(columns int, group func([]byte) string) func([]byte) string {
	return func(line []byte) string { return fmt.Sprintf("%-*s", columns, group(line)) }
}

func numberWriters() []writer {
	pair := func(before string) func([]byte) string { return groups(1, before, "%02x", false) }
	numbers := func(text string) []int {
		all := make([]int, len(text))
		for i := range len(text) {
			all[i] = int(text[i])
		}
		return all
	}
	list := []writer{
		{"xxd", dumps(16, "%08x: ", groups(2, " ", "%02x", false), "  ", "%s")},
		{"xxd -u -g4", dumps(16, "%08x: ", groups(4, " ", "%02X", false), "  ", "%s")},
		{"xxd -e", dumps(16, "%08x: ", groups(4, " ", "%02x", true), "  ", "%s")},
		{"xxd -b", dumps(6, "%08x: ", groups(1, " ", "%08b", false), "  ", "%s")},
		{"xxd -c 8", dumps(8, "%08x: ", groups(2, " ", "%02x", false), "  ", "%s")},
		{"xxd -i", each("0x%02x, ")},
		{"hexdump", dumps(16, "%07x", groups(2, " ", "%02x", true), "", "")},
		{"hexdump -C", func(text string) string { return hex.Dump([]byte(text)) }},
		{"od", dumps(16, "%07o", octalWords, "", "")},
		{"od -b", dumps(16, "%07o", groups(1, " ", "%03o", false), "", "")},
		{"od -x", dumps(16, "%07o", groups(2, " ", "%02x", true), "", "")},
		{"od -t x1", dumps(16, "%07o", pair(" "), "", "")},
		{"od -t x1z", dumps(16, "%07o", pair(" "), "  ", ">%s<")},
		{"od -t x4", dumps(16, "%07o", groups(4, " ", "%02x", true), "", "")},
		{"od -t x8", dumps(16, "%07o", groups(8, " ", "%02x", true), "", "")},
		{"od -t u1", dumps(16, "%07o", groups(1, " ", "%3d", false), "", "")},
		{"od -An -t x2", dumps(16, "", groups(2, " ", "%02x", true), "", "")},
		{"no offsets, od -An -t x1z", dumps(16, "", pair(" "), "  ", ">%s<")},
		{"no offsets, od -An -t x1z -w8", dumps(8, "", pair(" "), "  ", ">%s<")},
		{"no offsets, od -An -t x2z -w6", dumps(6, "", groups(2, " ", "%02x", true), "  ", ">%s<")},
		{"no offsets, xxd -c 8", dumps(8, "", aligned(21, groups(2, " ", "%02x", false)), "", "%s")},
		{"no offsets, xxd -c 14 -g 4", dumps(14, "", aligned(34, groups(4, " ", "%02x", false)), "", "%s")},
		{"no offsets, xxd -c 4 -g 1", dumps(4, "", aligned(14, pair(" ")), "", "%s")},
		{"no offsets, hexdump -C", dumps(16, "", aligned(50, pair(" ")), "", "|%s|")},
		{"od -c", dumps(16, "%07o", groups(1, "   ", "%c", false), "", "")},
		{"openssl, with colons", func(text string) string {
			return inLines(45, "    ", "\n")(strings.TrimRight(each("%02x:")(text), ":"))
		}},
		{"openssl's trace", dumps(16, "%04x - ", pair(" "), "   ", "%s")},
		{"curl --trace", dumps(16, "%04x:", pair(" "), " ", "%s")},
		{"tcpdump -X", dumps(16, "\t0x%04x: ", groups(2, " ", "%02x", false), "  ", "%s")},
		{"tshark -x", dumps(16, "%04x ", pair(" "), "   ", "%s")},
		{"gdb", dumps(8, "0x7ffe4a%02x <key>:", groups(1, "\t", "0x%02x", false), "", "")},
		{"a dump behind a logger's prefix", dumps(16, "== |=| %04x: ", pair(" "), "  ", "%s")},
		{"Go's %v of bytes", func(text string) string { return fmt.Sprintf("%v", []byte(text)) }},
		{"Go's %#v of bytes", func(text string) string { return fmt.Sprintf("%#v", []byte(text)) }},
		{"Go's % x", func(text string) string { return fmt.Sprintf("% x|% #x", text, text) }},
		{"Java's and Rust's list", func(text string) string {
			return strings.ReplaceAll(fmt.Sprint(numbers(text)), " ", ", ")
		}},
		{"Node's Buffer", func(text string) string { return "<Buffer" + pair(" ")([]byte(text)) + ">" }},
		{"a Buffer in JSON", func(text string) string {
			return asJSON(map[string]any{"type": "Buffer", "data": numbers(text)})
		}},
		{"a Buffer in indented JSON", func(text string) string {
			b, _ := json.MarshalIndent(map[string]any{"type": "Buffer", "data": numbers(text)}, "", "    ") // as above
			return string(b)
		}},
		{"a Uint8Array in JSON", func(text string) string {
			var b strings.Builder
			for i, n := range numbers(text) {
				fmt.Fprintf(&b, `,"%d":%d`, i, n)
			}
			return "{" + b.String()[1:] + "}"
		}},
		{"hexadecimal in groups of three, with colons", func(text string) string {
			return inLines(3, "", ":")(hex.EncodeToString([]byte(text)))
		}},
		{"hexadecimal in groups of five, with dashes", func(text string) string {
			return inLines(5, "", "-")(hex.EncodeToString([]byte(text)))
		}},
		{"hexadecimal in groups of seven, with commas", func(text string) string {
			return inLines(7, "", ", ")(hex.EncodeToString([]byte(text)))
		}},
		{"hexadecimal, with 0x between", each("0x%02x")},
		{"hexadecimal in groups of three, with 0x", func(text string) string {
			return inLines(3, "0x", " ")(hex.EncodeToString([]byte(text)))
		}},
		{"gdb x/8c", dumps(8, "0x7ffe4a%02x:", charactersOf, "", "")},
		{"gdb print", func(text string) string {
			return "$1 = {" + strings.ReplaceAll(charactersOf([]byte(text))[1:], "\t", ", ") + "}"
		}},
		{"numbers in lines with an index", func(text string) string {
			var b strings.Builder
			for i := range len(text) {
				fmt.Fprintf(&b, "%d %d\n", i, text[i])
			}
			return b.String()
		}},
		{"numbers in binary", each("0b%b, ")},
		{".NET's bytes", func(text string) string { return strings.TrimRight(each("%02X-")(text), "-") }},
		{"octal numbers of Python and JavaScript", each("0o%o, ")},
		{"a table of numbers with an index", func(text string) string {
			var b strings.Builder
			for i := range len(text) {
				fmt.Fprintf(&b, "│ %3d │ %3d │\n", i, text[i])
			}
			return b.String()
		}},
		{"one binary number", func(text string) string { return fmt.Sprintf("0b%b", new(big.Int).SetBytes([]byte(text))) }},
		{"one hexadecimal number, the lowest byte first", func(text string) string {
			bytes := []byte(text)
			slices.Reverse(bytes)
			return fmt.Sprintf("%#x", bytes)
		}},
		{"hexadecimal, in capital and small letters", func(text string) string {
			var b strings.Builder
			for i := range len(text) {
				fmt.Fprintf(&b, []string{"%02x·", "%02X·"}[i%2], text[i])
			}
			return b.String()
		}},
	}
	for _, format := range []string{"0x%02x│", "0x%02x·", "0x%02x…", "0x%02x、", "0x%02x\u00a0", "0X%X🙂", "%02x→", "%d│", "%d\u200b",
		"0o%o·", "%08b│"} {
		list = append(list, writer{fmt.Sprintf("numbers by %q", format), each(format)})
	}
	return append(list, unevenDumps()...)
}

// unevenDumps have lines that are not a whole number of words.
func unevenDumps() (list []writer) {
	for _, size := range []struct{ line, word int }{{3, 4}, {5, 2}, {7, 2}, {11, 11}, {25, 16}} {
		for _, base := range []string{"%08b", "%02x"} {
			for _, offset := range []string{"%08x: ", "[%08x] ", "%d: ", ""} {
				if offset == "" && size.line < 4 || offset == "%d: " && size.line < 5 {
					continue // as the page says
				}
				width := len(fmt.Sprintf(base, 0))
				columns := (size.line+size.word-1)/size.word + width*size.line + 2
				list = append(list, writer{
					fmt.Sprintf("xxd of %d bytes in words of %d by %s, behind %q", size.line, size.word, base, offset),
					dumps(size.line, offset, aligned(columns, groups(size.word, " ", base, false)), "", "%s"),
				})
			}
		}
	}
	return append(list, writer{"xxd of 256 bytes in one word", dumps(256, "%08x: ", groups(256, "", "%02x", false), "  ", "%s")},
		writer{"xxd of 256 bytes, binary", dumps(256, "%08x: ", groups(1, " ", "%08b", false), "  ", "%s")},
		writer{"no offsets, xxd of 5 bytes in words of 2, lowest first", dumps(5, "", groups(2, " ", "%02x", true), "  ", ">%s<")})
}
