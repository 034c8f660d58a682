// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package app

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"k8s.io/client-go/tools/leaderelection/resourcelock"
	clocktesting "k8s.io/utils/clock/testing"
)

// lock keeps what was stored in it.
type lock struct {
	resourcelock.Interface
	stored []string
	fails  bool
}

func (*lock) Identity() string { return "us" }

func (l *lock) Update(_ context.Context, record resourcelock.LeaderElectionRecord) error {
	if l.fails {
		return errors.New("it has moved on")
	}
	l.stored = append(l.stored, record.HolderIdentity)
	return nil
}

func (l *lock) Create(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	return l.Update(ctx, record)
}

// TestLease_IsRenewedOnceInAWhile, and taken and given back at once. After a write that failed, nothing is known of what is stored.
func TestLease_IsRenewedOnceInAWhile(t *testing.T) {
	clock := clocktesting.NewFakeClock(time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC))
	stores := &lock{}
	l := &lease{Interface: stores, clock: clock, every: 2 * time.Second}
	update := func(holder string, want ...string) {
		t.Helper()
		stores.stored = nil
		err := l.Update(t.Context(), resourcelock.LeaderElectionRecord{HolderIdentity: holder})
		if (err != nil) != stores.fails || !slices.Equal(stores.stored, want) {
			t.Errorf("stored are %q (%v), not %q", stores.stored, err, want)
		}
	}
	if err := l.Create(t.Context(), resourcelock.LeaderElectionRecord{HolderIdentity: "us"}); err != nil {
		t.Fatal(err)
	}
	for range 7 {
		clock.Step(250 * time.Millisecond)
		update("us")
	}
	clock.Step(250 * time.Millisecond)
	update("us", "us")
	update("us")
	update("", "")
	update("us", "us")
	clock.Step(2 * time.Second)
	stores.fails = true
	update("us")
	stores.fails = false
	update("us", "us")
	update("us")
}
