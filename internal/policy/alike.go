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
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"github.com/google/cel-go/interpreter"
)

// fieldsRead are the fields of the request that an expression can read: if it reads the request as a whole, those with a
// name and those that only whoever asks can say.
func fieldsRead(ast *cel.Ast) []string {
	found := map[string]bool{}
	selected := map[int64]bool{} // the request, where only a field of it is read
	celast.PreOrderVisit(ast.NativeRep().Expr(), celast.NewExprVisitor(func(e celast.Expr) {
		if e.Kind() == celast.SelectKind && isRequest(e.AsSelect().Operand()) {
			selected[e.AsSelect().Operand().ID()] = true
			found[e.AsSelect().FieldName()] = true
		}
		if isRequest(e) && !selected[e.ID()] {
			for _, field := range append(saidByRequester(), fieldRepo, fieldEnvironment) {
				found[field] = true
			}
		}
	}))
	return slices.Sorted(maps.Keys(found))
}

// Reads reports whether an expression of the policy can read a field of the request with a name, repo or environment.
func (c *Compiled) Reads(field string) bool {
	return slices.ContainsFunc(c.when, func(w clause) bool { return slices.Contains(w.reads, field) })
}

// inAnyCase makes a program of an expression of a Deny. Whoever asks chooses how a name is written, and what compares
// names may tell case apart or not: so each call that is given a name is made twice, with the name as it is and with
// everything in lower case. Where it makes a difference the result is not known, as CEL has it: the expression is then
// false, true, or not known, and a Deny denies unless it is false.
func (c *Compiler) inAnyCase(expression string) (cel.Program, error) {
	parsed, issues := c.anyCase.Parse(expression)
	if err := issues.Err(); err != nil {
		return nil, err
	}
	callIndices(parsed)
	checked, issues := c.anyCase.Check(parsed)
	if err := issues.Err(); err != nil {
		return nil, err
	}
	return c.anyCase.Program(checked, cel.CostLimit(expressionCostLimit), cel.CostTracking(newCosts()),
		cel.CustomDecoratorV2(alike{c.measuring}.decorate), cel.CustomDecoratorV2(decorateMaking),
		cel.InterruptCheckFrequency(mostElements))
}

// costs are those of the calls that CEL does not know by their overloads any more, and of regular expressions, which it
// takes to be as costly as they are long.
type costs struct{ patterns *patterns }

func newCosts() costs { return costs{patterns: &patterns{}} }

// CallCost implements [interpreter.ActualCostEstimator], with the costs of CEL's own estimate.
func (c costs) CallCost(function, _ string, args []ref.Val, _ ref.Val) *uint64 {
	size := func(value ref.Val) uint64 {
		if n, ok := value.(name); ok {
			return uint64(len(n.exact))
		}
		if sized, ok := value.(traits.Sizer); ok {
			return uint64(max(1, sized.Size().(types.Int)))
		}
		return 1
	}
	cost := uint64(0)
	switch function, hidden := strings.CutPrefix(function, hiding); {
	case slices.Contains(takesPattern, function) && len(args) > 1:
		cost = 1 // what is no text, or takes too much, was refused
		if pattern, ok := exact(args[1]).(types.String); ok && c.patterns.tooMuch(string(pattern), size(args[0])) == nil {
			cost = c.patterns.cost(string(pattern), size(args[0]))
		}
	case !hidden:
		return nil
	case function == operators.In:
		cost = size(args[1])
	}
	return &cost
}

// alike has calls made in both ways.
type alike struct{ measuring }

// decorate has a call made in both ways. A call that does not wait for its arguments, or returns what it is given, stays
// as it is. No other call knows the type of a name: one that is forgotten here fails, and a Deny that fails denies.
func (a alike) decorate(i interpreter.InterpretableV2) (interpreter.InterpretableV2, error) {
	if made, ok := i.(interpreter.InterpretableConstructor); ok && made.Type() == types.MapType {
		return &keyed{made}, nil
	}
	i, err := a.measuring.decorate(i)
	if call, ok := i.(*measured); ok {
		call.hidden = call.hidden || call.Function() == operators.In
		return &twice{call}, err
	}
	return i, err
}

// keyed is a map that an expression makes. None has names for keys: its fields are found as they are written.
type keyed struct {
	interpreter.InterpretableConstructor
}

func (k *keyed) Eval(vars interpreter.Activation) ref.Val { return k.Exec(interpreter.AsFrame(vars)) }

func (k *keyed) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	value := k.InterpretableConstructor.Exec(frame)
	made, ok := value.(traits.Mapper)
	if !ok {
		return value
	}
	counts := madeIn(frame)
	for i := made.Iterator(); i.HasNext() == types.True; {
		if counts.holdsName(i.Next()) {
			return types.NewErr("a name of the request is the key of a map; compare it with ==, in or startsWith")
		}
	}
	return value
}

// twice is a call that is made as it stands and without case.
type twice struct{ *measured }

func (t *twice) Eval(vars interpreter.Activation) ref.Val { return t.Exec(interpreter.AsFrame(vars)) }

func (t *twice) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	args, problem := t.evaluated(frame)
	if problem != nil {
		return problem
	}
	made := madeIn(frame)
	named := false
	for _, arg := range args {
		named = made.holdsName(arg) || named
	}
	if !named {
		return t.call(made, args)
	}
	size := 0
	for _, arg := range args {
		size += made.unfolded(arg)
	}
	made.limit(2 * size)
	lower := valuesAs(args, folded)
	if slices.Contains(takesPattern, t.function) {
		if pattern, ok := args[1].(types.String); ok {
			lower[1] = "(?i)" + pattern
		}
	}
	return t.merge(t.call(made, valuesAs(args, exact)), t.call(made, lower))
}

func valuesAs(args []ref.Val, as func(ref.Val) ref.Val) []ref.Val {
	all := make([]ref.Val, 0, len(args))
	for _, arg := range args {
		all = append(all, as(arg))
	}
	return all
}

// merge is what is known of a result of which one or the other is right.
func (t *twice) merge(asWritten, lower ref.Val) ref.Val {
	if types.IsError(asWritten) && types.IsError(lower) {
		return asWritten
	}
	if merged := bothOf(asWritten, lower); merged != nil {
		return merged
	}
	return types.NewUnknown(t.ID(), nil)
}
