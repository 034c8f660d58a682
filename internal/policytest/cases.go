// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policytest

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	yaml "go.yaml.in/yaml/v3"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/policy"
)

// testFile is a file of test cases. Its fields, and those below, are what people write; docs/policy-tests.md explains them.
type testFile struct {
	APIVersion string     `yaml:"apiVersion"`
	Kind       string     `yaml:"kind"`
	Defaults   conditions `yaml:"defaults"`
	Cases      []testCase `yaml:"cases"`
}

// testCase is one question, and the answer that is expected.
type testCase struct {
	Name       string `yaml:"name"`
	conditions `yaml:",inline"`
	Expect     Expectation `yaml:"expect"`

	file string
	line int
}

// conditions are what a decision is made from, as far as it is not in the catalogue.
type conditions struct {
	Requester *requester `yaml:"requester"`
	Request   request    `yaml:"request"`
	Job       *jobOf     `yaml:"job"`
	Approvals []approval `yaml:"approvals"`
	// After is how long after the review it is decided; as late as the last approval if not set.
	After *time.Duration `yaml:"after"`
	// Risks are those that only a cluster can tell of.
	Risks []v1alpha1.Acceptance `yaml:"risks"`
	// Active is how many credentials of the deciding policy work already.
	Active *int `yaml:"active"`
	// Without names policies that are in the manifests and not in force.
	Without []string `yaml:"without"`
}

// requester is who asks: a ServiceAccount, namespace/name, or a user.
type requester struct {
	ServiceAccount string                         `yaml:"serviceAccount"`
	User           string                         `yaml:"user"`
	UID            string                         `yaml:"uid"`
	Groups         []string                       `yaml:"groups"`
	Extra          map[string]v1alpha1.ExtraValue `yaml:"extra"`
}

// request is what is asked for.
type request struct {
	Capability    string `yaml:"capability"`
	Repo          string `yaml:"repo"`
	Environment   string `yaml:"environment"`
	TTLSeconds    *int32 `yaml:"ttlSeconds"`
	TaskID        string `yaml:"taskID"`
	Actor         string `yaml:"actor"`
	Justification string `yaml:"justification"`
	Namespace     string `yaml:"namespace"`
	Name          string `yaml:"name"`
	Container     string `yaml:"container"`
}

// approval is one person's, or a ServiceAccount's.
type approval struct {
	By             string        `yaml:"by"`
	ServiceAccount string        `yaml:"serviceAccount"`
	Groups         []string      `yaml:"groups"`
	After          time.Duration `yaml:"after"`
}

func (a *approval) who() *requester {
	return &requester{ServiceAccount: a.ServiceAccount, User: a.By, Groups: a.Groups}
}

// Expectation is what a case says of the decision. Only Decision must be there.
type Expectation struct {
	Decision policy.Verdict `yaml:"decision" json:"decision"`
	Reason   string         `yaml:"reason" json:"reason,omitempty"`
	// Policy that decides; empty for none.
	Policy           *string `yaml:"policy" json:"policy,omitempty"`
	ApprovalsMissing *int32  `yaml:"approvalsMissing" json:"approvalsMissing,omitempty"`
	// Message is a part of the operator's words.
	Message string `yaml:"message" json:"message,omitempty"`
}

// over fills what a case leaves open. A requester, and a Job that is read from a file, are one thing: they are taken whole.
func (c conditions) over(d conditions) conditions {
	if c.Job != nil && d.Job != nil && c.Job.Manifest == "" && d.Job.Manifest == "" {
		c.Job = c.Job.over(*d.Job)
	}
	return conditions{
		Requester: cmp.Or(c.Requester, d.Requester), Request: c.Request.over(d.Request), Job: cmp.Or(c.Job, d.Job),
		Approvals: either(c.Approvals, d.Approvals), After: cmp.Or(c.After, d.After), Risks: either(c.Risks, d.Risks),
		Active: cmp.Or(c.Active, d.Active), Without: either(c.Without, d.Without),
	}
}

