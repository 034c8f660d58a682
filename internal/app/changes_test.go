// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package app

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/clock"
	testingclock "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/controller/observe"
	"github.com/valetkey/valetkey/internal/provider"
)

func TestChanges_NotesOfOthersBringNothingBack(t *testing.T) {
	now := metav1.NewTime(time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC))
	for name, tt := range map[string]struct {
		object client.Object
		change func(client.Object)
		says   bool
	}{
		"a note of a binding":    {&rbacv1.RoleBinding{}, func(o client.Object) { o.SetAnnotations(map[string]string{"x": "1"}) }, false},
		"its managers":           {&rbacv1.RoleBinding{}, func(o client.Object) { o.SetManagedFields([]metav1.ManagedFieldsEntry{{Manager: "x"}}) }, false},
		"its version":            {&rbacv1.RoleBinding{}, func(o client.Object) { o.SetResourceVersion("2") }, false},
		"its subjects":           {&rbacv1.RoleBinding{}, func(o client.Object) { o.(*rbacv1.RoleBinding).Subjects = []rbacv1.Subject{{Name: "x"}} }, true},
		"a role's rules":         {&rbacv1.Role{}, func(o client.Object) { o.(*rbacv1.Role).Rules = []rbacv1.PolicyRule{{Verbs: []string{"get"}}} }, true},
		"a note of a namespace":  {&corev1.Namespace{}, func(o client.Object) { o.SetAnnotations(map[string]string{"x": "1"}) }, false},
		"a note of ours":         {&corev1.Namespace{}, func(o client.Object) { o.SetAnnotations(map[string]string{"valetkey.dev/in-use": ""}) }, true},
		"its labels":             {&corev1.Namespace{}, func(o client.Object) { o.SetLabels(map[string]string{"valetkey.dev/enrolled": "true"}) }, true},
		"its deletion":           {&corev1.Namespace{}, func(o client.Object) { o.SetDeletionTimestamp(&now) }, true},
		"the status of a policy": {&v1alpha1.CapabilityPolicy{}, func(o client.Object) { o.(*v1alpha1.CapabilityPolicy).Status.ObservedGeneration = 1 }, false},
		"its spec":               {&v1alpha1.CapabilityPolicy{}, func(o client.Object) { o.(*v1alpha1.CapabilityPolicy).Spec.Effect = v1alpha1.EffectDeny }, true},
		"the status of a capability": {&v1alpha1.Capability{}, func(o client.Object) {
			o.(*v1alpha1.Capability).Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady}}
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			after := tt.object.DeepCopyObject().(client.Object)
			tt.change(after)
			if says := saysSomethingElse().Update(event.UpdateEvent{ObjectOld: tt.object, ObjectNew: after}); says != tt.says {
				t.Errorf("something is looked at again: %t", says)
			}
		})
	}
}

// looked is a queue that notes what is added to it.
type looked struct {
	ordered
	begun time.Time
	mu    sync.Mutex
	added []string
}

func (q *looked) AddWithOpts(o priorityqueue.AddOpts, items ...reconcile.Request) {
	q.mu.Lock()
	defer q.mu.Unlock()
	one := fmt.Sprintf("%s at %s", items[0], time.Since(q.begun)+o.After)
	if ptr.Deref(o.Priority, 0) != relook {
		one += " before others"
	}
	q.added = append(q.added, one)
}

// TestChanges_FindWhatHasComeToBeSince: what is waited for may come in the same second as what waits for it.
func TestChanges_FindWhatHasComeToBeSince(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &looked{begun: time.Now()}
		waiting := []reconcile.Request{{NamespacedName: client.ObjectKey{Name: "early"}}}
		handler := gather(clock.RealClock{}, &observe.World{}, func(ctx context.Context, _ string) []reconcile.Request {
			if ctx.Err() != nil {
				return nil // as a cache answers
			}
			return waiting
		})
		for _, late := range []bool{false, false, true} {
			if late {
				waiting = append(waiting, reconcile.Request{NamespacedName: client.ObjectKey{Name: "late"}})
			}
			ctx, over := context.WithCancel(t.Context())
			handler.Update(ctx, event.UpdateEvent{ObjectNew: &v1alpha1.CapabilityProvider{}}, q)
			over() // as controller-runtime has it
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(gathering)
		if want := []string{"/early at 0s", "/early at 1s", "/late at 1s"}; !slices.Equal(q.added, want) {
			t.Errorf("looked at %q, want %q", q.added, want)
		}
	})
}

