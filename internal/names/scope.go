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
	// inParameter is set for an element of one of Vault's parameters. How the back end reads the text around its values
	// is not known, so that text tells nothing apart.
	inParameter bool
	// actions are what may be done there. A * at their end stands for any characters.
	actions []string
}

// valueForm is where a template takes a value of the request.
var valueForm = regexp.MustCompile(`\$\{request\.(repo|environment|namespace)\}`)

// values are those that a place takes, in their order.
func (p place) values() []string {
	var all []string
	for _, found := range valueForm.FindAllStringSubmatch(p.pattern, -1) {
		all = append(all, found[1])
	}
	return all
}

// CheckScope says why one request for the capability could get what lies within another's scope, although their names
// differ; nil if none can. Policies compare whole names. If one scope lay within another, a Deny of the one could be
// walked around by asking for the other.
//
// Each place must tell which values it was filled with, whatever follows a wildcard in it, and two places that can
// meet must tell the same values in the same way.
func CheckScope(c *v1alpha1.Capability) error {
	if c.Spec.Vault != nil {
		if err := checkCertificate(c.Spec.Vault.Parameters); err != nil {
			return err
		}
	}
	all, parts := places(&c.Spec), Of(c).parts
	for i, p := range all {
		if err := p.tells(parts); err != nil {
			return err
		}
		for _, other := range all[:i] {
			if p.mixes(other, parts) {
				return fmt.Errorf("%s and %s can be one place for requests with different names: %s",
					other.text, p.text, p.instead(other))
			}
		}
	}
	return nil
}

// instead says what to write for two places that mix.
func (p place) instead(other place) string {
	switch {
	case p.inParameter:
		return "give them the same values in the same order, and each a text of its own behind them"
	case len(p.values()) == 0 || len(other.values()) == 0:
		return "what has no value of the request is everybody's; take it out, or begin each with a folder of its own"
	}
	return "begin each with a folder of its own, or give them the same values in the same order"
}

// Everybodys are the places that every request for a capability is given, whatever its names are, and that hold what
// other places give to one name alone.
func Everybodys(c *v1alpha1.Capability) []string {
	all := places(&c.Spec)
	var found []string
	for _, p := range all {
		if slices.ContainsFunc(all, func(other place) bool { return p.kind == other.kind && p.covers(other) }) {
			found = append(found, p.text)
		}
	}
	return found
}

// ToldBy are the fields of a request (repo, environment, namespace) that decide what its credential reaches: two
// requests that differ in another field alone are given the same. The back ends take each place of a scope for itself,
// so a field counts if it stands in all places that take any; of Vault, whose path and parameters are one call, in any.
func ToldBy(c *v1alpha1.Capability) []string {
	switch {
	case c.Spec.GitHub != nil:
		return []string{"repo"} // The token is for this one repository.
	case c.Spec.Token != nil:
		return []string{"repo", "environment", "namespace"} // The token says all of them.
	}
	counts, with := map[string]int{}, 0
	for _, p := range places(&c.Spec) {
		values := p.values()
		if len(values) > 0 {
			with++
		}
		slices.Sort(values)
		for _, value := range slices.Compact(values) {
			counts[value]++
		}
	}
	var told []string
	for _, field := range []string{"repo", "environment", "namespace"} {
		if counts[field] > 0 && (counts[field] == with || c.Spec.Vault != nil) {
			told = append(told, field)
		}
	}
	return told
}

// separating is what may stand between two values in one element of a parameter. Other characters can end an element,
// as blanks do where the back end reads a list of words.
var separating = regexp.MustCompile(`^[A-Za-z0-9._/:-]*$`)

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
		if !last && (end(until, value, parts) < 0 || p.inParameter && !separating.MatchString(until)) {
			return fmt.Errorf("%s can reach what another request is given, for what follows ${request.%s} can be part "+
				"of another name: put a / or a : directly behind it", p.text, value)
		}
	}
	return nil
}

// mixes reports whether two places can meet though their values are not read alike.
func (p place) mixes(other place, parts int) bool {
	mine, theirs := p.values(), other.values()
	switch {
	case p.kind != other.kind || len(mine)+len(theirs) == 0, p.covers(other), other.covers(p):
		return false
	case p.inParameter && len(mine) > 0 && len(theirs) > 0 && !slices.Equal(mine, theirs):
		return true
	}
	return head(p.pattern, parts) != head(other.pattern, parts) &&
		meet(spell(p.pattern, parts), spell(other.pattern, parts))
}

// covers reports whether a place without values holds all that any request can be given at the other, and allows
// nothing there that the other does. It is everybody's, by its own actions. What two actions have in common is not
// known, as s3:GetObject and s3:GetObjectVersion read the same: one that holds only some of it is the place of
// somebody else.
func (p place) covers(other place) bool {
	before, wild := strings.CutSuffix(p.pattern, Any)
	at := valueForm.FindStringIndex(other.pattern)
	if !wild || at == nil || len(p.values()) > 0 || !strings.HasPrefix(other.pattern[:at[0]], before) {
		return false
	}
	return !slices.ContainsFunc(p.actions, func(a string) bool {
		return slices.ContainsFunc(other.actions, func(b string) bool { return meet(spell(a, 0), spell(b, 0)) })
	})
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
				all = append(all, place{text: resource, pattern: resource, kind: "resource", actions: lower(statement.Actions)})
			}
		}
	case s.GCP != nil:
		for _, rule := range s.GCP.Boundary {
			// Which permissions two roles share is not known.
			whole := rule.Bucket + "/" + rule.Prefix
			all = append(all, place{text: "gs://" + whole, pattern: whole + Any, kind: "object", actions: []string{Any}})
		}
	case s.Vault != nil:
		all = append(all, place{text: s.Vault.Path, pattern: s.Vault.Path, kind: "path", actions: []string{Any}})
		all = append(all, ofParameters(s.Vault.Parameters)...)
	case s.Token != nil:
		for _, word := range s.Token.Scope {
			all = append(all, place{text: word, pattern: word, kind: "scope", actions: []string{Any}})
		}
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
