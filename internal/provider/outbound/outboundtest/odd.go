// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package outboundtest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/valetkey/valetkey/internal/provider/outbound"
)

// oddity makes what a server sends of the answer that it would give.
type oddity func(status, contentType, body string) string

func whole(status, contentType, body string) string {
	return announced(status, contentType, body, len(body))
}

// announced is an answer that says that its body has so many bytes.
func announced(status, contentType, body string, length int) string {
	return fmt.Sprintf("HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s",
		status, contentType, length, body)
}

// oddities are answers after which something is left on the connection that nobody asked for, and one that leads
// elsewhere.
func oddities(elsewhere string) map[string]oddity {
	return map[string]oddity{
		"answers twice":                    func(s, c, b string) string { return whole(s, c, b) + whole(s, c, b) },
		"names a length that is too short": func(s, c, b string) string { return announced(s, c, b, len(b)/2) },
		"says more behind the last chunk": func(s, c, b string) string {
			head := fmt.Sprintf("HTTP/1.1 %s\r\nContent-Type: %s\r\nTransfer-Encoding: chunked\r\n\r\n", s, c)
			return head + fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n%s", len(b), b, b)
		},
		"answers that it will, and twice": func(s, c, b string) string {
			return "HTTP/1.1 103 Early Hints\r\n\r\n" + whole(s, c, b) + whole(s, c, b)
		},
		"answers, and something that is no HTTP": func(s, c, b string) string { return whole(s, c, b) + "HTP/9 " + b },
		"leads elsewhere": func(_, _, b string) string {
			return fmt.Sprintf("HTTP/1.1 307 Temporary Redirect\r\nLocation: %s\r\nContent-Length: %d\r\n\r\n%s",
				elsewhere, len(b), b)
		},
	}
}

// expectNothingPrinted uses a back end whose server answers oddly, and looks at everything that the process prints
// meanwhile: by Go's standard logger, too, which nobody took over here.
func (b BackEnd) expectNothingPrinted(t *testing.T) {
	t.Helper()
	followed := func(http.ResponseWriter, *http.Request) { t.Error("it was followed") }
	elsewhere := httptest.NewServer(http.HandlerFunc(followed))
	t.Cleanup(elsewhere.Close)
	for name, odd := range oddities(elsewhere.URL) {
		t.Run("a server that "+name, func(t *testing.T) {
			server := serveOddly(t, b.Server, odd)
			text := printed(t, func() {
				_ = b.use(t, server.url, "", outbound.Settings{}) // what is made of it is the back end's own to say
				server.end()
			})
			if server.answered == 0 {
				t.Error("nothing was asked")
			}
			if text != "" {
				t.Errorf("the process printed %d bytes, which can hold a credential", len(text))
			}
		})
	}
}

// oddServer answers on loopback, in the clear.
type oddServer struct {
	url      string
	listener net.Listener
	open     sync.WaitGroup
	answered int
}

func serveOddly(t *testing.T, handler http.Handler, odd oddity) *oddServer {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &oddServer{url: "http://" + listener.Addr().String(), listener: listener}
	s.open.Go(func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			s.open.Go(func() { s.answer(connection, handler, odd) })
		}
	})
	return s
}

// answer speaks until the client closes the connection.
func (s *oddServer) answer(connection net.Conn, handler http.Handler, odd oddity) {
	defer func() { _ = connection.Close() }()
	from := bufio.NewReader(connection)
	for {
		r, err := http.ReadRequest(from)
		if err != nil {
			return
		}
		s.answered++
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		_, _ = io.Copy(io.Discard, r.Body)
		status := fmt.Sprintf("%d %s", w.Code, http.StatusText(w.Code))
		_, _ = io.WriteString(connection, odd(status, w.Header().Get("Content-Type"), w.Body.String()))
	}
}

// end waits until all connections are closed.
func (s *oddServer) end() {
	_ = s.listener.Close()
	s.open.Wait()
}

// printed is what the process writes to its standard error while something is done.
func printed(t *testing.T, do func()) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "stderr")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	before, err := unix.Dup(unix.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(before) }()
	if err := unix.Dup3(int(file.Fd()), unix.Stderr, 0); err != nil {
		t.Fatal(err)
	}
	do()
	if err := unix.Dup3(before, unix.Stderr, 0); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}
