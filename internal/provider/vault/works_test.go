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
	mathrand "math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/provider"
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

// jwtOf is one of these claims.
func jwtOf(claims string) string {
	return "eyJhbGciOiJub25lIn0." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2lnbmVk"
}

// privateKey is a key in PEM.
func privateKey(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// derOf is what a block in PEM holds, in Base64.
func derOf(text string) string {
	block, _ := pem.Decode([]byte(text))
	return base64.StdEncoding.EncodeToString(block.Bytes)
}

// noise is so many bytes that mean nothing.
func noise(n int) []byte {
	random, all := mathrand.NewPCG(3, 4), make([]byte, n)
	for i := range all {
		all[i] = byte(random.Uint64())
	}
	return all
}

// TestWorks_AsLongAsTheSecretSays: a mount's limit shortens the lease, and not the certificate that was leased.
func TestWorks_AsLongAsTheSecretSays(t *testing.T) {
	from := time.Unix(1_800_000_000, 0)
	const decade = 87_600 * time.Hour
	at := func(d time.Duration) string { return from.Add(d).UTC().Format(time.RFC3339) }
	key := privateKey(t)
	file, _ := json.Marshal(map[string]any{"certificate": certificateUntil(t, from.Add(decade)), "private_key": key, "valid_until": at(time.Hour)})
	bundle, session := string(file), base64.StdEncoding.EncodeToString(noise(1500))
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
		"as a time says amid a text":              {map[string]any{"note": "works until " + from.Add(time.Hour).UTC().Format(time.RFC3339Nano) + ", and no longer"}, time.Hour, true},
		"as a time says that is over":             {map[string]any{"made": from.Add(-time.Hour).UTC().Format(time.RFC3339)}, 10 * time.Minute, false},
		"as a token says that works for ever":     {map[string]any{"token": "eyJhbGciOiJub25lIn0." + base64.RawURLEncoding.EncodeToString([]byte(`{"exp":9223372036854775807}`)) + ".c2lnbmVk"}, math.MaxInt64, false},
		"as a token says in a header":             {map[string]any{"header": "Authorization: bearer " + jwtUntil(from.Add(time.Hour))}, time.Hour, true},
		"as a token says in a kubeconfig":         {map[string]any{"config": "users:\n- user:\n    token: " + jwtUntil(from.Add(time.Hour)) + "\n"}, time.Hour, true},
		"as a token says behind a dot":            {map[string]any{"token": "v1." + jwtUntil(from.Add(time.Hour))}, time.Hour, true},
		"as a certificate says in a kubeconfig": {map[string]any{"config": "    client-certificate-data: " +
			base64.StdEncoding.EncodeToString([]byte(certificateUntil(t, from.Add(time.Hour)))) + "\n"}, time.Hour, true},
		"as a certificate says in lines":           {map[string]any{"pem": inLines(base64.StdEncoding.EncodeToString([]byte(certificateUntil(t, from.Add(time.Hour)))))}, time.Hour, false},
		"as a file says within a file":             {map[string]any{"key": base64.StdEncoding.EncodeToString([]byte(`{"type": "account", "expires_at": "` + from.Add(time.Hour).UTC().Format(time.RFC3339) + `"}`))}, time.Hour, false},
		"as a number says within a file":           {map[string]any{"key": `{"works_for": 3600}`}, 0, true},
		"as a file says too deep within files":     {map[string]any{"key": within(`{"a": "b"}`, 6)}, 0, true},
		"for as long as can be told":               {map[string]any{"expires_at": "9999-12-31T00:00:00Z"}, math.MaxInt64, false},
		"as a file of a certificate says":          {map[string]any{"password": bundle}, decade, false},
		"as such a file says in Base64":            {map[string]any{"password": within(bundle, 1)}, decade, false},
		"as such a file says behind a word":        {map[string]any{"password": "bundle=" + bundle}, decade, true},
		"as such a file says in Base64 in a line":  {map[string]any{"password": "bundle=" + within(bundle, 1)}, decade, true},
		"as a file says that says one thing twice": {map[string]any{"key": `{"exp":"` + at(time.Minute) + `","exp":"` + at(time.Hour) + `"}`}, time.Hour, true},
		"as a text says in JSON":                   {map[string]any{"key": `"` + at(time.Hour) + `"`}, time.Hour, false},
		"as a file says under a name of time":      {map[string]any{"validity": map[string]any{"of": "x"}}, 0, true},
		"as what stands beside a key says":         {map[string]any{"password": key + "# valid until " + at(decade) + "\n" + jwtUntil(from.Add(time.Hour))}, decade, true},
		"as what stands above a key says":          {map[string]any{"password": "valid until " + at(decade) + "\n" + key}, decade, true},
		"as what stands between two says":          {map[string]any{"password": key + at(decade) + "\n" + key}, decade, true},
		"as what a key holds says": {map[string]any{"password": strings.ReplaceAll(certificateUntil(t, from.Add(decade)), "CERTIFICATE", "PRIVATE KEY")},
			decade, true},
		"as a block's header says":             {map[string]any{"password": strings.Replace(key, "KEY-----\n", "KEY-----\nUntil: "+at(decade)+"\n\n", 1)}, decade, true},
		"as a key of another kind says":        {map[string]any{"password": strings.ReplaceAll(key, "PRIVATE KEY", "VERY PRIVATE KEY")}, 0, true},
		"as two keys say":                      {map[string]any{"private_key": key + "\n \n" + key}, 10 * time.Minute, false},
		"as a key says that is no PEM":         {map[string]any{"private_key": derOf(key)}, 10 * time.Minute, false},
		"as a bundle says that nobody reads":   {map[string]any{"bundle": base64.StdEncoding.EncodeToString(append([]byte{0x30, 0x82, 4, 0}, make([]byte, 1024)...))}, 0, true},
		"as a token says with a fraction":      {map[string]any{"token": jwtOf(fmt.Sprintf(`{"exp":%d.5}`, from.Add(time.Hour).Unix()))}, time.Hour + time.Second, false},
		"as a token says with an exponent":     {map[string]any{"token": jwtOf(`{"exp":1.8000036e9}`)}, time.Hour, false},
		"as a token says in a text":            {map[string]any{"token": jwtOf(`{"exp":"1800003600"}`)}, 0, true},
		"as a token says twice":                {map[string]any{"token": jwtOf(`{"exp":1800000001,"exp":1800003600}`)}, 0, true},
		"as a token says behind a word":        {map[string]any{"token": "token_" + jwtUntil(from.Add(time.Hour))}, time.Hour, true},
		"as a token says behind a letter":      {map[string]any{"token": "a-" + jwtUntil(from.Add(time.Hour))}, time.Hour, true},
		"as the second of two tokens says":     {map[string]any{"token": jwtUntil(from.Add(time.Minute)) + "." + jwtUntil(from.Add(time.Hour))}, time.Hour, true},
		"as a token says in a name":            {map[string]any{"tokens": map[string]any{jwtUntil(from.Add(time.Hour)): true}}, time.Hour, false},
		"as a certificate says in a name":      {map[string]any{"all": map[string]any{certificateUntil(t, from.Add(decade)): true}}, decade, false},
		"as a time says in a name":             {map[string]any{at(decade): true}, decade, false},
		"as a certificate says behind a slash": {map[string]any{"key": "/" + derUntil(t, from.Add(decade))}, decade, true},
		"as a certificate says behind a word":  {map[string]any{"key": "abc" + derUntil(t, from.Add(decade))}, decade, true},
		"as a certificate says in pieces":      {map[string]any{"key": "x=" + strings.ReplaceAll(inLines(derUntil(t, from.Add(decade))), "\n", " ")}, decade, true},
		"as a second 60 says":                  {map[string]any{"note": "2036-12-31T23:59:60Z"}, time.Date(2037, 1, 1, 0, 0, 0, 0, time.UTC).Sub(from), false},
		"as a second 60 says amid a text":      {map[string]any{"note": "until 2036-12-31T23:59:60Z"}, time.Date(2037, 1, 1, 0, 0, 0, 0, time.UTC).Sub(from), true},
		"as a time without a zone says":        {map[string]any{"note": "2036-12-31T23:59:59"}, 0, true},
		"as a date says":                       {map[string]any{"end_date": "2036-01-01"}, 0, true},
		"as several lines say":                 {map[string]any{"note": "it works\nas long as it works"}, 0, true},
		"as several lines say in Base64":       {map[string]any{"note": within("it works\nas long as it works", 1)}, 0, true},
		"as what cannot be shown says":         {map[string]any{"note": "it works\x07"}, 0, true},
		"as a word says that is too long":      {map[string]any{"note": strings.Repeat("x-", 5<<10)}, 0, true},
		"as the lease of a session says":       {map[string]any{"session_token": session, "access_key": "ASIAEXAMPLE", "arn": "arn:aws:sts::1:assumed-role/a/b"}, 10 * time.Minute, false},
		"as an SSH certificate says in Base64": {map[string]any{"key": within("ssh-ed25519-cert-v01@openssh.com", 1)}, 0, true},
		"by a certificate that is none":        {map[string]any{"certificate": "-----BEGIN CERTIFICATE-----"}, 0, true},
	} {
		got, err := (&secret{lifetime: 10 * time.Minute, data: row.data}).works(from)
		if (err != nil) != row.fail || (err == nil || row.want != 0) && got != row.want {
			t.Errorf("%s: %s, %v; want %s", name, got, err, row.want)
		}
	}
}

