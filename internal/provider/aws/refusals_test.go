// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package aws_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/provider"
)

// saying answers a status, a code and a sentence as STS does.
func saying(status int, code, sentence string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		fmt.Fprintf(w, `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>`+
			`<Code>%s</Code><Message>%s</Message></Error><RequestId>1</RequestId></ErrorResponse>`, code, sentence)
	}
}

// TestIssue_WhatSTSRefusesSaysWhatToDo, in no word of STS's.
func TestIssue_WhatSTSRefusesSaysWhatToDo(t *testing.T) {
	const (
		packed = "Packed size of session tags consumes 112% of allotted space."
		keys   = "Couldn't retrieve verification key from your identity provider,  please reference AssumeRoleWithWebIdentity " +
			"documentation for requirements"
		longest  = "the longest is spec.aws.scope[1].resources[1]"
		inactive = "STS is not activated in this region for account:123456789012. Your account administrator can activate STS in " +
			"this region using the IAM Console."
	)
	for _, tt := range []struct {
		status         int
		code, sentence string
		class          provider.Class
		words          string
	}{
		{400, "PackedPolicyTooLarge", packed, provider.Final, longest},
		{400, "PackedPolicyTooLargeException", packed, provider.Final, longest},
		{403, "RegionDisabledException", inactive, provider.Final, "name another region in the provider's spec.aws.region"},
		{403, "RegionDisabled", inactive, provider.Final, "account settings of IAM"},
		{400, "InvalidIdentityToken", keys, provider.Retryable, "could not fetch the keys"},
		{400, "InvalidIdentityTokenException", keys, provider.Retryable, "could not fetch the keys"},
		{400, "InvalidIdentityToken", "Incorrect token audience", provider.Final, "add it to the identity provider's audiences"},
		{400, "InvalidIdentityTokenException", "Incorrect token audience.", provider.Final, "spec.aws.audience"},
		{400, "InvalidIdentityToken", "Not Incorrect token audience", provider.Retryable, "could not verify"},
		{400, "InvalidIdentityToken", "No OpenIDConnect provider found in your account for https://oidc.example.com/id/D48675832CA65BD10A532F597OIDCID",
			provider.Retryable, "create it in IAM"},
		{400, "Throttling", "Rate exceeded", provider.Throttled, "STS throttles"},
		{400, "ExceptionException", "x", provider.Final, "a code that it does not document"},
	} {
		t.Run(tt.code+" "+tt.sentence, func(t *testing.T) {
			w := newWorld(t)
			w.sts.answerNext(saying(tt.status, tt.code, tt.sentence))
			l := w.lease()
			l.Capability.Spec.AWS.Scope = append(l.Capability.Spec.AWS.Scope, v1alpha1.AWSStatement{Actions: []string{"s3:GetObject"},
				Resources: []string{"arn:aws:s3:::a/${request.repo}/*", "arn:aws:s3:::previews-of-everybody/${request.repo}/assets/*"}})
			c, err := w.Issue(t.Context(), l)
			e := (*provider.Error)(nil)
			if c != nil || !errors.As(err, &e) || e.Class != tt.class || !provider.IsRefused(e) || !strings.Contains(e.Message, tt.words) {
				t.Fatalf("got credential %t, %v", c != nil, err)
			}
			for _, told := range []string{"112%", "documentation for requirements", "IAM Console", "oidc.example.com", "Rate"} {
				if strings.Contains(e.Message, told) {
					t.Errorf("STS's own words are repeated: %s", e.Message)
				}
			}
			expectNoSecret(t, err)
		})
	}
}

