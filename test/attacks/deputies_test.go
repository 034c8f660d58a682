// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration || mutation

package attacks

import (
	"context"
	"errors"
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Deputies work for everybody and hold more rights than anybody: whoever makes them act, acts with those.
const (
	gitops     = "gitops"      // ServiceAccount plain/gitops: the ClusterRole admin in the agents' namespace
	gitopsStar = "gitops-star" // ServiceAccount plain/gitops-star: everything in the agents' namespace
	ingress    = "ingress"     // ServiceAccount plain/ingress: reads every Secret of the cluster
)

// outside is what the rules do not promise to refuse. Such a row shows that it works, so that nobody takes it for refused.
const outside = "nothing: outside the promise"

var roleBindings = schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "rolebindings"}

func deputyRows() []row {
	both := func(name, rule, words string, try func(context.Context, *world, string) error) []row {
		return []row{{name: name, by: gitops, rule: rule, words: words, try: try}, {name: name + ", with every right", by: gitopsStar, rule: rule, words: words, try: try}}
	}
	const held = "valetkey-" + waiting
	var all []row
	for _, group := range [][]row{
		both("a GitOps controller syncs a held Job to one that runs", "valetkey-jobs-frozen", "frozen", patches("Job", held, "", `{"spec":{"suspend":false}}`)),
		both("a GitOps controller syncs another image into a running Pod", "valetkey-pods", "frozen", swapImage),
		both("a GitOps controller prunes a Job and leaves its Pod", "valetkey-jobs-frozen", "propagationPolicy", orphansTheOldWay("Job", "valetkey-"+granted)),
		both("a GitOps controller deploys what mounts a grant's Secret", "valetkey-templates", "", func(ctx context.Context, w *world, by string) error {
			spec := podSpec()
			ways(w.secret)["a volume"](spec)
			return w.create(ctx, by, workload("Deployment", spec))
		}),
		both("a GitOps controller stores a Secret under a grant's name", "valetkey-secrets", "", creates(func(w *world) *unstructured.Unstructured {
			return w.secret0("valetkey-5e8f1a3c-1111-4222-8333-444455556666-1", "valetkey.dev/credential")
		})),
		both("a GitOps controller enters the Pod that holds a credential", "valetkey-exec", "nobody enters", func(ctx context.Context, w *world, by string) error { return w.connect(ctx, by, "exec") }),
		both("a GitOps controller takes a token of a capability's identity", "RBAC", "serviceaccounts/token", func(ctx context.Context, w *world, by string) error {
			return w.token(ctx, by, identities, authenticationv1.TokenRequestSpec{})
		}),
		{
			{name: "a GitOps controller asks for a credential", by: gitops, rule: "RBAC", words: "capabilityrequests", try: creates(func(w *world) *unstructured.Unstructured { return w.request0("q") })},
			{name: "a GitOps controller approves", by: gitops, rule: "RBAC", words: "capabilityrequests", try: decides(waiting, "approve", digest)},
			{name: "a GitOps controller makes itself an approver", by: gitops, rule: "RBAC", words: "not currently held", try: bindsItself("valetkey-approver")},
			{name: "a GitOps controller makes itself a requester", by: gitops, rule: "RBAC", words: "not currently held", try: bindsItself("valetkey-requester")},
			{name: "a GitOps controller takes the operator's rights in the namespace away", by: gitops, rule: "valetkey-rights", words: "gives Valetkey its rights", try: changesOperatorsBinding(namespace, false)},
			{name: "a GitOps controller binds the operator's rights to nobody", by: gitopsStar, rule: "valetkey-rights", words: "gives Valetkey its rights", try: changesOperatorsBinding(namespace, true)},
			{name: "the operator's rights are taken away where grants live, as when their namespace is deleted", by: admin, rule: "valetkey-rights",
				words: "nobody could end them", try: changesOperatorsBinding(namespace, false)},
			{name: "a cluster administrator takes the operator's rights in a namespace away where none lives", by: admin, rule: "valetkey-rights", shows: func(ctx context.Context, w *world) error {
				return changesOperatorsBinding(plain, false)(ctx, w, admin)
			}},
			{name: "a GitOps controller grants", by: gitopsStar, rule: "valetkey-grants", words: "only the operator grants", try: creates(func(w *world) *unstructured.Unstructured {
				return w.grant0("forged", "5e8f1a3c-1111-4222-8333-444455556666")
			})},
			{name: "a GitOps controller writes a review", by: gitopsStar, rule: "valetkey-status", words: "operator alone", try: patches("CapabilityRequest", waiting, "status", `{"status":{"policy":{"name":"p","generation":1}}}`)},
			{name: "a GitOps controller approves in a person's name", by: gitopsStar, rule: "valetkey-decisions", words: "one's own name", try: patches("CapabilityRequest", waiting, "",
				`{"decisions":[{"by":"alice@example.com","decision":"Approve","digest":"`+digest+`"}]}`)},
			{name: "a GitOps controller reads a grant's Secret", by: gitops, rule: outside, shows: reads(gitops)},
			{name: "an ingress controller reads a grant's Secret", by: ingress, rule: outside, shows: reads(ingress)},
			{name: "an ingress controller removes a grant's Secret", by: ingress, rule: "RBAC", words: "secrets", try: func(ctx context.Context, w *world, by string) error {
				return w.delete(ctx, by, "Secret", w.secret, metav1.DeleteOptions{})
			}},
		},
	} {
		all = append(all, group...)
	}
	return all
}

