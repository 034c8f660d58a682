// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package rule writes the admission rule valetkey-job-fields from the table of the fields of a Job.
package rule

import (
	"fmt"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/internal/policy"
)

// Name of the rule.
const Name = "valetkey-job-fields"

// YAML is the rule and its binding. The types are those of policy.Structs, the Job's spec first.
func YAML(types []policy.Struct) string {
	var b strings.Builder
	b.WriteString(head + conditions)
	b.WriteString("  variables:\n")
	for _, name := range inOrder(types, looksAt) {
		entry(&b, variable(name), shortInstances(types, name))
	}
	for _, s := range types {
		if refuses(s) {
			entry(&b, refusedOf(s.Name), refusedKeys(s))
		}
	}
	b.WriteString("  validations:\n")
	for _, s := range types {
		if refuses(s) {
			validation(&b, fmt.Sprintf("variables.%s.size() == 0", refusedOf(s.Name)), "messageExpression", message(s))
		}
		for _, f := range s.Fields {
			if f.Class == policy.Refused && len(f.Values) > 0 {
				validation(&b, values(f), "message", fmt.Sprintf("%s must be %s: %s", f.Name, strings.Join(f.Values, " or "), f.Why))
			}
		}
	}
	b.WriteString(binding)
	return b.String()
}

// entry writes a variable.
func entry(b *strings.Builder, name, expression string) {
	fmt.Fprintf(b, "  - name: %s\n    expression: >-\n      %s\n", name, wrapped(expression))
}

func validation(b *strings.Builder, expression, kind, text string) {
	fmt.Fprintf(b, "  - expression: >-\n      %s\n    %s: >-\n      %s\n    reason: Forbidden\n", wrapped(expression), kind, wrapped(text))
}

// wrapped breaks long lists after a comma between two quoted words. YAML folds the line breaks into spaces.
func wrapped(text string) string {
	const widest = 160
	var b strings.Builder
	width := 0
	for i, part := range strings.SplitAfter(text, "', ") {
		if i > 0 && width+len(part) > widest {
			b.WriteString("\n      ")
			width = 0
		}
		b.WriteString(part)
		width += len(part)
	}
	return strings.ReplaceAll(b.String(), " \n", "\n")
}

// refuses reports whether a type has a field that is refused whole. Only then are its fields counted: those of a newer Kubernetes that
// are in another type are found by the operator.
func refuses(s policy.Struct) bool {
	for _, f := range s.Fields {
		if f.Class == policy.Refused && len(f.Values) == 0 {
			return true
		}
	}
	return false
}

// looksAt reports whether the rule looks at objects of a type.
func looksAt(s policy.Struct) bool {
	for _, f := range s.Fields {
		if f.Class == policy.Refused {
			return true
		}
	}
	return false
}

// inOrder are the types that the rule looks at, and those in which they are found: each after those in which it is found, for an
// expression sees only the variables before it.
func inOrder(types []policy.Struct, looksAt func(policy.Struct) bool) []string {
	var all []string
	var add func(string)
	add = func(name string) {
		if slices.Contains(all, name) {
			return
		}
		for _, parent := range types {
			if slices.ContainsFunc(parent.Fields, func(f policy.StructField) bool { return f.Struct == name }) {
				add(parent.Name)
			}
		}
		all = append(all, name)
	}
	for _, s := range types {
		if looksAt(s) {
			add(s.Name)
		}
	}
	return all
}

// variable is the name of the list of all objects of a type in a Job.
func variable(typeName string) string { return "all" + typeName }

func refusedOf(typeName string) string { return "refused" + typeName }

