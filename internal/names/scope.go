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

// place is one text of a capability's scope. Each request fills it with its values, and reaches every name that the
// filled text matches.
type place struct {
	// text is what the capability says.
	text string
	// pattern is the same as the back end reads it, with * for any characters.
	pattern string
	// kind is what sort of place it is: those of one kind can meet.
	kind string
	// actions are what may be done there. A * at their end stands for any characters.
	actions []string
}

// valueForm is where a template takes a value of the request.
var valueForm = regexp.MustCompile(`\$\{request\.(repo|environment|namespace)\}`)

// CheckScope says why one request for the capability could get what lies within another's scope, although their names
// differ; nil if none can. Policies compare whole names. If one scope lay within another, a Deny of the one could be
// walked around by asking for the other.
//
// Each place must tell which values it was filled with, whatever follows a wildcard in it, and two places that can
// meet must tell the same values in the same way.
func CheckScope(c *v1alpha1.Capability) error {
	all, parts := places(&c.Spec), Of(c).parts
	for i, p := range all {
		if err := p.tells(parts); err != nil {
			return err
		}
		for _, other := range all[:i] {
			if p.mixes(other, parts) {
				return fmt.Errorf("%s and %s can be one place for requests with different names: "+
					"begin each with a folder of its own, or give them the same values in the same order", other.text, p.text)
			}
		}
	}
	return nil
}

// tells says why the values cannot be read from the filled text. They can be where each value is followed by a
// character that it cannot hold, and no wildcard stands in front. What a text ends with needs no such character.
func (p place) tells(parts int) error {
	values := valueForm.FindAllStringSubmatchIndex(p.pattern, -1)
	for i, at := range values {
		value, rest := p.pattern[at[2]:at[3]], p.pattern[at[1]:]
		if strings.Contains(p.pattern[:at[0]], Any) {
			return fmt.Errorf("%s has a * before ${request.%s}, and so reaches what other requests are given: "+
				"write each * behind all values", p.text, value)
		}
		until := rest
		if i+1 < len(values) {
			until = p.pattern[at[1]:values[i+1][0]]
		}
		until, _, wild := strings.Cut(until, Any)
		last := i+1 == len(values) && !wild
		if !last && end(until, value, parts) < 0 {
			return fmt.Errorf("%s can reach what another request is given, for what follows ${request.%s} can be part "+
				"of another name: put a / or a : directly behind it", p.text, value)
		}
	}
	return nil
}

// mixes reports whether two places can meet though their values are not read alike. What two actions have in common is
// not known, as s3:GetObject and s3:GetObjectVersion read the same: a place without values, which is the same for every
// request, is let be where no action is allowed in both.
func (p place) mixes(other place, parts int) bool {
	mine, theirs := valueForm.MatchString(p.pattern), valueForm.MatchString(other.pattern)
	if !mine && !theirs || p.kind != other.kind {
		return false
	}
	shared := mine && theirs || slices.ContainsFunc(p.actions, func(a string) bool {
		return slices.ContainsFunc(other.actions, func(b string) bool { return meet(spell(a, 0), spell(b, 0)) })
	})
	return shared && head(p.pattern, parts) != head(other.pattern, parts) &&
		meet(spell(p.pattern, parts), spell(other.pattern, parts))
}

// head is all of a pattern up to where its last value is known to end.
func head(pattern string, parts int) string {
	values := valueForm.FindAllStringSubmatchIndex(pattern, -1)
	if len(values) == 0 {
		return ""
	}
	last := values[len(values)-1]
	until, _, _ := strings.Cut(pattern[last[1]:], Any)
	at := end(until, pattern[last[2]:last[3]], parts)
	if at < 0 {
		return pattern
	}
	return pattern[:last[1]+at+1]
}

// end is where the first character stands that a value cannot go on with; negative if there is none. A repository
// whose number of parts is known does not go on after a /.
func end(text, value string, parts int) int {
	chars := letters[value]
	if value == "repo" && parts == 0 {
		chars.add('/')
	}
	for i := range len(text) {
		if !chars.holds(text[i]) {
			return i
		}
	}
	return -1
}

// places are all texts of a capability that take values of the request.
func places(s *v1alpha1.CapabilitySpec) []place {
	var all []place
	switch {
	case s.AWS != nil:
		for _, statement := range s.AWS.Scope {
			for _, resource := range statement.Resources {
				// IAM compares actions without case.
				all = append(all, place{resource, resource, "resource", lower(statement.Actions)})
			}
		}
	case s.GCP != nil:
		for _, rule := range s.GCP.Boundary {
			// Which permissions two roles share is not known.
			whole := rule.Bucket + "/" + rule.Prefix
			all = append(all, place{"gs://" + whole, whole + Any, "object", []string{Any}})
		}
	case s.Vault != nil:
		all = append(all, place{s.Vault.Path, s.Vault.Path, "path", []string{Any}})
		for _, p := range s.Vault.Parameters {
			all = append(all, ofParameter(p)...)
		}
	case s.Token != nil:
		for _, word := range s.Token.Scope {
			all = append(all, place{word, word, "scope", []string{Any}})
		}
	}
	return all
}

// ofCertificates are the parameters of Vault's engine for certificates that give a certificate its names: a list each.
// Source: https://developer.hashicorp.com/vault/api-docs/secret/pki#generate-certificate-and-key.
var ofCertificates = []string{"common_name", "alt_names", "ip_sans", "uri_sans", "other_sans", "user_ids"}

// ofParameter are the places of one of Vault's parameters. Those of different names are different places, but for the
// names of a certificate.
func ofParameter(p v1alpha1.VaultParameter) []place {
	if !slices.Contains(ofCertificates, p.Name) {
		return []place{{p.Name + "=" + p.Value, p.Value, "parameter " + p.Name, []string{Any}}}
	}
	var all []place
	for name := range strings.SplitSeq(p.Value, ",") {
		// A name of another kind has that in front. Names know no case, and no dot at their end.
		_, after, typed := strings.Cut(name, ";")
		if _, value, is := strings.Cut(after, ":"); typed && is {
			name = value
		}
		name = strings.ToLower(strings.TrimSuffix(strings.TrimSpace(name), "."))
		all = append(all, place{p.Name + "=" + name, name, "name of a certificate", []string{Any}})
	}
	return all
}

func lower(actions []string) []string {
	all := make([]string, len(actions))
	for i, action := range actions {
		all[i] = strings.ToLower(action)
	}
	return all
}
