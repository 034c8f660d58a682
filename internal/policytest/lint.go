// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policytest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apiserver/pkg/authentication/serviceaccount"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/names"
)

// Severity is how bad a finding is.
type Severity string

const (
	// SeverityError is what cannot be meant: the policy does not do what it says.
	SeverityError Severity = "error"
	// SeverityWarning is what can be meant, and often is not.
	SeverityWarning Severity = "warning"
)

// The codes of findings.
const (
	// CodeUnknownCapability: a policy names a capability that does not exist. An Allow allows nothing by it, a Deny denies nothing.
	CodeUnknownCapability = "unknown-capability"
	// CodeUnreadyCapability: a capability's provider does not exist, or is of another back end, or a permission of
	// GitHub reaches further than one repository, so nothing can be issued.
	CodeUnreadyCapability = "unready-capability"
	// CodeInvalidExpression: an expression does not compile or could cost too much. The Allow allows nothing, the Deny denies all that its
	// fields match.
	CodeInvalidExpression = "invalid-expression"
	// CodeImpossibleName: a policy names a repo or an environment, or an expression compares one with a text, that no
	// request can have. It is a warning where requests for some of the capabilities have it.
	CodeImpossibleName = "impossible-name"
	// CodeOpaqueComparison: an expression reads a repo or an environment in a form in which lint does not look for names
	// that no request has; one of an Allow only where it does not plainly ask for the name.
	CodeOpaqueComparison = "opaque-comparison"
	// CodeImpossibleApproval: more people must approve than an Allow names.
	CodeImpossibleApproval = "impossible-approval"
	// CodeShadowedAllow: a Deny without expressions refuses all that an Allow matches. It is found at the Deny, and a warning, for that is
	// what a kill switch does.
	CodeShadowedAllow = "shadowed-allow"
	// CodeWriteWithoutApproval: a capability that writes is allowed and nobody has to approve.
	CodeWriteWithoutApproval = "write-without-approval"
	// CodeWildcard: an Allow takes any capability, repo, environment, requester or approver, or a scope is wider than the
	// request.
	CodeWildcard = "wildcard"
	// CodeAmbiguousScope: a request can get a scope that lies within that of another name, so that a Deny of one would
	// not keep it from the other. The capability is not Ready.
	CodeAmbiguousScope = "ambiguous-scope"
	// CodeNameOutsideScope: a Deny, or an Allow that asks for more approval than another, or for other people's, tells requests apart by a repo
	// or an environment that the capability's scope does not hold: who asks for another name gets the same.
	CodeNameOutsideScope = "name-outside-scope"
	// CodeRevoker: the revoker role of a capability of AWS could not end its sessions for good, or is another
	// capability's role.
	CodeRevoker = "revoker"
	// CodeOutlivesRevocation: by its scope a session of AWS could get something that works on when its revoker role has
	// ended it.
	CodeOutlivesRevocation = "outlives-revocation"
	// CodeTTLOverCapability: a policy's maxTTLSeconds is longer than the capability's, which holds.
	CodeTTLOverCapability = "ttl-over-capability"
	// CodeTTLUnderDefault: a request that names no ttlSeconds gets the capability's default, and the policy refuses it.
	CodeTTLUnderDefault = "ttl-under-default"
	// CodeAccept: the annotation valetkey.dev/lint-accept cannot be read, or accepts nothing that was found.
	CodeAccept = "accept"
)

// Finding is something in a manifest that is valid and hardly meant.
type Finding struct {
	Code     string   `json:"code"`
	Severity Severity `json:"severity"`
	File     string   `json:"file"`
	// Kind and Name are the object's.
	Kind string `json:"kind"`
	Name string `json:"name"`
	// Message says what is found and what to do.
	Message string `json:"message"`
	// Accepted is the reason for which the object's annotation accepts it; empty if it does not.
	Accepted string `json:"accepted,omitempty"`
}

// Findings are all that was found, errors first.
type Findings []Finding

// Count is how many findings of a severity nobody accepts.
func (f Findings) Count(s Severity) int {
	n := 0
	for _, one := range f {
		if one.Severity == s && one.Accepted == "" {
			n++
		}
	}
	return n
}

// Accepted is how many findings somebody accepts.
func (f Findings) Accepted() int {
	return len(f) - f.Count(SeverityError) - f.Count(SeverityWarning)
}

// linter collects findings.
type linter struct {
	*Catalogue
	found Findings
}

func (l *linter) add(severity Severity, code, kind, name, format string, args ...any) {
	l.found = append(l.found, Finding{Code: code, Severity: severity, File: l.files[kind+" "+name], Kind: kind, Name: name, Message: fmt.Sprintf(format, args...)})
}

// policy adds a finding about a policy.
func (l *linter) policy(severity Severity, code string, p *stored, format string, args ...any) {
	l.add(severity, code, kindPolicy, p.Name, format, args...)
}

