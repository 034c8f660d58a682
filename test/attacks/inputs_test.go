// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration || mutation

package attacks

import (
	"context"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// inputRows are about what a granted Pod reads.
func inputRows() []row {
	const copies, operatorCopies, point = "valetkey-copies", "valetkey-operator-copies", "valetkey-point-to-copies"
	makes := func(edits ...edit) func(context.Context, *world, string) error {
		return creates(func(w *world) *unstructured.Unstructured {
			return w.copy0(append([]edit{set("metadata.name", "valetkey.dev-"+w.grantUID+"-7")}, edits...)...)
		})
	}
	of := func(attack func(w *world) func(context.Context, *world, string) error) func(context.Context, *world, string) error {
		return func(ctx context.Context, w *world, by string) error { return attack(w)(ctx, w, by) }
	}
	changes := func(body string) func(context.Context, *world, string) error {
		return of(func(w *world) func(context.Context, *world, string) error {
			return patches("ConfigMap", w.copyName(), "", body)
		})
	}
	removes := func(name func(*world) string) func(context.Context, *world, string) error {
		return func(ctx context.Context, w *world, by string) error {
			background := metav1.DeletePropagationBackground
			return w.delete(ctx, by, "ConfigMap", name(w), metav1.DeleteOptions{PropagationPolicy: &background})
		}
	}
	rows := []row{
		{name: "a copy of an input under a name that a grant may need", by: mallory, rule: copies, words: "only a grant makes", try: makes()},
		{name: "a copy of an input under a generated name", by: mallory, rule: copies, words: "only a grant makes", try: makes(set("metadata.name", ""), set("metadata.generateName", "valetkey.dev-"))},
		{name: "changing a label of a copy", by: mallory, rule: copies, words: "never changes", try: changes(`{"metadata":{"labels":{"a":"b"}}}`)},
		{name: "deleting a copy, to make it again with another content", by: mallory, rule: copies, words: "a grant deletes its copies", try: removes((*world).copyName)},
		{name: "the operator makes another ConfigMap", by: operator, rule: operatorCopies, words: "no ConfigMap but a grant's copy", try: makes(set("metadata.name", "settings-2"))},
		{name: "the operator makes a copy that can change", by: operator, rule: operatorCopies, words: "no ConfigMap but a grant's copy", try: makes(set("immutable", false))},
		{name: "the operator makes a copy for nobody's grant", by: operator, rule: operatorCopies, words: "no ConfigMap but a grant's copy", try: makes(set("metadata.ownerReferences", []any{}))},
		{name: "the operator makes a copy that stays", by: operator, rule: operatorCopies, words: "no ConfigMap but a grant's copy", try: makes(set("metadata.finalizers", []any{"example.com/hold"}))},
		{name: "the operator makes a copy elsewhere", by: operator, rule: operatorCopies, words: "no ConfigMap but a grant's copy", try: makes(set("metadata.namespace", plain))},
		{name: "the operator changes a ConfigMap", by: operator, rule: operatorCopies, words: "changes no ConfigMap", try: patches("ConfigMap", "settings", "", `{"data":{"a":"evil"}}`)},
		{name: "the operator deletes a ConfigMap", by: operator, rule: operatorCopies, words: "deletes grants' copies only", try: removes(func(*world) string { return "settings" })},
		{name: "a granted Pod that reads a ConfigMap which was not reviewed", by: "job-controller", rule: "valetkey-pods", words: "no other", try: readsConfigMap("other")},
		{name: "a granted Pod that reads another grant's copy", by: "job-controller", rule: "valetkey-pods", words: "no other", try: readsConfigMap("valetkey.dev-5e8f1a3c-1111-4222-8333-444455556666-0")},
	}
	for way := range configMapWays("") {
		rows = append(rows,
			row{name: "a granted Pod reads the copy that it has " + way, by: "job-controller", rule: point, shows: pointed(way)},
			row{name: "a granted Pod that has a ConfigMap which was not reviewed " + way, by: "job-controller", rule: "valetkey-pods", words: "no other", try: hasConfigMap(way, "other")})
	}
	return rows
}

// configMapWays are the ways in which a Pod can read a ConfigMap.
func configMapWays(name string) map[string]edit {
	const pod, first = "spec.", "spec.containers.0."
	ref := map[string]any{"name": name}
	key := map[string]any{"name": name, "key": "a"}
	initial := func(field string, value any) edit {
		return set(pod+"initContainers", []any{map[string]any{"name": "i", "image": image, field: value}})
	}
	return map[string]edit{
		"as a volume":                           set(pod+"volumes", []any{map[string]any{"name": "v", "configMap": ref}}),
		"among projected sources":               set(pod+"volumes", []any{map[string]any{"name": "w", "emptyDir": map[string]any{}}, map[string]any{"name": "v", "projected": map[string]any{"sources": []any{map[string]any{"configMap": ref}}}}}),
		"as a variable":                         set(first+"env", []any{map[string]any{"name": "A", "valueFrom": map[string]any{"configMapKeyRef": key}}}),
		"as all its variables":                  set(first+"envFrom", []any{map[string]any{"configMapRef": ref}}),
		"as a variable of an init container":    initial("env", []any{map[string]any{"name": "A", "valueFrom": map[string]any{"configMapKeyRef": key}}}),
		"as all variables of an init container": initial("envFrom", []any{map[string]any{"configMapRef": ref}}),
	}
}

// makesPod has the job-controller make the granted Pod once more, with a ConfigMap.
func makesPod(ctx context.Context, w *world, way, name string) (*unstructured.Unstructured, error) {
	made, err := w.clients[admin].Resource(kinds["Pod"]).Namespace(namespace).Get(ctx, w.pod, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	o := w.template(ctx, made, true)
	configMapWays(name)[way](o.Object)
	if strings.Contains(way, "init container") {
		set("metadata.annotations", stringsToAny(made.GetAnnotations()))(o.Object)
		label("metadata.annotations", "valetkey.dev/containers", "i="+imageDigest+",publish="+imageDigest+",beside="+imageDigest)(o.Object)
	}
	return w.asJobController().Resource(kinds["Pod"]).Namespace(namespace).Create(ctx, normal(o.Object), metav1.CreateOptions{DryRun: dryRun})
}

func hasConfigMap(way, name string) func(context.Context, *world, string) error {
	return func(ctx context.Context, w *world, _ string) error {
		_, err := makesPod(ctx, w, way, name)
		return err
	}
}

func readsConfigMap(name string) func(context.Context, *world, string) error {
	return hasConfigMap("as a volume", name)
}

// pointed sees that the Pod reads the grant's copy instead of the ConfigMap that its Job names.
func pointed(way string) func(context.Context, *world) error {
	return func(ctx context.Context, w *world) error {
		made, err := makesPod(ctx, w, way, "settings")
		if err != nil {
			return err
		}
		if text := fmt.Sprint(made.Object["spec"]); !strings.Contains(text, "name:"+w.copyName()) || strings.Contains(text, "name:settings") {
			return fmt.Errorf("it reads something else: %s", text)
		}
		return nil
	}
}
