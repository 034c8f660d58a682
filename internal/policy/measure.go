// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"

	"github.com/google/cel-go/cel"
	celfunctions "github.com/google/cel-go/common/functions"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/overloads"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"github.com/google/cel-go/interpreter"
)

// natives are the functions of an environment, by their names and by those of their overloads.
type natives map[string]*celfunctions.Overload

func nativesOf(env *cel.Env) (natives, error) {
	all := natives{
		operators.Equals:    {Binary: types.Equal},
		operators.NotEquals: {Binary: func(a, b ref.Val) ref.Val { return types.Bool(types.Equal(a, b) != types.True) }},
	}
	for name, declared := range env.Functions() {
		bound, err := declared.Bindings()
		if err != nil {
			return nil, fmt.Errorf("function %s: %w", name, err)
		}
		for _, o := range bound {
			if all[o.Operator] == nil {
				all[o.Operator] = o
			}
		}
	}
	return all, nil
}

// measuring has the arguments of each call looked at before it is made.
type measuring struct {
	natives   natives
	functions functions
}

// decorate puts a call that is measured in place of a call. One that does not wait for its arguments, or returns what it is given, stays
// as it is, and one of a text that stands in the expression is made at once.
func (m measuring) decorate(i interpreter.InterpretableV2) (interpreter.InterpretableV2, error) {
	call, ok := i.(interpreter.InterpretableCall)
	if !ok {
		return i, nil
	}
	function := call.Function()
	native := m.natives[call.OverloadID()]
	if native == nil {
		native = m.natives[function]
	}
	known := m.functions[function].bound
	if native == nil || known == nil {
		return nil, unknownFunction(function)
	}
	if native.NonStrict || function == overloads.TypeConvertDyn {
		return i, nil
	}
	measured := &measured{
		InterpretableCall: call, function: function, args: call.Args(), native: native, bound: known,
		patterns: &patterns{}, hidden: slices.Contains(takesPattern, function),
	}
	if overloads.IsTypeConversionFunction(function) && len(measured.args) == 1 {
		if written, ok := measured.args[0].(interpreter.InterpretableConst); ok {
			value := measured.call(&making{}, []ref.Val{written.Value()})
			if problem, failed := value.(*types.Err); failed {
				return nil, problem
			}
			return interpreter.NewConstValue(call.ID(), value), nil
		}
	}
	return measured, nil
}

// measured is a call whose arguments are looked at before it is made, and whose result is counted.
type measured struct {
	interpreter.InterpretableCall
	function string
	args     []interpreter.InterpretableV2
	native   *celfunctions.Overload
	bound    bound
	patterns *patterns
	// hidden is set for a function that CEL would put something faster in place of, did it know the name.
	hidden bool
}

// hiding stands before the name of a function that is hidden.
const hiding = "@twice:"

// Function implements [interpreter.InterpretableCall].
func (c *measured) Function() string {
	if c.hidden {
		return hiding + c.function
	}
	return c.function
}

// OverloadID implements [interpreter.InterpretableCall].
func (c *measured) OverloadID() string {
	if c.hidden {
		return ""
	}
	return c.InterpretableCall.OverloadID()
}

func (c *measured) Eval(vars interpreter.Activation) ref.Val {
	return c.Exec(interpreter.AsFrame(vars))
}

func (c *measured) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	args, problem := c.evaluated(frame)
	if problem != nil {
		return problem
	}
	return c.call(madeIn(frame), args)
}

// evaluated are the arguments, or the first that is an error or not known.
func (c *measured) evaluated(frame *interpreter.ExecutionFrame) (args []ref.Val, problem ref.Val) {
	args = make([]ref.Val, len(c.args))
	for i, arg := range c.args {
		if args[i] = arg.Exec(frame); types.IsUnknownOrError(args[i]) {
			return nil, args[i]
		}
	}
	return args, nil
}

func (c *measured) call(made *making, args []ref.Val) ref.Val {
	for _, arg := range args {
		if types.IsUnknownOrError(arg) {
			return arg
		}
	}
	if text := patternOf(c.function, args); c.patterns.isNew(text) {
		made.looks += patternLooks * len(text)
		made.limit(0)
	}
	problem := unfoldsMade(c.function, args, c.patterns)
	bytes := 0
	if problem == nil {
		bytes, problem = c.bound(made, args)
	}
	if problem != nil {
		made.limit(0) // a macro may go on after an error
		return types.WrapErr(problem)
	}
	made.limit(bytes)
	value := types.LabelErrNode(c.ID(), c.made(args))
	size := valueSize
	switch v := value.(type) {
	case *types.Err, *types.Unknown:
		return value
	case types.String:
		size += len(v)
	case types.Bytes:
		size += len(v)
	case traits.MutableLister, traits.Mapper:
		size += bytes
	case traits.Lister:
		if c.function != operators.Add {
			size += elementSize * length(v)
			break
		}
		size += bytes
		value = flat(v)
	}
	made.count(size)
	return value
}

// made is the result of the call, as CEL makes it.
func (c *measured) made(args []ref.Val) ref.Val {
	n := c.native
	if n.OperandTrait != 0 && !args[0].Type().HasTrait(n.OperandTrait) {
		if receiver, ok := args[0].(traits.Receiver); ok {
			return receiver.Receive(c.function, c.InterpretableCall.OverloadID(), args[1:])
		}
		return types.NewErr("no such overload: %s", c.function)
	}
	switch {
	case len(args) == 1 && n.Unary != nil:
		return n.Unary(args[0])
	case len(args) == 2 && n.Binary != nil:
		return n.Binary(args[0], args[1])
	case n.Function != nil:
		return n.Function(args...)
	}
	return types.NewErr("no such overload: %s", c.function)
}

// flat is a list that has its elements itself. In one that points to others, which point to others, each is looked for through all of them.
func flat(list traits.Lister) ref.Val {
	all := make([]ref.Val, length(list))
	for i := range all {
		all[i] = list.Get(types.Int(i))
	}
	return types.NewRefValList(types.DefaultTypeAdapter, all)
}

func unknownFunction(name string) error {
	return fmt.Errorf("an expression may not call %s: how much a call takes is not known", name)
}
