// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package exec

import "bytes"

// lane is one way of telling the numbers of a text that are data from those that stand between them. Nothing has to be
// known about the program that wrote it: where a lane leaves out what is data, another one does not.
type lane struct {
	// offsets leaves out the first number of each line, and whatever stands before a colon and a blank. columns leaves
	// out what repeats a line's bytes as characters, behind them. With columns alone, only lines that begin with a
	// number and a blank are read.
	offsets, columns bool

	// numbers are the data, as indices. runs says in which ways so many of them in a row, up to the last one, can be
	// of a secret.
	numbers []int32
	runs    [widestNumbers]ways
	// chains are of the last of them, in each kind.
	chains [kinds]chain
	// suspects are the ways in which enough of them are, with the last one; previous: with the one before it; before:
	// with one of the two before it. Those behind a full word need not be full.
	suspects, previous, before ways

	// Of the present line: how many numbers, and how many bytes they are if hexadecimal or binary; begun is set once
	// the first number was seen, over once no data follows, marked if the whole line goes: it has an offset of so many
	// digits, or begins with data, or the data stand once more as characters.
	taken, bytes, offset int
	begun, over, marked  bool
	// uneven is set if a number has neither a whole number of hexadecimal bytes nor of binary ones.
	uneven bool
	// atLine is the state at the line's beginning.
	atLine state
}

// state is what has to be undone when a part of a line turns out to be no data.
type state struct {
	runs               [widestNumbers]ways
	chains             [kinds]chain
	suspects, previous ways
	numbers            int
}

const (
	// leastOffset is how many digits a number has at least that is taken for an offset.
	leastOffset = 4
	// mostNumbers is how many numbers a secret's window can stand in, with those that it shares with others.
	mostNumbers = widestNumbers + 2
)

func (l *lane) clear() {
	*l = lane{offsets: l.offsets, columns: l.columns, numbers: l.numbers[:0]}
}

func (l *lane) newLine() {
	l.taken, l.bytes, l.offset, l.begun, l.over, l.marked, l.uneven = 0, 0, 0, false, false, false, false
	if l.offsets {
		l.atLine = state{l.runs, l.chains, l.suspects, l.previous, len(l.numbers)}
	}
}

// restart leaves out what the present line has up to here.
func (l *lane) restart() {
	s := &l.atLine
	l.runs, l.chains, l.suspects, l.previous, l.numbers = s.runs, s.chains, s.suspects, s.previous, l.numbers[:s.numbers]
	l.taken, l.bytes, l.offset, l.begun, l.over, l.marked, l.uneven = 0, 0, 0, true, false, true, false
}

// word is called for what is no number.
func (l *lane) word() { l.over = l.over || (l.offsets || l.columns) && l.taken > 0 }

// apart is called where a number stands too far from the last one.
func (l *lane) apart() {
	l.runs, l.suspects, l.previous, l.chains = [widestNumbers]ways{}, 0, 0, [kinds]chain{}
}

// take adds a number, unless it is the line's offset, and reports whether a secret may end with it or before it: it is
// plausible in some ways, and a full word in some of those. It is not called once the line's data are over.
func (l *lane) take(index, digits, bytes int, plausible, full ways, enough *[4]int) bool {
	if l.offsets && !l.begun {
		l.begun, l.offset = true, digits
		return false
	}
	if l.taken == 0 && l.offset >= leastOffset && l.offset != digits {
		l.marked = true
	}
	l.numbers = append(l.numbers, int32(index)) //nolint:gosec // a text has fewer
	l.taken++
	l.bytes += bytes
	l.uneven = l.uneven || digits%2 != 0
	l.before, l.previous, l.suspects = l.suspects|l.previous, l.suspects, 0
	if plausible|l.runs[0] == 0 {
		return l.before != 0
	}
	for k := widestNumbers - 1; k > 0; k-- {
		l.runs[k] = l.runs[k-1] & plausible
	}
	l.runs[0] = plausible
	for size, count := range enough {
		l.suspects |= l.runs[count-1] & bySize[size] & full
	}
	return l.suspects|l.before != 0
}

// bytesOf is how many bytes hexadecimal or binary digits stand for: other programs put marks around the characters.
func bytesOf(digits []byte) int {
	if const8 := 8; len(digits)%const8 == 0 && len(bytes.Trim(digits, "01")) == 0 {
		return len(digits) / const8
	}
	return (len(digits) + 1) / 2
}
