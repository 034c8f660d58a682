// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package integration

import (
	"context"
	"fmt"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// node is the name of the node that is played.
const node = "node1"

// playNode plays the scheduler, as the administrator, and the kubelet, with a node's certificate: a Pod is bound and runs until a
// test says that it has ended, its deadline is over, or it is deleted.
func (w *world) playNode(ctx context.Context) error {
	if err := w.admin.Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}}); err != nil {
		return err
	}
	clients, err := kubernetes.NewForConfig(w.adminConfig)
	if err != nil {
		return err
	}
	see := func(object any) {
		if err := w.seePod(ctx, clients, object.(*corev1.Pod)); client.IgnoreNotFound(err) != nil && !apierrors.IsConflict(err) && ctx.Err() == nil {
			fmt.Fprintln(os.Stderr, "the played node:", err)
		}
	}
	source := cache.NewFilteredListWatchFromClient(clients.CoreV1().RESTClient(), "pods", metav1.NamespaceAll, func(o *metav1.ListOptions) {
		o.LabelSelector = v1alpha1.LabelRequest
	})
	// A Pod whose step failed while the API server was away has no event of its own that would bring it back.
	_, informer := cache.NewInformerWithOptions(cache.InformerOptions{ListerWatcher: source, ObjectType: &corev1.Pod{}, ResyncPeriod: time.Second,
		Handler: cache.ResourceEventHandlerFuncs{AddFunc: see, UpdateFunc: func(_, object any) { see(object) }}})
	go informer.RunWithContext(ctx)
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		return ctx.Err()
	}
	return nil
}

// seePod does the next thing that a scheduler or a kubelet does for a Pod.
func (w *world) seePod(ctx context.Context, clients kubernetes.Interface, pod *corev1.Pod) error {
	switch {
	case pod.Spec.NodeName == "" && pod.DeletionTimestamp == nil:
		return clients.CoreV1().Pods(pod.Namespace).Bind(ctx, &corev1.Binding{
			ObjectMeta: metav1.ObjectMeta{Name: pod.Name, UID: pod.UID}, Target: corev1.ObjectReference{Kind: "Node", Name: node}}, metav1.CreateOptions{})
	case pod.Spec.NodeName == "":
		return nil
	case pod.DeletionTimestamp != nil && !over(pod):
		return w.report(ctx, pod, corev1.PodFailed, "")
	case pod.DeletionTimestamp != nil:
		now := int64(0)
		return w.kubelet.Delete(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name}},
			&client.DeleteOptions{GracePeriodSeconds: &now, Preconditions: &metav1.Preconditions{UID: &pod.UID}})
	case pod.Status.StartTime == nil:
		return w.run(ctx, pod)
	}
	return nil
}

func over(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// run reports that the containers run, and ends them at the Pod's deadline.
func (w *world) run(ctx context.Context, pod *corev1.Pod) error {
	if err := w.report(ctx, pod, corev1.PodRunning, ""); err != nil {
		return err
	}
	if seconds := pod.Spec.ActiveDeadlineSeconds; seconds != nil {
		time.AfterFunc(time.Duration(*seconds)*time.Second, func() {
			_ = w.report(ctx, pod, corev1.PodFailed, "DeadlineExceeded") // it may have gone meanwhile
		})
	}
	return nil
}

// patiently is how a kubelet goes on trying: the API server learns only after a while that a Pod is on its node.
var patiently = wait.Backoff{Duration: 10 * time.Millisecond, Factor: 1.5, Steps: 15}

func passing(err error) bool { return apierrors.IsConflict(err) || apierrors.IsForbidden(err) }

// report writes a Pod's status as the kubelet does: of the Pod as it is stored now.
func (w *world) report(ctx context.Context, pod *corev1.Pod, phase corev1.PodPhase, reason string) error {
	return retry.OnError(patiently, passing, func() error {
		stored := &corev1.Pod{}
		if err := w.kubelet.Get(ctx, client.ObjectKeyFromObject(pod), stored); err != nil {
			return err
		}
		if stored.UID != pod.UID || over(stored) {
			return nil
		}
		now := metav1.Now()
		stored.Status.Phase, stored.Status.Reason = phase, reason
		if stored.Status.StartTime == nil {
			stored.Status.StartTime = &now
		}
		stored.Status.ContainerStatuses = nil
		for _, c := range stored.Spec.Containers {
			stored.Status.ContainerStatuses = append(stored.Status.ContainerStatuses, corev1.ContainerStatus{Name: c.Name, Image: c.Image, State: state(phase, now)})
		}
		return w.kubelet.Status().Update(ctx, stored)
	})
}

func state(phase corev1.PodPhase, now metav1.Time) corev1.ContainerState {
	switch phase {
	case corev1.PodRunning:
		return corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}}
	case corev1.PodSucceeded:
		return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{FinishedAt: now}}
	default:
		return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1, FinishedAt: now}}
	}
}