// Lint finds what is valid and hardly meant. Where nothing is, the list is empty and not nil.
func (c *Catalogue) Lint() Findings {
	l := &linter{Catalogue: c, found: Findings{}}
	for _, name := range slices.Sorted(maps.Keys(c.capabilities)) {
		l.capability(c.capabilities[name])
	}
	for _, p := range c.policies {
		l.names(p)
		if p.Spec.Effect == v1alpha1.EffectAllow {
			l.approval(p)
			l.writes(p)
			l.wildcards(p)
			l.lifetime(p)
		}
	}
	l.shadows()
	l.outsideScope()
	l.accept()
	slices.SortStableFunc(l.found, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Severity, b.Severity), cmp.Compare(a.File, b.File), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Code, b.Code), cmp.Compare(a.Message, b.Message))
	})
	return l.found
}

func (l *linter) capability(c *v1alpha1.Capability) {
	if why := l.unprovided(c); why != "" {
		l.add(SeverityError, CodeUnreadyCapability, kindCapability, c.Name, "nothing can be issued, for %s: name a provider of its own back end in providerRef", why)
	}
	if err := names.CheckPermissions(c.Spec.GitHub); err != nil {
		l.add(SeverityError, CodeUnreadyCapability, kindCapability, c.Name, "nothing can be issued: %s", err)
	}
	everybodys := names.Everybodys(c)
	if len(everybodys) > 0 {
		l.add(SeverityWarning, CodeWildcard, kindCapability, c.Name, "every request is given %s, whatever names it has, so a Deny of a "+
			"repo keeps from nobody what lies there for it: name a folder that no request's value is below", list(everybodys))
	}
	wide := slices.DeleteFunc(wideResources(c), func(one string) bool { return slices.Contains(everybodys, one) })
	if len(wide) > 0 {
		l.add(SeverityWarning, CodeWildcard, kindCapability, c.Name,
			"%s reaches beyond the request: write a * only in the last part of a resource, and behind ${request.repo} or another value of the request", list(wide))
	}
	if err := names.CheckScope(c); err != nil {
		l.add(SeverityError, CodeAmbiguousScope, kindCapability, c.Name, "nothing can be issued: %s", err)
	}
	l.revokers(c)
}

