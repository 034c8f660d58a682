// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"

	"github.com/google/cel-go/cel"
	celast "github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/types"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/names"
)

// The fields of a request whose names have one spelling, as expressions call them.
const (
	fieldRepo        = "repo"
	fieldEnvironment = "environment"
)

// comparison is a text with which an expression compares a name of the request.
type comparison struct {
	field, text string
	// where in the name the text must stand.
	where names.Where
}

// pieces are the functions that compare a piece of a name.
func pieces() map[string]names.Where {
	return map[string]names.Where{"startsWith": names.Beginning, "endsWith": names.Ending, "contains": names.Within}
}

// comparisons finds them in an expression, and reports whether it reads a name in another form, which is not looked
// into: anywhere, and where a name that no request has could make the expression true.
func comparisons(ast *cel.Ast) (found []comparison, opaque, lets bool) {
	seen := map[int64]bool{} // the expressions in which a name, or the request, is read as one of the known forms
	root := ast.NativeRep().Expr()
	celast.PreOrderVisit(root, celast.NewExprVisitor(func(e celast.Expr) {
		switch e.Kind() {
		case celast.SelectKind:
			// Another field of the request, or whether it has one, is no name.
			if field := e.AsSelect(); isRequest(field.Operand()) && (field.IsTestOnly() || nameOf(e) == "") {
				seen[field.Operand().ID()] = true
			}
		case celast.CallKind:
			call := e.AsCall()
			operands := call.Args()
			compare := func(name, with celast.Expr, where names.Where) {
				if texts, known := compared(name, with, where); known {
					found = append(found, texts...)
					seen[name.AsSelect().Operand().ID()] = true
				}
			}
			switch call.FunctionName() {
			case operators.Equals, operators.NotEquals:
				compare(operands[0], operands[1], names.Whole)
				compare(operands[1], operands[0], names.Whole)
			case operators.In:
				compare(operands[0], operands[1], names.Whole)
			default:
				if where, known := pieces()[call.FunctionName()]; known && call.IsMemberFunction() {
					compare(call.Target(), operands[0], where)
				}
			}
		}
	}))
	unseen := func(from celast.Expr) (any bool) {
		celast.PreOrderVisit(from, celast.NewExprVisitor(func(e celast.Expr) {
			any = any || isRequest(e) && !seen[e.ID()]
		}))
		return any
	}
	return found, unseen(root), !asksFor(root, unseen)
}

// asksFor reports whether an expression asks for each name that it reads in a form which is not looked into: it is false
// where that is no name of a request. These are the forms that are known to: a comparison of what is made of a name with
// what is not, and is not whoever asks' to choose. Whatever else is made of a name, a negation above all, may be true.
func asksFor(e celast.Expr, unseen func(celast.Expr) bool) bool {
	switch e.Kind() {
	case celast.CallKind:
		return !unseen(e) || callAsksFor(e.AsCall(), unseen)
	case celast.ComprehensionKind: // exists is an or of all elements
		over := e.AsComprehension()
		step := over.LoopStep()
		return !unseen(e) || !unseen(over.IterRange()) && !chosen(over.IterRange()) && step.Kind() == celast.CallKind &&
			step.AsCall().FunctionName() == operators.LogicalOr && asksFor(step.AsCall().Args()[1], unseen)
	default:
		return !unseen(e)
	}
}

func callAsksFor(call celast.CallExpr, unseen func(celast.Expr) bool) bool {
	args := call.Args()
	asks := func(one, other celast.Expr) bool {
		made := func(e celast.Expr) bool { return isText(e) || isTexts(e) }
		return !chosen(one) && !chosen(other) && (made(one) && !unseen(other) || made(other) && !unseen(one))
	}
	switch call.FunctionName() {
	case operators.LogicalAnd, operators.LogicalOr:
		return asksFor(args[0], unseen) && asksFor(args[1], unseen)
	case operators.Conditional:
		return !unseen(args[0]) && asksFor(args[1], unseen) && asksFor(args[2], unseen)
	case operators.Equals, operators.In:
		return asks(args[0], args[1])
	case "startsWith", "endsWith", "contains":
		return call.IsMemberFunction() && asks(call.Target(), args[0])
	case "matches":
		return call.IsMemberFunction() && isText(call.Target()) && args[0].Kind() == celast.LiteralKind && plain(fmt.Sprint(args[0].AsLiteral().Value()))
	default:
		return false
	}
}

