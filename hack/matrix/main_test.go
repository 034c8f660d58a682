// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"strings"
	"testing"
)

func said(action, test string) string {
	return fmt.Sprintf(`{"Action":%q,"Test":%q}`+"\n", action, test)
}

func TestTheMatrixIsWholeOrFails(t *testing.T) {
	whole := said("run", "TestA/one,_real/it_works") + said("pass", "TestA/one,_real/it_works") + said("pass", "TestA/one,_real/it_ends") +
		said("pass", "TestB/two/it_works") + said("pass", "TestB/two/it_ends") + said("pass", "TestB/two") + said("pass", "TestB")
	tests := []struct {
		name, in string
		fails    bool
	}{
		{"whole", whole, false},
		{"nothing", "", true},
		{"a cell failed", whole + said("fail", "TestA/one,_real/it_ends"), true},
		{"a cell was skipped", whole + said("skip", "TestA/one,_real/it_ends"), true},
		{"a cell is not there", whole + said("pass", "TestA/one,_real/it_lasts"), true},
		{"a package failed", whole + said("fail", ""), true},
		{"another program's output", "ok", true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var out strings.Builder
			if err := run(strings.NewReader(test.in), &out, io.Discard); (err != nil) != test.fails {
				t.Errorf("got %v", err)
			}
			if test.name == "whole" && !strings.Contains(out.String(), "one, real  two") {
				t.Errorf("got\n%s", out.String())
			}
		})
	}
}
