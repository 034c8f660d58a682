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
	"github.com/valetkey/valetkey/internal/visible"
)

// Holds is what a clause of a policy says of a request.
type Holds string

const (
	// HoldsYes: the request fits.
	HoldsYes Holds = "yes"
	// HoldsNo: it does not.
	HoldsNo Holds = "no"
	// HoldsOpen: it cannot be told yet, for it depends on a Job, on what whoever asks has not said, on an approval, or on what else
	// is out.
	HoldsOpen Holds = "open"
)

// Clause is one thing that a policy asks of a request.
type Clause struct {
	// Field of the policy's spec, such as repos or when[0], or metadata.deletionTimestamp.
	Field string `json:"field"`
	// Holds says whether the request fits.
	Holds Holds `json:"holds"`
	// Text says to a person what is asked, and what the request has.
	Text string `json:"text"`
}

// Explanation is what one policy says of a request, clause by clause, in the order of its fields.
type Explanation struct {
	// Policy is its name, Effect whether it allows or denies.
	Policy string                `json:"policy"`
	Effect v1alpha1.PolicyEffect `json:"effect"`
	// Matches is yes if all clauses hold, no if one does not, and open otherwise.
	Matches Holds `json:"matches"`
	// Decides is set on the policy that the decision names.
	Decides bool `json:"decides"`
	// Problem says why the policy cannot be evaluated; empty if it can.
	Problem string   `json:"problem,omitempty"`
	Clauses []Clause `json:"clauses"`
	// Approvals is how many people must approve under an Allow, and Approvers are those who may.
	Approvals int32    `json:"approvals,omitempty"`
	Approvers []string `json:"approvers,omitempty"`
}

// Foremost is the Allow that decides while nothing changes: of those that the request does not miss, the one that asks for the fewest
// approvals, then by name. It is there before a Job is, of which Evaluate then speaks first; nil if there is none.
func Foremost(all []Explanation) *Explanation {
	var found *Explanation
	for i := range all {
		x := &all[i]
		if x.Effect == v1alpha1.EffectAllow && x.Matches != HoldsNo &&
			(found == nil || cmp.Or(cmp.Compare(x.Approvals, found.Approvals), cmp.Compare(x.Policy, found.Policy)) < 0) {
			found = x
		}
	}
	return found
}

// Explain says what every policy says of the request, with Evaluate's own decision: the deciding policy first, then those that match,
// then by how few clauses do not hold.
func Explain(f Facts) (Decision, []Explanation) {
	d := Evaluate(f)
	e := evaluation{Facts: f}
	if e.jobTooLarge() != nil {
		// No expression sees such a Job.
		e.Job = nil
	}
	if f.Capability != nil {
		e.vars = e.variables()
	}
	all := make([]Explanation, 0, len(f.Policies.All()))
	for _, p := range f.Policies.All() {
		one := e.explain(p)
		one.Decides = d.Policy != nil && d.Policy.Name == one.Policy
		all = append(all, one)
	}
	slices.SortStableFunc(all, func(a, b Explanation) int {
		return cmp.Or(cmp.Compare(a.rank(), b.rank()), cmp.Compare(a.Policy, b.Policy))
	})
	return d, all
}

func (x Explanation) rank() int {
	switch {
	case x.Decides:
		return 0
	case x.Matches == HoldsYes:
		return 1
	}
	rank := 2
	for _, c := range x.Clauses {
		if c.Holds == HoldsNo {
			rank++
		}
	}
	return rank
}

func (e *evaluation) explain(p *Compiled) Explanation {
	x := Explanation{Policy: p.name(), Effect: p.policy.Spec.Effect,
		Clauses: slices.Concat(p.fieldClauses(e.Request, e.asked()), e.expressionClauses(p))}
	if p.err != nil {
		x.Problem = oneLine(p.err)
	}
	if p.allows() && e.Capability != nil {
		x.Clauses = slices.Concat(x.Clauses, e.termClauses(p))
		x.Approvals, x.Approvers = e.required(p), describeSubjects(p.approvers())
	}
	x.Matches = e.matches(p, x.Clauses)
	return x
}

// matches asks what Evaluate asks; the clauses only tell what is open of it.
func (e *evaluation) matches(p *Compiled, clauses []Clause) Holds {
	if !p.allows() {
		if denies, _ := p.denies(e.Request, e.asked(), e.vars); denies {
			return HoldsYes
		}
	} else if e.Capability == nil || len(e.misses(p)) > 0 {
		return HoldsNo
	}
	switch {
	case slices.ContainsFunc(clauses, func(c Clause) bool { return c.Holds == HoldsNo }):
		return HoldsNo
	case slices.ContainsFunc(clauses, func(c Clause) bool { return c.Holds == HoldsOpen }):
		return HoldsOpen
	}
	return HoldsYes
}

