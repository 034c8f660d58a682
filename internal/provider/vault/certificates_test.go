// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/provider"
)

// TestTake_ACertificateOfAnotherNameIsGivenToNobody: Vault's role may give each of them.
func TestTake_ACertificateOfAnotherNameIsGivenToNobody(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	asked := map[string]any{"common_name": "Web-App.example.com", "alt_names": "web-app.internal, a@example.com", "ip_sans": "10.0.0.7",
		"uri_sans": "spiffe://example.com/web-app", "ttl": "1h"}
	for name, test := range map[string]struct {
		parameters map[string]any
		change     func(c *x509.Certificate)
		other      bool
	}{
		"what was asked for":  {asked, func(*x509.Certificate) {}, false},
		"fewer names":         {asked, func(c *x509.Certificate) { c.DNSNames, c.IPAddresses, c.URIs = nil, nil, nil }, false},
		"another common name": {asked, func(c *x509.Certificate) { c.Subject.CommonName = "payments.example.com" }, true},
		"another name beside": {asked, func(c *x509.Certificate) { c.DNSNames = append(c.DNSNames, "payments.example.com") }, true},
		"a wildcard":          {asked, func(c *x509.Certificate) { c.DNSNames = []string{"*.example.com"} }, true},
		"another address":     {asked, func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.ParseIP("10.0.0.8")} }, true},
		"another person":      {asked, func(c *x509.Certificate) { c.EmailAddresses = []string{"b@example.com"} }, true},
		"another URI": {asked, func(c *x509.Certificate) {
			c.URIs = []*url.URL{{Scheme: "spiffe", Host: "example.com", Path: "/payments"}}
		}, true},
		"no name was asked for":             {map[string]any{"ttl": "1h"}, func(*x509.Certificate) {}, false},
		"the names of a request of its own": {map[string]any{"common_name": "x", "csr": "-----BEGIN"}, func(*x509.Certificate) {}, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), Subject: pkix.Name{CommonName: "web-app.example.com"},
				DNSNames: []string{"web-app.example.com", "web-app.internal"}, EmailAddresses: []string{"a@example.com"},
				IPAddresses: []net.IP{net.ParseIP("10.0.0.7")}, URIs: []*url.URL{{Scheme: "spiffe", Host: "example.com", Path: "/web-app"}}}
			test.change(c)
			der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
			if err != nil {
				t.Fatal(err)
			}
			leased := &secret{data: map[string]any{"certificate": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))}}
			q := question{path: "pki/issue/web", parameters: test.parameters}
			if got := q.hasOtherNames(leased, time.Now()); got != test.other {
				t.Errorf("it has other names: %t", got)
			}
			if !test.other {
				return
			}
			if _, err := (&session{}).take(provider.Lease{}, q, "reader", leased, time.Now()); !provider.IsFinal(err) {
				t.Errorf("it was taken: %v", err)
			}
		})
	}
}
