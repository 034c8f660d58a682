// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/visible"
)

func (s *shell) describe() *cobra.Command {
	var o output
	cmd := &cobra.Command{Use: "describe NAME", Short: "Say who asks for what, what will run with it, and what is missing",
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
			if done, err := s.structured(o, c, r); done {
				return err
			}
			_, err = fmt.Fprintf(s.Out, "%s\n%s\n", s.page(cmd.Context(), c, r), next(r, c.grantOf(cmd.Context(), r)))
			return err
		}}
	o.addOf(cmd, "words for a person if not set", "json", "yaml")
	return cmd
}

// request reads a request of the cluster's namespace.
func (c *cluster) request(ctx context.Context, name string) (*v1alpha1.CapabilityRequest, error) {
	r := &v1alpha1.CapabilityRequest{}
	return r, c.find(ctx, "request", name, r, &v1alpha1.CapabilityRequestList{})
}

// page is what a person decides on.
func (s *shell) page(ctx context.Context, c *cluster, r *v1alpha1.CapabilityRequest) string {
	p := &page{}
	_, _ = visible.Fprintf(p, "%s in namespace %s: %s\n", r.Name, r.Namespace, requestState(r)) // a builder takes everything
	s.asked(p, r)
	p.title("In the agent's own words, which nobody has checked")
	p.line("task", strconv.Quote(r.Spec.TaskID))
	p.line("actor", strconv.Quote(r.Spec.Actor))
	p.line("why", strconv.Quote(r.Spec.Justification))
	gets(p, r)
	if review := r.Status.Review; review != nil {
		c.program(ctx, p, r)
		c.inputs(ctx, p, r)
		uncovered(p, review)
	}
	decided(p, r)
	s.granted(ctx, p, c, r)
	return p.String()
}

// page is text in sections of labelled lines. What comes from the cluster stays on its line.
type page struct {
	strings.Builder
	// widest is how many columns the labels of the present section take, if those are more than usualLabel.
	widest int
}

// usualLabel is how many columns labels take.
const usualLabel = 11

func (p *page) title(words string) { fmt.Fprintf(p, "\n%s\n", words) }

func (p *page) line(label, words string) {
	fmt.Fprintf(p, "  %-*s %s\n", max(usualLabel, p.widest), visible.Line(label), visible.Line(words))
}

func (s *shell) asked(p *page, r *v1alpha1.CapabilityRequest) {
	p.title("Who asks, as the API server knows them")
	p.line("requester", r.Spec.Requester.Username)
	p.line("groups", strings.Join(r.Spec.Requester.Groups, ", "))
	p.line("asked", s.at(r.CreationTimestamp.Time))
}

func gets(p *page, r *v1alpha1.CapabilityRequest) {
	p.title("What it gets")
	review := r.Status.Review
	if review == nil {
		p.line("capability", r.Spec.Capability)
		ttl := "for as long as the capability's default"
		if r.Spec.TTLSeconds != nil {
			ttl = "for " + lasting(*r.Spec.TTLSeconds)
		}
		p.line("for", fmt.Sprintf("repo %s, environment %s, %s", r.Spec.Repo, r.Spec.Environment, ttl))
		p.line("scope", "not known: the operator has written no review yet")
		return
	}
	p.line("capability", review.Capability.Name+": "+review.Capability.Description)
	p.line("for", fmt.Sprintf("repo %s, environment %s, for %s", r.Spec.Repo, r.Spec.Environment, lasting(review.TTLSeconds)))
	p.line("acts as", fmt.Sprintf("%s, by provider %s", review.Capability.Principal, review.Capability.Provider))
	for _, scope := range review.Scope {
		p.line("scope", scope)
	}
}

// uncovered is loud: it is what an approval does not hold still.
func uncovered(p *page, review *v1alpha1.Review) {
	if len(review.NotCovered) == 0 {
		return
	}
	p.title(fmt.Sprintf("!!! NOT COVERED: %s can change after the approval, without anybody being asked again", count(len(review.NotCovered), "thing")))
	for i, line := range review.NotCovered {
		p.line(fmt.Sprintf("!!! %d", i+1), line)
	}
}

func decided(p *page, r *v1alpha1.CapabilityRequest) {
	p.title("What is decided")
	if policy := r.Status.Policy; policy != nil {
		p.line("policy", fmt.Sprintf("%s, generation %d", policy.Name, policy.Generation))
	}
	p.line("operator", operatorSays(r))
	for _, d := range r.Decisions {
		p.line("decision", decisionWords(r, d))
	}
	if len(r.Decisions) == 0 {
		p.line("decision", "nobody's yet")
	}
	if review := r.Status.Review; review != nil {
		p.line("digest", review.Digest)
	}
}

