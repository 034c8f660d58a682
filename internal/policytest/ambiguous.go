// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policytest

import (
	"regexp"
	"strings"
	"unicode"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// valueForm is where a template takes a value of the request.
var valueForm = regexp.MustCompile(`\$\{request\.(repo|environment|namespace)\}`)

// marks are the characters, beside letters and digits, that a value can hold.
var marks = map[string]string{"repo": "._-/", "environment": "_-", "namespace": "-"}

// ambiguous are the templates of a capability's scope that two different requests can fill to the same text:
// ${request.environment}-${request.repo} is pre-view-app for environment pre of repo view-app, and for environment
// pre-view of repo app.
func ambiguous(c *v1alpha1.Capability) []string {
	var all []string
	for _, template := range templates(&c.Spec) {
		values := valueForm.FindAllStringSubmatchIndex(template, -1)
		for i := 1; i < len(values); i++ {
			before, after := values[i-1], values[i]
			between := template[before[1]:after[0]]
			if !divides(between, template[before[2]:before[3]], template[after[2]:after[3]]) {
				all = append(all, template)
				break
			}
		}
	}
	return all
}

// divides reports whether what stands between two values holds a character that one of them cannot hold: there the
// values part.
func divides(between, before, after string) bool {
	if before == after {
		return true
	}
	return strings.ContainsFunc(between, func(r rune) bool {
		holds := func(value string) bool {
			return r <= unicode.MaxASCII && (unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune(marks[value], r))
		}
		return !holds(before) || !holds(after)
	})
}

// templates are all texts of a capability that take values of the request.
func templates(s *v1alpha1.CapabilitySpec) []string {
	var all []string
	if s.AWS != nil {
		for _, statement := range s.AWS.Scope {
			all = append(all, statement.Resources...)
		}
	}
	if s.Vault != nil {
		all = append(all, s.Vault.Path)
		for _, p := range s.Vault.Parameters {
			all = append(all, p.Value)
		}
	}
	if s.GCP != nil {
		for _, rule := range s.GCP.Boundary {
			all = append(all, rule.Bucket, rule.Prefix)
		}
	}
	if s.Token != nil {
		all = append(all, s.Token.Scope...)
	}
	return all
}
