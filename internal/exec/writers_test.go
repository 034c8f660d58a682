// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package exec

import (
	"bytes"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"mime/quotedprintable"
	"net/url"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"

	"sigs.k8s.io/yaml"
)

// writer is a way in which programs write a text.
type writer struct {
	name  string
	write func(text string) string
}

// each writes every byte in one way.
func each(format string) func(string) string {
	return func(text string) string {
		var b strings.Builder
		for i := range len(text) {
			fmt.Fprintf(&b, format, text[i])
		}
		return b.String()
	}
}

// eachRune writes every character in one way.
func eachRune(write func(rune) string) func(string) string {
	return func(text string) string {
		var b strings.Builder
		for _, r := range text {
			b.WriteString(write(r))
		}
		return b.String()
	}
}

// inLines breaks a text into lines of so many bytes, each of which begins and ends in one way.
func inLines(size int, begin, end string) func(string) string {
	return func(text string) string {
		var b strings.Builder
		for i := 0; i < len(text); i += size {
			b.WriteString(begin + text[i:min(len(text), i+size)] + end)
		}
		return b.String()
	}
}

// dumps writes lines of so many bytes: an offset, groups of bytes, and the bytes as characters.
func dumps(size int, offset string, group func([]byte) string, between, characters string) func(string) string {
	return func(text string) string {
		var b strings.Builder
		for at := 0; at < len(text); at += size {
			line := text[at:min(len(text), at+size)]
			b.WriteString(strings.Split(fmt.Sprintf(offset, at), "%!(EXTRA")[0])
			b.WriteString(group([]byte(line)))
			if characters != "" {
				fmt.Fprintf(&b, between+characters, strings.Map(func(r rune) rune {
					if r < ' ' || r > '~' {
						return '.'
					}
					return r
				}, line))
			}
			b.WriteByte('\n')
		}
		return b.String()
	}
}

// groups writes bytes in groups of so many, each with what stands before it, in one order or the other.
func groups(size int, before, format string, little bool) func([]byte) string {
	return func(line []byte) string {
		var b strings.Builder
		for i := 0; i < len(line); i += size {
			b.WriteString(before)
			group := line[i:min(len(line), i+size)]
			for k := range group {
				if little {
					k = len(group) - 1 - k
				}
				fmt.Fprintf(&b, format, group[k])
			}
		}
		return b.String()
	}
}

// tool is a program of this machine; if there is none of that name, what it would write is not tried.
func tool(args ...string) func(string) string {
	return func(text string) string {
		path, err := exec.LookPath(args[0])
		if err != nil {
			return ""
		}
		cmd := exec.Command(path, args[1:]...)
		cmd.Stdin = strings.NewReader(text)
		out, err := cmd.Output()
		if err != nil {
			panic(fmt.Sprintf("%v: %v", args, err))
		}
		return string(out)
	}
}

func marshalled(text string) string {
	b, err := json.Marshal(map[string]string{"key": text})
	if err != nil {
		panic(err)
	}
	return string(b)
}

