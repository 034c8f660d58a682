// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Command manager is the Valetkey operator. `manager verify-audit FILE…` verifies its audit log, and
// `manager --version` says what it was built from.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/utils/clock"

	"github.com/valetkey/valetkey/internal/app"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/version"
)

func main() {
	args := os.Args[1:]
	if len(args) > 0 && args[0] == "verify-audit" {
		os.Exit(audit.VerifyCommand(args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	if len(args) == 1 && args[0] == "--version" {
		_, _ = fmt.Println(version.Line("manager"))
		return
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	os.Exit(app.Run(ctx, args, os.Stdout, os.Stderr, clock.RealClock{}))
}
