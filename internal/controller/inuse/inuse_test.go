// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package inuse_test

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/controller/inuse"
	"github.com/valetkey/valetkey/internal/live"
)

const agents = "agents"

func key() ctrl.Request { return ctrl.Request{NamespacedName: client.ObjectKey{Name: agents}} }

func stored(t *testing.T, objects ...client.Object) client.WithWatch {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	return fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).Build()
}

func namespace(marked bool) *corev1.Namespace {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: agents, Labels: map[string]string{v1alpha1.LabelEnrolled: "true"}}}
	if marked {
		ns.Labels[v1alpha1.LabelInUse] = "true"
	}
	return ns
}

func request(ended bool) *v1alpha1.CapabilityRequest {
	r := &v1alpha1.CapabilityRequest{ObjectMeta: metav1.ObjectMeta{Namespace: agents, Name: "r"}}
	r.Status.EndedAt = at(ended)
	return r
}

func grant(ended bool) *v1alpha1.CapabilityGrant {
	g := &v1alpha1.CapabilityGrant{ObjectMeta: metav1.ObjectMeta{Namespace: agents, Name: "g"}}
	g.Status.EndedAt = at(ended)
	return g
}

func at(ended bool) *metav1.Time {
	if !ended {
		return nil
	}
	return ptr.To(metav1.NewTime(time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)))
}

func marked(t *testing.T, c client.Client) bool {
	t.Helper()
	ns := &corev1.Namespace{}
	if err := c.Get(t.Context(), key().NamespacedName, ns); err != nil {
		t.Fatal(err)
	}
	return ns.Labels[v1alpha1.LabelInUse] == "true"
}

func TestController_RemovesTheMarkWhenNothingLives(t *testing.T) {
	elsewhere, kept := grant(false), grant(true)
	elsewhere.Namespace, kept.Finalizers = "other", []string{v1alpha1.FinalizerRevoke}
	for name, row := range map[string]struct {
		objects []client.Object
		want    bool
		held    bool
	}{
		"nothing was ever asked for":           {nil, false, true},
		"all has ended":                        {[]client.Object{request(true), grant(true)}, false, true},
		"a grant lives in another namespace":   {[]client.Object{elsewhere}, false, true},
		"a grant lives":                        {[]client.Object{request(true), grant(false)}, true, false},
		"a request waits, or is being granted": {[]client.Object{request(false), grant(true)}, true, false},
		"a grant is kept":                      {[]client.Object{kept}, false, false},
		"one is, where its rights would go":    {[]client.Object{kept}, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			c := stored(t, append(row.objects, namespace(true))...)
			if _, err := (&inuse.Controller{Client: c, Live: live.New(c), Marks: &inuse.Marks{}, Held: row.held}).Reconcile(t.Context(), key()); err != nil {
				t.Fatal(err)
			}
			if got := marked(t, c); got != row.want {
				t.Errorf("marked: %v", got)
			}
		})
	}
}

func TestController_RestoresTheMarkWhereAGrantLives(t *testing.T) {
	for name, row := range map[string]struct {
		objects []client.Object
		want    bool
	}{
		"nothing lives":    {[]client.Object{request(true), grant(true)}, false},
		"a request waits":  {[]client.Object{request(false)}, false},
		"a grant lives on": {[]client.Object{request(true), grant(false)}, true},
	} {
		t.Run(name, func(t *testing.T) {
			c := stored(t, append(row.objects, namespace(false))...)
			if _, err := (&inuse.Controller{Client: c, Live: live.New(c), Marks: &inuse.Marks{}}).Reconcile(t.Context(), key()); err != nil {
				t.Fatal(err)
			}
			if got := marked(t, c); got != row.want {
				t.Errorf("marked: %v", got)
			}
		})
	}
}

