// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/valetkey/valetkey/internal/visible"
)

// Setting is one field that a Job's spec sets, or, where Value is not valid, one that it should set.
type Setting struct {
	// Field is what is known of it. One of which nothing is known has no Class.
	Field Field
	// Container that the field is of; empty for the Pod's and the Job's own.
	Container string
	// Path from the container, or from the Job's spec, with the names of list elements: env[STAGE].value.
	Path string
	// Value of the field; not valid where a needed field is missing.
	Value reflect.Value
	// bound of the field, and its type and name.
	bound Bound
	key   string
	// in is the list element that the field is of: the outermost, if several are nested. Its list is empty if there is none.
	in listElement
	// at is the innermost; nil if there is none.
	at *listElement
}

// listElement is an element of a list below a container, or below the Job's spec. Names of elements can have any character, also
// a bracket, and be there twice: the index tells which element it is.
type listElement struct {
	list, name string
	index      int
	// in is the element that the list is of; nil if there is none.
	in *listElement
}

func (e listElement) path() string { return e.list + "[" + e.name + "]" }

// shown is the path in a sentence. The API server takes any text as the name of a variable, or as the path of a mount.
func (e *listElement) shown() string {
	return e.in.within(e.list) + "[" + visible.Name(e.name) + "]"
}

// within is a path that goes on from the element, in a sentence.
func (e *listElement) within(path string) string {
	if e == nil {
		return path
	}
	return e.shown() + strings.TrimPrefix(path, e.path())
}

// shown is the field's path in a sentence.
func (s Setting) shown() string { return s.at.within(s.Path) }

// where names the field in a sentence.
func (s Setting) where() string {
	if s.Container == "" {
		return s.shown()
	}
	return "container " + s.Container + ": " + s.shown()
}

// table has the fields of each type that a Job's spec is made of, in the type's own order.
type table struct {
	types []reflect.Type
	rows  map[reflect.Type][]fieldRow
	// names are the fields by which an element of a list of the type is told from the others, the best first.
	names map[reflect.Type][][]int
}

// fieldRow is what is known of a field before any Job is seen.
type fieldRow struct {
	member
	field StructField
	bound Bound
	// key is the field's type and name.
	key string
}

// known is the table of Fields. It is made once, and never changes.
var known = sync.OnceValue(func() table {
	byName := map[string]map[string]Field{}
	for _, f := range Fields() {
		if byName[f.Type] == nil {
			byName[f.Type] = map[string]Field{}
		}
		byName[f.Type][f.Name] = f
	}
	all := table{types: structs(reflect.TypeFor[batchv1.JobSpec](), byName, nil), rows: map[reflect.Type][]fieldRow{},
		names: map[reflect.Type][][]int{}}
	for _, t := range all.types {
		all.names[t] = naming(t)
		for _, m := range members(t) {
			f := structField(t, m, byName[t.Name()][m.Name])
			all.rows[t] = append(all.rows[t], fieldRow{member: m, field: f, bound: f.Bound(), key: f.Type + "." + f.Name})
		}
	}
	return all
})

// structs are the struct types that a Job's spec is made of, in the order of its fields. Those below a field that is refused whole
// are left out.
func structs(t reflect.Type, rows map[string]map[string]Field, found []reflect.Type) []reflect.Type {
	t = element(t)
	if t.Kind() != reflect.Struct || isValue(t) || slices.Contains(found, t) {
		return found
	}
	found = append(found, t)
	for _, m := range members(t) {
		if row := rows[t.Name()][m.Name]; row.Class != Refused || len(row.Values) > 0 {
			found = structs(m.Type, rows, found)
		}
	}
	return found
}

// Struct is a type of the Kubernetes API that a Job's spec is made of.
type Struct struct {
	// Name of the type.
	Name string
	// Fields of it, each with the name that it has in JSON. One without a Class has no row.
	Fields []StructField
}

// StructField is a field of a Struct.
type StructField struct {
	Field
	// Struct is the type of the field, or of the elements of its list; empty where that is a plain value.
	Struct string
	// List and Map are set where the field is one.
	List, Map bool
	// Text is set where the field is a text, or a list or a map of texts.
	Text bool
	// Kind is the name of the field's type: string, or that of an enumeration.
	Kind string
}

// Structs are all types that a Job's spec is made of. Those below a field that is refused whole are left out.
func Structs() []Struct {
	var all []Struct
	table := known()
	for _, t := range table.types {
		s := Struct{Name: t.Name()}
		for _, r := range table.rows[t] {
			s.Fields = append(s.Fields, r.field)
		}
		all = append(all, s)
	}
	return all
}

func structField(t reflect.Type, m member, known Field) StructField {
	f := StructField{Field: known, List: m.Type.Kind() == reflect.Slice, Map: m.Type.Kind() == reflect.Map,
		Kind: element(m.Type).Name(), Text: element(m.Type).Kind() == reflect.String}
	f.Type, f.Name = t.Name(), m.Name
	if of := element(m.Type); of.Kind() == reflect.Struct && !isValue(of) {
		f.Struct = of.Name()
	}
	return f
}

