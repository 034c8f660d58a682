// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policytest

import (
	"slices"
	"strings"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/names"
)

// The fields of a request with a name that policies tell requests apart by.
const (
	fieldRepo        = "repo"
	fieldEnvironment = "environment"
)

// namesIn are the patterns of a policy for one of these fields, as they mean names of requests for a capability; none in
// a Deny stands for any.
func (p *stored) namesIn(field string, c *v1alpha1.Capability) []string {
	rules := names.Of(c)
	all, means := p.Spec.Repos, rules.Repos
	switch {
	case field == fieldEnvironment:
		all, means = p.Spec.Environments, rules.Environments
	case p.Spec.Effect == v1alpha1.EffectDeny:
		means = rules.Denied
	}
	if len(all) == 0 {
		return []string{names.Any}
	}
	return means(all)
}

// outsideScope finds each policy that is to keep something from a request, by a name that the capability's scope does
// not hold, where another policy allows a request for the very same scope under another name.
func (l *linter) outsideScope() {
	for _, p := range l.policies {
		for _, field := range []string{fieldRepo, fieldEnvironment} {
			var found, by []string
			for _, c := range l.about(p) {
				if q := l.passes(p, c, field); q != nil {
					found, by = append(found, c.Name), append(by, q.Name)
				}
			}
			if len(found) > 0 {
				slices.Sort(by)
				l.policy(SeverityWarning, CodeNameOutsideScope, p, "it tells requests apart by their %s, "+
					"which the scope does not hold, of %s: who asks for another %s gets the same by %s: "+
					"write ${request.%s} into the scope, or take another capability for each",
					field, list(found), field, list(slices.Compact(by)), field)
			}
		}
	}
}

// passes is a policy that allows requests for the capability which p is to keep out, or to keep for more approval, as
// soon as they name another repo or environment; nil if there is none, or the name is in the scope.
func (l *linter) passes(p *stored, c *v1alpha1.Capability, field string) *stored {
	told := names.ToldBy(c)
	if slices.Contains(told, field) || !l.bites(p, c, field) {
		return nil
	}
	for _, q := range l.policies {
		if q.Spec.Effect != v1alpha1.EffectAllow || q == p || !slices.Contains(l.about(q), c) || !meetBut(p, q, c, field) {
			continue
		}
		reads := p.compiled.Reads(field) || q.compiled.Reads(field)
		switch {
		case p.Spec.Effect == v1alpha1.EffectDeny:
			if p.compiled.Reads(field) || !within(q.namesIn(field, c), p.namesIn(field, c)) {
				return q
			}
		case stricter(p, q, c) && (reads || !within(p.namesIn(field, c), q.namesIn(field, c))):
			return q
		}
	}
	return nil
}

// bites reports whether the policy decides anything of a capability: a Deny of names that no policy allows does not.
func (l *linter) bites(p *stored, c *v1alpha1.Capability, field string) bool {
	return p.Spec.Effect == v1alpha1.EffectAllow || slices.ContainsFunc(l.policies, func(q *stored) bool {
		return q.Spec.Effect == v1alpha1.EffectAllow && slices.Contains(l.about(q), c) &&
			overlap(p.namesIn(field, c), q.namesIn(field, c)) && meetBut(p, q, c, field)
	})
}

// stricter reports whether an Allow asks for more approvals than the other, or takes none from somebody whose approvals
// count for the other, however many that one asks for.
func stricter(p, q *stored, c *v1alpha1.Capability) bool {
	needs := required(p, c)
	if needs == 0 || needs > required(q, c) {
		return needs > 0
	}
	return p.Spec.Approval != nil && q.Spec.Approval != nil &&
		slices.ContainsFunc(q.Spec.Approval.Approvers, func(s v1alpha1.Subject) bool {
			return !slices.Contains(p.Spec.Approval.Approvers, s)
		})
}

// meetBut reports whether some request could be about both policies, were it not for one field: the names that the
// scope holds can be the same, and somebody can be among the requesters of both.
func meetBut(p, q *stored, c *v1alpha1.Capability, field string) bool {
	told := names.ToldBy(c)
	for _, other := range []string{fieldRepo, fieldEnvironment} {
		if other != field && slices.Contains(told, other) && !overlap(p.namesIn(other, c), q.namesIn(other, c)) {
			return false
		}
	}
	return someIn(p.Spec.Namespaces, q.Spec.Namespaces) && someoneIn(p.Spec.Requesters, q.Spec.Requesters)
}

// someIn reports whether two lists, of which an empty one holds everything, have something in common.
func someIn(a, b []string) bool {
	return len(a) == 0 || len(b) == 0 || slices.ContainsFunc(a, func(one string) bool { return slices.Contains(b, one) })
}

// someoneIn is someIn for requesters. Who is in a group is not known.
func someoneIn(a, b []v1alpha1.Subject) bool {
	if len(a) == 0 || len(b) == 0 {
		return true
	}
	grouped := func(s v1alpha1.Subject) bool { return s.Kind == v1alpha1.SubjectGroup }
	return slices.ContainsFunc(a, grouped) || slices.ContainsFunc(b, grouped) ||
		slices.ContainsFunc(a, func(s v1alpha1.Subject) bool {
			return slices.ContainsFunc(b, func(other v1alpha1.Subject) bool { return alike(s, other) })
		})
}

// alike reports whether two subjects are one to a Deny, which compares names without case.
func alike(a, b v1alpha1.Subject) bool {
	return a.Kind == b.Kind && a.Namespace == b.Namespace && strings.EqualFold(a.Name, b.Name)
}

// overlap reports whether some name can be meant by a pattern of each.
func overlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(one string) bool {
		return slices.ContainsFunc(b, func(other string) bool { return names.Overlap(one, other) })
	})
}

// within reports whether all that some patterns mean is meant by others, without case.
func within(these, those []string) bool {
	return !slices.ContainsFunc(standIns(these), func(name string) bool {
		return !slices.ContainsFunc(those, func(pattern string) bool {
			return names.Match(strings.ToLower(pattern), strings.ToLower(name))
		})
	})
}
