// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/names"
)

// miss is one thing in which a request does not fit an Allow policy.
type miss struct {
	// far is how much of the request would have to be another one.
	far distance
	// needs is set when the miss is a risk that the policy does not accept.
	needs v1alpha1.Acceptance
	// text goes on after "policy x"; of a risk, it says what the risk is.
	text string
}

// distance weighs a miss: each outweighs all that are nearer together.
type distance int

const (
	near        distance = 1
	fieldAway   distance = 100
	nobodyAsked distance = 10_000
)

// denies reports whether a Deny policy refuses the request, and in which words. What cannot be evaluated refuses.
func (c *Compiled) denies(r *v1alpha1.CapabilityRequest, asked names.Asked, vars map[string]any) (bool, string) {
	if !c.matchesFields(r, asked) {
		return false, ""
	}
	if c.err != nil {
		return true, fmt.Sprintf("policy %s denies what its fields match, because it is not valid: %s", c.name(), oneLine(c.err))
	}
	var failure error
	waits := false
	words := make([]string, 0, len(c.when))
	for _, w := range c.when {
		answer, err := w.eval(vars)
		switch answer {
		case no:
			return false, ""
		case failed:
			failure = err
		case later:
			waits = true
		}
		words = append(words, w.message)
	}
	switch {
	case failure != nil:
		return true, fmt.Sprintf("policy %s denies it, because one of its expressions failed: %s", c.name(), oneLine(failure))
	case waits:
		return false, ""
	case len(words) > 0:
		return true, fmt.Sprintf("policy %s denies it: %s", c.name(), strings.Join(words, "; "))
	}
	return true, fmt.Sprintf("policy %s denies it", c.name())
}

// Denies reports whether the policy is a Deny that refuses the request for a capability by its fields alone, or
// because it is not valid.
func (c *Compiled) Denies(r *v1alpha1.CapabilityRequest, capability *v1alpha1.Capability) bool {
	if c.allows() || (len(c.when) > 0 && c.err == nil) {
		return false
	}
	return c.matchesFields(r, names.Of(capability).Read(r.Spec.Repo, r.Spec.Environment))
}

// Concerns reports whether the policy is about the request's capability, requester and namespace, whatever its repo, its environment
// and its lifetime are.
func (c *Compiled) Concerns(r *v1alpha1.CapabilityRequest) bool {
	return c.matchesCapability(r) && c.matchesRequester(r) && c.matchesNamespace(r)
}

func (c *Compiled) matchesNamespace(r *v1alpha1.CapabilityRequest) bool {
	namespaces := c.policy.Spec.Namespaces
	return len(namespaces) == 0 || slices.Contains(namespaces, r.Namespace)
}

// matchesFields reports whether everything but the expressions of a policy matches. A list that is missing matches nothing in an
// Allow and everything in a Deny; only namespaces may be left out of both.
func (c *Compiled) matchesFields(r *v1alpha1.CapabilityRequest, asked names.Asked) bool {
	return c.Concerns(r) && c.matchesRepo(asked) && c.matchesEnvironment(asked)
}

func (c *Compiled) matchesCapability(r *v1alpha1.CapabilityRequest) bool {
	all := c.policy.Spec.Capabilities
	if len(all) == 0 {
		return !c.allows()
	}
	return slices.Contains(all, names.Any) || slices.Contains(all, r.Spec.Capability)
}

func (c *Compiled) matchesRequester(r *v1alpha1.CapabilityRequest) bool {
	subjects := c.policy.Spec.Requesters
	if len(subjects) == 0 {
		return !c.allows()
	}
	return slices.ContainsFunc(subjects, func(s v1alpha1.Subject) bool {
		return matchRequester(s, r.Spec.Requester, !c.allows())
	})
}

// matchesRepo compares what the names mean to the capability's back end. A Deny compares without case for all of
// them.
func (c *Compiled) matchesRepo(asked names.Asked) bool {
	if len(c.policy.Spec.Repos) == 0 {
		return !c.allows()
	}
	return asked.RepoAmong(c.policy.Spec.Repos, !c.allows())
}

func (c *Compiled) matchesEnvironment(asked names.Asked) bool {
	if len(c.policy.Spec.Environments) == 0 {
		return !c.allows()
	}
	return asked.EnvironmentAmong(c.policy.Spec.Environments, !c.allows())
}

