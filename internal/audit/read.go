// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Read gives each record of logs, with its line, in the order in which they were written. A log is a file, or a folder: then every file
// in it that ends in .log. It verifies nothing. It counts the lines that are no records, and ends with each's first error.
func Read(logs []string, each func(line []byte, r Record) error) (others int, err error) {
	files, err := openLogs(logs)
	if err != nil {
		return 0, err
	}
	defer closeAll(files)
	for _, f := range files {
		more, err := ReadFrom(f, each)
		others += more
		if err != nil {
			return others, fmt.Errorf("reading %s: %w", f.Name(), err)
		}
	}
	return others, nil
}

// ReadFrom is Read for what can stand between other lines, as in the output of the operator's container.
func ReadFrom(from io.Reader, each func(line []byte, r Record) error) (others int, err error) {
	reader := bufio.NewReaderSize(from, 64<<10)
	for {
		line, err := readLine(reader)
		end := errors.Is(err, io.EOF)
		if err != nil && !end && !errors.Is(err, errLong) {
			return others, err
		}
		if end && len(line) == 0 {
			return others, nil
		}
		var r Record
		if json.Unmarshal(line, &r) != nil || r.Writer == "" || r.Seq < 1 || r.Event == "" {
			others++
		} else if err := each(line, r); err != nil {
			return others, err
		}
		if end {
			return others, nil
		}
	}
}
