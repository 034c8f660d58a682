// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package names

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// addresses is the parameter with the IP addresses of a certificate; manyForms are those whose names can be written in
// ways that nobody could list: a URI with its default port, a slash at its end or a user, a type with noughts in front.
const addresses = "ip_sans"

var manyForms = []string{"uri_sans", "other_sans"}

// ofCertificates are the parameters of Vault's engine for certificates that give a certificate its names: a list each.
// Source: https://developer.hashicorp.com/vault/api-docs/secret/pki#generate-certificate-and-key.
var ofCertificates = []string{
	"common_name", "alt_names", addresses, "uri_sans", "other_sans", "user_ids", "serial_number",
}

// The forms of a certificate's names. Vault writes international names and capitals in another spelling, and who reads
// a certificate may do so with percent escapes, dots at the end and folders that climb. A name that is written in
// plainName stays as it is, and so do values behind anything but the beginning of an international name.
var (
	plainName     = regexp.MustCompile(`^[a-z0-9_:/@;*+=.-]*$`)
	climbs        = regexp.MustCompile(`\.\.|/\.|//.*//|\.$`)
	international = regexp.MustCompile(`(^|[^a-z0-9-])(x|xn|xn-|xn--[a-z0-9-]*)\$\{`)
)

// hasNames reports whether parameters ask for a certificate: one of them gives it a name.
func hasNames(parameters []v1alpha1.VaultParameter) bool {
	return slices.ContainsFunc(parameters, isName)
}

func isName(p v1alpha1.VaultParameter) bool { return IsOfCertificate(p.Name) }

// IsOfCertificate reports whether a parameter of Vault's gives a certificate names: a list of them, with commas between.
func IsOfCertificate(parameter string) bool { return slices.Contains(ofCertificates, parameter) }

func takesValues(p v1alpha1.VaultParameter) bool { return valueForm.MatchString(p.Value) }

// checkCertificate says why names of a certificate, of which one takes a value of the request, cannot be compared by
// their texts: they have another spelling.
func checkCertificate(parameters []v1alpha1.VaultParameter) error {
	if !hasNames(parameters) || !slices.ContainsFunc(parameters, takesValues) {
		return nil
	}
	for _, p := range parameters {
		if p.Name == addresses && takesValues(p) {
			return fmt.Errorf("%s=%s: an address can be written in many ways, so no value of a request can be a part of one: "+
				"write whole addresses, or use alt_names", p.Name, p.Value)
		}
		with := func(name string) bool { return valueForm.MatchString(name) }
		if slices.Contains(manyForms, p.Name) && takesValues(p) && !all(elements(p), with) {
			return fmt.Errorf("%s=%s: such a name can be written in many ways, so one without a value of the request could be "+
				"what another request is given: leave it out, or ask for it by another capability", p.Name, p.Value)
		}
		for _, name := range elements(p) {
			if fixed := valueForm.ReplaceAllString(name, ""); isName(p) &&
				(!plainName.MatchString(fixed) || climbs.MatchString(valueForm.ReplaceAllString(name, "a"))) {
				return fmt.Errorf("%s=%s: a name of a certificate can be written in other ways: write it in lower-case ASCII, "+
					"without %%, .. or a dot at its end, and international names as xn--", p.Name, name)
			}
			if isName(p) && international.MatchString(name) {
				return fmt.Errorf("%s=%s: behind the beginning of xn--, a value of the request becomes another name: "+
					"put a dot, a / or a : before it", p.Name, name)
			}
		}
	}
	return nil
}

func all(of []string, holds func(string) bool) bool {
	return !slices.ContainsFunc(of, func(one string) bool { return !holds(one) })
}

// elements are those of a parameter's list.
func elements(p v1alpha1.VaultParameter) []string {
	all := strings.Split(p.Value, ",")
	for i := range all {
		all[i] = strings.TrimSpace(all[i])
	}
	return all
}

// ofParameters are the places of Vault's parameters. Each is a list whose elements are places of one kind. Those of
// different names are different places, but for what a certificate says: whatever takes a value beside its names may be
// a name of an engine that is not known here.
func ofParameters(parameters []v1alpha1.VaultParameter) []place {
	var all []place
	for _, p := range parameters {
		kind := "parameter " + p.Name
		if hasNames(parameters) && (isName(p) || takesValues(p)) {
			kind = "name of a certificate"
		}
		for _, text := range elements(p) {
			all = append(all, place{text: p.Name + "=" + text, pattern: strings.ToLower(text), kind: kind,
				inParameter: true, actions: []string{Any}})
		}
	}
	return all
}
