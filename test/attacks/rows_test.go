// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration || mutation

package attacks

import (
	"context"
	"errors"
	"fmt"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/valetkey/valetkey/test/refusal"
)

// row is one thing that must not work, or, where shows is set, one thing that a rule must do.
type row struct {
	name, by string
	// rule that must refuse it, or do it; RBAC or CRD where one of those must.
	rule string
	// words of the refusal.
	words string
	try   func(context.Context, *world, string) error
	shows func(context.Context, *world) error
}

// holds says why the row does not hold; nil when it does.
func (r row) holds(ctx context.Context, w *world) error {
	if r.shows != nil {
		return r.shows(ctx, w)
	}
	if r.try == nil {
		return errors.New(r.words)
	}
	return refusal.By(r.try(ctx, w, r.by), r.rule, r.words)
}

// creates is an attack by creating an object.
func creates(make func(*world) *unstructured.Unstructured) func(context.Context, *world, string) error {
	return func(ctx context.Context, w *world, by string) error { return w.create(ctx, by, make(w)) }
}

// patches is an attack by a JSON merge patch.
func patches(kind, name, subresource, body string) func(context.Context, *world, string) error {
	return func(ctx context.Context, w *world, by string) error {
		return w.patch(ctx, by, kind, name, subresource, body)
	}
}

func decides(name, how, digest string) func(context.Context, *world, string) error {
	return patches("CapabilityRequest", name, "", fmt.Sprintf(`{"metadata":{"annotations":{"valetkey.dev/%s":%q}}}`, how, digest))
}

func jobWith(edits ...edit) func(context.Context, *world, string) error {
	return creates(func(w *world) *unstructured.Unstructured { return w.job0("q", edits...) })
}

func podWith(edits ...edit) func(context.Context, *world, string) error {
	return creates(func(w *world) *unstructured.Unstructured { return w.pod0("thief", edits...) })
}

const wrong = "d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0"

func rows() []row {
	var all []row
	for _, group := range [][]row{requestRows(), decisionRows(), grantRows(), statusRows(), jobRows(), frozenRows(), templateRows(),
		podRows(), joinRows(), secretRows(), operatorRows(), namespaceRows(), identityRows(), effectRows(),
		requestEdgeRows(), decisionEdgeRows(), catalogueRows(), grantEdgeRows(), namespaceEdgeRows(), identityEdgeRows(),
		subresourceRows(), jobEdgeRows(), deputyRows(), webhookRows(), fieldRows(), inputRows(), lateRows(), enrolmentRows(),
		decidedLateRows(), formRows(), fittingRows(), sizeRows(), metadataRows()} {
		all = append(all, group...)
	}
	return all
}

// What somebody else's mutating webhook, which comes after our stamps, must not get through.
var (
	forgedByWebhook = row{name: "a requester forged by somebody else's mutating webhook", by: agent, rule: "valetkey-requests", words: "the user who creates the request",
		try: creates(func(w *world) *unstructured.Unstructured {
			return w.request0("q", label("metadata.labels", "somebody", "else"))
		})}
	startedByWebhook = row{name: "a Job started by somebody else's mutating webhook", by: agent, rule: "valetkey-jobs", words: "was not held",
		try: jobWith(label("metadata.labels", "somebody", "else"))}
)

