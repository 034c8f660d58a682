// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package callers

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
	utilcache "k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/utils/clock"
)

// How often one ServiceAccount may call, and how many different tokens of one namespace's accounts are looked at: a
// second, and at once.
const (
	requestRate, requestBurst = 200, 400
	reviewRate, reviewBurst   = 20, 200
)

// mostRates bounds how many names are counted, and countedFor is how long one is after it came last: by then it may come as often as at first.
const (
	mostRates  = 4096
	countedFor = time.Minute
)

// rates bounds how often each name comes.
type rates struct {
	limit rate.Limit
	burst int
	clock clock.PassiveClock
	mu    sync.Mutex
	names *utilcache.LRUExpireCache
}

func newRates(limit rate.Limit, burst int, clock clock.PassiveClock) *rates {
	names := utilcache.NewLRUExpireCacheWithClock(mostRates, clock)
	return &rates{limit: limit, burst: burst, clock: clock, names: names}
}

// take counts a name. It returns 0 if it may come now, or else how long it has to wait, without having counted it.
func (r *rates) take(name string) time.Duration {
	now := r.clock.Now()
	at := r.limiter(name).ReserveN(now, 1)
	wait := at.DelayFrom(now)
	if wait > 0 {
		at.CancelAt(now)
	}
	return wait
}

func (r *rates) limiter(name string) *rate.Limiter {
	r.mu.Lock()
	defer r.mu.Unlock()
	known, ok := r.names.Get(name)
	if !ok {
		known = rate.NewLimiter(r.limit, r.burst)
	}
	r.names.Add(name, known, countedFor)
	return known.(*rate.Limiter)
}
