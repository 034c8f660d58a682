// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration || mutation

package attacks

import (
	"context"
	"errors"
	"fmt"
	"strings"

	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// lateRows are about a Pod that should have ended, and what could keep it, hide it, or change it meanwhile.
func lateRows() []row {
	const ends, pods, parts, bindings, jobs, operatorPods = "valetkey-pods-end", "valetkey-pods", "valetkey-pods-parts", "valetkey-bindings", "valetkey-jobs", "valetkey-operator-pods"
	const pod = "spec.template.spec."
	deletes := func(seconds int64) func(context.Context, *world, string) error {
		return func(ctx context.Context, w *world, by string) error {
			return w.delete(ctx, by, "Pod", w.pod, metav1.DeleteOptions{GracePeriodSeconds: &seconds})
		}
	}
	deletesAll := func(seconds int64) func(context.Context, *world, string) error {
		return func(ctx context.Context, w *world, by string) error {
			return w.clients[by].Resource(kinds["Pod"]).Namespace(namespace).DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: &seconds, DryRun: dryRun},
				metav1.ListOptions{FieldSelector: "metadata.name=" + w.pod})
		}
	}
	evicts := func(seconds *int64) func(context.Context, *world, string) error {
		return func(ctx context.Context, w *world, by string) error {
			return kubernetes.NewForConfigOrDie(w.configs[by]).PolicyV1().Evictions(namespace).Evict(ctx, &policyv1.Eviction{
				ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: w.pod}, DeleteOptions: &metav1.DeleteOptions{GracePeriodSeconds: seconds, DryRun: dryRun}})
		}
	}
	hour, none := int64(3600), int64(0)
	return []row{
		{name: "deleting the running Pod with an hour's grace", by: mallory, rule: ends, words: "within five seconds", try: deletes(3600)},
		{name: "deleting the running Pod with six seconds' grace", by: mallory, rule: ends, words: "within five seconds", try: deletes(6)},
		{name: "deleting all Pods with an hour's grace", by: mallory, rule: ends, words: "within five seconds", try: deletesAll(3600)},
		{name: "evicting the running Pod with an hour's grace", by: mallory, rule: ends, words: "within five seconds", try: evicts(&hour)},
		{name: "deleting the running Pod by force", by: mallory, rule: ends, words: "by force would hide", try: deletes(0)},
		{name: "deleting all Pods by force", by: mallory, rule: ends, words: "by force would hide", try: deletesAll(0)},
		{name: "evicting the running Pod by force", by: mallory, rule: ends, words: "by force would hide", try: evicts(&none)},
		{name: "deleting the running Pod by force, by an administrator", by: admin, rule: ends, words: "by force would hide", try: deletes(0)},
		{name: "taking the grant's finalizer from the running Pod, by the operator", by: operator, rule: pods, words: "until its node has said",
			try: letsGo(func(w *world) dynamic.Interface { return w.clients[operator] })},
		{name: "taking the grant's finalizer from the running Pod, by the job-controller", by: "job-controller", rule: pods, words: "until its node has said",
			try: letsGo((*world).asJobController)},
		{name: "taking the grant's finalizer from the running Pod, by an administrator of its namespace", by: mallory, rule: pods, words: "until its node has said",
			try: letsGo(func(w *world) dynamic.Interface { return w.clients[mallory] })},
		{name: "taking the finalizers from the running Pod through its status", by: "node-controller", rule: parts, words: "do not change through its status", try: func(ctx context.Context, w *world, _ string) error {
			return w.patchAs(ctx, w.asNodeController(), "Pod", w.pod, `{"metadata":{"finalizers":null}}`, "status")
		}},
		{name: "the operator changes a Pod that is not a grant's", by: operator, rule: operatorPods, words: "changes nothing else of any Pod", try: offDuty(patches("Pod", "foreign", "", `{"metadata":{"labels":{"a":"b"}}}`))},
		{name: "the operator says that a Pod has ended", by: operator, rule: operatorPods, words: "changes nothing else of any Pod", try: offDuty(patches("Pod", "foreign", "status", `{"status":{"phase":"Failed"}}`))},
		{name: "the operator enters a Pod", by: operator, rule: operatorPods, words: "changes nothing else of any Pod", try: offDuty(func(ctx context.Context, w *world, by string) error {
			return kubernetes.NewForConfigOrDie(w.configs[by]).CoreV1().RESTClient().Post().Namespace(namespace).Resource("pods").Name("foreign").SubResource("exec").Do(ctx).Error()
		})},
		{name: "an annotation of the running Pod, which its step reads", by: mallory, rule: pods, words: "is frozen", try: func(ctx context.Context, w *world, by string) error {
			return w.patch(ctx, by, "Pod", w.pod, "", `{"metadata":{"annotations":{"x":"https://evil.example"}}}`)
		}},
		{name: "a label of the running Pod, which its step reads", by: mallory, rule: pods, words: "is frozen", try: func(ctx context.Context, w *world, by string) error {
			return w.patch(ctx, by, "Pod", w.pod, "", `{"metadata":{"labels":{"x":"evil"}}}`)
		}},
		{name: "binding the running Pod with an annotation that its step reads", by: admin, rule: bindings, words: "keeps the labels and annotations",
			try: binds(func(w *world) string { return w.pod }, "pods", []string{"binding"}, label("metadata.annotations", "x", "evil"))},
		{name: "binding the running Pod to a node of one's choice", by: mallory, rule: bindings, words: "by a scheduler of the cluster",
			try: binds(func(w *world) string { return w.pod }, "pods", []string{"binding"}, label("metadata.labels", "topology.kubernetes.io/zone", "evil"))},
		{name: "binding the running Pod with a zone that its step reads, the old way", by: mallory, rule: bindings, words: "by a scheduler of the cluster",
			try: binds(func(w *world) string { return w.pod }, "bindings", nil, label("metadata.labels", "topology.kubernetes.io/zone", "evil"))},
		{name: "binding the running Pod with a label that its step reads, the old way", by: admin, rule: bindings, words: "keeps the labels and annotations",
			try: binds(func(w *world) string { return w.pod }, "bindings", nil, label("metadata.labels", "x", "evil"))},
		{name: "a sidecar whose image is looked for at each restart", by: agent, rule: jobs, words: "imagePullPolicy of a sidecar", try: jobWith(
			set(pod+"initContainers", []any{map[string]any{"name": "i", "image": image, "restartPolicy": "Always", "imagePullPolicy": "Always"}}))},
		{name: "a Job that is held keeps no deadline of its own", by: agent, rule: "valetkey-hold-job", shows: deadlineMoved},
		{name: "Services set no variables in a held Job", by: agent, rule: "valetkey-hold-job", shows: noServiceLinks},
		{name: "a proxy to the running Pod, by a scheme and a port", by: mallory, rule: "valetkey-exec", words: "nobody enters", try: proxies("http:POD:8080")},
		{name: "a proxy to the running Pod, by a port", by: mallory, rule: "valetkey-exec", words: "nobody enters", try: proxies("POD:8080")},
		{name: "a proxy to the running Pod, by an empty scheme", by: mallory, rule: "valetkey-exec", words: "nobody enters", try: proxies(":POD:8080")},
		{name: "a proxy to the running Pod, by TLS", by: mallory, rule: "valetkey-exec", words: "nobody enters", try: proxies("https:POD:")},
		{name: "a proxy to the running Pod, by an escaped name", by: mallory, rule: "valetkey-exec", words: "nobody enters", try: proxies("http%3APOD%3A8080")},
		{name: "a proxy to the running Pod, by a name in escaped letters", by: mallory, rule: "valetkey-exec", words: "nobody enters", try: proxies("http:%76aletkeyREST:8080")},
	}
}

