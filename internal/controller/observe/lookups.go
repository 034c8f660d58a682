// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"context"
	"runtime"
	"sync"

	"golang.org/x/sync/semaphore"
)

// lookupsAtOnce is how many look-ups past the cache are made at a time for what lives in one namespace. A namespace
// whose Jobs name many ConfigMaps then waits for itself, and leaves the API server to others.
const lookupsAtOnce = 2

// looks bounds how much of the processors, and of the memory, is taken by what may take a while, by looks at roles, reviews of
// Jobs and expressions of policies: one at a time for what lives in one namespace, and half of the processors for all of them. A look must not make another, nor a
// look-up past the cache. Its zero value is ready to use.
type looks struct {
	namespaces Lookups
	once       sync.Once
	processors *semaphore.Weighted
}

func (l *looks) do(ctx context.Context, namespace string, look func() error) error {
	l.once.Do(func() { l.processors = semaphore.NewWeighted(max(1, int64(runtime.GOMAXPROCS(0))/2)) })
	return l.namespaces.do(ctx, namespace, 1, func() error {
		if err := l.processors.Acquire(ctx, 1); err != nil {
			return err
		}
		defer l.processors.Release(1)
		return look()
	})
}

// Lookups bounds how much is asked of the API server for one namespace at a time. Its zero value is ready to use.
type Lookups struct {
	mu         sync.Mutex
	namespaces map[string]*entrance
}

// entrance lets some in at a time, first come first served. It is there while somebody uses it or waits.
type entrance struct {
	places *semaphore.Weighted
	users  int
}

// Do makes one look-up for a namespace when it is its turn. What belongs together, as all ConfigMaps of a Job, is
// one look-up: it is over before the next begins. The error is the look-up's own, or the context's. A look-up must
// not make another.
func (l *Lookups) Do(ctx context.Context, namespace string, look func() error) error {
	return l.do(ctx, namespace, lookupsAtOnce, look)
}

func (l *Lookups) do(ctx context.Context, namespace string, atOnce int64, look func() error) error {
	at := l.enter(namespace, atOnce)
	defer l.leave(namespace)
	if err := at.places.Acquire(ctx, 1); err != nil {
		return err
	}
	defer at.places.Release(1)
	return look()
}

func (l *Lookups) enter(namespace string, atOnce int64) *entrance {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.namespaces == nil {
		l.namespaces = map[string]*entrance{}
	}
	at := l.namespaces[namespace]
	if at == nil {
		at = &entrance{places: semaphore.NewWeighted(atOnce)}
		l.namespaces[namespace] = at
	}
	at.users++
	return at
}

func (l *Lookups) leave(namespace string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := l.namespaces[namespace]
	if at.users--; at.users == 0 {
		delete(l.namespaces, namespace)
	}
}
