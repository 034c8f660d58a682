// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"maps"
	"slices"
	"strings"

	"github.com/google/cel-go/cel"
	celast "github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/types"
)

// What an expression of a Deny may cost in which names are compared in both ways, in the API server's units: each
// comparison stands there twice.
const bothWaysCostLimit = 4 * expressionCostLimit

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

// Reads reports whether an expression of the policy can read a field of the request with a name, repo or environment.
func (c *Compiled) Reads(field string) bool {
	return slices.ContainsFunc(c.when, func(w clause) bool { return slices.Contains(w.reads, field) })
}

// inAnyCase is an expression of a Deny, as it denies: whoever asks chooses how a name is written, so it holds where it
// holds for some writing, in each comparison by itself, and what it makes an exception of is written as in the policy.
// An expression that is true stays true.
func (c *Compiler) inAnyCase(expression string, checked *cel.Ast) (*cel.Ast, error) {
	parsed, issues := c.env.Parse(expression) // It has the numbers by which the checked one knows the types.
	if err := issues.Err(); err != nil {
		return nil, err
	}
	s := spelling{ExprFactory: celast.NewExprFactory(), types: checked.NativeRep().TypeMap()}
	root := parsed.NativeRep().Expr()
	root.SetKindCase(s.bothWays(root, true))
	last := int64(0)
	root.RenumberIDs(func(int64) int64 { last++; return last })
	ast, issues := c.env.Check(parsed)
	return ast, issues.Err()
}

// spelling rewrites expressions so that they read names without case.
type spelling struct {
	celast.ExprFactory
	types map[int64]*types.Type
}

// bothWays is a condition in which each comparison with a name stands as it is and without case: one of them has to
// hold, or, under a negation, both.
func (s spelling) bothWays(e celast.Expr, one bool) celast.Expr {
	if e.Kind() == celast.CallKind {
		args := e.AsCall().Args()
		switch function := e.AsCall().FunctionName(); function {
		case operators.LogicalAnd, operators.LogicalOr:
			return s.NewCall(e.ID(), function, s.bothWays(args[0], one), s.bothWays(args[1], one))
		case operators.LogicalNot:
			return s.NewCall(e.ID(), function, s.bothWays(args[0], !one))
		case operators.Conditional:
			unless := s.NewCall(e.ID(), operators.LogicalNot, s.bothWays(args[0], !one))
			return s.NewCall(e.ID(), operators.LogicalOr,
				s.NewCall(e.ID(), operators.LogicalAnd, s.bothWays(args[0], one), s.bothWays(args[1], one)),
				s.NewCall(e.ID(), operators.LogicalAnd, unless, s.bothWays(args[2], one)))
		}
	}
	if !s.readsName(e) {
		return s.CopyExpr(e)
	}
	function := operators.LogicalAnd
	if one {
		function = operators.LogicalOr
	}
	return s.NewCall(e.ID(), function, s.CopyExpr(e), s.withoutCase(e))
}

// isName reports whether an expression is a name of the request, also of one that stands in a list.
func (s spelling) isName(e celast.Expr) bool {
	if e.Kind() != celast.SelectKind || e.AsSelect().IsTestOnly() {
		return false
	}
	field, of := e.AsSelect().FieldName(), e.AsSelect().Operand()
	return (field == fieldRepo || field == fieldEnvironment) && s.isRequest(of)
}

func (s spelling) isRequest(e celast.Expr) bool {
	t := s.types[e.ID()]
	return t != nil && t.TypeName() == typeRequest
}

func (s spelling) readsName(e celast.Expr) (reads bool) {
	celast.PreOrderVisit(e, celast.NewExprVisitor(func(inner celast.Expr) { reads = reads || s.isName(inner) }))
	return reads
}

// withoutCase is a copy in which every name, and every other text that is read, is in lower case, and every text that
// stands in the expression.
func (s spelling) withoutCase(e celast.Expr) celast.Expr {
	folded := s.CopyExpr(e)
	patterns := map[int64]bool{}
	celast.PreOrderVisit(folded, celast.NewExprVisitor(func(e celast.Expr) {
		if e.Kind() == celast.CallKind && slices.Contains([]string{"matches", "find", "findAll"}, e.AsCall().FunctionName()) {
			for _, arg := range e.AsCall().Args() {
				patterns[arg.ID()] = true
			}
		}
	}))
	celast.PostOrderVisit(folded, celast.NewExprVisitor(func(e celast.Expr) {
		switch {
		case e.Kind() == celast.LiteralKind && e.AsLiteral().Type() == types.StringType:
			text := e.AsLiteral().Value().(string)
			if patterns[e.ID()] {
				text = "(?i)" + text
			} else {
				text = strings.ToLower(text)
			}
			e.SetKindCase(s.NewLiteral(e.ID(), types.String(text)))
		case e.Kind() == celast.SelectKind && s.types[e.ID()] == types.StringType:
			e.SetKindCase(s.NewMemberCall(e.ID(), "lowerAscii", s.CopyExpr(e)))
		}
	}))
	return folded
}
