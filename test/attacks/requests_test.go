// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration || mutation

package attacks

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"reflect"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
)

// sweeps is an attack by deleting every object of a kind apart from what depends on it.
func sweeps(kind string) func(context.Context, *world, string) error {
	orphan := metav1.DeletePropagationOrphan
	return func(ctx context.Context, w *world, by string) error {
		return w.clients[by].Resource(kinds[kind]).Namespace(namespace).
			DeleteCollection(ctx, metav1.DeleteOptions{DryRun: dryRun, PropagationPolicy: &orphan}, metav1.ListOptions{})
	}
}

// orphansTheOldWay is an attack by the field that propagationPolicy replaced.
func orphansTheOldWay(kind, name string) func(context.Context, *world, string) error {
	yes := true
	return func(ctx context.Context, w *world, by string) error {
		return w.delete(ctx, by, kind, name, metav1.DeleteOptions{OrphanDependents: &yes}) //nolint:staticcheck // deprecated, and still obeyed
	}
}

// stored has an administrator store an object, unless it is there already.
func (w *world) stored(ctx context.Context, gvr schema.GroupVersionResource, o *unstructured.Unstructured) error {
	_, err := w.clients[admin].Resource(gvr).Namespace(o.GetNamespace()).Create(ctx, o, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

func requestEdgeRows() []row {
	const rule = "valetkey-requests"
	all := nameRows()
	for field := range forgeries {
		all = append(all, row{name: "a requester whose " + field + " is forged by somebody else's mutating webhook", by: agent, rule: rule, words: "the user who creates the request",
			try: creates(func(w *world) *unstructured.Unstructured {
				return w.request0("q", label("metadata.labels", "somebody", field))
			})})
	}
	return append(all, []row{
		{name: "a request where Pod Security is not enforced", by: admin, rule: rule, words: "not enrolled", try: func(ctx context.Context, w *world, by string) error {
			ns := object("Namespace", "", "unprotected", nil, label("metadata.labels", "valetkey.dev/enrolled", "true"))
			if err := w.stored(ctx, kinds["Namespace"], ns); err != nil {
				return err
			}
			return w.create(ctx, by, w.request0("q", set("metadata.namespace", "unprotected")))
		}},
		{name: "a request that is orphaned when it goes", by: agent, rule: rule, words: "no finalizers", try: creates(func(w *world) *unstructured.Unstructured {
			return w.request0("q", set("metadata.finalizers", []any{"orphan"}))
		})},
		{name: "an owner for a request, to have it collected", by: mallory, rule: rule, words: "has no owner", try: patches("CapabilityRequest", waiting, "",
			`{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"m","uid":"5e8f1a3c-1111-4222-8333-444455556666"}]}}`)},
		{name: "deleting a request apart from its grant, the old way", by: agent, rule: rule, words: "cascade", try: orphansTheOldWay("CapabilityRequest", granted)},
		{name: "deleting all requests apart from their grants", by: mallory, rule: rule, words: "cascade", try: sweeps("CapabilityRequest")},
		{name: "dropping an optional field of the requester", by: mallory, rule: rule, words: "never changes", try: patches("CapabilityRequest", waiting, "", `{"spec":{"requester":{"groups":null}}}`)},
	}...)
}

// nameRows see that no name is stored that programs, paths or templates could read otherwise than policies do, and that the refusal says
// what is allowed.
func nameRows() []row {
	const repo, environment = "allowed are letters, digits, dots, underscores and dashes, with / between an owner and a name", "allowed are letters, digits, underscores and dashes"
	ask := func(field, value string) func(context.Context, *world, string) error {
		return creates(func(w *world) *unstructured.Unstructured { return w.request0("q", set("spec."+field, value)) })
	}
	return []row{
		{name: "a repo that begins with a dash", by: agent, rule: "CRD", words: repo, try: ask("repo", "-rf")},
		{name: "a repo whose second part begins with a dash", by: agent, rule: "CRD", words: repo, try: ask("repo", "acme/-rf")},
		{name: "a repo that is two dots", by: agent, rule: "CRD", words: repo, try: ask("repo", "..")},
		{name: "a repo of a dot", by: agent, rule: "CRD", words: repo, try: ask("repo", "acme/.")},
		{name: "a repo with two dots together", by: agent, rule: "CRD", words: repo, try: ask("repo", "web..app")},
		{name: "a repo that ends with a dot", by: agent, rule: "CRD", words: repo, try: ask("repo", "web-app.")},
		{name: "a repo that ends in .git", by: agent, rule: "CRD", words: "write it without .git", try: ask("repo", "payments.git")},
		{name: "a repo that ends in .GIT", by: agent, rule: "CRD", words: "write it without .git", try: ask("repo", "acme/payments.GIT")},
		{name: "a repo with an empty part", by: agent, rule: "CRD", words: repo, try: ask("repo", "acme//web-app")},
		{name: "a repo that ends with a slash", by: agent, rule: "CRD", words: repo, try: ask("repo", "web-app/")},
		{name: "a repo with a percent sign", by: agent, rule: "CRD", words: repo, try: ask("repo", "acme%2fweb-app")},
		{name: "a repo with a colon", by: agent, rule: "CRD", words: repo, try: ask("repo", "web:app")},
		{name: "a repo with a blank", by: agent, rule: "CRD", words: repo, try: ask("repo", "web app")},
		{name: "a repo with a quote", by: agent, rule: "CRD", words: repo, try: ask("repo", "web') || ('")},
		{name: "a repo with the sign of a unit for a letter", by: agent, rule: "CRD", words: repo, try: ask("repo", "wor\u212a")},
		{name: "a repo that ends with a line break", by: agent, rule: "CRD", words: repo, try: ask("repo", "web-app\n")},
		{name: "an environment with a wildcard", by: agent, rule: "CRD", words: environment, try: ask("environment", "pre*")},
		{name: "an environment with a slash", by: agent, rule: "CRD", words: environment, try: ask("environment", "pre/view")},
		{name: "an environment with a dot", by: agent, rule: "CRD", words: environment, try: ask("environment", "preview.prod")},
		{name: "an environment that begins with a dash", by: agent, rule: "CRD", words: environment, try: ask("environment", "-preview")},
		{name: "an environment with look-alike letters", by: agent, rule: "CRD", words: environment, try: ask("environment", "prеview")},
	}
}

// forgeries are the fields of a requester, each with a value that is nobody's.
var forgeries = map[string]string{"username": `"system:admin"`, "uid": `"forged"`, "groups": `["system:masters"]`, "extra": `{"example.com/scopes":["all"]}`}

func decisionEdgeRows() []row {
	const rule = "valetkey-decisions"
	approveAnd := func(rest string) string {
		return fmt.Sprintf(`{"metadata":{"annotations":{"valetkey.dev/approve":%q}},%s}`, digest, rest)
	}
	mine := func(more, groups string) string {
		return fmt.Sprintf(`{"by":"alice@example.com",%s"groups":[%s],"decision":"Approve","digest":%q}`, more, groups, digest)
	}
	const groups = `"release-managers","system:authenticated"`
	bob := fmt.Sprintf(`"decisions":[{"by":"bob@example.com","decision":"Approve","digest":%q}]`, digest)
	return []row{
		{name: "approving and denying at once", by: alice, rule: rule, words: "not both", try: patches("CapabilityRequest", waiting, "",
			fmt.Sprintf(`{"metadata":{"annotations":{"valetkey.dev/approve":%q,"valetkey.dev/deny":%q}}}`, digest, digest))},
		{name: "an approval in one's own name that brings a friend's", by: alice, rule: rule, words: "one's own name", try: patches("CapabilityRequest", waiting, "", approveAnd(bob))},
		{name: "a decision with a forged UID", by: alice, rule: rule, words: "one's own name", try: patches("CapabilityRequest", waiting, "", `{"decisions":[`+mine(`"uid":"forged",`, groups)+`]}`)},
		{name: "a decision without one's groups", by: alice, rule: rule, words: "one's own name", try: patches("CapabilityRequest", waiting, "", `{"decisions":[`+mine("", "")+`]}`)},
		{name: "a decision with a forged employee number", by: alice, rule: rule, words: "one's own name", try: patches("CapabilityRequest", waiting, "",
			`{"decisions":[`+mine(`"extra":{"example.com/employee-id":["7"]},`, groups)+`]}`)},
		{name: "a decision without what the authenticator reports beside one's groups", by: alice, rule: rule, words: "one's own name", try: patches("CapabilityRequest", waiting, "", `{"decisions":[`+mine("", groups)+`]}`)},
		{name: "an employee number planted beside an approval", by: alice, rule: rule, words: "one's own name", try: patches("CapabilityRequest", waiting, "",
			approveAnd(`"decisions":[{"by":"bob@example.com","extra":{"example.com/employee-id":["7"]},"decision":"Approve","digest":"`+digest+`"}]`))},
		{name: "a decision is recorded with all that the authenticator reports", by: alice, rule: "valetkey-record-decision", shows: recordedWithExtra},
		{name: "two decisions of one person", by: alice, rule: "CRD", words: "Duplicate", try: patches("CapabilityRequest", waiting, "", `{"decisions":[`+mine("", groups)+","+mine("", groups)+`]}`)},
		{name: "changing one's mind to an approval after it was granted", by: alice, rule: rule, words: "not approved", try: changesMind},
		{name: "denying one's own request", by: agent, rule: rule, words: "own request", try: decides(waiting, "deny", digest)},
		{name: "denying without the verb", by: viewer, rule: rule, words: "lacks the verb approve", try: decides(waiting, "deny", digest)},
		{name: "denying something else than what was reviewed", by: alice, rule: rule, words: "not the one in status.review", try: decides(granted, "deny", wrong)},
		{name: "removing one's own denial", by: alice, rule: rule, words: "never removed", try: patches("CapabilityRequest", denied, "", `{"decisions":[]}`)},
		{name: "removing the denial by null", by: mallory, rule: rule, words: "never removed", try: patches("CapabilityRequest", denied, "", `{"decisions":null}`)},
		{name: "a reason written over another's", by: mallory, rule: rule, words: "never removed", try: patches("CapabilityRequest", denied, "",
			fmt.Sprintf(`{"decisions":[{"by":"alice@example.com","decision":"Deny","digest":%q,"groups":["release-managers","system:authenticated"],"reason":"forged"}]}`, digest))},
	}
}

// recordedWithExtra has alice approve with an employee number, and with another of her own making.
func recordedWithExtra(ctx context.Context, w *world) error {
	config := rest.CopyConfig(w.configs[admin])
	config.Impersonate = rest.ImpersonationConfig{UserName: alice, UID: "u", Groups: []string{"release-managers", "system:authenticated"},
		Extra: map[string][]string{"example.com/employee-id": {"7", "70"}}}
	body := fmt.Sprintf(`{"metadata":{"annotations":{"valetkey.dev/approve":%q}},"decisions":[{"by":%q,"extra":{"example.com/employee-id":["8"]},"decision":"Approve","digest":%q}]}`, digest, alice, digest)
	o, err := dynamic.NewForConfigOrDie(config).Resource(kinds["CapabilityRequest"]).Namespace(namespace).
		Patch(ctx, waiting, types.MergePatchType, []byte(body), metav1.PatchOptions{DryRun: dryRun})
	if err != nil {
		return err
	}
	want := []any{map[string]any{"by": alice, "uid": "u", "groups": []any{"release-managers", "system:authenticated"}, "decision": "Approve", "digest": digest,
		"extra": map[string]any{"example.com/employee-id": []any{"7", "70"}}}}
	if got := o.Object["decisions"]; !reflect.DeepEqual(got, want) {
		return fmt.Errorf("recorded %v", got)
	}
	return nil
}

// changesMind denies a granted request, which ends its grant, and would approve it again.
func changesMind(ctx context.Context, w *world, by string) error {
	const name = "regretted"
	request, err := w.clients[admin].Resource(kinds["CapabilityRequest"]).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		request, err = w.regretted(ctx, name)
	}
	if err != nil {
		return err
	}
	return decides(request.GetName(), "approve", digest)(ctx, w, by)
}

// regretted is a request that was granted and that alice denied afterwards.
func (w *world) regretted(ctx context.Context, name string) (*unstructured.Unstructured, error) {
	if err := w.stored(ctx, kinds["CapabilityRequest"], w.request0(name)); err != nil {
		return nil, err
	}
	if _, err := w.apply(ctx, operator, "CapabilityRequest", name, "status", nil, fmt.Sprintf(`{"status":{"review":%s,"grantName":%q}}`, reviewJSON(name), name)); err != nil {
		return nil, err
	}
	return w.apply(ctx, alice, "CapabilityRequest", name, "", nil, fmt.Sprintf(`{"metadata":{"annotations":{"valetkey.dev/deny":%q}}}`, digest))
}

// catalogueRows see that nobody but the operator says of the catalogue that it works.
func catalogueRows() []row {
	var all []row
	for file, resource := range map[string]string{"provider.yaml": "capabilityproviders", "capability.yaml": "capabilities", "policy.yaml": "capabilitypolicies"} {
		gvr := schema.GroupVersionResource{Group: "valetkey.dev", Version: "v1alpha1", Resource: resource}
		all = append(all, row{name: "an administrator writes the status of " + resource, by: admin, rule: "valetkey-status", words: "operator alone",
			try: func(ctx context.Context, w *world, by string) error {
				text, err := os.ReadFile(filepath.Join("..", "..", "config", "samples", file))
				if err != nil {
					return err
				}
				o := normal(parse(string(text)))
				if err := w.stored(ctx, gvr, o); err != nil {
					return err
				}
				_, err = w.clients[by].Resource(gvr).Patch(ctx, o.GetName(), types.MergePatchType, []byte(`{"status":{}}`), metav1.PatchOptions{DryRun: dryRun}, "status")
				return err
			}})
	}
	return all
}