// changesOperatorsBinding deletes what gives the operator its rights where it serves some namespaces only, or takes its
// subjects.
func changesOperatorsBinding(in string, unbind bool) func(context.Context, *world, string) error {
	return func(ctx context.Context, w *world, by string) error {
		const name, role = "operators-rights", "valetkey-operator-namespaced"
		binding := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": map[string]any{"name": name, "namespace": in},
			"roleRef":  map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
			"subjects": []any{map[string]any{"kind": "ServiceAccount", "name": "valetkey", "namespace": "valetkey-system"}},
		}}
		if err := w.stored(ctx, roleBindings, binding); err != nil {
			return err
		}
		client := w.clients[by].Resource(roleBindings).Namespace(in)
		if !unbind {
			return client.Delete(ctx, name, metav1.DeleteOptions{DryRun: dryRun})
		}
		unstructured.RemoveNestedField(binding.Object, "subjects")
		_, err := client.Update(ctx, binding, metav1.UpdateOptions{DryRun: dryRun})
		return err
	}
}

// reads shows that whoever may read every Secret reads a grant's too. The operator refuses to issue where the requester could, or
// any ServiceAccount that it can run as; those of other namespaces are a matter of whoever gave them the right.
func reads(who string) func(context.Context, *world) error {
	return func(ctx context.Context, w *world) error {
		secret, err := w.clients[who].Resource(kinds["Secret"]).Namespace(namespace).Get(ctx, w.secret, metav1.GetOptions{})
		if err != nil {
			return fmt.Errorf("this is refused now; say so in the documents: %w", err)
		}
		if data, _, _ := unstructured.NestedMap(secret.Object, "data"); len(data) == 0 {
			return errors.New("the Secret is empty")
		}
		return nil
	}
}

func bindsItself(role string) func(context.Context, *world, string) error {
	return func(ctx context.Context, w *world, by string) error {
		binding := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": map[string]any{"name": "mine", "namespace": namespace},
			"roleRef":  map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
			"subjects": []any{map[string]any{"kind": "ServiceAccount", "name": by, "namespace": plain}},
		}}
		_, err := w.clients[by].Resource(roleBindings).Namespace(namespace).Create(ctx, binding, metav1.CreateOptions{DryRun: dryRun})
		return err
	}
}
