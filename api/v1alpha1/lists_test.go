// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"os"
	"path/filepath"
	"testing"

	"sigs.k8s.io/yaml"
)

// TestLists_OfAnEnumerationHoldAllOfIt reads the CRDs: a list of the values of an enumeration, each at most once, has room for each of them.
func TestLists_OfAnEnumerationHoldAllOfIt(t *testing.T) {
	files, err := filepath.Glob("../../config/crd/*_*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var crd any
		if err := yaml.Unmarshal(text, &crd); err != nil {
			t.Fatal(err)
		}
		eachSchema("", crd, func(path string, schema map[string]any) {
			items, _ := schema["items"].(map[string]any)
			values, isEnum := items["enum"].([]any)
			if !isEnum {
				return
			}
			found++
			if most, ok := schema["maxItems"].(float64); !ok || int(most) != len(values) {
				t.Errorf("%s%s: maxItems is %v, and there are %d values", filepath.Base(file), path, schema["maxItems"], len(values))
			}
		})
	}
	if found == 0 {
		t.Error("no list of an enumeration was found")
	}
}

// eachSchema visits all maps below a value.
func eachSchema(path string, value any, visit func(string, map[string]any)) {
	switch v := value.(type) {
	case map[string]any:
		visit(path, v)
		for key, inner := range v {
			eachSchema(path+"."+key, inner, visit)
		}
	case []any:
		for _, inner := range v {
			eachSchema(path, inner, visit)
		}
	}
}
