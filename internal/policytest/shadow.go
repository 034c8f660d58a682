// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policytest

import (
	"strings"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/policy"
)

// fresh stands for what no policy can name. A Deny that matches a name in which it takes the place of each star of an Allow's pattern
// matches it by a star of its own, and so matches whatever the Allow does.
const fresh = "\x00"

// shadows finds each Deny that refuses all that an Allow matches.
func (l *linter) shadows() {
	allows := map[*stored][]*v1alpha1.CapabilityRequest{}
	for _, p := range l.policies {
		if p.Spec.Effect == v1alpha1.EffectAllow {
			allows[p] = probesOf(p)
		}
	}
	for _, d := range l.policies {
		if d.Spec.Effect != v1alpha1.EffectDeny || (len(d.Spec.When) > 0 && d.compiled.Err() == nil) {
			continue
		}
		var all []string
		for _, p := range l.policies {
			if probes := allows[p]; probes != nil && deniesAll(d, probes) {
				all = append(all, p.Name)
			}
		}
		if len(all) > 0 {
			l.policy(SeverityWarning, CodeShadowedAllow, d, "while it is in force, nothing is left of what policies allow, %s: take it or them out, if that is not meant", list(all))
		}
	}
}

// probesOf are requests such that whatever Deny refuses all of them refuses all that an Allow matches. The fields of a policy do not
// depend on each other: it is enough to vary them one by one.
func probesOf(p *stored) []*v1alpha1.CapabilityRequest {
	s := &p.Spec
	capabilities, namespaces, repos, environments := names(s.Capabilities), names(s.Namespaces), names(s.Repos), names(s.Environments)
	if len(namespaces) == 0 {
		namespaces = []string{fresh}
	}
	first := func() *v1alpha1.CapabilityRequest {
		r := &v1alpha1.CapabilityRequest{}
		r.Namespace = namespaces[0]
		r.Spec = v1alpha1.CapabilityRequestSpec{Capability: capabilities[0], Repo: repos[0], Environment: environments[0], Requester: somebody(s.Requesters[0])}
		return r
	}
	var all []*v1alpha1.CapabilityRequest
	vary := func(values []string, set func(r *v1alpha1.CapabilityRequest, value string)) {
		for _, value := range values {
			r := first()
			set(r, value)
			all = append(all, r)
		}
	}
	vary(capabilities, func(r *v1alpha1.CapabilityRequest, v string) { r.Spec.Capability = v })
	vary(namespaces, func(r *v1alpha1.CapabilityRequest, v string) { r.Namespace = v })
	vary(repos, func(r *v1alpha1.CapabilityRequest, v string) { r.Spec.Repo = v })
	vary(environments, func(r *v1alpha1.CapabilityRequest, v string) { r.Spec.Environment = v })
	for _, subject := range s.Requesters {
		r := first()
		r.Spec.Requester = somebody(subject)
		all = append(all, r)
	}
	return all
}

// names are what stands for all names that patterns match. A star alone stands for slashes, too.
func names(patterns []string) []string {
	var all []string
	for _, p := range patterns {
		all = append(all, strings.ReplaceAll(p, anyName, fresh))
		if p == anyName {
			all = append(all, fresh+"/"+fresh)
		}
	}
	return all
}

// somebody is a requester of whom no more is known than that the subject names them.
func somebody(s v1alpha1.Subject) v1alpha1.Identity {
	switch s.Kind {
	case v1alpha1.SubjectServiceAccount:
		who, _ := (&requester{ServiceAccount: s.Namespace + "/" + s.Name}).identity()
		return who
	case v1alpha1.SubjectGroup:
		who, _ := (&requester{User: fresh, Groups: []string{s.Name}}).identity()
		return who
	default:
		who, _ := (&requester{User: s.Name}).identity()
		return who
	}
}

// deniesAll asks the operator's evaluator.
func deniesAll(d *stored, probes []*v1alpha1.CapabilityRequest) bool {
	for _, r := range probes {
		decision := policy.Evaluate(policy.Facts{
			Request: r, Capability: &v1alpha1.Capability{}, Policies: []*policy.Compiled{d.compiled},
		})
		if decision.Policy == nil {
			return false
		}
	}
	return true
}
