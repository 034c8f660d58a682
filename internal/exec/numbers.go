// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package exec

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// values are the secrets byte by byte.
type values struct {
	window int
	// windows are all windows of the secrets, starts their beginnings, which are shorter.
	windows, starts map[string]struct{}
	// has is set of the bytes that any secret has.
	has [256]bool
	// digits are those of the secrets' bytes, in each way in which they can be written.
	digits *words
}

// fewestDigits is how many digits of a secret, in one line, are looked for.
const fewestDigits = 16

func newValues(secrets []string) values {
	v := values{window: widestNumbers, windows: map[string]struct{}{}, starts: map[string]struct{}{}}
	fewest := fewestDigits
	for _, secret := range secrets {
		v.window = min(v.window, len(secret))
		fewest = min(fewest, 2*len(secret))
	}
	v.digits = newWords(fewest)
	for _, secret := range secrets {
		for _, written := range digitsOf(secret) {
			v.digits.add(written)
		}
		for k := 1; k < v.window; k++ {
			v.starts[secret[:k]] = struct{}{}
		}
		for i := 0; i+v.window <= len(secret); i++ {
			v.windows[secret[i:i+v.window]] = struct{}{}
		}
		for _, b := range []byte(secret) {
			v.has[b] = true
		}
	}
	return v
}

// digitsOf are the digits of a secret's bytes: each for itself, behind 0x, and in words of two, four and eight,
// wherever the first begins.
func digitsOf(secret string) []string {
	var all []string
	for _, format := range []string{"%02x", "0%02x", "%d", "%03o", "%08b"} {
		var b strings.Builder
		for i := range len(secret) {
			fmt.Fprintf(&b, format, secret[i])
		}
		all = append(all, b.String())
	}
	for _, size := range []int{2, 4, 8} {
		for from := range size {
			var hexadecimal, octal, decimal strings.Builder
			for word := range slices.Chunk([]byte(secret[min(from, len(secret)):]), size) {
				word = slices.Clone(word)
				slices.Reverse(word)
				fmt.Fprintf(&hexadecimal, "%x", word)
				if size == 2 && len(word) == 2 {
					number := int(word[0])<<8 | int(word[1])
					fmt.Fprintf(&octal, "%06o", number)
					fmt.Fprintf(&decimal, "%05d", number)
				}
			}
			all = append(all, hexadecimal.String(), octal.String(), decimal.String())
		}
	}
	return all
}

// reading is one way of reading numbers as bytes. The last bytes that can be a part of a secret are kept, with their
// places.
type reading struct {
	bytes    []byte
	from, to []int
	// begun is set once the present line has bytes, over once something else stands behind them. width is how many
	// digits the last number has.
	begun, over bool
	width       int
}

// The ways of reading. Words of several bytes are written in either order.
const (
	bigEndian = iota
	littleEndian
	decimal
	octal
	bits
	ways
)

// bytesOf reads a number in one way; nil if it is none.
func bytesOf(space []byte, way int, digits []byte, prefixed bool) []byte {
	base, size := 16, len(digits)/2
	switch length := len(digits); {
	case (way == bigEndian || way == littleEndian && length > 2) && length%2 == 0 && length <= 16:
	case prefixed:
		return nil
	case way == decimal && length <= len("255"):
		base, size = 10, 1
	case way == decimal && length == len("65535"):
		base, size = 10, 2
	case way == octal && (length == len("377") || length == len("0377") && digits[0] == '0'):
		base, size = 8, 1
	case way == octal && length == len("177777"):
		base, size = 8, 2
	case way == bits && length == 8:
		base, size = 2, 1
	default:
		return nil
	}
	number, err := strconv.ParseUint(string(digits), base, 8*size)
	if err != nil {
		return nil
	}
	for range size {
		space = append(space, byte(number))
		number >>= 8
	}
	if way == bigEndian {
		slices.Reverse(space)
	}
	return space
}

// size is how many bytes a number stands for.
func size(digits []byte) int {
	const byBits, bySixteen = 8, 4
	switch {
	case len(digits) < bySixteen || len(digits) == byBits && len(bytes.Trim(digits, "01")) == 0:
		return 1
	case len(digits) == len("65535") || len(digits) == len("177777"):
		return 2
	}
	return len(digits) / 2
}

func (r *reading) clear() { r.bytes, r.from, r.to = r.bytes[:0], r.from[:0], r.to[:0] }

func (r *reading) keep(n int) {
	at := len(r.bytes) - n
	r.bytes = append(r.bytes[:0], r.bytes[at:]...)
	r.from, r.to = append(r.from[:0], r.from[at:]...), append(r.to[:0], r.to[at:]...)
}
