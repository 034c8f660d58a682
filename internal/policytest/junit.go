// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policytest

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
)

// junit and the types below are the report that continuous integration reads.
type junit struct {
	XMLName  xml.Name     `xml:"testsuites"`
	Name     string       `xml:"name,attr"`
	Tests    int          `xml:"tests,attr"`
	Failures int          `xml:"failures,attr"`
	Suites   []*junitFile `xml:"testsuite"`
}

type junitFile struct {
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Name      string        `xml:"name,attr"`
	ClassName string        `xml:"classname,attr"`
	File      string        `xml:"file,attr"`
	Line      int           `xml:"line,attr"`
	Failure   *junitFailure `xml:"failure,omitempty"`
}

type junitFailure struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// WriteJUnit writes the report as JUnit XML: a suite for each file. An error is the writer's.
func (r *Report) WriteJUnit(w io.Writer) error {
	report := junit{Name: "valetkey policy test", Tests: r.Cases, Failures: r.Failed}
	var suite *junitFile
	for i := range r.Results {
		result := &r.Results[i]
		if suite == nil || suite.Name != result.File {
			suite = &junitFile{Name: result.File}
			report.Suites = append(report.Suites, suite)
		}
		one := junitCase{Name: result.Case, ClassName: result.File, File: result.File, Line: result.Line}
		suite.Tests++
		if !result.Passed {
			suite.Failures++
			one.Failure = &junitFailure{Message: strings.Join(result.Differences, "; "), Text: result.Story()}
		}
		suite.Cases = append(suite.Cases, one)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	encoder := xml.NewEncoder(w)
	encoder.Indent("", "  ")
	if err := encoder.Encode(report); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

// Story says to a person what was decided otherwise than expected, in the operator's words, and what the nearest policy says of the
// request, a line each.
func (r *Result) Story() string {
	var b strings.Builder
	for _, difference := range r.Differences {
		_, _ = fmt.Fprintln(&b, difference)
	}
	_, _ = fmt.Fprintf(&b, "the operator says: %s\n", r.Got.Message)
	if r.Nearest == nil {
		return b.String()
	}
	_, _ = fmt.Fprintf(&b, "policy %s (%s):\n", r.Nearest.Policy, r.Nearest.Effect)
	if r.Nearest.Problem != "" {
		_, _ = fmt.Fprintf(&b, "  it is not valid: %s\n", r.Nearest.Problem)
	}
	for _, c := range r.Nearest.Clauses {
		_, _ = fmt.Fprintf(&b, "  %-4s  %-14s  %s\n", c.Holds, c.Field, c.Text)
	}
	return b.String()
}
