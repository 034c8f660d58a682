// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestAProgramIsStartedLoggedAndReported(t *testing.T) {
	dir := t.TempDir()
	c := serve(t, dir)
	if err := c.Start(shell("hello", `echo "hello $WHO"; exit 3`)); err != nil {
		t.Fatal(err)
	}
	ended, err := c.Wait("hello")
	if err != nil {
		t.Fatal(err)
	}
	if ended.Running || ended.Exit != "ended with status 3" {
		t.Errorf("got %+v", ended)
	}
	log, err := os.ReadFile(filepath.Join(dir, "hello.log"))
	if err != nil || strings.TrimSpace(string(log)) != "hello world" {
		t.Errorf("got log %q, %v", log, err)
	}
}

func TestAProgramRunsOnceAtATimeAndAgainOnceItHasEnded(t *testing.T) {
	c := serve(t, t.TempDir())
	sleep := shell("sleep", "exec sleep 60")
	if err := c.Start(sleep); err != nil {
		t.Fatal(err)
	}
	if err := c.Start(sleep); err == nil || !strings.Contains(err.Error(), "running already") {
		t.Errorf("got %v", err)
	}
	if err := c.Stop("sleep", time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := c.Start(sleep); err != nil {
		t.Error(err)
	}
	if err := c.Signal("sleep", syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	ended, err := c.Wait("sleep")
	if err != nil || ended.Exit != "ended by signal: killed" {
		t.Errorf("got %+v, %v", ended, err)
	}
}

func TestAProgramThatIgnoresTheRequestToEndIsKilled(t *testing.T) {
	dir := t.TempDir()
	c := serve(t, dir)
	if err := c.Start(shell("stubborn", `trap "" TERM; echo ready; while :; do sleep 1; done`)); err != nil {
		t.Fatal(err)
	}
	waitForLog(t, filepath.Join(dir, "stubborn.log"), "ready")
	if err := c.Stop("stubborn", time.Millisecond); err != nil {
		t.Fatal(err)
	}
	all, err := c.List()
	if err != nil || len(all) != 1 || all[0].Running {
		t.Errorf("got %+v, %v", all, err)
	}
}

func TestAProgramThatWasNeverStartedIsNamed(t *testing.T) {
	c := serve(t, t.TempDir())
	for what, err := range map[string]error{
		"stop":   c.Stop("ghost", time.Second),
		"signal": c.Signal("ghost", syscall.SIGTERM),
	} {
		if err == nil || !strings.Contains(err.Error(), "ghost") {
			t.Errorf("%s: got %v", what, err)
		}
	}
	if err := c.Start(Program{Name: "absent", Path: "/does/not/exist"}); err == nil {
		t.Error("a program that does not exist was started")
	}
}

// serve runs a supervisor for the test. The tests cannot be parallel, for a supervisor reaps every child.
func serve(t *testing.T, dir string) *Client {
	t.Helper()
	// In a directory with a short path, where one must be; the client copes with long ones.
	listener, err := net.Listen("unix", filepath.Join(dir, Socket))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	s := New(dir)
	reaping, stop := context.WithCancel(context.Background())
	reaped := make(chan struct{})
	go func() { s.Reap(reaping); close(reaped) }()
	go func() { _ = Serve(listener, s) }()
	c, err := Dial(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		all, _ := c.List()
		for _, p := range all {
			if p.Running {
				_ = c.Stop(p.Name, time.Second)
			}
		}
		_ = c.Close()
		stop()
		<-reaped
	})
	return c
}

func shell(name, script string) Program {
	return Program{Name: name, Path: "/bin/sh", Args: []string{"-c", script}, Env: []string{"WHO=world", "PATH=/usr/bin:/bin"}}
}

func waitForLog(t *testing.T, path, want string) {
	t.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for {
		if b, err := os.ReadFile(path); err == nil && strings.Contains(string(b), want) {
			return
		}
		select {
		case <-ticker.C:
		case <-t.Context().Done():
			t.Fatal("the program did not start in time")
		}
	}
}
