// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package inquiry

import (
	"regexp"
	"strings"
)

// unmatched matches what the API server says of a value that does not fit its field's pattern.
var unmatched = regexp.MustCompile(`\S+ in body should match '(\^[^']*\$)'`)

// InWords returns what the API server says of an invalid request, with what to write in the place of each regular
// expression, and without the <nil> that stands for the whole object.
func InWords(message string) string {
	message = strings.ReplaceAll(message, "<nil>: ", "")
	return unmatched.ReplaceAllStringFunc(message, func(found string) string {
		if words := wordsFor(unmatched.FindStringSubmatch(found)[1]); words != "" {
			return "allowed are " + words
		}
		return found
	})
}

// wordsFor says what a pattern of a request's field allows; it is empty for other patterns.
func wordsFor(pattern string) string {
	switch pattern {
	case `^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`:
		return "lower case letters, digits, and dots and dashes between them"
	case `^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`:
		return "lower case letters, digits, and dashes between them"
	case `^[A-Za-z0-9][A-Za-z0-9._/#:@+-]*$`:
		return "letters, digits and . _ / # : @ + -, with a letter or a digit first"
	case `^[\p{L}\p{M}\p{N}\p{P}\p{S}\p{Zs}]*$`:
		return "characters that print, on one line"
	case `^[0-9a-f]{64}$`:
		return "64 hexadecimal digits"
	}
	return ""
}
