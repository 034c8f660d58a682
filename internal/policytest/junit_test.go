// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policytest

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/valetkey/valetkey/internal/policy"
)

func reportOfThree() *Report {
	return &Report{Cases: 3, Failed: 1, Results: []Result{
		{File: "a.yaml", Line: 3, Case: "one", Passed: true},
		{File: "a.yaml", Line: 5, Case: "two <&>", Got: Decision{Message: "policy x allows it"}, Differences: []string{"decision is Allow, want Deny", "policy is x, want none"},
			Nearest: &policy.Explanation{Policy: "x", Effect: "Allow", Problem: "not now", Clauses: []policy.Clause{{Field: "repos", Holds: policy.HoldsYes, Text: "any; the request has web-app"}}}},
		{File: "b.yaml", Line: 3, Case: "three", Passed: true},
	}}
}

func TestJUnit(t *testing.T) {
	const want = `<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="valetkey policy test" tests="3" failures="1">
  <testsuite name="a.yaml" tests="2" failures="1">
    <testcase name="one" classname="a.yaml" file="a.yaml" line="3"></testcase>
    <testcase name="two &lt;&amp;&gt;" classname="a.yaml" file="a.yaml" line="5">
      <failure message="decision is Allow, want Deny; policy is x, want none">decision is Allow, want Deny&#xA;policy is x, want none&#xA;the operator says: policy x allows it&#xA;policy x (Allow):&#xA;  it is not valid: not now&#xA;  yes   repos           any; the request has web-app&#xA;</failure>
    </testcase>
  </testsuite>
  <testsuite name="b.yaml" tests="1" failures="0">
    <testcase name="three" classname="b.yaml" file="b.yaml" line="3"></testcase>
  </testsuite>
</testsuites>
`
	var got strings.Builder
	if err := reportOfThree().WriteJUnit(&got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Error(diff)
	}
}

// full takes so many bytes.
type full struct{ left int }

func (f *full) Write(p []byte) (int, error) {
	f.left -= len(p)
	if f.left < 0 {
		return 0, errors.New("the disk is full")
	}
	return len(p), nil
}

func TestAReportThatCannotBeWrittenIsAnError(t *testing.T) {
	for _, room := range []int{0, 100} {
		if err := reportOfThree().WriteJUnit(&full{room}); err == nil {
			t.Errorf("%d bytes were enough", room)
		}
	}
}
