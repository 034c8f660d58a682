// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package rule

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/internal/policy"
)

// TestNotTooLarge_LeavesOutOnlyWhatSizesRefuses holds that no Job is past both: past valetkey-sizes, and past the rules that leave a Job
// with long lists to it.
func TestNotTooLarge_LeavesOutOnlyWhatSizesRefuses(t *testing.T) {
	var inLists []string
	for _, s := range policy.Structs() {
		for _, f := range s.Fields {
			if s.Name != "PodSpec" || !f.List {
				continue
			}
			inLists = append(inLists, f.Struct)
			if most := f.Bound().Elements; most == 0 || most > longestOfPod {
				t.Errorf("PodSpec.%s may have %d elements, and a Job with %d is left to valetkey-sizes", f.Name, most, longestOfPod+1)
			}
		}
	}
	for _, s := range policy.Structs() {
		for _, f := range s.Fields {
			if most := f.Bound().Elements; slices.Contains(inLists, s.Name) && f.List && (most == 0 || most > longestOfElement) {
				t.Errorf("%s.%s may have %d elements, and a Job with %d is left to valetkey-sizes", s.Name, f.Name, most, longestOfElement+1)
			}
		}
	}
}

func TestNotTooLarge_IsTheSameInEachRule(t *testing.T) {
	text, err := os.ReadFile("../../../config/admission/jobs.yaml")
	if err != nil {
		t.Fatal(err)
	}
	const holdAndJobs = 2
	if n := strings.Count(string(text), "  - name: not-too-large\n    expression: >-\n      "+NotTooLarge+"\n"); n != holdAndJobs {
		t.Errorf("jobs.yaml has the condition %d times, want %d", n, holdAndJobs)
	}
}

// TestSizes_EveryListAndTextHasABound holds that the rule bounds each list and each text that a Job can set.
func TestSizes_EveryListAndTextHasABound(t *testing.T) {
	text, count := SizesYAML(policy.Structs()), 0
	for _, s := range policy.Structs() {
		for _, f := range s.Fields {
			isBounded := strings.Contains(text, "'"+s.Name+"."+f.Name+" may have ")
			wants := f.List || f.Map || f.Text && len(f.Values) == 0
			if f.Class != policy.Refused && wants && !isBounded {
				t.Errorf("%s.%s has no bound", s.Name, f.Name)
			}
			if isBounded {
				count++
			}
		}
	}
	const least = 150
	if count < least {
		t.Errorf("%d fields have a bound, want at least %d", count, least)
	}
}
