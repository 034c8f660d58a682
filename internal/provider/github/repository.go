// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package github

import (
	"fmt"
	"slices"
)

// ofRepository are the permissions that GitHub narrows to the repositories that a token is for. Whatever is not among them reaches
// the whole organization or its members, somebody's account, or what nobody here knows. Source: "Repository permissions" at
// https://docs.github.com/en/rest/authentication/permissions-required-for-github-apps, by the names of its tokens, which are those at
// https://docs.github.com/en/rest/apps/apps#create-an-installation-access-token-for-an-app; and of GitHub Enterprise Server.
//
// Packages are left out: they belong to the organization, and only some of them to a repository.
var ofRepository = []string{
	"actions", "actions_variables", permissionAdministration, "attestations", "checks", "codespaces", "codespaces_lifecycle_admin",
	"codespaces_metadata", "codespaces_secrets", "contents", "dependabot_secrets", "deployments", "discussions", "environments",
	"issues", "merge_queues", "metadata", "pages", "pull_requests", "repository_advisories", "repository_custom_properties",
	"repository_hooks", "repository_pre_receive_hooks", "repository_projects", "secret_scanning_alerts", "secrets", "security_events",
	permissionFile, "statuses", "vulnerability_alerts", "workflows",
}

// permissionAdministration, where it is more than reading, is for creating repositories, too. Source: the description of its access at
// https://docs.github.com/en/rest/apps/apps#create-an-installation-access-token-for-an-app.
const permissionAdministration = "administration"

// checkReach says why a permission reaches further than one repository; nil if it does not.
func checkReach(capability, name, access string) error {
	const instead = "a token of Valetkey's is for one repository: take it out of spec.github.permissions"
	switch {
	case !slices.Contains(ofRepository, name):
		return fmt.Errorf("capability %s: the permission %s is of the whole organization or account, or not known to be "+
			"of a repository alone, and %s", capability, name, instead)
	case name == permissionAdministration && access != "read":
		return fmt.Errorf("capability %s: the permission %s: %s also creates repositories, and %s, or write read",
			capability, name, access, instead)
	}
	return nil
}
