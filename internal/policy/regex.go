// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"regexp/syntax"
	"slices"
	"strings"
	"unicode"
)

// plain reports whether a regular expression, in the syntax of RE2, asks for what it means, and does not leave out what
// it does not: it is made of texts, any character, and characters of which there are some.
func plain(expression string) bool {
	parsed, err := syntax.Parse(expression, syntax.Perl)
	return err == nil && asksPlainly(parsed)
}

func asksPlainly(e *syntax.Regexp) bool {
	switch e.Op {
	case syntax.OpCharClass:
		return few(e.Rune)
	case syntax.OpEmptyMatch, syntax.OpLiteral, syntax.OpAnyChar, syntax.OpAnyCharNotNL, syntax.OpBeginText, syntax.OpEndText,
		syntax.OpBeginLine, syntax.OpEndLine, syntax.OpCapture, syntax.OpStar, syntax.OpPlus, syntax.OpQuest, syntax.OpRepeat,
		syntax.OpConcat, syntax.OpAlternate:
		return !slices.ContainsFunc(e.Sub, func(part *syntax.Regexp) bool { return !asksPlainly(part) })
	default:
		return false
	}
}

// alsoLetters are k and s without case, to Unicode.
const alsoLetters = "\u212a\u017f"

// few reports whether a class, a list of the first and the last of each range, leaves out nothing that it nearly has: of
// the letters in either case, and of the digits, it has all or no more than half, and beyond them nothing but ASCII.
func few(ranges []rune) bool {
	in := func(r rune) bool {
		for i := 0; i+1 < len(ranges); i += 2 {
			if ranges[i] <= r && r <= ranges[i+1] {
				return true
			}
		}
		return false
	}
	for i := 1; i < len(ranges); i += 2 {
		if ranges[i] > unicode.MaxASCII && !strings.ContainsRune(alsoLetters, ranges[i]) {
			return false
		}
	}
	for _, kind := range []struct{ first, last rune }{{'a', 'z'}, {'A', 'Z'}, {'0', '9'}} {
		all, has := int(kind.last-kind.first)+1, 0
		for r := kind.first; r <= kind.last; r++ {
			if in(r) {
				has++
			}
		}
		if has < all && 2*has > all {
			return false
		}
	}
	return true
}