// misses are all the ways in which the request does not fit an Allow policy; none means that the policy allows it.
// What depends on a Job that is not there yet is left open.
func (e *evaluation) misses(c *Compiled) []miss {
	found := slices.Concat(c.fieldMisses(e.Request, e.asked()), e.termMisses(c))
	if c.Leaving() {
		return append(found, miss{far: near, text: "is being deleted, so it allows nothing"})
	}
	if c.err != nil {
		return append(found, miss{far: near, text: "is not valid, so it allows nothing: " + oneLine(c.err)})
	}
	for _, w := range c.when {
		switch answer, err := w.eval(e.vars); answer {
		case no:
			found = append(found, miss{far: near, text: "asks: " + w.message})
		case failed:
			found = append(found, miss{far: near, text: "cannot tell whether it matches: " + oneLine(err)})
		}
	}
	return found
}

// fieldsAway is how far the fields of an Allow are that cannot be met by another requester or capability.
func (c *Compiled) fieldsAway(r *v1alpha1.CapabilityRequest, asked names.Asked) (far distance) {
	for _, fits := range []bool{c.matchesNamespace(r), c.matchesRepo(asked), c.matchesEnvironment(asked)} {
		if !fits {
			far += fieldAway
		}
	}
	return far
}

func (c *Compiled) fieldMisses(r *v1alpha1.CapabilityRequest, asked names.Asked) []miss {
	var found []miss
	s := &c.policy.Spec
	if !c.matchesCapability(r) || !c.matchesRequester(r) {
		found = append(found, miss{far: nobodyAsked, text: "is about other capabilities or requesters"})
	}
	if !c.matchesNamespace(r) {
		found = append(found, miss{far: fieldAway, text: "allows namespaces " + list(s.Namespaces)})
	}
	if !c.matchesRepo(asked) {
		found = append(found, miss{far: fieldAway, text: "allows repos " + list(s.Repos)})
	}
	if !c.matchesEnvironment(asked) {
		found = append(found, miss{far: fieldAway, text: "allows environments " + list(s.Environments)})
	}
	return found
}

// termMisses are those of lifetime, approvals that nobody could give, and risks.
func (e *evaluation) termMisses(c *Compiled) []miss {
	var found []miss
	longest := e.longest(c)
	if ttl := TTL(e.Request, e.Capability); ttl < 1 || ttl > longest {
		found = append(found, miss{far: near, text: fmt.Sprintf("allows ttlSeconds up to %d", longest)})
	}
	switch required := e.required(c); {
	case e.granted() && required > e.Approvals:
		found = append(found, miss{far: near, text: fmt.Sprintf("asks for %s, and %d had been given", approvals(required), e.Approvals)})
	case required > 0 && len(c.approvers()) == 0 && !e.granted():
		found = append(found, miss{far: near, text: fmt.Sprintf("names nobody who may give the %d approvals that capability %s asks for",
			required, e.Capability.Name)})
	}
	var risks []miss
	for _, risk := range e.Risks {
		if !slices.Contains(c.policy.Spec.Accept, risk.Needs) {
			risks = append(risks, miss{far: near, needs: risk.Needs, text: risk.Message})
		}
	}
	// Risks that need the same are told together, where the first of them is.
	first := func(m miss) int {
		return slices.IndexFunc(e.Risks, func(r Risk) bool { return r.Needs == m.needs })
	}
	slices.SortStableFunc(risks, func(a, b miss) int { return cmp.Compare(first(a), first(b)) })
	return append(found, risks...)
}

// longest is the longest lifetime that a policy allows, in seconds.
func (e *evaluation) longest(c *Compiled) int32 {
	if own := c.policy.Spec.MaxTTLSeconds; own != nil {
		return min(e.Capability.Spec.MaxTTLSeconds, *own)
	}
	return e.Capability.Spec.MaxTTLSeconds
}

// notAllowed chooses the Allow that decides: of those that match, the one that asks for the fewest approvals, then by name. It
// refuses if there is none.
func (e *evaluation) notAllowed() *Decision {
	var nearest []refusal
	for p := range e.Policies.matching(true, e.Request, e.asked()) {
		if e.granted() && p.name() != e.GrantedBy {
			continue
		}
		switch misses := e.misses(p); {
		case len(misses) > 0:
			nearest = insert(nearest, refusal{policy: p, misses: misses})
		case e.chosen == nil || e.compare(p, e.chosen) < 0:
			e.chosen = p
		}
	}
	if e.chosen != nil {
		return nil
	}
	if e.granted() {
		return e.withdrawn()
	}
	return e.refuse(e.fill(nearest))
}

func (e *evaluation) compare(a, b *Compiled) int {
	return cmp.Or(cmp.Compare(e.required(a), e.required(b)), cmp.Compare(a.name(), b.name()))
}
