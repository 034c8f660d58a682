// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/google/cel-go/cel"
	celast "github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/types"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// mostAlike bounds how many spellings of one name are tried: each costs as much as the policy itself. A policy in which
// a name has more is taken to deny it.
const mostAlike = 8

// pieces are what texts in an expression hold of names: a regular expression has other characters around them.
var pieces = regexp.MustCompile(`[A-Za-z0-9_-]+`)

// namesRead are the fields with a name of the request that an expression can read: both, if it reads the request as a
// whole.
func namesRead(ast *cel.Ast) []string {
	found := map[string]bool{}
	selected := map[int64]bool{} // the request, where only a field of it is read
	celast.PreOrderVisit(ast.NativeRep().Expr(), celast.NewExprVisitor(func(e celast.Expr) {
		if e.Kind() == celast.SelectKind && isRequest(e.AsSelect().Operand()) {
			selected[e.AsSelect().Operand().ID()] = true
			found[nameOf(e)] = true
		}
		if isRequest(e) && !selected[e.ID()] {
			found[fieldRepo], found[fieldEnvironment] = true, true
		}
	}))
	delete(found, "")
	return slices.Sorted(maps.Keys(found))
}

// literal is a text in an expression.
type literal struct {
	text string
	// field is the name that the text is compared with; empty where that is not known.
	field string
	// whole is set where the name must be the text.
	whole bool
	// negated is set where the expression holds of what differs from the text.
	negated bool
}

// textsIn are the texts of an expression. Of those in an unknown form, the pieces stand beside the whole.
func textsIn(ast *cel.Ast) []literal {
	with, negated := map[int64]literal{}, map[int64]bool{}
	visit := func(from celast.Expr, each func(celast.Expr)) {
		celast.PreOrderVisit(from, celast.NewExprVisitor(each))
	}
	root := ast.NativeRep().Expr()
	visit(root, func(e celast.Expr) {
		if e.Kind() != celast.CallKind {
			return
		}
		comparedIn(e.AsCall(), with)
		switch e.AsCall().FunctionName() {
		case operators.LogicalNot, operators.NotEquals, operators.Conditional:
			visit(e, func(inner celast.Expr) { negated[inner.ID()] = true })
		}
	})
	var found []literal
	visit(root, func(e celast.Expr) {
		if e.Kind() != celast.LiteralKind || e.AsLiteral().Type() != types.StringType {
			return
		}
		one := with[e.ID()]
		one.text, one.negated = e.AsLiteral().Value().(string), negated[e.ID()]
		found = append(found, one)
		if one.field == "" {
			for _, piece := range pieces.FindAllString(one.text, -1) {
				one.text = piece
				found = append(found, one)
			}
		}
	})
	return found
}

// comparedIn notes which texts a call compares with a name, by the IDs of their expressions.
func comparedIn(call celast.CallExpr, with map[int64]literal) {
	all := call.Args()
	if call.IsMemberFunction() {
		all = append([]celast.Expr{call.Target()}, all...)
	}
	whole := slices.Contains([]string{operators.Equals, operators.NotEquals, operators.In}, call.FunctionName())
	if len(all) != 2 || !whole && !slices.Contains([]string{"startsWith", "endsWith", "contains"}, call.FunctionName()) {
		return
	}
	for i, name := range all {
		texts, other := []celast.Expr{all[1-i]}, all[1-i]
		if other.Kind() == celast.ListKind {
			texts = other.AsList().Elements()
		}
		if field := nameOf(name); field != "" && (whole || i == 0) {
			for _, text := range texts {
				with[text.ID()] = literal{field: field, whole: whole}
			}
		}
	}
}

// Reads reports whether an expression of the policy can read a field of the request with a name, repo or environment.
func (c *Compiled) Reads(field string) bool {
	return slices.ContainsFunc(c.when, func(w clause) bool { return slices.Contains(w.reads, field) })
}

// denyingView is what the expressions of a Deny see when they deny: the request's names as they are, or else as the
// policy writes them. Where it does not deny, and for an Allow, it is what there is. It is not known where the
// spellings are too many, and the policy denies for that.
func (c *Compiled) denyingView(r *v1alpha1.CapabilityRequest, vars map[string]any) (view map[string]any, known bool) {
	if c.allows() {
		return vars, true
	}
	alike, known := c.alike(r, vars)
	for _, view := range append([]map[string]any{vars}, alike...) {
		if denies, _ := c.expressionsDeny(view); denies {
			return view, true
		}
	}
	return vars, known
}

// alike is what the expressions of a Deny would see if the request's names were written as the policy writes them: the
// same but for case. A Deny compares names without case for every back end, in its expressions too. It is not known
// where they are too many.
func (c *Compiled) alike(r *v1alpha1.CapabilityRequest, vars map[string]any) (all []map[string]any, known bool) {
	seen, ok := vars[variableRequest].(map[string]any)
	if !ok {
		return nil, true
	}
	repos, environments := c.spellings(fieldRepo, r.Spec.Repo), c.spellings(fieldEnvironment, r.Spec.Environment)
	if len(repos) > mostAlike || len(environments) > mostAlike {
		return nil, false
	}
	for _, repo := range repos {
		for _, environment := range environments {
			if repo == r.Spec.Repo && environment == r.Spec.Environment {
				continue
			}
			request, view := maps.Clone(seen), maps.Clone(vars)
			request[fieldRepo], request[fieldEnvironment] = repo, environment
			view[variableRequest] = request
			all = append(all, view)
		}
	}
	return all, true
}

// spellings are a name as it is, and, if an expression reads it, in lower case, as each text writes it, and as all of
// them do. A policy that is about everything but a text keeps that: none takes away what the name has of it.
func (c *Compiled) spellings(field, name string) []string {
	all := []string{name}
	if !c.Reads(field) {
		return all
	}
	add := func(spelling string) {
		if !slices.Contains(all, spelling) && !c.excepts(field, name, spelling) {
			all = append(all, spelling)
		}
	}
	add(strings.ToLower(name))
	whole := name
	for _, text := range c.texts {
		if text.field == "" || text.field == field {
			whole = text.respell(whole)
			add(text.respell(name))
		}
	}
	add(whole)
	return all
}

// excepts reports whether a name fits a text that an expression makes an exception of, and another spelling does not.
func (c *Compiled) excepts(field, name, spelling string) bool {
	return slices.ContainsFunc(c.texts, func(text literal) bool {
		return text.negated && (text.field == "" || text.field == field) && text.fits(name) && !text.fits(spelling)
	})
}

func (l literal) fits(name string) bool {
	return name == l.text || !l.whole && strings.Contains(name, l.text)
}

// respell is a name in which each place that differs from the text in case alone is written as in the text, and one
// that lies within a text of an unknown form as there.
func (l literal) respell(name string) string {
	lower, text := strings.ToLower(name), strings.ToLower(l.text)
	switch {
	case len(text) != len(l.text), text == "", l.whole && lower != text:
		return name // Names are ASCII.
	case l.field == "" && !l.whole && strings.Contains(text, lower):
		at := strings.Index(text, lower)
		return l.text[at : at+len(name)]
	}
	var b strings.Builder
	for {
		at := strings.Index(lower, text)
		if at < 0 {
			return b.String() + name
		}
		b.WriteString(name[:at] + l.text)
		name, lower = name[at+len(text):], lower[at+len(text):]
	}
}
