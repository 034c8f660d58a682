// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"cmp"
	"sync"
)

// EndAll ends several things at once, and returns their failures in their order, as [Join] makes one of them. One that
// stays does not keep the others working, and a back end that is slow is asked about each before a revocation's time is over. A panic is one of
// the caller's.
func EndAll[T any](all []T, end func(T) error) error {
	failures, panics := make([]error, len(all)), make([]any, len(all))
	var group sync.WaitGroup
	for i, one := range all {
		group.Go(func() {
			defer func() { panics[i] = recover() }()
			failures[i] = end(one)
		})
	}
	group.Wait()
	if panicked := cmp.Or(panics...); panicked != nil {
		panic(panicked)
	}
	return Join(failures...)
}
