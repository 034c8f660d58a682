// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package kubernetes

// Known reports whether anything is known of a verb on a kind, for the tests that ask a real API server what it serves.
func Known(verb, group, resource string) bool {
	return known().find(verb, newKind(group, resource)) != nil
}
