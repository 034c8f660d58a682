// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package names

import "strings"

// Any is the pattern that stands for any name, with slashes too.
const Any = "*"

// Match reports whether pattern matches the whole of name. In a pattern, * stands for any run of characters but a
// slash; every other character stands for itself. A pattern that is nothing but * matches any name.
func Match(pattern, name string) bool {
	if pattern == Any {
		return true
	}
	if !strings.Contains(pattern, "*") {
		return pattern == name
	}
	for {
		p, restOfPattern, morePattern := strings.Cut(pattern, "/")
		n, restOfName, moreName := strings.Cut(name, "/")
		if morePattern != moreName || !matchSegment(p, n) {
			return false
		}
		if !morePattern {
			return true
		}
		pattern, name = restOfPattern, restOfName
	}
}

// matchSegment matches what stands between two slashes. Between the first and the last star, the earliest place for
// each literal leaves the most room for those that follow, so no place has to be tried twice.
func matchSegment(pattern, name string) bool {
	first, rest, starred := strings.Cut(pattern, "*")
	if !starred {
		return pattern == name
	}
	if !strings.HasPrefix(name, first) {
		return false
	}
	name = name[len(first):]
	for {
		literal, after, more := strings.Cut(rest, "*")
		if !more {
			return strings.HasSuffix(name, literal)
		}
		at := strings.Index(name, literal)
		if at < 0 {
			return false
		}
		name, rest = name[at+len(literal):], after
	}
}
