// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package outbound_test

import (
	"crypto/tls"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/valetkey/valetkey/internal/provider/outbound"
	"github.com/valetkey/valetkey/internal/provider/outbound/outboundtest"
)

// client fails the test where there is none.
func client(t *testing.T, way outbound.Settings, bundle string) *http.Client {
	t.Helper()
	c, err := way.Client(bundle, outbound.JSON, errorsOfA)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// ways are straight, and by a proxy, to a server of the name elsewhere.example.com.
func ways(t *testing.T, handler http.Handler) map[string]func() (string, *http.Client) {
	company := outboundtest.NewNetwork(t)
	byName, onLoopback := company.Serve(t, "elsewhere.example.com", handler)
	proxy := company.Proxy(t, false)
	return map[string]func() (string, *http.Client){
		"straight": func() (string, *http.Client) { return onLoopback, client(t, outbound.Settings{}, company.Authority) },
		"by a proxy": func() (string, *http.Client) {
			return byName, client(t, outbound.Settings{Proxy: outbound.Proxy(proxy.URL, nil)}, company.Authority)
		},
	}
}

func TestClient_NoVariableOfTheEnvironmentNamesAProxy(t *testing.T) {
	company := outboundtest.NewNetwork(t)
	proxy := company.Proxy(t, false)
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY"} {
		t.Setenv(name, proxy.URL)
	}
	byName, _ := company.Serve(t, "backend.invalid", http.NotFoundHandler())
	if response, err := client(t, outbound.Settings{}, company.Authority).Get(byName); err == nil {
		_ = response.Body.Close()
		t.Error("a proxy that no flag names could see an identity's token")
	}
	if heard := proxy.Heard(); len(heard) > 0 {
		t.Errorf("the proxy was asked: %s", heard)
	}
}

func TestClient_FollowsNoRedirectAndReadsNoMoreThanARealAnswerHas(t *testing.T) {
	const more = 128 << 10
	followed := false
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/elsewhere" {
			followed = true
			return
		}
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(http.StatusTemporaryRedirect)
		_, _ = io.WriteString(w, strings.Repeat("x", more))
	})
	for name, way := range ways(t, handler) {
		t.Run(name, func(t *testing.T) {
			at, c := way()
			response, err := c.Post(at, "text/plain", strings.NewReader("a token"))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = response.Body.Close() }()
			body, err := io.ReadAll(response.Body)
			if err != nil || len(body) != 0 || followed || response.StatusCode != http.StatusTemporaryRedirect {
				t.Errorf("status %d, %d bytes, followed %t, %v", response.StatusCode, len(body), followed, err)
			}
		})
	}
}

