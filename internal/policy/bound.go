// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"math/bits"
	"strings"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	apiservercel "k8s.io/apiserver/pkg/cel"
)

// bound looks at the arguments of a call before it is made: it counts at how much the call looks, and returns how many bytes at most
// its result takes that its arguments do not, or an error if it is not to be made.
type bound func(m *making, args []ref.Val) (bytes int, err error)

// mostURL and mostVersion are how many bytes a URL and a version may have, of which CEL makes an object whose size it does not tell.
const (
	mostURL     = 8 << 10
	mostVersion = 256
)

// What calls take that read more than their arguments, in looks.
const (
	timeZoneLooks = 1000 // a time zone is read from a file
	fractionLooks = 2000 // a fraction is written for a language, which is looked up
	formatLooks   = 16   // a format is a regular expression, for each readAtOnce bytes
	patternLooks  = 64   // a regular expression that is not the last one is parsed, for each byte
)

// Bytes that a number, a date or the like takes at most as a text, and a fraction before its decimals.
const (
	scalarText   = 64
	fractionText = 400
)

func boundOne(m *making, _ []ref.Val) (int, error) {
	m.looks++
	return 0, nil
}

func boundZone(m *making, args []ref.Val) (int, error) {
	if len(args) > 1 {
		m.looks += timeZoneLooks + m.read(args[1])
	}
	return boundText(m, args)
}

// boundText is that of what reads its texts from the beginning to the end, and makes none that is longer.
func boundText(m *making, args []ref.Val) (int, error) {
	size := scalarText
	for _, arg := range args {
		size += m.read(arg)
	}
	return size, nil
}

func boundQuote(m *making, args []ref.Val) (int, error) {
	return textOf(2 * m.read(args[0]))
}

// boundSearch is that of what compares a text with another at each place, or looks for a value in a list.
func boundSearch(m *making, args []ref.Val) (int, error) {
	if list, ok := args[0].(traits.Lister); ok {
		m.find(args[1], list)
		return 0, nil
	}
	in, what := m.read(args[0]), m.read(args[1])
	m.looks += max(0, in-what+1) * what / readAtOnce
	return 0, nil
}

func boundIn(m *making, args []ref.Val) (int, error) {
	if list, ok := args[1].(traits.Lister); ok {
		m.find(args[0], list)
		return 0, nil
	}
	m.weight(args[0])
	return 0, nil
}

func boundCompare(m *making, args []ref.Val) (int, error) {
	m.compare(args[0], args[1])
	return 0, nil
}

func boundAt(m *making, args []ref.Val) (int, error) {
	m.looks += m.weight(args[1]) + m.read(args[1]) // it is in the error if there is no such key
	return 0, nil
}

func boundPattern(m *making, args []ref.Val) (int, error) {
	return elementSize * (1 + m.read(args[0])), nil
}

// boundAllMatches is boundPattern for all matches: after each, the rest of the text is read again.
func boundAllMatches(m *making, args []ref.Val) (int, error) {
	size, err := boundPattern(m, args)
	if text, ok := args[0].(types.String); ok {
		m.looks += min(len(text), mostLooks) * min(len(text), mostLooks) / 2
	}
	return size, err
}

func boundFormat(m *making, args []ref.Val) (int, error) {
	m.looks += formatLooks * m.read(args[1]) / readAtOnce
	return 0, nil
}

func boundVersion(m *making, args []ref.Val) (int, error) {
	if m.read(args[0]) > mostVersion {
		return 0, fmt.Errorf("a version is longer than %d bytes", mostVersion)
	}
	return 0, nil
}

func boundURL(m *making, args []ref.Val) (int, error) {
	if m.read(args[0]) > mostURL {
		return 0, fmt.Errorf("a URL is longer than %d bytes", mostURL)
	}
	return 0, nil
}

func boundQuery(m *making, args []ref.Val) (int, error) {
	size := 3 * m.read(args[0])
	if url, ok := args[0].(apiservercel.URL); ok {
		size += (strings.Count(url.RawQuery, "&") + 1) * (entrySize + valueSize + elementSize)
	}
	return size, nil
}

// boundSplit is that of a list of the pieces of a text.
func boundSplit(m *making, args []ref.Val) (int, error) {
	m.read(args[0])
	in, okIn := args[0].(types.String)
	at, okAt := args[1].(types.String)
	if !okIn || !okAt {
		return 0, nil
	}
	return elementSize * (1 + strings.Count(string(in), string(at))), nil
}

func boundReplace(m *making, args []ref.Val) (int, error) {
	m.read(args[0])
	in, okIn := args[0].(types.String)
	old, okOld := args[1].(types.String)
	with, okWith := args[2].(types.String)
	if !okIn || !okOld || !okWith {
		return 0, nil
	}
	return textOf(len(in) + strings.Count(string(in), string(old))*len(with))
}

func boundJoin(m *making, args []ref.Val) (int, error) {
	list, ok := args[0].(traits.Lister)
	if !ok {
		return 0, nil
	}
	size := 0
	for i, n := 0, length(list); i < n && !m.over(); i++ {
		text, ok := list.Get(types.Int(i)).(types.String)
		if !ok {
			return 0, errors.New("what is joined is no text") // CEL writes it into its error, whatever it is
		}
		m.looks += 1 + len(text)/readAtOnce
		size += len(text)
	}
	if len(args) > 1 {
		size += length(list) * m.read(args[1])
	}
	return textOf(size)
}

