// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"time"

	"golang.org/x/sync/singleflight"
	utilcache "k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/utils/clock"
)

// answersLast is how long an answer is believed of which the operator cannot see what it depends on. The API
// server's own view of roles and rules is about as late. Without it, a thousand grants that wait for one back end
// would ask the same questions thousands of times, and keep everybody else waiting.
const answersLast = 2 * time.Second

// authorizersLast is how long it is believed that the API server's authorizers are the ones they were. They are its
// own configuration, which it reads anew at most once a minute.
const authorizersLast = time.Minute

// Answers remembers what the API server said for a while, and asks no question twice at a time.
type Answers struct {
	cache   *utilcache.LRUExpireCache
	flights singleflight.Group
}

// NewAnswers remembers nothing yet.
func NewAnswers(clock clock.PassiveClock) *Answers {
	const most = 10_000
	return &Answers{cache: utilcache.NewLRUExpireCacheWithClock(most, clock)}
}

// of returns the answer to a question, which is believed for a time after it was asked. An error is not remembered.
func (a *Answers) of(question string, lasts time.Duration, ask func() (any, error)) (any, error) {
	if known, ok := a.cache.Get(question); ok {
		return known, nil
	}
	answer, err, _ := a.flights.Do(question, func() (any, error) {
		answer, err := ask()
		if err == nil {
			a.cache.Add(question, answer, lasts)
		}
		return answer, err
	})
	return answer, err
}

// knows reports whether the answer to a question is remembered.
func (a *Answers) knows(question string) bool {
	_, known := a.cache.Get(question)
	return known
}

// note remembers an answer that came with another.
func (a *Answers) note(question string, answer any, lasts time.Duration) {
	a.cache.Add(question, answer, lasts)
}
