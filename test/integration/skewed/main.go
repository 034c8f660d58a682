// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Command skewed is the operator with a clock that is off by the duration in VALETKEY_TEST_SKEW. For tests.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"k8s.io/utils/clock"

	"github.com/valetkey/valetkey/internal/app"
)

// skewedClock is off by a constant.
type skewedClock struct {
	clock.RealClock
	by time.Duration
}

// Now is the wrong time.
func (c skewedClock) Now() time.Time { return c.RealClock.Now().Add(c.by) }

// Since is how long ago a wrong time was.
func (c skewedClock) Since(t time.Time) time.Duration { return c.Now().Sub(t) }

func main() {
	by, err := time.ParseDuration(os.Getenv("VALETKEY_TEST_SKEW"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	os.Exit(app.Run(ctx, os.Args[1:], os.Stdout, os.Stderr, skewedClock{by: by}))
}
