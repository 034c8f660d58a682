// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package outbound_test

import (
	"crypto/x509"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/internal/provider/outbound"
	"github.com/valetkey/valetkey/internal/provider/outbound/outboundtest"
)

func TestCheckBundle_EveryCertificateIsReadOrTheBundleIsRefused(t *testing.T) {
	one, other := outboundtest.NewNetwork(t).Authority, outboundtest.NewNetwork(t).Authority
	const key = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIHVudGVyMmh1bnRlcjJodW50ZXIyaHVudGVyMmhp\n-----END PRIVATE KEY-----\n"
	half := one[:len(one)/2]
	for _, tt := range []struct{ name, bundle, refusal string }{
		{"none", "", ""},
		{"one", one, ""},
		{"two, with words between them", "The company:\n" + one + "\nand its daughter:\r\n" + other, ""},
		{"one, with the other system's ends of lines", strings.ReplaceAll(one, "\n", "\r\n"), ""},
		{"as many certificates as fit", strings.Repeat(one, 16384/len(one)), ""},
		{"blanks", " \n", "caBundle holds no certificate in PEM"},
		{"words", "hunter2", "caBundle holds no certificate in PEM"},
		{"a certificate in DER's base64 alone", strings.Join(strings.Split(one, "\n")[1:3], "\n"), "caBundle holds no certificate in PEM"},
		{"half a certificate", half, "caBundle holds 1 PEM blocks, of which only 0 can be read: copy it anew"},
		{"half a certificate behind a whole one", one + half, "caBundle holds 2 PEM blocks, of which only 1 can be read: copy it anew"},
		{"a certificate that is none", "-----BEGIN CERTIFICATE-----\naHVudGVyMg==\n-----END CERTIFICATE-----\n",
			"caBundle holds as its PEM block 1 no certificate that can be read: copy it anew, or take it out"},
		{"a key", key, "caBundle holds something else than a certificate as its PEM block 1: take it out"},
		{"a certificate and its key", one + key, "caBundle holds something else than a certificate as its PEM block 2: take it out"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := ""
			if err := outbound.CheckBundle(tt.bundle); err != nil {
				got = err.Error()
			}
			if got != tt.refusal {
				t.Errorf("got %q, want %q", got, tt.refusal)
			}
			if _, err := (outbound.Settings{}).Client(tt.bundle, outbound.JSON, errorsOfA); (err == nil) != (tt.refusal == "") {
				t.Errorf("a client is made all the same: %v", err)
			}
		})
	}
}

// TestCheckBundle_WhatAGrantCouldNotKeepIsRefused: each of these signs is six in JSON.
func TestCheckBundle_WhatAGrantCouldNotKeepIsRefused(t *testing.T) {
	err := outbound.CheckBundle(outboundtest.NewNetwork(t).Authority + strings.Repeat("<", 8000))
	if err == nil || !strings.Contains(err.Error(), "caBundle is too long for what a grant keeps of it") {
		t.Errorf("got %v", err)
	}
}

func TestBesideSystem_AddsToWhatTheSystemTrusts(t *testing.T) {
	company := outboundtest.NewNetwork(t)
	system, err := x509.SystemCertPool()
	if err != nil {
		t.Fatal(err)
	}
	pool, err := outbound.BesideSystem([]byte(company.Authority))
	if err != nil {
		t.Fatal(err)
	}
	system.AppendCertsFromPEM([]byte(company.Authority))
	if !pool.Equal(system) || pool.Equal(company.Pool()) {
		t.Error("the system's authorities are gone, or the company's is not there")
	}
	if _, err := outbound.BesideSystem(nil); err == nil || err.Error() != "it holds no certificate in PEM" {
		t.Errorf("of nothing: %v", err)
	}
}
