// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// TestLooks_LeaveOthersTheProcessors: however many requests of a namespace wait to be looked at, and however many
// namespaces there are.
func TestLooks_LeaveOthersTheProcessors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var all looks
		half := max(1, int32(runtime.GOMAXPROCS(0))/2)
		running, goOn := map[string]*atomic.Int32{"agents": {}, "others": {}, "more": {}}, make(chan struct{})
		for namespace, inside := range running {
			for range 10 {
				go func() {
					_ = all.do(t.Context(), namespace, func() error {
						inside.Add(1)
						<-goOn
						inside.Add(-1)
						return nil
					})
				}()
			}
		}
		for range 30 {
			synctest.Wait()
			sum := int32(0)
			for namespace, inside := range running {
				if n := inside.Load(); n > 1 {
					t.Errorf("%d looks for %s are made at a time", n, namespace)
				}
				sum += inside.Load()
			}
			if sum == 0 || sum > half {
				t.Errorf("%d looks are made at a time", sum)
			}
			goOn <- struct{}{}
		}
	})
}
