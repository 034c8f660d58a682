// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/valetkey/valetkey/internal/policytest"
	"github.com/valetkey/valetkey/internal/visible"
)

// The exit codes of the commands below, beside 0.
const (
	// exitFailed: a case failed, too few policies decided one, or a manifest is not what was meant.
	exitFailed = 1
	// exitUnreadable: manifests or cases cannot be read, or say what cannot be.
	exitUnreadable = 2
)

func (s *shell) policy() *cobra.Command {
	cmd := &cobra.Command{Use: "policy", Short: "Test and lint the policies of a repository, without a cluster"}
	cmd.AddCommand(s.policyTest(), s.policyLint())
	return cmd
}

// policyTesting are the flags of policy test.
type policyTesting struct {
	output   string
	junit    string
	coverage float64
}

func (s *shell) policyTest() *cobra.Command {
	o := &policyTesting{}
	cmd := &cobra.Command{
		Use: "test DIR...", Short: "Decide test cases as the operator would, and compare", Args: cobra.MinimumNArgs(1),
		Long: "Reads the manifests below the folders as the API server would, decides the cases of all files named *" + policytest.TestSuffix + " with the operator's own\n" +
			"evaluator, and says which policies no case is about. The exit code is 0 if all is as expected, 1 if a case failed or --coverage-min is not\n" +
			"reached, 2 if something cannot be read.",
		Example: "  kubectl valetkey policy test catalogue --junit report.xml --coverage-min 100",
		RunE: func(_ *cobra.Command, dirs []string) error {
			if err := jsonOrText(o.output); err != nil {
				return err
			}
			return s.testPolicies(o, dirs)
		},
	}
	cmd.Flags().StringVarP(&o.output, "output", "o", "", "json; text if not set")
	cmd.Flags().StringVar(&o.junit, "junit", "", "write a JUnit report to this file")
	cmd.Flags().Float64Var(&o.coverage, "coverage-min", 0, "fail unless this percentage of the policies decided a case")
	return cmd
}

func (s *shell) testPolicies(o *policyTesting, dirs []string) error {
	catalogue, err := policytest.Load(dirs...)
	if err != nil {
		return s.unreadable(err)
	}
	report, err := catalogue.Test()
	if err != nil {
		return s.unreadable(err)
	}
	if o.junit != "" {
		if err := writeJUnit(o.junit, report); err != nil {
			return s.unreadable(err)
		}
	}
	if o.output == "json" {
		err = s.json(report)
	} else {
		err = s.testReport(report)
	}
	if err != nil {
		return err
	}
	enough := report.Coverage.Percent() >= o.coverage
	if !enough {
		_, _ = fmt.Fprintf(s.ErrOut, "%.1f%% of the policies decided a case, of %g%% that --coverage-min asks for\n", report.Coverage.Percent(), o.coverage)
	}
	if report.Failed > 0 || !enough {
		return &exit{exitFailed}
	}
	return nil
}

func writeJUnit(file string, report *policytest.Report) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	if err := report.WriteJUnit(f); err != nil {
		_ = f.Close() // the first error tells more
		return err
	}
	return f.Close()
}

// testReport tells of each case that failed, of expressions that no case shows to keep anything out, and sums up.
func (s *shell) testReport(report *policytest.Report) error {
	var b strings.Builder
	for i := range report.Results {
		if r := &report.Results[i]; !r.Passed {
			_, _ = visible.Fprintf(&b, "FAIL  %s:%d  %s\n", r.File, r.Line, r.Case)
			b.WriteString(indented(r.Story()) + "\n")
		}
	}
	for _, c := range first(report.Coverage.NeverFailed) {
		_, _ = visible.Fprintf(&b, "no case fails %s of policy %s: %s\n", c.Field, c.Policy, c.Message)
	}
	if more := len(report.Coverage.NeverFailed) - mostListed; more > 0 {
		_, _ = fmt.Fprintf(&b, "nor %d more; -o json lists them\n", more)
	}
	passed := report.Cases - report.Failed
	_, _ = fmt.Fprintf(&b, "%s, %d passed, %d failed; %d of %d policies decided a case", counted(report.Cases, "case"), passed, report.Failed,
		report.Coverage.Decided, report.Coverage.Policies)
	if never := report.Coverage.NeverHit; len(never) > 0 {
		_, _ = visible.Fprintf(&b, "; never hit: %s", strings.Join(first(never), ", "))
		if more := len(never) - mostListed; more > 0 {
			_, _ = fmt.Fprintf(&b, " and %d more", more)
		}
	}
	_, err := fmt.Fprintln(s.Out, b.String())
	return err
}

