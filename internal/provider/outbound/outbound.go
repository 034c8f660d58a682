// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package outbound makes the HTTP clients by which back ends are reached.
package outbound

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

const (
	// AnswerTime bounds one call: the controller tries again later.
	AnswerTime = 10 * time.Second
	// answerSize bounds what is read of an answer; a real one has a few KiB.
	answerSize = 64 << 10
	// longestWait is the longest that a back end is left alone because it asked for it.
	longestWait = time.Hour
)

// Client goes straight to the address that an administrator allowed, or nowhere. It follows no redirect, and no proxy variable of the
// operator's environment: either would let something that no flag names see an identity's token. Roots are the authorities that it
// trusts; nil means the system's.
func Client(roots *x509.CertPool) *http.Client {
	dialer := &net.Dialer{Timeout: AnswerTime, KeepAlive: 30 * time.Second}
	transport := &http.Transport{
		DialContext: dialer.DialContext, ForceAttemptHTTP2: true, TLSHandshakeTimeout: AnswerTime,
		TLSClientConfig:     &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		MaxIdleConnsPerHost: 16, IdleConnTimeout: 90 * time.Second, MaxResponseHeaderBytes: answerSize,
	}
	return &http.Client{
		Transport:     boundedTransport{transport},
		Timeout:       AnswerTime,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// boundedTransport reads no more of an answer than a real one can have.
type boundedTransport struct{ *http.Transport }

func (t boundedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := t.Transport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, answerSize))
	if err := errors.Join(err, response.Body.Close()); err != nil {
		return nil, err
	}
	if !oneReading(body) {
		return nil, errTwoReadings
	}
	response.Body = io.NopCloser(bytes.NewReader(body))
	return response, nil
}

// Untrusted reports whether a call ended because the certificate is not one that the client trusts: then nothing was sent.
func Untrusted(err error) bool {
	untrusted := (*tls.CertificateVerificationError)(nil)
	return errors.As(err, &untrusted)
}

// RetryAfter reads how long a server asked to be left alone: whole seconds, up to an hour. Zero when it did not say.
func RetryAfter(h http.Header) time.Duration {
	seconds, err := strconv.ParseUint(h.Get("Retry-After"), 10, 31)
	if err != nil {
		return 0
	}
	return min(time.Duration(seconds)*time.Second, longestWait)
}
