// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package visible

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/creack/pty"
	"golang.org/x/text/unicode/bidi"
	"sigs.k8s.io/yaml"
)

// defaultIgnorable is Unicode's derived property Default_Ignorable_Code_Point, derived as DerivedCoreProperties.txt
// says.
func defaultIgnorable(r rune) bool {
	return unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector, unicode.Cf) &&
		!unicode.In(r, unicode.White_Space, unicode.Prepended_Concatenation_Mark) &&
		(r < 0xfff9 || r > 0xfffb) && (r < 0x13430 || r > 0x13440)
}

// blanks have an empty glyph in some font (DejaVu, FreeFont, Noto, Symbola), or by their description in the Unicode
// standard, and are ignorable by no table. wideGlyphs are painted over more than four cells in the Noto fonts.
const (
	blanks     = "\u2800\ufffc\U0001d159\u303f\u2d7f\U0001107f\U00013441\U00013442\U00016fe4\U0001bc9d"
	wideGlyphs = "\ufdfa\ufdfd\U00012219\U0001242b\u2e3a\u2e3b\ua9c5\u0bf5\u0d78\u17d8"
)

// hiddenByTheTables reports whether any of Unicode's tables, or what is known of fonts, says that nobody sees the
// character in its place.
func hiddenByTheTables(r rune) bool {
	return defaultIgnorable(r) || strings.ContainsRune(blanks+wideGlyphs, r) || r != ' ' && unicode.In(r, unicode.White_Space,
		unicode.Cc, unicode.Cf, unicode.Co, unicode.Zs, unicode.Zl, unicode.Zp, unicode.Join_Control, unicode.Bidi_Control,
		unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point)
}

// TestLine_EveryCharacterThatIsHiddenIsANumber tries each of them in the middle of a word, where a mark would be kept.
func TestLine_EveryCharacterThatIsHiddenIsANumber(t *testing.T) {
	ignorable, hidden := 0, 0
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if defaultIgnorable(r) {
			ignorable++
		}
		if !utf8.ValidRune(r) || !hiddenByTheTables(r) {
			continue
		}
		hidden++
		for _, around := range []string{"a", "ა", "कक", "각", "1"} {
			if got, want := Line(around+string(r)+"b"), around+escaped(r)+"b"; got != want {
				t.Fatalf("%U is printed as %q; want %q", r, got, want)
			}
		}
	}
	// The total is the one that stands in DerivedCoreProperties.txt of Unicode 15.0. When Go brings newer tables,
	// look at what they add to the scripts and blocks that are shown.
	if unicode.Version != "15.0.0" || ignorable != 4174 || hidden < 140000 {
		t.Errorf("Unicode %s: %d characters are ignorable by default, %d are hidden", unicode.Version, ignorable, hidden)
	}
}

// TestLine_WhatNoTableKnowsIsANumber: a character that a later Unicode will have can be anything.
func TestLine_WhatNoTableKnowsIsANumber(t *testing.T) {
	for r := rune(0); r <= unicode.MaxRune; r++ {
		known := unicode.In(r, unicode.L, unicode.M, unicode.N, unicode.P, unicode.S, unicode.Z, unicode.C)
		if utf8.ValidRune(r) && !known && Line("a"+string(r)) != "a"+escaped(r) {
			t.Fatalf("%U is printed as it is", r)
		}
	}
}

// TestLine_NoMarkIsPaintedOnWordsOfOurs tries every mark behind everything that a program writes before a value.
func TestLine_NoMarkIsPaintedOnWordsOfOurs(t *testing.T) {
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if !unicode.IsMark(r) && (r < 0x1160 || r > 0x11ff) && (r < 0xd7b0 || r > 0xd7fb) {
			continue
		}
		for _, before := range []string{"", " ", `"`, "=", "/", ",", "|", "(", ": ",
			"- ", "\u200b", "\n", `\n`, `\u200b`, "€", "🔑"} {
			if got := Line(before + string(r)); got != Line(before)+escaped(r) {
				t.Fatalf("%U behind %q is printed as %q", r, before, got)
			}
		}
	}
}

