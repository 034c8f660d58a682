// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package audit writes and verifies the audit log: one JSON object a line, each carrying the hash of the one before.
//
// The hash of a record is the SHA-256, in hexadecimal, of the record's own line without the member "hash". That line holds the
// hash of the record before it as "prev" (64 zeros for the first), and its number in the chain as "seq", counted from 1. A chain
// belongs to one "writer" and goes on across restarts and rotations. Whoever can write the file can compute hashes too: what
// shows a log that was rewritten, or whose tail was cut off, is the anchor that each grant's status keeps of its last record.
package audit