// TestCheckCapability_ARoleOfAnotherPartitionIsRefused: the STS of its provider's region would know no such role.
func TestCheckCapability_ARoleOfAnotherPartitionIsRefused(t *testing.T) {
	for _, tt := range []struct {
		partition, region, endpoint string
		refused                     bool
	}{
		{"aws", "us-east-1", "", false},
		{"aws", "me-central-1", "", false},
		{"aws-us-gov", "us-gov-west-1", "", false},
		{"aws-cn", "cn-north-1", "", false},
		{"aws-iso-b", "us-isob-east-1", "", false},
		{"aws-us-gov", "us-east-1", "", true},
		{"aws", "us-gov-west-1", "", true},
		{"aws-cn", "us-gov-west-1", "", true},
		{"aws", "cn-north-1", "", true},
		{"aws", "us-iso-east-1", "", true},
		{"aws-iso", "us-isob-east-1", "", true},
		{"aws-of-tomorrow", "tomorrow-1", "", false},
		{"aws-us-gov", "us-east-1", unreachable, false},
	} {
		w := newWorld(t)
		c, p := capability(), w.lease().Provider
		c.Spec.AWS.RoleARN = strings.Replace(role, "arn:aws:", "arn:"+tt.partition+":", 1)
		c.Spec.AWS.Scope[0].Resources = []string{"arn:" + tt.partition + ":s3:::previews/${request.repo}/*"}
		p.Spec.AWS.Region, p.Spec.AWS.STSEndpoint = tt.region, tt.endpoint
		err := w.CheckCapability(t.Context(), c, p)
		problem := (*provider.NotReadyError)(nil)
		if (err != nil) != tt.refused || tt.refused && (!errors.As(err, &problem) || !strings.Contains(err.Error(), "name a region of the role's partition")) {
			t.Errorf("a role of %s by the STS of %s: got %v, want refused: %t", tt.partition, tt.region, err, tt.refused)
		}
	}
}

// TestRender_ALongPolicySaysWhichTemplateToShorten also before STS is asked.
func TestRender_ALongPolicySaysWhichTemplateToShorten(t *testing.T) {
	c := capability()
	c.Spec.AWS.Scope[0].Resources = append(many(60, "arn:aws:s3:::previews/${request.repo}/*"), "arn:aws:s3:::previews/${request.repo}/longer/*")
	if _, err := newWorld(t).Render(t.Context(), c, values()); err == nil || !strings.Contains(err.Error(), "spec.aws.scope[0].resources[60]") {
		t.Errorf("got %v", err)
	}
}

// TestIssue_APageOfSomebodyElsesIsNotSTSsRefusal: what stands in STS's place may have answered after STS did.
func TestIssue_APageOfSomebodyElsesIsNotSTSsRefusal(t *testing.T) {
	const refusal = `<Error><Type>Sender</Type><Code>%s</Code><Message>no</Message></Error>`
	own := func(code string) string {
		return "<ErrorResponse>" + fmt.Sprintf(refusal, code) + "<RequestId>1</RequestId></ErrorResponse>"
	}
	for name, tt := range map[string]struct {
		status  int
		page    string
		refused bool
	}{
		"a code that is a sentence": {403, own("Forbidden by the mesh"), false},
		"no code":                   {403, own(""), false},
		"no request":                {403, "<ErrorResponse>" + fmt.Sprintf(refusal, "AccessDenied") + "</ErrorResponse>", false},
		"a code alone":              {403, "<ErrorResponse><Error><Code>Forbidden</Code></Error></ErrorResponse>", false},
		"a credential beside": {403, strings.Replace(own("AccessDenied"), "<RequestId>", "<AssumeRoleWithWebIdentityResult><Credentials><SessionToken>x"+
			"</SessionToken></Credentials></AssumeRoleWithWebIdentityResult><RequestId>", 1), false},
		"a credential in the details": {403, strings.Replace(own("AccessDenied"), "</Error>", "<Detail><SessionToken>x</SessionToken></Detail></Error>", 1), false},
		"STS's own":                   {403, own("AccessDenied"), true},
		"a gateway's page":            {403, "<html>" + fmt.Sprintf(refusal, "Blocked") + "</html>", false},
		"somebody's XML":              {403, "<Foo>" + fmt.Sprintf(refusal, "AccessDenied") + "</Foo>", false},
		"an error alone":              {403, fmt.Sprintf(refusal, "AccessDenied"), false},
		"one in another":              {403, "<a><ErrorResponse>" + fmt.Sprintf(refusal, "AccessDenied") + "</ErrorResponse></a>", false},
		"a balancer that is busy":     {503, "<html>" + fmt.Sprintf(refusal, "SlowDown") + "</html>", false},
		"STS that is busy":            {503, own("SlowDown"), true},
		"a page that is no XML":       {403, "<html><p>no", false},
		"a page that is very long":    {403, "<html>" + strings.Repeat(" ", 2<<20) + "</html>", false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.sts.answerNext(func(rw http.ResponseWriter, _ *http.Request) {
				rw.WriteHeader(tt.status)
				fmt.Fprint(rw, tt.page)
			})
			_, err := w.Issue(t.Context(), w.lease())
			if err == nil || provider.IsRefused(err) != tt.refused {
				t.Errorf("nothing was issued: %t, %v", provider.IsRefused(err), err)
			}
		})
	}
}
