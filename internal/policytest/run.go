// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policytest

import (
	"cmp"
	"errors"
	"fmt"
	"runtime"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/policy"
)

// Result is what became of one case.
type Result struct {
	// File and Line say where the case is.
	File string `json:"file"`
	Line int    `json:"line"`
	// Case is its name.
	Case   string `json:"case"`
	Passed bool   `json:"passed"`
	// Want is what the case expects, Got what the operator decides.
	Want Expectation `json:"want"`
	Got  Decision    `json:"got"`
	// Differences are what the decision has otherwise than the case expects, a few words each. Empty if it passed.
	Differences []string `json:"differences,omitempty"`
	// Nearest is what the policy that matters most says of the request, clause by clause: the one that the case expects, or else the
	// one that decided, or else the one that was least far from matching. Only of a case that failed.
	Nearest *policy.Explanation `json:"nearest,omitempty"`
}

// Decision is the operator's, with its own words.
type Decision struct {
	Decision         policy.Verdict `json:"decision"`
	Reason           string         `json:"reason"`
	Policy           string         `json:"policy,omitempty"`
	ApprovalsMissing int32          `json:"approvalsMissing,omitempty"`
	Message          string         `json:"message"`
}

// Report is what became of all cases, in the order of the files and of the cases in them.
type Report struct {
	Cases    int      `json:"cases"`
	Failed   int      `json:"failed"`
	Results  []Result `json:"results"`
	Coverage Coverage `json:"coverage"`
}

// Test decides every case as the operator would. An error means that the cases cannot be read, or that one asks for what cannot be; it
// names each such case. A case that fails is no error.
func (c *Catalogue) Test() (*Report, error) {
	cases, err := c.cases()
	if err != nil {
		return nil, err
	}
	if len(cases) == 0 {
		return nil, fmt.Errorf("there is no file named *%s; docs/policy-tests.md has an example", TestSuffix)
	}
	asked, err := c.questions(cases)
	if err != nil {
		return nil, err
	}
	report := &Report{Cases: len(cases), Results: make([]Result, len(cases))}
	inParallel(len(cases), func(i int) { report.Results[i] = c.decide(asked[i]) })
	for i := range report.Results {
		if !report.Results[i].Passed {
			report.Failed++
		}
	}
	report.Coverage = c.coverage(asked, report.Results)
	return report, nil
}

// question is a case with what it is decided from.
type question struct {
	*testCase
	facts policy.Facts
}

// questions makes the facts of all cases, or says what is wrong with any of them.
func (c *Catalogue) questions(cases []testCase) ([]question, error) {
	w := newWorld(c)
	all := make([]question, len(cases))
	problems := make([]error, len(cases))
	for i := range cases {
		facts, err := w.facts(&cases[i])
		all[i] = question{&cases[i], facts}
		problems[i] = err
	}
	inParallel(len(cases), func(i int) {
		if problems[i] == nil {
			problems[i] = c.taken(all[i].facts.Request)
		}
		if problems[i] != nil {
			problems[i] = fmt.Errorf("%s: %w", cases[i].at(), problems[i])
		}
	})
	return all, errors.Join(problems...)
}

// inParallel does n things that need nothing of each other, on all processors.
func inParallel(n int, do func(i int)) {
	const share = 64
	g := errgroup.Group{}
	g.SetLimit(runtime.GOMAXPROCS(0))
	for from := 0; from < n; from += share {
		g.Go(func() error {
			for i := from; i < min(from+share, n); i++ {
				do(i)
			}
			return nil
		})
	}
	_ = g.Wait() // nothing that it does fails
}

func (c *Catalogue) decide(q question) Result {
	d := policy.Evaluate(q.facts)
	got := Decision{Decision: d.Verdict, Reason: d.Reason, ApprovalsMissing: d.ApprovalsMissing, Message: d.Message}
	if d.Policy != nil {
		got.Policy = d.Policy.Name
	}
	r := Result{File: q.file, Line: q.line, Case: q.Name, Want: q.Expect, Got: got, Differences: q.Expect.differences(got)}
	r.Passed = len(r.Differences) == 0
	if !r.Passed {
		r.Nearest = c.nearest(q.facts, cmp.Or(named(q.Expect.Policy), got.Policy))
	}
	return r
}

// nearest explains the policy of a name, or else the one that is least far from matching; nil if there is none.
func (c *Catalogue) nearest(f policy.Facts, name string) *policy.Explanation {
	if p := c.policy(name); p != nil {
		f.Policies = policy.NewSet(p.compiled)
	}
	_, all := policy.Explain(f)
	if len(all) == 0 {
		return nil
	}
	return &all[0]
}

func named(name *string) string {
	if name == nil {
		return ""
	}
	return *name
}

func (e Expectation) differences(got Decision) []string {
	var all []string
	differs := func(differs bool, what string, is, wanted any) {
		if differs {
			all = append(all, fmt.Sprintf("%s is %v, want %v", what, is, wanted))
		}
	}
	differs(got.Decision != e.Decision, "decision", got.Decision, e.Decision)
	differs(e.Reason != "" && got.Reason != e.Reason, "reason", got.Reason, e.Reason)
	differs(e.Policy != nil && got.Policy != named(e.Policy), "policy", orNone(got.Policy), orNone(named(e.Policy)))
	if e.ApprovalsMissing != nil {
		differs(got.ApprovalsMissing != *e.ApprovalsMissing, "approvalsMissing", got.ApprovalsMissing, *e.ApprovalsMissing)
	}
	if !strings.Contains(got.Message, e.Message) {
		all = append(all, fmt.Sprintf("message does not say %q", e.Message))
	}
	return all
}

func orNone(name string) string { return cmp.Or(name, "none") }

// decided reports whether a policy made the decision. An Allow that is only named as the one that would have been nearest did not.
func decided(p *stored, got Decision) bool {
	switch {
	case got.Policy != p.Name:
		return false
	case p.Spec.Effect == v1alpha1.EffectDeny:
		return got.Decision == policy.Deny
	}
	return got.Reason != v1alpha1.ReasonDeniedByPolicy && got.Reason != v1alpha1.ReasonRequesterTooStrong
}
