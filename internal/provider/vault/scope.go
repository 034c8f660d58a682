// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/provider"
)

// pathForm is the CRD's, looked at again where it counts.
var pathForm = regexp.MustCompile(`^[A-Za-z0-9_-]+(/([A-Za-z0-9_-]|\$\{request\.(repo|environment|namespace)\})([A-Za-z0-9._-]|\$\{request\.(repo|environment|namespace)\})*)+$`)

// question is what Vault is asked.
type question struct {
	path       string
	parameters map[string]any
	// shown are the parameters for people, in the capability's order.
	shown []string
}

// render fills the values in. None of them can leave its place: they hold no "..", no empty name and nothing that Vault's paths give a
// meaning to.
func render(c *v1alpha1.Capability, v provider.Values) (question, error) {
	if c.Spec.Vault == nil || c.Spec.Vault.Path == "" {
		return question{}, fmt.Errorf("capability %s has no path: nothing is issued unscoped", c.Name)
	}
	if err := v.Check(c); err != nil {
		return question{}, err
	}
	s, fill := c.Spec.Vault, v.Fill()
	if !pathForm.MatchString(s.Path) {
		return question{}, fmt.Errorf("capability %s: %q is not a path such as database/creds/previews", c.Name, s.Path)
	}
	if err := errors.Join(checkNames(s), checkHost(s.Postgres)); err != nil {
		return question{}, fmt.Errorf("capability %s: %w", c.Name, err)
	}
	q := question{path: fill.Replace(s.Path)}
	for _, p := range s.Parameters {
		if q.parameters == nil {
			q.parameters = map[string]any{}
		}
		value := fill.Replace(p.Value)
		q.parameters[p.Name] = value
		q.shown = append(q.shown, p.Name+"="+value)
	}
	return q, nil
}

func (q question) verb() string {
	if q.parameters == nil {
		return "read"
	}
	return "write"
}

// scope is what people see. Its document is the same, to be compared.
func (q question) scope(role string) provider.Scope {
	line := q.verb() + " " + q.path
	if len(q.shown) > 0 {
		line += " with " + strings.Join(q.shown, ", ")
	}
	document, _ := json.Marshal(map[string]any{q.verb(): q.path, "with": q.parameters}) // strings can always be encoded
	return provider.Scope{Lines: []string{line}, Actions: []string{q.verb() + " " + q.path}, Principal: role, Document: string(document)}
}
