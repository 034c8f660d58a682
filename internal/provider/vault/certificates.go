// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"crypto/x509"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/valetkey/valetkey/internal/names"
)

// hasOtherNames reports whether a certificate among what was leased has a name that was not asked for. Where no
// parameter names one, or a request for a certificate of its own is a parameter, Vault's role says the names.
func (q question) hasOtherNames(leased *secret, from time.Time) bool {
	var asked []string
	for name, value := range q.parameters {
		text, _ := value.(string)
		for one := range strings.SplitSeq(text, ",") {
			if names.IsOfCertificate(name) {
				asked = append(asked, oneSpelling(strings.TrimSpace(one)))
			}
		}
	}
	if len(asked) == 0 || q.parameters["csr"] != nil {
		return false
	}
	said, _ := leased.read(from) // what is not understood is said elsewhere
	return slices.ContainsFunc(said.leaves, func(c *x509.Certificate) bool {
		return slices.ContainsFunc(namesOf(c), func(name string) bool { return !slices.Contains(asked, oneSpelling(name)) })
	})
}

// namesOf are the names that clients compare.
func namesOf(c *x509.Certificate) []string {
	all := slices.Concat(c.DNSNames, c.EmailAddresses)
	if c.Subject.CommonName != "" {
		all = append(all, c.Subject.CommonName)
	}
	for _, address := range c.IPAddresses {
		all = append(all, address.String())
	}
	for _, uri := range c.URIs {
		all = append(all, uri.String())
	}
	return all
}

// oneSpelling is a name of a certificate's as it is compared.
func oneSpelling(name string) string {
	if address := net.ParseIP(name); address != nil {
		return address.String()
	}
	if uri, err := url.Parse(name); err == nil && uri.Scheme != "" {
		return uri.String()
	}
	return strings.ToLower(name)
}
