// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package exec

import (
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"
	"unicode/utf16"
)

const (
	// shortest is the shortest value that is looked for, blanks not counted: in shorter ones ordinary words would be
	// found.
	shortest = 6
	// shortestCore is how many letters and digits a secret has at least that are looked for alone.
	shortestCore = 8
	// widest is how many characters in a row, of any form of a secret, are enough to redact them.
	widest = 16
	// filterBits is the size of the filter that most grams end at, as a power of two.
	filterBits = 20
)

// patterns are the forms in which secrets are looked for. They are not changed once they are made.
type patterns struct {
	// forms are those of text, cores their letters and digits alone: those are found whatever stands between.
	forms, cores *search
	// reach is how far from an escape, in characters, what belongs to the same window can stand.
	reach int
	// signs says what each byte means for the scan, and introducers which bytes can begin an escape.
	signs, introducers [256]sign
	// languages are those that are undone in layers: layouts, too, if a form has what looks like an escape.
	languages []language
	// values are the secrets as they are, for whatever writes numbers.
	values values
}

// sign is what a byte means for the scan: a set of bits.
type sign uint16

const (
	// solidSign marks everything but blanks. Blanks are left out: a form can be broken into lines, indented or grouped
	// anywhere.
	solidSign sign = 1 << iota
	// coreSign marks the letters and digits of ASCII. It is the bit behind that.
	coreSign
	// foreignSign marks what can stand neither in numbers nor between them: letters beyond the hexadecimal ones.
	foreignSign
	// digitSign marks hexadecimal digits, capitalSign those of quoted-printable, which has no small letters.
	digitSign
	capitalSign
	// blankSign marks blanks and the ends of lines.
	blankSign
	// letterSign marks the letters and digits of ASCII, and #.
	letterSign
	// quoteSign marks quotes, frameSign what stands at the beginning of a line that is quoted or framed, or before
	// its number.
	quoteSign
	frameSign
	// boxSign marks the second byte of the characters that tables are drawn with.
	boxSign
	// beforeLetterSign marks what can stand before a letter among numbers: of 0o17, or one that is quoted.
	beforeLetterSign
	// asideSign marks what is written around a text.
	asideSign
	// anySign marks every byte.
	anySign
)

// coreShift is which bit coreSign is.
const coreShift = 1

