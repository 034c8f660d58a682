// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package observe_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/valetkey/valetkey/internal/controller/observe"
)

// TestLookups_ANamespaceWaitsForItself has one namespace ask for more than it is given at a time, and another ask
// meanwhile.
func TestLookups_ANamespaceWaitsForItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lookups observe.Lookups
		var running, done atomic.Int32
		answer := make(chan struct{})
		for range 10 {
			go func() {
				err := lookups.Do(t.Context(), observe.Turn{Namespace: "busy"}, func() error {
					running.Add(1)
					<-answer
					running.Add(-1)
					return nil
				})
				if err != nil {
					t.Error(err)
				}
				done.Add(1)
			}()
		}
		for over := range int32(10) {
			synctest.Wait()
			if now, want := running.Load(), min(2, 10-over); now != want || done.Load() != over {
				t.Errorf("%d look-ups of one namespace are over, and %d run; want %d", done.Load(), now, want)
			}
			if err := lookups.Do(t.Context(), observe.Turn{Namespace: "quiet"}, func() error { return nil }); err != nil {
				t.Errorf("another namespace: %v", err)
			}
			answer <- struct{}{}
		}
	})
}

func TestLookups_WhoeverWaitsTooLongIsToldSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lookups observe.Lookups
		answer := make(chan struct{})
		for range 2 {
			go func() {
				_ = lookups.Do(t.Context(), observe.Turn{Namespace: "busy"}, func() error { <-answer; return nil })
			}()
		}
		synctest.Wait()
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if err := lookups.Do(
			ended,
			observe.Turn{Namespace: "busy"},
			func() error { t.Error("it is made all the same"); return nil },
		); !errors.Is(
			err,
			context.Canceled,
		) {
			t.Errorf("it is told %v", err)
		}
		close(answer)
		synctest.Wait()
		broken := errors.New("broken")
		if err := lookups.Do(t.Context(), observe.Turn{Namespace: "busy"}, func() error { return broken }); !errors.Is(err, broken) {
			t.Errorf("a look-up that fails: %v", err)
		}
	})
}
