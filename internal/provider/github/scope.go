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
	"github.com/valetkey/valetkey/internal/names"
	"github.com/valetkey/valetkey/internal/provider"
)

// wanted is what a token is to be good for.
type wanted struct {
	owner, repository string
	permissions       map[string]string
}

// permissions refuses none, for which GitHub would give all that the installation has, and those that go-github does not know, which
// would not be asked for. Each is one of a repository: the label of a scope says of all of them on which one.
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
	if err := names.CheckPermissions(c.Spec.GitHub); err != nil {
		return nil, fmt.Errorf("capability %s: %w", c.Name, err)
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
	known := map[string]string{}
	if json.Unmarshal(text, &known) != nil {
		return nil, errors.New("the permissions cannot be read")
	}
	return known, nil
}

// render relies on the values' own check: the repo is one that the capability lists, in lower case and without its
// owner.
func render(c *v1alpha1.Capability, v provider.Values) (wanted, error) {
	asked, err := permissions(c)
	if err != nil {
		return wanted{}, err
	}
	if err := v.Check(c); err != nil {
		return wanted{}, err
	}
	return wanted{owner: c.Spec.GitHub.Owner, repository: v.Repo, permissions: asked}, nil
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
