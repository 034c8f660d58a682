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

// textsIn are the texts of an expression, whole and in pieces.
func textsIn(ast *cel.Ast) []string {
	found := map[string]bool{}
	celast.PreOrderVisit(ast.NativeRep().Expr(), celast.NewExprVisitor(func(e celast.Expr) {
		if e.Kind() != celast.LiteralKind || e.AsLiteral().Type() != types.StringType {
			return
		}
		text := e.AsLiteral().Value().(string)
		found[text] = true
		for _, piece := range pieces.FindAllString(text, -1) {
			found[piece] = true
		}
	}))
	delete(found, "")
	return slices.Sorted(maps.Keys(found))
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

// spellings are a name as it is, and, if an expression reads it, in lower case, with each text that it holds but for
// case written as the text is, and with all of them written so.
func (c *Compiled) spellings(field, name string) []string {
	all := []string{name}
	if !c.Reads(field) {
		return all
	}
	add := func(spelling string) {
		if !slices.Contains(all, spelling) {
			all = append(all, spelling)
		}
	}
	add(strings.ToLower(name))
	whole := name
	for _, text := range c.texts {
		whole = respell(whole, text)
		add(respell(name, text))
	}
	add(whole)
	return all
}

// respell is a name in which each place that differs from the text in case alone is the text.
func respell(name, text string) string {
	lower, folded := strings.ToLower(name), strings.ToLower(text)
	if text == "" || len(folded) != len(text) {
		return name // Names are ASCII.
	}
	var b strings.Builder
	for {
		at := strings.Index(lower, folded)
		if at < 0 {
			return b.String() + name
		}
		b.WriteString(name[:at] + text)
		name, lower = name[at+len(text):], lower[at+len(text):]
	}
}
