// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package limits

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/policy"
)

// slot is what one request's grant takes of a limit.
type slot struct {
	policy string
	// key is the name of the request, and of its grant.
	key types.NamespacedName
	// shown reports whether the grant was seen. Before that, the slot is a reservation of this process.
	shown bool
	// doubtful reports whether it is not known if the grant was created.
	doubtful bool
	// ended reports whether the grant has ended, is being ended, or was removed: nothing more is issued for it, and what
	// counts is what was.
	ended, removed bool
	// stops are the instants at which the credentials of the grant stop working by themselves.
	stops []time.Time
}

// counts is how much of the limit is taken.
func (s *slot) counts(now time.Time) int {
	working := 0
	for _, stop := range s.stops {
		if now.Before(stop) {
			working++
		}
	}
	if !s.ended {
		return max(1, working)
	}
	return working
}

// next is the first instant at which the slot counts less by time alone; zero if there is none.
func (s *slot) next(now time.Time) time.Time {
	if !s.ended && s.counts(now) == 1 {
		return time.Time{}
	}
	var next time.Time
	for _, stop := range s.stops {
		if now.Before(stop) && stop.Before(v1alpha1.Unconfirmed()) && (next.IsZero() || stop.Before(next)) {
			next = stop
		}
	}
	return next
}

// Grant tells of a grant as it is now. It takes the place of the reservation that was made for its request.
func (l *Ledger) Grant(g *v1alpha1.CapabilityGrant) {
	l.change(func(now time.Time) []string {
		s := &slot{
			policy: g.Spec.Approval.Policy,
			key:    nameOf(g),
			shown:  true,
			ended:  g.Status.EndedAt != nil || g.Status.Stop != nil,
			stops:  g.Stops(),
		}
		uid := types.UID(g.Spec.RequestRef.UID)
		if taken := l.reserved[uid]; taken != nil {
			delete(l.accounts[taken.policy].offers, taken.key.Namespace)
		}
		return l.put(uid, s, now)
	})
}

// GrantGone tells of the last state of a grant that was removed. What may work of it goes on counting until it
// expires: whoever removed the grant took away what is stored, and not the credential.
func (l *Ledger) GrantGone(g *v1alpha1.CapabilityGrant) {
	l.change(func(now time.Time) []string {
		last := *g
		last.Status.Stop = nil // nobody will confirm any more that it ended before its time
		s := &slot{policy: g.Spec.Approval.Policy, key: nameOf(g), shown: true, ended: true, removed: true, stops: last.Stops()}
		changed := l.put(types.UID(g.Spec.RequestRef.UID), s, now)
		return append(changed, l.sweep(now)...)
	})
}

// put stores a request's slot, in the place of any that it had, and returns the policies whose count that changes.
func (l *Ledger) put(uid types.UID, s *slot, now time.Time) []string {
	changed := l.drop(uid)
	if s.counts(now) == 0 {
		return changed
	}
	changed = append(changed, s.policy)
	l.slots[uid] = s
	l.account(s.policy).slots[uid] = s
	if !s.shown {
		l.reserved[uid] = s
	}
	if s.removed {
		l.removed++
	}
	return changed
}

// drop forgets a request's slot, and returns the policy whose count that changes.
func (l *Ledger) drop(uid types.UID) []string {
	s := l.slots[uid]
	if s == nil {
		return nil
	}
	delete(l.slots, uid)
	delete(l.reserved, uid)
	delete(l.accounts[s.policy].slots, uid)
	if s.removed {
		l.removed--
	}
	return []string{s.policy}
}

// sweep drops the slots of removed grants that count no more, and for which nobody asks. It looks them through only
// when they are twice as many as the last time, so that each costs the same however many there are.
func (l *Ledger) sweep(now time.Time) []string {
	const least = 64
	if l.removed < max(least, 2*l.kept) {
		return nil
	}
	var changed []string
	for uid, s := range l.slots {
		if s.removed && s.counts(now) == 0 {
			changed = append(changed, l.drop(uid)...)
		}
	}
	l.kept = l.removed
	return changed
}

// Reserve takes a slot of the policy's limit for a request, if there is room and no other request comes first that has
// to be waited for. If not, the request waits in line, and what room there is tells why and until when. A request that
// has a slot keeps it: asking twice is harmless. Before Open it returns [ErrNotCounted].
func (l *Ledger) Reserve(
	policyName string,
	limit int32,
	r *v1alpha1.CapabilityRequest,
) (room policy.Room, reserved bool, err error) {
	l.change(func(now time.Time) (changed []string) {
		if !l.open {
			err = ErrNotCounted
			return nil
		}
		if s := l.slots[r.UID]; s != nil && (s.shown || s.policy == policyName) {
			reserved = true
			return l.leave(nameOf(r))
		}
		changed = append(l.drop(r.UID), policyName)
		a := l.account(policyName)
		if !a.told {
			a.limit = &limit
		}
		w := newWaiter(policyName, r)
		room = l.room(a, w, now)
		if reserved = room.Active+a.ahead(w, now) < int(limit); !reserved {
			w.next = room.Next
			return append(changed, l.enter(w)...)
		}
		changed = append(changed, l.leave(w.key)...)
		return append(changed, l.put(r.UID, &slot{policy: policyName, key: w.key}, now)...)
	})
	return room, reserved, err
}

// GiveBack frees the slot that was reserved for a request: its grant was not created, for certain. A slot whose grant
// was seen stays.
func (l *Ledger) GiveBack(request types.UID) {
	l.change(func(time.Time) []string {
		if l.reserved[request] == nil {
			return nil
		}
		return l.drop(request)
	})
}

// Doubt says that it is not known whether the grant of a reservation was created. The slot stays taken until the
// grant is seen or GiveBack is called.
func (l *Ledger) Doubt(request types.UID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.reserved[request]; s != nil {
		s.doubtful = true
	}
}

// Doubtful reports whether it is not known if the request's grant was created.
func (l *Ledger) Doubtful(request types.UID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.reserved[request]
	return s != nil && s.doubtful
}

// ReservedFor are the UIDs of all requests of a name for which a slot is reserved and whose grant was not seen.
func (l *Ledger) ReservedFor(name types.NamespacedName) []types.UID {
	l.mu.Lock()
	defer l.mu.Unlock()
	var uids []types.UID
	for uid, s := range l.reserved {
		if s.key == name {
			uids = append(uids, uid)
		}
	}
	return uids
}
