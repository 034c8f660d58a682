// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Command manager is the Valetkey operator. With a subcommand in front of its flags it does something else and ends:
//
//	verify-audit LOG…   verifies audit logs
//	print-audit LOG…    prints them
//	check               says whether what is installed works
//	check-removal       lists the grants that need the operator, for whoever is about to remove the operator
//	--version           says what it was built from
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
	"github.com/valetkey/valetkey/internal/librarylog"
	"github.com/valetkey/valetkey/internal/version"
	"github.com/valetkey/valetkey/internal/visible"
)

func main() {
	librarylog.TakeOver(librarylog.Lines(os.Stderr))
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:])
	cancel()
	os.Exit(code)
}

func run(ctx context.Context, args []string) int {
	// Errors, conditions and names hold what others wrote. Standard output goes as it is where programs read it: it
	// has the audit log.
	stderr := visible.NewWriter(os.Stderr)
	subcommand := ""
	if len(args) > 0 {
		subcommand = args[0]
	}
	switch subcommand {
	case "verify-audit":
		return audit.VerifyCommand(args[1:], os.Stdin, visible.NewWriter(os.Stdout), stderr)
	case "print-audit":
		return audit.PrintCommand(args[1:], os.Stdout, stderr)
	case "check":
		return app.Check(ctx, args[1:], visible.NewWriter(os.Stdout), stderr, clock.RealClock{})
	case "check-removal":
		return app.CheckRemoval(ctx, args[1:], visible.NewWriter(os.Stdout), stderr, clock.RealClock{})
	case "--version":
		_, _ = fmt.Println(version.Line("manager"))
		return 0
	default:
		return app.Run(ctx, args, os.Stdout, stderr, clock.RealClock{})
	}
}