func TestClient_AnAnswerThatCanBeReadInTwoWaysIsNone(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"a":1,"a":2}`) })
	for name, way := range ways(t, handler) {
		t.Run(name, func(t *testing.T) {
			at, c := way()
			response, err := c.Get(at)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = response.Body.Close() }()
			if body, err := io.ReadAll(response.Body); err == nil || len(body) > 0 {
				t.Errorf("it was read: %s", body)
			}
		})
	}
}

func TestClient_EveryWaitIsBounded(t *testing.T) {
	done := make(chan struct{})
	defer close(done)
	for name, way := range ways(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-done })) {
		t.Run(name, func(t *testing.T) {
			at, c := way()
			if c.Timeout != outbound.AnswerTime {
				t.Errorf("it waits %s", c.Timeout)
			}
			c.Timeout = time.Millisecond
			if response, err := c.Get(at); err == nil {
				_ = response.Body.Close()
				t.Error("it waited")
			}
		})
	}
}

func TestClient_SpeaksNoOldTLS(t *testing.T) {
	company := outboundtest.NewNetwork(t)
	old := httptest.NewUnstartedServer(http.NotFoundHandler())
	old.TLS = &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}
	old.Config.ErrorLog = nil
	old.StartTLS()
	t.Cleanup(old.Close)
	proxy := company.Proxy(t, false)
	company.Name("old.example.com", old.Listener.Addr().String())
	for at, way := range map[string]outbound.Settings{old.URL: {}, "https://old.example.com": {Proxy: outbound.Proxy(proxy.URL, nil)}} {
		response, err := client(t, way, "").Get(at)
		if err == nil {
			_ = response.Body.Close()
		}
		if alert := (tls.AlertError)(0); !errors.As(err, &alert) && (err == nil || !strings.Contains(err.Error(), "protocol version")) {
			t.Errorf("%s: %v", at, err)
		}
	}
}

func TestClient_AServerWithoutTLSIsReachedStraight(t *testing.T) {
	asked := false
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	t.Cleanup(server.Close)
	never := func(at *url.URL) (*url.URL, error) { return nil, errors.New("a proxy was asked for " + at.String()) }
	response, err := client(t, outbound.Settings{Proxy: never}, "").Get(server.URL)
	if err != nil || !asked {
		t.Fatal(err)
	}
	_ = response.Body.Close()
}

func TestClient_GoesNowhereWhereTheProxyCannotBeKnown(t *testing.T) {
	asked := false
	company := outboundtest.NewNetwork(t)
	_, onLoopback := company.Serve(t, "backend.example.com", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	never := func(*url.URL) (*url.URL, error) { return nil, errors.New("the list cannot be read") }
	response, err := client(t, outbound.Settings{Proxy: never}, company.Authority).Get(onLoopback)
	if err == nil {
		_ = response.Body.Close()
	}
	if err == nil || asked {
		t.Errorf("asked %t, %v", asked, err)
	}
}

func TestHowLongToLeaveAServerAlone(t *testing.T) {
	for value, want := range map[string]time.Duration{"": 0, "5": 5 * time.Second, "-5": 0, "soon": 0, "999999": time.Hour, "99999999999999999999": 0} {
		if got := outbound.RetryAfter(http.Header{"Retry-After": {value}}); got != want {
			t.Errorf("%q: got %s, want %s", value, got, want)
		}
	}
}

// refuseStreams speaks HTTP/2 until the client goes. It says of each question that it did not look at it, and counts it:
// what a client then asks by itself again, a server that lies was asked twice.
func refuseStreams(connection net.Conn, asked *atomic.Int32) {
	defer func() { _ = connection.Close() }()
	if _, err := io.ReadFull(connection, make([]byte, len(http2.ClientPreface))); err != nil {
		return
	}
	f := http2.NewFramer(connection, connection)
	err := f.WriteSettings()
	for err == nil {
		frame, failed := f.ReadFrame()
		if err = failed; err != nil {
			return
		}
		if _, begins := frame.(*http2.HeadersFrame); begins {
			asked.Add(1)
			err = f.WriteRSTStream(frame.Header().StreamID, http2.ErrCodeRefusedStream)
		}
	}
}

// TestClient_NothingIsAskedTwice: a server gives something, and then says that it did not.
func TestClient_NothingIsAskedTwice(t *testing.T) {
	for name, text := range map[string]string{"without a body": "", "with one": "{}"} {
		t.Run(name, func(t *testing.T) {
			asked := atomic.Int32{}
			server := httptest.NewUnstartedServer(http.NotFoundHandler())
			server.EnableHTTP2 = true
			server.Config.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){
				"h2": func(_ *http.Server, connection *tls.Conn, _ http.Handler) { refuseStreams(connection, &asked) }}
			server.StartTLS()
			t.Cleanup(server.Close)
			authority := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, strings.NewReader(text))
			if err != nil {
				t.Fatal(err)
			}
			if response, err := client(t, outbound.Settings{}, authority).Do(request); err == nil {
				_ = response.Body.Close()
				t.Error("it was answered")
			}
			if n := asked.Load(); n != 1 {
				t.Errorf("the server was asked %d times", n)
			}
		})
	}
}

// TestClient_EachQuestionHasAConnectionOfItsOwn, so that no answer can be one to a question before.
func TestClient_EachQuestionHasAConnectionOfItsOwn(t *testing.T) {
	for _, protocol := range []string{"HTTP/1.1", "HTTP/2.0"} {
		t.Run(protocol, func(t *testing.T) {
			connections := map[string]bool{}
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if connections[r.RemoteAddr] = true; r.Proto != protocol {
					t.Errorf("it speaks %s", r.Proto)
				}
				_, _ = io.WriteString(w, "{}")
			}))
			server.EnableHTTP2 = protocol == "HTTP/2.0"
			server.StartTLS()
			t.Cleanup(server.Close)
			authority := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
			c := client(t, outbound.Settings{}, authority)
			for range 3 {
				response, err := c.Get(server.URL)
				if err != nil {
					t.Fatal(err)
				}
				_ = response.Body.Close()
			}
			if len(connections) != 3 {
				t.Errorf("three questions went over %d connections", len(connections))
			}
		})
	}
}