// boundPrint is that of a text with values in it. CEL writes as many decimals as the text asks for.
func boundPrint(m *making, args []ref.Val) (int, error) {
	text, okText := args[0].(types.String)
	values, okValues := args[1].(traits.Lister)
	if !okText || !okValues {
		return 0, nil
	}
	size := m.read(text)
	for i, n := 0, length(values); i < n && !m.over(); i++ {
		size += m.printed(values.Get(types.Int(i)))
	}
	for _, clause := range strings.Split(string(text), "%")[1:] {
		verb := strings.TrimLeft(clause, ".0123456789")
		if verb != "" && strings.Contains("fe", verb[:1]) {
			m.looks += fractionLooks
			size += fractionText
		}
		decimals := 0
		for _, digit := range clause[:len(clause)-len(verb)] {
			if digit >= '0' && digit <= '9' {
				decimals = min(mostMade, 10*decimals+int(digit-'0'))
			}
		}
		size += decimals
	}
	return textOf(size)
}

// printed is how long a value is, at most, in a text. What is in a list is written into the text of the list, and that into the next.
func (m *making) printed(value ref.Val) int {
	m.looks++
	size := scalarText
	switch v := value.(type) {
	case types.String, types.Bytes:
		size += 4 * m.read(v)
	case types.Double:
		size += fractionText
	case traits.Mapper:
		m.looks += length(v) * bits.Len(uint(length(v)))
		for i := v.Iterator(); !m.over() && i.HasNext() == types.True; {
			key := i.Next()
			size += m.printed(key) + m.printed(v.Get(key))
		}
	case traits.Lister:
		for i, n := 0, length(v); i < n && !m.over(); i++ {
			size += m.printed(v.Get(types.Int(i)))
		}
	}
	m.looks += size / readAtOnce
	return size
}

// boundAdd is that of a sum. What a macro fills takes what is added; any other list is made anew, for CEL's own only points to both.
func boundAdd(m *making, args []ref.Val) (int, error) {
	switch left := args[0].(type) {
	case types.String:
		right, _ := args[1].(types.String)
		m.looks += 1 + (len(left)+len(right))/comparedAtOnce
		return textOf(len(left) + len(right))
	case types.Bytes:
		right, _ := args[1].(types.Bytes)
		m.looks += 1 + (len(left)+len(right))/comparedAtOnce
		return textOf(len(left) + len(right))
	case traits.MutableLister:
		m.looks++
		right, ok := args[1].(traits.Lister)
		if !ok {
			return 0, nil
		}
		m.looks += length(right)
		return elementSize * length(right), nil
	case traits.Lister:
		return m.unfolded(args[0]) + m.unfolded(args[1]), nil
	}
	m.looks++
	return 0, nil
}

// boundInsert is that of what macros make maps with. What they fill takes what is added.
func boundInsert(m *making, args []ref.Val) (int, error) {
	size := 0
	if _, filled := args[0].(traits.MutableMapper); !filled {
		size = m.unfolded(args[0])
	}
	for _, arg := range args[1:] {
		size += entrySize + m.unfolded(arg)
	}
	return size, nil
}

func boundRange(m *making, args []ref.Val) (int, error) {
	n, _ := args[0].(types.Int)
	count := int(min(max(n, 0), mostMade))
	m.looks += count
	return elementSize * count, nil
}

// boundCopy is that of a list that has no more elements.
func boundCopy(m *making, args []ref.Val) (int, error) {
	list, ok := args[0].(traits.Lister)
	if !ok {
		return 0, nil
	}
	m.looks += 1 + length(list)
	return elementSize * length(list), nil
}

func boundFlatten(m *making, args []ref.Val) (int, error) {
	list, ok := args[0].(traits.Lister)
	if !ok {
		return 0, nil
	}
	depth := types.Int(1)
	if len(args) > 1 {
		depth, _ = args[1].(types.Int)
	}
	return elementSize * m.flattened(list, depth), nil
}

// flattened is how many elements a list has, flattened. They are copied once for each list that they are in.
func (m *making) flattened(list traits.Lister, depth types.Int) int {
	n := length(list)
	m.looks += 1 + n
	if depth <= 0 {
		return n
	}
	total := 0
	for i := 0; i < n && !m.over(); i++ {
		within, ok := list.Get(types.Int(i)).(traits.Lister)
		if !ok {
			total++
			continue
		}
		count := m.flattened(within, depth-1)
		m.looks += count
		total += count
	}
	return total
}

// boundAll is that of what looks at each element once.
func boundAll(m *making, args []ref.Val) (int, error) {
	m.weight(args[0])
	return 0, nil
}

// boundSort is that of a list in the order of the last argument.
func boundSort(m *making, args []ref.Val) (int, error) {
	keys, ok := args[len(args)-1].(traits.Lister)
	if !ok {
		return 0, nil
	}
	m.looks += 2 * m.weight(keys) * bits.Len(uint(length(keys)))
	return elementSize * length(keys), nil
}

// boundDistinct is that of a list of which each element is compared with all before it.
func boundDistinct(m *making, args []ref.Val) (int, error) {
	list, ok := args[0].(traits.Lister)
	if !ok {
		return 0, nil
	}
	m.looks += m.weight(list) * length(list) / 2
	return elementSize * length(list), nil
}

// boundSets is that of two lists of which each element of one is looked for in the other.
func boundSets(m *making, args []ref.Val) (int, error) {
	a, okA := args[0].(traits.Lister)
	b, okB := args[1].(traits.Lister)
	if !okA || !okB {
		return 0, nil
	}
	for _, way := range [][2]traits.Lister{{a, b}, {b, a}} {
		for i, n := 0, length(way[0]); i < n && !m.over(); i++ {
			m.find(way[0].Get(types.Int(i)), way[1])
		}
	}
	return 0, nil
}

func textOf(size int) (int, error) {
	if size > mostText {
		return size, fmt.Errorf("a text becomes longer than %d bytes", mostText)
	}
	return size, nil
}
