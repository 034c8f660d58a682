// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package exec

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

const (
	// pipeSize is how much a command can be ahead of whoever scrubs, in bytes.
	pipeSize = 1 << 20
	// readSize is how much is scrubbed at a time, in bytes.
	readSize = 256 << 10
	// idle is how long a byte or two that may begin a secret are held back for what comes next.
	idle = 50 * time.Millisecond
)

// pipes are what stands between the command and this process's own streams.
type pipes struct {
	streams []stream
	// close are the command's ends.
	close []io.Closer
	// terminal is this side of the command's terminal; nil if it has none.
	terminal *os.File
	stdin    *os.File
	restore  func()
}

// stream is one way out.
type stream struct {
	from *os.File
	to   *scrubber
}

// connect gives the command its streams. Where this process has a terminal, the command gets one of its own.
func (o Options) connect(cmd *exec.Cmd, p *patterns) (*pipes, error) {
	if term.IsTerminal(int(o.Stdin.Fd())) && term.IsTerminal(int(o.Stdout.Fd())) {
		return o.connectTerminal(cmd, p)
	}
	cmd.Stdin = o.Stdin
	own := &pipes{restore: func() {}}
	for _, way := range []struct {
		to  *os.File
		set func(*os.File)
	}{{o.Stdout, func(f *os.File) { cmd.Stdout = f }}, {o.Stderr, func(f *os.File) { cmd.Stderr = f }}} {
		from, to, err := os.Pipe()
		if err != nil {
			return nil, fmt.Errorf("making a pipe: %w", err)
		}
		_, _ = unix.FcntlInt(to.Fd(), unix.F_SETPIPE_SZ, pipeSize) // a smaller one is slower, and no more
		way.set(to)
		own.streams = append(own.streams, stream{from, newScrubber(way.to, p)})
		own.close = append(own.close, to)
	}
	return own, nil
}

func (o Options) connectTerminal(cmd *exec.Cmd, p *patterns) (*pipes, error) {
	ours, theirs, err := pty.Open()
	if err != nil {
		return nil, fmt.Errorf("making a terminal: %w", err)
	}
	own := &pipes{terminal: ours, stdin: o.Stdin, close: []io.Closer{theirs}, streams: []stream{{ours, newScrubber(o.Stdout, p)}}}
	own.resize()
	before, err := term.MakeRaw(int(o.Stdin.Fd()))
	if err != nil {
		return nil, fmt.Errorf("setting the terminal up: %w", err)
	}
	own.restore = func() { _ = term.Restore(int(o.Stdin.Fd()), before) }
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs, theirs, theirs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	return own, nil
}

func (p *pipes) resize() { _ = pty.InheritSize(p.stdin, p.terminal) } // a terminal of another size is still one

// pass passes a signal on.
func (p *pipes) pass(command *os.Process, s os.Signal) {
	switch s {
	case syscall.SIGCHLD, syscall.SIGURG, syscall.SIGPIPE:
		// Of the command's end, of this program's own threads, and of whoever reads nothing any more.
	case syscall.SIGWINCH:
		if p.terminal != nil {
			p.resize()
		}
		_ = command.Signal(s)
	default:
		_ = command.Signal(s) // it may have ended
	}
}

// copy writes what the command writes, scrubbed, until it has ended; then the channel is closed.
func (p *pipes) copy() <-chan struct{} {
	for _, end := range p.close {
		_ = end.Close() // the command has its own
	}
	if p.terminal != nil {
		go func() { _, _ = io.Copy(p.terminal, p.stdin) }() // until this process ends
	}
	var all sync.WaitGroup
	for _, s := range p.streams {
		all.Go(func() { _ = s.copy() }) // whoever reads nothing any more is told no error
	}
	done := make(chan struct{})
	go func() { all.Wait(); p.restore(); close(done) }()
	return done
}

// copy returns when there is nothing more to read, or nobody to write to: then the command is told so by its next
// write.
func (s stream) copy() error {
	defer func() { _ = s.from.Close() }()
	buffer, timed := make([]byte, readSize), false
	for {
		n, err := s.from.Read(buffer)
		if n > 0 {
			if _, err := s.to.Write(buffer[:n]); err != nil {
				return err
			}
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = s.to.flush()
		}
		if err != nil {
			return errors.Join(err, s.to.flush())
		}
		if soon := s.to.waits(); soon || timed {
			timed = soon
			if err := s.from.SetReadDeadline(deadline(soon)); err != nil {
				return errors.Join(err, s.to.flush())
			}
		}
	}
}

// deadline is by the kernel's own clock: it is about what comes next, not about the grant.
func deadline(soon bool) time.Time {
	if soon {
		return time.Now().Add(idle)
	}
	return time.Time{}
}
