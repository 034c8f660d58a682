// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"encoding/json"
	"maps"
	"reflect"
	"regexp"
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
	// Kind is what the container is; empty if there is none.
	Kind ContainerKind
}

// String is the line for people, on one line of its own: words are quoted, and a variable is written as shells write it.
func (l Line) String() string {
	if len(l.Words) > 0 {
		return l.Name + " " + Quoted(l.Words)
	}
	list, name, named := strings.Cut(strings.TrimSuffix(l.Name, "]"), "[")
	if !named {
		return l.Name + " " + l.Value
	}
	shown := plainOrQuoted(name)
	value := strings.TrimPrefix(strings.TrimPrefix(l.Value, "name "+inJSON(name)), ", ")
	if inner, plain := strings.CutPrefix(value, "value "); list == "env" && plain {
		return "env " + shown + "=" + inner
	} else if list == "env" && !strings.HasPrefix(value, "valueFrom") {
		return strings.TrimSuffix("env "+shown+`="", `+value, ", ")
	}
	return strings.TrimSuffix(list+" "+shown+": "+value, ": ")
}

// ContainerKind says how a container runs beside the step: who can change what the step finds, and when.
type ContainerKind string

// The kinds of containers: the one that gets the credential, those that end before it, those that run all the time,
// and those that run beside it, which the kubelet starts before it or behind it.
const (
	Step    ContainerKind = "step"
	Init    ContainerKind = "init"
	Sidecar ContainerKind = "sidecar"
	Ahead   ContainerKind = "beside, started first"
	Beside  ContainerKind = "beside"
)

// Label says what the line is of. Each container's has what no container's name can have, so that none passes for a
// label of anything else.
func (l Line) Label() string {
	if l.Container == "" {
		return "the Pod"
	}
	return l.Container + " (" + string(l.Kind) + ")"
}

// kinds are those of a Pod's containers, by name.
func kinds(pod *corev1.PodSpec, step string) map[string]ContainerKind {
	all := map[string]ContainerKind{}
	for _, c := range pod.InitContainers {
		all[c.Name] = Init
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			all[c.Name] = Sidecar
		}
	}
	kind := Ahead
	for _, c := range pod.Containers {
		if all[c.Name] = kind; c.Name == step {
			all[c.Name], kind = Step, Beside
		}
	}
	return all
}

// plainName matches the names of list elements that cannot be taken for words around them.
var plainName = regexp.MustCompile(`^[\w./@~+-]+$`)

// plainOrQuoted is a name of a list element as people are shown it.
func plainOrQuoted(name string) string {
	if plainName.MatchString(name) {
		return name
	}
	return strconv.Quote(name)
}

// Quoted are words of a command as people are shown them: nobody takes two for one, nor one for two.
func Quoted(words []string) string {
	all := make([]string, len(words))
	for i, w := range words {
		all[i] = strconv.Quote(w)
	}
	return strings.Join(all, " ")
}

// Reading is all that a Job sets and that a decision can depend on: its labels, the fields that [Fields] calls reviewed or an input, and that do
// not have the API server's own default, and what a field decides by not being set. The most dangerous come first, and of those the
// step's own.
func Reading(job *batchv1.Job, step string) []Line {
	spec, r := &job.Spec, &reading{at: map[place]int{}}
	walk(spec, r.visit)
	r.sayWhatCounts(&spec.Template.Spec)
	r.unset(&spec.Template.Spec)
	if labels := othersLabels(job); len(labels) > 0 {
		r.lines = append(r.lines, Line{Danger: Rest, Name: "labels of the Job", Value: inJSON(labels)})
	}
	lines := slices.DeleteFunc(r.lines, func(l Line) bool { return l.Danger == NoDanger })
	kinds := kinds(&spec.Template.Spec, step)
	for i := range lines {
		lines[i].Kind = kinds[lines[i].Container]
	}
	slices.SortStableFunc(lines, func(a, b Line) int {
		return cmp.Or(cmp.Compare(a.Danger, b.Danger), compareBool(b.Container == step, a.Container == step))
	})
	return lines
}

// othersLabels are the labels of a Job, but Valetkey's own.
func othersLabels(job *batchv1.Job) map[string]string {
	labels := maps.Clone(job.Labels)
	maps.DeleteFunc(labels, func(key, _ string) bool { return isOurs(key) })
	return labels
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
	// at is where the line of a place is.
	at map[place]int
}

// place is what a line is about: a list element of a container or of the Pod, or, where index is 0 for lack of a list, a field.
type place struct {
	container, thing string
	index            int
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
	key := place{s.Container, thing, s.in.index}
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
	if field != "" {
		field += " "
	}
	if l.Value != "" {
		l.Value += ", "
	}
	l.Value += field + inJSON(s.Value.Interface())
}

func inJSON(value any) string {
	var text strings.Builder
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false) // a person reads it
	_ = encoder.Encode(value)    // what the API server stored can be encoded
	return strings.TrimSuffix(text.String(), "\n")
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
	if t := element(v.Type()); t.Kind() != reflect.Struct || isValue(t) {
		return false
	}
	return v.Kind() == reflect.Slice || !v.IsZero()
}

// thing is what a field is of, and the field's name in it: env[STAGE] and value, volumes[data] and emptyDir, or the field itself.
func (s Setting) thing() (thing, field string) {
	if s.in.list != "" {
		thing = s.in.path()
		return thing, strings.TrimPrefix(strings.TrimPrefix(s.Path, thing), ".")
	}
	for _, group := range []string{"lifecycle.preStop", "livenessProbe", "readinessProbe", "startupProbe"} {
		if rest, ok := strings.CutPrefix(s.Path, group+"."); ok {
			return group + "." + rest, ""
		}
	}
	return s.Path, ""
}
