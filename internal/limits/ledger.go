// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package limits counts the credentials that limits.active of a policy is about, in memory and without a client. It
// is told of grants, policies and requests by whoever watches them, and of reservations by whoever is about to create
// a grant.
//
// A slot is taken by a reservation, before the grant is created. It stays taken while the grant counts
// ([v1alpha1.CapabilityGrant.Counts]): until no credential of it can work any more, even if the grant is removed
// before. Everything but reservations is rebuilt from what is stored when a process starts.
//
// Requests for which there is no room wait in line, in the order of their creation. Those at the head are woken when
// slots become free, as many as there are free slots. The free slots are kept for their namespaces for a bounded time,
// and offered to others as well afterwards: see offer.go.
package limits

import (
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/policy"
)

// ErrNotCounted says that what is stored has not been told yet, so that nothing can be reserved.
var ErrNotCounted = errors.New("the credentials that work have not been counted yet")

// Ledger counts, for each policy, what is taken and who waits. It is safe for concurrent use. While it holds its lock
// it calls nothing but the clock, and waits for nothing.
type Ledger struct {
	clock clock.PassiveClock

	mu          sync.Mutex
	open, leads bool
	wake        func(types.NamespacedName)
	accounts    map[string]*account
	// slots that are taken, by the UID of the request that they were taken for. Those of grants that were not seen yet
	// are in reserved too.
	slots, reserved map[types.UID]*slot
	// waiters are the requests in line, by their names.
	waiters map[types.NamespacedName]*waiter
	// removed is how many slots are of grants that were removed, and kept how many of them the last sweep left.
	removed, kept int
	// due is the next instant at which Pass has something to do, and rescheduled holds a value when it may have changed.
	due         time.Time
	rescheduled chan struct{}
}

// account is what is known of one policy, by its name.
type account struct {
	// limit is limits.active; nil while the policy has none, and while there is no policy of that name.
	limit *int32
	// told reports whether limit was told with the policy. Until then it is that of the last reservation.
	told  bool
	slots map[types.UID]*slot
	// line is in the order in which requests are served.
	line []*waiter
	// offers holds the namespaces that free slots were offered to, and until when these are kept for them.
	offers map[string]time.Time
	// due is the next instant at which time alone changes who may take a slot; zero if there is none.
	due time.Time
}

// New makes a ledger that reserves nothing until Open is called.
func New(clock clock.PassiveClock) *Ledger {
	return &Ledger{clock: clock, wake: func(types.NamespacedName) {}, accounts: map[string]*account{},
		slots: map[types.UID]*slot{}, reserved: map[types.UID]*slot{}, waiters: map[types.NamespacedName]*waiter{},
		rescheduled: make(chan struct{}, 1)}
}

// Open allows reservations, once everything that is stored has been told.
func (l *Ledger) Open() {
	l.change(func(time.Time) []string {
		l.open = true
		return slices.Collect(maps.Keys(l.accounts))
	})
}

// OnWake has the names of requests given to a function when they are worth another look: there is room, or another
// instant at which there will be. The function must not block.
func (l *Ledger) OnWake(wake func(types.NamespacedName)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wake = wake
}

// Policy tells of a policy as it is now.
func (l *Ledger) Policy(p *v1alpha1.CapabilityPolicy) {
	var limit *int32
	if p.Spec.Limits != nil {
		limit = p.Spec.Limits.Active
	}
	l.setLimit(p.Name, limit)
}

// PolicyGone tells that a policy was removed. What it allowed goes on counting for another one of
// the same name.
func (l *Ledger) PolicyGone(p *v1alpha1.CapabilityPolicy) { l.setLimit(p.Name, nil) }

func (l *Ledger) setLimit(name string, limit *int32) {
	l.change(func(time.Time) []string {
		a := l.account(name)
		a.limit, a.told = limit, true
		return []string{name}
	})
}

// change makes a change under the lock, and afterwards wakes those whose turn it is under the policies that the
// change names.
func (l *Ledger) change(do func(now time.Time) []string) {
	l.mu.Lock()
	now := l.clock.Now()
	changed := do(now)
	slices.Sort(changed)
	var woken []types.NamespacedName
	for _, name := range slices.Compact(changed) {
		woken = append(woken, l.turn(name, now)...)
	}
	l.plan()
	wake := l.wake
	l.mu.Unlock()
	for _, key := range woken {
		wake(key)
	}
}

func (l *Ledger) account(name string) *account {
	a := l.accounts[name]
	if a == nil {
		a = &account{slots: map[types.UID]*slot{}}
		l.accounts[name] = a
	}
	return a
}

// turn returns the requests that may take a slot under a policy and that were not woken for it. The first in line is
// also woken when it learns of an earlier instant at which there will be room. An account about which nothing has to
// be remembered is forgotten.
func (l *Ledger) turn(name string, now time.Time) []types.NamespacedName {
	a := l.accounts[name]
	if a == nil {
		return nil
	}
	if len(a.line) == 0 {
		a.offers, a.due = nil, time.Time{}
		if len(a.slots) == 0 && a.limit == nil {
			delete(l.accounts, name)
		}
		return nil
	}
	room := len(a.line)
	if a.limit != nil {
		room = min(room, int(*a.limit)-l.active(a, now))
		if a.used(now) >= int(*a.limit) {
			a.offers = nil
		}
	}
	woken := a.offer(room, now, l.open && l.leads)
	next := a.next(now)
	if head := a.line[0]; room <= 0 && !next.IsZero() && (head.next.IsZero() || next.Before(head.next)) {
		head.next = next
		woken = append(woken, head.key)
	}
	a.due = earlier(next, a.lapse(now))
	return woken
}

// active counts what is taken. Slots of ended grants that count no more are dropped on the way.
func (l *Ledger) active(a *account, now time.Time) int {
	sum := 0
	for uid, s := range a.slots {
		n := s.counts(now)
		if n == 0 {
			l.drop(uid)
		}
		sum += n
	}
	return sum
}

// next is the first instant at which less is taken if nothing else happens; zero if there is none.
func (a *account) next(now time.Time) time.Time {
	var next time.Time
	for _, s := range a.slots {
		if stop := s.next(now); !stop.IsZero() && (next.IsZero() || stop.Before(next)) {
			next = stop
		}
	}
	return next
}

// room is what a policy leaves for a request that has no slot.
func (l *Ledger) room(a *account, w *waiter, now time.Time) policy.Room {
	room := policy.Room{Active: l.active(a, now), Ahead: a.place(w)}
	if room.Ahead == 0 {
		room.Next = a.next(now)
	}
	return room
}

// Room is what a policy leaves for a request as far as is known now. It takes nothing.
func (l *Ledger) Room(policyName string, r *v1alpha1.CapabilityRequest) policy.Room {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.accounts[policyName]
	if a == nil {
		return policy.Room{}
	}
	room := l.room(a, newWaiter(policyName, r), l.clock.Now())
	if s := a.slots[r.UID]; s != nil {
		room.Active -= s.counts(l.clock.Now())
	}
	return room
}
