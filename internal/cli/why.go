// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/inquiry"
	"github.com/valetkey/valetkey/internal/policy"
	"github.com/valetkey/valetkey/internal/visible"
)

func (s *shell) why() *cobra.Command {
	var o output
	cmd := &cobra.Command{Use: "why NAME", Short: "Say policy by policy, clause by clause, what is made of a request",
		Args: cobra.ExactArgs(1), ValidArgsFunction: s.completeRequest(anyRequest),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := s.connect()
			if err != nil {
				return err
			}
			r, err := c.request(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			e, err := s.explain(cmd.Context(), c, r)
			if err != nil {
				return err
			}
			if done, err := s.answer(o, e); done {
				return err
			}
			_, err = fmt.Fprint(s.Out, s.explanation(r, e))
			return err
		}}
	o.addOf(cmd, "words for a person if not set", "json", "yaml")
	return cmd
}

// explained is why a request stands where it stands.
type explained struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Operator is the request's condition Allowed: what holds.
	Operator *metav1.Condition `json:"operator,omitempty"`
	// Today is what the policies say now; nil if the caller may not see what that depends on.
	Today *outcome `json:"today,omitempty"`
	reading
}

// outcome is what the evaluator answers.
type outcome struct {
	Verdict    policy.Verdict `json:"verdict"`
	Reason     string         `json:"reason"`
	Message    string         `json:"message"`
	Policy     string         `json:"policy,omitempty"`
	ApprovedBy []string       `json:"approvedBy,omitempty"`
}

// reading are the policies one by one, and what could not be read of what they are asked about.
type reading struct {
	Policies []policy.Explanation `json:"policies"`
	Unread   []string             `json:"unread,omitempty"`
}

func outcomeOf(d policy.Decision) outcome {
	o := outcome{Verdict: d.Verdict, Reason: d.Reason, Message: d.Message, ApprovedBy: d.ApprovedBy}
	if d.Policy != nil {
		o.Policy = d.Policy.Name
	}
	return o
}

func (s *shell) explain(ctx context.Context, c *cluster, r *v1alpha1.CapabilityRequest) (explained, error) {
	inquirer, err := inquiry.New(c, s.clock)
	if err != nil {
		return explained{}, err
	}
	found, err := inquirer.Of(ctx, r)
	if err != nil {
		return explained{}, err
	}
	e := explained{Namespace: r.Namespace, Name: r.Name, Operator: meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionAllowed), reading: reading{Unread: found.Unread}}
	decision, policies := policy.Explain(found.Facts)
	if !found.Blind {
		today := outcomeOf(decision)
		e.Today = &today
	}
	if found.Facts.Capability != nil || !found.Blind {
		e.Policies = policies
	}
	return e, nil
}

func (s *shell) explanation(r *v1alpha1.CapabilityRequest, e explained) string {
	p := &page{}
	_, _ = visible.Fprintf(p, "%s in namespace %s: %s\n", r.Name, r.Namespace, requestState(r)) // a builder takes everything
	p.title("What the operator says")
	p.line("operator", operatorSays(r))
	if e.Operator != nil {
		p.line("since", s.at(e.Operator.LastTransitionTime.Time))
	}
	p.unread(e.Unread)
	title := "What the policies say"
	if r.Status.EndedAt != nil {
		title = "What the policies say today; the request has ended, and they may have been others then"
	}
	p.title(title)
	switch {
	case e.Today == nil:
		p.line("not known", "what they say of the request as a whole depends on what could not be read")
	case len(e.Policies) == 0:
		p.line("nothing", "there is no policy")
	default:
		p.line(strings.ToLower(string(e.Today.Verdict)), e.Today.Message)
	}
	for _, x := range e.Policies {
		p.policy(x)
	}
	return p.String()
}

// unread comes before the answer that it weakens.
func (p *page) unread(sentences []string) {
	if len(sentences) == 0 {
		return
	}
	p.title("What could not be read; the operator may decide otherwise than what follows")
	for _, sentence := range sentences {
		p.line("!!!", sentence)
	}
}

func (p *page) policy(x policy.Explanation) {
	matches := map[policy.Holds]string{policy.HoldsYes: "matches", policy.HoldsNo: "does not match", policy.HoldsOpen: "cannot be told yet"}[x.Matches]
	if x.Decides {
		matches += ", and decides"
	}
	p.title(visible.Line(fmt.Sprintf("%s (%s) %s", x.Policy, x.Effect, matches)))
	if x.Problem != "" {
		p.line("not valid", x.Problem)
	}
	for _, c := range x.Clauses {
		fmt.Fprintf(p, "  %-4s %-14s %s\n", c.Holds, visible.Line(c.Field), visible.Line(c.Text))
	}
}
