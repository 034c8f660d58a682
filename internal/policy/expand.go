// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"

	"github.com/google/cel-go/cel"
	celast "github.com/google/cel-go/common/ast"
)

// mostNodes is how large an expression may become when its macros are expanded. CEL copies into some of them what they
// are called of, so that each more makes twice as much of it, and the types of ten thousand nodes take it seconds.
const mostNodes = 2000

// expansion finds out how large expressions become, without expanding them.
type expansion struct {
	plain  *cel.Env
	macros map[string]bool
}

func newExpansion(env *cel.Env) (*expansion, error) {
	x := &expansion{macros: map[string]bool{}}
	for _, macro := range env.Macros() {
		x.macros[macro.Function()] = true
	}
	var err error
	x.plain, err = env.Extend(cel.ClearMacros())
	return x, err
}

// check fails for an expression that could become too large, each macro taken to hold twice what is in it.
func (x *expansion) check(expression string) error {
	parsed, issues := x.plain.Parse(expression)
	if err := issues.Err(); err != nil {
		return fmt.Errorf("the expression does not compile: %s", firstLine(err))
	}
	if nodes(celast.NavigateAST(parsed.NativeRep()), x.macros) > mostNodes {
		return errors.New("the expression is too large when its macros are expanded: " +
			"call fewer of them (optMap, exists, map, filter and the like) of what others return, or inside others")
	}
	return nil
}

// nodes counts no further than it has to, to know that it is too many.
func nodes(e celast.NavigableExpr, macros map[string]bool) int {
	total := 1
	for _, part := range e.Children() {
		if total += nodes(part, macros); total > mostNodes {
			return total
		}
	}
	if e.Kind() == celast.CallKind && macros[e.AsCall().FunctionName()] {
		return 2*total + 10
	}
	return total
}
