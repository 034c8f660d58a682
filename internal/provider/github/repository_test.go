// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package github_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	gogithub "github.com/google/go-github/v88/github"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/provider"
)

// beyond are the permissions that go-github knows and that are not narrowed to a repository. One that a later release
// of it knows is in neither list, and is refused until somebody has looked it up.
var beyond = strings.Fields(`blocking codespaces_user_secrets content_references copilot_messages emails followers gists
	git_signing_ssh_public_keys gpg_keys interaction_limits keys members organization_actions_variables organization_administration
	organization_announcement_banners organization_api_insights organization_codespaces organization_codespaces_secrets
	organization_codespaces_settings organization_copilot_metrics organization_copilot_seat_management organization_custom_properties
	organization_custom_roles organization_custom_org_roles organization_dependabot_secrets organization_events organization_hooks
	organization_knowledge_bases organization_packages organization_personal_access_tokens organization_personal_access_token_requests
	organization_plan organization_pre_receive_hooks organization_projects organization_secrets organization_self_hosted_runners
	organization_user_blocking packages plan profile starring team_discussions user_events watching`)

// TestPermissions_WhatReachesBeyondTheRepositoryIsRefused asks for each permission that go-github knows, beside an
// ordinary one.
func TestPermissions_WhatReachesBeyondTheRepositoryIsRefused(t *testing.T) {
	w, refused := newWorld(t), map[string]bool{}
	for _, name := range beyond {
		refused[name] = true
	}
	for field := range reflect.TypeFor[gogithub.InstallationPermissions]().Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		for _, access := range []v1alpha1.GitHubAccess{"read", "write", "admin"} {
			l := w.lease()
			l.Capability.Spec.GitHub.Permissions = map[string]v1alpha1.GitHubAccess{"contents": "read", name: access}
			want := refused[name] || name == "administration" && access != "read"
			_, err := w.Render(t.Context(), l.Capability, l.Values)
			if (err != nil) != want || err != nil && (!strings.Contains(err.Error(), "the permission "+name) ||
				!strings.Contains(err.Error(), "a token of Valetkey's is for one repository")) {
				t.Errorf("%s: %s: %v, want refused: %t", name, access, err, want)
			}
			notReady := (*provider.NotReadyError)(nil)
			if err := w.CheckCapability(t.Context(), l.Capability, l.Provider); want && (!errors.As(err, &notReady) || notReady.Reason != v1alpha1.ReasonScopeInvalid) {
				t.Errorf("%s: %s: the capability is Ready: %v", name, access, err)
			}
			if _, err := w.Issue(t.Context(), l); want && !provider.IsRefused(err) {
				t.Errorf("%s: %s: %v", name, access, err)
			}
		}
	}
}
