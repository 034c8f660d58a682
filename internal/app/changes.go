// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package app

import (
	"context"
	"maps"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/controller/observe"
	"github.com/valetkey/valetkey/internal/guard"
	"github.com/valetkey/valetkey/internal/provider"
)

// gathering is how long changes of one namespace are gathered before what depends on them is looked at again. The first
// is followed at once.
const gathering = time.Second

// onCatalogue looks again at what waits, or lives, whenever something that a decision depends on changes. whom lists what
// a change in a namespace, or one of no namespace, can be about.
func onCatalogue(b *builder.Builder, clock clock.PassiveClock, world *observe.World, whom func(ctx context.Context, namespace string) []reconcile.Request) *builder.Builder {
	for _, kind := range guard.Kinds() {
		// When such an object was written counts, and not only what it says.
		b = b.Watches(kind, gather(clock, world, whom))
	}
	depends := []client.Object{&v1alpha1.CapabilityPolicy{}, &v1alpha1.Capability{}, &v1alpha1.CapabilityProvider{}, &corev1.Namespace{}}
	for _, kind := range append(depends, rightsKinds()...) {
		b = b.Watches(kind, gather(clock, world, whom), builder.WithPredicates(saysSomethingElse()))
	}
	return b
}

// saysSomethingElse lets through no update of what nobody decides by: whoever may write notes of an object can do that
// for ever.
func saysSomethingElse() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		return !equality.Semantic.DeepEqual(said(e.ObjectOld), said(e.ObjectNew))
	}}
}

// said is what an object says: all but its version, notes that are none of Valetkey's, and what the operator itself says
// of a policy.
func said(object client.Object) client.Object {
	said := object.DeepCopyObject().(client.Object)
	if p, is := said.(*v1alpha1.CapabilityPolicy); is {
		p.Status = v1alpha1.CapabilityPolicyStatus{}
	}
	said.SetResourceVersion("")
	said.SetManagedFields(nil)
	notes := said.GetAnnotations()
	maps.DeleteFunc(notes, func(key, _ string) bool { return !strings.HasPrefix(key, v1alpha1.GroupVersion.Group+"/") })
	said.SetAnnotations(notes)
	return said
}

// gatherer brings back what depends on what was changed: at once after a first change in a namespace, and once after all
// that follow it in the next second.
type gatherer struct {
	clock clock.PassiveClock
	world *observe.World
	whom  func(ctx context.Context, namespace string) []reconcile.Request

	mu      sync.Mutex
	windows map[string]window
}

// window is a time in which changes of a namespace are gathered. More is set once there are some: they are looked at
// when it is over.
type window struct {
	until time.Time
	more  bool
}

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// ordered is what a controller's queue is.
type ordered = priorityqueue.PriorityQueue[reconcile.Request]

// relook is the priority of what nobody has asked for: looking at all that waits, or lives, takes a while, and few workers (see package
// fairqueue).
const relook = -1

func gather(clock clock.PassiveClock, world *observe.World, whom func(ctx context.Context, namespace string) []reconcile.Request) handler.EventHandler {
	g := &gatherer{clock: clock, world: world, whom: whom, windows: map[string]window{}}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) { g.changed(ctx, e.Object, q) },
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) { g.changed(ctx, e.ObjectNew, q) },
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) { g.changed(ctx, e.Object, q) },
	}
}

func (g *gatherer) changed(ctx context.Context, object client.Object, q queue) {
	namespace := object.GetNamespace()
	if ns, is := object.(*corev1.Namespace); is {
		namespace = ns.Name
	}
	g.world.Changed(namespace)
	switch after, begins := g.wait(namespace); {
	case after == 0:
		g.look(ctx, namespace, q)
	case begins:
		later := context.WithoutCancel(ctx) // a handler's context is over when the handler is
		time.AfterFunc(after, func() { g.look(later, namespace, q) })
	}
}

// look brings back what a change in a namespace can be about by now.
func (g *gatherer) look(ctx context.Context, namespace string, q queue) {
	for _, key := range g.whom(ctx, namespace) {
		q.(ordered).AddWithOpts(priorityqueue.AddOpts{Priority: ptr.To(relook)}, key)
	}
}

// wait is how long to wait before what depends on a change is looked at, and whether nobody waits for that yet.
func (g *gatherer) wait(namespace string) (after time.Duration, begins bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.clock.Now()
	maps.DeleteFunc(g.windows, func(_ string, w window) bool { return !now.Before(w.until.Add(gathering)) }) // namespaces come and go
	w := g.windows[namespace]
	if w.more && !now.Before(w.until) {
		w = window{until: w.until.Add(gathering)} // what was gathered was looked at when the window was over: the next began
	}
	if !now.Before(w.until) {
		g.windows[namespace] = window{until: now.Add(gathering)}
		return 0, false
	}
	g.windows[namespace] = window{until: w.until, more: true}
	return w.until.Sub(now), !w.more
}

// rightsKinds are what says who may do what in the cluster.
func rightsKinds() []client.Object {
	return []client.Object{&rbacv1.Role{}, &rbacv1.RoleBinding{}, &rbacv1.ClusterRole{}, &rbacv1.ClusterRoleBinding{}}
}

// waitingRequests are those that a change in a namespace can be about: its own, and those for capabilities whose rights
// are the cluster's, wherever they are. Without a namespace, it can be about all.
func waitingRequests(reader client.Reader) func(context.Context, string) []reconcile.Request {
	return func(ctx context.Context, namespace string) []reconcile.Request {
		list := &v1alpha1.CapabilityRequestList{}
		if err := reader.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
			return nil
		}
		ofTheCluster := map[string]bool{}
		for _, c := range everyCapability(reader, isOfTheCluster)(ctx, namespace) {
			ofTheCluster[c.Name] = true
		}
		var keys []reconcile.Request
		for i := range list.Items {
			r := &list.Items[i]
			about := namespace == "" || r.Namespace == namespace || ofTheCluster[r.Spec.Capability]
			if about && r.Status.EndedAt == nil && r.Status.GrantName == "" {
				keys = append(keys, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(r)})
			}
		}
		return keys
	}
}

// livingGrants are those that a change in a namespace can be about.
func livingGrants(reader client.Reader) func(context.Context, string) []reconcile.Request {
	return func(ctx context.Context, namespace string) []reconcile.Request {
		list := &v1alpha1.CapabilityGrantList{}
		if err := reader.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
			return nil
		}
		var keys []reconcile.Request
		for i := range list.Items {
			g := &list.Items[i]
			about := namespace == "" || g.Namespace == namespace || g.Spec.Provider.Type == provider.TypeKubernetes
			if about && g.Status.EndedAt == nil {
				keys = append(keys, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(g)})
			}
		}
		return keys
	}
}

// everyCapability are those that a change can be about, wherever it is.
func everyCapability(reader client.Reader, about func(*v1alpha1.Capability) bool) func(context.Context, string) []reconcile.Request {
	return func(ctx context.Context, _ string) []reconcile.Request {
		list := &v1alpha1.CapabilityList{}
		if err := reader.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
			return nil
		}
		keys := make([]reconcile.Request, 0, len(list.Items))
		for i := range list.Items {
			if about(&list.Items[i]) {
				keys = append(keys, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
			}
		}
		return keys
	}
}

// isOfTheCluster: what the capability gives are rights of the cluster itself.
func isOfTheCluster(c *v1alpha1.Capability) bool { return c.Spec.Kubernetes != nil }
