// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// asking has callers wait for their turn, and notes in which order they begin. A call goes on until it is told to end.
type asking struct {
	*shares
	mu    sync.Mutex
	begun []caller
}

func (a *asking) ask(ctx context.Context, of caller) {
	go func() {
		if a.acquire(ctx, of) != nil {
			return
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		a.begun = append(a.begun, of)
	}()
	synctest.Wait()
}

func (a *asking) expect(t *testing.T, begun ...caller) {
	t.Helper()
	synctest.Wait()
	if !slices.Equal(a.begun, begun) {
		t.Errorf("begun have %v, and not %v", a.begun, begun)
	}
}

// TestShares_ACapabilityThatHangsKeepsNoOtherWaiting: however many calls wait of a capability that no back end answers,
// the first of another begins at once, and so do the first ten.
func TestShares_ACapabilityThatHangsKeepsNoOtherWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &asking{shares: newShares(mostCalls)}
		ctx, giveUp := context.WithCancel(t.Context())
		for range 10 * mostCalls {
			go func() { _ = a.acquire(ctx, caller{"hangs", "busy"}) }()
		}
		synctest.Wait()
		if a.all != mostCalls/2 {
			t.Errorf("%d of a capability run at once", a.all)
		}
		var begun []caller
		for range 10 {
			a.ask(ctx, caller{"answers", "another"})
			begun = append(begun, caller{"answers", "another"})
		}
		a.expect(t, begun...)
		giveUp()
		synctest.Wait()
		if len(a.waiting) > 0 {
			t.Errorf("%d wait who gave up", len(a.waiting))
		}
	})
}

// TestShares_WhoHasFewestIsNext: of capabilities, and in a capability of namespaces.
func TestShares_WhoHasFewestIsNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, busy, quiet, other := &asking{shares: newShares(4)}, caller{"one", "busy"}, caller{"one", "quiet"}, caller{"two", "busy"}
		ctx, giveUp := context.WithCancel(t.Context())
		for range 5 {
			a.ask(ctx, busy)
		}
		a.ask(ctx, quiet)
		a.ask(ctx, quiet)
		a.expect(t, busy, busy)
		a.ask(ctx, other)
		a.expect(t, busy, busy, other)
		a.ask(ctx, other)
		a.expect(t, busy, busy, other) // the last is for a third
		a.release(busy)
		a.expect(t, busy, busy, other, quiet)
		a.release(other)
		a.expect(t, busy, busy, other, quiet, other)
		a.release(busy)
		a.expect(t, busy, busy, other, quiet, other, busy)
		giveUp()
		synctest.Wait()
		if len(a.waiting) > 0 {
			t.Errorf("%d wait who gave up", len(a.waiting))
		}
	})
}

// TestShares_NothingIsLost: callers that give up while others end take no share with them.
func TestShares_NothingIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShares(8)
		var group sync.WaitGroup
		for i := range 400 {
			of := caller{string(rune('a' + i%3)), string(rune('a' + i%5))}
			group.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i%7)*10*time.Millisecond)
				defer cancel()
				if s.acquire(ctx, of) == nil {
					<-time.After(time.Duration(i%4) * 10 * time.Millisecond)
					s.release(of)
				}
			})
		}
		group.Wait()
		if s.all != 0 || len(s.running)+len(s.ofCapability)+len(s.waiting) > 0 {
			t.Errorf("when all have ended, %d run, by their own count %v, of %v, and %d wait", s.all, s.running, s.ofCapability, len(s.waiting))
		}
	})
}
