// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// What an agent says of itself, and nobody has checked, has columns that say so.
const (
	saysTask  = "SAYS TASK"
	saysActor = "SAYS ACTOR"
)

// listing are the flags of the commands that list.
type listing struct {
	output     output
	everywhere bool
	endedToo   bool
}

func (l *listing) add(cmd *cobra.Command) {
	l.output.add(cmd)
	cmd.Flags().BoolVarP(&l.everywhere, "all-namespaces", "A", false, "of all namespaces")
	cmd.Flags().BoolVar(&l.endedToo, "all", false, "those that have ended too")
}

func (l *listing) options(c *cluster) []client.ListOption {
	if l.everywhere {
		return nil
	}
	return []client.ListOption{client.InNamespace(c.namespace)}
}

func (s *shell) requests() *cobra.Command {
	l := &listing{}
	cmd := &cobra.Command{Use: "requests", Aliases: []string{"request", "reqs"}, Short: "List what is asked for and not ended", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := s.connect()
			if err != nil {
				return err
			}
			found := &v1alpha1.CapabilityRequestList{}
			if err := c.List(cmd.Context(), found, l.options(c)...); err != nil {
				return fmt.Errorf("listing requests: %w", err)
			}
			if !l.endedToo {
				found.Items = slices.DeleteFunc(found.Items, func(r v1alpha1.CapabilityRequest) bool { return r.Status.EndedAt != nil })
			}
			if done, err := s.structured(l.output, c, found); done {
				return err
			}
			return s.requestTable(l, found.Items)
		}}
	l.add(cmd)
	return cmd
}

func (s *shell) requestTable(l *listing, items []v1alpha1.CapabilityRequest) error {
	header := []string{"NAME", "CAPABILITY", "REPO", "ENVIRONMENT", "STATE", "APPROVALS", "LEFT", "REQUESTER", "AGE"}
	rows := make([][]string, 0, len(items))
	for i := range items {
		r := &items[i]
		approvals, left := s.awaited(r)
		row := []string{r.Name, r.Spec.Capability, r.Spec.Repo, r.Spec.Environment, requestState(r), approvals, left,
			r.Spec.Requester.Username, s.age(r.CreationTimestamp.Time)}
		if l.output == "wide" {
			row = append(row, r.Spec.TaskID, r.Spec.Actor, said(r.Status.Conditions, v1alpha1.ConditionAllowed))
		}
		rows = append(rows, l.placed(r.Namespace, row))
	}
	if l.output == "wide" {
		header = append(header, saysTask, saysActor, "MESSAGE")
	}
	return s.listed(l, header, rows, "requests")
}

// awaited says how many approvals of how many there are, and how much time is left for the others.
func (s *shell) awaited(r *v1alpha1.CapabilityRequest) (approvals, left string) {
	a := r.Status.Approvals
	if a == nil || r.Status.EndedAt != nil {
		return "-", "-"
	}
	return fmt.Sprintf("%d of %d", a.Given, a.Required), s.left(a.Until)
}

func (s *shell) grants() *cobra.Command {
	l := &listing{}
	cmd := &cobra.Command{Use: "grants", Aliases: []string{"grant"}, Short: "List what is granted and not ended, and the time that is left", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := s.connect()
			if err != nil {
				return err
			}
			found := &v1alpha1.CapabilityGrantList{}
			if err := c.List(cmd.Context(), found, l.options(c)...); err != nil {
				return fmt.Errorf("listing grants: %w", err)
			}
			if !l.endedToo {
				found.Items = slices.DeleteFunc(found.Items, func(g v1alpha1.CapabilityGrant) bool { return g.Status.EndedAt != nil })
			}
			if done, err := s.structured(l.output, c, found); done {
				return err
			}
			return s.grantTable(l, found.Items)
		}}
	l.add(cmd)
	return cmd
}

