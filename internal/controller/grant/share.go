// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"cmp"
	"context"
	"slices"
	"sync"
)

// caller is on whose behalf a back end is asked.
type caller struct{ capability, namespace string }

// shares lets so many calls to one provider run at the same time. A capability whose calls hang does not keep those of
// others waiting: no capability has more calls than are left for others, and a call that ends is followed by one of the
// capability, and in it of the namespace, that has the fewest. The first that came is the first of those that are alike.
type shares struct {
	most int

	mu sync.Mutex
	// running counts the calls of each caller, and ofCapability those of each capability. What has none is not there.
	running      map[caller]int
	ofCapability map[string]int
	all          int
	// waiting are in the order in which they came.
	waiting []*waiter
}

type waiter struct {
	caller caller
	// turn is closed when the call may begin.
	turn chan struct{}
}

func newShares(most int) *shares {
	return &shares{most: most, running: map[caller]int{}, ofCapability: map[string]int{}}
}

// acquire waits until a call may begin, or fails with the context's error. release has to be called when it has ended.
func (s *shares) acquire(ctx context.Context, of caller) error {
	w := &waiter{caller: of, turn: make(chan struct{})}
	s.mu.Lock()
	s.waiting = append(s.waiting, w)
	s.next()
	s.mu.Unlock()
	select {
	case <-w.turn:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	i := slices.Index(s.waiting, w)
	if i >= 0 {
		s.waiting = slices.Delete(s.waiting, i, i+1)
	}
	s.mu.Unlock()
	if i < 0 { // its turn came in the same instant
		return nil
	}
	return ctx.Err()
}

// release says that a call has ended.
func (s *shares) release(of caller) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count(of, -1)
	s.next()
}

func (s *shares) count(of caller, by int) {
	s.all += by
	if s.running[of] += by; s.running[of] == 0 {
		delete(s.running, of)
	}
	if s.ofCapability[of.capability] += by; s.ofCapability[of.capability] == 0 {
		delete(s.ofCapability, of.capability)
	}
}

// next lets those begin that may.
func (s *shares) next() {
	for {
		best := -1
		for i, w := range s.waiting {
			if s.ofCapability[w.caller.capability] >= s.most-s.all {
				continue
			}
			if best < 0 || s.fewer(w.caller, s.waiting[best].caller) {
				best = i
			}
		}
		if best < 0 {
			return
		}
		w := s.waiting[best]
		s.waiting = slices.Delete(s.waiting, best, best+1)
		s.count(w.caller, 1)
		close(w.turn)
	}
}

func (s *shares) fewer(a, b caller) bool {
	return cmp.Or(cmp.Compare(s.ofCapability[a.capability], s.ofCapability[b.capability]), cmp.Compare(s.running[a], s.running[b])) < 0
}
