// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package redirects keeps HTTP clients from being led elsewhere, whoever makes them.
package redirects

import (
	"net/http"

	utilnet "k8s.io/apimachinery/pkg/util/net"
)

// Drop returns a transport whose answers name no other place to ask, so that no client can follow a redirect. A client
// would take the credential along: libraries add it to every request, wherever that goes. The status of a redirect
// stays.
func Drop(next http.RoundTripper) http.RoundTripper { return dropping{next} }

type dropping struct{ next http.RoundTripper }

// RoundTrip implements [http.RoundTripper].
func (d dropping) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := d.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if response.StatusCode/100 == http.StatusMultipleChoices/100 {
		// It is where a client looks: https://pkg.go.dev/net/http#Client. Without it, the answer is given as it is.
		response.Header.Del("Location")
	}
	return response, nil
}

// WrappedRoundTripper is what client-go looks for: it would else warn of each request that it cannot cancel.
func (d dropping) WrappedRoundTripper() http.RoundTripper { return d.next }

// CloseIdleConnections is what [http.Client.CloseIdleConnections] calls.
func (d dropping) CloseIdleConnections() { utilnet.CloseIdleConnectionsFor(d.next) }
