// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package app

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/healthz"

	"github.com/valetkey/valetkey/internal/callers"
)

// startTokens serves tokens' endpoints on loopback by TLS, and returns the address.
func startTokens(t *testing.T, handler http.Handler) string {
	t.Helper()
	folder, sample := t.TempDir(), httptest.NewTLSServer(nil)
	sample.Close()
	key, err := x509.MarshalPKCS8PrivateKey(sample.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"tls.crt": {Type: "CERTIFICATE", Bytes: sample.Certificate().Raw}, "tls.key": {Type: "PRIVATE KEY", Bytes: key}} {
		if err := os.WriteFile(filepath.Join(folder, name), pem.EncodeToMemory(block), 0o400); err != nil {
			t.Fatal(err)
		}
	}
	listener, err := listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	none := func(context.Context, string) ([]byte, error) { return nil, errors.New("no keys") }
	s := &tokenServer{certDir: folder, handler: handler, keys: callers.NewKeys(none, clock.RealClock{}, logr.Discard())}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.serve(ctx, listener) }()
	t.Cleanup(func() {
		if stop(); <-ended != nil {
			t.Error("it ended badly")
		}
	})
	return listener.Addr().String()
}

// headersOf are a question with so many bytes of headers.
func headersOf(size int) []byte {
	text := bytes.Buffer{}
	e := hpack.NewEncoder(&text)
	fields := [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", "x"}, {":path", "/"},
		{"x", strings.Repeat("X", size)}}
	for _, field := range fields {
		_ = e.WriteField(hpack.HeaderField{Name: field[0], Value: field[1], Sensitive: true})
	}
	return text.Bytes()
}

// ask opens streams until the server has no more of them, and counts what it refuses.
func ask(t *testing.T, f *http2.Framer, streams, size int) (refused int) {
	t.Helper()
	for n := range streams {
		block := headersOf(size)
		first := block[:min(len(block), 16<<10)]
		begin := http2.HeadersFrameParam{StreamID: uint32(2*n + 1), BlockFragment: first, EndStream: true,
			EndHeaders: len(first) == len(block)}
		if err := f.WriteHeaders(begin); err != nil {
			t.Fatal(err)
		}
		if rest := block[len(first):]; len(rest) > 0 {
			if err := f.WriteContinuation(uint32(2*n+1), true, rest); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := f.WritePing(false, [8]byte{1}); err != nil {
		t.Fatal(err)
	}
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		switch frame := frame.(type) {
		case *http2.RSTStreamFrame:
			refused++
		case *http2.PingFrame:
			if frame.IsAck() {
				return refused
			}
		}
	}
}

// TestTokenServer_AConnectionKeepsLittle: a caller without any token opens as many streams as it likes, each with all
// the headers that fit, and takes no answer.
func TestTokenServer_AConnectionKeepsLittle(t *testing.T) {
	const streams = 250
	var within, most atomic.Int32
	release := make(chan struct{})
	address := startTokens(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		n := within.Add(1)
		for seen := most.Load(); n > seen && !most.CompareAndSwap(seen, n); seen = most.Load() {
		}
		<-release
		within.Add(-1)
	}))
	connection, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = connection.Close() }()
	defer close(release)
	if _, err := io.WriteString(connection, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	f := http2.NewFramer(connection, connection)
	if err := f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}); err != nil {
		t.Fatal(err)
	}
	settings, err := f.ReadFrame()
	if err != nil {
		t.Fatal(err)
	}
	said, _ := settings.(*http2.SettingsFrame)
	if value, ok := said.Value(http2.SettingMaxConcurrentStreams); !ok || value != mostStreams {
		t.Errorf("%d streams are let", value)
	}
	if value, ok := said.Value(http2.SettingMaxHeaderListSize); !ok || value > mostHeaders+1<<10 {
		t.Errorf("%d bytes of headers are let", value)
	}
	if err := f.WriteSettingsAck(); err != nil {
		t.Fatal(err)
	}
	if refused := ask(t, f, streams, mostHeaders/2); refused < streams-mostStreams || most.Load() > mostStreams {
		t.Errorf("of %d streams %d were refused, and %d were answered at a time", streams, refused, most.Load())
	}
}

