// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package librarylog

import (
	"bufio"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/grpclog"
)

const secret = "hunter2hunter2"

// reports collects what is told.
type reports struct {
	mu    sync.Mutex
	lines []string
	first chan struct{}
	once  sync.Once
}

func (r *reports) add(what string, times uint64) {
	r.mu.Lock()
	r.lines = append(r.lines, fmt.Sprintf("%d: %s", times, what))
	r.mu.Unlock()
	r.once.Do(func() { close(r.first) })
}

// takeOver gives the standard logger back when the test ends.
func takeOver(t *testing.T) (*reports, *Writer) {
	t.Helper()
	flags := log.Flags()
	r := &reports{first: make(chan struct{})}
	w := TakeOver(r.add)
	t.Cleanup(func() {
		log.SetOutput(os.Stderr)
		log.SetFlags(flags)
	})
	return r, w
}

// wait returns what was told, as soon as something was.
func (r *reports) wait(t *testing.T) string {
	t.Helper()
	select {
	case <-r.first:
	case <-time.After(10 * time.Second):
		t.Fatal("nothing was told")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.lines, "\n")
}

// raw serves one connection after the other with bytes.
func raw(t *testing.T, answer string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			if _, err := http.ReadRequest(bufio.NewReader(connection)); err == nil {
				_, _ = io.WriteString(connection, answer)
			}
			defer func() { _ = connection.Close() }()
		}
	}()
	return "http://" + listener.Addr().String()
}

// TestTakeOver_NoAnswerOfAServerIsPrinted: the connection is kept, so that net/http sees what nobody asked for.
func TestTakeOver_NoAnswerOfAServerIsPrinted(t *testing.T) {
	const chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	whole := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(secret), secret)
	for name, answer := range map[string]string{
		"the same answer twice":               whole + whole,
		"a length that is too short":          "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n" + secret,
		"more behind the last chunk":          chunked + "1\r\nx\r\n0\r\n\r\n" + secret,
		"an answer that takes time, and two":  "HTTP/1.1 103 Early Hints\r\nLink: " + secret + "\r\n\r\n" + whole + whole,
		"a second answer that cannot be read": whole + "HTP/9 " + secret,
		"no content, and one":                 "HTTP/1.1 204 No Content\r\n\r\n" + secret,
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := takeOver(t)
			transport := &http.Transport{}
			defer transport.CloseIdleConnections()
			response, err := (&http.Client{Transport: transport}).Get(raw(t, answer))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadAll(response.Body); err != nil {
				t.Fatal(err)
			}
			_ = response.Body.Close()
			said := r.wait(t)
			if strings.Contains(said, secret) || !strings.Contains(said, "a server sent more than the answer") {
				t.Errorf("told: %s", said)
			}
		})
	}
}

// TestTakeOver_NothingOfACallerIsPrinted, nor of what a handler said of it.
func TestTakeOver_NothingOfACallerIsPrinted(t *testing.T) {
	for name, tt := range map[string]struct {
		speak func(*testing.T, *Writer)
		want  string
	}{
		"a handler that panics": {func(t *testing.T, _ *Writer) {
			server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(secret) }))
			t.Cleanup(server.Close)
			if response, err := http.Get(server.URL); err == nil {
				_ = response.Body.Close()
			}
		}, "answering a caller ended in a panic"},
		"a caller without TLS": {func(t *testing.T, _ *Writer) {
			server := httptest.NewTLSServer(http.NotFoundHandler())
			t.Cleanup(server.Close)
			connection, err := net.Dial("tcp", server.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = connection.Close() })
			_, _ = io.WriteString(connection, secret)
		}, "the TLS handshake of a caller failed"},
		"a reverse proxy": {func(t *testing.T, _ *Writer) {
			to, err := url.Parse(raw(t, secret+"\r\n\r\n"))
			if err != nil {
				t.Fatal(err)
			}
			proxy := httputil.NewSingleHostReverseProxy(to)
			proxy.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
		}, anything},
		"the standard logger":   {func(*testing.T, *Writer) { log.Printf("got %s\n%s", secret, secret) }, anything},
		"slog's default logger": {func(*testing.T, *Writer) { slog.Error(secret, "token", secret) }, anything},
		"a logger of grpc's": {func(_ *testing.T, w *Writer) {
			grpclog.NewLoggerV2(io.Discard, io.Discard, w).Error(secret)
		}, anything},
		"words that are known, and one": {func(*testing.T, *Writer) {
			log.Print("http: Accept error " + secret)
		}, "could not be accepted"},
	} {
		t.Run(name, func(t *testing.T) {
			r, w := takeOver(t)
			tt.speak(t, w)
			if said := r.wait(t); strings.Contains(said, secret) || !strings.Contains(said, tt.want) {
				t.Errorf("told: %s", said)
			}
		})
	}
}

func TestTakeOver_ManyAreToldInFewLines(t *testing.T) {
	r, _ := takeOver(t)
	for range 1000 {
		log.Print(secret)
	}
	if said := r.wait(t); strings.Count(said, "\n") != 9 || !strings.HasSuffix(said, "512: "+anything+"; "+leftOut) {
		t.Errorf("told: %s", said)
	}
}

// TestTakeOver_IsTheFirstThingOfEachProgram: what a library says before would be printed.
func TestTakeOver_IsTheFirstThingOfEachProgram(t *testing.T) {
	mains, err := filepath.Glob("../../cmd/*/main.go")
	if err != nil || len(mains) == 0 {
		t.Fatal(mains, err)
	}
	for _, path := range mains {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), "\nfunc main() {\n\tlibrarylog.TakeOver(librarylog.Lines(") {
			t.Errorf("%s does not begin with it", path)
		}
	}
}

func TestLines_AreWhole(t *testing.T) {
	text := strings.Builder{}
	if Lines(&text)("it happened", 2); text.String() != "it happened (2 so far)\n" {
		t.Errorf("got %q", text.String())
	}
}
