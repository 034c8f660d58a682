// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"slices"
	"strings"
	"time"

	"github.com/valetkey/valetkey/internal/provider"
)

// works is how long the secret works from an instant on, where its lease does not end it: as long as the lease, or as
// what it says of itself. Vault's limits of a mount shorten leases, and neither certificates nor sessions of others.
//
// It reads what Vault's engines are known to say: expiration and expires_at_seconds, in seconds since 1970; ttl,
// token_ttl and lease_duration, in seconds; certificates and JSON Web Tokens wherever they stand. A number of another
// name, or a text of a name that speaks of time, is not understood, and then nobody knows how long the secret works.
// Source: the pages of the engines at https://developer.hashicorp.com/vault/api-docs/secret.
func (s *secret) works(from time.Time) (time.Duration, error) {
	l := lives{from: from, longest: s.lifetime}
	for name, value := range s.data {
		if !l.read(name, value) {
			return 0, final("it cannot be read until when what Vault leased works: its field %s says so, or may, in a form that is not known", shown(name))
		}
	}
	return l.longest, nil
}

// shown is a field's name as it can be told: one that is none of Vault's could be anything.
func shown(name string) string {
	plain := func(r rune) bool { return r != '_' && (r < 'a' || r > 'z') }
	const most = 40
	if len(name) > most || strings.ContainsFunc(name, plain) {
		return "of another name"
	}
	return name
}

// lives collects until when the parts of a secret work.
type lives struct {
	from    time.Time
	longest time.Duration
}

// chain are the fields with the authorities of a certificate, whose keys are nobody's.
var chain = []string{"ca_chain", "issuing_ca"}

// ofTime are words in the names of fields that say how long something works.
var ofTime = []string{"ttl", "expir", "lease", "valid", "until", "after", "duration", "lifetime", "time"}

// read reads one field, and reports whether it was understood.
func (l *lives) read(name string, value any) bool {
	switch v := value.(type) {
	case nil, bool:
		return true
	case json.Number:
		n, err := v.Int64()
		if err != nil {
			return false
		}
		switch name {
		case "expiration", "expires_at_seconds":
			n -= l.from.Unix()
			if n < 0 && n > -int64(24*time.Hour/time.Second) {
				n = 0 // just over, or of a clock that is behind
			}
		case "ttl", "token_ttl", "lease_duration":
		default:
			return false
		}
		lifetime, known := provider.Seconds(n)
		l.longest = max(l.longest, lifetime)
		return known
	case string:
		return l.readText(name, v)
	case []any:
		return !slices.ContainsFunc(v, func(element any) bool { return !l.read(name, element) })
	case map[string]any:
		for inner, element := range v {
			if !l.read(inner, element) {
				return false
			}
		}
		return true
	default:
		return false
	}
}

func (l *lives) readText(name, text string) bool {
	if strings.Contains(text, "-----BEGIN ") {
		return l.readPEM([]byte(text), slices.Contains(chain, name))
	}
	if strings.Contains(text, "-cert-v01@openssh.com") {
		return false
	}
	if until, is := tokenUntil(text); is {
		l.longest = max(l.longest, until.Sub(l.from))
		return !until.IsZero()
	}
	return text == "" || !slices.ContainsFunc(ofTime, func(word string) bool { return strings.Contains(strings.ToLower(name), word) })
}

// readPEM reads the certificates of a text. Those of authorities that stand beside one of another's, or in a field for
// them, are its chain.
func (l *lives) readPEM(text []byte, isChain bool) bool {
	var own, authorities []*x509.Certificate
	for block, rest := pem.Decode(text); ; block, rest = pem.Decode(rest) {
		if block == nil {
			if strings.Contains(string(rest), "-----BEGIN ") {
				return false
			}
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		switch {
		case err != nil:
			return false
		case certificate.IsCA:
			authorities = append(authorities, certificate)
		default:
			own = append(own, certificate)
		}
	}
	if len(own) == 0 && !isChain {
		own = authorities
	}
	for _, certificate := range own {
		l.longest = max(l.longest, certificate.NotAfter.Sub(l.from))
	}
	return true
}

// tokenUntil is until when a JSON Web Token says that it works, zero if it does not say; false if the text is none.
func tokenUntil(text string) (until time.Time, is bool) {
	parts := strings.Split(text, ".")
	const signed = 3
	if len(parts) != signed {
		return time.Time{}, false
	}
	var header struct {
		Algorithm string `json:"alg"`
	}
	var claims struct {
		Expires json.Number `json:"exp"`
	}
	for i, into := range []any{&header, &claims} {
		decoded, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil || json.Unmarshal(decoded, into) != nil {
			return time.Time{}, i > 0 && header.Algorithm != ""
		}
	}
	seconds, err := claims.Expires.Int64()
	if header.Algorithm == "" {
		return time.Time{}, false
	}
	if err != nil || seconds <= 0 {
		return time.Time{}, true
	}
	return time.Unix(seconds, 0), true
}
