// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
)

// name is a text of which it is not known whether case matters, such as the name of a repository.
type name struct{ exact, folded string }

// nameType is known to no function, so that none takes a name for a text.
var nameType = types.NewOpaqueType("valetkey.dev/Name")

func nameIn(text string) name { return name{text, strings.ToLower(text)} }

// ConvertToNative implements [ref.Val]: a name is nothing else.
func (n name) ConvertToNative(to reflect.Type) (any, error) {
	return nil, fmt.Errorf("a name is no %s", to)
}

// ConvertToType implements [ref.Val]: a name is nothing else.
func (n name) ConvertToType(to ref.Type) ref.Val {
	return types.NewErr("a name is no %s", to.TypeName())
}

// Equal implements [ref.Val]. Names are compared in both ways by whoever holds them, and not here.
func (n name) Equal(ref.Val) ref.Val { return types.NewErr("a name is not compared in one way alone") }

// Type implements [ref.Val].
func (n name) Type() ref.Type { return nameType }

// Value implements [ref.Val].
func (n name) Value() any { return n }

// namesOfRequest are the variables of an expression with the names of the request as names.
func namesOfRequest(vars map[string]any) map[string]any {
	all := map[string]any{}
	for variable, value := range vars {
		all[variable] = value
	}
	request := map[string]any{}
	for field, value := range vars[variableRequest].(map[string]any) {
		request[field] = value
	}
	for _, field := range []string{fieldRepo, fieldEnvironment} {
		request[field] = nameIn(request[field].(string))
	}
	all[variableRequest] = request
	return all
}

// holdsName reports whether a value is a name, or has one in it, as far as it may look. What a macro fills holds none if it held none
// before: what holds one is never put into it.
func (m *making) holdsName(value ref.Val) bool {
	if m.looks++; m.over() {
		return false
	}
	switch v := value.(type) {
	case name:
		return true
	case *types.Optional:
		return v.HasValue() && m.holdsName(v.GetValue())
	case traits.MutableLister, traits.MutableMapper:
		return !m.nameless[value] && m.fillsName(value)
	case traits.Mapper, traits.Lister:
		return m.elementIsName(value)
	}
	return false
}

// fillsName reports the same of a list or a map that a macro fills, and remembers if it holds none.
func (m *making) fillsName(value ref.Val) bool {
	if m.elementIsName(value) {
		return true
	}
	if m.nameless == nil {
		m.nameless = map[ref.Val]bool{}
	}
	m.nameless[value] = true
	return false
}

func (m *making) elementIsName(value ref.Val) bool {
	switch v := value.(type) {
	case traits.Mapper:
		m.looks += length(v)
		for i := v.Iterator(); i.HasNext() == types.True; {
			if key := i.Next(); m.holdsName(key) || m.holdsName(v.Get(key)) {
				return true
			}
		}
	case traits.Lister:
		for i := v.Iterator(); i.HasNext() == types.True && !m.over(); {
			if m.holdsName(i.Next()) {
				return true
			}
		}
	}
	return false
}

// exact is a value as it was written.
func exact(value ref.Val) ref.Val {
	return mapTexts(value, func(text ref.Val) ref.Val {
		if n, ok := text.(name); ok {
			return types.String(n.exact)
		}
		return text
	})
}

// folded is a value in which every text is in lower case.
func folded(value ref.Val) ref.Val {
	return mapTexts(value, func(text ref.Val) ref.Val {
		if n, ok := text.(name); ok {
			return types.String(n.folded)
		}
		return types.String(strings.ToLower(string(text.(types.String))))
	})
}

// mapTexts is a value with other texts, wherever they are in it. Keys that become the same are an error.
func mapTexts(value ref.Val, other func(ref.Val) ref.Val) ref.Val {
	switch v := value.(type) {
	case name, types.String:
		return other(v)
	case *types.Optional:
		if v.HasValue() {
			return types.OptionalOf(mapTexts(v.GetValue(), other))
		}
	case traits.Mapper:
		all := map[ref.Val]ref.Val{}
		for i := v.Iterator(); i.HasNext() == types.True; {
			key := i.Next()
			all[mapTexts(key, other)] = mapTexts(v.Get(key), other)
		}
		if types.Int(len(all)) != v.Size() {
			return types.NewErr("two keys are one without case")
		}
		return types.NewRefValMap(types.DefaultTypeAdapter, all)
	case traits.Lister:
		var all []ref.Val
		for i := v.Iterator(); i.HasNext() == types.True; {
			all = append(all, mapTexts(i.Next(), other))
		}
		return types.NewRefValList(types.DefaultTypeAdapter, all)
	}
	return value
}

// bothOf is a value of which it is not known in which case its texts are: the first, or the second without case. It is
// nil if they differ in anything else, or could hide a text.
func bothOf(asWritten, lower ref.Val) ref.Val {
	switch a := asWritten.(type) {
	case types.String:
		if b, ok := lower.(types.String); ok {
			return name{string(a), strings.ToLower(string(b))}
		}
	case types.Bool, types.Int, types.Uint, types.Double:
		if types.Equal(a, lower) == types.True {
			return a
		}
	case *types.Optional:
		if b, ok := lower.(*types.Optional); ok && a.HasValue() == b.HasValue() {
			if !a.HasValue() {
				return a
			}
			if both := bothOf(a.GetValue(), b.GetValue()); both != nil {
				return types.OptionalOf(both)
			}
		}
	case traits.Lister:
		if b, ok := lower.(traits.Lister); ok && a.Size() == b.Size() {
			return bothOfEach(a, b)
		}
	}
	return nil
}

func bothOfEach(a, b traits.Lister) ref.Val {
	var all []ref.Val
	for i := types.Int(0); i < a.Size().(types.Int); i++ {
		both := bothOf(a.Get(i), b.Get(i))
		if both == nil {
			return nil
		}
		all = append(all, both)
	}
	return types.NewRefValList(types.DefaultTypeAdapter, all)
}
