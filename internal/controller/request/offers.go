// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package request

import (
	"context"
	"time"

	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/valetkey/valetkey/internal/limits"
)

// Offers has a ledger make its offers in time while the process leads. The ledger goes by the clock, and timers wait.
func Offers(ledger *limits.Ledger, now clock.PassiveClock, timers clock.WithTicker) manager.Runnable {
	return manager.RunnableFunc(func(ctx context.Context) error {
		ledger.Lead()
		for ctx.Err() == nil {
			awaitDue(ctx, ledger, now, timers)
		}
		return nil
	})
}

// awaitDue calls Pass when it is due. It returns earlier when it may be due at another time.
func awaitDue(ctx context.Context, ledger *limits.Ledger, now clock.PassiveClock, timers clock.WithTicker) {
	var comes <-chan time.Time
	if due := ledger.Due(); !due.IsZero() {
		timer := timers.NewTimer(due.Sub(now.Now()))
		defer timer.Stop()
		comes = timer.C()
	}
	select {
	case <-ctx.Done():
	case <-ledger.Rescheduled():
	case <-comes:
		ledger.Pass()
	}
}
