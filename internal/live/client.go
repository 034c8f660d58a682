// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package live

import (
	"cmp"
	"context"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Client returns a client whose writes share the Reader's room: the API server answers each with the whole object. Reads go to
// the given client's cache. Creates need no room, for nobody else has written what comes back.
func (r *Reader) Client(c client.Client) client.Client { return bounded{Client: c, room: r.room} }

type bounded struct {
	client.Client
	room *room
}

// write makes one write when there is room for its answer, and leaves out of that what nobody here uses.
func (b bounded) write(ctx context.Context, object client.Object, do func() error) error {
	namespace := cmp.Or(object.GetNamespace(), object.GetName())
	return b.room.with(ctx, namespace, 1, func() error {
		err := do()
		object.SetManagedFields(nil)
		return err
	})
}

func (b bounded) Update(ctx context.Context, object client.Object, opts ...client.UpdateOption) error {
	return b.write(ctx, object, func() error { return b.Client.Update(ctx, object, opts...) })
}

func (b bounded) Patch(ctx context.Context, object client.Object, patch client.Patch, opts ...client.PatchOption) error {
	return b.write(ctx, object, func() error { return b.Client.Patch(ctx, object, patch, opts...) })
}

func (b bounded) Delete(ctx context.Context, object client.Object, opts ...client.DeleteOption) error {
	return b.write(ctx, object, func() error { return b.Client.Delete(ctx, object, opts...) })
}

func (b bounded) Status() client.SubResourceWriter {
	return boundedStatus{SubResourceWriter: b.Client.Status(), of: b}
}

type boundedStatus struct {
	client.SubResourceWriter
	of bounded
}

func (s boundedStatus) Update(ctx context.Context, object client.Object, opts ...client.SubResourceUpdateOption) error {
	return s.of.write(ctx, object, func() error { return s.SubResourceWriter.Update(ctx, object, opts...) })
}
