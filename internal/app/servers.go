// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package app

import (
	"context"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// What callers can make a port of the operator keep in memory: every Pod of the cluster reaches them, and none needs a
// token for that.
const (
	mostConnections = 512
	// mostOfOne bounds the connections of one address.
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
	return &counted{Listener: listener, most: mostConnections, mostOfOne: mostOfOne, open: map[string][]*countedConnection{}}, nil
}

// counted closes a connection at once where its address has enough. Where there are enough in all, the oldest of the
// address that has the most makes room: nobody keeps out who has fewer, as the kubelet, which asks whether the operator
// lives.
type counted struct {
	net.Listener
	most, mostOfOne int

	mu    sync.Mutex
	total int
	// open are the connections by the address that they come from, the oldest first.
	open map[string][]*countedConnection
}

// Accept implements [net.Listener].
func (l *counted) Accept() (net.Conn, error) {
	for {
		connection, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from, _, err := net.SplitHostPort(connection.RemoteAddr().String())
		if err != nil {
			_ = connection.Close()
			continue
		}
		counted := &countedConnection{Conn: connection, of: l, from: from}
		taken, goes := l.take(counted)
		if goes != nil {
			_ = goes.Close()
		}
		if taken {
			return counted, nil
		}
		_ = connection.Close()
	}
}

// take counts a connection, and reports whether there is room for it, and which one has to go for it.
func (l *counted) take(c *countedConnection) (taken bool, goes *countedConnection) {
	l.mu.Lock()
	defer l.mu.Unlock()
	own := len(l.open[c.from])
	if own >= l.mostOfOne {
		return false, nil
	}
	if l.total >= l.most {
		if goes = l.oldestOfMost(); len(l.open[goes.from]) <= own {
			return false, nil
		}
		l.drop(goes)
	}
	l.total++
	l.open[c.from] = append(l.open[c.from], c)
	return true, goes
}

// oldestOfMost is the oldest connection of an address that has the most.
func (l *counted) oldestOfMost() *countedConnection {
	var most []*countedConnection
	for _, of := range l.open {
		if len(of) > len(most) {
			most = of
		}
	}
	return most[0]
}

// drop forgets a connection, if it is counted.
func (l *counted) drop(c *countedConnection) {
	at := slices.Index(l.open[c.from], c)
	if at < 0 {
		return
	}
	l.total--
	if l.open[c.from] = slices.Delete(l.open[c.from], at, at+1); len(l.open[c.from]) == 0 {
		delete(l.open, c.from)
	}
}

func (l *counted) leave(c *countedConnection) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drop(c)
}

type countedConnection struct {
	net.Conn
	of   *counted
	from string
}

// Close implements [net.Conn]. Whoever sees the end of a connection finds room for another.
func (c *countedConnection) Close() error {
	c.of.leave(c)
	return c.Conn.Close()
}
