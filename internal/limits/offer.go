// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package limits

import (
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// offerLasts is how long a free slot is kept for a namespace to which it is offered. A request of a namespace that is
// not busy takes its slot within a second, however busy others are. One of a busy namespace waits for the namespace's
// other requests, and nobody else has to wait for them.
const offerLasts = 2 * time.Second

// late reports whether a namespace has not used an offer in time. Others need not wait for it then, but it can still
// take the slot.
//
// An offer is made to a namespace and not to one of its requests, so that a namespace cannot prolong it by withdrawing
// one request after the other. It ends when a grant of the namespace is seen, when grants use all slots, or when nobody
// is in line. A reservation alone does not end it, because it may be given back.
func (a *account) late(namespace string, now time.Time) bool {
	until, offered := a.offers[namespace]
	return offered && !now.Before(until)
}

// offer returns the requests that may take a slot now, as [account.ahead] says, and that were not woken for it. For so
// many free slots it makes offers to their namespaces, if the time of offers counts.
func (a *account) offer(room int, now time.Time, timed bool) []types.NamespacedName {
	var woken []types.NamespacedName
	ahead, ofLate := 0, map[string]int{}
	for _, w := range a.line {
		if ahead >= room {
			break
		}
		namespace := w.key.Namespace
		if a.late(namespace, now) {
			if ofLate[namespace]++; ahead+ofLate[namespace] > room {
				continue
			}
		} else {
			ahead++
			if _, offered := a.offers[namespace]; !offered && timed {
				a.keep(namespace, now)
			}
		}
		if !w.woken {
			w.woken = true
			woken = append(woken, w.key)
		}
	}
	return woken
}

func (a *account) keep(namespace string, now time.Time) {
	if a.offers == nil {
		a.offers = map[string]time.Time{}
	}
	a.offers[namespace] = now.Add(offerLasts)
}

// ahead is how many requests in line must be left a slot before this one may take one: those that come first and are
// of the same namespace, or of one that is not late.
func (a *account) ahead(w *waiter, now time.Time) int {
	before, ahead := a.place(w), 0
	if len(a.offers) == 0 {
		return before
	}
	for _, other := range a.line[:before] {
		if other.key.Namespace == w.key.Namespace || !a.late(other.key.Namespace, now) {
			ahead++
		}
	}
	return ahead
}

// used is how many slots are taken by grants that were seen. A reservation is not among them.
func (a *account) used(now time.Time) int {
	sum := 0
	for _, s := range a.slots {
		if s.shown {
			sum += s.counts(now)
		}
	}
	return sum
}

// lapse is the next instant at which a namespace becomes late; zero if there is none.
func (a *account) lapse(now time.Time) time.Time {
	var next time.Time
	for _, until := range a.offers {
		if now.Before(until) {
			next = earlier(next, until)
		}
	}
	return next
}

// earlier is the earlier one of two instants, of which zero is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// Lead says that this process decides on requests from now on: the time of offers counts. A process that waits to lead
// is told the same, but nobody takes there what is offered.
func (l *Ledger) Lead() {
	l.change(func(time.Time) []string {
		l.leads = true
		return slices.Collect(maps.Keys(l.accounts))
	})
}

// Due is the next instant at which Pass has something to do; zero if there is none.
func (l *Ledger) Due() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.due
}

// Rescheduled holds a value when Due may have changed since the value before was taken.
func (l *Ledger) Rescheduled() <-chan struct{} { return l.rescheduled }

// Pass lets the time take effect that has passed: those are woken to whom a slot is offered as well by now, and those
// for whom there is room since a credential expired.
func (l *Ledger) Pass() {
	l.change(func(now time.Time) []string {
		var due []string
		for name, a := range l.accounts {
			if !a.due.IsZero() && !now.Before(a.due) {
				due = append(due, name)
			}
		}
		return due
	})
}

// plan notes when Pass has something to do next.
func (l *Ledger) plan() {
	var due time.Time
	for _, a := range l.accounts {
		due = earlier(due, a.due)
	}
	if due.Equal(l.due) {
		return
	}
	l.due = due
	select {
	case l.rescheduled <- struct{}{}:
	default: // nobody has looked since the last change
	}
}
