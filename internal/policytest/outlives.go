// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policytest

import (
	"slices"
	"strings"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/names"
)

// askers are what nothing can be made by in the services of AWS that make sessions and say who may do what.
var askers = map[string]struct{ actions, verbs []string }{
	"sts": {actions: []string{"getcalleridentity", "getaccesskeyinfo", "decodeauthorizationmessage"}},
	"iam": {verbs: []string{"get", "list", "simulate"}},
}

// lasting are words in the names of actions of other services that answer with a credential of another principal, or
// open what goes on by itself.
var lasting = []string{"credential", "token", "session", "accesskey", "accessdetails", "dataaccess",
	"password", "presigned"}

// givers are those actions of other services that a * at the end of a shorter name could stand for.
var givers = []string{
	"cognito-identity:getcredentialsforidentity", "cognito-identity:getopenidtoken", "codeartifact:getauthorizationtoken",
	"ecr:getauthorizationtoken", "ecr-public:getauthorizationtoken", "lightsail:getinstanceaccessdetails",
	"lakeformation:gettemporarydatalocationcredentials", "redshift:getclustercredentials",
	"redshift-serverless:getcredentials", "rolesanywhere:createsession", "s3:getdataaccess", "s3express:createsession",
	"ssm:startsession", "sso:getrolecredentials", "sso-oauth:createtokenwithiam",
}

// outliving are the actions of a capability with a revoker role by which its session could get, or make, something
// that works on when the session is denied everything.
func outliving(a *v1alpha1.AWSCapability) []string {
	if a == nil || a.RevokerRoleARN == "" {
		return nil
	}
	var all []string
	for _, statement := range a.Scope {
		for _, action := range statement.Actions {
			if outlives(strings.ToLower(action)) && !slices.Contains(all, action) {
				all = append(all, action)
			}
		}
	}
	return all
}

func outlives(action string) bool {
	service, name, _ := strings.Cut(action, ":")
	if asks, known := askers[service]; known {
		begins := func(verb string) bool { return strings.HasPrefix(name, verb) }
		return !slices.Contains(asks.actions, name) && !slices.ContainsFunc(asks.verbs, begins)
	}
	beginning, starred := strings.CutSuffix(action, names.Any)
	return slices.ContainsFunc(lasting, func(word string) bool { return strings.Contains(name, word) }) ||
		starred && slices.ContainsFunc(givers, func(giver string) bool { return strings.HasPrefix(giver, beginning) })
}

// revokers finds what is wrong with the role that ends a capability's sessions.
func (l *linter) revokers(c *v1alpha1.Capability) {
	if err := names.CheckRevoker(c.Spec.AWS); err != nil {
		l.add(SeverityError, CodeRevoker, kindCapability, c.Name, "nothing can be issued: %s", err)
	}
	if all := outliving(c.Spec.AWS); len(all) > 0 {
		l.add(SeverityWarning, CodeOutlivesRevocation, kindCapability, c.Name,
			"what a session gets or makes by %s works on when the revoker role has ended the session: "+
				"take it out, or give it a capability without revokerRoleARN", list(all))
	}
	for _, other := range l.sorted() {
		if c.Spec.AWS == nil || other.Spec.AWS == nil || other.Name == c.Name {
			continue
		}
		if names.SameRole(c.Spec.AWS.RoleARN, other.Spec.AWS.RevokerRoleARN) {
			l.add(SeverityError, CodeRevoker, kindCapability, c.Name,
				"roleARN is the revoker role of capability %s, whose sessions end by it: name a role that revokes nothing", other.Name)
		}
	}
}
