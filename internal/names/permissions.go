// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package names

import (
	"fmt"
	"maps"
	"slices"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// ofRepository are the permissions that GitHub narrows to the repositories that a token is for. Whatever is not among
// them reaches the whole organization or its members, somebody's account, or what nobody here knows. Source:
// "Repository permissions" at https://docs.github.com/en/rest/authentication/permissions-required-for-github-apps, by
// the names of its tokens, which are those at
// https://docs.github.com/en/rest/apps/apps#create-an-installation-access-token-for-an-app; and of GitHub Enterprise
// Server.
//
// Packages are left out: they belong to the organization, and only some of them to a repository.
var ofRepository = []string{
	"actions", "actions_variables", permissionAdministration, "attestations", "checks", "codespaces", "codespaces_lifecycle_admin",
	"codespaces_metadata", "codespaces_secrets", "contents", "dependabot_secrets", "deployments", "discussions", "environments",
	"issues", "merge_queues", "metadata", "pages", "pull_requests", "repository_advisories", "repository_custom_properties",
	"repository_hooks", "repository_pre_receive_hooks", "repository_projects", "secret_scanning_alerts", "secrets", "security_events",
	"single_file", "statuses", "vulnerability_alerts", "workflows",
}

// permissionAdministration, where it is more than reading, is for creating repositories, too. Source: the description
// of its access at https://docs.github.com/en/rest/apps/apps#create-an-installation-access-token-for-an-app.
const permissionAdministration = "administration"

// CheckPermissions says which permission of GitHub reaches further than the repository of a request; nil for other
// back ends.
func CheckPermissions(g *v1alpha1.GitHubCapability) error {
	if g == nil {
		return nil
	}
	const instead = "a token of Valetkey's is for one repository: take it out of spec.github.permissions"
	for _, name := range slices.Sorted(maps.Keys(g.Permissions)) {
		switch access := g.Permissions[name]; {
		case !slices.Contains(ofRepository, name):
			return fmt.Errorf("the permission %s is of the whole organization or account, or not known to be of a repository "+
				"alone, and %s", name, instead)
		case name == permissionAdministration && access != "read":
			return fmt.Errorf("the permission %s: %s also creates repositories, and %s, or write read", name, access, instead)
		}
	}
	return nil
}