func TestLine_MarksThatPileUpAreNumbers(t *testing.T) {
	for text, want := range map[string]string{
		"a\u0301\u0302\u0303\u0304\u0305\u0306b": "a\u0301\u0302\u0303\u0304" + `\u0305\u0306b`,
		"a\u0308\u0308b":                         "a\u0308" + `\u0308b`,
		"a\u20ddb":                               `a\u20ddb`, // the circle hides the letter
		"a\u0489":                                `a\u0489`,
		"t\u0361":                                `t\u0361`,  // reaches over whatever comes next
		"a\u17d2b":                               `a\u17d2b`, // a Khmer mark in Latin letters
		"a\u1161\u11a8":                          `a\u1161\u11a8`,
		"1\ufe0f\u20e3":                          `1\ufe0f\u20e3`,
		"\u200be\u0301":                          `\u200be\u0301`, // the mark would stand on what looks like the number
	} {
		if got := Line(text); got != want {
			t.Errorf("%+q is printed as %+q; want %+q", text, got, want)
		}
	}
}

// TestLine_OrdinaryTextStaysReadable: of many scripts, composed and decomposed, and emoji as people write them.
func TestLine_OrdinaryTextStaysReadable(t *testing.T) {
	for _, text := range []string{
		"Publish the preview build for PR-184", "Übergrößenträger; naïve café, ça va",
		"u\u0308ber, cafe\u0301, Vie\u0323\u0302t Nam, Tie\u0302\u0301ng Vie\u0323\u0302t",
		"Ἐν ἀρχῇ ἦν ὁ λόγος", "α\u0313\u0301\u0345", "Съешь же ещё этих мягких французских булок",
		"и\u0306 е\u0308", "日本語のテキスト、カタカナ", "か\u3099 ハ\u309a", "한국어 텍스트",
		"\u1112\u1161\u11ab\u1100\u1173\u11af", "简体中文，繁體中文。", "हिन्दी: क्षत्रिय", "বাংলা ভাষা", "ਪੰਜਾਬੀ", "ગુજરાતી",
		"தமிழ் மொழி", "తెలుగు", "ಕನ್ನಡ", "മലയാളം", "සිංහල", "ภาษาไทย: ที่นี่", "ພາສາລາວ", "བོད་སྐད་",
		"မြန်မာစာ ကျွန်ုပ် မြွှေ့", "ភាសាខ្មែរ", "ქართული", "Հայերեն", "አማርኛ",
		"🔑 🙂 👍🏽 🇩🇪 ✅ 🚀", "→ ≠ ∑ € £ ¥ © ½ ¼ №", "C:\\dir `code` \"quoted\" <&>",
	} {
		if got := Line(text); got != text {
			t.Errorf("%s is printed as %s", text, got)
		}
	}
	for text, want := range map[string]string{
		"I ❤\ufe0f it": `I ❤\ufe0f it`, "👨\u200d👩\u200d👧": `👨\u200d👩\u200d👧`,
	} {
		if got := Line(text); got != want {
			t.Errorf("%s is printed as %s; want %s", text, got, want)
		}
	}
}

// TestLine_NothingIsTurnedAround reads what is printed by the Unicode bidirectional algorithm: it comes out in the order
// in which it was written, with our words, numbers and quotes where they were.
func TestLine_NothingIsTurnedAround(t *testing.T) {
	for _, value := range []string{
		"א", "עברית: בְּרֵאשִׁ֖ית", "العربية: مُحَمَّدٌ", "فارسی ۱۲۳", "١٢٣", "ܐ 1 2", "ހ", "ߊ", "\U0001e900", "\U00010800", "\ufb1d", "\ufdfd",
		"\u0600", "\u200f1", "\u06dd", "a/א/1/2/b", "(א)",
	} {
		line := Sprintf("args \"copy\" %s \"1\" \"2\" \"/dst\", approval 1 of 2 (first)", strconv.Quote(value))
		var p bidi.Paragraph
		if _, err := p.SetString(line); err != nil {
			t.Fatal(err)
		}
		order, err := p.Order()
		if err != nil {
			t.Fatal(err)
		}
		var shown strings.Builder
		for i := range order.NumRuns() {
			run := order.Run(i)
			if run.Direction() != bidi.LeftToRight {
				t.Errorf("%q: %q goes from right to left", value, run.String())
			}
			shown.WriteString(run.String())
		}
		if shown.String() != line {
			t.Errorf("%q is shown as %q; want %q", value, shown.String(), line)
		}
	}
	for r := rune(0); r <= unicode.MaxRune; r++ {
		properties, _ := bidi.LookupRune(r)
		strong := slices.Contains([]bidi.Class{bidi.R, bidi.AL, bidi.AN}, properties.Class())
		if utf8.ValidRune(r) && strong && Line("a"+string(r)+"1") != "a"+escaped(r)+"1" {
			t.Fatalf("%U is printed as it is", r)
		}
	}
}

