// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/json"
	"reflect"
	"slices"
	"unicode/utf8"

	batchv1 "k8s.io/api/batch/v1"
)

// Bounds of all texts of a Job together: what its containers are started with, their variables, and its template's annotations.
const (
	// MaxWords is how many words the command of a container may have, and how many its args.
	MaxWords = maxWords
	// MaxJobWords is how many characters command and args of all containers may have together.
	MaxJobWords = 128 << 10
	// MaxJobVariables is how many characters the values of the variables of all containers may have together.
	MaxJobVariables = 128 << 10
	// MaxTogether is how many elements a list of objects may have in all places where a Job has it, as the variables of all
	// containers: each is looked at by every admission rule.
	MaxTogether = 1024
	// MaxJobSize is how many bytes the Pod template may have as JSON: what its Pod's managers and its status repeat of it has to
	// fit beside it into what etcd stores of one object, 1.5 MiB.
	MaxJobSize = 256 << 10
	// MaxJobNotes is how many labels and how many annotations the Job itself may have.
	MaxJobNotes = maxLabels
)

// Bound is how large a field of a Job that wants a credential may be. Each held Job is kept in the memory of the operator, and looked at
// by every admission rule.
type Bound struct {
	// Elements is how many a list or a map may have; 0 for other fields.
	Elements int
	// Length is how many characters each text of the field may have; 0 for fields that are no texts, and for those with Values.
	Length int
}

const (
	ordinaryElements = 32
	ordinaryLength   = 1024
	pathLength       = 4096 // the longest path of Linux
)

// unusual are the bounds that are not the ordinary ones, by type and field.
func unusual() map[string]Bound {
	words := Bound{Elements: MaxWords, Length: maxProgramSize}
	return map[string]Bound{
		"PodSpec.containers": {Elements: 16}, "PodSpec.initContainers": {Elements: 16},
		"PodSpec.volumes": {Elements: 64}, "PodSpec.tolerations": {Elements: 64},
		"PodSpec.nodeSelector": {Elements: 64, Length: ordinaryLength},
		"Container.command":    words, "Container.args": words, "ExecAction.command": words,
		"Container.env": {Elements: 256}, "Container.envFrom": {Elements: 512}, "Container.ports": {Elements: 64},
		"Container.volumeMounts": {Elements: 64}, "Container.workingDir": {Length: pathLength},
		"EnvVar.value":            {Length: 32 << 10},
		"VolumeMount.mountPath":   {Length: pathLength},
		"VolumeMount.subPath":     {Length: pathLength},
		"VolumeMount.subPathExpr": {Length: pathLength},
		"HTTPGetAction.path":      {Length: pathLength},
		"HTTPHeader.value":        {Length: 8 << 10},
		"ObjectMeta.labels":       {Elements: 64, Length: ordinaryLength},
		"ObjectMeta.annotations":  {Elements: 64, Length: maxAnnotationsSize},
		"KeyToPath.path":          {Length: pathLength},

		"ConfigMapVolumeSource.items": {Elements: maxReferences}, "SecretVolumeSource.items": {Elements: maxReferences},
		"ConfigMapProjection.items": {Elements: maxReferences}, "SecretProjection.items": {Elements: maxReferences},
	}
}

// Bound is how large the field may be; that of a field which is refused whole does not matter.
func (f StructField) Bound() Bound {
	bound, isUnusual := unusual()[f.Type+"."+f.Name]
	switch {
	case isUnusual:
		return bound
	case f.List || f.Map:
		bound.Elements = ordinaryElements
	}
	if f.Text && len(f.Values) == 0 {
		bound.Length = ordinaryLength
	}
	return bound
}

const templateTooLarge = "the Pod template has %d bytes as JSON, of at most %d"

// tooLarge says what is too large in a Job: what the admission rule valetkey-sizes refuses.
func tooLarge(job *batchv1.Job) findings {
	var f findings
	together := map[string]int{}
	walk(&job.Spec, func(s Setting) bool {
		bound, count := s.bound, elements(s.Value)
		if bound.Elements > 0 && count > bound.Elements {
			f.add(true, "%s has %d elements, of at most %d", s.where(), count, bound.Elements)
			return false
		}
		if s.Value.Kind() == reflect.Slice && s.Value.Type().Elem().Kind() == reflect.Struct {
			before := together[s.key]
			together[s.key] += count
			f.add(before <= MaxTogether && together[s.key] > MaxTogether, "%s may have %d elements in all", s.key, MaxTogether)
		}
		if bound.Length == 0 {
			return true
		}
		longest := longestText(s.Value)
		f.add(longest > bound.Length, "%s has a text of %d characters, of at most %d", s.where(), longest, bound.Length)
		return true
	})
	words, variables := 0, 0
	for _, c := range containers(&job.Spec.Template.Spec) {
		for _, word := range slices.Concat(c.Command, c.Args) {
			words += utf8.RuneCountInString(word)
		}
		for _, e := range c.Env {
			variables += utf8.RuneCountInString(e.Value)
		}
	}
	f.add(words > MaxJobWords, "command and args of all containers have %d characters, of at most %d", words, MaxJobWords)
	f.add(variables > MaxJobVariables, "the variables of all containers have %d characters, of at most %d", variables, MaxJobVariables)
	if len(f) == 0 {
		size := 0
		if text, err := json.Marshal(&job.Spec.Template); err == nil { // as it did when the API server stored it
			size = len(text)
		}
		f.add(size > MaxJobSize, templateTooLarge, size, MaxJobSize)
	}
	f.add(len(job.Annotations) > MaxJobNotes, "the Job has %d annotations, of at most %d", len(job.Annotations), MaxJobNotes)
	return f
}

// elements counts those of a list or a map.
func elements(v reflect.Value) int {
	if v.IsValid() && (v.Kind() == reflect.Slice || v.Kind() == reflect.Map) {
		return v.Len()
	}
	return 0
}

// longestText is the length of the longest text in a field: the field's own, those of a list, or the keys and values of a map.
func longestText(v reflect.Value) int {
	longest := 0
	switch v.Kind() {
	case reflect.String:
		return utf8.RuneCountInString(v.String())
	case reflect.Pointer:
		return longestText(v.Elem())
	case reflect.Slice:
		for i := range v.Len() {
			longest = max(longest, longestText(v.Index(i)))
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			longest = max(longest, longestText(key), longestText(v.MapIndex(key)))
		}
	default:
	}
	return longest
}
