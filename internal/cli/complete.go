// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/visible"
)

// completion is what cobra asks for the values of arguments.
type completion = func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective)

func anyRequest(*v1alpha1.CapabilityRequest) bool { return true }

// undecided requests are those about which a decision still changes something.
func undecided(r *v1alpha1.CapabilityRequest) bool {
	return r.Status.EndedAt == nil && r.Status.Review != nil
}

// completeRequest completes the one argument with the names of those requests that fit.
func (s *shell) completeRequest(fits func(*v1alpha1.CapabilityRequest) bool) completion {
	return s.complete(func(cmd *cobra.Command, c *cluster) ([]string, error) {
		found := &v1alpha1.CapabilityRequestList{}
		err := c.List(cmd.Context(), found, client.InNamespace(c.namespace))
		var names []string
		for i := range found.Items {
			if r := &found.Items[i]; fits(r) {
				words := visible.Sprintf("%s for %s, %s", r.Spec.Capability, r.Spec.Repo, requestState(r))
				names = append(names, cobra.CompletionWithDesc(r.Name, words))
			}
		}
		return names, err
	})
}

// completeGrant completes the one argument with the names of grants that can be revoked.
func (s *shell) completeGrant() completion {
	return s.complete(func(cmd *cobra.Command, c *cluster) ([]string, error) {
		found := &v1alpha1.CapabilityGrantList{}
		err := c.List(cmd.Context(), found, client.InNamespace(c.namespace))
		var names []string
		for i := range found.Items {
			if g := &found.Items[i]; living(g) {
				names = append(names, cobra.CompletionWithDesc(g.Name, visible.Line(g.Spec.Capability+" for "+g.Spec.Repo)))
			}
		}
		return names, err
	})
}

// completeCapability completes the one argument with the names of capabilities.
func (s *shell) completeCapability() completion {
	return s.complete(func(cmd *cobra.Command, c *cluster) ([]string, error) {
		found := &v1alpha1.CapabilityList{}
		err := c.List(cmd.Context(), found)
		var names []string
		for i := range found.Items {
			names = append(names, cobra.CompletionWithDesc(found.Items[i].Name, visible.Line(found.Items[i].Spec.Description)))
		}
		return names, err
	})
}

// complete completes the first argument alone. What cannot be found out completes nothing, for nobody would see why.
func (s *shell) complete(find func(*cobra.Command, *cluster) ([]string, error)) completion {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		c, err := s.connect()
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		names, err := find(cmd, c)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}
