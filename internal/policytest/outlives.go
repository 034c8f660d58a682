// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policytest

import (
	"slices"
	"strings"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/names"
)

// ending are the actions, by service, whose effect is known to be over with the session, or to be data that it wrote
// or read: a * at the end stands for any rest. What answers with a secret, a credential or a signed URL, writes a
// policy, a grant or an ACL, starts or makes something is not among them, because that works on by itself. Nor is
// what AWS lets a session do whatever it is denied, as sts:GetCallerIdentity.
var ending = map[string][]string{
	"cloudfront": {"createinvalidation", "getdistribution*", "getinvalidation*"},
	"cloudwatch": {"getmetric*", "putmetricdata"},
	"dynamodb": {"batchgetitem", "batchwriteitem", "conditioncheckitem", "deleteitem", "getitem", "partiql*", "putitem",
		"query", "scan", "updateitem"},
	"ecr": {"batchcheck*", "batchdeleteimage", "batchget*", "completelayerupload", "getlifecyclepolicy*",
		"getrepositorypolicy", "initiatelayerupload", "putimage", "uploadlayerpart"},
	"firehose": {"putrecord*"},
	"iam":      {"get*", "simulate*"},
	"kinesis":  {"getrecords", "getsharditerator", "putrecord*"},
	"kms":      {"decrypt", "encrypt", "generatedatakey*", "getpublickey", "reencrypt*", "verify*"},
	"logs":     {"createlogstream", "filterlogevents", "getlogevents", "putlogevents"},
	"s3": {"abortmultipartupload", "deleteobject*", "getbucketlocation", "getbuckettagging", "getbucketversioning",
		"getobject*", "putobject", "putobjecttagging", "putobjectversiontagging", "restoreobject"},
	"sns": {"publish"},
	"sqs": {"changemessagevisibility*", "deletemessage*", "getqueue*", "purgequeue", "receivemessage", "sendmessage*"},
	"sts": {"decodeauthorizationmessage"},
}

// asking are the actions of these services by which one only asks what there is. Those of others answer with secrets,
// too, as the keys of a VPN.
var asking = []string{"describe*", "list*"}

// outliving are the actions of a capability with a revoker role by which its session could get, make or start something
// that works on when the session is denied everything: all but those that are known to end.
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
	literal, patterned := strings.CutSuffix(name, names.Any)
	ends := func(known string) bool {
		beginning, many := strings.CutSuffix(known, names.Any)
		return many && strings.HasPrefix(literal, beginning) || !patterned && name == known
	}
	known, is := ending[service]
	return !is || !slices.ContainsFunc(asking, ends) && !slices.ContainsFunc(known, ends)
}

// revokers finds what is wrong with the role that ends a capability's sessions.
func (l *linter) revokers(c *v1alpha1.Capability) {
	if err := names.CheckRevoker(c.Spec.AWS); err != nil {
		l.add(SeverityError, CodeRevoker, kindCapability, c.Name, "nothing can be issued: %s", err)
	}
	if all := outliving(c.Spec.AWS); len(all) > 0 {
		l.add(SeverityWarning, CodeOutlivesRevocation, kindCapability, c.Name,
			"what a session gets, makes or starts by %s is not known to end when the revoker role ends the session: "+
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
