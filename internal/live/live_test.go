// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package live_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/valetkey/valetkey/internal/live"
	"github.com/valetkey/valetkey/internal/live/livetest"
)

// slow is an API server whose answers wait until somebody takes them.
type slow struct {
	client.WithWatch
	running atomic.Int32
	answer  chan struct{}
}

func newSlow() *slow {
	s := &slow{answer: make(chan struct{})}
	wait := func(client.Object) {
		s.running.Add(1)
		<-s.answer
		s.running.Add(-1)
	}
	s.WithWatch = interceptor.NewClient(fake.NewClientBuilder().Build(), interceptor.Funcs{
		Get: func(_ context.Context, _ client.WithWatch, _ client.ObjectKey, o client.Object, _ ...client.GetOption) error {
			wait(o)
			return nil
		},
		Update: func(_ context.Context, _ client.WithWatch, o client.Object, _ ...client.UpdateOption) error {
			wait(o)
			return nil
		},
		Delete: func(_ context.Context, _ client.WithWatch, o client.Object, _ ...client.DeleteOption) error {
			wait(o)
			return nil
		},
		Patch: func(_ context.Context, _ client.WithWatch, o client.Object, _ client.Patch, _ ...client.PatchOption) error {
			wait(o)
			return nil
		},
		SubResourceUpdate: func(_ context.Context, _ client.Client, _ string, o client.Object, _ ...client.SubResourceUpdateOption) error {
			wait(o)
			return nil
		},
	})
	return s
}

func in(namespace string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "c"}}
}

// TestReader_NamespacesShareWhatIsReadAtATime has every way to get an object back used at once by one namespace, and by many.
func TestReader_NamespacesShareWhatIsReadAtATime(t *testing.T) {
	for name, use := range map[string]func(context.Context, *live.Reader, client.Client, string) error{
		"read": func(ctx context.Context, r *live.Reader, _ client.Client, ns string) error {
			return r.Get(ctx, client.ObjectKeyFromObject(in(ns)), in(ns))
		},
		"update": func(ctx context.Context, _ *live.Reader, c client.Client, ns string) error {
			return c.Update(ctx, in(ns))
		},
		"status": func(ctx context.Context, _ *live.Reader, c client.Client, ns string) error {
			return c.Status().Update(ctx, in(ns))
		},
		"delete": func(ctx context.Context, _ *live.Reader, c client.Client, ns string) error {
			return c.Delete(ctx, in(ns))
		},
		"patch": func(ctx context.Context, _ *live.Reader, c client.Client, ns string) error {
			return c.Patch(ctx, in(ns), client.RawPatch("", nil))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api := newSlow()
				reader := live.New(api)
				c := reader.Client(api)
				begin := func(namespace string, want int32) {
					for range 40 {
						go func() {
							if err := use(t.Context(), reader, c, namespace); err != nil {
								t.Error(err)
							}
						}()
					}
					synctest.Wait()
					if now := api.running.Load(); now != want {
						t.Errorf("with namespace %s, %d objects are read at a time, want %d", namespace, now, want)
					}
				}
				begin("a", 16)
				begin("b", 32)
				begin("c", 32)
				for range 120 {
					api.answer <- struct{}{}
				}
			})
		})
	}
}

func TestReader_WhoeverWaitsTooLongIsToldSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := newSlow()
		reader := live.New(api)
		for range 16 {
			go func() { _ = reader.Get(t.Context(), client.ObjectKey{Namespace: "a"}, in("a")) }()
		}
		synctest.Wait()
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if err := reader.Get(ended, client.ObjectKey{Namespace: "a"}, in("a")); !errors.Is(err, context.Canceled) {
			t.Errorf("it is told %v", err)
		}
		for range 16 {
			api.answer <- struct{}{}
		}
	})
}

// TestReader_LeavesOutWhoManagesAnObject reads objects by each way that there is.
func TestReader_LeavesOutWhoManagesAnObject(t *testing.T) {
	var all []client.Object
	var want []string
	for i := range 9 {
		cm := in("agents")
		cm.Name, cm.Data = fmt.Sprint("c", i), map[string]string{"a": "b"}
		all, want = append(all, cm), append(want, cm.Name)
	}
	reader := live.New(livetest.New(t, all...))
	var names []string
	see := func(cm *corev1.ConfigMap) {
		names = append(names, cm.Name)
		if cm.ManagedFields != nil || cm.Data["a"] != "b" {
			t.Errorf("%s has %d managers and data %v", cm.Name, len(cm.ManagedFields), cm.Data)
		}
	}
	list := &corev1.ConfigMapList{}
	if err := reader.List(t.Context(), list, client.InNamespace("agents")); err != nil {
		t.Fatal(err)
	}
	for i := range list.Items {
		see(&list.Items[i])
	}
	if !slices.Equal(names, want) {
		t.Errorf("it lists %v", names)
	}
	names = nil
	err := reader.Each(t.Context(), &corev1.ConfigMapList{}, func(o client.Object) bool {
		see(o.(*corev1.ConfigMap))
		return len(names) < 6
	}, client.InNamespace("agents"))
	if err != nil || !slices.Equal(names, want[:6]) {
		t.Errorf("it visits %v; %v", names, err)
	}
	key, one := client.ObjectKey{Namespace: "agents", Name: "c3"}, &corev1.ConfigMap{}
	if err := reader.Get(t.Context(), key, one); err != nil {
		t.Fatal(err)
	}
	see(one)
	one = &corev1.ConfigMap{}
	if err := reader.Group(t.Context(), "agents", 1000, func(from client.Reader) error { return from.Get(t.Context(), key, one) }); err != nil {
		t.Fatal(err)
	}
	see(one)
}
