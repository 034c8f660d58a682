// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/inquiry"
	"github.com/valetkey/valetkey/internal/policy"
	"github.com/valetkey/valetkey/internal/visible"
)

// notFoundOut is the exit code of commands that answer a question, when it could not be answered.
const notFoundOut = 2

func (s *shell) can() *cobra.Command {
	var o output
	ttl := &ttlFlag{}
	ask := &inquiry.Ask{}
	cmd := &cobra.Command{Use: "can CAPABILITY --repo R --env E", Short: "Say whether a request would be allowed, and with which approval",
		Long: "Say whether a request of yours, or with --as of somebody else's, would be allowed, with which approval, and if not, what to change.\n" +
			"The catalogue is read with your own rights either way. Nothing is stored.\n" +
			"What a policy asks of the Job, of the request's name, and of a task, an actor or a justification that you do not give, is left open.\n" +
			"The exit code is 0 if it could be allowed: at once, or if whoever may approve does, and if what is left open holds;\n" +
			"1 if it would be refused; 2 if that could not be found out.",
		Args: cobra.ExactArgs(1), ValidArgsFunction: s.completeCapability(),
		RunE: func(cmd *cobra.Command, args []string) error {
			ask.Capability = args[0]
			ask.TTLSeconds = ttl.seconds
			a, err := s.would(cmd.Context(), ask)
			if err != nil {
				_, _ = fmt.Fprintln(s.ErrOut, "error:", s.lead(err))
				return &exit{notFoundOut}
			}
			done, err := s.answer(o, a)
			if !done {
				_, err = fmt.Fprint(s.Out, a.page())
			}
			if err == nil && a.code() != 0 {
				err = &exit{a.code()}
			}
			return err
		}}
	flags := cmd.Flags()
	flags.StringVar(&ask.Repo, "repo", "", "the repository")
	flags.StringVar(&ask.Environment, "env", "", "the environment")
	flags.Var(ttl, "ttl", "for how long; the capability's default if not set")
	flags.StringVar(&ask.TaskID, "task", "", "the task, for policies that look at it")
	flags.StringVar(&ask.Actor, "actor", "", "who acts, for policies that look at it")
	flags.StringVar(&ask.Justification, "justification", "", "why, for policies that look at it")
	for _, required := range []string{"repo", "env"} {
		_ = cmd.MarkFlagRequired(required) // the flag is there
	}
	o.addOf(cmd, "words for a person if not set", "json", "yaml")
	return cmd
}

// foreseen is what would become of a request.
type foreseen struct {
	// Requester is whose request it would be.
	Requester string `json:"requester"`
	// Could is whether it could be allowed, at once or after approvals; nil if that could not be found out.
	Could *bool `json:"could,omitempty"`
	// Approvals that it would take, and Approvers who could give them.
	Approvals int32    `json:"approvals"`
	Approvers []string `json:"approvers,omitempty"`
	// Refused is what the API server says to such a request; empty if it would take it.
	Refused string  `json:"refused,omitempty"`
	Policy  outcome `json:"policy"`
	reading

	ask   inquiry.Ask
	blind bool
}

func (s *shell) would(ctx context.Context, ask *inquiry.Ask) (foreseen, error) {
	requester, err := s.connect()
	if err != nil {
		return foreseen{}, err
	}
	own, err := s.asOneself(requester)
	if err != nil {
		return foreseen{}, err
	}
	ask.Namespace = requester.namespace
	inquirer, err := inquiry.New(own, s.clock)
	if err != nil {
		return foreseen{}, err
	}
	who, err := whoami(ctx, requester)
	if err != nil {
		return foreseen{}, err
	}
	found, err := inquirer.Would(ctx, who, *ask)
	if err != nil {
		return foreseen{}, err
	}
	decision, policies := policy.Explain(found.Facts)
	a := foreseen{Requester: who.Username, Policy: outcomeOf(decision), reading: reading{Policies: policies, Unread: found.Unread}, ask: *ask}
	if x := policy.Foremost(policies); x != nil {
		a.Approvals, a.Approvers = x.Approvals, x.Approvers
	}
	a.blind = found.Blind
	if found.Blind || decision.Verdict == policy.Indeterminate {
		return a, nil
	}
	if decision.Verdict != policy.Deny {
		if a.Refused, err = s.rehearse(ctx, requester, *ask); err != nil {
			return foreseen{}, err
		}
	}
	could := decision.Verdict != policy.Deny && a.Refused == ""
	a.Could = &could
	return a, nil
}

// asOneself is the same cluster without --as.
func (s *shell) asOneself(c *cluster) (*cluster, error) {
	config := rest.CopyConfig(c.config)
	config.Impersonate = rest.ImpersonationConfig{}
	return s.reach(config)
}