// letsGo takes the finalizer of the grant off the running Pod, and no other.
func letsGo(as func(*world) dynamic.Interface) func(context.Context, *world, string) error {
	return func(ctx context.Context, w *world, _ string) error {
		return w.patchAs(ctx, as(w), "Pod", w.pod, `{"metadata":{"finalizers":["batch.kubernetes.io/job-tracking"]}}`)
	}
}

// deadlineMoved sees that the shorter of the Job's deadline and its template's is the template's.
func deadlineMoved(ctx context.Context, w *world) error {
	for _, c := range []struct{ job, template, want int64 }{{15, 0, 15}, {15, 20, 15}, {20, 15, 15}, {0, 15, 15}} {
		var edits []edit
		if c.job > 0 {
			edits = append(edits, set("spec.activeDeadlineSeconds", c.job))
		}
		if c.template > 0 {
			edits = append(edits, set("spec.template.spec.activeDeadlineSeconds", c.template))
		}
		o, err := w.creating(ctx, agent, w.job0("q", edits...))
		if err != nil {
			return err
		}
		_, own, _ := unstructured.NestedInt64(o.Object, "spec", "activeDeadlineSeconds")
		got, _, _ := unstructured.NestedInt64(o.Object, "spec", "template", "spec", "activeDeadlineSeconds")
		if own || got != c.want {
			return fmt.Errorf("of %d and %d the Job has one of its own: %t, and its template %d", c.job, c.template, own, got)
		}
	}
	return nil
}