func requestRows() []row {
	const rule = "valetkey-requests"
	ask := func(edits ...edit) func(context.Context, *world, string) error {
		return creates(func(w *world) *unstructured.Unstructured { return w.request0("q", edits...) })
	}
	return []row{
		{"a request in a namespace that is not enrolled", mallory, rule, "not enrolled", ask(set("metadata.namespace", plain)), nil},
		{"a request created with an approval beside it", agent, rule, "without decisions", ask(set("decisions", []any{map[string]any{"by": "alice@example.com", "decision": "Approve", "digest": digest}})), nil},
		{"a request created with an approval as an annotation", agent, rule, "without decisions", ask(label("metadata.annotations", "valetkey.dev/approve", digest)), nil},
		{"a request created with a planted reason", agent, rule, "without decisions", ask(label("metadata.annotations", "valetkey.dev/reason", "looked at it")), nil},
		forgedByWebhook,
		{"changing the repo of a request", mallory, rule, "never changes", patches("CapabilityRequest", waiting, "", `{"spec":{"repo":"payments"}}`), nil},
		{"adding an optional field to a request", mallory, rule, "never changes", patches("CapabilityRequest", waiting, "", `{"spec":{"ttlSeconds":43200}}`), nil},
		{"changing the requester of a request", mallory, rule, "never changes", patches("CapabilityRequest", waiting, "", `{"spec":{"requester":{"username":"system:admin"}}}`), nil},
		{"a request with a finalizer", agent, rule, "no finalizers", ask(set("metadata.finalizers", []any{"example.com/hold"})), nil},
		{"adding a finalizer to a request", mallory, rule, "no finalizers", patches("CapabilityRequest", waiting, "", `{"metadata":{"finalizers":["example.com/hold"]}}`), nil},
		{"a request with a foreign owner", agent, rule, "has no owner", ask(set("metadata.ownerReferences", []any{foreignOwner()})), nil},
		{"deleting a request apart from its grant", agent, rule, "cascade", func(ctx context.Context, w *world, by string) error {
			orphan := metav1.DeletePropagationOrphan
			return w.delete(ctx, by, "CapabilityRequest", granted, metav1.DeleteOptions{PropagationPolicy: &orphan})
		}, nil},
		{"a request name of 55 characters", agent, "CRD", "54 characters", ask(set("metadata.name", strings.Repeat("n", 55))), nil},
		{"a repo with a wildcard", agent, "CRD", "spec.repo", ask(set("spec.repo", "web-*")), nil},
		{"a repo that climbs", agent, "CRD", "spec.repo", ask(set("spec.repo", "web/../payments")), nil},
		{"a repo with a template in it", agent, "CRD", "spec.repo", ask(set("spec.repo", "${request.repo}")), nil},
		{"a repo with a line break", agent, "CRD", "spec.repo", ask(set("spec.repo", "web\napp")), nil},
		{"a repo with look-alike letters", agent, "CRD", "spec.repo", ask(set("spec.repo", "wеb-app")), nil},
		{"a repo of 10,000 characters", agent, "CRD", "spec.repo", ask(set("spec.repo", strings.Repeat("r", 10000))), nil},
		{"a TTL of 0", agent, "CRD", "spec.ttlSeconds", ask(set("spec.ttlSeconds", 0)), nil},
		{"a justification that writes to the terminal", agent, "CRD", "spec.justification", ask(set("spec.justification", "fine\x1b[2J")), nil},
	}
}

func foreignOwner() map[string]any {
	return map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "name": "mine", "uid": "5e8f1a3c-1111-4222-8333-444455556666"}
}

func decisionRows() []row {
	const rule = "valetkey-decisions"
	return []row{
		{"approving one's own request", agent, rule, "own request", decides(waiting, "approve", digest), nil},
		{"approving without the verb", viewer, rule, "lacks the verb approve", decides(waiting, "approve", digest), nil},
		{"approving something else than what was reviewed", alice, rule, "not the one in status.review", decides(waiting, "approve", wrong), nil},
		{"approving after it was granted", alice, rule, "not approved", decides(granted, "approve", digest), nil},
		{"writing a decision in another's name", mallory, rule, "one's own name", patches("CapabilityRequest", waiting, "",
			`{"decisions":[{"by":"alice@example.com","decision":"Approve","digest":"`+digest+`"}]}`), nil},
		{"writing a decision with forged groups", alice, rule, "one's own name", patches("CapabilityRequest", waiting, "",
			`{"decisions":[{"by":"alice@example.com","groups":["system:masters"],"decision":"Approve","digest":"`+digest+`"}]}`), nil},
		{"a reason without a decision", alice, rule, "a reason goes with", decides(waiting, "reason", "planted"), nil},
		{"removing another's denial", mallory, rule, "never removed", patches("CapabilityRequest", denied, "", `{"decisions":[]}`), nil},
		{"turning another's denial into an approval", mallory, rule, "never removed", patches("CapabilityRequest", denied, "",
			`{"decisions":[{"by":"alice@example.com","decision":"Approve","digest":"`+digest+`"}]}`), nil},
		{"approving through the status", alice, "RBAC", "status", patches("CapabilityRequest", waiting, "status",
			`{"decisions":[{"by":"alice@example.com","decision":"Approve","digest":"`+digest+`"}]}`), nil},
	}
}

