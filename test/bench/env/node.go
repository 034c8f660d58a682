// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/controller/stored"
)

// kubeletPatience is how a kubelet goes on trying: the API server learns only after a while that a Pod is on its node.
func kubeletPatience() wait.Backoff {
	return wait.Backoff{Duration: 10 * time.Millisecond, Factor: 1.5, Steps: 15}
}

// RunPod binds a Pod and reports that it runs, as the scheduler and a kubelet do.
func (e *Env) RunPod(ctx context.Context, name string) error {
	binding := &corev1.Binding{ObjectMeta: Meta(name), Target: corev1.ObjectReference{Kind: "Node", Name: node}}
	err := e.Clients.CoreV1().Pods(Namespace).Bind(ctx, binding, metav1.CreateOptions{})
	if err != nil && !apierrors.IsConflict(err) { // a conflict: it is bound already
		return err
	}
	return e.reportPod(ctx, name, corev1.PodRunning)
}

// FinishPod reports that a Pod's containers have ended well.
func (e *Env) FinishPod(ctx context.Context, name string) error {
	return e.reportPod(ctx, name, corev1.PodSucceeded)
}

func (e *Env) reportPod(ctx context.Context, name string, phase corev1.PodPhase) error {
	passing := func(err error) bool { return apierrors.IsConflict(err) || apierrors.IsForbidden(err) }
	return retry.OnError(kubeletPatience(), passing, func() error {
		pod := &corev1.Pod{ObjectMeta: Meta(name)}
		if err := e.kubelet.Get(ctx, client.ObjectKeyFromObject(pod), pod); err != nil {
			return err
		}
		now := metav1.Now()
		pod.Status.Phase, pod.Status.ContainerStatuses = phase, nil
		if pod.Status.StartTime == nil {
			pod.Status.StartTime = &now
		}
		for _, c := range pod.Spec.Containers {
			pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, corev1.ContainerStatus{Name: c.Name, Image: c.Image, State: stateIn(phase, now)})
		}
		return e.kubelet.Status().Update(ctx, pod)
	})
}

func stateIn(phase corev1.PodPhase, now metav1.Time) corev1.ContainerState {
	if phase == corev1.PodSucceeded {
		return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{FinishedAt: now}}
	}
	return corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}}
}

// RemovePod removes a Pod that no operator releases. It takes the operator's finalizer off alone: the job-controller's is the job-controller's.
func (e *Env) RemovePod(ctx context.Context, name string) error {
	pod := &corev1.Pod{ObjectMeta: Meta(name)}
	if err := client.IgnoreNotFound(e.Admin.Delete(ctx, pod, client.GracePeriodSeconds(0))); err != nil {
		return err
	}
	err := retry.OnError(kubeletPatience(), apierrors.IsInvalid, func() error {
		if err := e.Admin.Get(ctx, client.ObjectKeyFromObject(pod), pod); err != nil {
			return err
		}
		return stored.Release(ctx, e.AsOperator, pod, v1alpha1.FinalizerSeen)
	})
	return client.IgnoreNotFound(err)
}
