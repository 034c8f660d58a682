// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration || mutation

package attacks

import (
	"context"

	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func identityEdgeRows() []row {
	const tokens, elsewhere = "valetkey-identities-tokens", "valetkey-operator-tokens"
	sts := []string{"sts.amazonaws.com"}
	ask := func(ns string, spec authenticationv1.TokenRequestSpec) func(context.Context, *world, string) error {
		return func(ctx context.Context, w *world, by string) error { return w.token(ctx, by, ns, spec) }
	}
	all := []row{
		{name: "a token of an identity that is bound to a Secret", by: operator, rule: tokens, words: "bound to no object", try: ask(identities, authenticationv1.TokenRequestSpec{
			Audiences: sts, BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Secret", Name: "anchor"}})},
		{name: "a token of an identity that is bound to a Pod", by: operator, rule: tokens, words: "bound to no object", try: ask(identities, authenticationv1.TokenRequestSpec{
			Audiences: sts, BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: "p"}})},
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
