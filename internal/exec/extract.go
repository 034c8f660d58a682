// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package exec

import (
	"slices"
	"sort"
)

// blockSize is how many bytes of the text stand between two places that are known.
const blockSize = 64

// extract is a text of which only the bytes with one sign are left.
type extract struct {
	sign  sign
	bytes []byte
	// blocks is how much of it stands before each block of the text.
	blocks []int
}

// room makes room for a text.
func (s *extract) room(length int) {
	s.bytes, s.blocks = slices.Grow(s.bytes[:0], length+lookahead)[:length+lookahead], s.blocks[:0]
}

// fill makes two of a text, one without blanks, and one of letters and digits.
func fill(solid, core *extract, text []byte, signs *[256]sign) {
	solid.room(len(text))
	core.room(len(text))
	n, m, first, second := 0, 0, solid.bytes, core.bytes
	for block := range slices.Chunk(text, blockSize) {
		solid.blocks, core.blocks = append(solid.blocks, n), append(core.blocks, m)
		for _, c := range block {
			first[n], second[m] = c, c
			sign := signs[c]
			n += int(sign & solidSign)
			m += int(sign & coreSign >> coreShift)
		}
	}
	solid.bytes, core.bytes = first[:n], second[:m]
}

// place is where in the text a byte of the extract stands.
func (s *extract) place(i int, text []byte, signs *[256]sign) int {
	block := sort.Search(len(s.blocks), func(b int) bool { return s.blocks[b] > i }) - 1
	at := block * blockSize
	for left := i - s.blocks[block]; ; at++ {
		if signs[text[at]]&s.sign == 0 {
			continue
		}
		if left == 0 {
			return at
		}
		left--
	}
}

// only leaves the bytes of a form that have a sign.
func (p *patterns) only(form string, kept sign) string {
	b := make([]byte, 0, len(form))
	for i := range len(form) {
		if p.signs[form[i]]&kept != 0 {
			b = append(b, form[i])
		}
	}
	return string(b)
}

// search is one way of comparing: the words that are looked for in what is left of a text by a sign, and their
// beginnings, which are shorter than a window.
type search struct {
	*words
	sign   sign
	starts map[string]struct{}
}

// newSearch makes it of words that are not shorter than so many bytes.
func newSearch(kept sign, least int, all map[string]struct{}) *search {
	window := widest
	for word := range all {
		if len(word) >= least {
			window = min(window, len(word))
		}
	}
	s := &search{words: newWords(window), sign: kept, starts: map[string]struct{}{}}
	for word := range all {
		if len(word) < least {
			continue
		}
		s.add(word)
		for k := 1; k < window; k++ {
			s.starts[word[:k]] = struct{}{}
		}
	}
	return s
}

// starting is how many bytes at the end of a text may be the beginning of a word.
func (s *search) starting(text []byte) int {
	for k := min(s.window-1, len(text)); k > 0; k-- {
		if _, known := s.starts[string(text[len(text)-k:])]; known {
			return k
		}
	}
	return 0
}