// signs of each byte.
func signs() (all [256]sign) {
	set := func(bytes string, s sign) {
		for i := range len(bytes) {
			all[bytes[i]] |= s
		}
	}
	for c := range all {
		all[c] = anySign | solidSign
		if c >= 0x80 || c|0x20 >= 'g' && c|0x20 <= 'z' && c|0x20 != 'x' {
			all[c] |= foreignSign
		}
		if isAlphanumeric(byte(c)) {
			all[c] |= letterSign | coreSign
		}
	}
	const blanks = " \t\n\v\f\r"
	set(blanks, blankSign)
	for _, c := range []byte(blanks + "\x00") {
		all[c] &^= solidSign
	}
	set("0123456789abcdefABCDEF", digitSign)
	set("0123456789ABCDEF", capitalSign)
	set("#", letterSign)
	set(`"'`, quoteSign)
	set("|>[(#", frameSign)
	set("\x94\x95", boxSign)
	set(`0'\`, beforeLetterSign)
	set(`"'=|>$`, asideSign)
	return all
}

// introducers are the bytes that an escape, or something else that is left out, can begin with, each with what has to
// follow.
func introducers() (all [256]sign) {
	for c, next := range map[byte]sign{
		'\\': anySign, '\x1b': anySign, '%': letterSign, '&': letterSign, '=': capitalSign | blankSign,
		'"': quoteSign | blankSign, '\'': quoteSign | blankSign, '$': blankSign, '|': blankSign, '>': blankSign,
		'\n': blankSign | digitSign | frameSign, '\xe2': boxSign,
	} {
		all[c] = next
	}
	return all
}

// newPatterns makes them of secret values. Values that are too short to be looked for are left out.
func newPatterns(secrets []string) *patterns {
	p := &patterns{signs: signs(), introducers: introducers(), languages: languages[:]}
	secrets = slices.DeleteFunc(slices.Clone(secrets), func(s string) bool { return len(p.only(s, solidSign)) < shortest })
	p.values = newValues(secrets)
	forms, cores := map[string]struct{}{}, map[string]struct{}{}
	for _, secret := range secrets {
		for _, form := range formsOf(secret) {
			if p.only(form, coreSign) != p.only(p.unescaped(form), coreSign) {
				p.languages = slices.Concat(languages[:], layouts[:])
			}
			for _, written := range []string{form, p.unescaped(form)} {
				forms[p.only(written, solidSign)] = struct{}{}
				cores[p.only(written, coreSign)] = struct{}{}
			}
		}
	}
	p.forms, p.cores = newSearch(solidSign, shortest, forms), newSearch(coreSign, shortestCore, cores)
	p.reach = max(p.forms.window, 2*p.cores.window)
	return p
}

// words finds pieces of words in a text.
//
// A library that finds words would have to be told every word. Here any window of a word counts, so that one is
// found, too, that was cut off, or that stands among other things. Every window contains a gram that begins at a
// multiple of the stride: it is enough to look at those.
type words struct {
	window, gram, stride int
	// windows are all windows of all words, grams their grams as numbers. The filter has a bit for each gram's hash.
	windows map[string]struct{}
	grams   map[uint64]struct{}
	filter  []uint64
	// shift takes the bytes behind a gram out of a number of eight bytes.
	shift uint
}

// lookahead is how many bytes of capacity a text has to have behind its end: grams are read eight bytes at a time.
const lookahead = 8

func newWords(window int) *words {
	const least = 4
	gram := min(max(least, (window+1)/2), lookahead)
	return &words{window: window, gram: gram, stride: window - gram + 1, shift: uint(8 * (lookahead - gram)),
		windows: map[string]struct{}{}, grams: map[uint64]struct{}{}, filter: make([]uint64, 1<<(filterBits-6))}
}

func (w *words) add(word string) {
	for i := 0; i+w.window <= len(word); i++ {
		w.windows[word[i:i+w.window]] = struct{}{}
	}
	padded := append([]byte(word), make([]byte, lookahead)...)
	for i := 0; i+w.gram <= len(word); i++ {
		gram := w.gramAt(padded, i)
		w.grams[gram] = struct{}{}
		h := hashed(gram)
		w.filter[h>>6] |= 1 << (h & 63)
	}
}

// gramAt is the gram at i as a number.
func (w *words) gramAt(text []byte, i int) uint64 {
	return binary.LittleEndian.Uint64(text[i:]) << (w.shift & 63)
}

// hashed spreads a gram over the filter (Fibonacci hashing).
func hashed(gram uint64) uint64 { return gram * 0x9e3779b97f4a7c15 >> (64 - filterBits) }

// known reports whether the gram at i is one of a word.
func (w *words) known(text []byte, i int) bool {
	gram := w.gramAt(text, i)
	if h := hashed(gram); w.filter[h>>6]&(1<<(h&63)) == 0 {
		return false
	}
	_, known := w.grams[gram]
	return known
}

// find reports where each window in the text begins, the first one first.
func (w *words) find(text []byte, found func(at int)) {
	padded, next := text[:len(text)+lookahead], 0
	for i := 0; i+w.gram <= len(text); i += w.stride {
		if !w.known(padded, i) {
			continue
		}
		for k := max(next, i-w.stride+1); k <= i && k+w.window <= len(text); k++ {
			if _, known := w.windows[string(text[k:k+w.window])]; known {
				found(k)
				next = k + 1
			}
		}
	}
}

// formsOf are a secret as it is, in UTF-16, as cat -A shows it, and encoded. Escapes need no form of their own:
// whatever is written with escapes is compared after they were undone.
func formsOf(secret string) []string {
	forms := append(encoded(secret), secret, strings.ReplaceAll(secret, " ", "+"), visibly(secret))
	for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
		var wide []byte
		for _, unit := range utf16.Encode([]rune(secret)) {
			wide = order.AppendUint16(wide, unit)
		}
		forms = append(append(forms, string(wide)), encoded(string(wide))...)
	}
	return forms
}

// visibly is how cat -A writes what is no character of ASCII.
func visibly(text string) string {
	var b strings.Builder
	for _, c := range []byte(text) {
		if c >= 0x80 {
			b.WriteString("M-")
			c -= 0x80
		}
		switch {
		case c < ' ':
			b.WriteString("^" + string(rune(c+'@')))
		case c == 0x7f:
			b.WriteString("^?")
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// encoded is a text in hexadecimal, base64 and base32, wherever in a longer text it begins.
func encoded(text string) []string {
	digits := hex.EncodeToString([]byte(text))
	forms := []string{digits, strings.ToUpper(digits)}
	for offset := range 3 {
		for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
			forms = append(forms, within(encoding.EncodeToString, text, offset, 6)...)
		}
	}
	for offset := range 5 {
		for _, form := range within(base32.StdEncoding.EncodeToString, text, offset, 5) {
			forms = append(forms, form, strings.ToLower(form))
		}
	}
	return forms
}

// within encodes a secret that stands so many bytes behind the beginning of what is encoded. Only the characters that
// are made of the secret's bits alone are the same whatever stands before and behind it. Where nothing stands behind
// it, the last ones are known too.
func within(encode func([]byte) string, secret string, offset, bits int) []string {
	encoded := encode(append(make([]byte, offset), secret...))
	from := (offset*8 + bits - 1) / bits
	return []string{encoded[from : (offset+len(secret))*8/bits], encoded[from:]}
}
