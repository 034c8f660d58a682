// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"reflect"
	"slices"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
)

// reachable are the types whose fields a Job can set: those below a field that is refused whole are left out.
func reachable() []reflect.Type {
	var all []reflect.Type
	var visit func(reflect.Type)
	visit = func(t reflect.Type) {
		t = element(t)
		if t.Kind() != reflect.Struct || isValue(t) || slices.Contains(all, t) {
			return
		}
		all = append(all, t)
		for _, m := range members(t) {
			if f := known()[t][m.Name]; f.Class != Refused || len(f.Values) > 0 {
				visit(m.Type)
			}
		}
	}
	visit(reflect.TypeFor[batchv1.JobSpec]())
	return all
}

func TestFields_EveryFieldOfTheAPIHasARow(t *testing.T) {
	count := 0
	for _, typ := range reachable() {
		for _, m := range members(typ) {
			count++
			if _, ok := known()[typ][m.Name]; !ok {
				t.Errorf("%s.%s has no row: decide what a Job that wants a credential may do with it", typ.Name(), m.Name)
			}
		}
	}
	t.Logf("%d fields of %d types", count, len(reachable()))
}

func TestFields_EveryRowIsAField(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range Fields() {
		name := f.Type + "." + f.Name
		if seen[name] {
			t.Errorf("%s has two rows", name)
		}
		seen[name] = true
		at := slices.IndexFunc(reachable(), func(typ reflect.Type) bool { return typ.Name() == f.Type })
		if at < 0 {
			t.Errorf("%s: no Job has a field of that type", name)
			continue
		}
		if !slices.ContainsFunc(members(reachable()[at]), func(m member) bool { return m.Name == f.Name }) {
			t.Errorf("%s is no field of the API", name)
		}
	}
}

func TestFields_EachHasAReason(t *testing.T) {
	for _, f := range Fields() {
		if f.Why == "" || !slices.Contains([]Class{Refused, Reviewed, Input, Harmless}, f.Class) {
			t.Errorf("%s.%s: class %q, because %q", f.Type, f.Name, f.Class, f.Why)
		}
	}
}

// TestFields_EnumerationsListTheirValues holds that a value which a newer API server knows, and this program does not, is refused.
func TestFields_EnumerationsListTheirValues(t *testing.T) {
	// These are names or texts, of which there is no list.
	open := []string{"ResourceName", "Capability", "UID", "Signal", "PodConditionType"}
	for _, typ := range reachable() {
		for _, m := range members(typ) {
			f, kind := known()[typ][m.Name], element(m.Type)
			if kind.Kind() != reflect.String || kind.Name() == "string" || slices.Contains(open, kind.Name()) {
				continue
			}
			if f.Class != Refused && len(f.Values) == 0 {
				t.Errorf("%s.%s is one of the values of %s: list those that are known", f.Type, f.Name, kind.Name())
			}
		}
	}
}
