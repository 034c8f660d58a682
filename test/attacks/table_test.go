// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package attacks

import (
	"os"
	"testing"

	"github.com/valetkey/valetkey/test/refusal"
)

// TestAttacks tries every row, and prints what refused it.
func TestAttacks(t *testing.T) {
	w := newWorld(t.Context(), t)
	var table refusal.Table
	all := rows()
	for _, r := range all {
		holds := table.Add(r.name, r.by, r.rule, r.words)
		t.Run(r.name, func(t *testing.T) {
			if err := r.holds(t.Context(), w); err != nil {
				t.Error(err)
				return
			}
			holds()
		})
	}
	if err := table.Print(os.Stdout); err != nil {
		t.Fatal(err)
	}
	const least = 60
	if len(all) < least {
		t.Errorf("%d rows, want at least %d", len(all), least)
	}
}
