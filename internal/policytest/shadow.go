// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policytest

import (
	"slices"
	"strings"

	"k8s.io/apiserver/pkg/authentication/serviceaccount"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/names"
)

// fresh stands for what no policy can name. A Deny that matches a name in which it takes the place of each star of an
// Allow's pattern matches it by a star of its own, and so matches whatever the Allow does.
const fresh = "\x00"

// shadows finds each Deny that refuses all that an Allow matches.
func (l *linter) shadows() {
	allows := map[*stored][]probe{}
	for _, p := range l.policies {
		if p.Spec.Effect == v1alpha1.EffectAllow {
			allows[p] = l.probesOf(p)
		}
	}
	for _, d := range l.policies {
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

// probe is a request for a capability; nil stands for one that does not exist.
type probe struct {
	*v1alpha1.CapabilityRequest
	capability *v1alpha1.Capability
}

// probesOf are requests such that whatever Deny refuses all of them refuses all that an Allow matches. The fields of
// a policy do not depend on each other, but for how a capability's back end reads names: it is enough to vary them
// one by one for each way of reading.
func (l *linter) probesOf(p *stored) []probe {
	var all []probe
	varied := map[names.Rules]bool{}
	for _, name := range standIns(p.Spec.Capabilities) {
		c := l.capabilities[name]
		spec := p.Spec
		if served := names.Of(c).Served(spec.Repos); len(served) > 0 {
			spec.Repos = served
		}
		requests := variations(&spec)
		if varied[names.Of(c)] {
			requests = requests[:1]
		}
		varied[names.Of(c)] = true
		for _, r := range requests {
			r.Spec.Capability = name
			all = append(all, probe{r, c})
		}
	}
	return all
}

// variations are requests for a capability that is still to be named, of which each differs from the first in one
// field.
func variations(s *v1alpha1.CapabilityPolicySpec) []*v1alpha1.CapabilityRequest {
	namespaces, repos, environments := standIns(s.Namespaces), standIns(s.Repos), standIns(s.Environments)
	if len(namespaces) == 0 {
		namespaces = []string{fresh}
	}
	first := func() *v1alpha1.CapabilityRequest {
		r := &v1alpha1.CapabilityRequest{}
		r.Namespace = namespaces[0]
		r.Spec.Repo, r.Spec.Environment, r.Spec.Requester = repos[0], environments[0], somebody(s.Requesters[0])
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

// standIns are what stands for all names that patterns match. A star alone stands for slashes, too.
func standIns(patterns []string) []string {
	var all []string
	for _, p := range patterns {
		all = append(all, strings.ReplaceAll(p, names.Any, fresh))
		if p == names.Any {
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
		groups := []string{s.Name}
		if strings.HasPrefix(s.Name, serviceaccount.ServiceAccountGroupPrefix) {
			groups = append(groups, serviceaccount.AllServiceAccountsGroup)
		}
		who, _ := (&requester{User: fresh, Groups: groups}).identity()
		return who
	default:
		who, _ := (&requester{User: s.Name}).identity()
		return who
	}
}

// deniesAll asks as the operator's evaluator does.
func deniesAll(d *stored, probes []probe) bool {
	return !slices.ContainsFunc(probes, func(p probe) bool {
		return !d.compiled.Denies(p.CapabilityRequest, p.capability)
	})
}
