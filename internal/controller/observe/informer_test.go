// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package observe_test

import (
	"context"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"

	"github.com/valetkey/valetkey/internal/controller/observe"
)

// TestInformer_NamesWithoutEndAreNotKept: the API server bounds the name of a role or a binding by the size of a request, and a store holds
// it several times. One of each is there at first, and one comes and goes.
func TestInformer_NamesWithoutEndAreNotKept(t *testing.T) {
	long := func(first string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: "agents", Name: first + strings.Repeat("n", 400_000)}
	}
	ordinary := metav1.ObjectMeta{Namespace: "agents", Name: strings.Repeat("n", 253)}
	changes := watch.NewFake()
	informer := observe.NewInformer(&toolscache.ListWatch{
		ListWithContextFunc: func(context.Context, metav1.ListOptions) (runtime.Object, error) {
			return &rbacv1.RoleBindingList{Items: []rbacv1.RoleBinding{{ObjectMeta: long("a")}, {ObjectMeta: ordinary}}}, nil
		},
		WatchFuncWithContext: func(_ context.Context, options metav1.ListOptions) (watch.Interface, error) {
			if options.SendInitialEvents != nil {
				return nil, context.Canceled // it lists instead
			}
			return changes, nil
		},
	}, &rbacv1.RoleBinding{}, 0, toolscache.Indexers{})
	go informer.RunWithContext(t.Context())
	if !toolscache.WaitForCacheSync(t.Context().Done(), informer.HasSynced) {
		t.Fatal("it is not in step")
	}
	expect := func(moment string, want int) {
		t.Helper()
		for len(informer.GetStore().ListKeys()) != want {
			select {
			case <-t.Context().Done():
				t.Fatalf("%s there are %d", moment, len(informer.GetStore().ListKeys()))
			case <-time.After(time.Millisecond):
			}
		}
		size := 0
		for i, key := range informer.GetStore().ListKeys() {
			size += len(key) + len(informer.GetStore().List()[i].(*rbacv1.RoleBinding).Name)
		}
		if size > want*600 {
			t.Errorf("%s keys and names of %d have %d bytes", moment, want, size)
		}
		if _, there, err := informer.GetStore().GetByKey("agents/" + ordinary.Name); !there || err != nil {
			t.Errorf("%s an ordinary name is not its key: %v", moment, err)
		}
	}
	expect("at first", 2)
	changes.Add(&rbacv1.RoleBinding{ObjectMeta: long("b")})
	expect("when one more is made", 3)
	changes.Delete(&rbacv1.RoleBinding{ObjectMeta: long("b")})
	expect("when it is removed", 2)
}
