// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package outbound makes the HTTP clients by which back ends are reached.
package outbound

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	// AnswerTime bounds one call: the controller tries again later.
	AnswerTime = 10 * time.Second
	// connectTime bounds the making of a connection. It is over before the call is, so that the call says which failed.
	connectTime = AnswerTime / 2
	// answerSize bounds what is read of an answer; a real one has a few KiB.
	answerSize = 64 << 10
	// longestWait is the longest that a back end is left alone because it asked for it.
	longestWait = time.Hour
)

// Settings say how back ends are reached. The zero value goes straight to each of them, and trusts the system's
// authorities.
type Settings struct {
	// Authorities are trusted for every server whose provider has no bundle of its own, and for the proxy. See
	// [BesideSystem]; nil means the system's.
	Authorities *x509.CertPool
	// Proxy says by which proxy the server of a URL is reached: nil means by none. Only https:// is ever asked for, so
	// that a proxy sees a host and a port, and nothing else. See [Proxy]; a nil function goes straight everywhere.
	Proxy func(server *url.URL) (*url.URL, error)
}

// Client goes to the address that an administrator allowed, by the proxy that an administrator named, or nowhere. It
// follows no redirect, and no proxy variable of the operator's environment: either would let something that no flag
// names see an identity's token. The bundle is one provider's caBundle: if it is not empty, its authorities alone are
// trusted for the server. It fails if the bundle is not one of [CheckBundle].
//
// What the server answers is of the form, or none of it is read: see [Unread]. An answer without success that is of
// another form, or longer than a real one, has its status and no body, and so is no refusal: see [Refuses].
//
// Whoever makes a client closes its idle connections.
func (s Settings) Client(bundle string, form Form) (*http.Client, error) {
	trusted := s.Authorities
	if bundle != "" {
		trusted = x509.NewCertPool()
		if err := addAuthorities(trusted, []byte(bundle)); err != nil {
			return nil, bundleError(err)
		}
	}
	transport := &boundedTransport{form: form, straight: newTransport(trusted)}
	if s.Proxy != nil {
		transport.proxy, transport.proxied = s.Proxy, s.newProxied(trusted)
	}
	return &http.Client{
		Transport:     transport,
		Timeout:       AnswerTime,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

func newTransport(trusted *x509.CertPool) *http.Transport {
	return &http.Transport{
		DialContext: newDialer().DialContext, ForceAttemptHTTP2: true, TLSHandshakeTimeout: connectTime,
		TLSClientConfig:     &tls.Config{RootCAs: trusted, MinVersion: tls.VersionTLS12},
		MaxIdleConnsPerHost: 16, IdleConnTimeout: 90 * time.Second, MaxResponseHeaderBytes: answerSize,
	}
}

func newDialer() *net.Dialer { return &net.Dialer{Timeout: connectTime, KeepAlive: 30 * time.Second} }

// boundedTransport reads no answer that is longer or more ambiguous than a real one.
type boundedTransport struct {
	form     Form
	straight *http.Transport
	// proxy and proxied are nil where no proxy is.
	proxy   func(*url.URL) (*url.URL, error)
	proxied *http.Transport
}

// RoundTrip implements [http.RoundTripper].
func (t *boundedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := t.way(r.URL).RoundTrip(once(r))
	if err != nil {
		return nil, err
	}
	body, unread := t.form.read(response.Body)
	_ = response.Body.Close()
	switch {
	case unread == nil:
		response.Body = io.NopCloser(bytes.NewReader(body))
	case response.StatusCode < http.StatusMultipleChoices:
		response.Body = unreadable{unread}
	default:
		// Only its status is used.
		response.Body = http.NoBody
	}
	return response, nil
}

// once is a request that the transport does not send a second time by itself. One with GET whose body it can have again,
// or that has none, it would, where a connection that was used before breaks after the request was sent: a back end may
// have given something for the first.
func once(r *http.Request) *http.Request {
	r = r.Clone(r.Context())
	if r.GetBody = nil; r.Body == nil || r.Body == http.NoBody {
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader("")), 0
	}
	return r
}

// way is the transport that leads to a server.
func (t *boundedTransport) way(server *url.URL) *http.Transport {
	if t.proxy == nil || server.Scheme != "https" {
		return t.straight
	}
	if by, err := t.proxy(server); by == nil && err == nil {
		return t.straight
	}
	return t.proxied // which fails where the proxy cannot be known
}

// CloseIdleConnections is what [http.Client.CloseIdleConnections] calls.
func (t *boundedTransport) CloseIdleConnections() {
	t.straight.CloseIdleConnections()
	if t.proxied != nil {
		t.proxied.CloseIdleConnections()
	}
}

// RetryAfter reads how long a server asked to be left alone: whole seconds, up to an hour. Zero when it did not say.
func RetryAfter(h http.Header) time.Duration {
	seconds, err := strconv.ParseUint(h.Get("Retry-After"), 10, 31)
	if err != nil {
		return 0
	}
	return min(time.Duration(seconds)*time.Second, longestWait)
}