// element is what a pointer, list or map holds.
func element(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	return t
}

// isValue reports whether a struct is a single value to the API: a quantity, an instant, a number or a string.
func isValue(t reflect.Type) bool {
	switch t {
	case reflect.TypeFor[resource.Quantity](), reflect.TypeFor[metav1.Time](), reflect.TypeFor[intstr.IntOrString](), reflect.TypeFor[metav1.FieldsV1]():
		return true
	}
	return false
}

// member is a field of a struct, as JSON has it: those of inlined structs are the struct's own.
type member struct {
	Name  string
	Type  reflect.Type
	Index []int
}

func members(t reflect.Type) []member {
	var all []member
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && (name == "" || strings.Contains(options, "inline")) {
			for _, inner := range members(f.Type) {
				inner.Index = append([]int{i}, inner.Index...)
				all = append(all, inner)
			}
			continue
		}
		all = append(all, member{Name: name, Type: f.Type, Index: []int{i}})
	}
	return all
}

// walk calls visit for each field that a Job's spec sets, and for those that it needs to set. Fields of a field that visit does
// not want to go into, and those of refused or unknown ones, are left out.
func walk(spec *batchv1.JobSpec, visit func(Setting) (into bool)) {
	w := walker{table: known(), visit: visit}
	w.fields(reflect.ValueOf(spec).Elem(), Setting{})
}

type walker struct {
	table
	visit func(Setting) bool
}

// fields visits the fields of a struct, which is what a setting holds.
func (w walker) fields(v reflect.Value, of Setting) {
	rows := w.rows[v.Type()]
	for i := range rows {
		row := &rows[i]
		value := v.FieldByIndex(row.Index)
		set := isSet(value)
		if !set && !row.field.Needed {
			continue
		}
		s := Setting{Field: row.field.Field, Container: of.Container, Path: join(of.Path, row.Name), Value: value, in: of.in, at: of.at, bound: row.bound, key: row.key}
		switch known := &row.field; {
		case !set:
			s.Value = reflect.Value{}
			w.visit(s)
		case w.visit(s) && known.Class != "" && (known.Class != Refused || len(known.Values) > 0):
			w.into(s)
		}
	}
}

// into goes into the structs that a field holds.
func (w walker) into(s Setting) {
	v := s.Value
	for v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if t := element(v.Type()); t.Kind() != reflect.Struct || isValue(t) {
		return
	}
	if v.Kind() != reflect.Slice {
		w.fields(v, s)
		return
	}
	for i := range v.Len() {
		name := w.elementName(v.Index(i), i)
		if s.Field.Type == "PodSpec" && (s.Field.Name == "containers" || s.Field.Name == "initContainers" || s.Field.Name == "ephemeralContainers") {
			w.fields(v.Index(i), Setting{Container: name})
			continue
		}
		inner, at := s, &listElement{s.Path, name, i, s.at}
		inner.Path, inner.at = at.path(), at
		if s.in.list == "" {
			inner.in = *at
		}
		w.fields(v.Index(i), inner)
	}
}

func join(path, name string) string {
	if path == "" || path == "template" || path == "template.spec" {
		// The Job's template is where nearly everything is: to name it again and again tells nobody anything.
		if name == "template" || name == "spec" {
			return strings.TrimPrefix(path+"."+name, ".")
		}
		return name
	}
	return path + "." + name
}

// naming finds the fields by which people tell elements of a list of this type from each other.
func naming(t reflect.Type) [][]int {
	var all [][]int
	for _, key := range []string{"MountPath", "DevicePath", "Name"} {
		if f, ok := t.FieldByName(key); ok && f.Type.Kind() == reflect.String {
			all = append(all, f.Index)
		}
	}
	return all
}

// elementName tells an element of a list from the others.
func (t table) elementName(v reflect.Value, index int) string {
	for _, field := range t.names[v.Type()] {
		if name := v.FieldByIndex(field).String(); name != "" {
			return name
		}
	}
	return strconv.Itoa(index)
}

// isSet reports whether a field has a value of its own. An empty list, an empty string and a plain zero are what the API takes for none.
func isSet(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		return !v.IsNil()
	case reflect.Slice, reflect.Map:
		return v.Len() > 0
	default:
		return !v.IsZero()
	}
}

// texts are a field's values as the API writes them; none of a struct that has fields of its own.
func texts(v reflect.Value) []string {
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return nil
		}
		v = v.Elem()
	}
	switch v.Kind() {
	case reflect.Slice:
		var all []string
		for i := range v.Len() {
			all = append(all, texts(v.Index(i))...)
		}
		return all
	case reflect.Struct, reflect.Map:
		if q, ok := v.Interface().(resource.Quantity); ok {
			return []string{q.String()}
		}
		return nil
	default:
		return []string{fmt.Sprint(v.Interface())}
	}
}
