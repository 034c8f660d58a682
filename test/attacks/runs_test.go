// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package attacks

import (
	"context"
	"errors"
	"fmt"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// TestJobsRunToTheirEnd has Kubernetes' own controllers run Jobs, an ordinary one and a grant's, and a kubelet tell of their Pods:
// the rules are in nobody's way.
func TestJobsRunToTheirEnd(t *testing.T) {
	ctx := t.Context()
	w := newWorld(ctx, t)
	if err := w.stored(ctx, schema.GroupVersionResource{Version: "v1", Resource: "nodes"}, normal(map[string]any{"apiVersion": "v1", "kind": "Node", "metadata": map[string]any{"name": "node1"}})); err != nil {
		t.Fatal(err)
	}
	t.Run("an ordinary Job, which is cleaned up by its own time to live", func(t *testing.T) {
		o := workload("Job", podSpec(), set("spec.suspend", false), set("spec.ttlSecondsAfterFinished", 0))
		if _, err := w.clients[mallory].Resource(kinds["Job"]).Namespace(namespace).Create(ctx, o, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		var pod string
		eventually(t, func() (err error) { pod, err = podOf(ctx, w, o.GetName()); return err })
		w.bind(t, pod)
		w.runs(t, pod)
		eventually(t, func() error { return w.gone(ctx, "Job", namespace, o.GetName()) })
		eventually(t, func() error { return w.gone(ctx, "Pod", namespace, pod) })
	})
	t.Run("a grant's Job, which its agent deletes: its Pod is there until the operator lets it go", func(t *testing.T) {
		const job = "valetkey-" + granted
		w.runs(t, w.pod)
		eventually(t, func() error { return complete(ctx, w, job) })
		background := metav1.DeletePropagationBackground
		if err := w.clients[agent].Resource(kinds["Job"]).Namespace(namespace).Delete(ctx, job, metav1.DeleteOptions{PropagationPolicy: &background}); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() error { return w.gone(ctx, "Job", namespace, job) })
		patch := []byte(`{"metadata":{"finalizers":null}}`)
		_, err := w.clients[operator].Resource(kinds["Pod"]).Namespace(namespace).Patch(ctx, w.pod, types.MergePatchType, patch, metav1.PatchOptions{})
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, func() error { return w.gone(ctx, "Pod", namespace, w.pod) })
	})
	t.Run("a Pod that is evicted from its node", func(t *testing.T) {
		if err := w.stored(ctx, kinds["Pod"], w.pod0("evicted")); err != nil {
			t.Fatal(err)
		}
		o := normal(map[string]any{"apiVersion": "policy/v1", "kind": "Eviction", "metadata": map[string]any{"name": "evicted", "namespace": namespace}})
		if _, err := w.clients[admin].Resource(kinds["Pod"]).Namespace(namespace).Create(ctx, o, metav1.CreateOptions{}, "eviction"); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() error { return w.gone(ctx, "Pod", namespace, "evicted") })
	})
}

// bind gives a Pod to the node, as a scheduler does.
func (w *world) bind(t *testing.T, pod string) {
	t.Helper()
	binding := normal(map[string]any{"apiVersion": "v1", "kind": "Binding", "metadata": map[string]any{"name": pod, "namespace": namespace}, "target": map[string]any{"kind": "Node", "name": "node1"}})
	if _, err := w.clients[admin].Resource(kinds["Pod"]).Namespace(namespace).Create(t.Context(), binding, metav1.CreateOptions{}, "binding"); err != nil {
		t.Fatal(err)
	}
}

// runs has the kubelet of a Pod's node say that it ran and succeeded.
func (w *world) runs(t *testing.T, pod string) {
	t.Helper()
	ctx := t.Context()
	for _, phase := range []string{"Running", "Succeeded"} {
		// The authorizer of nodes can be behind the binding.
		eventually(t, func() error {
			_, err := w.clients[kubelet].Resource(kinds["Pod"]).Namespace(namespace).
				Patch(ctx, pod, types.StrategicMergePatchType, fmt.Appendf(nil, `{"status":{"phase":%q}}`, phase), metav1.PatchOptions{}, "status")
			return err
		})
	}
}

