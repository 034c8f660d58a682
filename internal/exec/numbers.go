// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package exec

import (
	"encoding/hex"
	"math/bits"
	"slices"
)

// values are the secrets byte by byte, for whatever writes bytes as numbers.
type values struct {
	window int
	// windows are all windows of the secrets, starts their beginnings, which are shorter.
	windows, starts map[string]struct{}
	// has is set of the bytes that any secret has. pairs and quads have the two and four bytes in a row that any has,
	// as numbers whose lowest byte is the first.
	has   [1 << 8]bool
	pairs [1 << 16]bool
	quads map[uint32]struct{}
	// digits are the hexadecimal digits of the secrets. bytes are the windows of them that begin with a byte's first
	// digit, digitStarts their beginnings, which are shorter.
	digits             *words
	bytes, digitStarts map[string]struct{}
	// heads are the first bytes of each secret, as many as the first words that begin in its first word can have.
	heads []string
}

// fewestDigits is how many hexadecimal digits of a secret in a row are enough to redact them.
const fewestDigits = 2 * widestNumbers

func newValues(secrets []string) values {
	v := values{window: widestNumbers, windows: map[string]struct{}{}, starts: map[string]struct{}{},
		quads: map[uint32]struct{}{}, bytes: map[string]struct{}{}, digitStarts: map[string]struct{}{}}
	for _, secret := range secrets {
		v.window = min(v.window, len(secret))
	}
	v.digits = newWords(min(fewestDigits, 2*v.window))
	for _, secret := range secrets {
		v.add(secret)
	}
	return v
}

func (v *values) add(secret string) {
	v.heads = append(v.heads, secret[:min(len(secret), 2*longestWord-1)])
	digits := hex.EncodeToString([]byte(secret))
	v.digits.add(digits)
	for i := 0; i+v.digits.window <= len(digits); i += 2 {
		v.bytes[digits[i:i+v.digits.window]] = struct{}{}
	}
	for k := 1; k < v.digits.window; k++ {
		v.digitStarts[digits[:k]] = struct{}{}
	}
	for k := 1; k < v.window; k++ {
		v.starts[secret[:k]] = struct{}{}
	}
	number := uint32(0)
	for i, b := range []byte(secret) {
		number = number>>8 | uint32(b)<<24
		v.has[b] = true
		if i >= 1 {
			v.pairs[number>>16] = true
		}
		if i >= 3 {
			v.quads[number] = struct{}{}
		}
		if i+v.window <= len(secret) {
			v.windows[secret[i:i+v.window]] = struct{}{}
		}
	}
}

// A way of reading numbers as bytes is a base, a size of one, two, four or eight bytes, and an order of the bytes in a
// word. A set of ways has a bit for each: eight for each base, two for each size.
type ways uint64

// The bases. One that is signed takes the sign for one, and not for what divides two numbers.
const (
	twos = iota
	octal
	decimal
	signed
	hexadecimals
	bases
)

// bySize has all ways of each size, of one, two, four and eight bytes.
var bySize = [4]ways{3 * each8, 3 << 2 * each8, 3 << 4 * each8, 3 << 6 * each8}

// each8 is one bit of each base.
const each8 ways = 1 | 1<<8 | 1<<16 | 1<<24 | 1<<32

// number is one that stands in a text, in each base of which it has only digits.
type number struct {
	// digits is where those begin, behind 0x and the like.
	from, digits, to int
	values           [bases]uint64
	valid            [bases]bool
	// hexadecimal and binary are set if it can be read so, however long it is.
	hexadecimal, binary bool
	// negative is set if a sign stands before it.
	negative bool
}

// longest is how many digits a number of eight bytes has in each base.
var longest = [bases]int{twos: 64, octal: 22, decimal: 20, signed: 19, hexadecimals: 16}

// read reads digits, of which all are hexadecimal, in one base, or in every one that they can have if it is bases.
func (n *number) read(digits []byte, only int) {
	n.hexadecimal = only == bases || only == hexadecimals
	n.binary = (only == bases || only == twos) && isBinary(digits)
	for len(digits) > 1 && digits[0] == '0' {
		digits = digits[1:]
	}
	if len(digits) > longest[twos] || len(digits) > longest[octal] && digits[1] > '1' {
		return
	}
	var largest byte
	var two, eight, ten, sixteen uint64
	for _, c := range digits {
		d := digitValue(c)
		largest = max(largest, d)
		two, eight, ten, sixteen = two<<1|uint64(d), eight<<3|uint64(d), ten*10+uint64(d), sixteen<<4|uint64(d)
	}
	n.values = [bases]uint64{twos: two, octal: eight, decimal: ten, signed: ten, hexadecimals: sixteen}
	for base, most := range [bases]byte{twos: 1, octal: 7, decimal: 9, signed: 9, hexadecimals: 15} {
		n.valid[base] = len(digits) <= longest[base] && largest <= most && (only == bases || only == base)
	}
}

// as puts the bytes that the number stands for in one way; nil if it is none.
func (n *number) as(space []byte, base, size, order int) []byte {
	value, length := n.values[base], 1<<size
	if !n.valid[base] {
		return nil
	}
	if base == signed && n.negative {
		if value > 1<<(8*length-1) {
			return nil
		}
		value = -value & (1<<(8*length) - 1)
	}
	if length < 8 && value>>(8*length) != 0 {
		return nil
	}
	at := len(space)
	for range length {
		space = append(space, byte(value))
		value >>= 8
	}
	if order == 1 {
		slices.Reverse(space[at:])
	}
	return space
}

func isBinary(digits []byte) bool {
	for _, c := range digits {
		if c&^1 != '0' {
			return false
		}
	}
	return true
}

// plausible are the ways in which a number can be of a secret. Words that are of one in a part alone are left to
// those beside them.
func (v *values) plausible(n *number) (all ways) {
	for base := range bases {
		switch value := n.values[base]; {
		case !n.valid[base]:
		case base == signed && !n.negative:
			all |= all >> (8 * decimal) & 0xff << (8 * signed)
		case base == signed:
			for size := range 4 {
				length := 8 << size
				all |= v.word(-value&(1<<length-1)) & (3 << (2 * size)) << (8 * base)
			}
		default:
			all |= v.word(value) << (8 * base)
		}
	}
	return all
}

// word are the sizes and orders in which a word can be of a secret.
func (v *values) word(value uint64) ways {
	switch {
	case value < 1<<8:
		return either(v.has[value], false, 0)
	case value < 1<<16:
		return either(v.pairs[value], v.pairs[bits.ReverseBytes16(uint16(value))], 1)
	case value < 1<<32:
		return either(v.edge(value, 4), v.edge(uint64(bits.ReverseBytes32(uint32(value))), 4), 2)
	}
	return either(v.edge(value, 8), v.edge(bits.ReverseBytes64(value), 8), 3)
}

func either(little, big bool, size int) (all ways) {
	if little {
		all |= 1 << (2 * size)
	}
	if big {
		all |= 2 << (2 * size)
	}
	return all
}

// edge reports whether the first or the last bytes of a word are of a secret: as many as at least one of two words
// has that a window stands in.
func (v *values) edge(word uint64, size int) bool {
	if v.window < widestNumbers {
		return v.pairs[word&0xffff] || v.pairs[word>>(8*(size-2))]
	}
	_, first := v.quads[uint32(word)]
	_, last := v.quads[uint32(word>>(8*(size-4)))]
	return first || last
}
