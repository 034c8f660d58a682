// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/valetkey/valetkey/test/bench/result"
)

func TestParse_ReadsPartsTurnsAndSteps(t *testing.T) {
	got, err := Parse("3 design single=20 purge, product single=20;\n 1 product restart")
	if err != nil {
		t.Fatal(err)
	}
	want := []Part{
		{Rounds: 3, Turns: []Turn{{result.Design, []Step{{"single", 20}, {"purge", 0}}}, {result.Product, []Step{{"single", 20}}}}},
		{Rounds: 1, Turns: []Turn{{result.Product, []Step{{"restart", 0}}}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestParse_RefusesWhatItDoesNotKnow(t *testing.T) {
	for _, text := range []string{"", "design single=1", "0 design single=1", "1", "1 nobody single=1", "1 design", "1 design single=0", "1 design single=x", "1 design single=1;"} {
		if got, err := Parse(text); err == nil {
			t.Errorf("%q is read as %v", text, got)
		}
	}
}

func TestNamed_PlansCanBeRead(t *testing.T) {
	for _, name := range []string{"short", "long"} {
		text, known := Named(name)
		if !known {
			t.Fatalf("there is no plan %q", name)
		}
		if _, err := Parse(text); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
