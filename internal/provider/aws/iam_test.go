// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package aws_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/internal/provider/outbound/outboundtest"
)

// TestRevoke_WhatIAMAnswersOtherwiseCounts, to whichever of its questions, also where denials are only taken away.
func TestRevoke_WhatIAMAnswersOtherwiseCounts(t *testing.T) {
	const session = "<AccessKeyId>ASIAOTHER</AccessKeyId><SecretAccessKey>another</SecretAccessKey><SessionToken>another</SessionToken>"
	w := newWorld(t)
	assumed := w.sts.answer(map[string][]string{"DurationSeconds": {"3600"}, "RoleSessionName": {"somebody"}})
	for name, spoil := range map[string]func(action, answer string) string{
		"a session": func(string, string) string {
			return "<AssumeRoleResponse><AssumeRoleResult><Credentials>" + session + "<Expiration>" + assumed.Expires + "</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"
		},
		"a user's key": func(string, string) string {
			return "<CreateAccessKeyResponse><CreateAccessKeyResult><AccessKey>" + session + "</AccessKey></CreateAccessKeyResult></CreateAccessKeyResponse>"
		},
		"a key beside the answer": func(action, answer string) string {
			return strings.Replace(answer, "<ResponseMetadata>", "<Next>"+session+"</Next><ResponseMetadata>", 1)
		},
		"a token for an ID": func(action, answer string) string {
			return between("<RequestId>", "</RequestId>", strings.Repeat("aB3/", 9)+"x7Q2nT8cK4mW9zR5vY1pL6d")(answer)
		},
		"a page": func(string, string) string { return "<html></html>" },
	} {
		for _, action := range []string{"PutRolePolicy", "GetRolePolicy", "ListRolePolicies", "DeleteRolePolicy"} {
			for _, over := range []bool{false, true} {
				if over && (action == "PutRolePolicy" || action == "GetRolePolicy") {
					continue // it is not asked for
				}
				iam := inlinePolicies{room: 2, spoil: func(asked, answer string) string {
					if asked != action {
						return answer
					}
					return spoil(action, answer)
				}}
				w, l := withIAM(t, &iam)
				until := w.clock.Now().Add(time.Hour)
				if over {
					until = w.clock.Now().Add(-time.Hour)
				}
				issued := l.Issued(w.Handle(l), until)
				_, err := w.Revoke(t.Context(), issued)
				if !provider.IsRetryable(err) {
					t.Fatalf("%s to %s: got %v", name, action, err)
				}
				expectNoSecret(t, err)
				outboundtest.ExpectMismatched(t, err, w.clock.Now(), w.clock.Now(), true)
				iam.spoil = nil
				want := v1alpha1.RevocationImmediate
				if over {
					want = v1alpha1.RevocationAtExpiry
				}
				if revoked, err := w.Revoke(t.Context(), issued); err != nil || revoked.Mode != want {
					t.Errorf("%s to %s, asked again: %+v, %v", name, action, revoked, err)
				}
			}
		}
	}
}

// TestRevoke_WhatIAMRefusesWithMoreCounts: its own words name the roles that it is asked of, whatever they are called.
func TestRevoke_WhatIAMRefusesWithMoreCounts(t *testing.T) {
	const named = "DeployerOfTeam42WithALongName2026"
	for words, mismatched := range map[string]bool{
		"User: arn:aws:sts::123456789012:assumed-role/revoker/revoke-9f8c6b6a-9c2a-4e0b-8a4d-2d7db8f80731 is not authorized to perform: iam:PutRolePolicy on resource: role " + named: false,
		"no: " + strings.Repeat("aB3/", 9) + "x7Q2nT8cK4mW9zR5vY1pL6d": true,
		"no</Message><SessionToken>x</SessionToken><Message>":          true,
	} {
		iam := inlinePolicies{room: 10}
		w, l := withIAM(t, &iam)
		l.Capability.Spec.AWS.RoleARN = "arn:aws:iam::123456789012:role/agents/" + named
		elsewhere := w.sts.elsewhere
		w.sts.elsewhere = func(rw http.ResponseWriter, r *http.Request) bool {
			if r.Form.Get("Action") != "PutRolePolicy" {
				return elsewhere(rw, r)
			}
			rw.WriteHeader(http.StatusForbidden)
			_, _ = rw.Write([]byte(refusalWith(words)))
			return true
		}
		_, err := w.Revoke(t.Context(), l.Issued(w.Handle(l), w.clock.Now().Add(time.Hour)))
		if !provider.IsRetryable(err) || provider.IsMismatched(err) != mismatched {
			t.Errorf("%s: mismatched %t, %v", words, provider.IsMismatched(err), err)
		}
	}
}

// TestRevoke_AnotherSessionThanTheRevokersCountsAfterTheEnd, when only denials are taken away.
func TestRevoke_AnotherSessionThanTheRevokersCountsAfterTheEnd(t *testing.T) {
	iam := inlinePolicies{room: 10}
	w, l := withIAM(t, &iam)
	w.sts.elsewhere = nil // the stand-in gives a session of another role
	w.sts.answerNext(func(rw http.ResponseWriter, _ *http.Request) {
		w.sts.answer(map[string][]string{"DurationSeconds": {"3600"}, "RoleSessionName": {"somebody"}}).write(rw, nil)
	})
	_, err := w.Revoke(t.Context(), l.Issued(w.Handle(l), w.clock.Now().Add(-time.Hour)))
	outboundtest.ExpectMismatched(t, err, w.clock.Now(), w.clock.Now().Add(time.Hour), false)
}
