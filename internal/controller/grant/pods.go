// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/controller/stored"
)

// releasePods lets the grant's Pods go that have ended.
func (c *Controller) releasePods(ctx context.Context, g *v1alpha1.CapabilityGrant, mem *memory) error {
	released, err := c.letGo(ctx, client.ObjectKey{Namespace: g.Namespace, Name: g.Spec.RequestRef.Name}, func(pod *corev1.Pod) bool {
		return pod.Annotations[v1alpha1.AnnotationGrant] == string(g.UID)
	})
	for _, uid := range released {
		mem.released = remembered(mem.released, uid, true)
	}
	return err
}

// releaseOrphans lets the Pods of a request go that have ended and whose grant is not there any more.
func (c *Controller) releaseOrphans(ctx context.Context, request client.ObjectKey) error {
	_, err := c.letGo(ctx, request, func(*corev1.Pod) bool { return true })
	return err
}

// letGo takes the finalizer off the ended Pods of a request, and returns their UIDs. A Pod that was changed meanwhile comes back by the
// watch.
func (c *Controller) letGo(ctx context.Context, request client.ObjectKey, mine func(*corev1.Pod) bool) ([]types.UID, error) {
	list := &corev1.PodList{}
	err := c.Client.List(ctx, list, client.InNamespace(request.Namespace), client.MatchingFields{PodRequestField: request.Name})
	if err != nil {
		return nil, fmt.Errorf("listing the Job's Pods: %w", err)
	}
	var released []types.UID
	var errs error
	for i := range list.Items {
		pod := &list.Items[i]
		if !mine(pod) || !containersEnded(pod) || !controllerutil.ContainsFinalizer(pod, v1alpha1.FinalizerSeen) {
			continue
		}
		switch err := stored.Release(ctx, c.Client, pod, v1alpha1.FinalizerSeen); {
		case err == nil || apierrors.IsNotFound(err):
			released = append(released, pod.UID)
		case !stored.Moved(ctx, c.Live, pod, func(now *corev1.Pod) bool { return !slices.Equal(now.Finalizers, pod.Finalizers) }):
			errs = errors.Join(errs, fmt.Errorf("letting Pod %s go: %w", pod.Name, err))
		}
	}
	return released, errs
}
