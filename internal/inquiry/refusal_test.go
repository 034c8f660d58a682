// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package inquiry

import (
	"fmt"
	"io/fs"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	"github.com/valetkey/valetkey/config"
)

// schemas are those of the kinds, by name.
func schemas(t *testing.T) map[string]*apiextensionsv1.JSONSchemaProps {
	t.Helper()
	files, err := fs.Glob(config.Kinds, "crd/*.yaml")
	if err != nil || len(files) != 5 {
		t.Fatal(files, err)
	}
	all := map[string]*apiextensionsv1.JSONSchemaProps{}
	for _, file := range files {
		text, err := fs.ReadFile(config.Kinds, file)
		if err != nil {
			t.Fatal(err)
		}
		kind := &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.UnmarshalStrict(text, kind); err != nil {
			t.Fatal(err)
		}
		all[kind.Spec.Names.Kind] = kind.Spec.Versions[0].Schema.OpenAPIV3Schema
	}
	return all
}

// TestInWords_EveryPatternOfARequestHasWords: nobody is to read a regular expression to learn what to write.
func TestInWords_EveryPatternOfARequestHasWords(t *testing.T) {
	patterns := 0
	var look func(field string, s apiextensionsv1.JSONSchemaProps)
	look = func(field string, s apiextensionsv1.JSONSchemaProps) {
		if s.Pattern != "" {
			patterns++
			said := fmt.Sprintf(`CapabilityRequest.valetkey.dev "x" is invalid: %[1]s: Invalid value: "a b": %[1]s in body should match '%[2]s'`, field, s.Pattern)
			want := fmt.Sprintf(`CapabilityRequest.valetkey.dev "x" is invalid: %s: Invalid value: "a b": allowed are %s`, field, wordsFor(s.Pattern))
			if got := InWords(said); got != want || wordsFor(s.Pattern) == "" {
				t.Errorf("%s\nwant %s", got, want)
			}
		}
		for name, inner := range s.Properties {
			look(field+"."+name, inner)
		}
		if s.Items != nil {
			look(field+"[0]", *s.Items.Schema)
		}
	}
	request := schemas(t)["CapabilityRequest"]
	look("spec", request.Properties["spec"])
	look("decisions", request.Properties["decisions"])
	if patterns < 7 {
		t.Errorf("only %d patterns were found", patterns)
	}
}

// TestInWords_NoRuleIsAboutNothing: of a rule about the whole object the API server says <nil>, unless the rule names
// the field.
func TestInWords_NoRuleIsAboutNothing(t *testing.T) {
	for kind, schema := range schemas(t) {
		for _, rule := range schema.XValidations {
			if rule.FieldPath == "" || rule.Message == "" {
				t.Errorf("%s: the rule %s names no field, or has no words", kind, rule.Rule)
			}
		}
	}
	const said = `CapabilityRequest.valetkey.dev "z9.y" is invalid: <nil>: Invalid value: a request's name has lower case letters`
	if got, want := InWords(said), `CapabilityRequest.valetkey.dev "z9.y" is invalid: Invalid value: a request's name has lower case letters`; got != want {
		t.Errorf("%s; want %s", got, want)
	}
}
