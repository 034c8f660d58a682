// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package exec

import (
	"math/bits"
	"slices"
)

// Hexadecimal and binary digits tell how many bytes they stand for. Words of such digits are therefore read as they are
// long, so that it does not matter of which size they are, and whether the last one of a line is full. There are kinds
// ways of doing so.
const (
	hexForward = iota
	hexBackward
	binaryForward
	binaryBackward
	kinds
)

// chain is how many of a lane's bytes in a row, up to the last one, can be of a secret, if not more than a window has:
// any two that stand side by side do so in a secret.
type chain struct{ last, length uint8 }

// word is a number that is read in one of the kinds.
type word struct {
	digits []byte
	// size is how many bytes it has, width how many digits each of them has, as a power of two. Only the first digits of
	// the word can be fewer.
	size     int
	width    uint8
	backward bool
}

func newWord(digits []byte, kind int) word {
	w := word{digits: digits, width: 1, backward: kind == hexBackward || kind == binaryBackward}
	if kind >= binaryForward {
		w.width = 3
	}
	w.size = (len(digits) + 1<<w.width - 1) >> w.width
	return w
}

// place is where the digits of a byte stand.
func (w *word) place(i int) (from, to int) {
	if w.backward {
		i = w.size - 1 - i
	}
	to = len(w.digits) - (w.size-1-i)<<w.width
	return max(0, to-1<<w.width), to
}

func (w *word) at(i int) (value byte) {
	from, to := w.place(i)
	for _, c := range w.digits[from:to] {
		value = value<<(8>>w.width) | digitValue(c)
	}
	return value
}

// decode appends all bytes, the first one first in the order of the digits.
func (w *word) decode(space []byte) []byte {
	digits, each := w.digits, 1<<w.width
	for first := len(digits) - (w.size-1)*each; len(digits) > 0; first = each {
		value := byte(0)
		for _, c := range digits[:first] {
			value = value<<(8>>w.width) | digitValue(c)
		}
		space, digits = append(space, value), digits[first:]
	}
	return space
}

// digitValue is without a branch: nobody can guess whether a digit is a letter.
func digitValue(c byte) byte { return c&0xf + 9*(c>>6) }

// link is what a word adds to a chain: its first and last byte, and how many bytes at its beginning and at its end can
// be of a secret.
type link struct {
	first, last byte
	head, tail  int
	// whole is set if head is all of it, inner if enough bytes within it may be of a secret.
	whole, inner bool
}

func (v *values) pair(first, second byte) bool { return v.pairs[int(first)|int(second)<<8] }

func (v *values) linkOf(word []byte) (l link) {
	size := len(word)
	l.first, l.last = word[0], word[size-1]
	if v.has[l.first] {
		for l.head = 1; l.head < size && v.pair(word[l.head-1], word[l.head]); {
			l.head++
		}
	}
	l.whole = l.head == size
	if v.has[l.last] {
		for l.tail = 1; l.tail < size && v.pair(word[size-l.tail-1], word[size-l.tail]); {
			l.tail++
		}
	}
	// Every window within the word has one of these pairs.
	for i := v.window - 1; i < size && !l.inner; i += v.window - 1 {
		l.inner = v.pair(word[i-1], word[i])
	}
	return l
}

// linkOfShort is linkOf for a word of at most eight bytes, of which the first is the highest.
func (v *values) linkOfShort(value uint64, size int) (l link) {
	l.first, l.last = byte(value>>(8*(size-1))), byte(value)
	if v.has[l.first] {
		at := 8 * (size - 1)
		for l.head = 1; at > 0 && v.pair(byte(value>>at), byte(value>>(at-8))); at -= 8 {
			l.head++
		}
	}
	l.whole = l.head == size
	if v.has[l.last] {
		at := 0
		for l.tail = 1; l.tail < size && v.pair(byte(value>>(at+8)), byte(value>>at)); at += 8 {
			l.tail++
		}
	}
	l.inner = l.head >= v.window || l.tail >= v.window || size > v.window
	return l
}

// join adds a word, and reports whether enough bytes that end in it may be of a secret.
func (c *chain) join(l *link, v *values) bool {
	length := l.head
	if length > 0 && c.length > 0 && v.pair(c.last, l.first) {
		length += int(c.length)
	}
	left := l.tail
	if l.whole {
		left = length
	}
	*c = chain{l.last, uint8(min(left, v.window))} //nolint:gosec // a window has at most eight bytes
	return length >= v.window || l.inner
}

