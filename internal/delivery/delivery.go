// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package delivery is the file in which the operator tells valetkey-exec what it delivered. The file lies beside the
// credential, in the same immutable Secret, so that neither the Job nor a webhook can change what it says. The
// variables of the container say the same to everybody else, and can be overridden.
package delivery

import (
	"encoding/json"
	"errors"
	"time"
)

// Terms are what was delivered, apart from the credential itself. Nothing of it is secret.
type Terms struct {
	// Issued is when the credential was issued, and Expires when the grant is over, both by the operator's clock.
	Issued  time.Time `json:"issued"`
	Expires time.Time `json:"expires"`
	// Variables are those of the container that are no secret: paths of the credential's files, and settings.
	Variables map[string]string `json:"variables,omitempty"`
}

// Encode returns the content of the file.
func (t Terms) Encode() []byte {
	t.Issued, t.Expires = t.Issued.UTC(), t.Expires.UTC()
	text, _ := json.Marshal(t) // times of a grant's and strings can always be encoded
	return text
}

// Decode reads the content of the file. It fails unless the file says when the credential was issued and when the grant
// is over.
func Decode(text []byte) (Terms, error) {
	var t Terms
	if json.Unmarshal(text, &t) != nil || t.Issued.IsZero() || t.Expires.IsZero() {
		return Terms{}, errors.New("it does not say when the grant is over")
	}
	return t, nil
}