// mostListed is how many of a kind are listed where all of them would be too many.
const mostListed = 10

func first[T any](all []T) []T { return all[:min(len(all), mostListed)] }

func indented(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString("      " + line)
	}
	return b.String()
}

// policyLinting are the flags of policy lint.
type policyLinting struct {
	output string
	strict bool
}

func (s *shell) policyLint() *cobra.Command {
	o := &policyLinting{}
	cmd := &cobra.Command{
		Use: "lint DIR...", Short: "Find policies that are valid and hardly meant", Args: cobra.MinimumNArgs(1),
		Long: "Finds policies that do not do what they say, and those that are often not meant: an Allow that nothing can reach, one without approval for a\n" +
			"capability that writes, wildcards, a TTL over the capability's. The annotation " + policytest.AnnotationAccept + " accepts a finding: CODE: REASON, one a line.\n" +
			"The exit code is 0 if there is no error, and with --strict no warning, 1 if there is, 2 if something cannot be read.",
		Example: "  kubectl valetkey policy lint catalogue --strict",
		RunE: func(_ *cobra.Command, dirs []string) error {
			if err := jsonOrText(o.output); err != nil {
				return err
			}
			return s.lintPolicies(o, dirs)
		},
	}
	cmd.Flags().StringVarP(&o.output, "output", "o", "", "json; text if not set")
	cmd.Flags().BoolVar(&o.strict, "strict", false, "fail on warnings, too")
	return cmd
}

func (s *shell) lintPolicies(o *policyLinting, dirs []string) error {
	catalogue, err := policytest.Load(dirs...)
	if err != nil {
		return s.unreadable(err)
	}
	found := catalogue.Lint()
	if o.output == "json" {
		err = s.json(found)
	} else {
		err = s.lintReport(found)
	}
	if err != nil {
		return err
	}
	if found.Count(policytest.SeverityError) > 0 || o.strict && found.Count(policytest.SeverityWarning) > 0 {
		return &exit{exitFailed}
	}
	return nil
}

func (s *shell) lintReport(found policytest.Findings) error {
	var b strings.Builder
	for _, f := range found {
		if f.Accepted == "" {
			_, _ = visible.Fprintf(&b, "%-7s  %s  %s: %s %s\n         %s\n", f.Severity, f.Code, f.File, f.Kind, f.Name, f.Message)
		}
	}
	_, _ = fmt.Fprintf(&b, "%s, %s, %d accepted", counted(found.Count(policytest.SeverityError), "error"),
		counted(found.Count(policytest.SeverityWarning), "warning"), found.Accepted())
	_, err := fmt.Fprintln(s.Out, b.String())
	return err
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func jsonOrText(output string) error {
	if output != "" && output != "json" {
		return fmt.Errorf("-o %s: want json, or nothing for text", output)
	}
	return nil
}

func (s *shell) json(value any) error {
	encoder := json.NewEncoder(s.Out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}

// unreadable says what cannot be read.
func (s *shell) unreadable(err error) error {
	for line := range strings.Lines(err.Error()) {
		_, _ = fmt.Fprintln(s.ErrOut, "error:", visible.Line(strings.TrimSpace(line)))
	}
	return &exit{exitUnreadable}
}
