// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package rule

import (
	"fmt"
	"strings"

	"github.com/valetkey/valetkey/internal/policy"
)

// Sizes is the name of the rule that bounds how large a Job is.
const Sizes = "valetkey-sizes"

// SizesYAML is that rule and its binding. Lists that are too long are counted, and not looked into, so that the rule costs little
// whatever the Job is like.
func SizesYAML(types []policy.Struct) string {
	var b strings.Builder
	b.WriteString(strings.ReplaceAll(sizesHead, "NAME", Sizes))
	b.WriteString("  variables:\n")
	bounded := func(s policy.Struct) bool { return len(checks(s)) > 0 }
	for _, name := range inOrder(types, bounded) {
		entry(&b, variable(name), shortInstances(types, name))
	}
	var large []string
	for _, s := range types {
		if bounded(s) {
			large = append(large, fmt.Sprintf("variables.%s.map(x, [\n      %s]\n      .filter(s, s != '')).flatten()", variable(s.Name),
				strings.Join(checks(s), ",\n      ")))
			large = append(large, together(s)...)
		}
	}
	entry(&b, "large", strings.Join(large, "\n      + "))
	b.WriteString("  validations:\n")
	validation(&b, frozen+"variables.large.size() == 0", "messageExpression",
		"'a Job that wants a credential is too large: ' + variables.large.join('; ')")
	for _, total := range totals() {
		validation(&b, total[0], "message", total[1])
	}
	b.WriteString(strings.ReplaceAll(sizesBinding, "NAME", Sizes))
	return b.String()
}

// checks are expressions of x, an object of a type: a sentence on each field that is too large, or an empty text.
func checks(s policy.Struct) []string {
	var all []string
	for _, f := range s.Fields {
		if f.Class == policy.Refused && len(f.Values) == 0 {
			continue // It cannot be set at all.
		}
		if condition := isLarge(f); condition != "" {
			all = append(all, fmt.Sprintf("%s ? '%s.%s' : ''", condition, s.Name, allowed(f)))
		}
	}
	return all
}

// together are lists that hold a sentence for each list of objects whose elements are too many in all objects of a type.
func together(s policy.Struct) []string {
	var all []string
	for _, f := range s.Fields {
		if f.List && f.Struct != "" && f.Class != policy.Refused {
			all = append(all, fmt.Sprintf("(variables.%s.filter(x, has(x.%s)).map(x, x.%s.size()).sum() > %d ? ['%s.%s may have %d elements in all'] : [])",
				variable(s.Name), f.Name, f.Name, policy.MaxTogether, s.Name, f.Name, policy.MaxTogether))
		}
	}
	return all
}

// isLarge is true if a field of x is too large; nothing if there is no bound.
func isLarge(f policy.StructField) string {
	bound, value := f.Bound(), "x."+f.Name
	switch {
	case bound.Elements > 0 && bound.Length > 0 && f.Map:
		return fmt.Sprintf("has(%s) && (%s.size() > %d || %s.exists(k, k.size() > %d || %s[k].size() > %d))", value, value, bound.Elements, value,
			bound.Length, value, bound.Length)
	case bound.Elements > 0 && bound.Length > 0:
		return fmt.Sprintf("has(%s) && (%s.size() > %d || %s.exists(e, e.size() > %d))", value, value, bound.Elements, value, bound.Length)
	case bound.Elements > 0:
		return fmt.Sprintf("has(%s) && %s.size() > %d", value, value, bound.Elements)
	case bound.Length > 0:
		return fmt.Sprintf("has(%s) && %s.size() > %d", value, value, bound.Length)
	}
	return ""
}

// allowed says how large a field may be.
func allowed(f policy.StructField) string {
	bound := f.Bound()
	switch {
	case bound.Elements > 0 && bound.Length > 0:
		return fmt.Sprintf("%s may have %d elements, of %d characters each", f.Name, bound.Elements, bound.Length)
	case bound.Elements > 0:
		return fmt.Sprintf("%s may have %d elements", f.Name, bound.Elements)
	}
	return fmt.Sprintf("%s may have %d characters", f.Name, bound.Length)
}

// shortInstances finds the objects of a type that are not in lists which are too long, or too many in all. valetkey-sizes
// refuses Jobs with such lists, and no rule looks into them: what they hold would cost the API server seconds.
func shortInstances(types []policy.Struct, name string) string {
	return found(types, name, func(parent string, f policy.StructField) string {
		return fmt.Sprintf("[variables.%s.filter(x, has(x.%s) && x.%s.size() <= %d).map(x, x.%s)].map(l, l.map(e, e.size()).sum() <= %d ? l.flatten() : []).flatten()",
			variable(parent), f.Name, f.Name, f.Bound().Elements, f.Name, policy.MaxTogether)
	})
}

// frozen begins what is asked of a Job's spec: it does not change but for what the operator writes into it.
const frozen = "request.operation != 'CREATE' || "

