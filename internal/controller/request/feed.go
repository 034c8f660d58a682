// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package request

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/limits"
)

// Feed tells a ledger what a cache shows, and brings the requests that the ledger wakes back to the controller. The
// controller that watches it starts when the ledger was told everything that is stored.
func Feed(informers cache.Informers, ledger *limits.Ledger) source.SyncingSource {
	return &feed{informers: informers, ledger: ledger}
}

type feed struct {
	informers cache.Informers
	ledger    *limits.Ledger
	told      []toolscache.InformerSynced
}

// String names the source in the controller's log.
func (*feed) String() string { return "limits" }

// Start adds handlers to the informers, and returns at once.
func (f *feed) Start(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	f.ledger.OnWake(func(name types.NamespacedName) { queue.Add(reconcile.Request{NamespacedName: name}) })
	for object, handler := range map[client.Object]toolscache.ResourceEventHandler{
		&v1alpha1.CapabilityGrant{}:   tells(f.ledger.Grant, f.ledger.GrantGone),
		&v1alpha1.CapabilityRequest{}: tells(f.ledger.Request, f.ledger.RequestGone),
		&v1alpha1.CapabilityPolicy{}:  tells(f.ledger.Policy, f.ledger.PolicyGone),
	} {
		informer, err := f.informers.GetInformer(ctx, object, cache.BlockUntilSynced(false))
		if err != nil {
			return fmt.Errorf("watching %T for the limits: %w", object, err)
		}
		registration, err := informer.AddEventHandler(handler)
		if err != nil {
			return fmt.Errorf("watching %T for the limits: %w", object, err)
		}
		f.told = append(f.told, registration.HasSynced)
	}
	return nil
}

// WaitForSync waits until everything that is stored was told.
func (f *feed) WaitForSync(ctx context.Context) error {
	if !toolscache.WaitForCacheSync(ctx.Done(), f.told...) {
		return errors.New("the credentials that work could not be counted in time")
	}
	f.ledger.Open()
	return nil
}

// tells gives each object of a watch to a function, and the last state of one that was removed to another. That state
// may be older than the removal if the watch was interrupted.
func tells[T client.Object](is, gone func(T)) toolscache.ResourceEventHandler {
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc: func(object any) {
			if o, ok := object.(T); ok {
				is(o)
			}
		},
		UpdateFunc: func(_, object any) {
			if o, ok := object.(T); ok {
				is(o)
			}
		},
		DeleteFunc: func(object any) {
			if last, ok := object.(toolscache.DeletedFinalStateUnknown); ok {
				object = last.Obj
			}
			if o, ok := object.(T); ok {
				gone(o)
			}
		},
	}
}
