// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// NamespaceController removes the mark from namespaces in which no grant lives any more. Setting it is part of issuing.
type NamespaceController struct {
	// Client writes; it reads from the cache.
	Client client.Client
}

// Reconcile looks at one namespace.
func (c *NamespaceController) Reconcile(ctx context.Context, key ctrl.Request) (ctrl.Result, error) {
	ns := &corev1.Namespace{}
	if err := c.Client.Get(ctx, key.NamespacedName, ns); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	grants := &v1alpha1.CapabilityGrantList{}
	if err := c.Client.List(ctx, grants, client.InNamespace(ns.Name), client.UnsafeDisableDeepCopy); err != nil {
		return ctrl.Result{}, err
	}
	for i := range grants.Items {
		if grants.Items[i].Status.EndedAt == nil {
			return ctrl.Result{}, nil
		}
	}
	return ctrl.Result{}, client.IgnoreNotFound(setInUse(ctx, c.Client, ns, false))
}

func setInUse(ctx context.Context, writer client.Writer, ns *corev1.Namespace, inUse bool) error {
	if _, marked := ns.Labels[v1alpha1.LabelInUse]; marked == inUse {
		return nil
	}
	changed := ns.DeepCopy()
	if inUse {
		if changed.Labels == nil {
			changed.Labels = map[string]string{}
		}
		changed.Labels[v1alpha1.LabelInUse] = "true"
	} else {
		delete(changed.Labels, v1alpha1.LabelInUse)
	}
	if err := writer.Patch(ctx, changed, client.MergeFrom(ns)); err != nil {
		return fmt.Errorf("marking namespace %s: %w", ns.Name, err)
	}
	return nil
}
