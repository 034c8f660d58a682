// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package refusal is what the tables of attacks share: what a refusal looks like, and how it is printed.
package refusal

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
)

// Ways of refusing that are no admission rule.
const (
	RBAC = "RBAC"
	CRD  = "CRD"
)

// By says why an error is not the refusal by that rule, or way, in those words; nil when it is.
func By(err error, rule, words string) error {
	if err == nil {
		return errors.New("it was not refused")
	}
	marks := map[string][]string{RBAC: {"cannot", "attempting to grant RBAC permissions"}, CRD: {"nvalid"}}[rule]
	if marks == nil {
		marks = []string{"ValidatingAdmissionPolicy '" + rule + "'"}
	}
	said := func(words string) bool { return strings.Contains(err.Error(), words) }
	if !slices.ContainsFunc(marks, said) || !said(words) {
		return fmt.Errorf("it was refused by something else: %w", err)
	}
	return nil
}

// Table is what was tried and refused. It is safe for concurrent use.
type Table struct {
	mu    sync.Mutex
	lines []string
	held  []bool
}

// Add announces a row, and returns what is to be called when it held. Rows are printed in the order in which they were added.
func (t *Table) Add(name, by, rule, words string) (holds func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	row := len(t.lines)
	t.lines, t.held = append(t.lines, strings.Join([]string{name, by, rule, words}, "\t")), append(t.held, false)
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.held[row] = true
	}
}

// Print prints the rows that held, and counts them all.
func (t *Table) Print(to io.Writer) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, "ATTACK\tBY\tREFUSED BY\tWORDS")
	for i, line := range t.lines {
		if t.held[i] {
			fmt.Fprintln(out, line)
		}
	}
	if err := out.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(to, "%d rows\n", len(t.lines))
	return err
}
