// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"cmp"
	"crypto/x509"
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/valetkey/valetkey/internal/provider"
)

// works is how long the secret works from an instant on, where its lease does not end it: as long as the lease, or as
// what it says of itself. With an error, it is what the rest says. Vault's limits of a mount shorten leases, and
// neither certificates nor sessions of others.
//
// It reads what Vault's engines are known to say: expiration and expires_at_seconds, in seconds since 1970; ttl,
// token_ttl and lease_duration, in seconds; and texts, each of which has to be of one form as a whole: see
// lives.readText. A number of another name, or a text in another form, is not understood, and then nobody knows how long
// the secret works.
// Source: the pages of the engines at https://developer.hashicorp.com/vault/api-docs/secret.
func (s *secret) works(from time.Time) (time.Duration, error) {
	longest, err := s.says(from)
	return max(longest, s.lifetime), err
}

// says is how long the secret says itself that it works.
func (s *secret) says(from time.Time) (time.Duration, error) {
	l, err := s.read(from)
	return l.longest, err
}

// read reads all fields, and says which could not be understood.
func (s *secret) read(from time.Time) (lives, error) {
	l := lives{from: from}
	var unknown error
	for _, name := range slices.Sorted(maps.Keys(s.data)) {
		if named := l.readText("", name); !l.read(name, s.data[name]) || !named {
			unknown = cmp.Or(unknown, final("it cannot be read until when what Vault leased works: %s says so, or may, in a form that is not known",
				shown(name)))
		}
	}
	return l, unknown
}

// speaking are the fields of Vault's own engines that say how long a secret works, or are what works so long.
var speaking = []string{"expiration", "expires_at", "expires_at_seconds", "expire_time", "ttl", "token_ttl", "lease_duration",
	"certificate", "ca_chain", "issuing_ca", "private_key", "signed_key", "token"}

// shown is a field as it can be told: the name of one that is none of those could be anything.
func shown(name string) string {
	if slices.Contains(speaking, name) {
		return "its field " + name
	}
	return "one of its fields"
}

// goesOn says why the end of its lease would not be the end of the secret, or may not be; nil if it is one that engines
// give that end it: plain words, and nothing that is not known to be harmless.
func (s *secret) goesOn(from time.Time) error {
	const instead = "Vault would confirm that its lease is over, and it would work on, or might; write revocation: AtExpiry"
	for _, name := range slices.Sorted(maps.Keys(s.data)) {
		value := s.data[name]
		if kind := strings.ToLower(strings.ReplaceAll(name, "_", "")); slices.Contains(ownEnds, kind) && value != nil && value != "" {
			return final("what Vault leased has a field %s, which works until it expires: %s", strings.ToLower(name), instead)
		}
		if !isHarmless(from, name, value) {
			return final("what Vault leased is not made of plain words alone, as names and passwords are: %s is none: %s", shown(name), instead)
		}
	}
	ends := s.lifetime
	if s.ends > 0 {
		ends = min(ends, s.ends)
	}
	if longest, _ := s.says(from); longest > ends+askingTime {
		return final("what Vault leased says of itself that it works longer than its lease: %s", instead)
	}
	return nil
}

// ownEnds are what certificates and sessions are called, without underscores: they end by themselves alone.
var ownEnds = []string{"certificate", "sessiontoken", "securitytoken"}

// mostPlain is how long a name or a password is at the most that its lease's end is to end.
const mostPlain = 1024

// isHarmless reports whether a field is one of a user, a password or a key, as engines give them that end those with
// their lease, or says nothing. Sources: the pages of the databases, Consul, Nomad, RabbitMQ, LDAP, AWS, Kubernetes and SSH
// at https://developer.hashicorp.com/vault/api-docs/secret.
func isHarmless(from time.Time, name string, value any) bool {
	l := lives{from: from}
	switch v := value.(type) {
	case nil:
		return true
	case bool:
		return name == "local"
	case json.Number:
		return l.read(name, v)
	case string:
		return l.isWord(name, mostPlain) && l.isWord(v, mostPlain) && (v == "" || !speaksOfTime(name))
	case []any:
		return !slices.ContainsFunc(v, func(one any) bool { text, is := one.(string); return !is || !isHarmless(from, name, text) })
	default:
		return false
	}
}

// lives collects until when the parts of a secret work.
type lives struct {
	from    time.Time
	longest time.Duration
	// leaves are the certificates that are no chain's.
	leaves []*x509.Certificate
	// within counts the texts that stand around what is read, in another form.
	within int
}

// chain are the fields with the authorities of a certificate, whose keys are nobody's.
var chain = []string{"ca_chain", "issuing_ca"}

// ofTime are words in the names of fields that say how long something works.
var ofTime = []string{"ttl", "expir", "lease", "valid", "until", "after", "duration", "lifetime", "time", "deadline", "max_age"}

// read reads one field, and reports whether it was understood.
func (l *lives) read(name string, value any) bool {
	switch v := value.(type) {
	case nil, bool:
		return true
	case json.Number:
		precise, err := v.Float64()
		if err != nil {
			return false
		}
		n, err := v.Int64()
		if err != nil {
			n = int64(min(math.Ceil(precise), math.MaxInt64/2)) // a part of a second, or more than there is
		}
		switch name {
		case "expiration", "expires_at_seconds":
			n -= l.from.Unix()
			if n < 0 && n > -int64(24*time.Hour/time.Second) {
				n = 0 // just over, or of a clock that is behind
			}
		case "ttl", "token_ttl", "lease_duration":
		case "port":
			return true
		default:
			return false
		}
		lifetime, known := provider.Seconds(n)
		if !known && n > 0 {
			lifetime = math.MaxInt64
		}
		l.longest = max(l.longest, lifetime)
		return known
	case string:
		return l.readText(name, v)
	case []any:
		all := true
		for _, element := range v {
			all = l.read(name, element) && all
		}
		return all
	case map[string]any:
		all := !speaksOfTime(name)
		for inner, element := range v {
			all = l.readText("", inner) && all
			all = l.read(inner, element) && all
		}
		return all
	default:
		return false
	}
}

// speaksOfTime reports whether a field's name does.
func speaksOfTime(name string) bool {
	name = strings.ToLower(name)
	return name == "exp" || slices.ContainsFunc(ofTime, func(word string) bool { return strings.Contains(name, word) })
}

// add counts certificates. Those of authorities that stand beside one of another's, or in a field for them, are its
// chain.
func (l *lives) add(all []*x509.Certificate, isChain bool) {
	own := slices.DeleteFunc(slices.Clone(all), func(c *x509.Certificate) bool { return c.IsCA })
	if len(own) == 0 && !isChain {
		own = all
	}
	l.leaves = append(l.leaves, own...)
	for _, certificate := range own {
		l.longest = max(l.longest, certificate.NotAfter.Sub(l.from))
	}
}
