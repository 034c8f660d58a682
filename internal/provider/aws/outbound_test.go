// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package aws_test

import (
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/internal/provider/aws"
	"github.com/valetkey/valetkey/internal/provider/outbound"
	"github.com/valetkey/valetkey/internal/provider/outbound/outboundtest"
)

const revoker = "arn:aws:iam::123456789012:role/agents/revoker"

// iamStandIn answers what a revoker asks of IAM, and STS where it asks for the revoker role.
func iamStandIn(s *stsStandIn) func(http.ResponseWriter, *http.Request) bool {
	stored := map[string]string{}
	return func(w http.ResponseWriter, r *http.Request) bool {
		said := ""
		switch action := r.Form.Get("Action"); action {
		case "AssumeRoleWithWebIdentity":
			if r.Form.Get("RoleArn") != revoker {
				return false
			}
			a := s.answer(r.Form)
			a.ARN = "arn:aws:sts::123456789012:assumed-role/revoker/" + r.Form.Get("RoleSessionName")
			a.write(w, r)
			return true
		case "ListRolePolicies":
			said = "<ListRolePoliciesResult><PolicyNames></PolicyNames><IsTruncated>false</IsTruncated></ListRolePoliciesResult>"
		case "PutRolePolicy":
			stored[r.Form.Get("PolicyName")] = r.Form.Get("PolicyDocument")
		case "GetRolePolicy":
			name := r.Form.Get("PolicyName")
			said = "<GetRolePolicyResult><RoleName>" + r.Form.Get("RoleName") + "</RoleName><PolicyName>" + name + "</PolicyName><PolicyDocument>" +
				url.PathEscape(stored[name]) + "</PolicyDocument></GetRolePolicyResult>"
		}
		fmt.Fprintf(w, "<%[1]sResponse>%[2]s</%[1]sResponse>", r.Form.Get("Action"), said)
		return true
	}
}

// TestOutbound_STSAndIAMAreReachedAsTheOperatorIsTold also ends the session by IAM, from what the grant keeps alone.
func TestOutbound_STSAndIAMAreReachedAsTheOperatorIsTold(t *testing.T) {
	w := newWorld(t)
	w.sts.elsewhere = iamStandIn(w.sts)
	outboundtest.Run(t, outboundtest.BackEnd{Server: w.sts, Clock: w.clock, Ends: v1alpha1.RevocationImmediate,
		New: func(t *testing.T, url string, way outbound.Settings) provider.Provider {
			return aws.New(aws.Options{Endpoints: []string{url}, Audiences: []string{audience}, Outbound: way, Identities: identities(t), Clock: w.clock})
		},
		Lease: func(url, bundle string) provider.Lease {
			l := w.lease()
			l.Capability.Spec.AWS.RevokerRoleARN = revoker
			l.Provider.Spec.AWS = &v1alpha1.AWSProvider{Region: "us-east-1", STSEndpoint: url, IAMEndpoint: url, Audience: audience, CABundle: bundle}
			return l
		}})
}

// TestOutbound_ARevokerThatReachesNothingSaysWhy: a session is not said to be denied, and the message names the flag.
func TestOutbound_ARevokerThatReachesNothingSaysWhy(t *testing.T) {
	w, company := newWorld(t), outboundtest.NewNetwork(t)
	_, server := company.Serve(t, "sts.example.com", w.sts)
	l := w.lease()
	l.Capability.Spec.AWS.RevokerRoleARN = revoker
	l.Provider.Spec.AWS.STSEndpoint = server
	a := aws.New(aws.Options{Endpoints: []string{server}, Audiences: []string{audience}, Identities: identities(t), Clock: w.clock})
	_, err := a.Revoke(t.Context(), l.Issued(a.Handle(l), w.clock.Now().Add(time.Hour)))
	const want = "the revoker role: the certificate of STS is not one that the operator trusts (caBundle, --ca-file); nothing was sent"
	if !provider.IsRetryable(err) || err.Error() != want {
		t.Errorf("got %v", err)
	}
}

func TestIssue_OnlyWhatSTSRefusesIsSaidNotToBeIssued(t *testing.T) {
	w := newWorld(t)
	outboundtest.Refusals(t, outboundtest.BackEnd{Server: w.sts, Clock: w.clock,
		New: func(t *testing.T, url string, way outbound.Settings) provider.Provider {
			return aws.New(aws.Options{Endpoints: []string{url}, Audiences: []string{audience}, Outbound: way, Identities: identities(t), Clock: w.clock})
		},
		Lease: func(url, bundle string) provider.Lease {
			l := w.lease()
			l.Provider.Spec.AWS.STSEndpoint, l.Provider.Spec.AWS.CABundle = url, bundle
			return l
		}}, outboundtest.Issuing{Is: func(*http.Request) bool { return true },
		Refusal: "<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error><RequestId>1</RequestId></ErrorResponse>"})
}
