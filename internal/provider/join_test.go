// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package provider_test

import (
	"errors"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/provider"
)

// TestJoin_ForgetsNothingThatWorks, says one thing once, and waits as long as it has to.
func TestJoin_ForgetsNothingThatWorks(t *testing.T) {
	soon, late := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC), time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)
	busy, mismatched := provider.NotAsked(provider.Throttled, "busy"), func(until time.Time) error {
		return provider.Mismatched(provider.Retryable, provider.WorksUntil(until), "otherwise")
	}
	busy.RetryAfter = time.Minute
	for name, row := range map[string]struct {
		failures  []error
		words     string
		works     provider.Works
		throttled bool
		after     time.Duration
	}{
		"none":                  {failures: []error{nil, nil}},
		"one":                   {failures: []error{nil, busy, nil}, words: "busy", throttled: true, after: time.Minute},
		"one behind another":    {failures: []error{errors.New("odd"), busy}, words: "odd; busy", after: time.Minute},
		"the longest of them":   {failures: []error{busy, mismatched(late), mismatched(soon)}, words: "busy; otherwise", works: provider.Works{Until: late, Mismatched: true}, throttled: true, after: time.Minute},
		"one that does not say": {failures: []error{mismatched(late), mismatched(time.Time{})}, words: "otherwise", works: provider.Works{Until: late, Unknown: true, Mismatched: true}},
	} {
		err := provider.Join(row.failures...)
		if (err == nil) != (row.words == "") || err != nil && err.Error() != row.words {
			t.Errorf("%s: got %v", name, err)
		}
		if provider.StillWorks(err) != row.works || provider.IsThrottled(err) != row.throttled || provider.RetryAfter(err) != row.after {
			t.Errorf("%s: %+v, throttled %t, after %s", name, provider.StillWorks(err), provider.IsThrottled(err), provider.RetryAfter(err))
		}
	}
}
