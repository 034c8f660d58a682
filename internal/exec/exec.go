// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package exec runs one command with the credential of its container: in that command's environment alone, with what
// the command writes scrubbed of it, and no longer than the grant lives.
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
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/utils/clock"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/version"
)

// The exit codes for a command that was not run, or not to its end: those that shells and timeout(1) have.
const (
	exitUsage      = 2
	exitTimeOver   = 124
	exitFailed     = 125
	exitCannotRun  = 126
	exitNotFound   = 127
	exitSignalBase = 128
)

// grace is what a command has to end by itself when the grant is over, and what its last words have to be written.
const grace = v1alpha1.PodGraceSeconds * time.Second

const usage = `Usage: valetkey-exec -- COMMAND [ARGUMENT…]
       valetkey-exec install DIR
       valetkey-exec --version

Runs a command with the credential of its container: in its environment alone, with its output
scrubbed of it, until the grant is over. It ends as the command does; 124 says that the grant was
over, 125 that there was no credential, or none that is safe to use, 126 and 127 that the command
could not be run.

install copies this program into a folder, for an image that does not have it.
`

// Options are what the process has. All are required.
type Options struct {
	// Args without the program's name.
	Args []string
	// Environment of the process: NAME=value.
	Environment []string
	// Stdin, Stdout and Stderr of the process.
	Stdin, Stdout, Stderr *os.File
	// Clock is the present time.
	Clock clock.WithTicker
}

// Run runs what the arguments say, and returns the exit code.
func Run(ctx context.Context, o Options) int {
	switch {
	case len(o.Args) == 2 && o.Args[0] == "install":
		return o.report(install(o.Args[1]), exitFailed)
	case len(o.Args) == 1 && o.Args[0] == "--version":
		_, err := fmt.Fprintln(o.Stdout, version.Line("valetkey-exec"))
		return o.report(err, exitFailed)
	case len(o.Args) == 1 && o.Args[0] == keep:
		return o.keepOpen()
	case len(o.Args) > 1 && o.Args[0] == "--":
		return o.command(ctx, o.Args[1:])
	default:
		_, _ = io.WriteString(o.Stderr, usage)
		return exitUsage
	}
}

// report says what went wrong, and returns the code for it.
func (o Options) report(err error, code int) int {
	if err == nil {
		return 0
	}
	_, _ = fmt.Fprintf(o.Stderr, "valetkey-exec: %v\n", err)
	return code
}

func (o Options) command(ctx context.Context, args []string) int {
	if err := hide(); err != nil {
		return o.report(err, exitFailed)
	}
	held, err := o.load()
	if errors.Is(err, errOver) {
		return o.report(err, exitTimeOver)
	}
	if err != nil {
		return o.report(err, exitFailed)
	}
	environment, left, err := held.environment(o.Environment)
	if err != nil {
		return o.report(err, exitFailed)
	}
	_, _ = io.WriteString(o.Stderr, told(left))
	environment, end, err := held.serveGoogle(ctx, o.Clock, environment)
	if err != nil {
		return o.report(err, exitFailed)
	}
	defer end()
	cmd := exec.Command(args[0], args[1:]...) //nolint:gosec // what the Job says, which was approved
	cmd.Env = environment
	pipes, err := o.connect(cmd, newPatterns(held.secrets))
	if err != nil {
		return o.report(err, exitFailed)
	}
	return o.run(cmd, pipes, held)
}

// hide keeps this process's memory from others of the same user, and from core dumps; those of the command too.
func hide() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("turning core dumps off: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("hiding this process: %w", err)
	}
	return nil
}

// run starts the command, passes on every signal, ends it when the grant is over, and ends as it does.
func (o Options) run(cmd *exec.Cmd, pipes *pipes, held *held) int {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
			return o.report(err, exitNotFound)
		}
		return o.report(err, exitCannotRun)
	}
	written := pipes.copy()
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	code := o.follow(cmd, pipes, held, signals, ended)
	// What the command wrote is written before this process ends. A process that the command left running, or a reader
	// that reads nothing, is not waited for.
	select {
	case <-written:
	case <-o.Clock.After(grace):
	}
	return code
}

// follow waits for the end of the command.
func (o Options) follow(cmd *exec.Cmd, pipes *pipes, held *held, signals <-chan os.Signal, ended <-chan error) int {
	var kill <-chan time.Time
	over, timeIsOver := o.Clock.After(held.expires.Sub(o.Clock.Now())), false
	for {
		select {
		case s := <-signals:
			pipes.pass(cmd.Process, s)
		case <-over:
			timeIsOver, over = true, nil
			_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
			kill = o.Clock.After(grace)
		case <-kill:
			_ = cmd.Process.Kill() // it may have ended
		case err := <-ended:
			if timeIsOver {
				return o.report(errors.New("the grant is over, and the command was ended; ask for another"), exitTimeOver)
			}
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