// TestWorks_OfWhatEnginesGiveEverythingIsUnderstood, as the page of each shows it.
func TestWorks_OfWhatEnginesGiveEverythingIsUnderstood(t *testing.T) {
	from := time.Unix(1_800_000_000, 0)
	hour, key := from.Add(time.Hour), privateKey(t)
	file, _ := json.MarshalIndent(map[string]any{"type": "service_account", "project_id": "p", "private_key_id": "0123456789abcdef0123456789abcdef01234567",
		"private_key": key, "client_email": "a@p.iam.gserviceaccount.com", "client_id": "123456789012345678901", "auth_uri": "https://accounts.google.com/o/oauth2/auth",
		"token_uri": "https://oauth2.googleapis.com/token", "auth_provider_x509_cert_url": "https://www.googleapis.com/oauth2/v1/certs"}, "", "  ")
	for name, row := range map[string]struct {
		data map[string]any
		want time.Duration
	}{
		"pki": {map[string]any{"certificate": certificateUntil(t, hour), "issuing_ca": certificate(t, hour.Add(time.Hour), true), "private_key": key, "private_key_type": "ec",
			"ca_chain": []any{certificate(t, hour.Add(time.Hour), true)}, "serial_number": "39:dd:2e:90:b7:23:1f:8d:d3:7d:31:c5:1b:da:84:d0:5b:65:31:58",
			"expiration": json.Number(fmt.Sprint(hour.Unix()))}, time.Hour},
		"pki, in DER":      {map[string]any{"certificate": derUntil(t, hour), "private_key": derOf(key), "private_key_type": "ec"}, time.Hour},
		"pki, in a bundle": {map[string]any{"certificate": key + certificateUntil(t, hour) + certificate(t, hour.Add(time.Hour), true)}, time.Hour},
		"aws, a session": {map[string]any{"access_key": "ASIAI44QH8DHBEXAMPLE", "secret_key": "je7MtGbClwBF/2Zp9Utk/h3yCo8nvbEXAMPLEKEY", "ttl": json.Number("3599"),
			"session_token": "FQoGZXIvYXdzE" + base64.StdEncoding.EncodeToString(noise(1200)), "arn": "arn:aws:sts::123456789012:assumed-role/deploy/vault-1"}, 3599 * time.Second},
		"gcp, a key":   {map[string]any{"key_algorithm": "KEY_ALG_RSA_2048", "key_type": "TYPE_GOOGLE_CREDENTIALS_FILE", "private_key_data": base64.StdEncoding.EncodeToString(file)}, time.Minute},
		"gcp, a token": {map[string]any{"expires_at_seconds": json.Number(fmt.Sprint(hour.Unix())), "token": "ya29.c.ElodBmNPwHUNY5gcBpnXcE4ywG4w", "token_ttl": json.Number("3600")}, time.Hour},
		"kubernetes":   {map[string]any{"service_account_name": "a", "service_account_namespace": "n", "service_account_token": jwtUntil(hour)}, time.Hour},
		"a user":       {map[string]any{"username": "v-token-previews-x6RrNm2CqvEyKnYJ8Dks-1602537260", "password": "uYOeenSAas5pEY-W99bl"}, time.Minute},
	} {
		if got, err := (&secret{lifetime: time.Minute, data: row.data}).works(from); err != nil || got != row.want {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
}

// TestGoesOn_WhatEnginesEndWithItsLeaseIsGiven: each as the page of its engine shows it.
func TestGoesOn_WhatEnginesEndWithItsLeaseIsGiven(t *testing.T) {
	for name, data := range map[string]map[string]any{
		"database":           {"username": "v-token-previews-x6RrNm2CqvEyKnYJ8Dks-1602537260", "password": "132ae3ef-5a64-7499-351e-bfe59f3a2a21"},
		"database, by today": {"username": "readonly-aefa635a-18", "password": "uYOeenSAas5pEY-W99bl"},
		"a policy of signs":  {"username": "u", "password": `{"a[5]"}: 'x' \ [1] {} <>&%`},
		"consul":             {"token": "973a31ea-1ec4-c2de-0f63-623f477c2510"},
		"consul, by today": {"accessor": "64df5aee-8ab9-d4e4-e5f5-6ec4bd5a5d2d", "consul_namespace": "", "local": false, "partition": "",
			"token": "973a31ea-1ec4-c2de-0f63-623f477c2510"},
		"nomad":    {"accessor_id": "c834ba40-8d84-b0c1-c084-3a31d3383c03", "secret_id": "65af6f07-7f57-bb24-cdae-a27f86a894ce"},
		"rabbitmq": {"username": "root-4b95bf47-281d-dcb5-8a60-9594f8056092", "password": "e1b6c159-ca63-4c6a-3886-6639eae06c30"},
		"ldap": {"distinguished_names": []any{"cn=v_token_dynamic-role_FvT3jkDx_1234,ou=users,dc=hashicorp,dc=com"},
			"password": "64-character-password-example", "username": "v_token_dynamic-role_FvT3jkDx_1234"},
		"ldap, a set":   {"password": "?@09AZaPXDEzZZu1Cpo", "service_account_name": "fizz@example.com"},
		"aws":           {"access_key": "AKIAI44QH8DHBEXAMPLE", "secret_key": "je7MtGbClwBF/2Zp9Utk/h3yCo8nvbEXAMPLEKEY", "security_token": nil, "session_token": nil},
		"kubernetes":    {"service_account_name": "test-service-account", "service_account_namespace": "test", "service_account_token": "eyJHbGci0iJSUzI1NiIsImtpZCI6ImlrUEE..."},
		"ssh, once":     {"ip": "1.2.3.4", "key": "f5411b40-0f6c-4c5c-9ac5-f3bb1d7a0d1e", "key_type": "otp", "port": json.Number("22"), "username": "ubuntu"},
		"azure":         {"client_id": "408bf248-dd4e-4be5-919a-7f6207a307ab", "client_secret": "ad06228a-2db9-4e0a-8a5d-e047c7f32594"},
		"mongodb atlas": {"private_key": "905ae89e-6ee8-40rd-ab12-613t8e3fe836", "public_key": "klpruxce"},
		"terraform":     {"organization": "acme", "token": "WhCFHjDvXXjeWg.atlasv1.uz7QbGkVHOBjFbgUC4kpa0xfGjnQnZpmVQJDQWkk", "token_id": "at-V1CLxZpXPFm"},
	} {
		if err := (&secret{lifetime: 10 * time.Minute, data: data}).goesOn(time.Unix(1_800_000_000, 0)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestGoesOn_NoPasswordIsTakenForSomethingElse, by whatever letters and signs a policy has it made of.
func TestGoesOn_NoPasswordIsTakenForSomethingElse(t *testing.T) {
	random := mathrand.New(mathrand.NewPCG(1, 2))
	for _, letters := range []string{"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-", "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/",
		"0123456789abcdef", "!\"#$%&'()*+,-./0123456789:;<=>?@[\\]^_`{|}~abcxyzABCXYZ"} {
		for range 3000 {
			word := make([]byte, 8+random.IntN(80))
			for i := range word {
				word[i] = letters[random.IntN(len(letters))]
			}
			if err := (&secret{lifetime: time.Minute, data: map[string]any{"password": string(word)}}).goesOn(time.Unix(1_800_000_000, 0)); err != nil {
				t.Errorf("%s: %v", word, err)
			}
		}
	}
}

// TestGoesOn_ASecretThatItsLeaseDoesNotEndIsRefused where the grant would say that it was ended, and so is what may be one.
func TestGoesOn_ASecretThatItsLeaseDoesNotEndIsRefused(t *testing.T) {
	from := time.Unix(1_800_000_000, 0)
	soon := from.Add(time.Minute)
	for name, data := range map[string]map[string]any{
		"a certificate beside":                   {"client_certificate": certificateUntil(t, soon), "private_key": "k"},
		"a certificate":                          {"certificate": certificateUntil(t, soon)},
		"a key":                                  {"rsa_private_key": privateKey(t)},
		"a certificate that is no PEM":           {"key": derUntil(t, soon)},
		"one behind a word":                      {"key": "x" + derUntil(t, soon)},
		"a session of AWS":                       {"access_key": "a", "secret_key": "s", "session_token": "t"},
		"a session of AWS, by its own names":     {"AccessKeyId": "a", "SessionToken": "t"},
		"a session within":                       {"Credentials": map[string]any{"SessionToken": "t"}},
		"a token":                                {"token": jwtUntil(soon)},
		"a token behind a word":                  {"token": "token_" + jwtUntil(soon)},
		"a token that says nothing":              {"token": "eyJhbGciOiJub25lIn0.e30."},
		"a token that is encrypted":              {"token": base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"dir","enc":"A256GCM"}`)) + "..YWJj.YWJj.YWJj"},
		"JSON":                                   {"key": `{"type":"account"}`},
		"JSON, and nothing of a time":            {"key": `["a"]`},
		"JSON in Base64":                         {"private_key_data": within(`{"type":"service_account"}`, 1)},
		"JSON in Base64 behind a word":           {"key": "key=" + within(`{"type":"service_account"}`, 1)},
		"several lines":                          {"config": "a\nb"},
		"several lines in Base64":                {"config": within("user: a\npassword: b", 1)},
		"what cannot be shown":                   {"password": "a\x00b"},
		"what is no text":                        {"password": "a\xffb"},
		"a long word":                            {"password": strings.Repeat("x-", 513)},
		"a time":                                 {"made": soon.Format(time.RFC3339)},
		"a time in a word":                       {"password": "p-" + soon.Format(time.RFC3339)},
		"a term":                                 {"expires_in": "5m"},
		"a number":                               {"password": "p", "rotation_period": json.Number("5")},
		"a number in a list":                     {"ports": []any{json.Number("5")}},
		"yes":                                    {"password": "p", "for_ever": true},
		"for ever":                               {"password": "p", "expiration": json.Number("9223372036854775807")},
		"longer than its lease":                  {"password": "p", "ttl": json.Number("3600")},
		"a name that is a certificate":           {certificateUntil(t, soon): "p"},
		"a name that is a time":                  {soon.Format(time.RFC3339): "p"},
		"an SSH certificate":                     {"signed_key": "ssh-ed25519-cert-v01@openssh.com AAAA"},
		"a file of a certificate":                {"password": `{"certificate": "` + strings.ReplaceAll(certificateUntil(t, soon), "\n", `\n`) + `"}`},
		"a key, a time and a token":              {"password": privateKey(t) + "# valid until " + soon.Format(time.RFC3339) + "\n" + jwtUntil(soon)},
		"which says so beside what nobody knows": {"client_certificate": certificateUntil(t, from.Add(time.Hour)), "private_key_bits": json.Number("2048")},
	} {
		err := (&secret{lifetime: 10 * time.Minute, data: data}).goesOn(from)
		if err == nil || !strings.Contains(err.Error(), "write revocation: AtExpiry") || !provider.IsFinal(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The token ends before its lease would, on which it hangs.
	if err := (&secret{lifetime: 12 * time.Hour, ends: 15 * time.Minute, data: map[string]any{"ttl": json.Number("39600")}}).goesOn(from); err == nil {
		t.Error("eleven hours are given for the lease's twelve, of which it has a quarter of one")
	}
}

// TestShown_TellsNoNameThatVaultMadeUp, which could be the secret.
func TestShown_TellsNoNameThatVaultMadeUp(t *testing.T) {
	_, err := (&secret{data: map[string]any{"correcthorsebatterystaple": json.Number("5")}}).works(time.Unix(0, 0))
	if err == nil || strings.Contains(err.Error(), "staple") {
		t.Errorf("it says: %v", err)
	}
}
