// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"time"

	"golang.org/x/sync/singleflight"
	utilcache "k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/utils/clock"
)

// answersLast is how long an answer is believed. The API server's own view of roles and rules is about as late. Without it, a thousand
// grants that wait for one back end would ask the same questions thousands of times, and keep everybody else waiting.
const answersLast = 2 * time.Second

// Answers remembers what the API server said for a moment, and asks no question twice at a time.
type Answers struct {
	cache   *utilcache.LRUExpireCache
	flights singleflight.Group
}

// NewAnswers remembers nothing yet.
func NewAnswers(clock clock.PassiveClock) *Answers {
	const most = 10_000
	return &Answers{cache: utilcache.NewLRUExpireCacheWithClock(most, clock)}
}

// of is the answer to a question, asked now or of late. An error is not remembered.
func (a *Answers) of(question string, ask func() (any, error)) (any, error) {
	if known, ok := a.cache.Get(question); ok {
		return known, nil
	}
	answer, err, _ := a.flights.Do(question, func() (any, error) {
		answer, err := ask()
		if err == nil {
			a.cache.Add(question, answer, answersLast)
		}
		return answer, err
	})
	return answer, err
}
