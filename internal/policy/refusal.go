// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/names"
	"github.com/valetkey/valetkey/internal/visible"
)

const (
	// maxMessageLength fits every message field of the API.
	maxMessageLength = 1024
	// maxListed is how many names, or policies, a message lists.
	maxListed = 5
)

// refusal is an Allow policy that does not match, and why.
type refusal struct {
	policy *Compiled
	misses []miss
}

func (r refusal) far() distance {
	var sum distance
	for _, m := range r.misses {
		sum += m.far
	}
	return sum
}

func (r refusal) compare(other refusal) int {
	return cmp.Or(cmp.Compare(r.far(), other.far()), cmp.Compare(r.policy.name(), other.policy.name()))
}

// insert keeps the few refusals that are told of, the nearest first.
func insert(nearest []refusal, r refusal) []refusal {
	at, _ := slices.BinarySearchFunc(nearest, r, refusal.compare)
	return slices.Insert(nearest, at, r)[:min(len(nearest)+1, maxListed)]
}

// fill adds to those whose fields match, as long as these are few, those of which the fewest fields do not, by name: what else such a policy
// misses makes it no nearer than one that is told of. Policies about other capabilities or other requesters are none of this
// requester's business.
func (e *evaluation) fill(nearest []refusal) []refusal {
	type away struct {
		far    distance
		policy *Compiled
	}
	compare := func(a, b away) int {
		return cmp.Or(cmp.Compare(a.far, b.far), cmp.Compare(a.policy.name(), b.policy.name()))
	}
	room := maxListed - len(nearest)
	var found []away
	for g := range e.Policies.groups(true, e.Request.Spec.Capability) {
		for _, p := range g.all {
			if len(found) == room && (room == 0 || compare(found[room-1], away{fieldAway, p}) < 0) {
				break // Those that follow have greater names, and miss a field as well.
			}
			one := away{p.fieldsAway(e.Request, e.asked()), p}
			if one.far == 0 || !p.matchesRequester(e.Request) {
				continue // What matches is told of already.
			}
			at, _ := slices.BinarySearchFunc(found, one, compare)
			found = slices.Insert(found, at, one)[:min(len(found)+1, room)]
		}
	}
	for _, one := range found {
		nearest = append(nearest, refusal{policy: one.policy, misses: e.misses(one.policy)})
	}
	slices.SortFunc(nearest, refusal.compare)
	return nearest
}

// withdrawn says why the policy that allowed a living grant does so no more.
func (e *evaluation) withdrawn() *Decision {
	for _, p := range e.Policies.All() {
		if p.name() == e.GrantedBy && p.allows() {
			return e.refuse([]refusal{{policy: p, misses: e.misses(p)}})
		}
	}
	return &Decision{Verdict: Deny, Reason: v1alpha1.ReasonDeniedByPolicy, Message: fmt.Sprintf("policy %s, which allowed it, allows nothing any more", e.GrantedBy)}
}

// refuse says what would have been allowed, the nearest policy first.
func (e *evaluation) refuse(nearest []refusal) *Decision {
	d := &Decision{Verdict: Deny, Reason: v1alpha1.ReasonDeniedByPolicy}
	if len(nearest) == 0 {
		d.Message = fmt.Sprintf("no policy lets %s ask for %s%s", visible.Name(e.Request.Spec.Requester.Username), e.Capability.Name, e.whatMayBeAsked())
		return d
	}
	if !slices.ContainsFunc(nearest[0].misses, func(m miss) bool { return !m.requesterTooStrong() }) {
		d.Reason = v1alpha1.ReasonRequesterTooStrong
	}
	d.Policy = nearest[0].policy.reference()
	d.Message = describe(nearest)
	return d
}

// describe says what the policies miss. What several of them miss is said once, with all their names, where the nearest
// of them is told of.
func describe(nearest []refusal) string {
	var texts []string
	by := map[string][]string{}
	for _, r := range nearest {
		for _, text := range r.texts() {
			if by[text] == nil {
				texts = append(texts, text)
			}
			by[text] = append(by[text], r.policy.name())
		}
	}
	var told []string
	for i, text := range texts {
		if i > 0 && slices.Equal(by[text], by[texts[i-1]]) {
			told[len(told)-1] += ", and " + text
			continue
		}
		told = append(told, subject(by[text])+" "+text)
	}
	return strings.Join(told, "; ")
}

// subject begins a sentence about policies.
func subject(names []string) string {
	if len(names) == 1 {
		return "policy " + names[0]
	}
	return "each of the policies " + list(names)
}

// texts go on after "policy x". All risks that need the same to be accepted are one text. A Job can have thousands of them: no more is made
// of a text than a message keeps.
func (r refusal) texts() []string {
	var all []string
	last := v1alpha1.Acceptance("")
	for _, m := range r.misses {
		switch m.needs {
		case "":
			all = append(all, m.text)
		case last:
			if text := &all[len(all)-1]; len(*text) <= maxMessageLength {
				*text += ", and " + m.text
			}
		default:
			all = append(all, fmt.Sprintf("does not accept %s: %s", m.needs, m.text))
		}
		last = m.needs
	}
	return slices.Compact(all)
}

func (m miss) requesterTooStrong() bool {
	return m.needs == v1alpha1.AcceptSecretReader || m.needs == v1alpha1.AcceptRequesterMayApprove
}

// whatMayBeAsked lists the capabilities that some Allow policy lets this requester ask for, those most like the one asked for
// first. It goes on after a sentence.
func (e *evaluation) whatMayBeAsked() string {
	var offered []string
	for _, p := range e.Policies.All() {
		if p.allows() && p.err == nil && p.matchesRequester(e.Request) {
			offered = append(offered, p.policy.Spec.Capabilities...)
		}
	}
	offered = slices.DeleteFunc(offered, func(n string) bool { return n == names.Any || n == e.Request.Spec.Capability })
	if len(offered) == 0 {
		return ""
	}
	slices.SortFunc(offered, func(a, b string) int {
		asked := e.Request.Spec.Capability
		return cmp.Or(cmp.Compare(commonPrefix(b, asked), commonPrefix(a, asked)), cmp.Compare(a, b))
	})
	return "; policies let this requester ask for " + list(slices.Compact(offered))
}

func commonPrefix(a, b string) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// list names the first few.
func list(names []string) string {
	if len(names) <= maxListed {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:maxListed], ", "), len(names)-maxListed)
}

// Clip shortens s to at most limit bytes, and never within a character.
func Clip(s string, limit int) string {
	const mark = "…"
	if len(s) <= limit {
		return s
	}
	cut := limit - len(mark)
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + mark
}

// oneLine makes an error fit into a sentence. One of an expression can repeat what it read.
func oneLine(err error) string {
	return Clip(visible.Line(strings.Join(strings.Fields(err.Error()), " ")), 400)
}
