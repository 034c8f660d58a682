// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration || mutation

package attacks

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	admissionreviewv1 "k8s.io/api/admission/v1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// somebodyElses is a mutating webhook that undoes what our stamps do, as often as it is asked, to objects labelled somebody:
// with else, or with what of them it forges.
func (w *world) somebodyElses(ctx context.Context, t *testing.T) {
	t.Helper()
	listener, authority, err := w.cluster.ListenTLS()
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(undo), ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(listener) }() // until it is closed
	t.Cleanup(func() { _ = server.Close() })
	url, fail, again, none := "https://"+listener.Addr().String(), admissionv1.Fail, admissionv1.IfNeededReinvocationPolicy, admissionv1.SideEffectClassNone
	_, err = kubernetes.NewForConfigOrDie(w.configs[admin]).AdmissionregistrationV1().MutatingWebhookConfigurations().Create(ctx, &admissionv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "somebody-elses"},
		Webhooks: []admissionv1.MutatingWebhook{{
			Name: "undo.example.com", ClientConfig: admissionv1.WebhookClientConfig{URL: &url, CABundle: authority},
			FailurePolicy: &fail, ReinvocationPolicy: &again, SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
			ObjectSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "somebody", Operator: metav1.LabelSelectorOpExists}}},
			Rules: []admissionv1.RuleWithOperations{{Operations: []admissionv1.OperationType{admissionv1.Create, admissionv1.Update},
				Rule: admissionv1.Rule{APIGroups: []string{"", "batch", "valetkey.dev"}, APIVersions: []string{"*"}, Resources: []string{"pods", "jobs", "capabilityrequests"}}}},
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []row{forgedByWebhook, startedByWebhook} {
		eventually(t, func() error { return r.holds(ctx, w) })
	}
}

// podPatches are what the webhook does to a Pod, by the value of its label.
var podPatches = map[string]string{
	"image":    `[{"op":"replace","path":"/spec/containers/0/image","value":"registry.example.com/evil@sha256:e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1"}]`,
	"tag":      `[{"op":"replace","path":"/spec/containers/0/image","value":"registry.example.com/publisher:latest"}]`,
	"sidecar":  `[{"op":"add","path":"/spec/containers/-","value":{"name":"mesh","image":"` + image + `"}}]`,
	"first":    `[{"op":"add","path":"/spec/initContainers","value":[{"name":"mesh","image":"` + image + `"}]}]`,
	"deadline": `[{"op":"replace","path":"/spec/activeDeadlineSeconds","value":99999}]`,
	"grace":    `[{"op":"replace","path":"/spec/terminationGracePeriodSeconds","value":99999}]`,
	"lets-go":  `[{"op":"add","path":"/metadata/finalizers","value":["batch.kubernetes.io/job-tracking"]}]`,
	"holder":   `[{"op":"add","path":"/spec/containers/1/volumeMounts","value":[{"name":"valetkey","mountPath":"/here"}]}]`,
	"mirror":   `[{"op":"replace","path":"/spec/containers/0/image","value":"mirror.example.com/publisher` + imageDigest + `"}]`,
	"variable": `[{"op":"add","path":"/spec/containers/0/env/-","value":{"name":"TRACE","value":"on"}}]`,
}

// jobPatches are what the webhook does to a Job, by the value of its label.
var jobPatches = map[string]string{
	"else":     `[{"op":"add","path":"/spec/suspend","value":false}]`,
	"links":    `[{"op":"add","path":"/spec/template/spec/enableServiceLinks","value":true}]`,
	"deadline": `[{"op":"add","path":"/spec/activeDeadlineSeconds","value":99999}]`,
}

