// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration || mutation

package attacks

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// metadataRows fill what nobody looks at, so that no decision, no end and no status fits any more, and have a Pod carry
// what another Job, or another object of the namespace, gave it.
func metadataRows() []row {
	const request, grant, job, pod = "CapabilityRequest", "CapabilityGrant", "Job", "Pod"
	filled := `{"metadata":{"generateName":"` + strings.Repeat("x", 1_000_000) + `"}}`
	all := []row{
		{name: "a request with notes of its own, which the operator would keep", by: agent, rule: "valetkey-requests", words: "than its decisions",
			try: creates(func(w *world) *unstructured.Unstructured {
				return w.request0("q", label("metadata.annotations", "valetkey.dev/n00", "x"))
			})},
		{name: "a request with a label of valetkey.dev", by: mallory, rule: "valetkey-requests", words: "than its decisions",
			try: patches(request, waiting, "", `{"metadata":{"labels":{"valetkey.dev/request":"x"}}}`)},
		{name: "a pull Secret of the ServiceAccount's, beside the step", by: "job-controller", rule: "valetkey-pods", words: "no imagePullSecrets that were not reviewed",
			try: withPullSecret},
		{name: "the operator deletes a Pod that is none of a grant's", by: operator, rule: "valetkey-operator-pods", words: "deletes granted Pods alone",
			try: func(ctx context.Context, w *world, by string) error {
				if err := w.stored(ctx, kinds["Pod"], w.pod0("foreign")); err != nil {
					return err
				}
				background := metav1.DeletePropagationBackground
				return w.clients[by].Resource(kinds["Pod"]).Namespace(namespace).Delete(ctx, "foreign", metav1.DeleteOptions{PropagationPolicy: &background})
			}},
		{name: "the operator makes a Pod", by: operator, rule: "valetkey-operator-pods", words: "makes no Pods",
			try: func(ctx context.Context, w *world, by string) error {
				pods := w.clients[by].Resource(kinds["Pod"]).Namespace(namespace)
				made, err := pods.Create(ctx, w.pod0("made", set("metadata.name", ""), set("metadata.generateName", "made-")), metav1.CreateOptions{})
				if err != nil {
					return err
				}
				return w.clients[admin].Resource(kinds["Pod"]).Namespace(namespace).Delete(ctx, made.GetName(), metav1.DeleteOptions{})
			}},
		{name: "the operator tries a Pod in a namespace that is not enrolled", by: operator, rule: "valetkey-operator-pods", words: "makes no Pods",
			try: func(ctx context.Context, w *world, by string) error {
				_, err := w.clients[by].Resource(kinds["Pod"]).Namespace("default").Create(ctx, w.pod0("tried", set("metadata.namespace", "default")),
					metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
				return err
			}},
		{name: "a request filled up by its generateName, so that nobody could deny it", by: mallory, rule: "valetkey-requests",
			words: "room for decisions", try: patches(request, waiting, "", filled)},
		{name: "a grant filled up, so that nobody could end it", by: mallory, rule: "valetkey-grants", words: "room for what became",
			try: patches(grant, granted, "", filled)},
		{name: "a Job filled up, so that its end is never told", by: mallory, rule: "valetkey-jobs-frozen", words: "room for what became",
			try: patches(job, "valetkey-"+granted, "", filled)},
		{name: "another generateName of the running Pod", by: mallory, rule: "valetkey-pods", words: "room for what became",
			try: func(ctx context.Context, w *world, by string) error {
				return w.patch(ctx, by, pod, w.pod, "", `{"metadata":{"generateName":"other-"}}`)
			}},
		{name: "the running Pod filled up by what its managers manage, so that nobody can delete it", by: mallory, rule: "valetkey-pods",
			words: "only Kubernetes and the operator write", try: func(ctx context.Context, w *world, by string) error {
				long := `{"f:metadata":{"f:annotations":{"f:` + strings.Repeat("a", 1_000_000) + `":{}}}}`
				return w.patch(ctx, by, pod, w.pod, "", `{"metadata":{"managedFields":[{"manager":"zz","operation":"Update","apiVersion":"v1",`+
					`"time":"2026-11-29T00:00:00Z","fieldsType":"FieldsV1","fieldsV1":`+long+`}]}}`)
			}},
		{name: "a Pod of one Job that another Job would adopt", by: "job-controller", rule: "valetkey-pods", words: "each Job's Pods name that Job",
			try: ofJob(label("metadata.labels", "batch.kubernetes.io/controller-uid", jobUID))},
		{name: "a Pod of one Job that another Job would adopt, the old way", by: "job-controller", rule: "valetkey-pods",
			words: "each Job's Pods name that Job", try: ofJob(label("metadata.labels", "controller-uid", jobUID))},
		{name: "a device that a LimitRange adds to the granted Pod", by: "job-controller", rule: "valetkey-pods", words: "the devices that were reviewed",
			try: withResource("example.com/gadget")},
		{name: "a granted Pod has the shares of its node that a LimitRange sets", by: "job-controller", rule: "valetkey-pods", shows: func(ctx context.Context, w *world) error {
			return withResource("memory")(ctx, w, "")
		}},
	}
	all = append(all,
		row{name: "a request whose creator says at length who manages it", by: agent, rule: "valetkey-stamp-requester",
			shows: managedAtBirth(func(w *world) *unstructured.Unstructured { return w.request0("q") })},
		row{name: "a Job whose creator says at length who manages it", by: agent, rule: "valetkey-hold-job",
			shows: managedAtBirth(func(w *world) *unstructured.Unstructured { return w.job0("q") })})
	for kind, name := range map[string]string{request: waiting, grant: granted, job: "valetkey-" + granted} {
		rules := map[string]string{request: "valetkey-requests", grant: "valetkey-grants", job: "valetkey-jobs-frozen"}
		all = append(all, row{name: "a " + kind + " that nine managers apply to", by: mallory, rule: rules[kind], words: "at most 8 managers", try: applied(kind, name, 9)})
	}
	return all
}

// ofJob has the job-controller make a Pod of an ordinary Job.
func ofJob(edits ...edit) func(context.Context, *world, string) error {
	return func(ctx context.Context, w *world, _ string) error {
		owned := set("metadata.ownerReferences", []any{map[string]any{"apiVersion": "batch/v1", "kind": "Job", "name": "decoy",
			"uid": "5e8f1a3c-2222-4222-8333-444455556666", "controller": true}})
		o := w.pod0("decoy-x", append([]edit{owned}, edits...)...)
		_, err := w.asJobController().Resource(kinds["Pod"]).Namespace(namespace).Create(ctx, o, metav1.CreateOptions{DryRun: dryRun})
		return err
	}
}

// withResource has the job-controller make the granted Pod once more, with a limit that its Job does not have.
func withResource(name string) func(context.Context, *world, string) error {
	return func(ctx context.Context, w *world, _ string) error {
		made, err := w.clients[admin].Resource(kinds["Pod"]).Namespace(namespace).Get(ctx, w.pod, metav1.GetOptions{})
		if err != nil {
			return err
		}
		o := w.template(ctx, made, true)
		share := map[string]any{name: "1"}
		set("spec.containers.0.resources", map[string]any{"limits": share, "requests": share})(o.Object)
		_, err = w.asJobController().Resource(kinds["Pod"]).Namespace(namespace).Create(ctx, normal(o.Object), metav1.CreateOptions{DryRun: dryRun})
		return err
	}
}

// applied writes into an object's metadata that so many managers apply to it.
func applied(kind, name string, managers int) func(context.Context, *world, string) error {
	return func(ctx context.Context, w *world, by string) error {
		o, err := w.clients[by].Resource(kinds[kind]).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		fields, at := o.GetManagedFields(), metav1.Now()
		for i := range managers {
			fields = append(fields, metav1.ManagedFieldsEntry{Manager: fmt.Sprint("manager-", i), Operation: metav1.ManagedFieldsOperationApply,
				APIVersion: o.GetAPIVersion(), Time: &at, FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(`{"f:metadata":{"f:labels":{".":{}}}}`)})
		}
		body, err := json.Marshal(map[string]any{"metadata": map[string]any{"managedFields": fields}})
		if err != nil {
			return err
		}
		return w.patch(ctx, by, kind, name, "", string(body))
	}
}

// unblocked lets go of what an object's owners wait for, as the garbage collector does where something below it is
// being deleted, too.
func (w *world) unblocked(kind string, name func() string) func(context.Context) error {
	return func(ctx context.Context) error {
		o, err := w.clients[admin].Resource(kinds[kind]).Namespace(namespace).Get(ctx, name(), metav1.GetOptions{})
		if err != nil {
			return err
		}
		owners, no := o.GetOwnerReferences(), false
		for i := range owners {
			owners[i].BlockOwnerDeletion = &no
		}
		body, err := json.Marshal(map[string]any{"metadata": map[string]any{"ownerReferences": owners}})
		if err != nil {
			return err
		}
		return w.patch(ctx, admin, kind, name(), "", string(body))
	}
}

// withPullSecret has the job-controller make the granted Pod once more, as its ServiceAccount's Secrets change it.
func withPullSecret(ctx context.Context, w *world, _ string) error {
	made, err := w.clients[admin].Resource(kinds["Pod"]).Namespace(namespace).Get(ctx, w.pod, metav1.GetOptions{})
	if err != nil {
		return err
	}
	o := w.template(ctx, made, true)
	set("spec.imagePullSecrets", []any{map[string]any{"name": "changing"}})(o.Object)
	_, err = w.asJobController().Resource(kinds["Pod"]).Namespace(namespace).Create(ctx, normal(o.Object), metav1.CreateOptions{DryRun: dryRun})
	return err
}

// managedAtBirth creates an object that says itself who manages it, at length, and wants nothing of that stored.
func managedAtBirth(make func(*world) *unstructured.Unstructured) func(context.Context, *world) error {
	return func(ctx context.Context, w *world) error {
		fields := map[string]any{}
		for i := range 3000 {
			fields[fmt.Sprint("f:", strings.Repeat("a", 100), i)] = map[string]any{}
		}
		o := make(w)
		set("metadata.managedFields", []any{map[string]any{"manager": "m0", "operation": "Update", "apiVersion": o.GetAPIVersion(),
			"fieldsType": "FieldsV1", "fieldsV1": map[string]any{"f:metadata": map[string]any{"f:annotations": fields}}}})(o.Object)
		stored, err := w.clients[agent].Resource(kinds[o.GetKind()]).Namespace(namespace).Create(ctx, normal(o.Object), metav1.CreateOptions{DryRun: dryRun})
		if err != nil {
			return err
		}
		text, err := json.Marshal(stored.Object["metadata"])
		if err == nil && len(text) > 16<<10 {
			err = fmt.Errorf("%d bytes of metadata are stored", len(text))
		}
		return err
	}
}