func podOf(ctx context.Context, w *world, job string) (string, error) {
	list, err := w.clients[admin].Resource(kinds["Pod"]).Namespace(namespace).List(ctx, metav1.ListOptions{LabelSelector: "batch.kubernetes.io/job-name=" + job})
	if err != nil {
		return "", err
	}
	if len(list.Items) == 0 {
		return "", fmt.Errorf("the job-controller made no Pod for %s", job)
	}
	return list.Items[0].GetName(), nil
}

func complete(ctx context.Context, w *world, job string) error {
	o, err := w.clients[admin].Resource(kinds["Job"]).Namespace(namespace).Get(ctx, job, metav1.GetOptions{})
	if err != nil {
		return err
	}
	conditions, _, err := unstructured.NestedSlice(o.Object, "status", "conditions")
	if err != nil {
		return err
	}
	for _, c := range conditions {
		if c := c.(map[string]any); c["type"] == "Complete" && c["status"] == "True" {
			return nil
		}
	}
	return fmt.Errorf("%s is not complete: %v", job, conditions)
}

func (w *world) lawfulJobs() map[string]func(context.Context) error {
	const pod, first = "spec.template.spec.", "spec.template.spec.containers.0."
	return map[string]func(context.Context) error{
		"a request's Job with a sidecar": w.made(agent, w.job0("q", set(pod+"initContainers", []any{map[string]any{"name": "proxy", "image": image, "restartPolicy": "Always"}}))),
		"a request's Job with volumes of its own": w.made(agent, w.job0("q", set(pod+"volumes", []any{map[string]any{"name": "scratch", "emptyDir": map[string]any{}}}),
			set(first+"volumeMounts", []any{map[string]any{"name": "scratch", "mountPath": "/work/"}, map[string]any{"name": "scratch", "mountPath": "/etc/app.d/..data"}}))),
		"a request's Job with a group, a grace and a deadline of its own": w.made(agent, w.job0("q", set(pod+"securityContext", map[string]any{"fsGroup": 1000}),
			set(pod+"terminationGracePeriodSeconds", 5), set(pod+"activeDeadlineSeconds", 600), set("spec.activeDeadlineSeconds", 900))),
		"a request's Job that is kept for a while": w.made(agent, w.job0("q", set("spec.ttlSecondsAfterFinished", 600))),
		"a request's Job is deleted":               w.removed(agent, "Job", "valetkey-"+waiting, metav1.DeletePropagationBackground),
		"a debug container in another Pod": func(ctx context.Context) error {
			return debugs(`"envFrom":[{"secretRef":{"name":"ordinary"}}]`)(ctx, w, mallory)
		},
		"a label on another Pod by its status": func(ctx context.Context) error {
			return offDuty(patches("Pod", "foreign", "status", `{"metadata":{"labels":{"a":"b"},"annotations":{"c":"d"}}}`))(ctx, w, mallory)
		},
		"a Pod bound with a note of its scheduler": func(ctx context.Context) error {
			return binds(func(*world) string { return "foreign" }, "pods", []string{"binding"}, label("metadata.annotations", "example.com/a", "b"))(ctx, w, mallory)
		},
		"the operator removes what is left in a namespace that is no longer enrolled": func(ctx context.Context) error { return w.leftover(ctx) },
	}
}

// leftover sees the operator delete a grant's Secret outside any enrolled namespace, and not get it handed back.
func (w *world) leftover(ctx context.Context) error {
	const name = "valetkey-left-1"
	if err := w.stored(ctx, kinds["Secret"], w.secret0(name, "valetkey.dev/credential", set("metadata.namespace", plain), set("stringData", map[string]any{"a": "canary"}))); err != nil {
		return err
	}
	background := metav1.DeletePropagationBackground
	answer := &unstructured.Unstructured{}
	clients := kubernetes.NewForConfigOrDie(w.configs[operator])
	text, err := clients.CoreV1().RESTClient().Delete().Namespace(plain).Resource("secrets").Name(name).Body(&metav1.DeleteOptions{PropagationPolicy: &background}).Do(ctx).Raw()
	if err != nil {
		return err
	}
	if err := answer.UnmarshalJSON(text); err != nil {
		return err
	}
	if answer.GetKind() != "Status" {
		return errors.New("the deletion handed back " + answer.GetKind())
	}
	if _, err = w.clients[admin].Resource(kinds["Secret"]).Namespace(plain).Get(ctx, name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		return fmt.Errorf("it is still there: %w", err)
	}
	return nil
}
