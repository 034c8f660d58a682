// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package outbound makes the HTTP clients by which back ends and the collector of traces are reached.
package outbound

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/valetkey/valetkey/internal/redirects"
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
// What the server answers is of the form, or none of it is read: see [Unread]. The same goes for a success that says an
// error, and for an answer without success that holds more than an error of the server's own: it can hold a credential.
// Any other answer without success that is no such error has its status and no body, and so is no refusal: see
// [Refuses].
//
// Each question has a connection of its own. On one that is kept, a server, or what stands between, can send an answer
// that nobody asked for: net/http logs that answer, or takes it for the answer to the next question.
//
// Whoever makes a client closes its idle connections: HTTP/2 can leave one behind where a call was given up.
func (s Settings) Client(bundle string, form Form, own Errors) (*http.Client, error) {
	trusted := s.Authorities
	if bundle != "" {
		trusted = x509.NewCertPool()
		if err := addAuthorities(trusted, []byte(bundle)); err != nil {
			return nil, bundleError(err)
		}
	}
	return s.newClient(&tls.Config{RootCAs: trusted}, form, own), nil
}

// Collector makes the client by which a collector of traces is reached, as a back end is. Its authorities, where it has
// any, are trusted for the collector instead of the operator's, and it is shown the certificate, where there is one.
// What it answers is read as it is, up to the size of a real answer.
func (s Settings) Collector(authorities *x509.CertPool, certificates []tls.Certificate) *http.Client {
	return s.newClient(&tls.Config{RootCAs: cmp.Or(authorities, s.Authorities), Certificates: certificates}, binary, Errors{})
}

func (s Settings) newClient(server *tls.Config, form Form, own Errors) *http.Client {
	server.MinVersion = tls.VersionTLS12
	transport := &boundedTransport{form: form, own: own, straight: newTransport(server)}
	if s.Proxy != nil {
		transport.proxy, transport.proxied = s.Proxy, s.newProxied(server)
	}
	return &http.Client{Transport: redirects.Drop(transport), Timeout: AnswerTime}
}

func newTransport(server *tls.Config) *http.Transport {
	return &http.Transport{
		DialContext: newDialer().DialContext, ForceAttemptHTTP2: true, TLSHandshakeTimeout: connectTime,
		TLSClientConfig: server, DisableKeepAlives: true, MaxResponseHeaderBytes: answerSize,
	}
}

func newDialer() *net.Dialer { return &net.Dialer{Timeout: connectTime, KeepAlive: 30 * time.Second} }

// boundedTransport reads no answer that is longer or more ambiguous than a real one.
type boundedTransport struct {
	form     Form
	own      Errors
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
	success := response.StatusCode < http.StatusMultipleChoices
	if !success && t.holdsMore(body, unread) {
		return nil, &unreadError{status: response.StatusCode, why: holdsMore}
	}
	if success && unread == nil && t.form.saysError(body) {
		unread = &unreadError{why: saysError}
	}
	switch {
	case unread == nil && (success || t.form == binary || t.own.Is(body)):
		response.Body = io.NopCloser(bytes.NewReader(body))
	case success:
		response.Body = unreadable{unread}
	default:
		// Only its status is used.
		response.Body = http.NoBody
	}
	return response, nil
}

// holdsMore reports whether an answer without success holds more than an error, or may, for it can be read in more
// than one way, or not to its end. A page of HTML, or plain text, is somebody else's, and holds nothing of the server's.
func (t *boundedTransport) holdsMore(body []byte, unread *unreadError) bool {
	switch {
	case page.Match(body):
		return false
	case unread != nil:
		return unread.why == twice || unread.why == twoWays || bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), t.form.begins())
	default:
		return t.form.holdsMore(body, t.own)
	}
}

// page is how HTML begins.
var page = regexp.MustCompile(`(?i)^\s*(<\?xml[^>]*>\s*)?(<!doctype html[^>]*>\s*)?<html`)

// once is a request that the transport does not send a second time by itself. It would do so with a request whose body
// it can have again, or that has none, where a server of HTTP/2 says that it did not look at it: a back end may have
// given something all the same.
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
