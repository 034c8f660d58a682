// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"context"
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/rest"
)

// sentinel is a rule that is stored after all others. The API server learns of policies, and of bindings, in the order in which
// they were stored, and puts all it knows in force at once: when the sentinel is obeyed, so is everything stored before it, the
// changes of older rules included. The mutating half writes a mark that nobody could guess, and the validating half refuses an
// object with that mark, so that one refusal speaks for both kinds of rules.
const sentinel = `
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: NAME}
spec:
  failurePolicy: Ignore
  reinvocationPolicy: Never
  matchConstraints:
    resourceRules: [{apiGroups: [""], apiVersions: [v1], resources: [configmaps], operations: [CREATE]}]
  matchConditions: [{name: probe, expression: "object.metadata.?name.orValue('') == 'NAME'"}]
  mutations:
  - patchType: JSONPatch
    jsonPatch: {expression: "[JSONPatch{op: 'add', path: '/data', value: {'mark': 'NAME'}}]"}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: NAME}
spec: {policyName: NAME}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: NAME}
spec:
  failurePolicy: Ignore
  matchConstraints:
    resourceRules: [{apiGroups: [""], apiVersions: [v1], resources: [configmaps], operations: [CREATE]}]
  validations:
  - expression: "object.?data[?'mark'].orValue('') != 'NAME'"
    message: in force
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: NAME}
spec: {policyName: NAME, validationActions: [Deny]}
`

// InForce returns when every admission rule that was stored, changed or removed so far is obeyed as it stands now. It stores a rule of
// its own for as long as that takes, and asks as an administrator.
func InForce(ctx context.Context, config *rest.Config) error {
	i, err := newInstaller(config)
	if err != nil {
		return err
	}
	return i.inForce(ctx)
}

// inForce returns when every rule stored so far is obeyed.
func (i *installer) inForce(ctx context.Context) (err error) {
	name := "valetkey-tests-" + string(uuid.NewUUID())
	objects, err := decode([]byte(strings.ReplaceAll(sentinel, "NAME", name)))
	if err != nil {
		return err
	}
	defer func() {
		for _, o := range objects {
			err = errors.Join(err, i.remove(context.WithoutCancel(ctx), o))
		}
	}()
	for _, o := range objects {
		if err := i.apply(ctx, o); err != nil {
			return fmt.Errorf("storing the sentinel: %w", err)
		}
	}
	return i.refused(ctx, name)
}

// refused asks, as often as the API server answers, until it refuses the sentinel's object.
func (i *installer) refused(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	probe := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": name}}}
	maps := i.client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}).Namespace(metav1.NamespaceDefault)
	for {
		_, err := maps.Create(ctx, probe, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("the admission rules are not in force after %v", patience)
		case err == nil:
		case strings.Contains(err.Error(), "ValidatingAdmissionPolicy '"+name+"'"):
			return nil
		default:
			return fmt.Errorf("probing the admission rules: %w", err)
		}
	}
}

func (i *installer) remove(ctx context.Context, o *unstructured.Unstructured) error {
	kind := o.GroupVersionKind()
	mapping, err := i.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return err
	}
	err = i.client.Resource(mapping.Resource).Delete(ctx, o.GetName(), metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