// operatorSays is the condition Allowed, without the kubectl command at its end: the plugin has its own.
func operatorSays(r *v1alpha1.CapabilityRequest) string {
	reason := reasonOf(r.Status.Conditions, v1alpha1.ConditionAllowed)
	if reason == "" {
		return "nothing yet; it has not looked at the request, is not running, or does not watch this namespace (--watch-namespace)"
	}
	words := said(r.Status.Conditions, v1alpha1.ConditionAllowed)
	// The last one: what the operator repeats of others can have the same words.
	if at := strings.LastIndex(words, "; look at status.review, then: kubectl "); at >= 0 && reason == v1alpha1.ReasonAwaitingApproval {
		words = words[:at]
	}
	return reason + ": " + words
}

func decisionWords(r *v1alpha1.CapabilityRequest, d v1alpha1.Decision) string {
	words := fmt.Sprintf("%s by %s", d.Decision, visible.Name(d.By))
	if d.Reason != "" {
		words += ": " + strconv.Quote(d.Reason)
	}
	if review := r.Status.Review; review == nil || review.Digest != d.Digest {
		words += " (of another review; it does not count)"
	}
	return words
}

// granted says what became of the grant.
func (s *shell) granted(ctx context.Context, p *page, c *cluster, r *v1alpha1.CapabilityRequest) {
	if r.Status.GrantName == "" {
		return
	}
	p.title("What was granted")
	g := &v1alpha1.CapabilityGrant{}
	if err := c.Get(ctx, client.ObjectKey{Namespace: r.Namespace, Name: r.Status.GrantName}, g); err != nil {
		p.line("grant", "not known: "+err.Error())
		return
	}
	status := g.Status
	p.line("grant", fmt.Sprintf("%s, lease %s: %s", g.Name, g.Spec.LeaseID, grantState(g)))
	if status.IssuedAt != nil {
		p.line("issued", s.at(status.IssuedAt.Time))
	}
	if status.ExpiresAt != nil && status.EndedAt == nil {
		p.line("time is up", s.at(status.ExpiresAt.Time))
	}
	if running := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionRunning); running != nil && status.EndedAt == nil {
		p.line("step", running.Message)
	}
	if id := status.Credential; id != nil {
		p.line("in its log", fmt.Sprintf("%s, credential %s", id.Principal, id.ID))
	}
	if stop := status.Stop; stop != nil {
		p.line("stopped", fmt.Sprintf("%s: %s", stop.Reason, stop.Message))
		if status.EndedAt == nil {
			p.line("waits for", said(status.Conditions, v1alpha1.ConditionEnded))
		}
	}
	if status.EndedAt != nil {
		p.line("ended", s.at(status.EndedAt.Time))
	}
	if revocation := status.Revocation; revocation != nil {
		p.line("revocation", s.revocation(revocation))
	}
}

func (s *shell) revocation(r *v1alpha1.Revocation) string {
	words := string(r.Mode)
	if r.ConfirmedAt != nil {
		words += ", confirmed by the back end " + s.at(r.ConfirmedAt.Time)
	}
	if r.ExposedUntil != nil {
		words += ", a copy of the credential works until " + s.at(r.ExposedUntil.Time)
	}
	if r.ExposedUntil == nil && r.Mode == v1alpha1.RevocationAtExpiry {
		words += ", and nobody can say until when a copy of what was issued works"
	}
	if r.LeavesOpen {
		words += ", what was opened with it may go on"
	}
	return words
}

// grantOf reads a request's grant; nil if there is none, or it cannot be read.
func (c *cluster) grantOf(ctx context.Context, r *v1alpha1.CapabilityRequest) *v1alpha1.CapabilityGrant {
	g := &v1alpha1.CapabilityGrant{}
	if r.Status.GrantName == "" || c.Get(ctx, client.ObjectKey{Namespace: r.Namespace, Name: r.Status.GrantName}, g) != nil {
		return nil
	}
	return g
}

// next is what a person can do now.
func next(r *v1alpha1.CapabilityRequest, g *v1alpha1.CapabilityGrant) string {
	command := func(verb string) string {
		return visible.Sprintf("kubectl valetkey %s %s -n %s", verb, r.Name, r.Namespace)
	}
	switch {
	case r.Status.EndedAt != nil && r.Status.GrantName == "":
		return "next: " + command("why") + " tells it policy by policy; a request never changes: create another"
	case r.Status.EndedAt != nil:
		return "next: nothing; it has ended"
	case g != nil && g.Status.Stop != nil:
		return "next: nothing, if it ends in a while; docs/runbooks/ValetkeyRevocationUnconfirmed.md, if it does not"
	case r.Status.GrantName != "":
		return "next: " + command("revoke") + " ends it at once"
	case reasonOf(r.Status.Conditions, v1alpha1.ConditionAllowed) == v1alpha1.ReasonAwaitingApproval:
		return "next: " + command("approve") + ", or deny"
	}
	return "next: " + command("why") + " tells what it waits for, policy by policy"
}
