// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package inuse marks the namespaces in which grants live. The admission rules keep the protection of a marked namespace as it is.
package inuse

import (
	"context"
	"fmt"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/live"
)

// Marks marks namespaces, and counts how often. A mark that is there already is no new version of its namespace, by which somebody who is
// about to remove it would notice it. Its zero value is ready to use, and safe for concurrent use; a process has one.
type Marks struct {
	mu   sync.Mutex
	made map[string]int
}

// Mark marks a namespace, before a grant is created in it: between the two nobody could know the names of what the grant will make.
// It returns the namespace as the API server then has it, for the caller to see whether it is protected.
func (m *Marks) Mark(ctx context.Context, writer client.Writer, name string) (*corev1.Namespace, error) {
	m.mu.Lock()
	if m.made == nil {
		m.made = map[string]int{}
	}
	m.made[name]++
	m.mu.Unlock()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	// It is written in any case, for a cache may show a mark that was just removed. The API server stores nothing if it is there.
	mark := fmt.Appendf(nil, `{"metadata":{"labels":{%q:"true"}}}`, v1alpha1.LabelInUse)
	if err := writer.Patch(ctx, ns, client.RawPatch(types.MergePatchType, mark)); err != nil {
		return nil, fmt.Errorf("marking namespace %s: %w", name, err)
	}
	return ns, nil
}

// of is how often a namespace was marked.
func (m *Marks) of(name string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.made[name]
}

// Controller removes the mark from namespaces in which nothing lives any more, and restores it where a grant lives.
type Controller struct {
	// Client writes; it reads from the cache.
	Client client.Client
	// Live reads past the cache.
	Live *live.Reader
	// Marks are those of this process.
	Marks *Marks
	// Held has a namespace count as used until its grants are let go: where the operator's rights are the namespace's own, they go with
	// the mark, and without them nobody would let go of what is left.
	Held bool
}

// Reconcile looks at one namespace.
func (c *Controller) Reconcile(ctx context.Context, key ctrl.Request) (ctrl.Result, error) {
	ns := &corev1.Namespace{}
	if err := c.Client.Get(ctx, key.NamespacedName, ns); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if _, marked := ns.Labels[v1alpha1.LabelInUse]; !marked {
		return ctrl.Result{}, c.restore(ctx, ns.Name)
	}
	before := c.Marks.of(ns.Name)
	for _, each := range []lister{c.cached, c.Live.Each} {
		if used, err := c.lives(ctx, each, ns.Name); used || err != nil {
			return ctrl.Result{}, err
		}
	}
	return ctrl.Result{}, c.unmark(ctx, ns, before)
}

// unmark removes the mark, unless somebody has written the namespace since it was read, or it was marked once more than before. What was
// asked for in the same instant, and found the mark still there, gets it back.
func (c *Controller) unmark(ctx context.Context, ns *corev1.Namespace, before int) error {
	if c.Marks.of(ns.Name) != before {
		return nil // The grant that it was marked for brings it back here.
	}
	changed := ns.DeepCopy()
	delete(changed.Labels, v1alpha1.LabelInUse)
	patch := client.MergeFromWithOptions(ns, client.MergeFromWithOptimisticLock{})
	if err := c.Client.Patch(ctx, changed, patch); err != nil {
		if client.IgnoreNotFound(err) == nil {
			return nil
		}
		return fmt.Errorf("removing the mark of namespace %s: %w", ns.Name, err)
	}
	used, err := c.Marks.of(ns.Name) != before, error(nil)
	if !used {
		used, err = c.lives(ctx, c.Live.Each, ns.Name)
	}
	if used {
		_, err = c.Marks.Mark(ctx, c.Client, ns.Name)
	}
	return err
}

// restore marks a namespace in which a grant lives, whoever took the mark away.
func (c *Controller) restore(ctx context.Context, namespace string) error {
	used, err := c.granted(ctx, c.cached, namespace)
	if used {
		_, err = c.Marks.Mark(ctx, c.Client, namespace)
	}
	return err
}

// lister calls visit with each object of a list, until visit returns false.
type lister func(ctx context.Context, list client.ObjectList, visit func(client.Object) bool, opts ...client.ListOption) error

// cached is a lister of what the cache shows. What it visits is not to be changed.
func (c *Controller) cached(ctx context.Context, list client.ObjectList, visit func(client.Object) bool, opts ...client.ListOption) error {
	if err := c.Client.List(ctx, list, append(opts, client.UnsafeDisableDeepCopy)...); err != nil {
		return err
	}
	more := true
	return meta.EachListItem(list, func(item runtime.Object) error {
		more = more && visit(item.(client.Object))
		return nil
	})
}

// lives reports whether a request or a grant of a namespace has not ended. Requests are read first: a grant is made while its request
// lives, so that what is gone from the first list is in the second, if it was granted.
func (c *Controller) lives(ctx context.Context, each lister, namespace string) (bool, error) {
	found := false
	err := each(ctx, &v1alpha1.CapabilityRequestList{}, func(o client.Object) bool {
		found = o.(*v1alpha1.CapabilityRequest).Status.EndedAt == nil
		return !found
	}, client.InNamespace(namespace))
	if found || err != nil {
		return found, err
	}
	return c.granted(ctx, each, namespace)
}

// granted reports whether a grant of a namespace has not ended, or is held.
func (c *Controller) granted(ctx context.Context, each lister, namespace string) (bool, error) {
	found := false
	err := each(ctx, &v1alpha1.CapabilityGrantList{}, func(o client.Object) bool {
		g := o.(*v1alpha1.CapabilityGrant)
		found = g.Status.EndedAt == nil || c.Held && slices.Contains(g.Finalizers, v1alpha1.FinalizerRevoke)
		return !found
	}, client.InNamespace(namespace))
	return found, err
}
