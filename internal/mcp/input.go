// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/valetkey/valetkey/internal/policy"
)

// kind is what a field holds, in the words of JSON schemas.
type kind string

const (
	text   kind = "string"
	number kind = "integer"
	words  kind = "array"
)

// field is one thing that a tool is given. The limits are those of the kinds, so that what passes here passes there.
type field struct {
	name string
	// says is its description.
	says     string
	kind     kind
	required bool
	// least and most bound a number, the characters of a text, or how many words there are.
	least, most int
	// pattern of a text, and the same in words. Clients are not shown it: it costs them more than it helps.
	pattern *regexp.Regexp
	allowed string
}

// maxWord bounds each word of a list.
const maxWord = 16 << 10

// schemaOf is what clients are told of the fields.
func schemaOf(fields []field) *jsonschema.Schema {
	s := &jsonschema.Schema{Type: "object", Properties: map[string]*jsonschema.Schema{}, AdditionalProperties: &jsonschema.Schema{Not: &jsonschema.Schema{}}}
	for _, f := range fields {
		p := &jsonschema.Schema{Type: string(f.kind), Description: f.says}
		switch f.kind {
		case text:
			p.MaxLength = &f.most
		case number:
			least, most := float64(f.least), float64(f.most)
			p.Minimum, p.Maximum = &least, &most
		case words:
			p.Items, p.MaxItems = &jsonschema.Schema{Type: string(text)}, &f.most
		}
		s.Properties[f.name] = p
		s.PropertyOrder = append(s.PropertyOrder, f.name)
		if f.required {
			s.Required = append(s.Required, f.name)
		}
	}
	return s
}

// input is what a tool was given, checked. A field that was left out, or is null, is not in it.
type input map[string]any

func (in input) text(name string) string {
	s, _ := in[name].(string)
	return s
}

func (in input) words(name string) []string {
	w, _ := in[name].([]string)
	return w
}

// number is nil if the field was left out.
func (in input) number(name string) *int32 {
	n, ok := in[name].(int32)
	if !ok {
		return nil
	}
	return &n
}

// check takes a tool's arguments, and says in a sentence each what is wrong with them.
func check(arguments json.RawMessage, fields []field) (input, []string) {
	given := map[string]any{}
	if len(arguments) > 0 {
		d := json.NewDecoder(bytes.NewReader(arguments))
		d.UseNumber()
		if d.Decode(&given) != nil || d.Decode(&struct{}{}) != io.EOF {
			return nil, []string{"the arguments are not one JSON object"}
		}
	}
	var problems []string
	in, names := input{}, make([]string, 0, len(fields))
	for _, f := range fields {
		names = append(names, f.name)
		value := given[f.name]
		delete(given, f.name)
		if value == nil {
			if f.required {
				problems = append(problems, f.name+" is missing")
			}
			continue
		}
		taken, problem := f.take(value)
		if problem != "" {
			problems = append(problems, f.name+" "+problem)
		}
		in[f.name] = taken
	}
	if len(given) > 0 {
		unknown := slices.Sorted(maps.Keys(given))
		problems = append(problems, fmt.Sprintf("there is no field %s; the fields are %s", shown(unknown[0]), strings.Join(names, ", ")))
	}
	return in, problems
}

// take checks one value. The problem goes on after the field's name.
func (f field) take(value any) (any, string) {
	switch f.kind {
	case number:
		return f.takeNumber(value)
	case words:
		return f.takeWords(value)
	default:
		return f.takeText(value)
	}
}

func (f field) takeText(value any) (any, string) {
	s, ok := value.(string)
	length := utf8.RuneCountInString(s)
	switch {
	case !ok:
		return nil, "is not a text"
	case length < f.least:
		return nil, "is empty"
	case length > f.most:
		return nil, fmt.Sprintf("has %d characters; at most %d are allowed", length, f.most)
	case f.pattern != nil && !f.pattern.MatchString(s):
		return nil, fmt.Sprintf("is %s; allowed are %s", shown(s), f.allowed)
	}
	return s, ""
}

func (f field) takeNumber(value any) (any, string) {
	n, ok := value.(json.Number)
	if !ok {
		return nil, fmt.Sprintf("is not a number; a whole number from %d to %d is allowed", f.least, f.most)
	}
	// JSON Schema calls 600.0 and 6e2 integers, too.
	v, err := strconv.ParseFloat(n.String(), 64)
	if err != nil || v != math.Trunc(v) || v < float64(f.least) || v > float64(f.most) {
		return nil, fmt.Sprintf("is %s; a whole number from %d to %d is allowed", policy.Clip(n.String(), maxShown), f.least, f.most)
	}
	return int32(v), ""
}

func (f field) takeWords(value any) (any, string) {
	list, ok := value.([]any)
	if !ok {
		return nil, "is not a list of texts, a word each"
	}
	if len(list) > f.most {
		return nil, fmt.Sprintf("has %d words; at most %d are allowed", len(list), f.most)
	}
	all := make([]string, 0, len(list))
	for i, one := range list {
		s, ok := one.(string)
		if !ok {
			return nil, fmt.Sprintf("has no text at [%d]", i)
		}
		if len(s) > maxWord {
			return nil, fmt.Sprintf("has %d bytes at [%d]; at most %d are allowed", len(s), i, maxWord)
		}
		all = append(all, s)
	}
	return all, ""
}

// maxShown is how much of a wrong value is shown.
const maxShown = 40

func shown(s string) string { return strconv.Quote(policy.Clip(s, maxShown)) }
