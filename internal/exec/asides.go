// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package exec

import "bytes"

// answer is what is known about a text.
type answer int

const (
	no answer = iota
	yes
	maybe
)

// aside reports whether at a quote something begins that is no byte, and where it ends: a member's name in JSON that
// is a number, {"0":119,"1":74}, or a single character, 119 'w'.
func aside(text []byte, i int) (end int, is answer) {
	if text[i] == '\'' {
		return character(text, i)
	}
	end = i + 1
	for end < len(text) && text[end] >= '0' && text[end] <= '9' {
		end++
	}
	rest := text[end:]
	switch {
	case bytes.HasPrefix(rest, []byte(`":`)):
		return end + 1, yes
	case len(rest) == 0 || len(rest) == 1 && rest[0] == '"':
		return end, maybe
	}
	return i, no
}

// character is where a character ends that is quoted alone, as it is or as an escape.
func character(text []byte, i int) (end int, is answer) {
	rest := text[i+1 : min(len(text), i+longestCharacter)]
	if len(rest) > 1 && rest[0] != '\\' && rest[1] == '\'' {
		return i + 2, yes
	}
	if len(rest) > 2 && rest[0] == '\\' {
		if end := bytes.IndexByte(rest[2:], '\''); end >= 0 {
			return i + 3 + end, yes
		}
	}
	if i+1+len(rest) == len(text) && len(rest) < longestCharacter-1 && bytes.IndexByte(rest, '\n') < 0 {
		return i, maybe
	}
	return i, no
}

// longestCharacter is how many bytes a character takes that is quoted alone: '\377'.
const longestCharacter = 6
