// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"crypto/x509"
	"encoding/asn1"
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

// namesOf are the names by which somebody may know whom a certificate is for. What says where or of whom it is, in the subject, is none:
// Vault's role says that.
func namesOf(c *x509.Certificate) []string {
	all := slices.Concat(c.DNSNames, c.EmailAddresses, otherNames(c))
	for _, part := range c.Subject.Names {
		if text, isText := part.Value.(string); !isText || !slices.Contains(places, part.Type.String()) {
			all = append(all, text)
		}
	}
	for _, address := range c.IPAddresses {
		all = append(all, address.String())
	}
	for _, uri := range c.URIs {
		all = append(all, uri.String())
	}
	return all
}

// places are the parts of a subject that Vault's roles set: country, locality, province, street, organization, its unit, and postal code. The
// names' types are of RFC 5280, appendix A.
var places = []string{"2.5.4.6", "2.5.4.7", "2.5.4.8", "2.5.4.9", "2.5.4.10", "2.5.4.11", "2.5.4.17"}

// The kinds of a certificate's other names, by their tags (RFC 5280, section 4.2.1.6).
const (
	tagOther, tagEmail, tagDNS, tagURI, tagAddress = 0, 1, 2, 6, 7
)

// otherNames are those of a certificate that Go's library does not show, in the form of the parameter other_sans.
func otherNames(c *x509.Certificate) (all []string) {
	for _, extension := range c.Extensions {
		if extension.Id.String() != "2.5.29.17" { // subjectAltName
			continue
		}
		var names []asn1.RawValue
		if rest, err := asn1.Unmarshal(extension.Value, &names); err != nil || len(rest) > 0 {
			return append(all, "names that cannot be read")
		}
		for _, name := range names {
			if !slices.Contains([]int{tagEmail, tagDNS, tagURI, tagAddress}, name.Tag) {
				all = append(all, otherName(name))
			}
		}
	}
	return all
}

// otherName is a name of a type that it says itself.
func otherName(name asn1.RawValue) string {
	var said struct {
		Type  asn1.ObjectIdentifier
		Value string `asn1:"explicit,tag:0,utf8"`
	}
	if _, err := asn1.UnmarshalWithParams(name.FullBytes, &said, "tag:0"); err != nil || name.Tag != tagOther {
		return "a name of another kind"
	}
	return said.Type.String() + ";utf8:" + said.Value
}

// oneSpelling is a name of a certificate's as it is compared.
func oneSpelling(name string) string {
	if kind, value, typed := strings.Cut(name, ";"); typed && len(value) >= len("utf-8:") && strings.EqualFold(value[:len("utf-8:")], "utf-8:") {
		name = kind + ";utf8:" + value[len("utf-8:"):]
	}
	if address := net.ParseIP(name); address != nil {
		return address.String()
	}
	if uri, err := url.Parse(name); err == nil && uri.Scheme != "" {
		return uri.String()
	}
	return strings.ToLower(name)
}
