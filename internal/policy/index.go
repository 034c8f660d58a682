// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"github.com/google/cel-go/cel"
	celast "github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
)

// The functions that stand for an index which is not written in the expression: CEL looks such a one up by itself, and
// not by a call.
const (
	functionAt      = "@at"
	functionMaybeAt = "@maybeAt"
)

// callIndices puts calls in place of the indices of an expression.
func callIndices(parsed *cel.Ast) {
	factory := celast.NewExprFactory()
	celast.PostOrderVisit(parsed.NativeRep().Expr(), celast.NewExprVisitor(func(e celast.Expr) {
		if e.Kind() != celast.CallKind || len(e.AsCall().Args()) != 2 || e.AsCall().Args()[1].Kind() == celast.LiteralKind {
			return
		}
		instead := map[string]string{operators.Index: functionAt, operators.OptIndex: functionMaybeAt}[e.AsCall().FunctionName()]
		if instead != "" {
			e.SetKindCase(factory.NewCall(e.ID(), instead, e.AsCall().Args()...))
		}
	}))
}

// withIndices is an environment that also has functionAt and functionMaybeAt, with the types of an index.
func withIndices(env *cel.Env) (*cel.Env, error) {
	key, value := cel.TypeParamType("K"), cel.TypeParamType("V")
	list, dict := cel.ListType(value), cel.MapType(key, value)
	maybe := cel.OptionalType
	return env.Extend(
		cel.Function(functionAt, cel.SingletonBinaryBinding(at),
			cel.Overload("at_list", []*cel.Type{list, cel.IntType}, value),
			cel.Overload("at_map", []*cel.Type{dict, key}, value),
			cel.Overload("at_maybe_list", []*cel.Type{maybe(list), cel.IntType}, maybe(value)),
			cel.Overload("at_maybe_map", []*cel.Type{maybe(dict), key}, maybe(value))),
		cel.Function(functionMaybeAt, cel.SingletonBinaryBinding(maybeAt),
			cel.Overload("maybe_at_list", []*cel.Type{list, cel.IntType}, maybe(value)),
			cel.Overload("maybe_at_map", []*cel.Type{dict, key}, maybe(value)),
			cel.Overload("maybe_at_maybe_list", []*cel.Type{maybe(list), cel.IntType}, maybe(value)),
			cel.Overload("maybe_at_maybe_map", []*cel.Type{maybe(dict), key}, maybe(value))))
}

// at is of[key].
func at(of, key ref.Val) ref.Val {
	if _, ok := of.(*types.Optional); ok {
		return maybeAt(of, key)
	}
	indexed, ok := of.(traits.Indexer)
	if !ok {
		return types.MaybeNoSuchOverloadErr(of)
	}
	return indexed.Get(key)
}

// maybeAt is of[?key].
func maybeAt(of, key ref.Val) ref.Val {
	if optional, ok := of.(*types.Optional); ok {
		if !optional.HasValue() {
			return types.OptionalNone
		}
		of = optional.GetValue()
	}
	switch container := of.(type) {
	case traits.Mapper:
		if found, ok := container.Find(key); ok {
			return types.OptionalOf(found)
		}
	case traits.Lister:
		if i, ok := key.(types.Int); ok && i >= 0 && i < container.Size().(types.Int) {
			return types.OptionalOf(container.Get(i))
		}
	default:
		return types.MaybeNoSuchOverloadErr(of)
	}
	return types.OptionalNone
}
