// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"
	"testing"
)

func TestFields_EveryFieldOfTheAPIHasARow(t *testing.T) {
	count := 0
	for _, s := range Structs() {
		for _, f := range s.Fields {
			count++
			if f.Class == "" {
				t.Errorf("%s.%s has no row: decide what a Job that wants a credential may do with it", s.Name, f.Name)
			}
		}
	}
	const least = 350
	if count < least {
		t.Errorf("the API has %d fields, want at least %d: the walk through its types has lost some", count, least)
	}
}

func TestFields_EveryRowIsAField(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range Fields() {
		name := f.Type + "." + f.Name
		if seen[name] {
			t.Errorf("%s has two rows", name)
		}
		seen[name] = true
		at := slices.IndexFunc(Structs(), func(s Struct) bool { return s.Name == f.Type })
		if at < 0 {
			t.Errorf("%s: no Job has a field of that type", name)
			continue
		}
		if !slices.ContainsFunc(Structs()[at].Fields, func(m StructField) bool { return m.Name == f.Name }) {
			t.Errorf("%s is no field of the API", name)
		}
	}
}

func TestFields_EachHasAReason(t *testing.T) {
	for _, f := range Fields() {
		if f.Why == "" || !slices.Contains([]Class{Refused, Reviewed, Input, Harmless}, f.Class) {
			t.Errorf("%s.%s: class %q, because %q", f.Type, f.Name, f.Class, f.Why)
		}
		if (f.Class == Input || f.Class == Reviewed) && f.Danger == NoDanger {
			t.Errorf("%s.%s is %s, and nobody would be shown it", f.Type, f.Name, f.Class)
		}
	}
}

// TestFields_EnumerationsListTheirValues holds that a value which a newer API server knows, and this program does not, is refused.
func TestFields_EnumerationsListTheirValues(t *testing.T) {
	// These are names or texts, of which there is no list.
	open := []string{"string", "ResourceName", "Capability", "UID", "Signal", "PodConditionType"}
	numbers := []string{"int32", "int64", "bool", "uint8", "Quantity", "IntOrString", "Time"}
	for _, s := range Structs() {
		for _, f := range s.Fields {
			if f.Struct != "" || slices.Contains(append(open, numbers...), f.Kind) {
				continue
			}
			if f.Class != Refused && len(f.Values) == 0 {
				t.Errorf("%s.%s is one of the values of %s: list those that are known", f.Type, f.Name, f.Kind)
			}
		}
	}
}
