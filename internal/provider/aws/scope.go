// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package aws

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/names"
	"github.com/valetkey/valetkey/internal/provider"
)

// maxPolicyLength is STS's limit of a session policy, in characters.
const maxPolicyLength = 2048

// valueForm is where a template takes a value of the request.
const valueForm = `\$\{request\.(repo|environment|namespace)\}`

// The forms that templates must have. They are the CRD's, looked at again where it counts. A template takes values in the last part of
// an ARN alone.
var (
	actionForm   = regexp.MustCompile(`^[a-z0-9-]+:[A-Za-z][A-Za-z0-9]*\*?$`)
	templateForm = regexp.MustCompile(`^arn:aws(-[a-z]+)*:[a-z0-9-]+:[a-z0-9-]*:[0-9]*:([A-Za-z0-9/_.:=@+-]|` + valueForm + `)([A-Za-z0-9/_.:=@+*-]|` + valueForm + `)*$`)
)

// policyDocument is a session policy. Its fields stand in the order that AWS's documents show.
type policyDocument struct {
	Version   string
	Statement []policyStatement
}

type policyStatement struct {
	Effect   string
	Action   []string
	Resource []string
}

// render makes the session policy of a request. Nothing that a request brings can hold a wildcard or leave its place.
func render(c *v1alpha1.Capability, v provider.Values) (provider.Scope, error) {
	if c.Spec.AWS == nil || len(c.Spec.AWS.Scope) == 0 {
		return provider.Scope{}, fmt.Errorf("capability %s has no scope: nothing is issued unscoped", c.Name)
	}
	if err := v.Check(c); err != nil {
		return provider.Scope{}, err
	}
	if err := names.CheckRevoker(c.Spec.AWS); err != nil {
		return provider.Scope{}, fmt.Errorf("capability %s: %w", c.Name, err)
	}
	fill := v.Fill()
	document := policyDocument{Version: "2012-10-17"}
	scope := provider.Scope{Principal: c.Spec.AWS.RoleARN}
	for _, statement := range c.Spec.AWS.Scope {
		filled, err := fillStatement(statement, c.Spec.AWS.RoleARN, fill)
		if err != nil {
			return provider.Scope{}, err
		}
		document.Statement = append(document.Statement, filled)
		scope.Lines = append(scope.Lines, strings.Join(filled.Action, ",")+" on "+strings.Join(filled.Resource, ","))
		scope.Actions = append(scope.Actions, filled.Action...)
	}
	slices.Sort(scope.Actions)
	scope.Actions = slices.Compact(scope.Actions)
	text, err := json.Marshal(document)
	if err != nil {
		return provider.Scope{}, err
	}
	if len(text) > maxPolicyLength {
		return provider.Scope{}, fmt.Errorf("the session policy has %d characters, STS accepts %d; "+
			"name fewer or shorter resources%s",
			len(text), maxPolicyLength, longest(c.Spec.AWS.Scope))
	}
	scope.Document = string(text)
	return scope, nil
}

// longest says where the longest template stands.
func longest(scope []v1alpha1.AWSStatement) string {
	where, most := "", 0
	for i, statement := range scope {
		for j, template := range statement.Resources {
			if len(template) > most {
				where, most = fmt.Sprintf(": the longest is spec.aws.scope[%d].resources[%d]", i, j), len(template)
			}
		}
	}
	return where
}

// partition is that of an ARN: aws, aws-cn, aws-us-gov and others, which have nothing in common.
func partition(arn string) string {
	rest, _ := strings.CutPrefix(arn, "arn:")
	is, _, _ := strings.Cut(rest, ":")
	return is
}

func fillStatement(s v1alpha1.AWSStatement, roleARN string, fill *strings.Replacer) (policyStatement, error) {
	filled := policyStatement{Effect: "Allow", Action: slices.Clone(s.Actions)}
	if len(s.Actions) == 0 || len(s.Resources) == 0 {
		return filled, fmt.Errorf("a statement of the scope names no action or no resource")
	}
	for _, action := range s.Actions {
		if !actionForm.MatchString(action) {
			return filled, fmt.Errorf("%q is no IAM action", action)
		}
	}
	for _, template := range s.Resources {
		if !templateForm.MatchString(template) {
			return filled, fmt.Errorf("resource template %q does not make an ARN", template)
		}
		if is := partition(template); is != partition(roleARN) {
			return filled, fmt.Errorf("resource template %q is of the partition %s, and the role of %s: a session reaches "+
				"nothing in another partition of AWS; name resources as arn:%s:…", template, is, partition(roleARN), partition(roleARN))
		}
		filled.Resource = append(filled.Resource, fill.Replace(template))
	}
	return filled, nil
}