// totals are bounds of several fields together, each with its words.
func totals() [][2]string {
	words := fmt.Sprintf("variables.allContainer.map(c, [c.?command.orValue([]), c.?args.orValue([])].filter(l, l.size() <= %d).flatten()"+
		".map(w, w.size()).sum()).sum() <= %d", policy.MaxWords, policy.MaxJobWords)
	variables := fmt.Sprintf("variables.allEnvVar.map(e, e.?value.orValue('').size()).sum() <= %d", policy.MaxJobVariables)
	notes := fmt.Sprintf("['labels', 'annotations'].all(m, object.metadata[?m].orValue({}).size() <= "+
		"[%d, request.operation == 'CREATE' ? 0 : oldObject.metadata[?m].orValue({}).size()].max())", policy.MaxJobNotes)
	return [][2]string{
		{frozen + small, fmt.Sprintf("a Job that wants a credential is too large: no list of its Pod may have more than %d elements, and none in one of those more than %d, and these together no more than %d",
			longestOfPod, longestOfElement, mostOfElements)},
		{frozen + words, fmt.Sprintf("command and args of all containers of a Job that wants a credential may have %d characters together", policy.MaxJobWords)},
		{frozen + variables, fmt.Sprintf("the variables of all containers of a Job that wants a credential may have %d characters together", policy.MaxJobVariables)},
		{notes, fmt.Sprintf("a Job that wants a credential may have %d labels and %d annotations", policy.MaxJobNotes, policy.MaxJobNotes)},
	}
}

// The longest lists of a Job that other rules look at, of its Pod and of what is in a list of the Pod. They are no shorter than the
// bounds of those lists.
const (
	longestOfPod     = 64
	longestOfElement = 512
	// mostOfElements is how many elements the latter may have together.
	mostOfElements = 4096
)

// small is true of Jobs whose lists are not far too long, wherever in the Pod's spec other rules come by: in it, in what is
// in its lists, and in its affinity.
var small = fmt.Sprintf(`[object.spec.template.spec].all(p, p.all(k, type(p[k]) == list ? p[k].size() <= %d
      && p[k].all(e, type(e) != map || e.all(f, type(e[f]) == list ? e[f].size() <= %d
      : type(e[f]) != map || (e[f].size() <= %[2]d && e[f].all(g, type(e[f][g]) != list || e[f][g].size() <= %[2]d))))
      : type(p[k]) != map || (p[k].size() <= %[2]d && p[k].all(f, type(p[k][f]) == list ? p[k][f].size() <= %[2]d
      : type(p[k][f]) != map || (p[k][f].size() <= %[2]d && p[k][f].all(g, type(p[k][f][g]) == list ? p[k][f][g].size() <= %[2]d
      : type(p[k][f][g]) != map || (p[k][f][g].size() <= %[2]d && p[k][f][g].all(h, type(p[k][f][g][h]) != list || p[k][f][g][h].size() <= %[2]d)))))))
      && p.map(k, type(p[k]) != list ? 0 : p[k].map(e, type(e) != map ? 0 : e.map(f, type(e[f]) != list ? 0 : int(e[f].size())).sum()).sum()).sum() <= %[3]d)`,
	longestOfPod, longestOfElement, mostOfElements)

// NotTooLarge is the condition by which rules that cost much for long lists leave Jobs with such lists to valetkey-sizes. Of a Job that
// this rule does not look at, for want of the label, they leave out none; of the others those that it refuses by the very same expression.
var NotTooLarge = "!('valetkey.dev/request' in object.metadata.?labels.orValue({})) || (" + fewNotes + " && " + small + ")"

// fewNotes is true of Jobs whose labels and annotations, and those of their templates, are no more than valetkey-sizes lets through.
var fewNotes = fmt.Sprintf("['labels', 'annotations'].all(m, object.metadata[?m].orValue({}).size() <= %d "+
	"&& object.spec.template.?metadata[?m].orValue({}).size() <= %d)", policy.MaxJobNotes, policy.MaxJobNotes)

// conditions leave to valetkey-sizes what it refuses: of two rules that refuse a Job, anyone may be the one that is heard.
var conditions = fmt.Sprintf("  matchConditions:\n  - name: not-too-large\n    expression: >-\n      %s\n", NotTooLarge)

const sizesHead = `# Generated by hack/jobfields from the table in internal/policy. DO NOT EDIT.
# How large a Job that wants a credential may be: the operator keeps each in its memory, and every other rule looks at it. It is sizes
# that are compared, and lists that are too long are not looked into.
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: NAME}
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
      operations: [CREATE, UPDATE]
      scope: "*"
`

const sizesBinding = `---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: NAME}
spec:
  policyName: NAME
  validationActions: [Deny]
  matchResources:
    matchPolicy: Equivalent
    objectSelector: {}
    namespaceSelector: {}
`