func TestChanges_ManyInASecondAreLookedAtTwice(t *testing.T) {
	for name, tt := range map[string]struct {
		// changes are the milliseconds after which something changes, by namespace.
		changes []string
		want    []string
	}{
		"one":                     {[]string{"a 0"}, []string{"a/ at 0s"}},
		"two":                     {[]string{"a 0", "a 100"}, []string{"a/ at 0s", "a/ at 1s"}},
		"many":                    {[]string{"a 0", "a 100", "a 200", "a 900"}, []string{"a/ at 0s", "a/ at 1s"}},
		"one after a while":       {[]string{"a 0", "a 1000", "a 5000"}, []string{"a/ at 0s", "a/ at 1s", "a/ at 5s"}},
		"without an end":          {[]string{"a 0", "a 500", "a 1500", "a 1600", "a 2500"}, []string{"a/ at 0s", "a/ at 1s", "a/ at 2s", "a/ at 3s"}},
		"long after many":         {[]string{"a 0", "a 500", "a 9000"}, []string{"a/ at 0s", "a/ at 1s", "a/ at 9s"}},
		"in another's namespace":  {[]string{"a 0", "a 100", "b 200"}, []string{"a/ at 0s", "b/ at 200ms", "a/ at 1s"}},
		"of no namespace, of all": {[]string{"- 0"}, []string{"/ at 0s"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q, asked := &looked{begun: time.Now()}, atomic.Int32{}
				handler := gather(clock.RealClock{}, &observe.World{}, func(_ context.Context, namespace string) []reconcile.Request {
					asked.Add(1)
					return []reconcile.Request{{NamespacedName: client.ObjectKey{Namespace: namespace}}}
				})
				for _, change := range tt.changes {
					namespace, at := "", 0
					if _, err := fmt.Sscanf(change, "%s %d", &namespace, &at); err != nil {
						t.Fatal(err)
					}
					time.Sleep(time.Until(q.begun.Add(time.Duration(at) * time.Millisecond)))
					synctest.Wait() // what is due by then was looked at
					object := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: namespace}}
					if namespace == "-" {
						object.Namespace = ""
					}
					handler.Update(t.Context(), event.UpdateEvent{ObjectNew: object}, q)
				}
				time.Sleep(2 * gathering)
				if !slices.Equal(q.added, tt.want) {
					t.Errorf("looked at %q, want %q", q.added, tt.want)
				}
				if n := int(asked.Load()); n != len(tt.want) {
					t.Errorf("it was found out %d times what to look at", n)
				}
			})
		})
	}
}

func TestChanges_OfNamespacesThatWentAreForgotten(t *testing.T) {
	clock := testingclock.NewFakeClock(time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC))
	g := &gatherer{clock: clock, windows: map[string]window{}}
	for i := range 100 {
		g.wait(fmt.Sprint("preview-", i))
		clock.Step(gathering)
	}
	if n := len(g.windows); n > 2 {
		t.Errorf("%d namespaces are remembered", n)
	}
}

func TestChanges_InANamespaceAreAboutItsOwnAndTheClustersRights(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	named := func(namespace, name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: namespace, Name: name}
	}
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(
		&v1alpha1.Capability{ObjectMeta: named("", "ours"), Spec: v1alpha1.CapabilitySpec{Kubernetes: &v1alpha1.KubernetesCapability{}}},
		&v1alpha1.Capability{ObjectMeta: named("", "theirs")},
	).Build()
	for _, namespace := range []string{"a", "b"} {
		for _, of := range []string{"ours", "theirs"} {
			r := &v1alpha1.CapabilityRequest{ObjectMeta: named(namespace, of), Spec: v1alpha1.CapabilityRequestSpec{Capability: of}}
			g := &v1alpha1.CapabilityGrant{ObjectMeta: named(namespace, of)}
			if g.Spec.Provider.Type = provider.TypeAWS; of == "ours" {
				g.Spec.Provider.Type = provider.TypeKubernetes
			}
			ended := &v1alpha1.CapabilityGrant{ObjectMeta: named(namespace, of+"-ended"),
				Status: v1alpha1.CapabilityGrantStatus{EndedAt: &metav1.Time{Time: time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)}}}
			for _, object := range []client.Object{r, g, ended} {
				if err := c.Create(t.Context(), object); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for what, whom := range map[string]func(context.Context, string) []reconcile.Request{"requests": waitingRequests(c), "grants": livingGrants(c)} {
		for namespace, want := range map[string][]string{
			"a": {"a/ours", "a/theirs", "b/ours"}, "": {"a/ours", "a/theirs", "b/ours", "b/theirs"}, "c": {"a/ours", "b/ours"},
		} {
			var got []string
			for _, key := range whom(t.Context(), namespace) {
				got = append(got, key.String())
			}
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("%s that a change in %q is about: %q, want %q", what, namespace, got, want)
			}
		}
	}
}
