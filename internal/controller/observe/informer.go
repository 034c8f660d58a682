// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"context"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"

	"github.com/valetkey/valetkey/internal/rbac"
)

// NewInformer is an informer of the operator's cache. It shortens the names of roles and bindings, which have no bound, before they are the
// keys of a store: [Slim] comes too late for that.
func NewInformer(
	from toolscache.ListerWatcher, kind runtime.Object, resync time.Duration, indexers toolscache.Indexers,
) toolscache.SharedIndexInformer {
	switch kind.(type) {
	case *rbacv1.Role, *rbacv1.ClusterRole, *rbacv1.RoleBinding, *rbacv1.ClusterRoleBinding:
		from = bounded(toolscache.ToListerWatcherWithContext(from))
	}
	return toolscache.NewSharedIndexInformer(from, kind, resync, indexers)
}

func bounded(from toolscache.ListerWatcherWithContext) *toolscache.ListWatch {
	return &toolscache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			list, err := from.ListWithContext(ctx, options)
			if err != nil {
				return nil, err
			}
			return list, meta.EachListItem(list, func(item runtime.Object) error {
				rbac.Shorten(item.(metav1.Object))
				return nil
			})
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			all, err := from.WatchWithContext(ctx, options)
			if err != nil {
				return nil, err
			}
			return watch.Filter(all, func(e watch.Event) (watch.Event, bool) {
				if object, err := meta.Accessor(e.Object); err == nil { // or it is what ends the watch
					rbac.Shorten(object)
				}
				return e, true
			}), nil
		},
	}
}