func whoami(ctx context.Context, c *cluster) (v1alpha1.Identity, error) {
	inquirer, err := inquiry.New(c, nil)
	if err != nil {
		return v1alpha1.Identity{}, err
	}
	return inquirer.Whoami(ctx)
}

// rehearse sends the request without storing it: the API server's rules may refuse what the policies would allow. It returns the refusal.
func (s *shell) rehearse(ctx context.Context, c *cluster, ask inquiry.Ask) (string, error) {
	request := &v1alpha1.CapabilityRequest{ObjectMeta: metav1.ObjectMeta{Namespace: ask.Namespace, GenerateName: "can-"},
		Spec: v1alpha1.CapabilityRequestSpec{Capability: ask.Capability, Repo: ask.Repo, Environment: ask.Environment, TTLSeconds: ask.TTLSeconds,
			TaskID: cmp.Or(ask.TaskID, "can"), Actor: cmp.Or(ask.Actor, "kubectl-valetkey"), Justification: ask.Justification, Container: "any"}}
	err := c.Create(ctx, request, client.DryRunAll)
	if apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.IsNotFound(err) {
		return s.lead(err), nil
	}
	return "", err
}

func (a foreseen) code() int {
	switch {
	case a.Could == nil:
		return notFoundOut
	case *a.Could:
		return 0
	}
	return 1
}

func (a foreseen) page() string {
	p := &page{}
	fmt.Fprintln(p, a.headline())
	p.title("Asked for")
	p.line("requester", a.Requester)
	p.line("capability", a.ask.Capability)
	ttl := "the capability's default time"
	if a.ask.TTLSeconds != nil {
		ttl = lasting(*a.ask.TTLSeconds)
	}
	p.line("for", fmt.Sprintf("repo %s, environment %s, %s, in namespace %s", a.ask.Repo, a.ask.Environment, ttl, a.ask.Namespace))
	p.unread(a.Unread)
	denies := slices.IndexFunc(a.Policies, func(x policy.Explanation) bool { return x.Decides && x.Effect == v1alpha1.EffectDeny })
	allows := policy.Foremost(a.Policies)
	switch {
	case denies >= 0:
		p.policy(a.Policies[denies])
	case allows != nil:
		p.policy(*allows)
	default:
		p.changes(a.Policies)
	}
	for _, x := range a.openDenies() {
		p.policy(x)
	}
	return p.String()
}

// openDenies are the Denies of which it cannot be told yet whether they refuse what could be allowed.
func (a foreseen) openDenies() []policy.Explanation {
	if a.Could == nil || !*a.Could {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(a.Policies), func(x policy.Explanation) bool {
		return x.Effect != v1alpha1.EffectDeny || x.Matches != policy.HoldsOpen
	})
}

// ifOpen goes on after what could be allowed, where an expression is left open.
func (a foreseen) ifOpen() string {
	of := a.openDenies()
	if x := policy.Foremost(a.Policies); x != nil {
		of = append(of, *x)
	}
	open := func(c policy.Clause) bool { return strings.HasPrefix(c.Field, "when") && c.Holds == policy.HoldsOpen }
	if slices.ContainsFunc(of, func(x policy.Explanation) bool { return slices.ContainsFunc(x.Clauses, open) }) {
		return ", if what is left open below allows it"
	}
	return ""
}

func (a foreseen) headline() string {
	switch {
	case a.Refused != "":
		return "no: a policy would allow it, but the request would not be taken: " + a.Refused
	case a.blind:
		return "it cannot be told: what it depends on cannot be read"
	case a.Could == nil:
		return "it cannot be told: " + visible.Line(a.Policy.Message)
	case !*a.Could:
		return "no: " + visible.Line(a.Policy.Message)
	case a.Approvals > 0:
		return visible.Sprintf("yes, after %s, from %s", count(int(a.Approvals), "approval"), strings.Join(a.Approvers, ", ")) + a.ifOpen()
	}
	return "yes, without anybody's approval" + a.ifOpen()
}

// changes are what the policies for this capability and requester ask otherwise. They come nearest first.
func (p *page) changes(all []policy.Explanation) {
	const most = 3
	var near []policy.Explanation
	for _, x := range all {
		about := !slices.ContainsFunc(x.Clauses, func(c policy.Clause) bool {
			return c.Holds == policy.HoldsNo && (c.Field == "capabilities" || c.Field == "requesters")
		})
		if x.Effect == v1alpha1.EffectAllow && x.Matches == policy.HoldsNo && about {
			near = append(near, x)
		}
	}
	if len(near) == 0 {
		return
	}
	p.title("What to change, by the nearest policy first")
	for _, x := range near[:min(len(near), most)] {
		for _, c := range x.Clauses {
			if c.Holds == policy.HoldsNo {
				p.line(x.Policy, c.Field+": "+c.Text)
			}
		}
	}
}
