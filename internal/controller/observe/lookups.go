// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// Turn is whose turn a look takes. What lives in a namespace waits for what lives there, and not for what is asked for: an agent would hold
// up the end of its own credential by its requests.
type Turn struct {
	// Namespace of the request.
	Namespace string
	// Granted is set once it has a grant.
	Granted bool
}

func turnOf(r *v1alpha1.CapabilityRequest) Turn { return Turn{r.Namespace, r.Status.GrantName != ""} }

// ErrBusy says that it was not a grant's turn for so long that somebody may have ended it meanwhile. It has to come again.
var ErrBusy = errors.New("many looks at grants of the namespace are waiting")

// patience is how long a look at a grant waits for its turn.
const patience = time.Second

// wait has a turn waited for, a grant's not for long.
func (t Turn) wait(ctx context.Context, acquire func(context.Context) error) error {
	if !t.Granted {
		return acquire(ctx)
	}
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := acquire(waiting)
	if err != nil && ctx.Err() == nil {
		return ErrBusy
	}
	return err
}

// lookupsAtOnce is how many look-ups past the cache are made at a time for what lives in one namespace. A namespace
// whose Jobs name many ConfigMaps then waits for itself, and leaves the API server to others.
const lookupsAtOnce = 2

// looks bounds how much of the processors, and of the memory, is taken by what may take a while, by looks at roles, reviews of
// Jobs and expressions of policies: one at a time for each Turn, and half of the processors for all of them. A look must not make another, nor a
// look-up past the cache. Its zero value is ready to use.
type looks struct {
	turns      Lookups
	once       sync.Once
	processors *semaphore.Weighted
}

func (l *looks) do(ctx context.Context, turn Turn, look func() error) error {
	l.once.Do(func() { l.processors = semaphore.NewWeighted(max(1, int64(runtime.GOMAXPROCS(0))/2)) })
	return l.turns.do(ctx, turn, 1, func() error {
		if err := turn.wait(ctx, func(ctx context.Context) error { return l.processors.Acquire(ctx, 1) }); err != nil {
			return err
		}
		defer l.processors.Release(1)
		return look()
	})
}

// Lookups bounds how much is asked of the API server for one Turn at a time. Its zero value is ready to use.
type Lookups struct {
	mu        sync.Mutex
	entrances map[Turn]*entrance
}

// entrance lets some in at a time, first come first served. It is there while somebody uses it or waits.
type entrance struct {
	places *semaphore.Weighted
	users  int
}

// Do makes one look-up when its turn comes. What belongs together, as all ConfigMaps of a Job, is
// one look-up: it is over before the next begins. The error is the look-up's own, the context's, or [ErrBusy]. A look-up must
// not make another.
func (l *Lookups) Do(ctx context.Context, turn Turn, look func() error) error {
	return l.do(ctx, turn, lookupsAtOnce, look)
}

func (l *Lookups) do(ctx context.Context, turn Turn, atOnce int64, look func() error) error {
	at := l.enter(turn, atOnce)
	defer l.leave(turn)
	if err := turn.wait(ctx, func(ctx context.Context) error { return at.places.Acquire(ctx, 1) }); err != nil {
		return err
	}
	defer at.places.Release(1)
	return look()
}

func (l *Lookups) enter(turn Turn, atOnce int64) *entrance {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.entrances == nil {
		l.entrances = map[Turn]*entrance{}
	}
	at := l.entrances[turn]
	if at == nil {
		at = &entrance{places: semaphore.NewWeighted(atOnce)}
		l.entrances[turn] = at
	}
	at.users++
	return at
}

func (l *Lookups) leave(turn Turn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := l.entrances[turn]
	if at.users--; at.users == 0 {
		delete(l.entrances, turn)
	}
}
