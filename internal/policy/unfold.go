// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"sync/atomic"

	"github.com/google/cel-go/cel"
	celast "github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
)

// takesPattern are the functions whose second argument is a regular expression, takesQuantity those whose only one is a
// quantity. What CEL takes for their cost is the length of that text, and not what is made of it.
var (
	takesPattern  = []string{"matches", "find", "findAll"}
	takesQuantity = []string{"quantity", "isQuantity"}
)

// mostSteps is how many steps a regular expression may have once its repetitions are written out. Go takes some 40
// bytes for each.
const mostSteps = 2000

// smallQuantity is every quantity that anything has: 10 to the power of a million is written in seven characters, and
// takes seconds to compare.
var smallQuantity = regexp.MustCompile(`^[+-]?[0-9.]{0,40}([A-Za-z]{0,2}|[eE][+-]?[0-9]{1,2})$`)

// unfolds returns an error if what a function makes of a text is too large: then the function is not called.
func unfolds(function, text string, seen *patterns) error {
	switch {
	case slices.Contains(takesPattern, function):
		return seen.tooMuch(text, 0)
	case slices.Contains(takesQuantity, function) && !smallQuantity.MatchString(text):
		return errors.New("a quantity is longer, or has a larger exponent, than any that is meant")
	}
	return nil
}

// patterns counts the steps of a regular expression once for as long as it is the same. Its zero value is ready to use.
type patterns struct{ last atomic.Pointer[pattern] }

type pattern struct {
	text  string
	steps int
}

// isNew reports whether a regular expression is another than the last.
func (p *patterns) isNew(text string) bool {
	last := p.last.Load()
	return last == nil || last.text != text
}

// patternOf is the regular expression of a call; empty if it has none.
func patternOf(function string, args []ref.Val) string {
	if !slices.Contains(takesPattern, function) || len(args) < 2 {
		return ""
	}
	text, _ := args[1].(types.String)
	return string(text)
}

func (p *patterns) steps(text string) int {
	if len(text) > mostSteps {
		return mostSteps + 1 // which is not parsed to see that
	}
	last := p.last.Load()
	if last == nil || last.text != text {
		last = &pattern{text: text, steps: 1}
		if parsed, err := syntax.Parse(text, syntax.Perl); err == nil { // what cannot be parsed the function refuses itself
			last.steps = max(1, steps(parsed))
		}
		p.last.Store(last)
	}
	return last.steps
}

// looksForOne is how many looks at a step cost as much as one unit of CEL's.
const looksForOne = 40

// cost is what it costs to look for a regular expression in a text of so many bytes. It is made anew for each call, in about a
// quarter of a microsecond for each step, and at each byte each step may be looked at, in about eight nanoseconds.
func (p *patterns) cost(text string, size uint64) uint64 {
	steps := uint64(p.steps(text))
	return steps + (size+1)*steps/looksForOne
}

// tooMuch is an error if a regular expression is not to be looked for in a text of so many bytes.
func (p *patterns) tooMuch(text string, size uint64) error {
	switch {
	case p.steps(text) > mostSteps:
		return fmt.Errorf("a regular expression has more than %d steps when its repetitions are written out: repeat less of it, or less often", mostSteps)
	case p.cost(text, size) > expressionCostLimit:
		return errors.New("a regular expression is too large for the text in which it is looked for: repeat less of it, or look in a shorter one")
	}
	return nil
}

// steps is about how many a regular expression has. The parser refuses what has some millions.
func steps(e *syntax.Regexp) int {
	sum := 1
	for _, part := range e.Sub {
		sum += steps(part)
	}
	switch e.Op {
	case syntax.OpLiteral:
		return len(e.Rune)
	case syntax.OpCharClass:
		return 1 + len(e.Rune)/2
	case syntax.OpRepeat:
		return sum * max(1, e.Min+1, e.Max)
	default:
		return sum
	}
}

// given is the argument that may unfold, of a function's arguments, its receiver among them; nil if there is none.
func given[T any](function string, args []T) *T {
	at := 1
	if slices.Contains(takesQuantity, function) {
		at = 0
	}
	if at >= len(args) {
		return nil
	}
	return &args[at]
}

// unfoldsWritten looks at the texts that stand in an expression, before anything is made of them.
func unfoldsWritten(ast *cel.Ast) (problem error) {
	celast.PreOrderVisit(ast.NativeRep().Expr(), celast.NewExprVisitor(func(e celast.Expr) {
		if e.Kind() != celast.CallKind || problem != nil {
			return
		}
		call := e.AsCall()
		args := call.Args()
		if call.IsMemberFunction() {
			args = append([]celast.Expr{call.Target()}, args...)
		}
		if arg := given(call.FunctionName(), args); arg != nil && (*arg).Kind() == celast.LiteralKind {
			if text, ok := (*arg).AsLiteral().(types.String); ok {
				problem = unfolds(call.FunctionName(), string(text), &patterns{})
			}
		}
	}))
	return problem
}

// unfoldsMade looks at a text that an expression makes, or takes from the request, when it is evaluated.
func unfoldsMade(function string, args []ref.Val, seen *patterns) error {
	if arg := given(function, args); arg != nil {
		text, ok := (*arg).(types.String)
		if !ok {
			return nil
		}
		if in, ok := args[0].(types.String); ok && slices.Contains(takesPattern, function) {
			return seen.tooMuch(string(text), uint64(len(in)))
		}
		return unfolds(function, string(text), seen)
	}
	return nil
}
