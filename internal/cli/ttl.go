// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"math"
	"time"

	"k8s.io/utils/ptr"
)

// ttlFlag is the flag --ttl: a duration of whole seconds, as requests have it. Nothing is rounded: whoever asks for less
// than a credential's time would be surprised by its end.
type ttlFlag struct {
	// seconds is nil where the flag is not set.
	seconds *int32
}

// Set implements [pflag.Value].
func (f *ttlFlag) Set(text string) error {
	ttl, err := time.ParseDuration(text)
	if err != nil || ttl < time.Second || ttl%time.Second != 0 || ttl > math.MaxInt32*time.Second {
		return errors.New("want a number of whole seconds, as 15m or 900s")
	}
	f.seconds = ptr.To(int32(ttl / time.Second))
	return nil
}

// String implements [pflag.Value].
func (f *ttlFlag) String() string {
	if f.seconds == nil {
		return ""
	}
	return (time.Duration(*f.seconds) * time.Second).String()
}

// Type implements [pflag.Value].
func (f *ttlFlag) Type() string { return "duration" }
