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

// addDigits adds those of a lane's last number, and looks for secrets that end in it: groups of any size, of which the
// last one in a line need not be full.
func (d *dump) addDigits(l *lane, digits []byte) {
	if n := &d.numbers[len(d.numbers)-1]; !n.valid[hexadecimals] || len(digits)%2 != 0 {
		l.digits, l.of = l.digits[:0], l.of[:0]
		return
	}
	for _, c := range digits {
		l.digits = append(l.digits, c|0x20&(c>>1))
	}
	for range len(digits) / 2 {
		l.of = append(l.of, int32(len(d.numbers)-1)) //nolint:gosec // a text has fewer
	}
	first := byte(d.numbers[len(d.numbers)-1].values[hexadecimals] >> (4*len(digits) - 8))
	if !d.values.has[first] {
		return // every window that ends in this number has its first byte
	}
	window := d.values.digits.window
	for at := max(0, len(l.digits)-len(digits)-window+2); at+window <= len(l.digits); at += 2 {
		if _, known := d.values.bytes[string(l.digits[at:at+window])]; known {
			first, last := l.of[at/2], l.of[(at+window-1)/2]
			d.redact(d.numbers[first].from, d.numbers[last].to, l.marked)
		}
	}
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
		if k := d.startOf(l.digits); k > 0 {
			from, count = min(from, d.numbers[l.of[(len(l.digits)-k)/2]].from), max(count, k/2)
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
	if k := d.startOf(d.digits); k > 0 {
		return min(from, d.digitAt(k)), max(count, k/2)
	}
	return from, count
}

// startOf is how many of the last digits may be the beginning of a secret.
func (d *dump) startOf(digits []byte) int {
	for k := min(len(digits), d.values.digits.window-1); k > 0; k-- {
		if _, known := d.values.digitStarts[string(digits[len(digits)-k:])]; known {
			return k
		}
	}
	return 0
}

// beginning is begins in one lane.
func (d *dump) beginning(l *lane) (from, count int) {
	from = len(d.text)
	if len(l.numbers) == 0 {
		return from, 0
	}
	var word [8]byte
	end := &d.numbers[l.numbers[len(l.numbers)-1]]
	for way := range 8 * bases {
		base, size, order := way/8, way%8/2, way%2
		if last := end.as(word[:0], base, size, order); last == nil || !d.values.has[last[len(last)-1]] {
			continue
		}
		d.space = d.read(l, base, size, order)
		for k := min(d.values.window-1, len(d.space)); k > 0; k-- {
			if _, known := d.values.starts[string(d.space[len(d.space)-k:])]; known {
				number := len(l.numbers) - (k+1<<size-1)>>size
				from, count = min(from, d.numbers[l.numbers[number]].from), max(count, k)
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