func grantRows() []row {
	const rule = "valetkey-grants"
	grant := func(edits ...edit) func(context.Context, *world, string) error {
		return creates(func(w *world) *unstructured.Unstructured {
			return w.grant0("forged", "5e8f1a3c-1111-4222-8333-444455556666", edits...)
		})
	}
	return []row{
		{"granting oneself", mallory, rule, "only the operator grants", grant(), nil},
		{"a grant that could be deleted unrevoked", operator, rule, "holds the finalizer", grant(set("metadata.finalizers", []any{})), nil},
		{"a grant that no request owns", operator, rule, "owned by its request", grant(set("metadata.ownerReferences", []any{})), nil},
		{"prolonging a grant", mallory, rule, "never changes", patches("CapabilityGrant", granted, "", `{"spec":{"ttlSeconds":43200}}`), nil},
		{"removing a grant's finalizer", mallory, rule, "operator removes the finalizer", patches("CapabilityGrant", granted, "", `{"metadata":{"finalizers":null}}`), nil},
		{"adding a finalizer to a grant", mallory, rule, "no other finalizers", patches("CapabilityGrant", granted, "", `{"metadata":{"finalizers":["valetkey.dev/revoke","example.com/hold"]}}`), nil},
		{"taking a grant from its request", mallory, rule, "owner never change", patches("CapabilityGrant", granted, "", `{"metadata":{"ownerReferences":null}}`), nil},
		{"relabelling a grant", mallory, rule, "labels and owner", patches("CapabilityGrant", granted, "", `{"metadata":{"labels":{"a":"b"}}}`), nil},
		{"annotating a grant with something else", mallory, rule, "only annotation", patches("CapabilityGrant", granted, "", `{"metadata":{"annotations":{"a":"b"}}}`), nil},
		{"saying that somebody else revoked", mallory, rule, "written by the API server", patches("CapabilityGrant", granted, "", `{"metadata":{"annotations":{"valetkey.dev/revoked-by":"alice@example.com"}}}`), nil},
		{"revoking without the verb", viewer, rule, "lacks the verb revoke", patches("CapabilityGrant", granted, "", `{"metadata":{"annotations":{"valetkey.dev/revoke":"x"}}}`), nil},
		{"deleting a grant apart from its Secret", mallory, rule, "cascade", func(ctx context.Context, w *world, by string) error {
			orphan := metav1.DeletePropagationOrphan
			return w.delete(ctx, by, "CapabilityGrant", granted, metav1.DeleteOptions{PropagationPolicy: &orphan})
		}, nil},
	}
}

func statusRows() []row {
	const rule = "valetkey-status"
	return []row{
		{"writing a review oneself", mallory, rule, "operator alone", patches("CapabilityRequest", waiting, "status", `{"status":{"policy":{"name":"p","generation":1}}}`), nil},
		{"saying that a grant ended", mallory, rule, "operator alone", patches("CapabilityGrant", granted, "status", `{"status":{"outcome":"Completed"}}`), nil},
		{"another review under the same approval", operator, rule, "never changes", patches("CapabilityRequest", waiting, "status", `{"status":{"review":{"digest":"`+wrong+`"}}}`), nil},
		{"a review removed, to write another", operator, rule, "never changes", patches("CapabilityRequest", waiting, "status", `{"status":null}`), nil},
		{"granting a request twice", operator, rule, "granted once", patches("CapabilityRequest", granted, "status", `{"status":{"grantName":"another"}}`), nil},
		{"counting attempts backwards", operator, rule, "never falls", patches("CapabilityGrant", granted, "status", `{"status":{"attempt":0}}`), nil},
		{"bringing an ended request back", operator, rule, "stays ended", func(ctx context.Context, w *world, by string) error {
			if err := w.ended(ctx, refused); err != nil {
				return err
			}
			return w.patch(ctx, by, "CapabilityRequest", refused, "status", `{"status":{"endedAt":null}}`)
		}, nil},
	}
}