// chosen reports whether an expression reads what whoever asks writes as they like: the Job, or what only they can say.
func chosen(from celast.Expr) (any bool) {
	celast.PreOrderVisit(from, celast.NewExprVisitor(func(e celast.Expr) {
		switch e.Kind() {
		case celast.IdentKind:
			any = any || e.AsIdent() == variableJob
		case celast.SelectKind:
			field := e.AsSelect()
			any = any || isRequest(field.Operand()) && slices.Contains(saidByRequester(), field.FieldName())
		}
	}))
	return any
}

// isTexts reports whether an expression is a list of texts.
func isTexts(e celast.Expr) bool {
	return e.Kind() == celast.ListKind && !slices.ContainsFunc(e.AsList().Elements(), func(one celast.Expr) bool { return !isText(one) })
}

// isText reports whether an expression is a text: one that is written there, a field, what is between others or a part
// of one, in whatever case.
func isText(e celast.Expr) bool {
	switch e.Kind() {
	case celast.LiteralKind:
		return e.AsLiteral().Type() == types.StringType
	case celast.IdentKind:
		return !isRequest(e)
	case celast.SelectKind:
		field := e.AsSelect()
		return !field.IsTestOnly() && (isRequest(field.Operand()) || isText(field.Operand()))
	case celast.CallKind:
		call := e.AsCall()
		switch call.FunctionName() {
		case operators.Add:
			return isText(call.Args()[0]) && isText(call.Args()[1])
		case "lowerAscii", "upperAscii", "trim":
			return call.IsMemberFunction() && isText(call.Target())
		case operators.Index:
			list := call.Args()[0]
			return call.Args()[1].Kind() == celast.LiteralKind && list.Kind() == celast.CallKind && isSplit(list.AsCall())
		}
	}
	return false
}

// isSplit reports whether a text is split at others that are written there, or are elements of a list.
func isSplit(call celast.CallExpr) bool {
	return call.FunctionName() == "split" && isText(call.Target()) && !slices.ContainsFunc(call.Args(), func(at celast.Expr) bool {
		return at.Kind() != celast.LiteralKind && at.Kind() != celast.IdentKind
	})
}

func isRequest(e celast.Expr) bool {
	return e.Kind() == celast.IdentKind && e.AsIdent() == variableRequest
}

// nameOf is the field if the expression reads a name of the request, and empty otherwise.
func nameOf(e celast.Expr) string {
	if e.Kind() != celast.SelectKind || !isRequest(e.AsSelect().Operand()) {
		return ""
	}
	if field := e.AsSelect().FieldName(); field == fieldRepo || field == fieldEnvironment {
		return field
	}
	return ""
}

// compared are the texts with which a name is compared; known is whether it is a name, and each of them a text.
func compared(name, with celast.Expr, where names.Where) (found []comparison, known bool) {
	field := nameOf(name)
	if field == "" {
		return nil, false
	}
	all := []celast.Expr{with}
	if with.Kind() == celast.ListKind {
		all = with.AsList().Elements()
	}
	for _, one := range all {
		if one.Kind() != celast.LiteralKind || one.AsLiteral().Type() != types.StringType {
			return nil, false
		}
		found = append(found, comparison{field: field, text: one.AsLiteral().Value().(string), where: where})
	}
	return found, true
}

// reads reports whether a request's name can be what it is compared with.
func (c comparison) reads(r names.Rules) bool {
	if c.field == fieldRepo {
		return r.RepoReads(c.text, c.where)
	}
	return r.EnvironmentReads(c.text, c.where)
}

