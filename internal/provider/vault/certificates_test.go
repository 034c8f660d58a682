// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/provider"
)

// typed has a certificate of one common name have one name of a type that it says, a user's principal name.
func typed(value string) func(c *x509.Certificate) {
	return func(c *x509.Certificate) {
		other, err := asn1.MarshalWithParams(struct {
			Type  asn1.ObjectIdentifier
			Value string `asn1:"explicit,tag:0,utf8"`
		}{asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 20, 2, 3}, value}, "tag:0")
		if err != nil {
			panic(err)
		}
		all, err := asn1.Marshal([]asn1.RawValue{{FullBytes: other}})
		if err != nil {
			panic(err)
		}
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: all}}
	}
}

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
		"another common name before": {asked, func(c *x509.Certificate) {
			c.Subject = pkix.Name{ExtraNames: []pkix.AttributeTypeAndValue{{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "payments.example.com"},
				{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "web-app.example.com"}}}
		}, true},
		"a user": {asked, func(c *x509.Certificate) {
			c.Subject.ExtraNames = []pkix.AttributeTypeAndValue{{Type: asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 1}, Value: "admin"}}
		}, true},
		"a number": {asked, func(c *x509.Certificate) { c.Subject.SerialNumber = "7" }, true},
		"an organization": {asked, func(c *x509.Certificate) {
			c.Subject.Organization, c.Subject.Country = []string{"Acme"}, []string{"CH"}
		}, false},
		"a name that says its type": {asked, typed("admin@example.com"), true},
		"one that was asked for":    {map[string]any{"common_name": "web-app.example.com", "other_sans": "1.3.6.1.4.1.311.20.2.3;UTF-8:Bot@example.com"}, typed("bot@example.com"), false},
		"one beside it":             {map[string]any{"common_name": "web-app.example.com", "other_sans": "1.3.6.1.4.1.311.20.2.3;utf8:bot@example.com"}, typed("admin@example.com"), true},
		"names of another kind": {asked, func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: []byte{0x30, 0x04, 0x88, 0x02, 0x2a, 0x03}}}
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