// webhookRows are what somebody else's webhook does to a granted Pod as it is made, and to a request as it is decided on.
func webhookRows() []row {
	makes := func(how string) func(context.Context, *world) error {
		return func(ctx context.Context, w *world) error { return w.madeAgain(ctx, how) }
	}
	pod := func(name, how, words string) row {
		return row{name: "somebody else's mutating webhook " + name, by: "job-controller", rule: "valetkey-pods", words: words,
			try: func(ctx context.Context, w *world, _ string) error { return makes(how)(ctx, w) }}
	}
	const containers, whole = "are not those of the Job that was approved", "not projected whole"
	job := func(name, how, rule, words string) row {
		return row{name: "somebody else's mutating webhook " + name, by: agent, rule: rule, words: words, try: jobWith(label("metadata.labels", "somebody", how))}
	}
	return []row{
		job("has Services set variables in the step", "links", "valetkey-job-fields", "enableServiceLinks must be false"),
		job("gives a held Job a deadline of its own", "deadline", "valetkey-jobs", "is its Pod template's"),
		pod("swaps the image of a granted Pod", "image", containers),
		pod("names the image of a granted Pod by a tag", "tag", containers),
		pod("adds a container to a granted Pod", "sidecar", containers),
		pod("adds an init container to a granted Pod", "first", containers),
		pod("takes the deadline from a granted Pod", "deadline", whole),
		pod("gives a granted Pod more grace", "grace", whole),
		pod("has a granted Pod go before its end is seen", "lets-go", "is made with the finalizer valetkey.dev/seen"),
		pod("gives the credential to a second container", "holder", whole),
		{name: "somebody else's mutating webhook takes a granted Pod's image from a mirror, by its digest", rule: outside, shows: makes("mirror")},
		{name: "somebody else's mutating webhook adds a variable to a granted Pod", rule: outside, shows: makes("variable")},
		{name: "somebody else's mutating webhook approves in a person's name", by: viewer, rule: "valetkey-decisions", words: "one's own name",
			try: patches("CapabilityRequest", waiting, "", `{"metadata":{"labels":{"somebody":"approval"}}}`)},
		{name: "somebody else's mutating webhook changes a request", by: viewer, rule: "valetkey-requests", words: "never changes",
			try: patches("CapabilityRequest", waiting, "", `{"metadata":{"labels":{"somebody":"else"}}}`)},
	}
}

// madeAgain makes the granted Pod once more, as the job-controller would, past the webhook that does that to it.
func (w *world) madeAgain(ctx context.Context, how string) error {
	made, err := w.clients[admin].Resource(kinds["Pod"]).Namespace(namespace).Get(ctx, w.pod, metav1.GetOptions{})
	if err != nil {
		return err
	}
	o := w.template(ctx, made, true)
	label("metadata.labels", "somebody", how)(o.Object)
	_, err = w.asJobController().Resource(kinds["Pod"]).Namespace(namespace).Create(ctx, o, metav1.CreateOptions{DryRun: dryRun})
	return err
}

// undo answers with a patch that starts the Job, changes the Pod, decides, or names another requester.
func undo(response http.ResponseWriter, request *http.Request) {
	var review admissionreviewv1.AdmissionReview
	if err := json.NewDecoder(request.Body).Decode(&review); err != nil {
		http.Error(response, err.Error(), http.StatusBadRequest)
		return
	}
	patch, kind := forgery(review.Request.Kind.Kind, review.Request.Object.Raw), admissionreviewv1.PatchTypeJSONPatch
	review.Response = &admissionreviewv1.AdmissionResponse{UID: review.Request.UID, Allowed: true, Patch: []byte(patch), PatchType: &kind}
	review.Request = nil
	response.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(response).Encode(review); err != nil {
		panic(fmt.Sprintf("the API server went away: %v", err))
	}
}

// forgery is a patch of a Pod, of a Job, of a request's decisions, of its requester, or of the one field that the object's label names.
func forgery(kind string, raw []byte) string {
	var o metav1.PartialObjectMetadata
	if err := json.Unmarshal(raw, &o); err != nil {
		panic(fmt.Sprintf("the API server sent what it cannot read itself: %v", err))
	}
	switch kind {
	case "Pod":
		return podPatches[o.Labels["somebody"]]
	case "Job":
		return jobPatches[o.Labels["somebody"]]
	}
	if o.Labels["somebody"] == "approval" {
		return `[{"op":"add","path":"/decisions","value":[{"by":"alice@example.com","decision":"Approve","digest":"` + digest + `"}]}]`
	}
	if value, known := forgeries[o.Labels["somebody"]]; known {
		return fmt.Sprintf(`[{"op":"add","path":"/spec/requester/%s","value":%s}]`, o.Labels["somebody"], value)
	}
	return `[{"op":"add","path":"/spec/requester","value":{"username":"system:admin"}}]`
}
