// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package librarylog keeps out of the log what libraries say through loggers that a whole process shares: Go's standard
// one, to which net/http and log/slog write unless told otherwise, and grpc's. They quote what a server or a caller
// sent: net/http prints an answer that it did not expect with all that it holds, a credential included.
package librarylog

import (
	"fmt"
	"io"
	"log"
	"math/bits"
	"strings"
	"sync"
)

// Report is told in fixed words what a library said, and how often that was said so far.
type Report func(what string, times uint64)

// leftOut stands behind every line.
const leftOut = "the library's own words are left out, for they can quote what was sent"

// known has words of our own for what is known by how it begins. Nothing of a message itself is passed on.
var known = []struct{ begins, what string }{
	{"Unsolicited response received on idle HTTP channel", "a server sent more than the answer to what it was asked"},
	{"http: TLS handshake error", "the TLS handshake of a caller failed"},
	{"http: Accept error", "a connection of a caller could not be accepted"},
	{"http: panic serving", "answering a caller ended in a panic"},
	{"http2: panic serving", "answering a caller ended in a panic"},
}

// anything is what all others are.
const anything = "a library reported something"

// Writer is what a library's logger writes to. Each write is one message. It is safe for concurrent use.
type Writer struct {
	report Report
	mu     sync.Mutex
	said   map[string]uint64
}

// TakeOver has everything that is said through Go's standard logger, and through slog's default one, come to a report
// alone. It returns the Writer for other loggers of the process. A later call replaces an earlier one.
//
// Of each kind the report is told the first, the second, the fourth, the eighth time and so on, so that nobody who
// makes a library speak can fill the log.
func TakeOver(report Report) *Writer {
	w := &Writer{report: report, said: map[string]uint64{}}
	log.SetFlags(0)
	log.SetPrefix("")
	log.SetOutput(w)
	return w
}

// Write implements [io.Writer], and never fails.
func (w *Writer) Write(message []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	what := meaning(string(message))
	w.said[what]++
	if times := w.said[what]; bits.OnesCount64(times) == 1 {
		w.report(what+"; "+leftOut, times)
	}
	return len(message), nil
}

func meaning(message string) string {
	for _, one := range known {
		if strings.HasPrefix(message, one.begins) {
			return one.what
		}
	}
	return anything
}

// Lines reports to a stream, for programs without a log.
func Lines(to io.Writer) Report {
	return func(what string, times uint64) { _, _ = fmt.Fprintf(to, "%s (%d so far)\n", what, times) }
}
