// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Command valetkey-exec runs one command with the credential of its container.
package main

import (
	"context"
	"os"

	"k8s.io/utils/clock"

	"github.com/valetkey/valetkey/internal/exec"
)

func main() {
	os.Exit(exec.Run(context.Background(), os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr, clock.RealClock{}))
}