func jobRows() []row {
	const rule, fields = "valetkey-jobs", "valetkey-job-fields"
	pod := "spec.template.spec."
	return []row{
		{"a Job for a credential under another name", agent, rule, "is named valetkey-<request>", jobWith(set("metadata.name", "valetkey-other")), nil},
		{"a Job with the reserved prefix and no request", agent, rule, "is named valetkey-<request>", jobWith(set("metadata.labels", map[string]any{}), set("spec.template.metadata", map[string]any{})), nil},
		{"a Job whose Pods carry another request's label", agent, rule, "template carries the label", jobWith(label("spec.template.metadata.labels", "valetkey.dev/request", granted)), nil},
		startedByWebhook,
		{"a Job with other notes of ours", agent, rule, "no other label or annotation", jobWith(label("metadata.annotations", "valetkey.dev/grant", "x")), nil},
		{"two Pods at a time", agent, fields, "parallelism must be 1", jobWith(set("spec.parallelism", 2)), nil},
		{"two runs", agent, fields, "completions must be 1", jobWith(set("spec.completions", 2)), nil},
		{"retries", agent, fields, "backoffLimit must be 0", jobWith(set("spec.backoffLimit", 3)), nil},
		{"a container that restarts", agent, fields, "restartPolicy must be Never", jobWith(set(pod+"restartPolicy", "OnFailure")), nil},
		{"a failure policy that replaces the Pod", agent, fields, "podFailurePolicy must not be set", jobWith(set("spec.podFailurePolicy", map[string]any{"rules": []any{map[string]any{"action": "Ignore",
			"onExitCodes": map[string]any{"operator": "In", "values": []any{1}}}}})), nil},
		{"a selector of one's own", agent, fields, "manualSelector must be false", jobWith(set("spec.manualSelector", true), set("spec.selector", map[string]any{"matchLabels": map[string]any{"valetkey.dev/request": "q"}})), nil},
		{"a Job controlled by somebody else's controller", agent, fields, "managedBy must be", jobWith(set("spec.managedBy", "example.com/mine")), nil},
		{"a Job that is gone before it was looked at", agent, rule, "at least 600", jobWith(set("spec.ttlSecondsAfterFinished", 0)), nil},
		{"a shared process namespace", agent, fields, "shareProcessNamespace must be false", jobWith(set(pod+"shareProcessNamespace", true)), nil},
		{"the volume name of the grant", agent, rule, "belong to the grant", jobWith(set(pod+"volumes", []any{map[string]any{"name": "valetkey", "emptyDir": map[string]any{}}}),
			set(pod+"containers.1.volumeMounts", []any{map[string]any{"name": "valetkey", "mountPath": "/x"}})), nil},
		{"a mount over the credential's path", agent, rule, "belong to the grant", jobWith(set(pod+"volumes", []any{map[string]any{"name": "mine", "emptyDir": map[string]any{}}}),
			set(pod+"containers.0.volumeMounts", []any{map[string]any{"name": "mine", "mountPath": "/var/run/secrets/valetkey.dev/aws"}})), nil},
		{"a Job with a foreign owner", agent, rule, "no owner and no finalizers", jobWith(set("metadata.ownerReferences", []any{foreignOwner()})), nil},
		{"a Job with a finalizer", agent, rule, "no owner and no finalizers", jobWith(set("metadata.finalizers", []any{"example.com/hold"})), nil},
		{"a template finalizer that keeps the dead Pod", agent, fields, "finalizers must not be set", jobWith(set("spec.template.metadata.finalizers", []any{"example.com/hold"})), nil},
	}
}

