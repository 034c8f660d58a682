// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package request

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// TestEndMessage_SaysUntilWhenACopyWorks: or that nobody can say.
func TestEndMessage_SaysUntilWhenACopyWorks(t *testing.T) {
	until := metav1.NewTime(time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC))
	for want, revocation := range map[string]v1alpha1.Revocation{
		"Revoked": {Mode: v1alpha1.RevocationImmediate},
		"Revoked; a copy of the credential would work until 12:00:00Z":            {Mode: v1alpha1.RevocationAtExpiry, ExposedUntil: &until},
		"Revoked; nobody can say until when a copy of what was issued would work": {Mode: v1alpha1.RevocationAtExpiry},
		"Revoked; what was opened with it, such as a watch, may go on":            {Mode: v1alpha1.RevocationImmediate, LeavesOpen: true},
	} {
		g := &v1alpha1.CapabilityGrant{Status: v1alpha1.CapabilityGrantStatus{Outcome: v1alpha1.OutcomeRevoked, Revocation: &revocation}}
		if got := endMessage(g); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
