// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package attacks

import (
	"fmt"
	"os"
	"testing"
	"text/tabwriter"
)

// TestAttacks tries every row, and prints what refused it.
func TestAttacks(t *testing.T) {
	w := newWorld(t.Context(), t)
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(out, "ATTACK\tBY\tREFUSED BY\tWORDS")
	all := rows()
	for _, r := range all {
		t.Run(r.name, func(t *testing.T) {
			if err := r.holds(t.Context(), w); err != nil {
				t.Error(err)
				return
			}
			_, _ = fmt.Fprintf(out, "%s\t%s\t%s\t%s\n", r.name, r.by, r.rule, r.words)
		})
	}
	if err := out.Flush(); err != nil {
		t.Fatal(err)
	}
	const least = 60
	if len(all) < least {
		t.Errorf("%d rows, want at least %d", len(all), least)
	}
	fmt.Printf("%d rows\n", len(all))
}
