// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policytest

import (
	"maps"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/names"
)

// writes says what of a capability's scope is more than reading; empty if nothing is. What a token of the cluster, a user of Vault's
// making or a token for an internal service may do is not in the manifest: nothing is said of those, but of rights of the cluster that
// are accepted.
func writes(c *v1alpha1.Capability) string {
	s := &c.Spec
	switch {
	case s.AWS != nil:
		return list(writingActions(s.AWS))
	case s.GitHub != nil:
		return list(writingPermissions(s.GitHub))
	case s.GCP != nil:
		return list(writingRoles(s.GCP))
	case s.Vault != nil && len(s.Vault.Parameters) > 0:
		return s.Vault.Path + " is written to"
	case s.Kubernetes != nil:
		return list(writingAcceptances(s.Kubernetes))
	}
	return ""
}

// readingAcceptances let a token only read, as it does without any: in more namespaces, and on after the grant's end.
// What writes by a connection, such as exec, needs Escalation accepted as well.
var readingAcceptances = []v1alpha1.KubernetesAcceptance{v1alpha1.AcceptClusterWide, v1alpha1.AcceptOpenConnections}

func writingAcceptances(k *v1alpha1.KubernetesCapability) []string {
	var all []string
	for _, a := range k.Accept {
		if !slices.Contains(readingAcceptances, a) {
			all = append(all, "it accepts "+string(a))
		}
	}
	return all
}

func writingActions(a *v1alpha1.AWSCapability) []string {
	var all []string
	for _, statement := range a.Scope {
		for _, action := range statement.Actions {
			_, name, _ := strings.Cut(action, ":")
			reads := slices.ContainsFunc([]string{"Get", "List", "Describe", "Head"}, func(verb string) bool { return strings.HasPrefix(name, verb) })
			if !reads && !slices.Contains(all, action) {
				all = append(all, action)
			}
		}
	}
	return all
}

func writingPermissions(g *v1alpha1.GitHubCapability) []string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(g.Permissions)) {
		if access := g.Permissions[name]; access != "read" {
			all = append(all, name+": "+string(access))
		}
	}
	return all
}

// writingRoles are what a token of Google Cloud can write by: its scopes, as far as the roles of the boundary keep it.
func writingRoles(g *v1alpha1.GCPCapability) []string {
	var scopes, roles []string
	for _, scope := range g.Scopes {
		if name := scope[strings.LastIndex(scope, "/")+1:]; !strings.HasSuffix(name, ".read_only") && !strings.HasSuffix(name, ".readonly") {
			scopes = append(scopes, name)
		}
	}
	for _, rule := range g.Boundary {
		for _, role := range rule.Roles {
			if !reads(role) && !slices.Contains(roles, role) {
				roles = append(roles, role)
			}
		}
	}
	if len(scopes) == 0 || len(g.Boundary) == 0 {
		return scopes
	}
	return roles
}

// reads reports whether a role of Google's own is called as those that only read. What is in the role of a project or of
// an organization, which somebody made, its name does not tell.
func reads(role string) bool {
	name := strings.ToLower(role)
	return strings.HasPrefix(name, "roles/") && (strings.HasSuffix(name, "viewer") || strings.HasSuffix(name, "reader"))
}

// wideResources are the resources of AWS in which a star stands for more than a part of what the request names.
func wideResources(c *v1alpha1.Capability) []string {
	if c.Spec.AWS == nil {
		return nil
	}
	var all []string
	for _, statement := range c.Spec.AWS.Scope {
		for _, resource := range statement.Resources {
			before, _, starred := strings.Cut(resource, names.Any)
			inside := strings.Contains(resource[len(before):], "/") || strings.Contains(resource[len(before):], ":")
			if starred && (inside || !strings.Contains(before, "${request.")) {
				all = append(all, resource)
			}
		}
	}
	return all
}