func TestLine_ABrokenCharacterIsPrintedByItsBytes(t *testing.T) {
	for text, want := range map[string]string{
		"\xffa": `\xffa`, "a\xe2\x80": `a\xe2\x80`, "\xff\u0301": `\xff\u0301`, "\xffe\u0301": `\xffe\u0301`,
	} {
		if got := Line(text); got != want {
			t.Errorf("%q is printed as %q; want %q", text, got, want)
		}
	}
}

// TestText_IsTheSameJSONAndYAML reads back what was printed.
func TestText_IsTheSameJSONAndYAML(t *testing.T) {
	want := map[string]string{"key\u2800": "x\u200b\u0301\u3164\U000e0041\U0001d159\n\tlast, e\u0301"}
	text, err := json.MarshalIndent(want, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	for name, read := range map[string]func() (map[string]string, error){
		"JSON": func() (got map[string]string, err error) { return got, json.Unmarshal(Text(text), &got) },
		"YAML": func() (got map[string]string, err error) { return got, yaml.Unmarshal(YAML(text), &got) },
	} {
		if got, err := read(); err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %q: %v", name, got, err)
		}
	}
	if bytes.ContainsFunc(Text(text), func(r rune) bool { return r != '\n' && hiddenByTheTables(r) }) {
		t.Errorf("%q", Text(text))
	}
}

func TestWriter_DoesNotDependOnThePieces(t *testing.T) {
	text := "x\x1b[2J\u202e\u2800é日本🔑e\u0301\u0301\n\ta\xffb\u0301\U000e0100"
	var pieces bytes.Buffer
	w := NewWriter(&pieces)
	for i := range len(text) {
		if n, err := w.Write([]byte{text[i]}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	}
	if want := string(Text([]byte(text))); pieces.String() != want {
		t.Errorf("in pieces %q\nwhole     %q", pieces.String(), want)
	}
}

func TestWriter_PassesOnThatNothingCanBeWritten(t *testing.T) {
	read, write := io.Pipe()
	if err := read.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := NewWriter(write).Write([]byte("x")); err == nil {
		t.Error("it says that it was written")
	}
}

func TestOnTerminal_OnlyATerminalIsSparedTheBytes(t *testing.T) {
	keyboard, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = keyboard.Close(), tty.Close() }()
	if _, spelled := OnTerminal(tty).(*Writer); !spelled {
		t.Error("a terminal gets every byte")
	}
	file, err := os.Create(t.TempDir() + "/file")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	for _, to := range []io.Writer{file, &bytes.Buffer{}} {
		if OnTerminal(to) != to {
			t.Errorf("%T does not get every byte", to)
		}
	}
}

// FuzzLine sees that nothing hidden is left, and that printing what was printed changes nothing but counts of blanks.
func FuzzLine(f *testing.F) {
	f.Add("e\u0301\u200b\u0301\\u0301 a\u0323\u0302\u1161 \xff")
	f.Fuzz(func(t *testing.T, text string) {
		got := Line(text)
		if strings.ContainsFunc(got, hiddenByTheTables) || !utf8.ValidString(got) {
			t.Errorf("%q is printed as %q", text, got)
		}
		if again := Line(got); again != got && !strings.ContainsRune(got, blankRun) {
			t.Errorf("%q is printed as %q, and that as %q", text, got, again)
		}
	})
}
