// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package supervisor is the first process of a cluster: it is process 1 of the cluster's own PID namespace, starts the
// cluster's programs there and reports how they ended. When it dies, for whatever reason, the kernel kills everything
// else in the namespace, containers and their shims included, and drops the mounts with it. Nothing has to be searched
// for afterwards.
package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"sort"
	"sync"
	"syscall"
	"time"
)

// Program is what to run. Its output is appended to <Name>.log in the supervisor's log directory.
type Program struct {
	Name string
	Path string
	Args []string
	Env  []string
}

// Status tells how a program fares. Exit is empty while it runs.
type Status struct {
	Name    string
	PID     int
	Running bool
	Exit    string
}

// SignalRequest names a running program and the signal it shall get.
type SignalRequest struct {
	Name   string
	Signal int
}

// Supervisor starts and watches programs. Its exported methods have the shape that net/rpc asks for.
type Supervisor struct {
	logs string

	mu       sync.Mutex
	tasks    map[string]*task
	released bool
}

type task struct {
	status Status
	ended  chan struct{}
}

// New returns a supervisor that writes the programs' logs below logs.
func New(logs string) *Supervisor {
	return &Supervisor{logs: logs, tasks: map[string]*task{}}
}

// Start runs a program and returns at once with its process.
func (s *Supervisor) Start(p Program, out *Status) error {
	log, err := os.OpenFile(filepath.Join(s.logs, p.Name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close()

	// The lock is held over the fork, so that Reap cannot meet a process that is not written down yet.
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.tasks[p.Name]; t != nil && t.status.Running {
		return fmt.Errorf("%s is running already, as process %d", p.Name, t.status.PID)
	}
	pid, err := syscall.ForkExec(p.Path, append([]string{p.Path}, p.Args...), &syscall.ProcAttr{
		Dir:   "/",
		Env:   p.Env,
		Files: []uintptr{null.Fd(), log.Fd(), log.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return fmt.Errorf("start %s: %w", p.Path, err)
	}
	t := &task{status: Status{Name: p.Name, PID: pid, Running: true}, ended: make(chan struct{})}
	s.tasks[p.Name] = t
	*out = t.status
	return nil
}

// Signal sends a signal to a running program.
func (s *Supervisor) Signal(r SignalRequest, out *Status) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tasks[r.Name]
	if t == nil || !t.status.Running {
		return fmt.Errorf("%s is not running", r.Name)
	}
	*out = t.status
	return syscall.Kill(t.status.PID, syscall.Signal(r.Signal))
}

// Stop asks a program to end, kills it when it has not ended within the grace, and returns once it is gone.
func (s *Supervisor) Stop(r StopRequest, out *Status) error {
	t, err := s.lookup(r.Name)
	if err != nil {
		return err
	}
	if s.Signal(SignalRequest{Name: r.Name, Signal: int(syscall.SIGTERM)}, out) == nil {
		select {
		case <-t.ended:
		case <-time.After(r.Grace):
			// It may end between the timer and this line; then there is nothing left to kill.
			_ = s.Signal(SignalRequest{Name: r.Name, Signal: int(syscall.SIGKILL)}, out)
		}
	}
	return s.Wait(r.Name, out)
}

// StopRequest names a program and how long it may take to end by itself.
type StopRequest struct {
	Name  string
	Grace time.Duration
}

// Wait returns when a program has ended.
func (s *Supervisor) Wait(name string, out *Status) error {
	t, err := s.lookup(name)
	if err != nil {
		return err
	}
	<-t.ended
	s.mu.Lock()
	defer s.mu.Unlock()
	*out = t.status
	return nil
}

// List returns every program ever started, by name.
func (s *Supervisor) List(_ struct{}, out *[]Status) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tasks {
		*out = append(*out, t.status)
	}
	sort.Slice(*out, func(i, j int) bool { return (*out)[i].Name < (*out)[j].Name })
	return nil
}

// Release lets the cluster outlive whoever started it.
func (s *Supervisor) Release(_ struct{}, _ *struct{}) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.released = true
	return nil
}

// Released tells whether Release was called.
func (s *Supervisor) Released() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.released
}

func (s *Supervisor) lookup(name string) (*task, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tasks[name]
	if t == nil {
		return nil, fmt.Errorf("%s was never started", name)
	}
	return t, nil
}

// Reap collects ended processes until the context ends: the programs, and whatever was orphaned in the namespace. It
// takes every child of this process, so one supervisor at a time may do it.
func (s *Supervisor) Reap(ctx context.Context) {
	child := make(chan os.Signal, 1)
	signal.Notify(child, syscall.SIGCHLD)
	defer signal.Stop(child)
	for {
		select {
		case <-ctx.Done():
			return
		case <-child:
			for s.reapOne() {
			}
		}
	}
}

func (s *Supervisor) reapOne() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ws syscall.WaitStatus
	pid, err := syscall.Wait4(-1, &ws, syscall.WNOHANG, nil)
	if errors.Is(err, syscall.EINTR) {
		return true
	}
	if err != nil || pid <= 0 {
		return false
	}
	for _, t := range s.tasks {
		if t.status.PID == pid && t.status.Running {
			t.status.Running = false
			t.status.Exit = describe(ws)
			close(t.ended)
		}
	}
	return true
}

func describe(ws syscall.WaitStatus) string {
	if ws.Signaled() {
		return "ended by signal: " + ws.Signal().String()
	}
	return fmt.Sprintf("ended with status %d", ws.ExitStatus())
}
