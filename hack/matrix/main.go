// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Command matrix reads what `go test -json` says of the conformance suite and prints it as a table: what every back end must do, by
// back end. It fails when a cell failed, was skipped, or is not there.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
)

func main() {
	if err := run(os.Stdin, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// event is a line of `go test -json`.
type event struct{ Action, Test, Output string }

// matrix holds results by row and column, both in the order in which they came.
type matrix struct {
	rows, columns []string
	cells         map[[2]string]string
}

func run(in io.Reader, out, problems io.Writer) error {
	m := matrix{cells: map[[2]string]string{}}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	broken := false
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			return fmt.Errorf("this is not the output of go test -json: %s", lines.Text())
		}
		if strings.Contains(e.Output, "_test.go:") || strings.Contains(e.Output, "conformance.go:") {
			fmt.Fprint(problems, e.Test, ": ", e.Output)
		}
		broken = broken || e.Action == "fail" || e.Action == "build-fail"
		m.add(e)
	}
	if err := lines.Err(); err != nil {
		return err
	}
	missing := m.print(out)
	switch {
	case len(m.rows) == 0:
		return fmt.Errorf("no back end was tested")
	case broken || missing > 0:
		return fmt.Errorf("not every back end does what every back end must do")
	}
	return nil
}

// add takes in the end of a test Test…/<column>/<row>.
func (m *matrix) add(e event) {
	parts := strings.Split(strings.ReplaceAll(e.Test, "_", " "), "/")
	if len(parts) != 3 || !slices.Contains([]string{"pass", "fail", "skip"}, e.Action) {
		return
	}
	column, row := parts[1], parts[2]
	if !slices.Contains(m.columns, column) {
		m.columns = append(m.columns, column)
	}
	if !slices.Contains(m.rows, row) {
		m.rows = append(m.rows, row)
	}
	m.cells[[2]string{row, column}] = e.Action
}

// print returns how many cells did not pass.
func (m *matrix) print(out io.Writer) int {
	missing := 0
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "what every back end must do\t"+strings.Join(m.columns, "\t"))
	for _, row := range m.rows {
		fmt.Fprint(table, row)
		for _, column := range m.columns {
			cell := m.cells[[2]string{row, column}]
			if cell != "pass" {
				missing++
			}
			if cell == "" {
				cell = "missing"
			}
			fmt.Fprint(table, "\t", cell)
		}
		fmt.Fprintln(table)
	}
	if err := table.Flush(); err != nil {
		return missing + 1
	}
	return missing
}
