// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"errors"
	"fmt"
	"maps"
	"time"
)

// redacted is all that is ever printed of a credential.
const redacted = "[credential]"

// Credential is what a back end issued. It cannot be printed, logged or marshalled: every way to do so yields a fixed word.
type Credential struct {
	id, principal string
	expiresAt     time.Time
	files         map[string]string
	variables     map[string]string
	pointers      map[string]string
}

// CredentialFields are what a back end makes a Credential from.
type CredentialFields struct {
	// ID and Principal identify it without being it.
	ID, Principal string
	// ExpiresAt is when the back end stops accepting it.
	ExpiresAt time.Time
	// Files by their path below the mount.
	Files map[string]string
	// Variables with secret values.
	Variables map[string]string
	// Pointers are variables that are no secret: paths and settings.
	Pointers map[string]string
}

// NewCredential makes a Credential. One without an identifier or an expiry is refused.
func NewCredential(f CredentialFields) (*Credential, error) {
	if f.ID == "" || f.ExpiresAt.IsZero() || len(f.Files)+len(f.Variables) == 0 {
		return nil, errors.New("a credential has an identifier, an expiry and content")
	}
	return &Credential{id: f.ID, principal: f.Principal, expiresAt: f.ExpiresAt,
		files: maps.Clone(f.Files), variables: maps.Clone(f.Variables), pointers: maps.Clone(f.Pointers)}, nil
}

// ID identifies the credential in the back end's log.
func (c *Credential) ID() string { return c.id }

// Principal is what it acts as.
func (c *Credential) Principal() string { return c.principal }

// ExpiresAt is when the back end stops accepting it.
func (c *Credential) ExpiresAt() time.Time { return c.expiresAt }

// Files are the secret files by path, for projection alone.
func (c *Credential) Files() map[string]string { return maps.Clone(c.files) }

// Variables are the secret variables, for projection alone.
func (c *Credential) Variables() map[string]string { return maps.Clone(c.variables) }

// Pointers are the variables that are no secret.
func (c *Credential) Pointers() map[string]string { return maps.Clone(c.pointers) }

// String hides the credential.
func (c *Credential) String() string { return redacted }

// GoString hides the credential from %#v.
func (c *Credential) GoString() string { return redacted }

// Format hides the credential from every verb.
func (c *Credential) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// MarshalJSON hides the credential.
func (c *Credential) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// MarshalText hides the credential.
func (c *Credential) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalLog hides the credential from logr.
func (c *Credential) MarshalLog() any { return redacted }
