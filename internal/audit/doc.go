// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package audit writes and verifies the audit log.
//
// # The log
//
// A log is a file of JSON objects, one a line, and the older files that it was rotated into: audit.log is the present one,
// audit-000000000420.log is the one whose last record is number 420. A record never straddles two files. A record that Append
// returned an anchor for is on disk; it is printed to standard output, too.
//
// # The chain
//
// The records form one chain, which goes on across restarts and rotations. "writer" is the chain's random name, given when its
// first file was made; "seq" is the record's number in it, counted from 1; "prev" is the hash of the record before it, and 64
// zeros in the first. "hash" is always a line's last member, and this is how to compute it with any tool: cut
//
//	,"hash":"…"}
//
// off the end of the line, put } in its place, and take the SHA-256 of those bytes, without the line's end, in lower case
// hexadecimal. In a shell, for line 5:
//
//	line=$(sed -n 5p audit.log); printf '%s}' "${line%,\"hash\":*}" | sha256sum
//
// # What it proves, and what it does not
//
// Any edited, inserted, repeated, moved or missing line breaks the chain. Who can write the file can also compute hashes anew,
// or cut lines off the end, and the file alone does not show it: what does is the anchor (writer, seq and hash) that each
// grant's status keeps of its last record. Likewise the beginning: rotation may remove the oldest files, so that a chain may
// begin anywhere.
//
// A crash can leave part of a line at the end of the file. Nobody was told that it was written. The next start removes it and
// says so in a record of its own, with what was removed; a line that was cut by hand looks the same, but then the anchor of the
// grant that it told of is missing from the log.
package audit
