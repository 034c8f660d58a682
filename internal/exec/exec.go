// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package exec runs one command with the credential of its container.
package exec

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"k8s.io/utils/clock"
)

// The exit codes of shells, for a command that was not run.
const (
	exitUsage      = 2
	exitFailed     = 125
	exitCannotRun  = 126
	exitNotFound   = 127
	exitSignalBase = 128
)

const usage = `Usage: valetkey-exec -- COMMAND [ARGUMENT…]

Runs a command with the credential of its container, and ends as the command does.
`

// Run runs the command that args name, in the environment that is given, and returns its exit code.
func Run(ctx context.Context, args, environment []string, stdin io.Reader, stdout, stderr io.Writer, c clock.PassiveClock) int {
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		_, _ = io.WriteString(stderr, usage)
		return exitUsage
	}
	environment, end, err := google(ctx, environment, c)
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "valetkey-exec: %v\n", err)
		return exitFailed
	}
	defer end()
	cmd := exec.Command(args[0], args[1:]...) //nolint:gosec // what the Job says, which was approved
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = environment, stdin, stdout, stderr
	return run(cmd, stderr)
}

// run passes on every signal, and ends as the command does.
func run(cmd *exec.Cmd, stderr io.Writer) int {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		_, _ = fmt.Fprintf(stderr, "valetkey-exec: %v\n", err)
		if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
			return exitNotFound
		}
		return exitCannotRun
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case s := <-signals:
			// SIGCHLD is of the command, SIGURG of this program's own threads.
			if s != syscall.SIGCHLD && s != syscall.SIGURG {
				_ = cmd.Process.Signal(s) // it may have ended
			}
		case err := <-ended:
			return code(err, cmd.ProcessState)
		}
	}
}

func code(err error, state *os.ProcessState) int {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return exitSignalBase + int(status.Signal())
	}
	if failed := (*exec.ExitError)(nil); err != nil && !errors.As(err, &failed) {
		return exitFailed
	}
	return state.ExitCode()
}