func frozenRows() []row {
	const rule = "valetkey-jobs-frozen"
	const held, running = "valetkey-" + waiting, "valetkey-" + granted
	remove := func(o metav1.DeleteOptions) func(context.Context, *world, string) error {
		return func(ctx context.Context, w *world, by string) error { return w.delete(ctx, by, "Job", running, o) }
	}
	orphan, yes := metav1.DeletePropagationOrphan, true
	return []row{
		{"starting a held Job", mallory, rule, "frozen", patches("Job", held, "", `{"spec":{"suspend":false}}`), nil},
		{"fifty Pods at a time, later", mallory, rule, "frozen", patches("Job", held, "", `{"spec":{"parallelism":50}}`), nil},
		{"a note on the template of a held Job", mallory, rule, "frozen", patches("Job", held, "", `{"spec":{"template":{"metadata":{"annotations":{"sidecar":"yes"}}}}}`), nil},
		{"another node for a held Job", mallory, rule, "frozen", patches("Job", held, "", `{"spec":{"template":{"spec":{"nodeSelector":{"a":"b"}}}}}`), nil},
		{"a later deadline for a running Job", mallory, rule, "frozen", patches("Job", running, "", `{"spec":{"activeDeadlineSeconds":43200}}`), nil},
		{"suspending a running Job, to start it again", mallory, rule, "frozen", patches("Job", running, "", `{"spec":{"suspend":true}}`), nil},
		{"another creator", mallory, rule, "never change", patches("Job", held, "", `{"metadata":{"annotations":{"valetkey.dev/created-by":"bob"}}}`), nil},
		{"a Job without its label", mallory, rule, "never change", patches("Job", held, "", `{"metadata":{"labels":{"valetkey.dev/request":"other"}}}`), nil},
		{"a label of a held Job, by which another policy decides", mallory, rule, "never change", patches("Job", held, "", `{"metadata":{"labels":{"example.com/change":"docs"}}}`), nil},
		{"a label of a running Job, against the policy that ends it", mallory, rule, "never change", patches("Job", running, "", `{"metadata":{"labels":{"example.com/change":"docs"}}}`), nil},
		{"a finalizer on a running Job", mallory, rule, "no finalizer is added", patches("Job", running, "", `{"metadata":{"finalizers":["example.com/hold"]}}`), nil},
		{"an owner for a running Job, to free its Pod", mallory, rule, "no finalizer is added", patches("Job", running, "",
			`{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"m","uid":"5e8f1a3c-1111-4222-8333-444455556666"}]}}`), nil},
		{"a Pod that outlives its Job, by policy", mallory, rule, "so that its Pod goes with it", remove(metav1.DeleteOptions{PropagationPolicy: &orphan}), nil},
		{"a Pod that outlives its Job, by default", mallory, rule, "so that its Pod goes with it", remove(metav1.DeleteOptions{}), nil},
		//nolint:staticcheck // the deprecated field still works: that is the attack
		{"a Pod that outlives its Job, the old way", mallory, rule, "so that its Pod goes with it", remove(metav1.DeleteOptions{OrphanDependents: &yes}), nil},
		{"telling that a Job is complete", mallory, "valetkey-jobs-status", "job-controller alone", patches("Job", running, "status", `{"status":{"succeeded":1}}`), nil},
		{"labelling an ordinary Job afterwards", mallory, rule, "never change", func(ctx context.Context, w *world, by string) error {
			o := w.job0("q", set("metadata.name", "ordinary"), set("metadata.labels", map[string]any{}), set("spec.template.metadata", map[string]any{}), set("spec.suspend", true))
			if _, err := w.clients[by].Resource(kinds["Job"]).Namespace(namespace).Create(ctx, o, metav1.CreateOptions{}); err != nil && !strings.Contains(err.Error(), "already exists") {
				return err
			}
			return w.patch(ctx, by, "Job", "ordinary", "", `{"metadata":{"labels":{"valetkey.dev/request":"granted"}}}`)
		}, nil},
	}
}

