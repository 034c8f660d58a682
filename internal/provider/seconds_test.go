// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package provider_test

import (
	"math"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/provider"
)

func TestSeconds_WhatNothingLivesForIsRefused(t *testing.T) {
	const tenYears = 10 * 365 * 24 * 3600
	for _, tt := range []struct {
		name string
		n    int64
		want time.Duration
		ok   bool
	}{
		{"none", 0, 0, true},
		{"an hour", 3600, time.Hour, true},
		{"ten years", tenYears, tenYears * time.Second, true},
		{"more than ten years", tenYears + 1, 0, false},
		{"a year ago", -tenYears, 0, false},
		{"what overflows into a minute", 60 + 1<<55, 0, false},
		{"what overflows into the past", 1 << 40, 0, false},
		{"the most", math.MaxInt64, 0, false},
		{"the least", math.MinInt64, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, ok := provider.Seconds(tt.n); got != tt.want || ok != tt.ok {
				t.Errorf("got %s, %t", got, ok)
			}
		})
	}
}
