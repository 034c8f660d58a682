// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Command valetkey-exec runs one command with the credential of its container.
package main

import (
	"context"
	"os"

	"k8s.io/utils/clock"

	"github.com/valetkey/valetkey/internal/exec"
	"github.com/valetkey/valetkey/internal/librarylog"
)

func main() {
	librarylog.TakeOver(librarylog.Lines(os.Stderr))
	os.Exit(exec.Run(context.Background(), exec.Options{
		Args: os.Args[1:], Environment: os.Environ(), Clock: clock.RealClock{},
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
	}))
}
