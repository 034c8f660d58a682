// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package telemetry

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"

	"github.com/valetkey/valetkey/internal/provider/outbound"
)

// variables is what the names of the variables begin with that say which certificates a collector is reached by. The
// exporter reads them for a client of its own making alone.
// Source: https://opentelemetry.io/docs/specs/otel/protocol/exporter/.
const variables = "OTEL_EXPORTER_OTLP_"

// readCertificates reads the files that the variables name: the authorities that are trusted for the collector, nil
// where none are named, and the certificate that it is shown. A variable with TRACES in its name goes before the one
// without. It fails where a file is named that cannot be used, and repeats nothing that a file holds.
func readCertificates(variable func(string) string) (*x509.CertPool, []tls.Certificate, error) {
	file := func(name string) string { return cmp.Or(variable(variables+"TRACES_"+name), variable(variables+name)) }
	var authorities *x509.CertPool
	if path := file("CERTIFICATE"); path != "" {
		text, err := os.ReadFile(path)
		if err == nil {
			authorities, err = outbound.Authorities(text)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("traces cannot be exported: %sCERTIFICATE names no file of authorities in PEM that "+
				"can be used: %w", variables, err)
		}
	}
	certificate, key := file("CLIENT_CERTIFICATE"), file("CLIENT_KEY")
	if certificate == "" && key == "" {
		return authorities, nil, nil
	}
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return nil, nil, fmt.Errorf("traces cannot be exported: %[1]sCLIENT_CERTIFICATE and %[1]sCLIENT_KEY do not name "+
			"a certificate and its key, in PEM, that can be read", variables)
	}
	return authorities, []tls.Certificate{pair}, nil
}
