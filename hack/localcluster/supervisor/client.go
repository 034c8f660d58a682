// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"fmt"
	"net"
	"net/rpc"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Socket is the name of the supervisor's socket in the cluster's state directory.
const Socket = "supervisor.sock"

// Serve answers clients on the listener until it is closed.
func Serve(l net.Listener, s *Supervisor) error {
	server := rpc.NewServer()
	if err := server.Register(s); err != nil {
		return err
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go server.ServeConn(conn)
	}
}

// Client talks to a running supervisor.
type Client struct{ rpc *rpc.Client }

// Dial connects to the supervisor whose socket is in dir.
func Dial(dir string) (*Client, error) {
	// A socket's path may have 107 bytes at most, and state directories of tests are longer than that.
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	path := filepath.Join(fmt.Sprintf("/proc/self/fd/%d", d.Fd()), Socket)
	conn, err := net.DialTimeout("unix", path, 5*time.Second)
	if err != nil {
		return nil, fmt.Errorf("the cluster's supervisor does not answer: %w", err)
	}
	return &Client{rpc: rpc.NewClient(conn)}, nil
}

// Close ends the connection; the programs go on.
func (c *Client) Close() error { return c.rpc.Close() }

// Start runs a program.
func (c *Client) Start(p Program) error {
	return c.rpc.Call("Supervisor.Start", p, &Status{})
}

// Signal sends a signal to a running program.
func (c *Client) Signal(name string, sig syscall.Signal) error {
	return c.rpc.Call("Supervisor.Signal", SignalRequest{Name: name, Signal: int(sig)}, &Status{})
}

// Stop ends a program, by force after the grace, and returns once it is gone.
func (c *Client) Stop(name string, grace time.Duration) error {
	return c.rpc.Call("Supervisor.Stop", StopRequest{Name: name, Grace: grace}, &Status{})
}

// Wait returns when a program has ended.
func (c *Client) Wait(name string) (Status, error) {
	var s Status
	err := c.rpc.Call("Supervisor.Wait", name, &s)
	return s, err
}

// List returns every program that was started.
func (c *Client) List() ([]Status, error) {
	var all []Status
	err := c.rpc.Call("Supervisor.List", struct{}{}, &all)
	return all, err
}

// Release lets the cluster outlive this process.
func (c *Client) Release() error {
	return c.rpc.Call("Supervisor.Release", struct{}{}, &struct{}{})
}