func TestController_ACacheThatIsBehindTakesNoMarkAway(t *testing.T) {
	for name, unseen := range map[string]client.Object{"a request": request(false), "a grant": grant(false)} {
		t.Run(name, func(t *testing.T) {
			behind := interceptor.NewClient(stored(t, namespace(true)), interceptor.Funcs{
				Patch: func(context.Context, client.WithWatch, client.Object, client.Patch, ...client.PatchOption) error {
					t.Error("the namespace is written, and something lives")
					return nil
				},
			})
			ahead := stored(t, namespace(true), unseen)
			if _, err := (&inuse.Controller{Client: behind, Live: live.New(ahead), Marks: &inuse.Marks{}}).Reconcile(t.Context(), key()); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestController_WhatHappensWhileItLooks has somebody act between the last look and the patch.
func TestController_WhatHappensWhileItLooks(t *testing.T) {
	marks := &inuse.Marks{}
	during := func(t *testing.T, act func(client.Client)) (client.Client, error) {
		t.Helper()
		c := stored(t, namespace(true))
		acted := false
		between := interceptor.NewClient(c, interceptor.Funcs{
			Patch: func(ctx context.Context, _ client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
				if !acted {
					acted = true
					act(c)
				}
				return c.Patch(ctx, o, p, opts...)
			},
		})
		_, err := (&inuse.Controller{Client: between, Live: live.New(c), Marks: marks}).Reconcile(t.Context(), key())
		return c, err
	}
	t.Run("the namespace is written", func(t *testing.T) {
		c, err := during(t, func(c client.Client) {
			ns := namespace(true)
			if err := c.Get(t.Context(), key().NamespacedName, ns); err != nil {
				t.Fatal(err)
			}
			ns.Annotations = map[string]string{"a": "b"}
			if err := c.Update(t.Context(), ns); err != nil {
				t.Fatal(err)
			}
		})
		if !apierrors.IsConflict(err) || !marked(t, c) {
			t.Errorf("marked: %v; %v", marked(t, c), err)
		}
	})
	t.Run("it is marked for a grant that nobody sees yet", func(t *testing.T) {
		c, err := during(t, func(c client.Client) {
			// The API server stores nothing, for the mark is there; the fake one does.
			_, err := marks.Mark(t.Context(), interceptor.NewClient(c.(client.WithWatch), interceptor.Funcs{
				Patch: func(context.Context, client.WithWatch, client.Object, client.Patch, ...client.PatchOption) error {
					return nil
				}}), agents)
			if err != nil {
				t.Fatal(err)
			}
		})
		if err != nil || !marked(t, c) {
			t.Errorf("marked: %v; %v", marked(t, c), err)
		}
	})
	t.Run("something is asked for", func(t *testing.T) {
		c, err := during(t, func(c client.Client) {
			if err := c.Create(t.Context(), request(false)); err != nil {
				t.Fatal(err)
			}
		})
		if err != nil || !marked(t, c) {
			t.Errorf("marked: %v; %v", marked(t, c), err)
		}
	})
	t.Run("the namespace goes", func(t *testing.T) {
		c := stored(t, namespace(true))
		gone := interceptor.NewClient(c, interceptor.Funcs{
			Patch: func(context.Context, client.WithWatch, client.Object, client.Patch, ...client.PatchOption) error {
				return apierrors.NewNotFound(corev1.Resource("namespaces"), agents)
			},
		})
		if _, err := (&inuse.Controller{Client: gone, Live: live.New(c), Marks: &inuse.Marks{}}).Reconcile(t.Context(), key()); err != nil {
			t.Error(err)
		}
	})
}

func TestMark_IsWrittenAndAnswersWithTheNamespace(t *testing.T) {
	for name, before := range map[string]*corev1.Namespace{"for the first time": namespace(false), "again": namespace(true)} {
		t.Run(name, func(t *testing.T) {
			c := stored(t, before)
			ns, err := (&inuse.Marks{}).Mark(t.Context(), c, agents)
			if err != nil {
				t.Fatal(err)
			}
			if !marked(t, c) || ns.Labels[v1alpha1.LabelEnrolled] != "true" || ns.Labels[v1alpha1.LabelInUse] != "true" {
				t.Errorf("it answers with %v", ns.Labels)
			}
		})
	}
	if _, err := (&inuse.Marks{}).Mark(t.Context(), stored(t), agents); !apierrors.IsNotFound(err) {
		t.Errorf("a namespace that is not there is marked: %v", err)
	}
}
