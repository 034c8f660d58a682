// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Command manager is the Valetkey operator. `manager verify-audit LOG…` verifies its audit log, `manager print-audit LOG…` prints it.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/utils/clock"

	"github.com/valetkey/valetkey/internal/app"
	"github.com/valetkey/valetkey/internal/audit"
)

func main() {
	args := os.Args[1:]
	switch {
	case len(args) > 0 && args[0] == "verify-audit":
		os.Exit(audit.VerifyCommand(args[1:], os.Stdin, os.Stdout, os.Stderr))
	case len(args) > 0 && args[0] == "print-audit":
		os.Exit(audit.PrintCommand(args[1:], os.Stdout, os.Stderr))
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	os.Exit(app.Run(ctx, args, os.Stdout, os.Stderr, clock.RealClock{}))
}