func (r request) over(d request) request {
	return request{
		Capability: cmp.Or(r.Capability, d.Capability), Repo: cmp.Or(r.Repo, d.Repo), Environment: cmp.Or(r.Environment, d.Environment),
		TTLSeconds: cmp.Or(r.TTLSeconds, d.TTLSeconds), TaskID: cmp.Or(r.TaskID, d.TaskID), Actor: cmp.Or(r.Actor, d.Actor),
		Justification: cmp.Or(r.Justification, d.Justification), Namespace: cmp.Or(r.Namespace, d.Namespace),
		Name: cmp.Or(r.Name, d.Name), Container: cmp.Or(r.Container, d.Container),
	}
}

// either is the first list that somebody wrote, even if it is empty.
func either[T any](a, b []T) []T {
	if a != nil {
		return a
	}
	return b
}

// cases reads all files of test cases. An error names every field that there is not, and every case that asks for nothing or expects
// what no decision says.
func (c *Catalogue) cases() ([]testCase, error) {
	var all []testCase
	var problems []error
	for _, file := range c.tests {
		found, err := readCases(file)
		all, problems = append(all, found...), append(problems, err)
	}
	return all, errors.Join(problems...)
}

func readCases(file string) ([]testCase, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var all []testCase
	var problems []error
	names := map[string]int{}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	for {
		root := &yaml.Node{}
		if err := decoder.Decode(root); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		read, err := readTest(file, root.Content[0])
		if err != nil {
			problems = append(problems, err)
			continue
		}
		for _, t := range read {
			if before, twice := names[t.Name]; twice {
				problems = append(problems, fmt.Errorf("%s: the case has the name of that in line %d; give it another", t.at(), before))
			}
			names[t.Name] = t.line
			problems = append(problems, t.check()...)
		}
		all = append(all, read...)
	}
	if len(all) == 0 && errors.Join(problems...) == nil {
		return nil, fmt.Errorf("%s: there is no case in it; write a %s with cases", file, kindTest)
	}
	return all, errors.Join(problems...)
}

// readTest reads one document, and lays its cases over its defaults.
func readTest(file string, root *yaml.Node) ([]testCase, error) {
	test := testFile{}
	if problems := unknownFields(root, reflect.TypeFor[testFile](), ""); len(problems) > 0 {
		return nil, refused(file, problems)
	}
	if err := root.Decode(&test); err != nil {
		return nil, fmt.Errorf("%s: %s", file, strings.Join(strings.Fields(strings.TrimPrefix(err.Error(), "yaml: unmarshal errors:")), " "))
	}
	if test.APIVersion != v1alpha1.GroupVersion.String() || test.Kind != kindTest {
		return nil, fmt.Errorf("%s: line %d: it is a %q of %q; files named *%s have apiVersion: %s and kind: %s",
			file, root.Line, test.Kind, test.APIVersion, TestSuffix, v1alpha1.GroupVersion, kindTest)
	}
	lines := linesOf(root, "cases")
	for i := range test.Cases {
		t := &test.Cases[i]
		t.file, t.line = file, lines[i]
		t.conditions = t.over(test.Defaults)
	}
	return test.Cases, nil
}

// linesOf are the lines where the items of a list begin.
func linesOf(root *yaml.Node, list string) []int {
	var lines []int
	for i := 0; i+1 < len(root.Content); i += 2 {
		if root.Content[i].Value == list {
			for _, item := range root.Content[i+1].Content {
				lines = append(lines, item.Line)
			}
		}
	}
	return lines
}

// unknownFields says of each field that a type does not have where it is, and which there are.
func unknownFields(n *yaml.Node, t reflect.Type, path string) []string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	var problems []string
	switch {
	case n.Kind == yaml.SequenceNode && t.Kind() == reflect.Slice:
		for i, item := range n.Content {
			problems = append(problems, unknownFields(item, t.Elem(), fmt.Sprintf("%s[%d]", path, i))...)
		}
	case n.Kind == yaml.MappingNode && t.Kind() == reflect.Struct:
		known, names := fieldsOf(t)
		for i := 0; i+1 < len(n.Content); i += 2 {
			name := n.Content[i].Value
			at := strings.TrimPrefix(path+"."+name, ".")
			inner, ok := known[name]
			switch {
			case name == "<<":
			case !ok:
				problems = append(problems, fmt.Sprintf("line %d: %s: there is no such field; there are %s", n.Content[i].Line, at, strings.Join(names, ", ")))
			default:
				problems = append(problems, unknownFields(n.Content[i+1], inner, at)...)
			}
		}
	}
	return problems
}