// TestCounted_NoCallerHasAllConnections: those that are closed make room, and so do those of whoever has the most for
// whoever has fewer, as the kubelet.
func TestCounted_NoCallerHasAllConnections(t *testing.T) {
	inner, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	listener := &counted{Listener: inner, most: 5, mostOfOne: 2, open: map[string][]*countedConnection{}}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = connection.Close() }()
				_, _ = io.WriteString(connection, "x")
				_, _ = io.Copy(io.Discard, connection)
				_, _ = io.WriteString(connection, "y")
			}()
		}
	}()
	_, port, _ := net.SplitHostPort(inner.Addr().String())
	// dial returns nil where there is no room.
	dial := func(from string) *net.TCPConn {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		connection, err := d.Dial("tcp", "127.0.0.1:"+port)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = connection.Close() })
		if _, err := io.ReadFull(connection, make([]byte, 1)); err != nil {
			return nil
		}
		return connection.(*net.TCPConn)
	}
	var kept []*net.TCPConn
	for _, tt := range []struct {
		from string
		room bool
	}{{"127.0.0.1", true}, {"127.0.0.1", true}, {"127.0.0.1", false}, {"127.0.0.2", true}, {"127.0.0.2", true},
		{"127.0.0.3", true}} {
		connection := dial(tt.from)
		if (connection != nil) != tt.room {
			t.Fatalf("with %d connections, one from %s: let %t", len(kept), tt.from, connection != nil)
		}
		if connection != nil {
			kept = append(kept, connection)
		}
	}
	for _, more := range []string{"127.0.0.4", "127.0.0.5"} {
		if dial(more) == nil {
			t.Fatal("whoever has none is kept out by those who have most")
		}
	}
	lost := 0
	for _, connection := range kept {
		if err := connection.CloseWrite(); err != nil {
			lost++
		} else if rest, err := io.ReadAll(connection); err != nil || string(rest) != "y" {
			lost++
		}
	}
	if lost != 2 {
		t.Errorf("%d connections made room for two", lost)
	}
	for range 2 {
		if dial("127.0.0.1") == nil {
			t.Fatal("a connection that is closed makes no room")
		}
	}
	listener.mu.Lock()
	defer listener.mu.Unlock()
	if listener.total != 4 || len(listener.open["127.0.0.1"]) != 2 {
		t.Errorf("it counts %d: %v", listener.total, listener.open)
	}
}

// TestHealth_SaysOfEachCheckByItself, as Kubernetes' own programs do.
func TestHealth_SaysOfEachCheckByItself(t *testing.T) {
	no := func(*http.Request) error { return errors.New("no") }
	handler := healthHandler(map[string]healthz.Checker{"audit": healthz.Ping, "guard": no})
	for path, want := range map[string]int{
		"/healthz": 200, "/healthz/ping": 200, "/readyz": 500, "/readyz/audit": 200, "/readyz/guard": 500, "/": 404} {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		if w.Code != want {
			t.Errorf("%s answers %d", path, w.Code)
		}
	}
}

// TestNewServer_EveryWaitIsBounded: each is one that a caller could draw out.
func TestNewServer_EveryWaitIsBounded(t *testing.T) {
	s := newServer(http.NotFoundHandler())
	for name, wait := range map[string]time.Duration{"the headers": s.ReadHeaderTimeout, "the question": s.ReadTimeout,
		"the answer": s.WriteTimeout, "a byte of it": s.HTTP2.WriteByteTimeout, "another question": s.IdleTimeout} {
		if wait <= 0 || wait > 2*time.Minute {
			t.Errorf("it waits %s for %s", wait, name)
		}
	}
}