// Impossible says, a sentence each, which names the policy holds that no request has for any of the capabilities that
// it is about, out of all there are. A Deny denies nothing by such a name.
func (c *Compiled) Impossible(all []*v1alpha1.Capability) []string {
	rules := names.OfAll(c.about(all))
	var problems findings
	none := slices.DeleteFunc(slices.Clone(c.policy.Spec.Repos), func(pattern string) bool {
		return slices.ContainsFunc(rules, func(r names.Rules) bool { return r.RepoPossible(pattern) })
	})
	problems.add(len(none) > 0, "repos: no request can have %s: mend the name", list(none))
	none = slices.DeleteFunc(slices.Clone(c.policy.Spec.Environments), func(pattern string) bool {
		return slices.ContainsFunc(rules, func(r names.Rules) bool { return r.EnvironmentPossible(pattern) })
	})
	problems.add(len(none) > 0, "environments: no request can have %s: mend the name", list(none))
	for i, w := range c.when {
		for _, one := range w.compares {
			problems.add(!slices.ContainsFunc(rules, one.reads),
				"when[%d]: it compares request.%s with %q, which no request has: %s",
				i, one.field, Clip(one.text, maxNameLength), one.instead(rules[0]))
		}
	}
	return problems
}

// Partial says, a sentence each, with which texts its expressions compare names that requests for some of its
// capabilities have, and those for others write otherwise, where the expression does not hold the other spelling too.
func (c *Compiled) Partial(all []*v1alpha1.Capability) []string {
	about := c.about(all)
	rules := names.OfAll(about)
	var problems findings
	for i, w := range c.when {
		for _, one := range w.compares {
			if !slices.ContainsFunc(rules, one.reads) {
				continue // It is impossible.
			}
			at := slices.IndexFunc(about, func(capability *v1alpha1.Capability) bool {
				r := names.Of(capability)
				return !one.reads(r) && !slices.Contains(w.compares, one.as(r))
			})
			if at >= 0 {
				problems.add(true, "when[%d]: it compares request.%s with %q, which no request for %s has: %s",
					i, one.field, Clip(one.text, maxNameLength), about[at].Name, one.instead(names.Of(about[at])))
			}
		}
	}
	return problems
}

// Opaque says, a sentence each, which expressions read a name of the request in a form that [Compiled.Impossible] and
// [Compiled.Partial] do not look into, where a spelling that no request has would let something through: those of a
// Deny, and of an Allow what does not plainly ask for a name.
func (c *Compiled) Opaque() []string {
	var problems findings
	for i, w := range c.when {
		problems.add(w.opaqueLets || w.opaque && c.policy.Spec.Effect != v1alpha1.EffectAllow,
			"when[%d]: it reads request.repo or request.environment otherwise than by ==, !=, in, startsWith, endsWith or "+
				"contains with texts, so whether a request can have such a name is not known: "+
				"compare names by the policy's own fields, which know all spellings", i)
	}
	return problems
}

// about are the capabilities that the policy is about.
func (c *Compiled) about(all []*v1alpha1.Capability) []*v1alpha1.Capability {
	named := c.policy.Spec.Capabilities
	return slices.DeleteFunc(slices.Clone(all), func(one *v1alpha1.Capability) bool {
		return !slices.Contains(named, names.Any) && !slices.Contains(named, one.Name)
	})
}

// as is the comparison with the text in the one spelling.
func (c comparison) as(r names.Rules) comparison {
	if c.field == fieldRepo {
		c.text = r.Repo(c.text)
	} else {
		c.text = r.Environment(c.text)
	}
	return c
}

// instead says what to write for it.
func (c comparison) instead(r names.Rules) string {
	right := c.as(r)
	if right.text == c.text || !right.reads(r) || right.text == "" {
		return "compare repos and environments by the policy's own fields, which know all spellings"
	}
	return fmt.Sprintf("write %q, as those requests do, "+
		"or compare by the policy's own fields, which know all spellings", right.text)
}
