// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package visible

import (
	"fmt"
	"strings"
)

const (
	// longestName is how many bytes a name can have that is written as it is: as many as that of an object of Kubernetes.
	longestName = 253
	// longestQuote is how many characters of any other name are written.
	longestQuote = 100
)

// Name returns a name that somebody else chose as it stands in a sentence of the program's own. A name that is made of
// letters and digits of ASCII and of the signs that names of users, roles and paths have is returned as it is. Of any
// other one, such as one with blanks, the beginning is returned, quoted and in ASCII, so that nobody takes it for words of
// the sentence. Two names can become the same, so that Name is for messages alone.
func Name(name string) string {
	if isPlain(name) {
		return name
	}
	quoted := fmt.Sprintf("%+.*q", longestQuote, name)
	if len([]rune(name)) > longestQuote {
		quoted += "…"
	}
	return quoted
}

// Names is Name for each name of a list.
func Names(names []string) []string {
	all := make([]string, len(names))
	for i, name := range names {
		all[i] = Name(name)
	}
	return all
}

// isPlain reports whether a name has nothing that a sentence has, but letters and digits.
func isPlain(name string) bool {
	return name != "" && len(name) <= longestName && !strings.ContainsFunc(name, func(r rune) bool {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		return !letter && !strings.ContainsRune("._:/@*+~-", r)
	})
}
