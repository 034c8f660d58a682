// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package stored writes objects that others change meanwhile.
package stored

import (
	"context"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// mostWriters is how many writes of others in a row the storing of a status gives way to. Between a look and a write
// lie a few milliseconds: whoever is to come between all of them has to write without a pause for seconds.
const mostWriters = 200

// Status stores the status of changed, guarded by resourceVersion. Whoever may write the object can move that for ever,
// by notes that say nothing: where no more than that has changed, the same is stored again at once. same compares what
// the decision was made on with what live reads past the cache; carry takes the status over to that. The error is the
// API server's own: a conflict, if somebody has changed what matters, or goes on for too long.
func Status[T client.Object](ctx context.Context, writer client.StatusClient, live client.Reader, looked, changed T,
	same func(looked, now T) bool, carry func(from, to T)) error {
	err := writer.Status().Update(ctx, changed)
	for range mostWriters {
		if !apierrors.IsConflict(err) {
			return err
		}
		next, is := changed.DeepCopyObject().(T)
		if !is {
			return err
		}
		if getting := live.Get(ctx, client.ObjectKeyFromObject(looked), next); getting != nil || !same(looked, next) {
			return err
		}
		carry(changed, next)
		if err = writer.Status().Update(ctx, next); err == nil {
			carry(next, changed)
			changed.SetResourceVersion(next.GetResourceVersion())
		}
	}
	return err
}

// Newest is the later of what a cache shows of an object and what this process stored of it last. Where that is what was stored, the cache is
// behind: what this process did is not to be taken for undone.
func Newest[T client.Object](cached, written T) T {
	order, err := resourceversion.CompareResourceVersion(cached.GetResourceVersion(), written.GetResourceVersion())
	if err == nil && order < 0 && cached.GetUID() == written.GetUID() {
		return written
	}
	return cached
}

// Release takes a finalizer off an object, however often it is there, by a JSON patch that is guarded by the object's UID
// and by where the finalizer stands, and by nothing else that others may write. That it has none is no error. The error is the API server's own:
// invalid, if another object has its name by now, or if other finalizers have moved this one.
func Release(ctx context.Context, writer client.Writer, object client.Object, finalizer string) error {
	all := object.GetFinalizers()
	if !slices.Contains(all, finalizer) {
		return nil
	}
	patch := fmt.Appendf(nil, `[{"op":"test","path":"/metadata/uid","value":%q}`, object.GetUID())
	for at := len(all) - 1; at >= 0; at-- {
		if all[at] == finalizer {
			patch = fmt.Appendf(patch, `,{"op":"test","path":"/metadata/finalizers/%d","value":%q},{"op":"remove","path":"/metadata/finalizers/%d"}`,
				at, finalizer, at)
		}
	}
	return writer.Patch(ctx, object, client.RawPatch(types.JSONPatchType, append(patch, ']')))
}

// Moved reports whether a write was refused because the object is not what it was when it was looked at: it is gone,
// another one has its name, or changed says that what the write is guarded by is another. Live reads past the cache. The
// status of the refusal does not tell: whoever writes an admission rule chooses it.
func Moved[T client.Object](ctx context.Context, live client.Reader, looked T, changed func(now T) bool) bool {
	now, is := looked.DeepCopyObject().(T)
	if !is {
		return false
	}
	if err := live.Get(ctx, client.ObjectKeyFromObject(looked), now); err != nil {
		return apierrors.IsNotFound(err)
	}
	return now.GetUID() != looked.GetUID() || changed(now)
}
