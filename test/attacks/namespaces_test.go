// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration || mutation

package attacks

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// withoutFinalizers takes the finalizer by which Kubernetes keeps a namespace until it is empty.
func withoutFinalizers(name string) func(context.Context, *world, string) error {
	return func(ctx context.Context, w *world, by string) error {
		client := w.clients[by].Resource(kinds["Namespace"])
		ns, err := client.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		unstructured.RemoveNestedField(ns.Object, "spec", "finalizers")
		_, err = client.Update(ctx, ns, metav1.UpdateOptions{DryRun: dryRun}, "finalize")
		return err
	}
}

// finalizes is an attack by the subresource with which Kubernetes ends a namespace: it stores labels too.
func finalizes(name, key, value string) func(context.Context, *world, string) error {
	return func(ctx context.Context, w *world, by string) error {
		client := w.clients[by].Resource(kinds["Namespace"])
		ns, err := client.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		label("metadata.labels", key, value)(ns.Object)
		_, err = client.Update(ctx, ns, metav1.UpdateOptions{DryRun: dryRun}, "finalize")
		return err
	}
}

func namespaceEdgeRows() []row {
	const rule, ours = "valetkey-namespaces", "nothing of a namespace but"
	const lets = "only Kubernetes lets go"
	const enrolled, security, inUse, everywhere = "stays enrolled", "Pod Security stays", "operator alone", "whoever may update every namespace"
	made := func(edits ...edit) func(context.Context, *world, string) error {
		return creates(func(*world) *unstructured.Unstructured { return object("Namespace", "", "q", nil, edits...) })
	}
	patch := func(ns, subresource, body string) func(context.Context, *world, string) error {
		return patches("Namespace", ns, subresource, body)
	}
	return []row{
		{name: "withdrawing the enrolment through the status", by: mallory, rule: rule, words: enrolled, try: patch(namespace, "status", `{"metadata":{"labels":{"valetkey.dev/enrolled":null}}}`)},
		{name: "weakening Pod Security through the status", by: mallory, rule: rule, words: security, try: patch(namespace, "status", `{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"privileged"}}}`)},
		{name: "saying that no grant lives through the status", by: mallory, rule: rule, words: inUse, try: patch(namespace, "status", `{"metadata":{"labels":{"valetkey.dev/in-use":null}}}`)},
		{name: "withdrawing the enrolment through the finalizers", by: mallory, rule: rule, words: enrolled, try: finalizes(namespace, "valetkey.dev/enrolled", "false")},
		{name: "weakening Pod Security through the finalizers", by: mallory, rule: rule, words: security, try: finalizes(namespace, "pod-security.kubernetes.io/enforce", "privileged")},
		{name: "saying that no grant lives through the finalizers", by: mallory, rule: rule, words: inUse, try: finalizes(namespace, "valetkey.dev/in-use", "false")},
		{name: "a namespace of others has as many labels as they like", by: admin, rule: rule, shows: func(ctx context.Context, w *world) error {
			return w.create(ctx, admin, object("Namespace", "", "many", nil, set("metadata.labels", marks(2000))))
		}},
		{name: "more labels than fit, on a namespace of agents", by: mallory, rule: rule, words: "at most 256 labels", try: patch("idle", "", manyMarks("labels", 257))},
		{name: "more annotations than fit, on a namespace of agents, through the status", by: mallory, rule: rule, words: "256 annotations", try: patch("idle", "status", manyMarks("annotations", 257))},
		{name: "withdrawing the enrolment where nothing lives", by: mallory, rule: rule, words: everywhere, try: patch("idle", "", `{"metadata":{"labels":{"valetkey.dev/enrolled":null}}}`)},
		{name: "withdrawing the enrolment where nothing lives, through the status", by: mallory, rule: rule, words: everywhere,
			try: patch("idle", "status", `{"metadata":{"labels":{"valetkey.dev/enrolled":"no"}}}`)},
		{name: "withdrawing the enrolment where nothing lives, through the finalizers", by: mallory, rule: rule, words: everywhere, try: finalizes("idle", "valetkey.dev/enrolled", "false")},
		{name: "weakening Pod Security where nothing lives", by: mallory, rule: rule, words: everywhere,
			try: patch("idle", "", `{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"privileged"}}}`)},
		{name: "another version of Pod Security where nothing lives", by: mallory, rule: rule, words: everywhere,
			try: patch("idle", "", `{"metadata":{"labels":{"pod-security.kubernetes.io/enforce-version":"v1.20"}}}`)},
		{name: "enrolling a namespace of one's own", by: mallory, rule: rule, words: everywhere, try: patch(plain, "", `{"metadata":{"labels":{"valetkey.dev/enrolled":"true"}}}`)},
		{name: "letting go of the namespace under a living grant", by: mallory, rule: rule, words: lets, try: withoutFinalizers(namespace)},
		{name: "letting go of the namespace under a living grant, by a cluster administrator", by: admin, rule: rule, words: lets, try: withoutFinalizers(namespace)},
		{name: "letting go of the namespace before anything lives in it", by: mallory, rule: rule, words: lets, try: withoutFinalizers("idle")},
		{name: "an enrolment that is not quite one", by: mallory, rule: rule, words: enrolled, try: patch(namespace, "", `{"metadata":{"labels":{"valetkey.dev/enrolled":"True"}}}`)},
		{name: "no Pod Security under a living grant", by: mallory, rule: rule, words: security, try: patch(namespace, "", `{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":null}}}`)},
		{name: "lowering Pod Security from restricted under a living grant", by: admin, rule: rule, words: security, try: lowers},
		{name: "deleting the identities' namespace from within", by: mallory, rule: "valetkey-identities-stay", words: "ask a cluster administrator", try: func(ctx context.Context, w *world, by string) error {
			return w.clients[by].Resource(kinds["Namespace"]).Delete(ctx, identities, metav1.DeleteOptions{DryRun: dryRun})
		}},
		{name: "a namespace made with a grant that does not live", by: admin, rule: rule, words: inUse, try: made(label("metadata.labels", "valetkey.dev/in-use", "true"))},
		{name: "marking a namespace as used", by: admin, rule: rule, words: inUse, try: patch(plain, "", `{"metadata":{"labels":{"valetkey.dev/in-use":"true"}}}`)},
		{name: "a namespace for agents and identities", by: admin, rule: rule, words: "not one that agents work in", try: made(
			label("metadata.labels", "valetkey.dev/enrolled", "true"), label("metadata.labels", "valetkey.dev/identities", "true"))},
		{name: "making a namespace with Pods one of identities", by: admin, rule: rule, words: "never changes", try: patch(plain, "", `{"metadata":{"labels":{"valetkey.dev/identities":"true"}}}`)},
		{name: "taking the fence from the identities through the status", by: mallory, rule: rule, words: "never changes", try: patch(identities, "status", `{"metadata":{"labels":{"valetkey.dev/identities":null}}}`)},
		{name: "the operator makes a namespace", by: operator, rule: rule, words: ours, try: made()},
		{name: "the operator annotates a namespace", by: operator, rule: rule, words: ours, try: patch(plain, "", `{"metadata":{"annotations":{"a":"b"}}}`)},
		{name: "the operator holds a namespace", by: operator, rule: rule, words: ours, try: patch(plain, "", `{"metadata":{"finalizers":["example.com/hold"]}}`)},
		{name: "the operator relabels a namespace through the status", by: operator, rule: rule, words: ours, try: patch(plain, "status", `{"metadata":{"labels":{"a":"b"}}}`)},
	}
}

// lowers goes from the strictest Pod Security to one that would have done from the start.
func lowers(ctx context.Context, w *world, by string) error {
	const strict = "strict"
	if err := w.stored(ctx, kinds["Namespace"], object("Namespace", "", strict, nil, label("metadata.labels", "valetkey.dev/enrolled", "true"),
		label("metadata.labels", "pod-security.kubernetes.io/enforce", "restricted"))); err != nil {
		return err
	}
	if _, err := w.apply(ctx, operator, "Namespace", strict, "", nil, `{"metadata":{"labels":{"valetkey.dev/in-use":"true"}}}`); err != nil {
		return err
	}
	return w.patch(ctx, by, "Namespace", strict, "", `{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"baseline"}}}`)
}
