// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// optional is a variable that the kubelet leaves out if its key is not found.
func optional(name string) corev1.EnvVar {
	return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{
		LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}, Key: "k", Optional: ptr.To(true)}}}
}

// saidOf is what the lines of variables say behind their values.
func saidOf(t *testing.T, env []corev1.EnvVar) []string {
	t.Helper()
	job := newJob()
	job.Spec.Template.Spec.Containers[0].Env = env
	var all []string
	for _, l := range Reading(job, "publish") {
		if strings.HasPrefix(l.Name, "env[") {
			_, words, _ := strings.Cut(l.String(), ", which ")
			all = append(all, words)
		}
	}
	if len(all) != len(env) {
		t.Fatalf("%d lines for %d variables", len(all), len(env))
	}
	return all
}

func TestReading_SaysForWhatAVariableCounts(t *testing.T) {
	v := func(name, value string) corev1.EnvVar { return corev1.EnvVar{Name: name, Value: value} }
	const (
		dead      = "does not count: it is the variable %d of %d of this name, and a later one replaces it"
		readOnly  = "counts only for %s: it is the variable %d of %d of this name, and a later one replaces it"
		uncertain = "may count: it is the variable %d of %d of this name, and one that is optional and not found replaces no other"
		last      = "replaces the others: it is the last of %d variables of this name"
		butNot    = "replaces the others, but not for %s: it is the last of %d variables of this name"
		notFor    = "does not count for %s"
	)
	f := fmt.Sprintf
	for name, c := range map[string]struct {
		env  []corev1.EnvVar
		want []string
	}{
		"once each": {
			[]corev1.EnvVar{v("A", "x"), v("B", "$(A)")}, []string{"", ""},
		},
		"nothing between them": {
			[]corev1.EnvVar{v("B", ""), v("A", "x"), v("A", "y"), v("C", "$(A)")}, []string{"", f(dead, 1, 2), f(last, 2), ""},
		},
		"a reference between them": {
			[]corev1.EnvVar{v("A", "x"), v("B", "$(A)"), v("A", "y")},
			[]string{f(readOnly, "$(A) in B", 1, 2), "", f(butNot, "$(A) in B", 2)},
		},
		"a text that is no reference": {
			[]corev1.EnvVar{v("A", "x"), v("B", "$$(A) $A $(A"), v("A", "y")}, []string{f(dead, 1, 2), "", f(last, 2)},
		},
		"one that is made of the one before": {
			[]corev1.EnvVar{v("A", "x"), v("A", "$(A):$(A)")}, []string{f(readOnly, "$(A) in A", 1, 2), f(butNot, "$(A) in A", 2)},
		},
		"references above it, for which ConfigMaps, or nothing, can be": {
			[]corev1.EnvVar{v("B", "$(A)"), v("C", "-$(A)-"), v("A", "$(A)")}, []string{"", "", f(notFor, "$(A) in B, C, A")},
		},
		"three of one name": {
			[]corev1.EnvVar{v("A", "x"), v("A", "y"), v("B", "$(A)"), v("A", "z")},
			[]string{f(dead, 1, 3), f(readOnly, "$(A) in B", 2, 3), "", f(butNot, "$(A) in B", 3)},
		},
		"the last is left out if its key is not found": {
			[]corev1.EnvVar{v("A", "x"), v("A", "y"), optional("A")}, []string{f(dead, 1, 3), f(uncertain, 2, 3), f(uncertain, 3, 3)},
		},
		"one between a value and a reference is left out if its key is not found": {
			[]corev1.EnvVar{v("A", "x"), optional("A"), v("B", "$(A)"), v("A", "z")},
			[]string{f(uncertain, 1, 3), f(uncertain, 2, 3), "", f(uncertain, 3, 3)},
		},
		"names that are no words": {
			[]corev1.EnvVar{v("A, B", "x"), v("C alone", "$(A, B)"), v("A, B", "y")},
			[]string{f(readOnly, `"$(A, B)" in "C alone"`, 1, 2), "", f(butNot, `"$(A, B)" in "C alone"`, 2)},
		},
	} {
		if diff := cmp.Diff(c.want, saidOf(t, c.env)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// counted is for what each variable of a list counts: for values in which a reference to it stands, and for the process.
type counted struct {
	values  []map[int]bool
	process []bool
}

// kubelet goes through the list as the kubelet does (makeEnvironmentVariables), with the optional variables that are
// found, and adds what it uses of each.
func (u counted) kubelet(env []corev1.EnvVar, found func(i int) bool) {
	set := map[string]int{}
	for i, e := range env {
		for _, name := range references(e.Value) {
			if at, known := set[name]; known {
				u.values[at][i] = true
			}
		}
		if e.ValueFrom == nil || found(i) {
			set[e.Name] = i
		}
	}
	for _, at := range set {
		u.process[at] = true
	}
}

// TestReading_WhatIsSaidOfVariablesIsWhatTheKubeletDoes makes lists of few names, and has the kubelet's own way through
// them tried with each optional variable found and not found.
func TestReading_WhatIsSaidOfVariablesIsWhatTheKubeletDoes(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	name := func() string { return string(rune('A' + random.IntN(3))) }
	said := map[string]int{}
	for range 3000 {
		var env []corev1.EnvVar
		for range 1 + random.IntN(6) {
			switch random.IntN(5) {
			case 0:
				env = append(env, optional(name()))
			case 1, 2:
				env = append(env, corev1.EnvVar{Name: name(), Value: "x"})
			default:
				env = append(env, corev1.EnvVar{Name: name(), Value: "$(" + name() + ")$(" + name() + ")"})
			}
		}
		u := counted{make([]map[int]bool, len(env)), make([]bool, len(env))}
		for i := range env {
			u.values[i] = map[int]bool{}
		}
		for bits := range 1 << len(env) {
			u.kubelet(env, func(i int) bool { return bits>>i&1 == 1 })
		}
		for i, words := range saidOf(t, env) {
			said[u.expect(t, env, i, words)]++
		}
	}
	for _, kind := range []string{"nothing", "dead", "only", "may", "replaces", "but not", "not for"} {
		if said[kind] < 20 {
			t.Errorf("%q was said %d times", kind, said[kind])
		}
	}
}

// expect sees that what is said of a variable holds, and returns what kind of words it is.
func (u counted) expect(t *testing.T, env []corev1.EnvVar, i int, words string) (kind string) {
	t.Helper()
	wrong := func(rule string) { t.Errorf("%v: of variable %d it is said that it %q: %s", env, i, words, rule) }
	values, _, _ := strings.Cut(strings.TrimPrefix(words, "replaces the others, but not for "), ":")
	_, values, _ = strings.Cut(values, ") in ")
	var names, below, above []string
	optional, several := false, false
	for j, e := range env {
		reads := strings.Contains(e.Value, "$("+env[i].Name+")")
		if u.values[i][j] {
			below = append(below, e.Name)
		}
		if reads && j <= i {
			above = append(above, e.Name)
		}
		optional = optional || e.Name == env[i].Name && e.ValueFrom != nil
		several = several || e.Name == env[i].Name && j != i
	}
	if values != "" {
		names = strings.Split(values, ", ")
	}
	switch {
	case words == "":
		if several || len(above) > 0 {
			wrong("others have to do with it")
		}
		return "nothing"
	case strings.HasPrefix(words, "does not count: "):
		if len(below) > 0 || u.process[i] {
			wrong("it can count")
		}
		return "dead"
	case strings.HasPrefix(words, "counts only for "):
		if u.process[i] || !cmp.Equal(names, below) {
			wrong(fmt.Sprintf("it counts for %v", below))
		}
		return "only"
	case strings.HasPrefix(words, "may count: "):
		if !optional || len(below) == 0 && !u.process[i] {
			wrong("it is certain")
		}
		return "may"
	case strings.HasPrefix(words, "replaces the others: "):
		if optional || !u.process[i] || len(above) > 0 {
			wrong("it is not all that counts")
		}
		return "replaces"
	}
	if !cmp.Equal(names, above) || !u.process[i] {
		wrong(fmt.Sprintf("%v stand above it", above))
	}
	if strings.HasPrefix(words, "replaces") {
		return "but not"
	}
	return "not for"
}
