// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package callers

import (
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"
)

// TestRates_WhoComesWithoutAPauseIsNotCountedAnew: the burst is for who was away.
func TestRates_WhoComesWithoutAPauseIsNotCountedAnew(t *testing.T) {
	clock := clocktesting.NewFakeClock(time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC))
	r, came := newRates(reviewRate, reviewBurst, clock), 0
	const minutes = 5
	for range minutes * 60 * 10 {
		for r.take("agents") == 0 {
			came++
		}
		clock.Step(100 * time.Millisecond)
	}
	if most := reviewBurst + minutes*60*reviewRate; came > most {
		t.Errorf("it came %d times, of at most %d", came, most)
	}
	clock.Step(countedFor + time.Second)
	for range reviewBurst {
		if r.take("agents") > 0 {
			t.Fatal("who was away has no burst")
		}
	}
}
