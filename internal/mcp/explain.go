// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"context"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/policy"
)

// explain says by what a request that nobody has made yet would be refused, and what would have to be another.
func (t *told) explain(d policy.Decision, all []policy.Explanation) {
	switch {
	case d.Policy != nil:
		t.Rule = "policy " + d.Policy.Name
		t.clauses(d.Policy.Name, all)
	case d.Reason == v1alpha1.ReasonNameRefused:
		t.Rule, t.Next = "names", writeNames
	case d.Reason == v1alpha1.ReasonJobRefused:
		t.Rule, t.Next = "the capability's steps", "ask again, with the step changed as the message says"
	default:
		t.Rule, t.Next = "no policy", "ask for what the message or the tool capabilities names, if that serves your task; else tell a person"
	}
}

// clauses tells those of a policy that do not hold, by the field of ask that they are about where there is one.
func (t *told) clauses(name string, all []policy.Explanation) {
	at := slices.IndexFunc(all, func(x policy.Explanation) bool { return x.Policy == name })
	if at < 0 {
		return
	}
	t.Next = changeAndAsk
	if all[at].Effect == v1alpha1.EffectDeny {
		t.Next = tellAPerson
		return
	}
	t.Change = map[string]string{}
	for _, c := range all[at].Clauses {
		if c.Holds != policy.HoldsNo {
			continue
		}
		about, own := fieldOf(c)
		if !own {
			t.Next = tellAPerson
		}
		if before := t.Change[about]; before != "" {
			c.Text = before + "; " + c.Text
		}
		t.Change[about] = policy.Clip(c.Text, maxMessage)
	}
}

// fieldOf is the field of ask that a clause is about, or the policy's own name of it; true if the agent can change it.
func fieldOf(c policy.Clause) (string, bool) {
	switch {
	case c.Field == "repos":
		return fieldRepo, true
	case c.Field == "environments":
		return fieldEnvironment, true
	case c.Field == "maxTTLSeconds":
		return fieldTTL, true
	case c.Field == "accept" && strings.HasPrefix(c.Text, string(v1alpha1.AcceptUnpinnedImage)):
		return fieldImage, true
	default:
		return c.Field, strings.HasPrefix(c.Field, "when")
	}
}

// explained is tell, and of what a policy refused also the clauses, if that policy is still the one that did and may be read.
func (s *Server) explained(ctx context.Context, st stand) told {
	t := s.tell(st)
	by := st.request.Status.Policy
	if t.State != stateRefused || by == nil || st.allowed().Reason != v1alpha1.ReasonDeniedByPolicy {
		return t
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	found, err := s.inquirer.Of(ctx, st.request)
	if err != nil {
		// The message tells it too.
		return t
	}
	unchanged := slices.ContainsFunc(found.Policies, func(p v1alpha1.CapabilityPolicy) bool {
		return p.Name == by.Name && p.Generation == by.Generation
	})
	if unchanged {
		_, all := policy.Explain(found.Facts)
		t.clauses(by.Name, all)
	}
	return t
}
