// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package github

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/go-github/v88/github"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/provider"
)

// wanted is what a token is to be good for.
type wanted struct {
	owner, repository string
	permissions       map[string]string
}

// permissions refuses none, for which GitHub would give all that the installation has, and those that go-github does not know, which
// would not be asked for.
func permissions(c *v1alpha1.Capability) (map[string]string, error) {
	if c.Spec.GitHub == nil || len(c.Spec.GitHub.Permissions) == 0 {
		return nil, fmt.Errorf("capability %s has no permissions: nothing is issued unscoped", c.Name)
	}
	asked := map[string]string{}
	for name, access := range c.Spec.GitHub.Permissions {
		asked[name] = string(access)
	}
	known, err := given(typed(asked))
	if err != nil {
		return nil, err
	}
	for name := range asked {
		if known[name] != asked[name] {
			return nil, fmt.Errorf("capability %s: GitHub has no permission %q", c.Name, name)
		}
	}
	return asked, nil
}

func typed(asked map[string]string) *github.InstallationPermissions {
	var p github.InstallationPermissions
	text, _ := json.Marshal(asked) // strings can always be encoded
	_ = json.Unmarshal(text, &p)   // what it does not know is found missing
	return &p
}

func given(p *github.InstallationPermissions) (map[string]string, error) {
	text, err := json.Marshal(p)
	if err != nil {
		return nil, errors.New("the permissions cannot be read")
	}
	names := map[string]string{}
	if json.Unmarshal(text, &names) != nil {
		return nil, errors.New("the permissions cannot be read")
	}
	return names, nil
}

func render(c *v1alpha1.Capability, v provider.Values) (wanted, error) {
	asked, err := permissions(c)
	if err != nil {
		return wanted{}, err
	}
	if err := v.Check(); err != nil {
		return wanted{}, err
	}
	name := v.Repo
	if owner, rest, found := strings.Cut(v.Repo, "/"); found {
		if !strings.EqualFold(owner, c.Spec.GitHub.Owner) {
			return wanted{}, fmt.Errorf("repository %s is not of %s", v.Repo, c.Spec.GitHub.Owner)
		}
		name = rest
	}
	if strings.Contains(name, "/") || !slices.ContainsFunc(c.Spec.GitHub.Repositories, func(pattern string) bool { return matches(pattern, name) }) {
		return wanted{}, fmt.Errorf("repository %s is none that capability %s is for: %s", v.Repo, c.Name, strings.Join(c.Spec.GitHub.Repositories, ", "))
	}
	return wanted{owner: c.Spec.GitHub.Owner, repository: name, permissions: asked}, nil
}

// matches compares as GitHub does, which knows no upper and lower case in names.
func matches(pattern, name string) bool {
	if prefix, open := strings.CutSuffix(pattern, "*"); open {
		return len(name) >= len(prefix) && strings.EqualFold(name[:len(prefix)], prefix)
	}
	return strings.EqualFold(pattern, name)
}

func (w wanted) scope() provider.Scope {
	s := provider.Scope{Principal: w.owner + "/" + w.repository}
	for _, name := range slices.Sorted(maps.Keys(w.permissions)) {
		s.Actions = append(s.Actions, name+": "+w.permissions[name])
		s.Lines = append(s.Lines, fmt.Sprintf("%s: %s on %s/%s", name, w.permissions[name], w.owner, w.repository))
	}
	s.Document = strings.Join(s.Lines, "\n")
	return s
}
