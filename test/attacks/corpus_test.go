// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package attacks

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// ordinary are objects that are not ours, in every shape that people send.
func ordinary(w *world) map[string]*unstructured.Unstructured {
	odd := map[string]*unstructured.Unstructured{
		"a Pod without volumes":                    w.pod0("o1"),
		"a Pod with a generated name":              w.pod0("", set("metadata.generateName", "o-")),
		"a Pod with nulls":                         w.pod0("o2", set("metadata.labels", nil), set("metadata.annotations", nil), set("spec.volumes", nil), set("spec.containers.0.env", nil)),
		"a Pod with a finalizer":                   w.pod0("o3", set("metadata.finalizers", []any{"example.com/hold"})),
		"a Pod with an owner":                      w.pod0("o4", set("metadata.ownerReferences", []any{foreignOwner()})),
		"a Pod whose name begins with ours":        w.pod0("valetkey-web-0"),
		"a Pod of a Job that is not ours":          w.pod0("o5", label("metadata.labels", "job-name", "nightly")),
		"a Pod with its own grace and limit":       w.pod0("o6", set("spec.terminationGracePeriodSeconds", 0), set("spec.activeDeadlineSeconds", 5)),
		"a Secret":                                 w.secret0("o1", "Opaque", set("stringData", map[string]any{"a": "b"})),
		"a Secret without a type":                  w.secret0("o2", ""),
		"a Secret with a generated name":           w.secret0("", "Opaque", set("metadata.generateName", "o-")),
		"an immutable Secret":                      w.secret0("o3", "kubernetes.io/basic-auth", set("immutable", true), set("stringData", map[string]any{"username": "u", "password": "p"})),
		"a ConfigMap named as ours":                object("ConfigMap", namespace, "valetkey-anything", nil),
		"a ServiceAccount with a Secret":           object("ServiceAccount", namespace, "o1", nil, set("imagePullSecrets", []any{map[string]any{"name": "registry"}})),
		"a Deployment whose name begins with ours": workload("Deployment", podSpec(), set("metadata.name", "valetkey-web")),
		"a Job that retries":                       workload("Job", podSpec(), set("spec.backoffLimit", 6), set("spec.parallelism", 3), set("spec.completions", 9)),
		"a Job with a finalizer":                   workload("Job", podSpec(), set("metadata.finalizers", []any{"example.com/hold"})),
		"a Job with a generated name":              workload("Job", podSpec(), set("metadata.name", ""), set("metadata.generateName", "o-")),
	}
	for _, kind := range workloads {
		odd["a "+kind] = workload(kind, podSpec())
	}
	for way := range ways("") {
		spec := podSpec()
		ways("registry")[way](spec)
		odd["a Deployment that names an ordinary Secret by "+way] = workload("Deployment", spec)
	}
	return odd
}

// TestOrdinaryObjects sends what is not ours to an enrolled namespace and to one that is not: both store the same.
func TestOrdinaryObjects(t *testing.T) {
	w := newWorld(t.Context(), t)
	for name, o := range ordinary(w) {
		t.Run(name, func(t *testing.T) {
			here, err := w.creating(t.Context(), mallory, o)
			if err != nil {
				t.Fatal(err)
			}
			o = o.DeepCopy()
			o.SetNamespace(plain)
			there, err := w.creating(t.Context(), mallory, o)
			if err != nil {
				t.Fatal(err)
			}
			if a, b := essence(here), essence(there); !reflect.DeepEqual(a, b) {
				t.Errorf("an enrolled namespace stores\n%v\nany other\n%v", a, b)
			}
		})
	}
	t.Run("and what is done to them later", func(t *testing.T) { later(t, w) })
}

// essence is an object without what differs from one creation to the next.
func essence(o *unstructured.Unstructured) map[string]any {
	text, _ := json.Marshal(o.Object)
	var bare map[string]any
	if err := json.Unmarshal([]byte(strings.NewReplacer(string(o.GetUID()), "UID", o.GetNamespace(), "NS").Replace(string(text))), &bare); err != nil {
		panic(err)
	}
	meta := bare["metadata"].(map[string]any)
	if meta["generateName"] != nil {
		delete(meta, "name")
		if spec, ok := bare["spec"].(map[string]any); ok {
			if template, ok := spec["template"].(map[string]any); ok {
				delete(template, "metadata")
			}
		}
	}
	for _, key := range []string{"creationTimestamp", "managedFields", "uid", "resourceVersion"} {
		delete(meta, key)
	}
	return bare
}

// later changes, connects to and deletes what is stored, in every way.
func later(t *testing.T, w *world) {
	t.Helper()
	ctx := t.Context()
	jobs := w.clients[mallory].Resource(kinds["Job"]).Namespace(namespace)
	pods := w.clients[mallory].Resource(kinds["Pod"]).Namespace(namespace)
	for resource, o := range map[string]*unstructured.Unstructured{"Job": workload("Job", podSpec()), "Pod": w.pod0("ordinary")} {
		client := w.clients[mallory].Resource(kinds[resource]).Namespace(namespace)
		if _, err := client.Create(ctx, o, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		for kind, body := range map[types.PatchType]string{
			types.MergePatchType: `{"metadata":{"labels":{"a":"b"}}}`, types.StrategicMergePatchType: `{"metadata":{"annotations":{"a":"b"}}}`,
			types.JSONPatchType:      `[{"op":"add","path":"/metadata/finalizers","value":["example.com/hold"]}]`,
			types.ApplyYAMLPatchType: fmt.Sprintf(`{"apiVersion":%q,"kind":%q,"metadata":{"name":%q,"labels":{"c":"d"}}}`, o.GetAPIVersion(), resource, o.GetName()),
		} {
			if _, err := client.Patch(ctx, o.GetName(), kind, []byte(body), metav1.PatchOptions{FieldManager: "corpus"}); err != nil {
				t.Errorf("%s, %s: %v", resource, kind, err)
			}
		}
		if _, err := client.Patch(ctx, o.GetName(), types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
			t.Errorf("%s: %v", resource, err)
		}
	}
	if _, err := jobs.Patch(ctx, "ordinary-job", types.MergePatchType, []byte(`{"spec":{"suspend":true,"parallelism":2}}`), metav1.PatchOptions{}); err != nil {
		t.Error(err)
	}
	if _, err := w.clients[kubelet].Resource(kinds["Pod"]).Namespace(namespace).Patch(ctx, "ordinary", types.MergePatchType, []byte(`{}`), metav1.PatchOptions{}, "status"); err != nil && strings.Contains(err.Error(), "ValidatingAdmissionPolicy") {
		t.Error(err)
	}
	if _, err := pods.Patch(ctx, "ordinary", types.MergePatchType, []byte(`{"status":{"message":"x"}}`), metav1.PatchOptions{}, "status"); err != nil {
		t.Error(err)
	}
	orphan := metav1.DeletePropagationOrphan
	if err := jobs.Delete(ctx, "ordinary-job", metav1.DeleteOptions{PropagationPolicy: &orphan}); err != nil {
		t.Error(err)
	}
	if err := pods.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{FieldSelector: "metadata.name=ordinary"}); err != nil {
		t.Error(err)
	}
}
