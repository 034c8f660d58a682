// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"maps"
	"time"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"github.com/google/cel-go/interpreter"
	apiservercel "k8s.io/apiserver/pkg/cel"
)

// mostMade is how many bytes the texts, lists and maps may take together that an expression makes in one evaluation,
// whether it keeps them or not. CEL's costs are of what is looked through, and a short text in it makes a long one.
const mostMade = 4 << 20

// mostText is how many bytes a text may have that an expression makes.
const mostText = 1 << 20

// mostElements is how many elements macros look at in one evaluation. CEL walks through all that it evaluated of a macro, for
// each element again, to count what it costs: five thousand took a tenth of a second, sixteen thousand more than one.
const mostElements = 5000

// mostLooks is how often the calls of one evaluation may look at a value, at comparedAtOnce bytes of a text that is compared,
// or at readAtOnce bytes of one that is read character by character. A look takes some twenty to fifty nanoseconds.
const (
	mostLooks      = 1_000_000
	comparedAtOnce = 64
	readAtOnce     = 16
)

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

// making counts what one evaluation makes, and at how much its calls look.
type making struct {
	bytes, looks int
	// nameless are the lists and maps that macros are filling and that hold no name of the request so far.
	nameless map[ref.Val]bool
}

// counting are variables for one evaluation.
func counting(vars map[string]any) map[string]any {
	vars = maps.Clone(vars)
	vars[variableMade] = &making{}
	return vars
}

// decorateMaking has the lists and maps counted that stand in an expression.
func decorateMaking(i interpreter.InterpretableV2) (interpreter.InterpretableV2, error) {
	if made, ok := i.(interpreter.InterpretableConstructor); ok {
		return &makingWhole{made}, nil
	}
	return i, nil
}

// makingWhole is a list or a map that is counted with all that is in it, however often the same value is: what is made of it later,
// and compared with it, is no larger.
type makingWhole struct {
	interpreter.InterpretableConstructor
}

func (m *makingWhole) Eval(vars interpreter.Activation) ref.Val {
	return m.Exec(interpreter.AsFrame(vars))
}

func (m *makingWhole) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	value := m.InterpretableConstructor.Exec(frame)
	if types.IsUnknownOrError(value) {
		return value
	}
	made := madeIn(frame)
	made.count(valueSize + made.unfolded(value))
	return value
}

// length is that of a list or a map; of one whose length is no number, more than any may have.
func length(of traits.Sizer) int {
	if n, ok := of.Size().(types.Int); ok {
		return int(n)
	}
	return mostMade
}

func madeIn(frame *interpreter.ExecutionFrame) *making {
	found, _ := frame.ResolveName(variableMade)
	if m, ok := found.(*making); ok {
		return m
	}
	return &making{bytes: mostMade + 1} // nobody counts, so nothing is made
}

// count counts what was made.
func (m *making) count(size int) {
	m.bytes += size
	m.limit(0)
}

// limit ends the evaluation if too much was made, or would be with so many bytes more, or too much was looked at. It does so as CEL does
// where the cost is too high, and recovers: after an error a macro would go on.
func (m *making) limit(more int) {
	problem := ""
	switch {
	case m.bytes+more > mostMade:
		problem = fmt.Sprintf("the texts, lists and maps that the expression makes take more than %d bytes together", mostMade)
	case m.over():
		problem = fmt.Sprintf("the functions of the expression look at more than %d values, or pieces of texts, together", mostLooks)
	default:
		return
	}
	panic(interpreter.EvalCancelledError{Cause: interpreter.CostLimitExceeded, Message: problem})
}

func (m *making) over() bool { return m.looks > mostLooks }

// unfolded looks at a value and all that is in it, until that is too much, and returns how many bytes that takes written out, where
// each value is counted as often as it is there.
func (m *making) unfolded(value ref.Val) int {
	m.looks++
	size := elementSize
	switch v := value.(type) {
	case types.String:
		m.looks += len(v) / comparedAtOnce
		size += len(v)
	case types.Bytes:
		m.looks += len(v) / comparedAtOnce
		size += len(v)
	case name:
		size += len(v.exact)
	case apiservercel.URL:
		m.looks += mostURL / comparedAtOnce
		size += mostURL
	case apiservercel.Semver:
		m.looks += mostVersion / comparedAtOnce
	case *types.Optional:
		if v.HasValue() {
			size += m.unfolded(v.GetValue())
		}
	case traits.Mapper:
		m.looks += length(v) // CEL makes a list of the keys first
		for i := v.Iterator(); !m.over() && size <= mostMade && i.HasNext() == types.True; {
			key := i.Next()
			size += entrySize + m.unfolded(key) + m.unfolded(v.Get(key))
		}
	case traits.Lister:
		for i, n := 0, length(v); i < n && !m.over() && size <= mostMade; i++ {
			size += m.unfolded(v.Get(types.Int(i)))
		}
	}
	return size
}

// weight is at how much one looks who looks at a value and all that is in it.
func (m *making) weight(value ref.Val) int {
	before := m.looks
	m.limit(m.unfolded(value) - m.bytes) // no value is larger than all that may be made
	return m.looks - before
}

// compare looks at what CEL looks at, at most, to compare two values.
func (m *making) compare(a, b ref.Val) {
	m.looks++
	switch x := a.(type) {
	case types.String:
		if y, ok := b.(types.String); ok {
			m.looks += min(len(x), len(y)) / comparedAtOnce
		}
	case types.Bytes:
		if y, ok := b.(types.Bytes); ok {
			m.looks += min(len(x), len(y)) / comparedAtOnce
		}
	case apiservercel.URL:
		m.looks += mostURL / comparedAtOnce
	case apiservercel.Semver:
		m.looks += mostVersion / comparedAtOnce
	case *types.Optional:
		if y, ok := b.(*types.Optional); ok && x.HasValue() && y.HasValue() {
			m.compare(x.GetValue(), y.GetValue())
		}
	case traits.Mapper:
		if y, ok := b.(traits.Mapper); ok && length(x) == length(y) {
			m.looks += length(x)
			for i := x.Iterator(); !m.over() && i.HasNext() == types.True; {
				key := i.Next()
				m.unfolded(key)
				other, found := y.Find(key)
				if !found {
					return
				}
				m.compare(x.Get(key), other)
			}
		}
	case traits.Lister:
		if y, ok := b.(traits.Lister); ok && length(x) == length(y) {
			for i, n := 0, length(x); i < n && !m.over(); i++ {
				m.compare(x.Get(types.Int(i)), y.Get(types.Int(i)))
			}
		}
	}
}

// find looks at what CEL looks at, at most, to find a value in a list.
func (m *making) find(value ref.Val, in traits.Lister) {
	n := length(in)
	switch value.(type) {
	case traits.Lister, traits.Mapper, *types.Optional:
		for i := 0; i < n && !m.over(); i++ {
			m.compare(value, in.Get(types.Int(i)))
		}
	default:
		m.looks += n * m.weight(value)
	}
}

// read looks at a text character by character.
func (m *making) read(value ref.Val) int {
	m.looks++
	size := 0
	switch v := value.(type) {
	case types.String:
		size = len(v)
	case types.Bytes:
		size = len(v)
	case apiservercel.URL:
		size = mostURL
	}
	m.looks += size / readAtOnce
	return size
}
