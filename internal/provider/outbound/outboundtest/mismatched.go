// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package outboundtest

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/lifecycle"
	"github.com/valetkey/valetkey/internal/provider"
)

// apart is how far the instants of a test and of a back end may be apart on a busy machine.
const apart = 30 * time.Second

// ExpectMismatched fails unless an attempt of now failed because the back end answered with something else than was
// asked for, and the grant says so whatever the back end confirms afterwards: AtExpiry, not before an instant that an
// answer spoke of, or without one where an answer did not say. A limit counts it until then.
func ExpectMismatched(t *testing.T, err error, now, until time.Time, unknown bool) {
	t.Helper()
	if err == nil || !provider.IsMismatched(err) || provider.IsRefused(err) {
		t.Fatalf("mismatched %t, refused %t: %v", provider.IsMismatched(err), provider.IsRefused(err), err)
	}
	g, works := &v1alpha1.CapabilityGrant{}, provider.StillWorks(err)
	s := &g.Status
	lifecycle.Expose(s, v1alpha1.AttemptExposure{Attempt: 1, Until: metav1.NewTime(now.Add(time.Minute))})
	lifecycle.Learn(s, v1alpha1.AttemptExposure{Attempt: 1, Until: metav1.NewTime(works.Until), Answered: true,
		Unknown: works.Unknown, Mismatched: works.Mismatched})
	at := metav1.NewTime(now)
	for _, mode := range []v1alpha1.RevocationMode{v1alpha1.RevocationNone, v1alpha1.RevocationImmediate, v1alpha1.RevocationAtExpiry} {
		said := lifecycle.EffectiveRevocation(s, v1alpha1.Revocation{Mode: mode, ConfirmedAt: &at})
		if said.Mode != v1alpha1.RevocationAtExpiry || said.ConfirmedAt != nil || (said.ExposedUntil == nil) != unknown {
			t.Errorf("the back end confirms %s, and the grant says %+v, of %+v: %v", mode, said, works, err)
		}
		if said.ExposedUntil != nil && said.ExposedUntil.Time.Before(until.Add(-apart)) {
			t.Errorf("exposed until %s, want %s: %v", said.ExposedUntil, until, err)
		}
	}
	s.Revocation = &v1alpha1.Revocation{Mode: v1alpha1.RevocationImmediate, ConfirmedAt: &at}
	if least := until.Add(-apart); least.After(now) && g.Counts(least) != 1 {
		t.Errorf("at %s a limit counts %d", least, g.Counts(least))
	}
}
