// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package app

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

// What callers can make a port of the operator keep in memory: every Pod of the cluster reaches them, and none needs a
// token for that.
const (
	mostConnections = 512
	// mostOfOne bounds the connections of one address, so that no caller has all of them.
	mostOfOne = 64
	// mostStreams bounds the questions that one connection of HTTP/2 asks at a time. The server keeps up to four times
	// as many that wait.
	mostStreams = 8
	// mostHeaders, in bytes, has room for a ServiceAccount's token.
	mostHeaders = 8 << 10
	// leastWindow, in bytes, is what HTTP/2 lets a caller send at least before it is read.
	leastWindow = 64 << 10
	callerTime  = 10 * time.Second
)

// newServer makes a server that keeps little for each connection, and no connection without use for long.
func newServer(handler http.Handler) *http.Server {
	return &http.Server{
		Handler: handler, MaxHeaderBytes: mostHeaders,
		ReadHeaderTimeout: callerTime, ReadTimeout: callerTime, WriteTimeout: callerTime, IdleTimeout: 2 * time.Minute,
		HTTP2: &http.HTTP2Config{MaxConcurrentStreams: mostStreams, WriteByteTimeout: callerTime,
			MaxReceiveBufferPerConnection: leastWindow, MaxReceiveBufferPerStream: leastWindow},
	}
}

// listen opens a port with as many connections as a server of [newServer] can have.
func listen(ctx context.Context, address string) (net.Listener, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return &counted{Listener: listener, most: mostConnections, mostOfOne: mostOfOne, open: map[string]int{}}, nil
}

// counted closes a connection at once where there are enough.
type counted struct {
	net.Listener
	most, mostOfOne int

	mu    sync.Mutex
	total int
	// open are the connections by the address that they come from.
	open map[string]int
}

// Accept implements [net.Listener].
func (l *counted) Accept() (net.Conn, error) {
	for {
		connection, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from, _, err := net.SplitHostPort(connection.RemoteAddr().String())
		if err == nil && l.take(from) {
			return &countedConnection{Conn: connection, leave: sync.OnceFunc(func() { l.leave(from) })}, nil
		}
		_ = connection.Close()
	}
}

// take counts a connection, and reports whether there is room for it.
func (l *counted) take(from string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.total >= l.most || l.open[from] >= l.mostOfOne {
		return false
	}
	l.total++
	l.open[from]++
	return true
}

func (l *counted) leave(from string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total--
	if l.open[from]--; l.open[from] == 0 {
		delete(l.open, from)
	}
}

type countedConnection struct {
	net.Conn
	leave func()
}

// Close implements [net.Conn]. Whoever sees the end of a connection finds room for another.
func (c *countedConnection) Close() error {
	c.leave()
	return c.Conn.Close()
}
