// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package visible

import (
	"fmt"
	"io"
	"reflect"
	"slices"
	"sync"
)

// Writer writes what Text returns of all that is written to it. A character may come in pieces. In front of a terminal
// it breaks lines that are longer than a row: each further row begins with blanks and [Continuation]. It is safe for
// concurrent use.
type Writer struct {
	to    io.Writer
	mu    sync.Mutex
	s     speller
	f     folder
	begun []byte
}

// NewWriter returns a Writer in front of another.
func NewWriter(to io.Writer) *Writer { return newWriter(to, columnsOf(to)) }

// newWriter returns a Writer in front of a terminal of this width, which is asked for at the beginning of each line.
func newWriter(to io.Writer, columns func() int) *Writer {
	return &Writer{to: to, s: speller{number: escaped, lines: true}, f: folder{columns: columns}}
}

// Write implements [io.Writer]. The beginning of a character is held back until its end is written.
func (w *Writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	safe, begun := w.s.spell(append(w.begun, p...))
	w.begun = slices.Clone(begun)
	if _, err := w.to.Write(w.f.fold(safe)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// OnTerminal returns a Writer in front of a terminal, and anything else as it is: a program that reads a pipe or a
// file needs every byte.
func OnTerminal(to io.Writer) io.Writer {
	if columns := columnsOf(to); columns != nil {
		return newWriter(to, columns)
	}
	return to
}

// Fprintf is [fmt.Fprintf] with each string and error as Line prints it, so that none of them can pass for a line of
// the program's own.
func Fprintf(to io.Writer, format string, args ...any) (int, error) {
	return fmt.Fprintf(to, format, lines(args)...)
}

// Sprintf is [fmt.Sprintf] with each string and error as Line prints it.
func Sprintf(format string, args ...any) string { return fmt.Sprintf(format, lines(args)...) }

func lines(args []any) []any {
	all := slices.Clone(args)
	for i, arg := range args {
		if err, failed := arg.(error); failed {
			all[i] = Line(err.Error())
		} else if value := reflect.ValueOf(arg); value.Kind() == reflect.String {
			all[i] = Line(value.String())
		}
	}
	return all
}
