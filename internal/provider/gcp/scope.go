// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package gcp

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"cloud.google.com/go/auth/credentials/downscope"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/provider"
)

const (
	// wholeAccount is the OAuth scope of all that the service account's roles allow.
	wholeAccount = "https://www.googleapis.com/auth/cloud-platform"
	scopePrefix  = "https://www.googleapis.com/auth/"
	// mostRules is how many rules a credential access boundary can have.
	mostRules = 10
)

// The forms are the CRD's, looked at again where it counts. A bucket's is that of a name with the request's values in it.
var (
	scopeForm  = regexp.MustCompile(`^https://www\.googleapis\.com/auth/[a-z0-9._-]+$`)
	bucketForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]$`)
	prefixForm = regexp.MustCompile(`^(([A-Za-z0-9._=@+-]|\$\{request\.(repo|environment|namespace)\})+/)+$`)
	roleForm   = regexp.MustCompile(`^(projects/[a-z0-9.:-]+/|organizations/[0-9]+/)?roles/[A-Za-z0-9_.]+$`)
)

// oneService matches the scopes that are known to reach one service, and one that neither gives rights nor runs
// anything as somebody else. Source: https://developers.google.com/identity/protocols/oauth2/scopes.
var oneService = regexp.MustCompile(`^https://www\.googleapis\.com/auth/(bigquery|bigtable|cloudkms|cloud-translation|` +
	`cloud-vision|datastore|devstorage|logging|monitoring|ndev\.clouddns|pubsub|spanner|sqlservice|trace|userinfo)(\.[a-z_.]+)?$`)

// narrowing is what a token is to be good for.
type narrowing struct {
	account string
	scopes  []string
	rules   []downscope.AccessBoundaryRule
	// shown are the rules for people.
	shown []string
}

// render fills the values in. None of them can leave its place in a condition: they hold no quote and no backslash.
func render(c *v1alpha1.Capability, v provider.Values) (narrowing, error) {
	s := c.Spec.GCP
	if s == nil || len(s.Scopes) == 0 {
		return narrowing{}, fmt.Errorf("capability %s has no scopes: nothing is issued unscoped", c.Name)
	}
	if err := v.Check(c); err != nil {
		return narrowing{}, err
	}
	n := narrowing{account: s.ServiceAccountEmail, scopes: slices.Sorted(slices.Values(s.Scopes))}
	for _, scope := range n.scopes {
		if !scopeForm.MatchString(scope) {
			return narrowing{}, fmt.Errorf("capability %s: %q is no OAuth scope of Google's", c.Name, scope)
		}
	}
	wide := slices.IndexFunc(n.scopes, func(scope string) bool { return !oneService.MatchString(scope) })
	if wide >= 0 && len(s.Boundary) == 0 && !slices.Contains(s.Accept, v1alpha1.AcceptWholeServiceAccount) {
		return narrowing{}, fmt.Errorf("the scope %s is not known to be of one service that keeps data, "+
			"and can be all that the service account's roles allow: name narrower scopes or a boundary, or accept WholeServiceAccount", strings.TrimPrefix(n.scopes[wide], scopePrefix))
	}
	if len(s.Boundary) > mostRules {
		return narrowing{}, fmt.Errorf("a boundary has %d rules at the most", mostRules)
	}
	for _, rule := range s.Boundary {
		if err := n.add(rule, v); err != nil {
			return narrowing{}, fmt.Errorf("capability %s: %w", c.Name, err)
		}
	}
	return n, nil
}

func (n *narrowing) add(rule v1alpha1.GCPBoundaryRule, v provider.Values) error {
	fill := v.Fill()
	bucket, prefix := fill.Replace(rule.Bucket), ""
	if strings.Contains(rule.Bucket, "${request.repo}") || !bucketForm.MatchString(bucket) {
		return fmt.Errorf("%q does not make the name of a bucket", rule.Bucket)
	}
	if len(rule.Roles) == 0 {
		return errors.New("a rule of the boundary names no role")
	}
	r := downscope.AccessBoundaryRule{AvailableResource: "//storage.googleapis.com/projects/_/buckets/" + bucket}
	for _, role := range rule.Roles {
		if !roleForm.MatchString(role) {
			return fmt.Errorf("%q is no role", role)
		}
		r.AvailablePermissions = append(r.AvailablePermissions, "inRole:"+role)
	}
	if rule.Prefix != "" {
		if !prefixForm.MatchString(rule.Prefix) {
			return fmt.Errorf("prefix %q does not end in a slash, or holds what no prefix may", rule.Prefix)
		}
		prefix = fill.Replace(rule.Prefix)
		r.Condition = &downscope.AvailabilityCondition{Expression: fmt.Sprintf(
			"resource.name.startsWith('projects/_/buckets/%s/objects/%s') || api.getAttribute('storage.googleapis.com/objectListPrefix', '').startsWith('%s')",
			bucket, prefix, prefix)}
	}
	n.rules = append(n.rules, r)
	n.shown = append(n.shown, fmt.Sprintf("%s on gs://%s/%s*", strings.Join(rule.Roles, ","), bucket, prefix))
	return nil
}

// scope is what people see. Its document is the same in Google's form.
func (n narrowing) scope() provider.Scope {
	s := provider.Scope{Principal: n.account}
	for _, scope := range n.scopes {
		s.Actions = append(s.Actions, strings.TrimPrefix(scope, scopePrefix))
	}
	oauth := "scope " + strings.Join(s.Actions, ",")
	if len(n.shown) == 0 {
		s.Lines = []string{oauth + ": whatever the roles of " + n.account + " allow within it"}
	}
	for _, line := range n.shown {
		s.Lines = append(s.Lines, line+", "+oauth)
	}
	s.Actions = append(s.Actions, n.shown...)
	document, _ := json.Marshal(map[string]any{"scopes": n.scopes, "accessBoundaryRules": n.rules}) // strings can always be encoded
	s.Document = string(document)
	return s
}
