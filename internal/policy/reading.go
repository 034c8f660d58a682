// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// Line is one thing that a Job sets and that people who decide are shown.
type Line struct {
	// Danger is the heading that it stands under.
	Danger Danger
	// Container that it is of; empty for the Pod's and the Job's own.
	Container string
	// Name of what is set: image, env[STAGE], lifecycle.preStop.
	Name string
	// Words are those of a command or of its arguments, as they are.
	Words []string
	// Value of anything else, as JSON; fields of one thing are separated by commas.
	Value string
}

// String is the line for people, on one line of its own: words are quoted, and a variable is written as shells write it.
func (l Line) String() string {
	if len(l.Words) > 0 {
		return l.Name + " " + Quoted(l.Words)
	}
	name, inner, _ := strings.Cut(strings.TrimSuffix(l.Name, "]"), "[")
	value := strings.TrimPrefix(l.Value, fmt.Sprintf("name %q", inner))
	value = strings.TrimPrefix(value, ", ")
	switch {
	case inner == "":
		return l.Name + " " + l.Value
	case name == "env" && strings.HasPrefix(value, "value "):
		return "env " + inner + "=" + strings.TrimPrefix(value, "value ")
	}
	return name + " " + inner + ": " + value
}

// Quoted are words of a command as people are shown them: nobody takes two for one, nor one for two.
func Quoted(words []string) string {
	all := make([]string, len(words))
	for i, w := range words {
		all[i] = strconv.Quote(w)
	}
	return strings.Join(all, " ")
}

// Reading is all that a Job sets and that a decision can depend on: the fields that [Fields] calls reviewed or an input, and that do
// not have the API server's own default, and what a field decides by not being set. The most dangerous come first, and of those the
// step's own.
func Reading(spec *batchv1.JobSpec, step string) []Line {
	r := &reading{at: map[[2]string]int{}}
	walk(spec, r.visit)
	r.unset(&spec.Template.Spec)
	lines := slices.DeleteFunc(r.lines, func(l Line) bool { return l.Danger == NoDanger })
	slices.SortStableFunc(lines, func(a, b Line) int {
		return cmp.Or(cmp.Compare(a.Danger, b.Danger), compareBool(b.Container == step, a.Container == step))
	})
	return lines
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// reading collects lines: fields of one list element, or of one probe or hook, are one line.
type reading struct {
	lines []Line
	// at is where the line of a container's thing is.
	at map[[2]string]int
}

func (r *reading) visit(s Setting) bool {
	switch {
	case !s.Value.IsValid(), s.Field.Class == Harmless, s.isDefault():
		return false
	case isComposite(s.Value):
		return true
	case s.Field.Type == "ObjectMeta" && s.Value.Kind() == reflect.Map:
		if s.Value = others(s.Value); s.Value.Len() == 0 {
			return false
		}
	}
	if s.isPlainShare() {
		s.Field.Danger = Placement
	}
	thing, field := s.thing()
	key := [2]string{s.Container, thing}
	at, known := r.at[key]
	if !known {
		at = len(r.lines)
		r.at[key] = at
		r.lines = append(r.lines, Line{Container: s.Container, Name: thing})
	}
	r.lines[at].add(s, field)
	return false
}

// unset adds what is decided elsewhere because a field is not set.
func (r *reading) unset(pod *corev1.PodSpec) {
	for _, c := range containers(pod) {
		if len(c.Command) == 0 {
			r.lines = append(r.lines, Line{Danger: Program, Container: c.Name, Name: "command", Value: "is not set: the image decides what runs"})
		}
	}
	if pod.AutomountServiceAccountToken == nil {
		r.lines = append(r.lines, Line{Danger: Identity, Name: "automountServiceAccountToken",
			Value: "is not set: each container has that account's token, unless the account says otherwise"})
	}
}

func (l *Line) add(s Setting, field string) {
	if s.Field.Danger != NoDanger && (l.Danger == NoDanger || s.Field.Danger < l.Danger) {
		l.Danger = s.Field.Danger
	}
	if s.Field.Danger == Program {
		if words, ok := s.Value.Interface().([]string); ok {
			l.Words = words
			return
		}
	}
	text, _ := json.Marshal(s.Value.Interface()) // what the API server stored can be encoded
	if field != "" {
		field += " "
	}
	if l.Value != "" {
		l.Value += ", "
	}
	l.Value += field + string(text)
}

// others are the labels or annotations that neither Valetkey nor the API server writes.
func others(marks reflect.Value) reflect.Value {
	all := map[string]string{}
	for _, key := range marks.MapKeys() {
		k := key.String()
		if !isOurs(k) && !slices.Contains([]string{batchv1.ControllerUidLabel, batchv1.JobNameLabel, "controller-uid", "job-name"}, k) {
			all[k] = marks.MapIndex(key).String()
		}
	}
	return reflect.ValueOf(all)
}

// isComposite reports whether a field holds structs with fields of their own that are set.
func isComposite(v reflect.Value) bool {
	for v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if t := element(v.Type()); t.Kind() != reflect.Struct || isValue(t) || t == reflect.TypeFor[corev1.EmptyDirVolumeSource]() {
		return false // What an emptyDir is made of is harmless, but that a volume is one is shown.
	}
	return v.Kind() == reflect.Slice || !v.IsZero()
}

// thing is what a field is of, and the field's name in it: env[STAGE] and value, volumes[data] and emptyDir, or the field itself.
func (s Setting) thing() (thing, field string) {
	if end := strings.Index(s.Path, "]"); end >= 0 {
		return s.Path[:end+1], strings.TrimPrefix(s.Path[end+1:], ".")
	}
	for _, group := range []string{"lifecycle.preStop", "livenessProbe", "readinessProbe", "startupProbe"} {
		if rest, ok := strings.CutPrefix(s.Path, group+"."); ok {
			return group + "." + rest, ""
		}
	}
	return s.Path, ""
}
