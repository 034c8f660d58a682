// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package kubernetes

// Known reports whether anything is known of a verb on a kind, for the tests that ask a real API server what it serves.
func Known(verb, group, resource string) bool {
	return known().find(verb, newKind(group, resource)) != nil
}

// Opens reports whether a verb on a kind is known to open what goes on after the grant's end.
func Opens(verb, group, resource string) bool {
	return len(New(Options{}).opens(verb, newKind(group, resource))) > 0
}