func effectRows() []row {
	asked := func(ctx context.Context, w *world, edits ...edit) (map[string]any, error) {
		o, err := w.creating(ctx, agent, w.request0("q", edits...))
		if err != nil {
			return nil, err
		}
		requester, _, err := unstructured.NestedMap(o.Object, "spec", "requester")
		return requester, err
	}
	return []row{
		{"a forged requester is written over", agent, "valetkey-stamp-requester", "", nil, func(ctx context.Context, w *world) error {
			requester, err := asked(ctx, w, set("spec.requester", map[string]any{"username": "system:admin", "groups": []any{"system:masters"}}))
			if err == nil && (requester["username"] != "system:serviceaccount:agents:web-app-bot" || strings.Contains(fmt.Sprint(requester["groups"]), "masters")) {
				err = fmt.Errorf("the requester is %v", requester)
			}
			return err
		}},
		{"an approval becomes an entry in the caller's own name", alice, "valetkey-record-decision", "", nil, func(ctx context.Context, w *world) error {
			o, err := w.patching(ctx, alice, "CapabilityRequest", waiting, "", `{"metadata":{"annotations":{"valetkey.dev/approve":"`+digest+`","valetkey.dev/reason":"fine"}}}`)
			if err != nil {
				return err
			}
			text := fmt.Sprint(o.Object["decisions"])
			for _, want := range []string{"by:alice@example.com", "decision:Approve", "digest:" + digest, "reason:fine", "release-managers"} {
				if !strings.Contains(text, want) {
					return fmt.Errorf("the decisions are %s, without %s", text, want)
				}
			}
			if len(o.GetAnnotations()) > 0 {
				return errors.New("the annotation stayed")
			}
			return nil
		}},
		{"a revocation is marked with who revoked", alice, "valetkey-stamp-revoker", "", nil, func(ctx context.Context, w *world) error {
			o, err := w.patching(ctx, alice, "CapabilityGrant", granted, "", `{"metadata":{"annotations":{"valetkey.dev/revoke":"seen enough"}}}`)
			if err == nil && o.GetAnnotations()["valetkey.dev/revoked-by"] != alice {
				err = errors.New("it is not marked")
			}
			return err
		}},
		{"a Job is held and marked", agent, "valetkey-hold-job", "", nil, func(ctx context.Context, w *world) error {
			o, err := w.creating(ctx, agent, w.job0("q", set("spec.suspend", false), label("metadata.annotations", "valetkey.dev/created-by", "bob")))
			if err != nil {
				return err
			}
			held, _, _ := unstructured.NestedBool(o.Object, "spec", "suspend")
			if !held || o.GetAnnotations()["valetkey.dev/created-by"] != "system:serviceaccount:agents:web-app-bot" {
				return errors.New("it is not")
			}
			return nil
		}},
		{"the Pod of the started Job was projected", "job-controller", "valetkey-project", "", nil, projected},
	}
}

// projected has the job-controller's Pod made once more, by a dry run in its name: an administrator may impersonate, and that is
// outside the promise.
func projected(ctx context.Context, w *world) error {
	made, err := w.clients[admin].Resource(kinds["Pod"]).Namespace(namespace).Get(ctx, w.pod, metav1.GetOptions{})
	if err != nil {
		return err
	}
	text := fmt.Sprint(made.Object["spec"])
	for _, want := range []string{"activeDeadlineSeconds:600", "terminationGracePeriodSeconds:5", "secretName:" + w.secret, "defaultMode:256", "path:aws/credentials",
		"mountPath:/var/run/secrets/valetkey.dev", "name:AWS_REGION value:us-east-1", "fsGroup:65532"} {
		if !strings.Contains(text, want) {
			return fmt.Errorf("the Pod has no %s: %s", want, text)
		}
	}
	if strings.Count(text, "mountPath:/var/run/secrets/valetkey.dev") != 1 {
		return errors.New("more than one container has it")
	}
	return w.projectAgain(ctx, made)
}

