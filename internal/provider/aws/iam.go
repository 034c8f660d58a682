// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package aws

import (
	"errors"
	"net/http"
	"regexp"
	"strings"

	"github.com/valetkey/valetkey/internal/provider/outbound"
)

// iamFields are the elements of IAM's answers to what it is asked. Source:
// https://docs.aws.amazon.com/IAM/latest/APIReference/API_PutRolePolicy.html, as of the other three actions.
var iamFields = []string{
	"PutRolePolicyResponse", "PutRolePolicyResponse/ResponseMetadata", "PutRolePolicyResponse/ResponseMetadata/RequestId",
	"DeleteRolePolicyResponse", "DeleteRolePolicyResponse/ResponseMetadata", "DeleteRolePolicyResponse/ResponseMetadata/RequestId",
	"GetRolePolicyResponse", "GetRolePolicyResponse/ResponseMetadata", "GetRolePolicyResponse/ResponseMetadata/RequestId",
	"GetRolePolicyResponse/GetRolePolicyResult", "GetRolePolicyResponse/GetRolePolicyResult/RoleName",
	"GetRolePolicyResponse/GetRolePolicyResult/PolicyName", "GetRolePolicyResponse/GetRolePolicyResult/PolicyDocument",
	"ListRolePoliciesResponse", "ListRolePoliciesResponse/ResponseMetadata", "ListRolePoliciesResponse/ResponseMetadata/RequestId",
	"ListRolePoliciesResponse/ListRolePoliciesResult", "ListRolePoliciesResponse/ListRolePoliciesResult/PolicyNames",
	"ListRolePoliciesResponse/ListRolePoliciesResult/PolicyNames/member", "ListRolePoliciesResponse/ListRolePoliciesResult/IsTruncated",
	"ListRolePoliciesResponse/ListRolePoliciesResult/Marker",
}

// iamName is the form of the names of roles and policies. No session token is so short.
var iamName = regexp.MustCompile(`^[\w+=,.@-]{1,128}$`)

// isIAMs reports whether every line of a text is one that IAM's answers have.
func isIAMs(text string) bool {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); !iamName.MatchString(line) && !outbound.Plain(line) {
			return false
		}
	}
	return true
}

// errMore stands for a success that holds more than IAM says where it is asked for a role's inline policies.
var errMore = errors.New("IAM answered with something else than was asked for, or with more; " +
	"see what stands between the operator and IAM")

// iamReader takes from IAM what it is known to answer, before the SDK drops the rest.
type iamReader struct{ client *http.Client }

// Do implements [iam.HTTPClient].
func (r iamReader) Do(request *http.Request) (*http.Response, error) {
	response, body, err := ask(r.client, request)
	if outbound.XML.HoldsMore(body, isIAMs, iamFields...) {
		return nil, errMore
	}
	return response, err
}
