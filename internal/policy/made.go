// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"maps"
	"time"

	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"github.com/google/cel-go/interpreter"
)

// mostMade is how many bytes the texts, lists and maps may take together that an expression makes in one evaluation,
// whether it keeps them or not. CEL's costs are of what is looked through, and a short text in it makes a long one.
const mostMade = 4 << 20

// mostElements is how many elements macros look at in one evaluation. CEL walks through all that it evaluated of a macro, for
// each element again, to count what it costs: five thousand took a tenth of a second, sixteen thousand more than one.
const mostElements = 5000

// enough is a context that is over, at which CEL looks once in mostElements. Nothing waits for it.
type enough struct{}

func (enough) Deadline() (at time.Time, set bool) { return at, false }

func (enough) Done() <-chan struct{} {
	over := make(chan struct{})
	close(over)
	return over
}

func (enough) Err() error {
	return fmt.Errorf("the expression looks at more than %d elements", mostElements)
}

func (enough) Value(any) any { return nil }

// About how many bytes a value takes, an element of a list, and an entry of a map.
const (
	valueSize   = 64
	elementSize = 16
	entrySize   = 64
)

// variableMade is a variable that no expression can name. It counts what one evaluation makes.
const variableMade = "@made"

type making struct{ bytes int }

// counting are variables for one evaluation.
func counting(vars map[string]any) map[string]any {
	vars = maps.Clone(vars)
	vars[variableMade] = &making{}
	return vars
}

// decorateMaking has what is made counted, by calls and by lists and maps that stand in an expression.
func decorateMaking(i interpreter.InterpretableV2) (interpreter.InterpretableV2, error) {
	switch made := i.(type) {
	case interpreter.InterpretableCall:
		return &makingCall{made}, nil
	case interpreter.InterpretableConstructor:
		return &makingWhole{made}, nil
	}
	return i, nil
}

// makingCall is a call whose result is counted.
type makingCall struct {
	interpreter.InterpretableCall
}

func (m *makingCall) Eval(vars interpreter.Activation) ref.Val {
	return m.Exec(interpreter.AsFrame(vars))
}

func (m *makingCall) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	if tooMuch := madeIn(frame).tooMuch(); tooMuch != nil {
		return tooMuch // a macro goes on after an error
	}
	value := m.InterpretableCall.Exec(frame)
	size := valueSize
	switch v := value.(type) {
	case types.String:
		size += len(v)
	case types.Bytes:
		size += len(v)
	case traits.Lister:
		if m.Function() != operators.Add { // which points to the lists that it adds
			size += elementSize * length(v)
		}
	}
	return counted(frame, value, size)
}

// makingWhole is a list or a map that is counted.
type makingWhole struct {
	interpreter.InterpretableConstructor
}

func (m *makingWhole) Eval(vars interpreter.Activation) ref.Val {
	return m.Exec(interpreter.AsFrame(vars))
}

func (m *makingWhole) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	value := m.InterpretableConstructor.Exec(frame)
	each := elementSize
	if m.Type() == types.MapType {
		each = entrySize
	}
	return counted(frame, value, valueSize+each*len(m.InitVals()))
}

func length(of traits.Sizer) int {
	n, _ := of.Size().(types.Int)
	return int(n)
}

func madeIn(frame *interpreter.ExecutionFrame) *making {
	found, _ := frame.ResolveName(variableMade)
	if m, ok := found.(*making); ok {
		return m
	}
	return &making{bytes: mostMade + 1} // nobody counts, so nothing is made
}

// counted is a value that was made, or an error when too much was.
func counted(frame *interpreter.ExecutionFrame, value ref.Val, size int) ref.Val {
	if types.IsUnknownOrError(value) {
		return value
	}
	m := madeIn(frame)
	m.bytes += size
	if tooMuch := m.tooMuch(); tooMuch != nil {
		return tooMuch
	}
	return value
}

func (m *making) tooMuch() ref.Val {
	if m.bytes <= mostMade {
		return nil
	}
	return types.NewErr("the texts, lists and maps that the expression makes take more than %d bytes together", mostMade)
}