func holds(yes bool) Holds {
	if yes {
		return HoldsYes
	}
	return HoldsNo
}

func (c *Compiled) fieldClauses(r *v1alpha1.CapabilityRequest, asked names.Asked) []Clause {
	s := &c.policy.Spec
	all := []Clause{
		{"capabilities", holds(c.matchesCapability(r)), wants(s.Capabilities, r.Spec.Capability)},
		{"requesters", holds(c.matchesRequester(r)), wants(describeSubjects(s.Requesters), visible.Name(r.Spec.Requester.Username))},
	}
	if len(s.Namespaces) > 0 {
		all = append(all, Clause{"namespaces", holds(slices.Contains(s.Namespaces, r.Namespace)), wants(s.Namespaces, r.Namespace)})
	}
	return append(all,
		Clause{"repos", holds(c.matchesRepo(asked)), wants(s.Repos, r.Spec.Repo)},
		Clause{"environments", holds(c.matchesEnvironment(asked)), wants(s.Environments, r.Spec.Environment)})
}

// wants says what a list asks for, and what there is.
func wants(list []string, has string) string {
	if len(list) == 0 {
		return "any; the request has " + has
	}
	return strings.Join(list, ", ") + "; the request has " + has
}

func describeSubjects(all []v1alpha1.Subject) []string {
	words := make([]string, len(all))
	for i, s := range all {
		words[i] = describeSubject(s)
	}
	return words
}

func (e *evaluation) expressionClauses(p *Compiled) []Clause {
	if p.err != nil || e.vars == nil {
		return nil
	}
	all := make([]Clause, 0, len(p.when))
	for i, w := range p.when {
		c := Clause{Field: fmt.Sprintf("when[%d]", i), Holds: HoldsYes, Text: w.message}
		switch answer, err := w.eval(e.vars); answer {
		case no:
			c.Holds = HoldsNo
		case later:
			c.Holds, c.Text = HoldsOpen, w.message+" (depends on "+strings.Join(w.awaited(e.vars), " and ")+")"
		case failed:
			// What cannot be told allows nothing, and denies.
			c.Holds, c.Text = holds(!p.allows()), "the expression failed: "+oneLine(err)
		}
		all = append(all, c)
	}
	return all
}

// termClauses are those that an Allow alone has: lifetime, risks, approval and limit.
func (e *evaluation) termClauses(p *Compiled) []Clause {
	ttl, longest := TTL(e.Request, e.Capability), e.longest(p)
	var all []Clause
	if p.Leaving() {
		all = append(all, Clause{"metadata.deletionTimestamp", HoldsNo, "the policy is being deleted, so it allows nothing"})
	}
	all = append(all, Clause{"maxTTLSeconds", holds(ttl >= 1 && ttl <= longest), fmt.Sprintf("up to %d; the request has %d", longest, ttl)})
	for _, risk := range e.Risks {
		all = append(all, Clause{"accept", holds(slices.Contains(p.policy.Spec.Accept, risk.Needs)), fmt.Sprintf("%s: %s", risk.Needs, risk.Message)})
	}
	if required := e.required(p); required > 0 {
		who := "nobody is named who may give them"
		if len(p.approvers()) > 0 {
			who = "from " + strings.Join(describeSubjects(p.approvers()), ", ")
		}
		c := Clause{"approval", HoldsOpen, fmt.Sprintf("%s, %s", approvals(required), who)}
		switch {
		case e.granted():
			c.Holds, c.Text = holds(e.Approvals >= required), fmt.Sprintf("%s; %d had been given", approvals(required), e.Approvals)
		case len(p.approvers()) == 0:
			c.Holds = HoldsNo
		}
		all = append(all, c)
	}
	if limits := p.policy.Spec.Limits; limits != nil && limits.Active != nil {
		active := e.Active[p.name()]
		c := Clause{"limits.active", HoldsYes, fmt.Sprintf("up to %d at the same time; %d are out", *limits.Active, active)}
		switch {
		case e.Active == nil:
			c.Holds, c.Text = HoldsOpen, fmt.Sprintf("up to %d at the same time; how many are out is not known", *limits.Active)
		case active >= int(*limits.Active):
			c.Holds = HoldsOpen
		}
		all = append(all, c)
	}
	return all
}
