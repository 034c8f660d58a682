// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration || mutation

package attacks

import (
	"context"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// jobUID is a Job's controller-uid as an attacker would write it.
const jobUID = "5e8f1a3c-1111-4222-8333-444455556666"

// offDuty is an attack on a Pod that is not a grant's, which the attacker makes first.
func offDuty(attack func(context.Context, *world, string) error) func(context.Context, *world, string) error {
	return func(ctx context.Context, w *world, by string) error {
		if err := w.stored(ctx, kinds["Pod"], w.pod0("foreign")); err != nil {
			return err
		}
		return attack(ctx, w, by)
	}
}

// debugs adds a container to a Pod that is not a grant's.
func debugs(container string) func(context.Context, *world, string) error {
	return offDuty(func(ctx context.Context, w *world, by string) error {
		body := strings.ReplaceAll(`{"spec":{"ephemeralContainers":[{"name":"debug","image":"x",`+container+`}]}}`, "SECRET", w.secret)
		_, err := w.clients[by].Resource(kinds["Pod"]).Namespace(namespace).
			Patch(ctx, "foreign", types.StrategicMergePatchType, []byte(body), metav1.PatchOptions{DryRun: dryRun}, "ephemeralcontainers")
		return err
	})
}

// binds sends a Pod to a node with metadata that the API server copies onto the Pod.
func binds(pod func(*world) string, resource string, subresources []string, metadata edit) func(context.Context, *world, string) error {
	return offDuty(func(ctx context.Context, w *world, by string) error {
		o := normal(map[string]any{"apiVersion": "v1", "kind": "Binding", "metadata": map[string]any{"name": pod(w), "namespace": namespace},
			"target": map[string]any{"kind": "Node", "name": "node1"}})
		metadata(o.Object)
		_, err := w.clients[by].Resource(schema.GroupVersionResource{Version: "v1", Resource: resource}).Namespace(namespace).
			Create(ctx, o, metav1.CreateOptions{DryRun: dryRun}, subresources...)
		return err
	})
}

func subresourceRows() []row {
	const parts, bindings = "valetkey-pods-parts", "valetkey-bindings"
	status := func(body string) func(context.Context, *world, string) error {
		return offDuty(patches("Pod", "foreign", "status", body))
	}
	running := func(w *world) string { return w.pod }
	foreign := func(*world) string { return "foreign" }
	return []row{
		{name: "a debug container in another Pod that takes a grant's Secret", by: mallory, rule: parts, words: "name another Secret", try: debugs(`"envFrom":[{"secretRef":{"name":"SECRET"}}]`)},
		{name: "a debug container in another Pod that takes one key of it", by: mallory, rule: parts, words: "name another Secret", try: debugs(
			`"env":[{"name":"A","valueFrom":{"secretKeyRef":{"name":"SECRET","key":"aws.credentials"}}}]`)},
		{name: "a foreign Pod that becomes a grant's through its status", by: mallory, rule: parts, words: "does not become", try: status(`{"metadata":{"labels":{"valetkey.dev/request":"granted"}}}`)},
		{name: "a foreign Pod that gets a grant's note through its status", by: mallory, rule: parts, words: "does not become", try: status(`{"metadata":{"annotations":{"valetkey.dev/grant":"x"}}}`)},
		{name: "a foreign Pod that is offered to the Job through its status", by: mallory, rule: parts, words: "does not become", try: status(`{"metadata":{"labels":{"batch.kubernetes.io/controller-uid":"` + jobUID + `"}}}`)},
		{name: "binding the running Pod under another request's label", by: mallory, rule: bindings, words: "no label or annotation", try: binds(running, "pods", []string{"binding"}, label("metadata.labels", "valetkey.dev/request", "other"))},
		{name: "binding the running Pod under another grant's note", by: mallory, rule: bindings, words: "no label or annotation", try: binds(running, "pods", []string{"binding"}, label("metadata.annotations", "valetkey.dev/grant", "other"))},
		{name: "binding a foreign Pod as one that the Job adopts", by: mallory, rule: bindings, words: "no label or annotation", try: binds(foreign, "pods", []string{"binding"}, label("metadata.labels", "batch.kubernetes.io/controller-uid", jobUID))},
		{name: "binding a foreign Pod as a grant's, the old way", by: mallory, rule: bindings, words: "no label or annotation", try: binds(foreign, "bindings", nil, label("metadata.labels", "valetkey.dev/request", granted))},
		{name: "the job-controller is led to adopt a foreign Pod", by: "job-controller", rule: "valetkey-pods", words: "does not become", try: adopts},
	}
}

// adopts has the job-controller take a Pod that it did not make, by a dry run of an impersonating administrator.
func adopts(ctx context.Context, w *world, _ string) error {
	if err := w.stored(ctx, kinds["Pod"], w.pod0("foreign")); err != nil {
		return err
	}
	job, err := w.clients[admin].Resource(kinds["Job"]).Namespace(namespace).Get(ctx, "valetkey-"+granted, metav1.GetOptions{})
	if err != nil {
		return err
	}
	yes := true
	patch := normal(map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{}})
	patch.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: "batch/v1", Kind: "Job", Name: job.GetName(), UID: job.GetUID(), Controller: &yes, BlockOwnerDeletion: &yes}})
	body, err := patch.MarshalJSON()
	if err != nil {
		return err
	}
	_, err = w.asJobController().Resource(kinds["Pod"]).Namespace(namespace).Patch(ctx, "foreign", types.StrategicMergePatchType, body, metav1.PatchOptions{DryRun: dryRun})
	return err
}
