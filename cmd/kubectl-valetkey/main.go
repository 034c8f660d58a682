// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Command kubectl-valetkey is the plugin `kubectl valetkey`.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/utils/clock"

	"github.com/valetkey/valetkey/internal/cli"
	"github.com/valetkey/valetkey/internal/librarylog"
)

func main() {
	librarylog.TakeOver(librarylog.Lines(os.Stderr))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := cli.Run(ctx, os.Args[1:], genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}, clock.RealClock{})
	stop()
	os.Exit(code)
}
