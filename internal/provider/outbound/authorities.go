// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
)

// BesideSystem returns the system's authorities, and with them those of a text in PEM. It fails if the text is not one
// of certificates, or if the system's authorities cannot be read.
func BesideSystem(text []byte) (*x509.CertPool, error) {
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, errors.New("the system's authorities cannot be read")
	}
	if err := addAuthorities(pool, text); err != nil {
		return nil, fmt.Errorf("it %w", err)
	}
	return pool, nil
}

// Authorities returns the authorities of a text in PEM alone. It fails where [BesideSystem] does.
func Authorities(text []byte) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	if err := addAuthorities(pool, text); err != nil {
		return nil, fmt.Errorf("it %w", err)
	}
	return pool, nil
}

// CheckBundle says in words why a provider's caBundle cannot be used. An empty one can: then the operator's authorities
// are trusted.
func CheckBundle(bundle string) error {
	if bundle == "" {
		return nil
	}
	if err := addAuthorities(x509.NewCertPool(), []byte(bundle)); err != nil {
		return bundleError(err)
	}
	if stored, err := json.Marshal(bundle); err != nil || len(stored) > mostStored {
		return bundleError(errors.New("is too long for what a grant keeps of it: take out what stands between the certificates"))
	}
	return nil
}

// mostStored is how long a bundle can be in a grant's revocation handle, which is JSON: there some characters are six.
const mostStored = 24 << 10

func bundleError(err error) error { return fmt.Errorf("caBundle %w", err) }

// addAuthorities reads every certificate of a text, or fails: the standard library's own reader passes over what it
// cannot read, and an authority that is silently missing is found out only when a server is not trusted. No error
// repeats a part of the text, which could be somebody's key. What stands between the blocks is a comment.
func addAuthorities(pool *x509.CertPool, text []byte) error {
	begun, found := bytes.Count(text, []byte("-----BEGIN ")), 0
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		found++
		if block.Type != "CERTIFICATE" {
			return fmt.Errorf("holds something else than a certificate as its PEM block %d: take it out", found)
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return fmt.Errorf("holds as its PEM block %d no certificate that can be read: copy it anew, or take it out", found)
		}
		pool.AddCert(certificate)
	}
	switch {
	case begun == 0:
		return errors.New("holds no certificate in PEM")
	case found < begun:
		return fmt.Errorf("holds %d PEM blocks, of which only %d can be read: copy it anew", begun, found)
	}
	return nil
}
