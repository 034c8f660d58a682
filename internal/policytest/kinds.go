// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policytest

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/config"
)

// kind is one of ours, as the API server knows it. It is safe for concurrent use.
type kind struct {
	namespaced bool
	schema     *structuralschema.Structural
	values     validation.SchemaCreateValidator
	rules      *cel.Validator
}

// readKinds reads the kinds that are shipped, by their names. An error means that they cannot be read.
func readKinds() (map[string]*kind, error) {
	files, err := fs.Glob(config.Kinds, "crd/*.yaml")
	if err != nil {
		return nil, err
	}
	kinds := map[string]*kind{}
	for _, file := range files {
		text, err := config.Kinds.ReadFile(file)
		if err != nil {
			return nil, err
		}
		crd := &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.UnmarshalStrict(text, crd); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if kinds[crd.Spec.Names.Kind], err = newKind(crd); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	return kinds, nil
}

func newKind(crd *apiextensionsv1.CustomResourceDefinition) (*kind, error) {
	at := slices.IndexFunc(crd.Spec.Versions, func(v apiextensionsv1.CustomResourceDefinitionVersion) bool {
		return v.Name == v1alpha1.GroupVersion.Version
	})
	if at < 0 {
		return nil, fmt.Errorf("there is no version %s", v1alpha1.GroupVersion.Version)
	}
	internal := &apiextensions.JSONSchemaProps{}
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(crd.Spec.Versions[at].Schema.OpenAPIV3Schema, internal, nil); err != nil {
		return nil, err
	}
	schema, err := structuralschema.NewStructural(internal)
	if err != nil {
		return nil, err
	}
	values, _, err := validation.NewSchemaValidator(internal)
	if err != nil {
		return nil, err
	}
	return &kind{
		namespaced: crd.Spec.Scope == apiextensionsv1.NamespaceScoped, schema: schema, values: values,
		rules: cel.NewValidator(schema, true, celconfig.PerCallLimit),
	}, nil
}

// admit does to an object what the API server does as it is created with strict validation: it sets defaults, leaves out what only
// the operator writes, and says all that is wrong, a sentence each.
func (k *kind) admit(object map[string]any) []string {
	delete(object, "status")
	unknown := pruning.PruneWithOptions(object, k.schema, true, structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
	defaulting.PruneNonNullableNullsWithoutDefaults(object, k.schema)
	problems := make([]string, 0, len(unknown))
	for _, path := range unknown {
		problems = append(problems, k.unknown(path))
	}
	meta, _, unknown, err := objectmeta.GetObjectMetaWithOptions(object, objectmeta.ObjectMetaOptions{ReturnUnknownFieldPaths: true})
	if err != nil {
		return append(problems, err.Error())
	}
	for _, path := range unknown {
		problems = append(problems, fmt.Sprintf("%s: there is no such field; labels and annotations are maps below metadata", path))
	}
	if !k.namespaced {
		meta.Namespace = ""
	}
	defaulting.Default(object, k.schema)
	errs := apivalidation.ValidateObjectMeta(meta, k.namespaced, apivalidation.NameIsDNSSubdomain, field.NewPath("metadata"))
	errs = append(errs, validation.ValidateCustomResource(nil, object, k.values)...)
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, k.schema, object)...)
	// Rules rely on a value's type and size: they are asked when those are right, as in the API server.
	if len(errs) == 0 && k.rules != nil {
		errs, _ = k.rules.Validate(context.Background(), nil, k.schema, object, nil, celconfig.RuntimeCELCostBudget)
	}
	for _, e := range errs {
		problems = append(problems, e.Error())
	}
	return problems
}

// unknown says of a field that there is none, and which there are beside it.
func (k *kind) unknown(path string) string {
	parent := path[:max(0, strings.LastIndex(path, "."))]
	at := k.schema
	for _, step := range strings.FieldsFunc(parent, func(r rune) bool { return r == '.' }) {
		name, item, _ := strings.Cut(step, "[")
		next, known := at.Properties[name]
		if !known {
			return path + ": there is no such field"
		}
		at = &next
		if item != "" && at.Items != nil {
			at = at.Items
		}
	}
	return fmt.Sprintf("%s: there is no such field; there are %s", path, strings.Join(slices.Sorted(maps.Keys(at.Properties)), ", "))
}