// linksOf fills links with those of a number, of each kind that it can be read in. It reports whether any of them can
// be of a secret.
func (d *dump) linksOf(n *number) bool {
	length := n.to - n.digits
	hex := n.hexadecimal && d.values.mayLink(n.values[hexadecimals], (length+1)/2)
	binary := n.binary && d.values.mayLink(n.values[twos], (length+7)/8)
	if hex && length <= 2 {
		b := byte(n.values[hexadecimals])
		d.links[hexForward] = link{first: b, last: b, head: 1, tail: 1, whole: true}
		d.links[hexBackward] = d.links[hexForward]
	} else if hex {
		hex = d.linkBoth(n, hexForward, n.values[hexadecimals])
	}
	if binary {
		binary = d.linkBoth(n, binaryForward, n.values[twos])
	}
	d.linked = [2]bool{hex, binary}
	return hex || binary
}

// mayLink reports whether a word of so many bytes has to be looked at. Only of short ones the value is known.
func (v *values) mayLink(value uint64, size int) bool {
	return size > v.window || v.has[byte(value)] || v.has[byte(value>>(8*(size-1)&63))]
}

// linkBoth fills links in one kind and the next one, which is that of the other order.
func (d *dump) linkBoth(n *number, kind int, value uint64) bool {
	forward, backward := &d.links[kind], &d.links[kind+1]
	if w := newWord(d.text[n.digits:n.to], kind); w.size > longestWord {
		d.space = w.decode(d.space[:0])
		*forward = d.values.linkOf(d.space)
		slices.Reverse(d.space)
		*backward = d.values.linkOf(d.space)
	} else {
		*forward = d.values.linkOfShort(value, w.size)
		*backward = d.values.linkOfShort(bits.ReverseBytes64(value)>>(8*(longestWord-w.size)), w.size)
	}
	return forward.alive() || backward.alive()
}

func (l *link) alive() bool { return l.head > 0 || l.tail > 0 || l.inner }

// extend adds the last number of a lane to its chains, and looks for secrets that end in it.
func (d *dump) extend(l *lane) {
	for kind := 0; kind < kinds; kind += 2 {
		forward, backward := &l.chains[kind], &l.chains[kind+1]
		if !d.linked[kind/2] {
			*forward, *backward = chain{}, chain{}
			continue
		}
		// A word of one byte is the same in both orders.
		single := d.links[kind].whole && d.links[kind].head == 1
		alike := single && *forward == *backward
		if forward.join(&d.links[kind], &d.values) {
			d.checkChain(l, kind)
		}
		if alike {
			*backward = *forward
		} else if backward.join(&d.links[kind+1], &d.values) {
			d.checkChain(l, kind+1)
		}
	}
}

func (d *dump) checkChain(l *lane, kind int) {
	window := d.values.window
	last := &d.numbers[l.numbers[len(l.numbers)-1]]
	d.readChain(l, kind, newWord(d.text[last.digits:last.to], kind).size+window-1)
	for at := 0; at+window <= len(d.space); at++ {
		if _, known := d.values.windows[string(d.space[at:at+window])]; known {
			all := around(d.places[at : at+window])
			d.redact(all.from, all.to, l.marked)
		}
	}
}

// readChain reads the last words of a lane, until they have so many bytes. Where each of them stands is in places.
func (d *dump) readChain(l *lane, kind, least int) {
	d.space, d.places = d.space[:0], d.places[:0]
	for i := len(l.numbers) - 1; i >= 0 && len(d.space) < least; i-- {
		n := &d.numbers[l.numbers[i]]
		if !n.hexadecimal && kind < binaryForward || !n.binary && kind >= binaryForward {
			break
		}
		w := newWord(d.text[n.digits:n.to], kind)
		for k := w.size - 1; k >= 0; k-- {
			from, to := w.place(k)
			if from == 0 {
				from -= n.digits - n.from // with what stands before the first digit
			}
			d.space, d.places = append(d.space, w.at(k)), append(d.places, span{n.digits + from, n.digits + to})
		}
	}
	slices.Reverse(d.space)
	slices.Reverse(d.places)
}

// around is the stretch that has all of some.
func around(places []span) span {
	all := places[0]
	for _, one := range places {
		all = span{min(all.from, one.from), max(all.to, one.to)}
	}
	return all
}

// startOfChain is where the beginning of a secret begins that a chain may end with, and how many bytes it has.
func (d *dump) startOfChain(l *lane, kind int) (from, count int) {
	from = len(d.text)
	if l.chains[kind].length == 0 {
		return from, 0
	}
	d.readChain(l, kind, d.values.window-1)
	for k := min(d.values.window-1, len(d.space)); k > 0; k-- {
		if _, known := d.values.starts[string(d.space[len(d.space)-k:])]; known {
			return around(d.places[len(d.places)-k:]).from, k
		}
	}
	return from, 0
}