func noServiceLinks(ctx context.Context, w *world) error {
	o, err := w.creating(ctx, agent, w.job0("q", set("spec.template.spec.enableServiceLinks", true)))
	if err != nil {
		return err
	}
	if links, _, _ := unstructured.NestedBool(o.Object, "spec", "template", "spec", "enableServiceLinks"); links {
		return errors.New("it has service links")
	}
	return nil
}

// proxies connects by another spelling of the running Pod's name.
func proxies(name string) func(context.Context, *world, string) error {
	return func(ctx context.Context, w *world, by string) error {
		name := strings.NewReplacer("POD", w.pod, "REST", strings.TrimPrefix(w.pod, "valetkey")).Replace(name)
		err := kubernetes.NewForConfigOrDie(w.configs[by]).CoreV1().RESTClient().Get().
			RequestURI("/api/v1/namespaces/" + namespace + "/pods/" + name + "/proxy/").Do(ctx).Error()
		if err == nil {
			return errors.New("it answered")
		}
		return err
	}
}

// asNodeController writes as a part of Kubernetes that may write the status of Pods, by impersonation.
func (w *world) asNodeController() dynamic.Interface {
	config := rest.CopyConfig(w.configs[admin])
	config.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:kube-system:node-controller",
		Groups: []string{"system:masters", "system:authenticated"}}
	return dynamic.NewForConfigOrDie(config)
}

func enrolmentRows() []row {
	const rule = "valetkey-elsewhere"
	early := func(w *world) *unstructured.Unstructured {
		return w.job0("q", set("metadata.namespace", plain), set("spec.suspend", true), label("metadata.annotations", "valetkey.dev/created-by", mallory))
	}
	pod := func(w *world) *unstructured.Unstructured {
		return w.pod0("p", set("metadata.namespace", plain), label("metadata.labels", "valetkey.dev/request", "q"))
	}
	return []row{
		{name: "a Job for a credential that is made before its namespace is enrolled", by: mallory, rule: rule, words: "made in enrolled namespaces", try: creates(early)},
		{name: "a Pod with a request's label where no namespace is enrolled, to be remembered", by: mallory, rule: rule, words: "made in enrolled namespaces", try: creates(pod)},
		{name: "a Job that becomes one for a credential before its namespace is enrolled", by: mallory, rule: rule, words: "made in enrolled namespaces", try: inPlain(`{"metadata":{"labels":{"valetkey.dev/request":"q"}}}`)},
	}
}

// inPlain changes a Job in a namespace that is not enrolled.
func inPlain(body string) func(context.Context, *world, string) error {
	return func(ctx context.Context, w *world, by string) error {
		o := w.job0("early", set("metadata.namespace", plain), set("metadata.labels", map[string]any{}), set("spec.template.metadata", map[string]any{}), set("spec.suspend", true))
		if _, err := w.clients[admin].Resource(kinds["Job"]).Namespace(plain).Create(ctx, o, metav1.CreateOptions{}); err != nil && !strings.Contains(err.Error(), "already exists") {
			return err
		}
		_, err := w.clients[by].Resource(kinds["Job"]).Namespace(plain).Patch(ctx, "valetkey-early", "application/merge-patch+json", []byte(body), metav1.PatchOptions{DryRun: dryRun})
		return err
	}
}

// patchAs sends a merge patch by a client.
func (w *world) patchAs(ctx context.Context, client dynamic.Interface, kind, name, body string, subresources ...string) error {
	_, err := client.Resource(kinds[kind]).Namespace(namespace).Patch(ctx, name, "application/merge-patch+json", []byte(body), metav1.PatchOptions{DryRun: dryRun}, subresources...)
	return err
}