func (s *shell) grantTable(l *listing, items []v1alpha1.CapabilityGrant) error {
	header := []string{"NAME", "CAPABILITY", "REPO", "ENVIRONMENT", "STATE", "LEFT", "PROVIDER", "AGE"}
	rows := make([][]string, 0, len(items))
	for i := range items {
		g := &items[i]
		row := []string{g.Name, g.Spec.Capability, g.Spec.Repo, g.Spec.Environment, grantState(g), s.lives(g), g.Spec.Provider.Type, s.age(g.CreationTimestamp.Time)}
		if l.output == "wide" {
			row = append(row, g.Spec.TaskID, g.Spec.Actor, g.Spec.LeaseID, g.Status.SecretName)
		}
		rows = append(rows, l.placed(g.Namespace, row))
	}
	if l.output == "wide" {
		header = append(header, saysTask, saysActor, "LEASE", "SECRET")
	}
	return s.listed(l, header, rows, "grants")
}

func (l *listing) placed(namespace string, row []string) []string {
	if l.everywhere {
		return append([]string{namespace}, row...)
	}
	return row
}

// listed prints a table, or says that there is nothing and how to see more.
func (s *shell) listed(l *listing, header []string, rows [][]string, what string) error {
	if len(rows) > 0 {
		if l.everywhere {
			header = append([]string{"NAMESPACE"}, header...)
		}
		return s.table(header, rows)
	}
	if l.endedToo {
		_, err := fmt.Fprintf(s.ErrOut, "no %s\n", what)
		return err
	}
	_, err := fmt.Fprintf(s.ErrOut, "no %s that have not ended; --all shows those that have\n", what)
	return err
}

func (s *shell) age(t time.Time) string { return duration.HumanDuration(s.clock.Since(t)) }

// lives is how long a grant has left; nothing once it is being ended.
func (s *shell) lives(g *v1alpha1.CapabilityGrant) string {
	if g.Status.Stop != nil {
		return s.left(nil)
	}
	return s.left(g.Status.ExpiresAt)
}

// left is the time until an instant.
func (s *shell) left(expires *metav1.Time) string {
	if expires == nil {
		return "-"
	}
	if left := expires.Sub(s.clock.Now()); left > 0 {
		return duration.HumanDuration(left)
	}
	return "over"
}

// said is the message of a condition.
func said(conditions []metav1.Condition, kind string) string {
	if c := meta.FindStatusCondition(conditions, kind); c != nil {
		return c.Message
	}
	return ""
}

// reasonOf is the reason of a condition; empty when there is none.
func reasonOf(conditions []metav1.Condition, kind string) string {
	if c := meta.FindStatusCondition(conditions, kind); c != nil {
		return c.Reason
	}
	return ""
}

// requestState is a word for where a request stands.
func requestState(r *v1alpha1.CapabilityRequest) string {
	switch {
	case r.Status.EndedAt != nil && reasonOf(r.Status.Conditions, v1alpha1.ConditionEnded) == v1alpha1.ReasonRefused:
		return reasonOf(r.Status.Conditions, v1alpha1.ConditionAllowed)
	case r.Status.EndedAt != nil:
		return "Ended"
	case r.Status.GrantName != "":
		return "Granted"
	}
	if reason := reasonOf(r.Status.Conditions, v1alpha1.ConditionAllowed); reason != "" {
		return reason
	}
	return "Unseen"
}

// grantState is a word for where a grant stands.
func grantState(g *v1alpha1.CapabilityGrant) string {
	switch {
	case g.Status.EndedAt != nil:
		return string(g.Status.Outcome)
	case g.Status.Stop != nil:
		return "Ending"
	case meta.IsStatusConditionTrue(g.Status.Conditions, v1alpha1.ConditionDelivered):
		return "Delivered"
	case meta.IsStatusConditionTrue(g.Status.Conditions, v1alpha1.ConditionIssued):
		return "Issued"
	}
	if reason := reasonOf(g.Status.Conditions, v1alpha1.ConditionIssued); reason != "" {
		return reason
	}
	return "Granted"
}
