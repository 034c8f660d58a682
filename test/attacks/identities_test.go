// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration || mutation

package attacks

import (
	"context"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

func identityEdgeRows() []row {
	const tokens, secrets, elsewhere = "valetkey-identities-tokens", "valetkey-identities-secrets", "valetkey-operator-tokens"
	sts := []string{"sts.amazonaws.com"}
	ask := func(ns string, spec authenticationv1.TokenRequestSpec) func(context.Context, *world, string) error {
		return func(ctx context.Context, w *world, by string) error { return w.token(ctx, by, ns, spec) }
	}
	bound := func(kind, name string, audiences ...string) authenticationv1.TokenRequestSpec {
		return authenticationv1.TokenRequestSpec{Audiences: audiences, BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: kind, Name: name}}
	}
	all := []row{
		{name: "a token of an identity that is bound to another Secret", by: operator, rule: tokens, words: "bound to an anchor, or to nothing", try: ask(identities, bound("Secret", "ordinary"))},
		{name: "a token of an identity that is bound to a Pod", by: operator, rule: tokens, words: "bound to an anchor, or to nothing", try: ask(identities, bound("Pod", anchor))},
		{name: "a token of an identity that is bound to an anchor, and for a cloud", by: operator, rule: tokens, words: "one audience", try: ask(identities, bound("Secret", anchor, "https://kubernetes.default.svc", "sts.amazonaws.com"))},
		{name: "a token of an identity that is bound to an anchor, for a day", by: operator, rule: tokens, words: "for twelve", try: func(ctx context.Context, w *world, by string) error {
			spec, day := bound("Secret", anchor), int64(86400)
			spec.ExpirationSeconds = &day
			return w.token(ctx, by, identities, spec)
		}},
		{name: "a token of an identity that is bound to an anchor, by somebody else", by: mallory, rule: tokens, words: "only the operator", try: ask(identities, bound("Secret", anchor))},
		{name: "an anchor, by somebody else", by: mallory, rule: secrets, words: "made by the operator alone", try: creates(func(w *world) *unstructured.Unstructured { return w.anchor() })},
		{name: "a Secret under an anchor's name", by: mallory, rule: secrets, words: "take another name", try: creates(func(w *world) *unstructured.Unstructured { return w.anchor(set("type", "Opaque")) })},
		{name: "an anchor under another name", by: mallory, rule: secrets, words: "made by the operator alone", try: creates(func(w *world) *unstructured.Unstructured { return w.anchor(set("metadata.name", "mine")) })},
		{name: "holding an anchor with a finalizer", by: mallory, rule: secrets, words: "made by the operator alone", try: func(ctx context.Context, w *world, by string) error {
			_, err := w.clients[by].Resource(kinds["Secret"]).Namespace(identities).Patch(ctx, anchor, types.MergePatchType, []byte(`{"metadata":{"finalizers":["example.com/hold"]}}`), metav1.PatchOptions{DryRun: dryRun})
			return err
		}},
		{name: "the operator makes an anchor that holds something", by: operator, rule: secrets, words: "is empty", try: creates(func(w *world) *unstructured.Unstructured {
			return w.anchor(set("metadata.name", anchor+"0"), set("stringData", map[string]any{"a": "b"}))
		})},
		{name: "the operator makes an anchor that is held", by: operator, rule: secrets, words: "is empty", try: creates(func(w *world) *unstructured.Unstructured {
			return w.anchor(set("metadata.name", anchor+"0"), set("metadata.finalizers", []any{"example.com/hold"}))
		})},
		{name: "the operator makes an anchor that goes with another object", by: operator, rule: secrets, words: "is empty", try: creates(func(w *world) *unstructured.Unstructured {
			return w.anchor(set("metadata.name", anchor+"0"), set("metadata.ownerReferences", []any{foreignOwner()}))
		})},
		{name: "the operator makes an anchor in an agents' namespace", by: operator, rule: "valetkey-operator-secrets", words: "anchors among the identities", try: creates(func(w *world) *unstructured.Unstructured {
			return w.anchor(set("metadata.namespace", namespace))
		})},
		{name: "a token of an identity for the API server, by name", by: operator, rule: tokens, words: "one audience", try: ask(identities, authenticationv1.TokenRequestSpec{
			Audiences: []string{"https://kubernetes.default.svc"}})},
		{name: "a token of an identity for a list that was read as one", by: operator, rule: tokens, words: "one audience", try: ask(identities, authenticationv1.TokenRequestSpec{
			Audiences: []string{"sts.amazonaws.com,vault"}})},
		{name: "a token of an identity, by an administrator", by: admin, rule: tokens, words: "only the operator", try: ask(identities, authenticationv1.TokenRequestSpec{Audiences: sts})},
		{name: "the operator asks for a token of an agent", by: operator, rule: elsewhere, words: "identities only", try: ask(namespace, authenticationv1.TokenRequestSpec{})},
		{name: "the operator asks for a token for itself", by: operator, rule: elsewhere, words: "identities only", try: ask("valetkey-system", authenticationv1.TokenRequestSpec{})},
		{name: "the operator asks for a token of Kubernetes' own accounts", by: operator, rule: elsewhere, words: "identities only", try: ask("kube-system", authenticationv1.TokenRequestSpec{Audiences: sts})},
	}
	for _, kind := range workloads {
		all = append(all, row{name: "a " + kind + " among the identities, by whoever may do all there", by: mallory, rule: "valetkey-identities", words: "nothing runs here",
			try: creates(func(*world) *unstructured.Unstructured {
				return workload(kind, podSpec(), set("metadata.namespace", identities))
			})})
	}
	return all
}
