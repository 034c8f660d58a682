// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policytest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/names"
	"github.com/valetkey/valetkey/internal/policy"
)

// Coverage is how much of the policies the cases are about.
type Coverage struct {
	// Policies is how many there are, Decided how many of them decided a case.
	Policies int `json:"policies"`
	Decided  int `json:"decided"`
	// NeverHit names those that decided none.
	NeverHit []string `json:"neverHit,omitempty"`
	// NeverFailed names the expressions that no case shows to keep anything out: in none do the policy's fields match and the
	// expression does not hold.
	NeverFailed []Clause `json:"neverFailed,omitempty"`
}

// Clause is an expression of a policy.
type Clause struct {
	Policy string `json:"policy"`
	// Field is when[0], and so on.
	Field   string `json:"field"`
	Message string `json:"message"`
}

// Percent is the share of the policies that decided a case.
func (c Coverage) Percent() float64 { return 100 * float64(c.Decided) / float64(c.Policies) }

func (c *Catalogue) coverage(asked []question, results []Result) Coverage {
	found := Coverage{Policies: len(c.policies)}
	hit := map[string]bool{}
	for i := range results {
		if p := c.policy(results[i].Got.Policy); p != nil && decided(p, results[i].Got) {
			hit[p.Name] = true
		}
	}
	for _, p := range c.policies {
		if hit[p.Name] {
			found.Decided++
		} else {
			found.NeverHit = append(found.NeverHit, p.Name)
		}
	}
	never := make([][]Clause, len(c.policies))
	inParallel(len(c.policies), func(i int) { never[i] = c.policies[i].neverFailed(asked) })
	found.NeverFailed = slices.Concat(never...)
	return found
}

// neverFailed asks a policy about every case that it could be about, until each expression was seen not to hold.
func (p *stored) neverFailed(asked []question) []Clause {
	if p.compiled.Err() != nil {
		return nil
	}
	left := map[string]bool{}
	for i := range p.Spec.When {
		left[whenField(i)] = true
	}
	accounts, repos := p.accounts(), lasts(p.Spec.Repos)
	for i := range asked {
		if len(left) == 0 {
			return nil
		}
		if q := &asked[i]; !slices.Contains(q.Without, p.Name) && !p.otherThan(q.facts.Request, accounts, repos) {
			for _, field := range p.failing(q.facts) {
				delete(left, field)
			}
		}
	}
	var all []Clause
	for i, w := range p.Spec.When {
		if left[whenField(i)] {
			all = append(all, Clause{Policy: p.Name, Field: whenField(i), Message: w.Message})
		}
	}
	return all
}

func whenField(i int) string { return fmt.Sprintf("when[%d]", i) }

// failing are the expressions that do not hold of a case to which the policy's fields apply.
func (p *stored) failing(f policy.Facts) []string {
	f.Policies = policy.NewSet(p.compiled)
	_, explained := policy.Explain(f)
	var fields []string
	for _, c := range explained[0].Clauses {
		switch {
		case c.Holds != policy.HoldsNo:
		case strings.HasPrefix(c.Field, "when["):
			fields = append(fields, c.Field)
		case slices.Contains([]string{"capabilities", "requesters", "namespaces", "repos", "environments"}, c.Field):
			return nil
		}
	}
	return fields
}

// otherThan saves the question: it is true only where the policy names other capabilities, requesters, repos or environments in as
// many words. Most policies are about others, and there are many cases.
func (p *stored) otherThan(r *v1alpha1.CapabilityRequest, accounts, repos []string) bool {
	s := &p.Spec
	return outside(s.Capabilities, r.Spec.Capability) || outside(accounts, r.Spec.Requester.Username) ||
		outside(repos, last(r.Spec.Repo)) || outside(s.Environments, r.Spec.Environment)
}

// accounts are the user names of the ServiceAccounts that a policy names; * stands for whoever else it names.
func (p *stored) accounts() []string {
	var all []string
	for _, s := range p.Spec.Requesters {
		if s.Kind != v1alpha1.SubjectServiceAccount {
			return []string{names.Any}
		}
		all = append(all, accountName(s.Namespace, s.Name))
	}
	return all
}

func outside(patterns []string, name string) bool {
	return len(patterns) > 0 && !slices.ContainsFunc(patterns, func(p string) bool {
		return strings.EqualFold(p, name) || strings.Contains(p, names.Any)
	})
}

// last is the part of a repository's name behind its owner. All spellings that a back end takes for one repository have
// it in common, but for case.
func last(repo string) string { return repo[strings.LastIndex(repo, "/")+1:] }

func lasts(repos []string) []string {
	all := make([]string, len(repos))
	for i, repo := range repos {
		all[i] = last(repo)
	}
	return all
}
