// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package aws

import (
	"bytes"
	"encoding/xml"
	"io"
	"net/http"
)

// errorDocument is the one element of an error in AWS's query protocol.
// Source: https://smithy.io/2.0/aws/protocols/aws-query-protocol.html, on operation error serialization.
const errorDocument = "ErrorResponse"

// mostError is how many bytes an error may have. AWS's have some hundred.
const mostError = 1 << 20

// ownErrors empties refusals that are no error documents of AWS's: its SDK looks for an error's code in whatever stands
// around it, and would take a gateway's page for AWS's own word that nothing was issued.
type ownErrors struct{ http.RoundTripper }

// RoundTrip implements [http.RoundTripper].
func (o ownErrors) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := o.RoundTripper.RoundTrip(r)
	if err != nil || answer.StatusCode < http.StatusMultipleChoices {
		return answer, err
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, mostError))
	_ = answer.Body.Close()
	if err != nil {
		return nil, err
	}
	if root(text) != errorDocument {
		text = nil
	}
	answer.Body, answer.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
	return answer, nil
}

// CloseIdleConnections is what an [http.Client] looks for.
func (o ownErrors) CloseIdleConnections() {
	if closes, ok := o.RoundTripper.(interface{ CloseIdleConnections() }); ok {
		closes.CloseIdleConnections()
	}
}

// root is the name of a document's element; empty if it is none.
func root(text []byte) string {
	for d := xml.NewDecoder(bytes.NewReader(text)); ; {
		token, err := d.Token()
		if err != nil {
			return ""
		}
		if element, ok := token.(xml.StartElement); ok {
			return element.Name.Local
		}
	}
}
