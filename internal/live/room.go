// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package live

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"
)

// How many objects are read, or come back as the answer to a write, at a time. The largest takes less than 5 MiB while it
// is read and decoded, so that all of them take at most 160 MiB of the 512 MiB that the operator is given.
const (
	mostObjects = 32
	// mostInNamespace is how many of them may be of one namespace, so that none keeps all others waiting.
	mostInNamespace = 16
)

// room is memory for objects, which namespaces share.
type room struct {
	all        *semaphore.Weighted
	mu         sync.Mutex
	namespaces map[string]*share
}

// share is what a namespace has of the room. It is there while somebody uses it or waits for it.
type share struct {
	places *semaphore.Weighted
	users  int
}

func newRoom() *room {
	return &room{all: semaphore.NewWeighted(mostObjects), namespaces: map[string]*share{}}
}

// with calls do once there is room for so many objects of a namespace, first come first served. The error is do's own, or
// the context's.
func (r *room) with(ctx context.Context, namespace string, objects int, do func() error) error {
	of, weight := r.enter(namespace), int64(objects)
	defer r.leave(namespace)
	if err := of.places.Acquire(ctx, weight); err != nil {
		return err
	}
	defer of.places.Release(weight)
	if err := r.all.Acquire(ctx, weight); err != nil {
		return err
	}
	defer r.all.Release(weight)
	return do()
}

func (r *room) enter(namespace string) *share {
	r.mu.Lock()
	defer r.mu.Unlock()
	of := r.namespaces[namespace]
	if of == nil {
		of = &share{places: semaphore.NewWeighted(mostInNamespace)}
		r.namespaces[namespace] = of
	}
	of.users++
	return of
}

func (r *room) leave(namespace string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	of := r.namespaces[namespace]
	if of.users--; of.users == 0 {
		delete(r.namespaces, namespace)
	}
}
