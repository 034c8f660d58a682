// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package podfuzz generates Jobs from the API server's own schema, and judges the Pods that come of them. The judge
// knows nothing of the tables and rules of Valetkey: it looks at the Pod alone.
package podfuzz

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

const (
	schemaPrefix = "#/components/schemas/"
	jobSchema    = "io.k8s.api.batch.v1.Job"
	// deepest is where generated values become empty: schemas such as JSONSchemaProps refer to themselves.
	deepest = 8
)

// Generator changes Jobs at random. The same seed makes the same Jobs.
type Generator struct {
	schemas map[string]*spec.Schema
	random  *rand.Rand
	words   Words
}

// Words are names that mean something to the cluster of the test.
type Words struct {
	// Image is the one of the Job's containers.
	Image string
	// Containers, Volumes and ConfigMaps are names that the Job may use; Secrets are those that it must not.
	Containers, Volumes, ConfigMaps, Secrets []string
}

// New reads the OpenAPI document of batch/v1, as an API server serves it.
func New(document []byte, seed uint64, words Words) (*Generator, error) {
	var parsed spec3.OpenAPI
	if err := json.Unmarshal(document, &parsed); err != nil {
		return nil, fmt.Errorf("reading the OpenAPI document: %w", err)
	}
	if parsed.Components == nil || parsed.Components.Schemas[jobSchema] == nil {
		return nil, fmt.Errorf("the OpenAPI document has no schema %s", jobSchema)
	}
	return &Generator{parsed.Components.Schemas, rand.New(rand.NewPCG(seed, seed)), words}, nil //nolint:gosec // not for keys
}

// Pick chooses the first spec half of the time, and any of them otherwise.
func (g *Generator) Pick(specs []map[string]any) map[string]any {
	if g.oneIn(2) {
		return specs[0]
	}
	return pick(g, specs)
}

// Mutate returns a copy of the Job's spec with one to four changes.
func (g *Generator) Mutate(jobSpec map[string]any) map[string]any {
	changed := runtime.DeepCopyJSON(jobSpec)
	for range 1 + g.random.IntN(4) {
		if g.oneIn(2) {
			g.addFragment(changed)
			continue
		}
		g.changeObject(changed, g.schemas["io.k8s.api.batch.v1.JobSpec"])
	}
	return changed
}

func (g *Generator) oneIn(n int) bool { return g.random.IntN(n) == 0 }

func pick[T any](g *Generator, from []T) T { return from[g.random.IntN(len(from))] }

// resolve follows references. A property with a default refers to its type by allOf.
func (g *Generator) resolve(s *spec.Schema) *spec.Schema {
	for {
		name, isReference := strings.CutPrefix(s.Ref.String(), schemaPrefix)
		switch {
		case isReference:
			s = g.schemas[name]
		case len(s.AllOf) == 1:
			s = &s.AllOf[0]
		default:
			return s
		}
	}
}

// changeObject changes one property of an object, or of something deeper inside it.
func (g *Generator) changeObject(object map[string]any, s *spec.Schema) {
	s = g.resolve(s)
	if len(s.Properties) == 0 {
		object[pick(g, oddWords)] = pick(g, oddWords)
		return
	}
	name := g.property(object, s)
	property := s.Properties[name]
	current, exists := object[name]
	switch {
	case exists && g.oneIn(8):
		delete(object, name)
	case exists && !g.oneIn(4):
		object[name] = g.change(current, &property, name)
	default:
		object[name] = g.value(&property, name, 0)
	}
}

// property prefers what the object has, because the way to most fields leads through the Pod template.
func (g *Generator) property(object map[string]any, s *spec.Schema) string {
	if _, isJob := s.Properties["template"]; isJob && !g.oneIn(8) {
		return "template"
	}
	if _, isTemplate := object["containers"]; isTemplate && g.oneIn(2) {
		return "containers"
	}
	if _, isTemplate := s.Properties["spec"]; isTemplate && !g.oneIn(6) {
		return "spec"
	}
	return pick(g, sortedProperties(s))
}

func sortedProperties(s *spec.Schema) []string {
	names := make([]string, 0, len(s.Properties))
	for name := range s.Properties {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (g *Generator) change(current any, s *spec.Schema, name string) any {
	s = g.resolve(s)
	switch value := current.(type) {
	case map[string]any:
		g.changeObject(value, s)
		return value
	case []any:
		if len(value) > 0 && !g.oneIn(3) && s.Items != nil {
			at := g.random.IntN(len(value))
			value[at] = g.change(value[at], s.Items.Schema, name)
			return value
		}
		if s.Items == nil {
			return value
		}
		return append(value, g.value(s.Items.Schema, name, 0))
	default:
		return g.value(s, name, 0)
	}
}

// value makes one of a schema.
func (g *Generator) value(s *spec.Schema, name string, depth int) any {
	s = g.resolve(s)
	switch {
	case len(s.Enum) > 0:
		return pick(g, s.Enum)
	case s.Format == "int-or-string" || len(s.OneOf) > 0:
		return pick(g, []any{int64(8080), "http", "50%", "1", "1Gi"})
	case s.Type.Contains("boolean"):
		return g.oneIn(2)
	case s.Type.Contains("integer"), s.Type.Contains("number"):
		return pick(g, numbers)
	case s.Type.Contains("array"):
		return g.list(s, name, depth)
	case s.Type.Contains("object"):
		return g.object(s, depth)
	default:
		return g.word(name)
	}
}

func (g *Generator) list(s *spec.Schema, name string, depth int) any {
	values := []any{}
	if s.Items == nil || depth > deepest {
		return values
	}
	for range 1 + g.random.IntN(2) {
		values = append(values, g.value(s.Items.Schema, name, depth+1))
	}
	return values
}

// object has all required properties and few of the others: most types are unions, of which one member may be set.
func (g *Generator) object(s *spec.Schema, depth int) any {
	made := map[string]any{}
	if depth > deepest {
		return made
	}
	if s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil {
		made[pick(g, oddWords)] = g.value(s.AdditionalProperties.Schema, "", depth+1)
		return made
	}
	names := slices.Clone(s.Required)
	for more := pick(g, []int{1, 1, 1, 2, 3}); more > 0 && len(s.Properties) > 0; more-- {
		names = append(names, pick(g, sortedProperties(s)))
	}
	for _, name := range names {
		property := s.Properties[name]
		made[name] = g.value(&property, name, depth+1)
	}
	return made
}
