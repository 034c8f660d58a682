// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package provider_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/valetkey/valetkey/internal/provider"
)

// TestEndAll_NoneWaitsForAnother: five ends of eighteen seconds each are done within a revocation's minute, whichever of
// them fails.
func TestEndAll_NoneWaitsForAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := errors.New("first"), errors.New("second")
		answers := []error{nil, first, nil, second, nil}
		ended := make([]bool, len(answers))
		began := time.Now()
		err := provider.EndAll([]int{0, 1, 2, 3, 4}, func(i int) error {
			time.Sleep(time.Duration(18-i) * time.Second)
			ended[i] = true
			return answers[i]
		})
		if err == nil || err.Error() != "first; second" {
			t.Errorf("it failed with %v", err)
		}
		for i := range ended {
			if !ended[i] {
				t.Errorf("%d was not ended", i)
			}
		}
		if took := time.Since(began); took > 18*time.Second {
			t.Errorf("it took %s", took)
		}
	})
}

// TestEndAll_APanicIsTheCallers: nobody else could recover it.
func TestEndAll_APanicIsTheCallers(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("there was no panic")
		}
	}()
	_ = provider.EndAll([]int{0, 1}, func(i int) error {
		if i == 1 {
			panic("odd")
		}
		return nil
	})
}
