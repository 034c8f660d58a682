// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/names"
	"github.com/valetkey/valetkey/internal/visible"
)

// revocation is what the flags and arguments say is to be revoked.
type revocation struct {
	name                    string
	all, everywhere         bool
	capability, actor, repo string
	reason                  string
	unasked                 bool
}

func (s *shell) revoke() *cobra.Command {
	v := &revocation{}
	cmd := &cobra.Command{Use: "revoke NAME | --all [--capability C] [--actor A] [--repo R]", Short: "End grants at once, after asking",
		Long: "End one grant, or all living ones of the namespace (or of all, with -A) that fit every flag that is given.\n" +
			"What is to be revoked is listed and counted first. The exit code is 1 if there was nothing to revoke, or one was not.",
		ValidArgsFunction: s.completeGrant(),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := v.take(args); err != nil {
				return err
			}
			c, err := s.connect()
			if err != nil {
				return err
			}
			grants, err := s.toRevoke(cmd.Context(), c, v)
			if err != nil || len(grants) == 0 {
				return err
			}
			if err := s.grantTable(&listing{everywhere: v.everywhere}, grants); err != nil {
				return err
			}
			if v.actor != "" {
				_, _ = fmt.Fprintln(s.ErrOut, "note: an actor is the agent's own word; one that calls itself otherwise is not listed")
			}
			if !v.unasked {
				question := fmt.Sprintf("Revoke %s at once, for %q?", count(len(grants), "grant"), v.reason)
				if err := s.confirm(cmd.Context(), question); err != nil {
					return err
				}
			}
			return s.revokeEach(cmd.Context(), c, grants, v.reason)
		}}
	flags := cmd.Flags()
	flags.BoolVar(&v.all, "all", false, "every living grant that the other flags leave")
	flags.BoolVarP(&v.everywhere, "all-namespaces", "A", false, "of all namespaces")
	flags.StringVar(&v.capability, "capability", "", "only those of this capability")
	flags.StringVar(&v.actor, "actor", "", "only those whose agent calls itself so; nobody has checked that")
	flags.StringVar(&v.repo, "repo", "", "only those for this repository, in any spelling: with or without owner")
	flags.StringVar(&v.reason, "reason", "no reason given", "your reason, which is stored with the grant")
	flags.BoolVar(&v.unasked, "yes", false, "do not ask; what is revoked is printed all the same")
	_ = cmd.RegisterFlagCompletionFunc("capability", s.completeCapability()) // the flag is there
	return cmd
}

// take takes the arguments, and refuses what could mean more than was meant.
func (v *revocation) take(args []string) error {
	selects := v.capability != "" || v.actor != "" || v.repo != ""
	switch {
	case strings.TrimSpace(v.reason) == "":
		return errors.New("--reason is empty, and an empty reason revokes nothing")
	case v.all && len(args) > 0:
		return errors.New("either NAME or --all, not both")
	case !v.all && (selects || v.everywhere):
		return errors.New("--capability, --actor, --repo and -A go with --all")
	case !v.all && len(args) != 1:
		return errors.New("say which: NAME, or --all and what they have in common; kubectl valetkey grants lists them")
	case !v.all:
		v.name = args[0]
	}
	return nil
}

// living grants are those that nothing ends yet.
func living(g *v1alpha1.CapabilityGrant) bool {
	return g.Status.EndedAt == nil && g.Status.Stop == nil && !g.Revoked()
}

func (v *revocation) fits(g *v1alpha1.CapabilityGrant) bool {
	wants := func(want, is string) bool { return want == "" || want == is }
	return wants(v.capability, g.Spec.Capability) && wants(v.actor, g.Spec.Actor) &&
		(v.repo == "" || names.Alike(v.repo, g.Spec.Repo))
}

// toRevoke are the living grants that are meant. Those that are being ended already are told; that there is none is an error.
func (s *shell) toRevoke(ctx context.Context, c *cluster, v *revocation) ([]v1alpha1.CapabilityGrant, error) {
	found := &v1alpha1.CapabilityGrantList{}
	if v.name != "" {
		g := v1alpha1.CapabilityGrant{}
		if err := c.find(ctx, "grant", v.name, &g, &v1alpha1.CapabilityGrantList{}); err != nil {
			return nil, err
		}
		found.Items = append(found.Items, g)
	} else if err := c.List(ctx, found, (&listing{everywhere: v.everywhere}).options(c)...); err != nil {
		return nil, fmt.Errorf("listing grants: %w", err)
	}
	var grants []v1alpha1.CapabilityGrant
	var ending int
	for i := range found.Items {
		switch g := &found.Items[i]; {
		case !v.fits(g):
		case living(g):
			grants = append(grants, *g)
		case g.Status.EndedAt == nil:
			ending++
			_, _ = visible.Fprintf(s.ErrOut, "grant %s in namespace %s is being ended already: %s\n", g.Name, g.Namespace,
				said(g.Status.Conditions, v1alpha1.ConditionEnded))
		case v.name != "":
			return nil, errors.New(s.ended(g))
		}
	}
	if len(grants)+ending == 0 {
		return nil, errors.New("there is nothing to revoke: no living grant fits; kubectl valetkey grants lists those that live")
	}
	return grants, nil
}

// ended says how a grant ended, and whether that helps.
func (s *shell) ended(g *v1alpha1.CapabilityGrant) string {
	words := fmt.Sprintf("there is nothing to revoke: grant %s in namespace %s has ended, %s, %s",
		g.Name, g.Namespace, g.Status.Outcome, s.at(g.Status.EndedAt.Time))
	if g.Status.Revocation != nil {
		words += "; revocation " + s.revocation(g.Status.Revocation)
	}
	return words
}

// revokeEach goes on after a refusal, and says at the end what was not revoked.
func (s *shell) revokeEach(ctx context.Context, c *cluster, grants []v1alpha1.CapabilityGrant, reason string) error {
	var failed []string
	for i := range grants {
		g := &grants[i]
		place := g.Namespace + "/" + g.Name
		err := c.revokeOne(ctx, g, reason)
		if err != nil {
			failed = append(failed, place)
			_, _ = fmt.Fprintf(s.ErrOut, "%s: not revoked: %s\n", place, s.lead(err))
			continue
		}
		by := g.Annotations[v1alpha1.AnnotationRevokedBy]
		if _, err := visible.Fprintf(s.Out, "%s: revoked by %s; the operator ends it now\n", place, by); err != nil {
			return err
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("%d of %s not revoked: %s", len(failed), count(len(grants), "grant"), strings.Join(failed, ", "))
	}
	_, err := fmt.Fprintln(s.Out, "next: kubectl valetkey grants --all says how each ended")
	return err
}

// revokeOne revokes this grant, and none that got its name since.
func (c *cluster) revokeOne(ctx context.Context, g *v1alpha1.CapabilityGrant, reason string) error {
	err := c.annotate(ctx, g, map[string]any{"uid": g.GetUID(), "annotations": map[string]string{v1alpha1.AnnotationRevoke: reason}})
	if err != nil {
		return &about{err, g.Spec.Requester}
	}
	return nil
}
