// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package live talks to the API server past the cache, in bounded memory. Whoever administers a namespace can make any
// object in it as large as the API server stores (1.5 MiB), metadata.managedFields above all, and any number of them.
package live

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// pageSize is how many objects of a list are in memory at a time.
const pageSize = 4

// Reader reads from the API server. Objects come without metadata.managedFields, which nobody here uses. It is safe for
// concurrent use.
type Reader struct {
	from client.Reader
	room *room
}

// New makes a Reader of one that reads past the cache. A process makes one, which all its controllers share: each has room
// of its own.
func New(from client.Reader) *Reader { return &Reader{from: from, room: newRoom()} }

// Get implements client.Reader. It waits until there is room for the object. The error is the reader's own, or the
// context's.
func (r *Reader) Get(ctx context.Context, key client.ObjectKey, object client.Object, opts ...client.GetOption) error {
	return r.room.with(ctx, key.Namespace, 1, func() error { return r.get(ctx, key, object, opts...) })
}

func (r *Reader) get(ctx context.Context, key client.ObjectKey, object client.Object, opts ...client.GetOption) error {
	err := r.from.Get(ctx, key, object, opts...)
	object.SetManagedFields(nil)
	return err
}

// Group makes one look at several objects of a namespace. It waits until there is room for as many of the largest size, but
// for no more than a namespace has. look reads by the reader that it is given: if it read or wrote in another bounded way,
// it would wait for its own room.
func (r *Reader) Group(ctx context.Context, namespace string, objects int, look func(client.Reader) error) error {
	return r.room.with(ctx, namespace, min(objects, mostInNamespace), func() error { return look(unbounded{r}) })
}

// unbounded reads within the room that a Group has.
type unbounded struct{ *Reader }

func (u unbounded) Get(ctx context.Context, key client.ObjectKey, object client.Object, opts ...client.GetOption) error {
	return u.get(ctx, key, object, opts...)
}

// Each reads a list page by page into list, and calls visit with each object, until visit returns false. What visit keeps of
// an object it has to copy, or the whole page is kept. A list that changes meanwhile is read as it was at its first page.
func (r *Reader) Each(
	ctx context.Context, list client.ObjectList, visit func(client.Object) bool, opts ...client.ListOption,
) error {
	asked := (&client.ListOptions{}).ApplyOptions(opts)
	asked.Limit = pageSize
	for {
		more := true
		err := r.room.with(ctx, asked.Namespace, pageSize, func() error {
			list.SetContinue("")
			if err := r.from.List(ctx, list, asked); err != nil {
				return err
			}
			var err error
			more, err = visitPage(list, visit)
			return err
		})
		asked.Continue = list.GetContinue()
		if err != nil || !more || asked.Continue == "" {
			return err
		}
	}
}

func visitPage(list client.ObjectList, visit func(client.Object) bool) (more bool, err error) {
	more = true
	err = meta.EachListItem(list, func(item runtime.Object) error {
		object, ok := item.(client.Object)
		if !ok {
			return fmt.Errorf("a list of %T, which are no objects of the API", item)
		}
		object.SetManagedFields(nil)
		more = more && visit(object)
		return nil
	})
	return more, err
}

// List implements client.Reader. It keeps what it reads: whoever needs less of each object, or cannot know how many there
// are, uses Each.
func (r *Reader) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	var all []runtime.Object
	err := r.Each(ctx, list, func(object client.Object) bool {
		all = append(all, object.DeepCopyObject())
		return true
	}, opts...)
	if err != nil {
		return err
	}
	return meta.SetList(list, all)
}
