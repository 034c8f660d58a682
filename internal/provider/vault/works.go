// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"time"

	"github.com/valetkey/valetkey/internal/provider"
)

// works is how long the secret works from an instant on, where its lease does not end it: as long as the lease, or as
// what it says of itself. Vault's limits of a mount shorten leases, and no certificate.
func (s *secret) works(from time.Time) (time.Duration, error) {
	unknown := final("it cannot be read until when what Vault leased works")
	longest := s.lifetime
	if said, is := s.data["expiration"]; is {
		number, _ := said.(json.Number)
		until, err := number.Int64()
		lifetime, known := provider.Seconds(until - from.Unix())
		if err != nil || !known {
			return 0, unknown
		}
		longest = max(longest, lifetime)
	}
	if text, is := s.data["certificate"].(string); is {
		block, _ := pem.Decode([]byte(text))
		if block == nil {
			return 0, unknown
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return 0, unknown
		}
		longest = max(longest, certificate.NotAfter.Sub(from))
	}
	return longest, nil
}
