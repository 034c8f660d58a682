// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package exec

import (
	"bytes"
	"math"
	"math/bits"
)

const (
	// openingBits is how many bits of a secret the first digits of a number have to tell before they are held back,
	// together with the bytes before it: fewer than telling, and so many that other numbers hardly ever seem to.
	openingBits = 8 * (telling - 1)
	// longestWord is how many bytes the longest number stands for.
	longestWord = 8
)

// openTells reports whether the text ends within a number that tells a part of a secret, if it is a word of one's
// beginning, behind so many bytes of it. Such a number is held back like the beginning of a secret that is written as
// it is. Behind numbers that were redacted any digit may go on with them.
func (d *dump) openTells(begun int) bool {
	if d.open == len(d.text) || !isAlphanumeric(d.text[d.open]) {
		return false
	}
	least := openingBits - 8*begun
	if least <= 0 {
		return true
	}
	if d.redacted > 0 && d.redacted <= d.open && d.goesOn(d.redacted) {
		return true
	}
	n, digits, ok := d.numberAt(d.open, len(d.text))
	if !ok {
		return false
	}
	count := len(bytes.TrimLeft(digits, "0"))
	for base, radix := range [bases]uint64{twos: 2, octal: 8, decimal: 10, signed: 10, hexadecimals: 16} {
		if !n.valid[base] || n.negative != (base == signed) {
			continue
		}
		if d.values.opens(n.values[base], radix, longest[base]-count, n.negative, least) {
			return true
		}
	}
	return false
}

// opens reports whether a number of which the first digits are known, and up to so many are missing, can be a word of
// a secret's beginning.
func (v *values) opens(digits, radix uint64, missing int, negative bool, least int) bool {
	for first, last := digits, digits; digits > 0 && missing >= 0; missing-- {
		if v.between(first, last, negative, least) {
			return true
		}
		high, low := bits.Mul64(first, radix)
		if high > 0 {
			break
		}
		first = low
		if last > (math.MaxUint64-radix+1)/radix {
			last = math.MaxUint64
		} else {
			last = last*radix + radix - 1
		}
	}
	return false
}

// between reports whether a word of a secret's beginning, of eight or four bytes, lies between two numbers.
func (v *values) between(first, last uint64, negative bool, least int) bool {
	for size := longestWord; size >= longestWord/2; size /= 2 {
		largest := uint64(1)<<(8*size) - 1
		if first > largest {
			continue
		}
		from, to := first, min(last, largest)
		if negative {
			from, to = -to&largest, -from&largest
		}
		for _, head := range v.heads {
			for at := 1 - size; at < longestWord; at++ {
				if wordBetween(head, at, size, from, to, least) {
					return true
				}
			}
		}
	}
	return false
}

// wordBetween reports whether the word of a size that begins at a place of a text, or so many bytes before it, lies
// between two numbers, in either order of its bytes, and whether that tells so many bits of the text at least. Nothing
// is known of the bytes before and behind it.
func wordBetween(text string, at, size int, from, to uint64, least int) bool {
	begin, end := max(0, -at), min(size, len(text)-at)
	if 8*(end-begin) < least {
		return false
	}
	var little, big uint64
	for i := begin; i < end; i++ {
		little |= uint64(text[at+i]) << (8 * (i - begin))
		big = big<<8 | uint64(text[at+i])
	}
	mask := uint64(1)<<(8*(end-begin)) - 1
	lies := func(known uint64, unknown int) bool {
		first, width := from>>(8*unknown), to>>(8*unknown)-from>>(8*unknown)
		return width <= mask>>least && (known-first)&mask <= width
	}
	return lies(little, begin) || lies(big, size-end)
}
