// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package provider

import "time"

// longestLife is longer than anything lives that is given out for a while: ten years.
const longestLife = 10 * 365 * 24 * time.Hour

// Seconds is a number of seconds, as a back end answers one, as a duration. It is not ok if the number is negative or
// of more than ten years. The number is compared and not the product: a larger one can overflow into a minute, or into
// the past.
func Seconds(n int64) (d time.Duration, ok bool) {
	if n < 0 || n > int64(longestLife/time.Second) {
		return 0, false
	}
	return time.Duration(n) * time.Second, true
}