func asJSON(value any) string {
	b, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func escapedWriters() []writer {
	u := func(format string) func(string) string {
		return eachRune(func(r rune) string {
			var b strings.Builder
			for _, unit := range utf16.Encode([]rune{r}) {
				fmt.Fprintf(&b, format, unit)
			}
			return b.String()
		})
	}
	return []writer{
		{"JSON", marshalled},
		{"JSON in JSON", func(text string) string { return marshalled(marshalled(text)) }},
		{"JSON in JSON in JSON", func(text string) string { return marshalled(marshalled(marshalled(text))) }},
		{"JSON with slashes escaped", func(text string) string { return strings.ReplaceAll(marshalled(text), "/", `\/`) }},
		{`JSON of \u alone`, u(`\u%04x`)},
		{`JSON of \u alone, in upper case`, u(`\u%04X`)},
		{`JSON of \u and characters, mixed`, eachRune(func(r rune) string {
			if r%2 == 0 && r < 0x10000 {
				return fmt.Sprintf(`\u%04x`, r)
			}
			return strings.Trim(asJSON(string(r)), `"`)
		})},
		{`JSON of \u alone in JSON`, func(text string) string { return marshalled(u(`\u%04x`)(text)) }},
		{"YAML", func(text string) string {
			b, err := yaml.Marshal(map[string]any{"list": []string{text}})
			if err != nil {
				panic(err)
			}
			return string(b)
		}},
		{"YAML, folded within quotes", func(text string) string {
			return `key: "` + inLines(11, "", "\\\n      ")(strings.Trim(asJSON(text), `"`)) + `"`
		}},
		{"Go's %q", func(text string) string { return fmt.Sprintf("%q", text) }},
		{"Go's %+q", strconv.QuoteToASCII},
		{`C's \x`, each(`\x%02x`)},
		{`C's \x in JSON`, func(text string) string { return marshalled(each(`\x%02x`)(text)) }},
		{"octal escapes", each(`\%03o`)},
		{"octal escapes of printf %b", each(`\0%03o`)},
		{"Rust's escapes", eachRune(func(r rune) string { return fmt.Sprintf(`\u{%x}`, r) })},
		{"Perl's escapes", eachRune(func(r rune) string { return fmt.Sprintf(`\x{%04x}`, r) })},
		{"Python's long escapes", eachRune(func(r rune) string { return fmt.Sprintf(`\U%08x`, r) })},
		{"a shell's backslashes", eachRune(func(r rune) string {
			if strings.ContainsRune(`+/=&%$"'\ ~!#`, r) {
				return `\` + string(r)
			}
			return string(r)
		})},
		{"quotes that are doubled", strings.NewReplacer(`'`, `''`, `"`, `""`).Replace},
		{"a shell's quotes", func(text string) string { return `'` + strings.ReplaceAll(text, `'`, `'\''`) + `'` }},
		{"a URL's query", url.QueryEscape},
		{"a URL's path", url.PathEscape},
		{"a URL in a URL", func(text string) string { return url.QueryEscape(url.QueryEscape(text)) }},
		{"a URL in JSON", func(text string) string { return marshalled("?a=1&b=" + url.QueryEscape(text)) }},
		{"percent signs alone", each("%%%02X")},
		{"percent signs alone, in lower case", each("%%%02x")},
		{"percent signs, mixed", func(text string) string {
			half := len(text) / 2
			return each("%%%02x")(text[:half]) + each("%%%02X")(text[half:])
		}},
		{"HTML", html.EscapeString},
		{"HTML in HTML", func(text string) string { return html.EscapeString(html.EscapeString(text)) }},
		{"decimal entities", eachRune(func(r rune) string { return fmt.Sprintf("&#%d;", r) })},
		{"hexadecimal entities", eachRune(func(r rune) string { return fmt.Sprintf("&#x%02X;", r) })},
		{"named entities", strings.NewReplacer("/", "&sol;", "+", "&plus;", "=", "&equals;", "&", "&amp;", "%", "&percnt;",
			`"`, "&quot;").Replace},
		{"quoted-printable", func(text string) string {
			var b bytes.Buffer
			w := quotedprintable.NewWriter(&b)
			_, _ = w.Write([]byte(strings.Repeat("x", 60) + text)) // a buffer takes everything
			_ = w.Close()
			return b.String()
		}},
		{"quoted-printable alone", each("=%02X")},
	}
}

// wide writes UTF-16, the lower byte first.
func wide(text string) string {
	var b strings.Builder
	for _, unit := range utf16.Encode([]rune(text)) {
		b.Write([]byte{byte(unit), byte(unit >> 8)})
	}
	return b.String()
}

func encodedWriters() []writer {
	base := func(encode func([]byte) string) func(string) string {
		return func(text string) string { return encode([]byte("user:" + text + "tail")) }
	}
	wrapped := func(size int, begin string) func(string) string {
		return func(text string) string {
			return inLines(size, begin, "\n")(base64.StdEncoding.EncodeToString([]byte("user:" + text + "tail")))
		}
	}
	return []writer{
		{"base64", base(base64.StdEncoding.EncodeToString)},
		{"base64 without padding", base(base64.RawStdEncoding.EncodeToString)},
		{"base64 for URLs", base(base64.RawURLEncoding.EncodeToString)},
		{"base64 in lines", wrapped(76, "")},
		{"base64 in short indented lines", wrapped(10, "        ")},
		{"base64 in a URL", func(text string) string {
			return url.QueryEscape(base64.StdEncoding.EncodeToString([]byte(text)))
		}},
		{"base64 in JSON with slashes escaped", func(text string) string {
			return strings.ReplaceAll(base64.StdEncoding.EncodeToString([]byte(text)), "/", `\/`)
		}},
		{"base32", base(base32.StdEncoding.EncodeToString)},
		{"base32 in lower case", func(text string) string {
			return strings.ToLower(base32.StdEncoding.EncodeToString([]byte("u" + text + "tail")))
		}},
		{"hexadecimal", base(hex.EncodeToString)},
		{"hexadecimal in upper case", each("%02X")},
		{"hexadecimal in short indented lines", func(text string) string {
			return inLines(6, "\t", "\r\n")(hex.EncodeToString([]byte(text)))
		}},
		{"UTF-16", wide},
		{"UTF-16 in base64", func(text string) string { return base64.StdEncoding.EncodeToString([]byte(wide(text))) }},
		{"UTF-16 in hexadecimal", func(text string) string { return hex.EncodeToString([]byte(wide(text))) }},
	}
}

// toolWriters are programs of this machine, where it has them.
func toolWriters() []writer {
	var list []writer
	for _, args := range [][]string{
		{"xxd"}, {"xxd", "-b"}, {"xxd", "-e"}, {"xxd", "-i"}, {"xxd", "-p"}, {"hexdump"}, {"hexdump", "-C"},
		{"hexdump", "-b"}, {"hexdump", "-c"}, {"hexdump", "-d"}, {"od"}, {"od", "-c"}, {"od", "-b"},
		{"od", "-x"}, {"od", "-An", "-tx1"}, {"od", "-Ax", "-tx1z"}, {"od", "-Ax", "-tx4"}, {"od", "-tx8"},
		{"od", "-tu1"}, {"od", "-An", "-v", "-w8", "-tx2"}, {"openssl", "base64"}, {"base32"},
		{"base64", "-w", "13"}, {"fold", "-w", "7"}, {"cat", "-A"}, {"sed", "s/^/    /"},
	} {
		list = append(list, writer{"this machine's " + strings.Join(args, " "), tool(args...)})
	}
	for _, columns := range []string{"3", "5", "6", "7", "9", "11"} {
		for _, group := range []string{"2", "3", "4", "8"} {
			args := []string{"xxd", "-c", columns, "-g", group}
			list = append(list, writer{"this machine's " + strings.Join(args, " "), tool(args...)})
		}
	}
	for _, options := range []string{"-b -c 7 -g 2", "-b -c 5 -g 4", "-b -c 6 -g 4", "-b -c 3 -g 4", "-b -c 5 -g 2", "-c 11 -g 0",
		"-c 25 -g 16 -u", "-c 22 -g 16", "-c 24 -g 0", "-b -c 9 -g 0", "-d -b -c 11 -g 3", "-c 256 -g 0"} {
		list = append(list, writer{"this machine's xxd " + options, tool(append([]string{"xxd"}, strings.Fields(options)...)...)})
	}
	return list
}

func brokenWriters() []writer {
	list := []writer{
		{"one character a line", inLines(1, "", "\n")},
		{"blanks between", inLines(1, "", " ")},
		{"short lines, indented", inLines(7, "    ", "\n")},
		{"short lines, indented by tabs", inLines(15, "\t\t", "\r\n")},
		{"short lines that go on by a backslash", inLines(9, "  ", "\\\n")},
		{"short lines in a frame", inLines(9, "| ", " |\n")},
		{"short lines in a frame of box characters", inLines(9, "│ ", " │\n")},
		{"short lines that are quoted", inLines(9, "> ", "\n")},
		{"short lines with their ends marked", inLines(9, "", "$\n")},
		{"strings of a program's source", inLines(9, `  "`, "\"\n")},
		{"strings joined by + at the line's end", inLines(9, `  '`, "' +\n")},
		{"strings joined by + in one line", inLines(9, ` + "`, `"`)},
		{"strings joined by .", inLines(9, ` . '`, "'\n")},
		{"strings joined by ..", inLines(9, `"`, "\" ..\n")},
		{"strings joined by &", inLines(9, `"`, "\" & _\n")},
		{"strings joined by ||", inLines(9, `'`, "' || ")},
		{"strings joined by ++", inLines(9, `"`, "\" ++\n")},
		{"a list of characters", inLines(1, `'`, `', `)},
		{"a list of characters in JSON, indented", inLines(1, `    "`, "\",\n")},
		{"a list of characters without quotes", inLines(1, ``, `, `)},
		{"a list of characters in YAML", inLines(1, `- `, "\n")},
		{"dashes between", inLines(1, "", "-")},
		{"zero-width spaces between", inLines(1, "", "\u200b")},
		{"short lines of a diff", inLines(9, "+ ", "\n")},
		{"short lines of a comment", inLines(9, "# ", "\n")},
		{"short lines of another comment", inLines(9, "// ", "\n")},
		{"base64 in joined strings", func(text string) string {
			return inLines(10, `'`, "' +\n")(base64.StdEncoding.EncodeToString([]byte(text)))
		}},
		{"colours within", inLines(5, "\x1b[01;31m\x1b[K", "\x1b[m\x1b[K")},
		{"colours within, of terminfo", inLines(5, "\x1b[31m", "\x1b(B\x1b[m")},
	}
	for _, number := range []string{"%6d\t", "%d:", "%d: ", "%03d ", "%d) ", "%d)", "[%d] ", "(%d) ", "#%d ", "%d. ", "%d - ",
		"%4d | ", "%d|"} {
		for _, size := range []int{8, 15} {
			list = append(list, writer{fmt.Sprintf("lines of %d numbered by %q", size, number), inNumberedLines(size, number)})
		}
	}
	for _, offset := range []string{"0x%04x  ", "0x%x: ", "%#x\t", "0X%04X ", "%08x:", "%08x ", "[%08x] ", "[0x%x]: ", "(%#x)",
		"%x: ", "%x) ", "%x ", "%04x - ", "0x55555555a2%02x:\t", "0x55555555a2%02x <key+8>:\t", "%04x→", "%x│"} {
		list = append(list, writer{fmt.Sprintf("lines behind the offset %q", offset), inOffsetLines(10, offset)})
	}
	list = append(list, writer{"lines of 8 behind an offset", inOffsetLines(8, "0x%04x  ")},
		writer{"lines of 8 behind another offset", inOffsetLines(8, "%x: ")})
	return list
}

// inOffsetLines breaks a text into lines of so many bytes, each of which begins with its offset.
func inOffsetLines(size int, offset string) func(string) string {
	return func(text string) string {
		var b strings.Builder
		for i := 0; i < len(text); i += size {
			fmt.Fprintf(&b, offset+"%s\n", i, text[i:min(len(text), i+size)])
		}
		return b.String()
	}
}

// inNumberedLines breaks a text into lines of so many bytes, each of which begins with its number.
func inNumberedLines(size int, number string) func(string) string {
	return func(text string) string {
		var b strings.Builder
		for i := 0; i < len(text); i += size {
			fmt.Fprintf(&b, number+"%s\n", i/size+1, text[i:min(len(text), i+size)])
		}
		return b.String()
	}
}

// offlineWriters need no program of this machine.
func offlineWriters() []writer {
	return slices.Concat(escapedWriters(), encodedWriters(), numberWriters(), brokenWriters())
}