// names finds what a policy names and there cannot be.
func (l *linter) names(p *stored) {
	if err := p.compiled.Err(); err != nil {
		does := "the Deny denies all that its other fields match"
		if p.Spec.Effect == v1alpha1.EffectAllow {
			does = "the Allow allows nothing"
		}
		l.policy(SeverityError, CodeInvalidExpression, p, "%s, so %s: mend the expression", strings.Join(strings.Fields(err.Error()), " "), does)
	}
	var unknown []string
	for _, name := range p.Spec.Capabilities {
		if name != names.Any && l.capabilities[name] == nil {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) > 0 {
		l.policy(SeverityError, CodeUnknownCapability, p, "there is no capability %s: mend the name, or add the capability", list(unknown))
	}
	for _, problem := range p.compiled.Impossible(l.sorted()) {
		l.policy(SeverityError, CodeImpossibleName, p, "%s", problem)
	}
	for _, problem := range p.compiled.Partial(l.sorted()) {
		l.policy(SeverityWarning, CodeImpossibleName, p, "%s", problem)
	}
	for _, problem := range p.compiled.Opaque() {
		l.policy(SeverityWarning, CodeOpaqueComparison, p, "%s", problem)
	}
}

// sorted are all capabilities, by name.
func (c *Catalogue) sorted() []*v1alpha1.Capability {
	return slices.SortedFunc(maps.Values(c.capabilities), func(a, b *v1alpha1.Capability) int {
		return strings.Compare(a.Name, b.Name)
	})
}

// about are the capabilities that a policy is about, as far as they exist, sorted.
func (l *linter) about(p *stored) []*v1alpha1.Capability {
	return slices.DeleteFunc(l.sorted(), func(c *v1alpha1.Capability) bool {
		return !slices.Contains(p.Spec.Capabilities, names.Any) && !slices.Contains(p.Spec.Capabilities, c.Name)
	})
}

// required is how many people must approve what a policy allows of a capability.
func required(p *stored, c *v1alpha1.Capability) int32 {
	if p.Spec.Approval == nil {
		return c.Spec.MinimumApproval
	}
	return max(c.Spec.MinimumApproval, p.Spec.Approval.Required)
}

// approval finds approvals that can never be complete. Of a policy about any capability, those that ask for more are not meant.
func (l *linter) approval(p *stored) {
	most, bounded := approvers(p)
	if !bounded {
		return
	}
	var short []string
	for _, c := range l.about(p) {
		needs := required(p, c)
		meant := slices.Contains(p.Spec.Capabilities, c.Name) || (p.Spec.Approval != nil && p.Spec.Approval.Required == needs)
		if meant && int(needs) > most {
			short = append(short, fmt.Sprintf("%s (%d)", c.Name, needs))
		}
	}
	if len(short) > 0 {
		l.policy(SeverityError, CodeImpossibleApproval, p,
			"approvals can never be enough for %s: approval.approvers names %d who could give them, beside whoever asks: name more people, or a group", list(short), most)
	}
}

// approvers is how many different people can approve what somebody asks for; not bounded if a group can. Nobody approves what they
// asked for.
func approvers(p *stored) (most int, bounded bool) {
	if p.Spec.Approval == nil {
		return 0, true
	}
	people := map[string]v1alpha1.Subject{}
	for _, s := range p.Spec.Approval.Approvers {
		switch {
		case nobody(s):
			continue
		case s.Kind == v1alpha1.SubjectGroup:
			return 0, false
		}
		people[string(s.Kind)+s.Namespace+"/"+strings.ToLower(s.Name)] = s
	}
	for _, who := range p.Spec.Requesters {
		others := len(people)
		for _, s := range people {
			if alike(who, s) {
				others--
			}
		}
		most = max(most, others)
	}
	return most, true
}

// writes finds capabilities that write and need nobody's approval.
func (l *linter) writes(p *stored) {
	var all []string
	for _, c := range l.about(p) {
		if what := writes(c); what != "" && required(p, c) == 0 {
			all = append(all, c.Name+" ("+what+")")
		}
	}
	if len(all) > 0 {
		l.policy(SeverityWarning, CodeWriteWithoutApproval, p, "nobody has to approve what writes, %s: write approval, or minimumApproval in the capability", list(all))
	}
}

// wildcards finds an Allow that takes anything.
func (l *linter) wildcards(p *stored) {
	for _, field := range []struct {
		name  string
		names []string
	}{{"capabilities", p.Spec.Capabilities}, {"repos", p.Spec.Repos}, {"environments", p.Spec.Environments}} {
		if slices.ContainsFunc(field.names, anyName) {
			l.policy(SeverityWarning, CodeWildcard, p, "%s: it allows any, those too that are yet to come: name them", field.name)
		}
	}
	for _, c := range l.about(p) {
		served := func(pattern string) bool { return !anyName(pattern) && names.Of(c).MeansAllServed(pattern) }
		if at := slices.IndexFunc(p.Spec.Repos, served); at >= 0 {
			l.policy(SeverityWarning, CodeWildcard, p,
				"repos: %s is every repo that %s is for, those too that are yet to come: name them", p.Spec.Repos[at], c.Name)
		}
	}
	for _, s := range p.Spec.Requesters {
		if everybody(s) {
			l.policy(SeverityWarning, CodeWildcard, p, "requesters: the API server puts everybody in group %s: name who may ask", s.Name)
		}
	}
	if p.Spec.Approval == nil {
		return
	}
	for _, s := range p.Spec.Approval.Approvers {
		switch {
		case nobody(s):
			l.policy(SeverityWarning, CodeWildcard, p,
				"approval.approvers: nobody approves as Group %s, for a ServiceAccount counts only where it is named as one: name who may approve", s.Name)
		case everybody(s):
			l.policy(SeverityWarning, CodeWildcard, p,
				"approval.approvers: the API server puts everybody in group %s, agents too: name who may approve", s.Name)
		}
	}
}

// anyName reports whether a pattern means any name, of any number of parts.
func anyName(pattern string) bool { return strings.Trim(pattern, "*/") == "" }

// nobody reports whether a subject among approvers is a group of ServiceAccounts, of which none counts there.
func nobody(s v1alpha1.Subject) bool {
	return s.Kind == v1alpha1.SubjectGroup && (s.Name == serviceaccount.AllServiceAccountsGroup || strings.HasPrefix(s.Name, serviceaccount.ServiceAccountGroupPrefix))
}

// everybody reports whether a subject is a group that nobody was put in by anybody.
func everybody(s v1alpha1.Subject) bool {
	all := []string{"system:authenticated", "system:unauthenticated", "system:serviceaccounts"}
	named := func(name string) bool { return strings.EqualFold(name, s.Name) }
	return s.Kind == v1alpha1.SubjectGroup && slices.ContainsFunc(all, named)
}

// lifetime finds lifetimes that a policy allows and the capability does not, and the other way round.
func (l *linter) lifetime(p *stored) {
	if p.Spec.MaxTTLSeconds == nil {
		return
	}
	most := *p.Spec.MaxTTLSeconds
	var over, under []string
	for _, c := range l.about(p) {
		if most > c.Spec.MaxTTLSeconds {
			over = append(over, fmt.Sprintf("%s (%d)", c.Name, c.Spec.MaxTTLSeconds))
		}
		if most < c.Spec.DefaultTTLSeconds {
			under = append(under, fmt.Sprintf("%s (%d)", c.Name, c.Spec.DefaultTTLSeconds))
		}
	}
	if len(over) > 0 {
		l.policy(SeverityWarning, CodeTTLOverCapability, p, "maxTTLSeconds is %d, and a capability's own maxTTLSeconds holds where it is shorter, %s: lower it", most, list(over))
	}
	if len(under) > 0 {
		l.policy(SeverityWarning, CodeTTLUnderDefault, p,
			"maxTTLSeconds is %d, so a request that names no ttlSeconds is refused, for it asks for the capability's defaultTTLSeconds, %s: lower the default", most, list(under))
	}
}

// list names the first few.
func list(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
