// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package fake_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/internal/provider/conformance"
	"github.com/valetkey/valetkey/internal/provider/fake"
)

var start = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

func lease() provider.Lease {
	return provider.Lease{
		ID: "9f8c6b6a-9c2a-4e0b-8a4d-2d7db8f80731", Attempt: 1, TTL: 900 * time.Second,
		Values: provider.Values{Repo: "web-app", Environment: "preview", Namespace: "agents"},
		Capability: &v1alpha1.Capability{
			ObjectMeta: metav1.ObjectMeta{Name: "publish"},
			Spec: v1alpha1.CapabilitySpec{AWS: &v1alpha1.AWSCapability{
				RoleARN: "arn:aws:iam::123456789012:role/publisher",
				Scope:   []v1alpha1.AWSStatement{{Actions: []string{"s3:PutObject"}, Resources: []string{"arn:aws:s3:::previews/${request.repo}/*"}}},
			}},
		},
		Provider: &v1alpha1.CapabilityProvider{Spec: v1alpha1.CapabilityProviderSpec{AWS: &v1alpha1.AWSProvider{Region: "us-east-1"}}},
	}
}

func TestTheFakeDoesWhatEveryBackEndDoes(t *testing.T) {
	for _, mode := range []v1alpha1.RevocationMode{v1alpha1.RevocationImmediate, v1alpha1.RevocationAtExpiry} {
		conformance.Run(t, "fake "+string(mode)+", in memory", func(*testing.T) conformance.Harness {
			clock := clocktesting.NewFakePassiveClock(start)
			f := fake.New(clock, 900*time.Second, mode)
			return conformance.Harness{
				Provider: f, Lease: lease(), Clock: clock,
				Unscope: func(c *v1alpha1.Capability) { c.Spec.AWS.Scope = nil },
				Works: func(_ *testing.T, c *provider.Credential) bool {
					return f.Does(c.ID(), "s3:PutObject on arn:aws:s3:::previews/web-app/*")
				},
				Beyond: func(_ *testing.T, c *provider.Credential) bool {
					return f.Does(c.ID(), "s3:PutObject on arn:aws:s3:::previews/payments/*")
				},
				Throttle: func(*testing.T) {
					f.NextErr(provider.NotAsked(provider.Throttled, "throttled"))
				},
				Break:   func(_ *testing.T, broken bool) { f.Break(broken) },
				Restart: func(*testing.T) provider.Provider { return f },
				Secrets: func() []string { return []string{"secret of"} },
			}
		})
	}
}

func TestTheFakeIsProgrammable(t *testing.T) {
	clock := clocktesting.NewFakePassiveClock(start)
	f := fake.New(clock, 0, v1alpha1.RevocationImmediate)
	final := &provider.Error{Class: provider.Final, Message: "no"}
	f.NextErr(final, nil)

	if _, err := f.Issue(t.Context(), lease()); !errors.Is(err, final) {
		t.Errorf("first call: got %v, want the error that was set", err)
	}
	if _, err := f.Issue(t.Context(), lease()); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Revoke(t.Context(), lease().Issued("", start)); err != nil {
		t.Fatal(err)
	}
	session := lease().Session()
	want := []fake.Call{
		{Operation: fake.Issue, Session: session, TTL: 900 * time.Second},
		{Operation: fake.Issue, Session: session, TTL: 900 * time.Second},
		{Operation: fake.Revoke, Session: session},
	}
	if diff := cmp.Diff(want, f.Calls()); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	f.Reset()
	if len(f.Calls()) != 0 {
		t.Error("calls are left after a reset")
	}
}

func TestACredentialOfTheFakeStopsWorkingWhenItExpires(t *testing.T) {
	clock := clocktesting.NewFakePassiveClock(start)
	f := fake.New(clock, 0, v1alpha1.RevocationAtExpiry)
	c, err := f.Issue(t.Context(), lease())
	if err != nil {
		t.Fatal(err)
	}
	clock.SetTime(c.ExpiresAt().Add(-time.Second))
	if !f.Works(c.ID()) {
		t.Error("does not work a second before it expires")
	}
	clock.SetTime(c.ExpiresAt())
	if f.Works(c.ID()) {
		t.Error("works when it has expired")
	}
}
