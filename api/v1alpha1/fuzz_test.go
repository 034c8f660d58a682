// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/randfill"
	"sigs.k8s.io/yaml"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// kinds are the five, each with the name of its CRD's file.
func kinds() map[string]runtime.Object {
	return map[string]runtime.Object{
		"capabilityproviders": &v1alpha1.CapabilityProvider{}, "capabilities": &v1alpha1.Capability{}, "capabilitypolicies": &v1alpha1.CapabilityPolicy{},
		"capabilityrequests": &v1alpha1.CapabilityRequest{}, "capabilitygrants": &v1alpha1.CapabilityGrant{},
	}
}

func schemaOf(tb testing.TB, name string) *structuralschema.Structural {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "config", "crd", "valetkey.dev_"+name+".yaml"))
	if err != nil {
		tb.Fatal(err)
	}
	crd := apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict(text, &crd); err != nil {
		tb.Fatal(err)
	}
	internal := &apiextensions.JSONSchemaProps{}
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(crd.Spec.Versions[0].Schema.OpenAPIV3Schema, internal, nil); err != nil {
		tb.Fatal(err)
	}
	schema, err := structuralschema.NewStructural(internal)
	if err != nil {
		tb.Fatal(err)
	}
	return schema
}

// FuzzRoundTrip fills each kind at random: what is stored is what was meant, whatever way it goes, and defaulting it again changes nothing.
func FuzzRoundTrip(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("a request, its grant, and what a capability may do with either of them"))
	schemas := map[string]*structuralschema.Structural{}
	for name := range kinds() {
		schemas[name] = schemaOf(f, name)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for name, object := range kinds() {
			filler := randfill.NewFromGoFuzz(data).NilChance(.3).NumElements(0, 3).MaxDepth(12).Funcs(
				func(at *metav1.Time, c randfill.Continue) {
					*at = metav1.Unix(c.Int63n(int64(200*365*24*time.Hour/time.Second)), 0)
				},
				func(m *metav1.ObjectMeta, _ randfill.Continue) { *m = metav1.ObjectMeta{Name: "n", Namespace: "ns"} },
				func(m *metav1.TypeMeta, _ randfill.Continue) { *m = metav1.TypeMeta{} },
			)
			filler.Fill(object)
			roundTrip(t, name, object, schemas[name])
		}
	})
}

func roundTrip(t *testing.T, name string, object runtime.Object, schema *structuralschema.Structural) {
	t.Helper()
	text, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	back := kinds()[name]
	if err := json.Unmarshal(text, back); err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(back)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(text), string(again)); diff != "" {
		t.Errorf("%s reads back as something else: %s", name, diff)
	}
	copied := object.DeepCopyObject()
	if diff := cmp.Diff(object, copied); diff != "" {
		t.Errorf("a copy of %s differs: %s", name, diff)
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(back)
	if err != nil {
		t.Fatal(err)
	}
	whole := runtime.DeepCopyJSON(content)
	pruning.Prune(content, schema, true)
	if diff := cmp.Diff(whole, content); diff != "" {
		t.Errorf("the schema of %s does not know what the type has: %s", name, diff)
	}
	defaulting.Default(content, schema)
	once := runtime.DeepCopyJSON(content)
	defaulting.Default(content, schema)
	if diff := cmp.Diff(once, content); diff != "" {
		t.Errorf("defaults of %s that are set again change: %s", name, diff)
	}
}