// found finds the objects of a type; inList is how those in a list are found.
func found(types []policy.Struct, name string, inList func(parent string, f policy.StructField) string) string {
	if name == types[0].Name {
		return "[dyn(object.spec)]"
	}
	var parts []string
	for _, parent := range types {
		for _, f := range parent.Fields {
			switch {
			case f.Struct != name:
			case f.List:
				parts = append(parts, inList(parent.Name, f))
			default:
				parts = append(parts, fmt.Sprintf("variables.%s.filter(x, has(x.%s)).map(x, x.%s)", variable(parent.Name), f.Name, f.Name))
			}
		}
	}
	return strings.Join(parts, "\n      + ")
}

// refusedKeys lists the fields of a type's objects that are not known to be allowed.
func refusedKeys(s policy.Struct) string {
	var known []string
	for _, f := range s.Fields {
		if f.Class != policy.Refused || len(f.Values) > 0 {
			known = append(known, "'"+f.Name+"'")
		}
	}
	return fmt.Sprintf("variables.%s.map(x, x.filter(k, !(k in [%s]))).flatten()", variable(s.Name), strings.Join(known, ", "))
}

// message names the fields that are refused, with the reason.
func message(s policy.Struct) string {
	var why []string
	for _, f := range s.Fields {
		if f.Class == policy.Refused && len(f.Values) == 0 {
			why = append(why, fmt.Sprintf("'%s': '%s'", f.Name, strings.ReplaceAll(f.Why, "'", `\'`)))
		}
	}
	return fmt.Sprintf("'%s of a Job that wants a credential: ' + variables.%s.map(k, k + ' must not be set: ' + {%s}[?k].orValue('it is not known to this version of Valetkey')).join('; ')",
		place(s.Name), refusedOf(s.Name), strings.Join(why, ", "))
}

// place names a type for people.
func place(typeName string) string {
	switch typeName {
	case "JobSpec":
		return "the spec"
	case "ObjectMeta":
		return "metadata of the template"
	case "PodSpec":
		return "the Pod"
	}
	return "a " + typeName
}

// values is true when each object of the type has a value for the field that it may have.
func values(f policy.StructField) string {
	value := "string(x." + f.Name + ")"
	each := oneOf(value, f.Values)
	if f.List {
		each = fmt.Sprintf("x.%s.all(v, %s)", f.Name, oneOf("v", f.Values))
	}
	if f.Needed {
		return fmt.Sprintf("variables.%s.all(x, has(x.%s) && (%s))", variable(f.Type), f.Name, each)
	}
	return fmt.Sprintf("variables.%s.all(x, !has(x.%s) || %s)", variable(f.Type), f.Name, each)
}

func oneOf(value string, values []string) string {
	var exact, prefixes []string
	for _, v := range values {
		if prefix, open := strings.CutSuffix(v, "*"); open {
			prefixes = append(prefixes, fmt.Sprintf("%s.startsWith('%s')", value, prefix))
			continue
		}
		exact = append(exact, "'"+v+"'")
	}
	var parts []string
	if len(exact) > 0 {
		parts = append(parts, fmt.Sprintf("%s in [%s]", value, strings.Join(exact, ", ")))
	}
	return strings.Join(append(parts, prefixes...), " || ")
}

const head = `# Generated by hack/jobfields from the table in internal/policy. DO NOT EDIT.
# Which fields a Job that wants a credential may set, and to what. What is not known to be harmless, reviewed or an input is refused.
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: valetkey-job-fields}
spec:
  failurePolicy: Fail
  matchConstraints:
    matchPolicy: Equivalent
    namespaceSelector: {}
    objectSelector: {matchExpressions: [{key: valetkey.dev/request, operator: Exists}]}
    resourceRules:
    - apiGroups: [batch]
      apiVersions: [v1]
      resources: [jobs]
      operations: [CREATE]
      scope: "*"
`

const binding = `---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: valetkey-job-fields}
spec:
  policyName: valetkey-job-fields
  validationActions: [Deny]
  matchResources:
    matchPolicy: Equivalent
    objectSelector: {}
    namespaceSelector: {matchLabels: {valetkey.dev/enrolled: "true"}}
`
