// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/valetkey/valetkey/internal/visible"
)

const printUsage = `usage: print-audit LOG…

Prints audit logs as they are written, oldest first, for whoever verifies them elsewhere. LOG is a file, or a folder: then every file
in it that ends in .log. A line that is being written is left out. Exits with 2 if a log cannot be read.

`

// PrintCommand prints the whole lines of audit logs: byte by byte, as whoever verifies them needs it, and to a
// terminal as a person sees it. It returns the process's exit code: 0, or 2 when a log cannot be read whole.
func PrintCommand(args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		say(stderr, printUsage)
		return 2
	}
	if err := printLogs(args, visible.OnTerminal(stdout)); err != nil {
		say(stderr, "print-audit: %v\n", err)
		return 2
	}
	return 0
}

func printLogs(logs []string, to io.Writer) error {
	files, err := openLogs(logs)
	if err != nil {
		return err
	}
	defer closeAll(files)
	out := bufio.NewWriter(to)
	for _, f := range files {
		if err := printLines(f, out); err != nil {
			return err
		}
	}
	return out.Flush()
}

// printLines copies whatever a line holds: who verifies it has to see it.
func printLines(f *os.File, to io.Writer) error {
	reader := bufio.NewReaderSize(f, 64<<10)
	for {
		line, err := readLine(reader)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading %s: %w", f.Name(), err)
		}
		if _, err := fmt.Fprintf(to, "%s\n", line); err != nil {
			return fmt.Errorf("printing %s: %w", f.Name(), err)
		}
	}
}
