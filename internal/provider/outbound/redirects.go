// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"net/http"

	utilnet "k8s.io/apimachinery/pkg/util/net"
)

// Unredirected returns a transport whose answers name no other place to ask, so that no client can follow a redirect,
// whoever made the client. A client would take the credential along: libraries add it to every request, wherever that
// goes. The status of a redirect stays.
func Unredirected(next http.RoundTripper) http.RoundTripper { return unredirected{next} }

type unredirected struct{ next http.RoundTripper }

// RoundTrip implements [http.RoundTripper].
func (u unredirected) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := u.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if response.StatusCode/100 == http.StatusMultipleChoices/100 {
		// It is where a client looks: https://pkg.go.dev/net/http#Client. Without it, the answer is given as it is.
		response.Header.Del("Location")
	}
	return response, nil
}

// CloseIdleConnections is what [http.Client.CloseIdleConnections] calls.
func (u unredirected) CloseIdleConnections() { utilnet.CloseIdleConnectionsFor(u.next) }
