// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"regexp/syntax"
	"slices"
	"strings"
	"unicode"
)

// plain reports whether a regular expression, in the syntax of RE2, says which names it means, and not which it does not
// mean: it is made of texts, of any character, and of classes that leave no single characters out.
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

// few reports whether a class of characters leaves no single ones out: of the small letters, the capitals and the digits,
// it has all of a kind or at most half of it, and nothing that is not ASCII. The list has the first and the last
// character of each range.
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
