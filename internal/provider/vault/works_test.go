// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math"
	"math/big"
	"strings"
	"testing"
	"time"
)

// certificateUntil is a certificate in PEM.
func certificateUntil(t *testing.T, until time.Time) string {
	t.Helper()
	return certificate(t, until, false)
}

func certificate(t *testing.T, until time.Time, authority bool) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: until, BasicConstraintsValid: true, IsCA: authority}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// derUntil is a certificate in base64, as an engine gives it that is asked for DER.
func derUntil(t *testing.T, until time.Time) string {
	t.Helper()
	block, _ := pem.Decode([]byte(certificateUntil(t, until)))
	return base64.StdEncoding.EncodeToString(block.Bytes)
}

// inLines breaks a text as Base64 is broken in mails.
func inLines(text string) string {
	const line = 64
	var all strings.Builder
	for len(text) > line {
		all.WriteString(text[:line] + "\n")
		text = text[line:]
	}
	return all.String() + text
}

// within is a text in Base64, so many times.
func within(text string, times int) string {
	for range times {
		text = base64.StdEncoding.EncodeToString([]byte(text))
	}
	return text
}

// jwtUntil is a JSON Web Token that nobody signed.
func jwtUntil(until time.Time) string {
	claims := fmt.Appendf(nil, `{"exp":%d}`, until.Unix())
	return "eyJhbGciOiJub25lIn0." + base64.RawURLEncoding.EncodeToString(claims) + ".c2lnbmVk"
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
		"as its lease":                            {map[string]any{"password": "x"}, 10 * time.Minute, false},
		"as it says":                              {map[string]any{"expiration": in(24 * time.Hour)}, 24 * time.Hour, false},
		"as it says, and less than the lease":     {map[string]any{"expiration": in(time.Minute)}, 10 * time.Minute, false},
		"as the certificate says":                 {map[string]any{"certificate": certificateUntil(t, from.Add(720*time.Hour))}, 720 * time.Hour, false},
		"as the certificate says, and not more":   {map[string]any{"certificate": certificateUntil(t, from.Add(2*time.Hour)), "expiration": in(time.Hour)}, 2 * time.Hour, false},
		"nobody knows how long":                   {map[string]any{"expiration": "soon"}, 0, true},
		"for ever":                                {map[string]any{"expiration": json.Number("9223372036854775807")}, 0, true},
		"since ever":                              {map[string]any{"expiration": json.Number("-9223372036854775808")}, 0, true},
		"as the second certificate of it says":    {map[string]any{"certificate": certificateUntil(t, from.Add(time.Minute)) + certificateUntil(t, from.Add(720*time.Hour))}, 720 * time.Hour, false},
		"as one in a list says":                   {map[string]any{"certificate": []any{certificateUntil(t, from.Add(720*time.Hour))}}, 720 * time.Hour, false},
		"as one within another field says":        {map[string]any{"private_key": map[string]any{"pem": certificateUntil(t, from.Add(720*time.Hour))}}, 720 * time.Hour, false},
		"as its authorities say, no longer":       {map[string]any{"issuing_ca": certificate(t, from.Add(720*time.Hour), true), "ca_chain": []any{certificate(t, from.Add(72*time.Hour), true)}}, 10 * time.Minute, false},
		"as one among its authorities says":       {map[string]any{"ca_chain": []any{certificateUntil(t, from.Add(72*time.Hour))}}, 72 * time.Hour, false},
		"as a bundle of both says":                {map[string]any{"certificate": certificateUntil(t, from.Add(time.Hour)) + certificate(t, from.Add(720*time.Hour), true)}, time.Hour, false},
		"as an authority of its own says":         {map[string]any{"certificate": certificate(t, from.Add(720*time.Hour), true)}, 720 * time.Hour, false},
		"as the session says":                     {map[string]any{"access_key": "x", "secret_key": "y", "session_token": "z", "ttl": json.Number("3599"), "arn": "arn:aws:sts::1:assumed-role/a/b"}, 3599 * time.Second, false},
		"as the account says":                     {map[string]any{"token": "x", "expires_at_seconds": in(time.Hour), "token_ttl": json.Number("3600")}, time.Hour, false},
		"as the token says":                       {map[string]any{"token": jwtUntil(from.Add(time.Hour))}, time.Hour, false},
		"as a token that says nothing":            {map[string]any{"token": "eyJhbGciOiJub25lIn0.e30."}, 0, true},
		"as a number says that nobody knows":      {map[string]any{"works_for": json.Number("3600")}, 0, true},
		"as a time says that nobody reads":        {map[string]any{"expire_time": "on 1 January 2030"}, 0, true},
		"as a time says":                          {map[string]any{"expire_time": from.Add(time.Hour).UTC().Format(time.RFC3339)}, time.Hour, false},
		"as a part of a second says":              {map[string]any{"ttl": json.Number("3600.5")}, 3601 * time.Second, false},
		"as a text says in a list":                {map[string]any{"valid_until": []any{"soon"}}, 0, true},
		"as an SSH certificate says":              {map[string]any{"signed_key": "ssh-ed25519-cert-v01@openssh.com AAAA"}, 0, true},
		"as what is half a certificate says":      {map[string]any{"certificate": certificateUntil(t, from.Add(time.Minute)) + "-----BEGIN CERTIFICATE-----"}, 0, true},
		"as a certificate says that is no PEM":    {map[string]any{"certificate": derUntil(t, from.Add(720*time.Hour))}, 720 * time.Hour, false},
		"as a certificate of another form says":   {map[string]any{"certificate": strings.ReplaceAll(certificateUntil(t, from.Add(time.Minute)), "CERTIFICATE", "TRUSTED CERTIFICATE")}, 0, true},
		"as a token says behind its kind":         {map[string]any{"token": " Bearer " + jwtUntil(from.Add(time.Hour))}, time.Hour, false},
		"as a time says under its short name":     {map[string]any{"exp": from.Add(time.Hour).UTC().Format(time.RFC3339)}, time.Hour, false},
		"as a term says":                          {map[string]any{"max_age": "87600h"}, 87600 * time.Hour, false},
		"as a time says that is called otherwise": {map[string]any{"end_date": from.Add(time.Hour).UTC().Format(time.RFC3339)}, time.Hour, false},
		"as a time says amid a text":              {map[string]any{"note": "works until " + from.Add(time.Hour).UTC().Format(time.RFC3339Nano) + ", and no longer"}, time.Hour, false},
		"as a time says that is over":             {map[string]any{"made": from.Add(-time.Hour).UTC().Format(time.RFC3339)}, 10 * time.Minute, false},
		"as a token says that works for ever":     {map[string]any{"token": "eyJhbGciOiJub25lIn0." + base64.RawURLEncoding.EncodeToString([]byte(`{"exp":9223372036854775807}`)) + ".c2lnbmVk"}, math.MaxInt64, false},
		"as a token says in a header":             {map[string]any{"header": "Authorization: bearer " + jwtUntil(from.Add(time.Hour))}, time.Hour, false},
		"as a token says in a kubeconfig":         {map[string]any{"config": "users:\n- user:\n    token: " + jwtUntil(from.Add(time.Hour)) + "\n"}, time.Hour, false},
		"as a token says behind a dot":            {map[string]any{"token": "v1." + jwtUntil(from.Add(time.Hour))}, time.Hour, false},
		"as a certificate says in a kubeconfig": {map[string]any{"config": "    client-certificate-data: " +
			base64.StdEncoding.EncodeToString([]byte(certificateUntil(t, from.Add(time.Hour)))) + "\n"}, time.Hour, false},
		"as a certificate says in lines":       {map[string]any{"pem": inLines(base64.StdEncoding.EncodeToString([]byte(certificateUntil(t, from.Add(time.Hour)))))}, time.Hour, false},
		"as a file says within a file":         {map[string]any{"key": base64.StdEncoding.EncodeToString([]byte(`{"type": "account", "expires_at": "` + from.Add(time.Hour).UTC().Format(time.RFC3339) + `"}`))}, time.Hour, false},
		"as a number says within a file":       {map[string]any{"key": `{"works_for": 3600}`}, 0, true},
		"as a file says too deep within files": {map[string]any{"key": within(`{"a": "b"}`, 6)}, 0, true},
		"for as long as can be told":           {map[string]any{"expires_at": "9999-12-31T00:00:00Z"}, math.MaxInt64, false},
		"by a certificate that is none":        {map[string]any{"certificate": "-----BEGIN CERTIFICATE-----"}, 0, true},
	} {
		got, err := (&secret{lifetime: 10 * time.Minute, data: row.data}).works(from)
		if (err != nil) != row.fail || err == nil && got != row.want {
			t.Errorf("%s: %s, %v; want %s", name, got, err, row.want)
		}
	}
}

