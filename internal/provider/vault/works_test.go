// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"testing"
	"time"
)

// certificateUntil is a certificate in PEM.
func certificateUntil(t *testing.T, until time.Time) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// TestWorks_AsLongAsTheSecretSays: a mount's limit shortens the lease, and not the certificate that was leased.
func TestWorks_AsLongAsTheSecretSays(t *testing.T) {
	from := time.Unix(1_800_000_000, 0)
	in := func(d time.Duration) json.Number { return json.Number(fmt.Sprint(from.Add(d).Unix())) }
	for name, row := range map[string]struct {
		data map[string]any
		want time.Duration
		fail bool
	}{
		"as its lease":                          {map[string]any{"password": "x"}, 10 * time.Minute, false},
		"as it says":                            {map[string]any{"expiration": in(24 * time.Hour)}, 24 * time.Hour, false},
		"as it says, and less than the lease":   {map[string]any{"expiration": in(time.Minute)}, 10 * time.Minute, false},
		"as the certificate says":               {map[string]any{"certificate": certificateUntil(t, from.Add(720*time.Hour))}, 720 * time.Hour, false},
		"as the certificate says, and not more": {map[string]any{"certificate": certificateUntil(t, from.Add(2*time.Hour)), "expiration": in(time.Hour)}, 2 * time.Hour, false},
		"nobody knows how long":                 {map[string]any{"expiration": "soon"}, 0, true},
		"for ever":                              {map[string]any{"expiration": json.Number("9223372036854775807")}, 0, true},
		"since ever":                            {map[string]any{"expiration": json.Number("-9223372036854775808")}, 0, true},
		"by a certificate that is none":         {map[string]any{"certificate": "-----BEGIN"}, 0, true},
	} {
		got, err := (&secret{lifetime: 10 * time.Minute, data: row.data}).works(from)
		if got != row.want || (err != nil) != row.fail {
			t.Errorf("%s: %s, %v; want %s", name, got, err, row.want)
		}
	}
}
