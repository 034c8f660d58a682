// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

func TestParse_RefusesPlansThatCannotEnd(t *testing.T) {
	for _, args := range [][]string{{"-plan", "1 product frobnicate"}, {"-plan", "1 design restart"}, {"-plan", "1 product single=1", "-bare"}, {"-bare"}, {"-plan", "none"}, {"more"}} {
		if _, parts, err := parse(args); err == nil {
			t.Errorf("%q is taken for %v", args, parts)
		}
	}
	for _, args := range [][]string{nil, {"-plan", "long"}, {"-plan", "2 design single=1, least purge", "-bare"}} {
		if _, _, err := parse(args); err != nil {
			t.Errorf("%q: %v", args, err)
		}
	}
}

// TestSteps_StandInTheDocument keeps docs/performance.md from drifting.
func TestSteps_StandInTheDocument(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "performance.md"))
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	for _, m := range regexp.MustCompile("`([a-z]+)(?:=[A-Z])?`").FindAllSubmatch(text, -1) {
		named[string(m[1])] = true
	}
	for name := range (&turn{}).steps() {
		if !named[name] {
			t.Errorf("the step %s has no row", name)
		}
	}
}