// fieldsOf are the fields that people can write in a struct, in its order.
func fieldsOf(t reflect.Type) (map[string]reflect.Type, []string) {
	known := map[string]reflect.Type{}
	var names []string
	for _, f := range reflect.VisibleFields(t) {
		if name := f.Tag.Get("yaml"); name != "" && !f.Anonymous {
			known[name] = f.Type
			names = append(names, name)
		}
	}
	return known, names
}

// at says where a case is, to begin a sentence.
func (t *testCase) at() string { return fmt.Sprintf("%s:%d: case %q", t.file, t.line, t.Name) }

// check says what is missing, or can never be.
func (t *testCase) check() []error {
	var problems []error
	add := func(wrong bool, format string, args ...any) {
		if wrong {
			problems = append(problems, fmt.Errorf("%s: %s", t.at(), fmt.Sprintf(format, args...)))
		}
	}
	add(t.Name == "", "it has no name; say in name what happens")
	add(t.Requester == nil, "nobody asks; write requester: {serviceAccount: NAMESPACE/NAME}, or {user: NAME}")
	someone := func(r *requester, at, user, oneOf string) {
		namespace, name, account := strings.Cut(r.ServiceAccount, "/")
		add((r.ServiceAccount == "") == (r.User == ""), "%s: %s, one of the two", at, oneOf)
		add(r.ServiceAccount != "" && (!account || namespace == "" || name == ""), "%s.serviceAccount: write NAMESPACE/NAME, not %q", at, r.ServiceAccount)
		named, isAccount := strings.CutPrefix(r.User, serviceaccount.ServiceAccountUsernamePrefix)
		add(isAccount, "%s.%s: name a ServiceAccount by serviceAccount: %s", at, user, strings.Replace(named, ":", "/", 1))
	}
	if t.Requester != nil {
		someone(t.Requester, "requester", "user", "write serviceAccount or user")
	}
	add(t.Job != nil && t.Job.Manifest != "" && !t.Job.onlyManifest(), "job: a manifest says all of the Job; leave the other fields out")
	verdicts := []policy.Verdict{policy.Allow, policy.Deny, policy.Pending, policy.Indeterminate}
	add(!slices.Contains(verdicts, t.Expect.Decision), "expect.decision: write one of %v, not %q", verdicts, t.Expect.Decision)
	add(t.Expect.Reason != "" && !slices.Contains(reasons(), t.Expect.Reason), "expect.reason: write one of %v, not %q", reasons(), t.Expect.Reason)
	for _, risk := range t.Risks {
		add(risk != v1alpha1.AcceptSecretReader && risk != v1alpha1.AcceptRequesterMayApprove,
			"risks: write %s or %s, not %q; other risks are found in the Job", v1alpha1.AcceptSecretReader, v1alpha1.AcceptRequesterMayApprove, risk)
	}
	for i, a := range t.Approvals {
		someone(a.who(), fmt.Sprintf("approvals[%d]", i), "by", "write who approves in by, or in serviceAccount")
		add(a.After < 0, "approvals[%d].after: nobody approves before the review", i)
		add(t.After != nil && *t.After < a.After, "after: it is decided %s after the review, and %s approves later, %s after it", t.After, cmp.Or(a.By, a.ServiceAccount), a.After)
	}
	add(t.After != nil && *t.After < 0, "after: nothing is decided before the review")
	add(t.Active != nil && *t.Active < 0, "active: fewer than none cannot be out")
	return problems
}

// reasons are those that a decision can have.
func reasons() []string {
	return []string{
		v1alpha1.ReasonAllowed, v1alpha1.ReasonAwaitingApproval, v1alpha1.ReasonLimitReached,
		v1alpha1.ReasonNameRefused, v1alpha1.ReasonDeniedByPolicy,
		v1alpha1.ReasonApprovalTimedOut, v1alpha1.ReasonJobRefused, v1alpha1.ReasonRequesterTooStrong, v1alpha1.ReasonIndeterminate,
	}
}
