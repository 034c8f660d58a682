// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policytest

import (
	"strings"
	"testing"
)

// revoked is the repository's capability with a revoker role and actions.
func revoked(revoker, actions string) files {
	text := strings.NewReplacer("[s3:PutObject]", "["+actions+"]",
		"role/publisher\n", "role/publisher\n    revokerRoleARN: "+revoker+"\n").Replace(capability)
	return repository().with("capability.yaml", text)
}

const revoker = "arn:aws:iam::123456789012:role/revoker"

func TestLint_WhatARevokerCannotEndIsFound(t *testing.T) {
	for _, tt := range []struct {
		name, revoker string
		want          []string
	}{
		{"a role of its own", revoker, nil},
		{"the capability's own role", "arn:aws:iam::123456789012:role/publisher", []string{"revoker nothing can be issued: revokerRoleARN is the capability's own role"}},
		{"a role of another account", "arn:aws:iam::210987654321:role/revoker", []string{"revoker nothing can be issued: revokerRoleARN is of account aws:210987654321"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			expectFound(t, revoked(tt.revoker, "s3:PutObject").load(t).Lint(), tt.want...)
		})
	}
	another := strings.NewReplacer("{name: publish}", "{name: tidy}", "role/publisher", "role/revoker").Replace(capability)
	expectFound(t, revoked(revoker, "s3:PutObject").with("tidy.yaml", another).load(t).Lint(), "revoker roleARN is the revoker role of capability publish")
}

func TestLint_WhatOutlivesARevocationIsFound(t *testing.T) {
	for actions, found := range map[string]bool{
		"s3:PutObject": false, "s3:GetObject*": false, "dynamodb:UpdateItem": false, "iam:ListRoles": false, "iam:GetRole*": false, "sts:DecodeAuthorizationMessage": false,
		"sts:AssumeRole": true, "sts:Assume*": true, "sts:assumerole": true, "sts:Get*": true, "sts:GetFederationToken": true, "sts:SomethingNew": true, "sts:GetCallerIdentity": true, "sts:GetAccessKeyInfo": true,
		"iam:PutRolePolicy": true, "iam:DeleteRolePolicy": true, "iam:CreateAccessKey": true, "iam:PassRole": true, "iam:P*": true, "iam:createuser": true,
		"ecr:GetAuthorizationToken": true, "ecr:GetDownloadUrlForLayer": true, "ecr:getdownloadurl*": true, "ecr:GetLifecyclePolicy": false, "ecr:Get*": true, "s3:Get*": true, "s3express:CreateSession": true, "ssm:StartSession": true,
		"lambda:CreateFunction": true, "lambda:InvokeFunction": true, "kms:CreateGrant": true, "kms:Sign": true, "s3:PutObjectAcl": true, "s3:PutObject*": true,
		"s3:PutBucketPolicy": true, "ec2:RunInstances": true, "secretsmanager:GetSecretValue": true, "ssm:GetParameter": true, "somethingnew:Get*": true,
		"events:PutRule": true, "dynamodb:P*": true, "dynamodb:Query": false, "sqs:SendMessage*": false, "ec2:Describe*": true, "ecr:Describe*": false, "cognito-idp:DescribeUserPoolClient": true, "appsync:ListApiKeys": true, "sts:ListX": false,
		"s3:ListBucket": false, "kms:Decrypt": false, "ecr:PutImage": false, "logs:PutLogEvents": false, "cloudfront:CreateInvalidation": false,
		"cognito-identity:GetCredentialsForIdentity": true, "rolesanywhere:C*": true,
	} {
		t.Run(actions, func(t *testing.T) {
			want := []string(nil)
			if found {
				want = []string{"outlives-revocation what a session gets, makes or starts by " + actions + " is not known to end"}
			}
			expectFound(t, revoked(revoker, "'"+actions+"'").load(t).Lint(), want...)
			expectFound(t, repository().with("capability.yaml", strings.Replace(capability, "[s3:PutObject]", "['"+actions+"']", 1)).load(t).Lint())
		})
	}
}
