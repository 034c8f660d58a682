// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package kubernetes_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// revival is a write that has the real controllers run a Pod template of the ServiceAccount powerful, which the
// paused Deployment has no more.
type revival struct {
	name string
	rule rbacv1.PolicyRule
	// write is sent by whoever holds the right, about the Deployment's newest and its older ReplicaSet.
	write func(ctx context.Context, i *holder, newest, older string) error
}

func revivals() []revival {
	patch := func(ctx context.Context, i *holder, name, subresource, body string) error {
		return i.api().AppsV1().RESTClient().Patch(types.MergePatchType).Namespace("web").Resource("replicasets").Name(name).
			SubResource(subresource).Body([]byte(body)).Do(ctx).Error()
	}
	return []revival{
		{"the newest ReplicaSet is deleted", may("delete", "apps", "replicasets"),
			func(ctx context.Context, i *holder, newest, _ string) error {
				return i.api().AppsV1().ReplicaSets("web").Delete(ctx, newest, metav1.DeleteOptions{})
			}},
		{"the newest ReplicaSet loses its label by its status", may("patch", "apps", "replicasets/status"),
			func(ctx context.Context, i *holder, newest, _ string) error {
				return patch(ctx, i, newest, "status", `{"metadata":{"labels":{"app":null}}}`)
			}},
		{"the older ReplicaSet is scaled", may("patch", "apps", "replicasets/scale"),
			func(ctx context.Context, i *holder, _, older string) error {
				return patch(ctx, i, older, "scale", `{"spec":{"replicas":1}}`)
			}},
		{"the newest ReplicaSet is deleted with all that have its hash", may("deletecollection", "apps", "replicasets"),
			func(ctx context.Context, i *holder, newest, _ string) error {
				hash := newest[strings.LastIndex(newest, "-")+1:]
				return i.api().AppsV1().ReplicaSets("web").DeleteCollection(ctx, metav1.DeleteOptions{},
					metav1.ListOptions{LabelSelector: appsv1.DefaultDeploymentUniqueLabelKey + "=" + hash})
			}},
	}
}

// TestRights_OlderPodTemplatesAreRunByWhatIsRefused shows of each write that the controllers of Kubernetes run an older
// Pod template for it, and that Disruption does not cover it.
func TestRights_OlderPodTemplatesAreRunByWhatIsRefused(t *testing.T) {
	w := newRealWorld(t)
	_, err := w.admin.CoreV1().ServiceAccounts("web").Create(t.Context(),
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "powerful"}}, metav1.CreateOptions{})
	w.must(t, err)
	for n, r := range revivals() {
		t.Run(r.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			i := w.holder(t, fmt.Sprintf("reviver-%d", n), false, nil, r.rule)
			err := w.ready(t, i.name, v1alpha1.AcceptDisruption)
			if err == nil || !strings.HasSuffix(err.Error(), "narrow it, or accept Escalation") {
				t.Errorf("Disruption covers it, or something else is refused: %v", err)
			}
			newest, older := w.rolledOut(ctx, t, i.name)
			w.must(t, r.write(ctx, i, newest, older))
			if err := w.untilPods(ctx, i.name, func(accounts []string) bool {
				return slices.Contains(accounts, "powerful")
			}); err != nil {
				t.Errorf("it leads to nothing: %v", err)
			}
		})
	}
}

// rolledOut makes a Deployment whose first Pod template ran as powerful, and whose second runs as nobody in particular;
// then it is paused. It returns the ReplicaSets of the second and of the first.
func (w *realWorld) rolledOut(ctx context.Context, t *testing.T, name string) (newest, older string) {
	t.Helper()
	labels, all := map[string]string{"app": name}, intstr.FromString("100%")
	deployments := w.admin.AppsV1().Deployments("web")
	_, err := deployments.Create(ctx, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			// There is no kubelet, so no Pod is ever ready.
			Strategy: appsv1.DeploymentStrategy{RollingUpdate: &appsv1.RollingUpdateDeployment{MaxUnavailable: &all}},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{ServiceAccountName: "powerful",
					Containers: []corev1.Container{{Name: "main", Image: "example.com/shop"}}}}}}, metav1.CreateOptions{})
	w.must(t, err)
	w.must(t, w.untilPods(ctx, name, func(a []string) bool { return slices.Equal(a, []string{"powerful"}) }))
	older = w.replicaSet(ctx, t, name, "")
	patch := func(body string) {
		_, err := deployments.Patch(ctx, name, types.StrategicMergePatchType, []byte(body), metav1.PatchOptions{})
		w.must(t, err)
	}
	patch(`{"spec":{"template":{"spec":{"serviceAccountName":"default"}}}}`)
	w.must(t, w.untilPods(ctx, name, func(a []string) bool { return slices.Equal(a, []string{"default"}) }))
	patch(`{"spec":{"paused":true}}`)
	return w.replicaSet(ctx, t, name, older), older
}

// replicaSet is the name of the Deployment's ReplicaSet that is not this one.
func (w *realWorld) replicaSet(ctx context.Context, t *testing.T, app, but string) string {
	t.Helper()
	sets, err := w.admin.AppsV1().ReplicaSets("web").List(ctx, metav1.ListOptions{LabelSelector: "app=" + app})
	w.must(t, err)
	for _, set := range sets.Items {
		if set.Name != but {
			return set.Name
		}
	}
	t.Fatalf("%s has no other ReplicaSet than %q", app, but)
	return ""
}

// untilPods waits until the ServiceAccounts of the Deployment's Pods are enough.
func (w *realWorld) untilPods(ctx context.Context, app string, enough func(accounts []string) bool) error {
	events, err := w.admin.CoreV1().Pods("web").Watch(ctx, metav1.ListOptions{LabelSelector: "app=" + app})
	if err != nil {
		return err
	}
	defer events.Stop()
	accounts := map[string]string{}
	for event := range events.ResultChan() {
		pod, is := event.Object.(*corev1.Pod)
		if !is {
			return fmt.Errorf("the API server sent %T", event.Object)
		}
		accounts[pod.Name] = pod.Spec.ServiceAccountName
		if event.Type == watch.Deleted {
			delete(accounts, pod.Name)
		}
		if enough(slices.Sorted(maps.Values(accounts))) {
			return nil
		}
	}
	return fmt.Errorf("the Pods still run as %v: %w", slices.Sorted(maps.Values(accounts)), ctx.Err())
}