// TestGoesOn_ASecretThatItsLeaseDoesNotEndIsRefused where the grant would say that it was ended.
func TestGoesOn_ASecretThatItsLeaseDoesNotEndIsRefused(t *testing.T) {
	from := time.Unix(1_800_000_000, 0)
	for name, row := range map[string]struct {
		data  map[string]any
		fails bool
	}{
		"a user of a database":                   {map[string]any{"username": "u", "password": "p"}, false},
		"with a certificate":                     {map[string]any{"client_certificate": certificateUntil(t, from.Add(time.Minute)), "private_key": "k"}, false},
		"which works longer":                     {map[string]any{"client_certificate": certificateUntil(t, from.Add(time.Hour)), "private_key": "k"}, true},
		"a certificate":                          {map[string]any{"certificate": certificateUntil(t, from.Add(time.Minute))}, true},
		"keys of AWS":                            {map[string]any{"access_key": "a", "secret_key": "s", "security_token": nil}, false},
		"a session of AWS":                       {map[string]any{"access_key": "a", "secret_key": "s", "session_token": "t"}, true},
		"which says so beside what nobody knows": {map[string]any{"client_certificate": certificateUntil(t, from.Add(time.Hour)), "private_key_bits": json.Number("2048")}, true},
		"for ever":                               {map[string]any{"password": "p", "expiration": json.Number("9223372036854775807")}, true},
		"in a form that nobody knows":            {map[string]any{"password": "p", "rotation_period": json.Number("5")}, false},
	} {
		if err := (&secret{lifetime: 10 * time.Minute, data: row.data}).goesOn(from); (err != nil) != row.fails {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestShown_TellsNoNameThatVaultMadeUp, which could be the secret.
func TestShown_TellsNoNameThatVaultMadeUp(t *testing.T) {
	_, err := (&secret{data: map[string]any{"correcthorsebatterystaple": json.Number("5")}}).works(time.Unix(0, 0))
	if err == nil || strings.Contains(err.Error(), "staple") {
		t.Errorf("it says: %v", err)
	}
}