func identityRows() []row {
	run := func(kind string, spec map[string]any) func(context.Context, *world, string) error {
		return creates(func(*world) *unstructured.Unstructured { return object(kind, identities, "q", spec) })
	}
	ask := func(spec authenticationv1.TokenRequestSpec) func(context.Context, *world, string) error {
		return func(ctx context.Context, w *world, by string) error { return w.token(ctx, by, identities, spec) }
	}
	day := int64(86400)
	sts := []string{"sts.amazonaws.com"}
	return []row{
		{"a Pod among the identities", mallory, "valetkey-identities", "nothing runs here", run("Pod", restricted()), nil},
		{"a Deployment among the identities", mallory, "valetkey-identities", "nothing runs here", run("Deployment", map[string]any{
			"selector": map[string]any{"matchLabels": map[string]any{"a": "b"}}, "template": map[string]any{"metadata": map[string]any{"labels": map[string]any{"a": "b"}}, "spec": map[string]any{"containers": podSpec()["containers"]}}}), nil},
		{"a lasting token of an identity", mallory, "valetkey-identities-secrets", "no lasting tokens", creates(func(*world) *unstructured.Unstructured {
			return object("Secret", identities, "q", nil, set("type", "kubernetes.io/service-account-token"), label("metadata.annotations", "kubernetes.io/service-account.name", "default"))
		}), nil},
		{"a token of an identity, by somebody else", mallory, "valetkey-identities-tokens", "only the operator", ask(authenticationv1.TokenRequestSpec{Audiences: sts}), nil},
		{"a token of an identity for the API server", operator, "valetkey-identities-tokens", "one audience", ask(authenticationv1.TokenRequestSpec{}), nil},
		{"a token of an identity for an audience nobody listed", operator, "valetkey-identities-tokens", "one audience", ask(authenticationv1.TokenRequestSpec{Audiences: []string{"vault.elsewhere"}}), nil},
		{"a token of an identity for two audiences", operator, "valetkey-identities-tokens", "one audience", ask(authenticationv1.TokenRequestSpec{Audiences: append(sts, "vault")}), nil},
		{"a token of an identity for a day", operator, "valetkey-identities-tokens", "an hour", ask(authenticationv1.TokenRequestSpec{Audiences: sts, ExpirationSeconds: &day}), nil},
	}
}

func namespaceRows() []row {
	const rule = "valetkey-namespaces"
	return []row{
		{"withdrawing the enrolment under a living grant", admin, rule, "stays enrolled", patches("Namespace", namespace, "", `{"metadata":{"labels":{"valetkey.dev/enrolled":null}}}`), nil},
		{"weakening Pod Security under a living grant", admin, rule, "Pod Security stays", patches("Namespace", namespace, "", `{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"privileged"}}}`), nil},
		{"an older Pod Security under a living grant", admin, rule, "Pod Security stays", patches("Namespace", namespace, "", `{"metadata":{"labels":{"pod-security.kubernetes.io/enforce-version":"v1.0"}}}`), nil},
		{"saying that no grant lives", admin, rule, "operator alone", patches("Namespace", namespace, "", `{"metadata":{"labels":{"valetkey.dev/in-use":null}}}`), nil},
		{"the operator enrols a namespace", operator, rule, "nothing of a namespace but", patches("Namespace", plain, "", `{"metadata":{"labels":{"valetkey.dev/enrolled":"true"}}}`), nil},
		{"enrolling the identities", admin, rule, "not one that agents work in", patches("Namespace", identities, "", `{"metadata":{"labels":{"valetkey.dev/enrolled":"true"}}}`), nil},
		{"taking the fence from the identities", admin, rule, "never changes", patches("Namespace", identities, "", `{"metadata":{"labels":{"valetkey.dev/identities":null}}}`), nil},
	}
}
