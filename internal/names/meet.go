// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package names

import "strings"

// set is a set of bytes.
type set [4]uint64

func (s *set) add(b byte)       { s[b/64] |= 1 << (b % 64) }
func (s set) holds(b byte) bool { return s[b/64]&(1<<(b%64)) != 0 }

func (s set) meets(other set) bool {
	for i := range s {
		if s[i]&other[i] != 0 {
			return true
		}
	}
	return false
}

func setOf(chars string) (s set) {
	for i := range len(chars) {
		s.add(chars[i])
	}
	return s
}

const (
	small  = "abcdefghijklmnopqrstuvwxyz"
	digits = "0123456789"
)

// letters are the characters that a value can hold: of a repository, those of one part.
var letters = map[string]set{
	"repo":        setOf(small + strings.ToUpper(small) + digits + "._-"),
	"environment": setOf(small + strings.ToUpper(small) + digits + "_-"),
	"namespace":   setOf(small + digits + "-"),
}

// anything is what a wildcard stands for.
var anything = set{^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)}

// step is one character of a text, out of a set, or any number of them.
type step struct {
	set    set
	repeat bool
}

// spell is a pattern as steps: each value as what it can hold, each * as anything. A repository has so many parts, or
// any number if parts is 0.
func spell(pattern string, parts int) []step {
	var all []step
	done := 0
	for _, at := range valueForm.FindAllStringSubmatchIndex(pattern, -1) {
		all = append(all, spellText(pattern[done:at[0]])...)
		all = append(all, spellValue(pattern[at[2]:at[3]], parts)...)
		done = at[1]
	}
	return append(all, spellText(pattern[done:])...)
}

func spellText(text string) []step {
	all := make([]step, len(text))
	for i := range len(text) {
		all[i] = step{set: setOf(text[i : i+1])}
		if text[i:i+1] == Any {
			all[i] = step{anything, true}
		}
	}
	return all
}

func spellValue(value string, parts int) []step {
	chars := letters[value]
	if value == "repo" && parts == 0 {
		chars.add('/')
	}
	all := []step{{set: chars}, {chars, true}}
	for n := 1; value == "repo" && n < parts; n++ {
		all = append(all, step{set: setOf("/")}, step{set: chars}, step{chars, true})
	}
	return all
}

// Overlap reports whether some name could be meant by two patterns, without case and taking a star for any characters.
func Overlap(a, b string) bool {
	return meet(spellText(strings.ToLower(a)), spellText(strings.ToLower(b)))
}

// meet reports whether some text fits both.
func meet(a, b []step) bool {
	type at struct{ a, b int }
	seen, open := map[at]bool{}, []at{{}}
	visit := func(next at) {
		if !seen[next] {
			seen[next] = true
			open = append(open, next)
		}
	}
	for len(open) > 0 {
		now := open[len(open)-1]
		open = open[:len(open)-1]
		if now.a == len(a) && now.b == len(b) {
			return true
		}
		if now.a < len(a) && a[now.a].repeat {
			visit(at{now.a + 1, now.b})
		}
		if now.b < len(b) && b[now.b].repeat {
			visit(at{now.a, now.b + 1})
		}
		if now.a < len(a) && now.b < len(b) && a[now.a].set.meets(b[now.b].set) {
			visit(at{after(a, now.a), after(b, now.b)})
		}
	}
	return false
}

// after is the step that follows when one more character is taken.
func after(steps []step, i int) int {
	if steps[i].repeat {
		return i
	}
	return i + 1
}
