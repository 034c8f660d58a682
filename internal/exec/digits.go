// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package exec

import "slices"

// lookAtDigits looks for hexadecimal digits in groups of any size, with anything between that is no letter.
func (d *dump) lookAtDigits(from, to int) {
	d.digits = d.digits[:0]
	if to-from < d.values.digits.window && to < d.open {
		return
	}
	d.digits, d.digitsFrom = slices.Grow(d.digits[:0], to-from+lookahead)[:to-from+1], from
	digits, n, before := d.digits, 0, byte(0)
	for _, c := range d.text[from:to] {
		digits[n] = c | 0x20&(c>>1) // a letter in lower case
		n += int(d.signs[c]&digitSign) / int(digitSign)
		if c|0x20 == 'x' && before == '0' {
			n-- // the nought of 0x
		}
		before = c
	}
	d.digits = digits[:n]
	window, digit, place := d.values.digits.window, 0, d.nextDigit(from)
	d.values.digits.find(d.digits, func(at int) {
		if _, whole := d.values.bytes[string(d.digits[at:at+window])]; !whole {
			return
		}
		for ; digit < at; digit++ {
			place = d.nextDigit(place + 1)
		}
		end := place
		for range window - 1 {
			end = d.nextDigit(end + 1)
		}
		d.redact(place, end+1, false)
	})
}

// nextDigit is where the next hexadecimal digit stands, not before i, that is not the nought of 0x.
func (d *dump) nextDigit(i int) int {
	for ; i < len(d.text); i++ {
		nought := d.text[i] == '0' && i+1 < len(d.text) && d.text[i+1]|0x20 == 'x'
		if d.signs[d.text[i]]&digitSign != 0 && !nought {
			break
		}
	}
	return i
}

// digitAt is where the last but so many of the digits stands.
func (d *dump) digitAt(last int) int {
	place := d.nextDigit(d.digitsFrom)
	for range len(d.digits) - last {
		place = d.nextDigit(place + 1)
	}
	return place
}

// begins is where what may be the beginning of a secret begins at the text's end, or a number that can be the next
// byte of one that was redacted, and how many bytes are there.
func (d *dump) begins() (from, count int) {
	if d.known {
		return d.from, d.count
	}
	from = d.open
	if d.redacted > 0 && d.redacted < from && d.goesOn(d.redacted) {
		from = d.redacted
	}
	for i := range d.lanes {
		l := &d.lanes[i]
		at, k := d.beginning(l)
		from, count = min(from, at), max(count, k)
		for kind := range kinds {
			at, k := d.startOfChain(l, kind)
			from, count = min(from, at), max(count, k)
		}
	}
	if count < telling && d.openTells(count) {
		count = telling
	}
	d.from, d.count = d.beginsDigits(from, count)
	d.known = true
	return d.from, d.count
}

// beginsDigits is begins for hexadecimal digits in groups of any size.
func (d *dump) beginsDigits(from, count int) (int, int) {
	for k := min(len(d.digits), d.values.digits.window-1); k > 0; k-- {
		if _, known := d.values.digitStarts[string(d.digits[len(d.digits)-k:])]; known {
			return min(from, d.digitAt(k)), max(count, k/2)
		}
	}
	return from, count
}

// beginning is begins in one lane.
func (d *dump) beginning(l *lane) (from, count int) {
	from = len(d.text)
	if len(l.numbers) == 0 {
		return from, 0
	}
	var word [longestWord]byte
	end := &d.numbers[l.numbers[len(l.numbers)-1]]
	for way := range 8 * bases {
		base, size, order := way/8, way%8/2, way%2
		last := end.as(word[:0], base, size, order)
		for len(last) > 0 && last[len(last)-1] == 0 && !d.values.has[0] {
			last = last[:len(last)-1]
		}
		if len(last) == 0 || !d.values.has[last[len(last)-1]] {
			continue
		}
		d.read(l, base, size, order, true)
		for k := min(d.values.window-1, len(d.space)); k > 0; k-- {
			if _, known := d.values.starts[string(d.space[len(d.space)-k:])]; known {
				from, count = min(from, d.places[len(d.space)-k].from), max(count, k)
				break
			}
		}
	}
	return from, count
}

// goesOn reports whether nothing but numbers, and what divides them, stands between a place and the end.
func (d *dump) goesOn(from int) bool {
	for i := from; i < len(d.text); i++ {
		if d.isForeign(i) {
			return false
		}
	}
	return true
}
