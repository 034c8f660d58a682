// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// Expose records that an attempt may be, or was, issued a credential that works until the given instant at the
// latest. What was recorded before for the same attempt is replaced. An instant is stored in whole seconds, and is
// rounded up: a credential never works longer than the status says.
func Expose(s *v1alpha1.CapabilityGrantStatus, e v1alpha1.AttemptExposure) {
	if len(s.Exposed) == 0 && s.CredentialExpiresAt != nil {
		// The attempts before were begun by a release that did not keep the list.
		s.Exposed = append(s.Exposed, v1alpha1.AttemptExposure{Attempt: max(1, s.Attempt), Until: *s.CredentialExpiresAt})
	}
	remove(s, e.Attempt)
	e.Until = metav1.NewTime(e.Until.Add(time.Second - 1).Truncate(time.Second))
	s.Exposed = append(s.Exposed, e)
	s.CredentialExpiresAt = lastExpiry(s)
}

// Answered records that nothing more can come of an attempt: this process saw it through.
func Answered(s *v1alpha1.CapabilityGrantStatus, attempt int32) {
	s.Exposed = slices.Clone(s.Exposed)
	for i := range s.Exposed {
		s.Exposed[i].Answered = s.Exposed[i].Answered || s.Exposed[i].Attempt == attempt
	}
}

// NeverIssued records that nothing was issued for an attempt: the back end refused it in so many words, or was not
// asked.
func NeverIssued(s *v1alpha1.CapabilityGrantStatus, attempt int32) {
	remove(s, attempt)
	s.CredentialExpiresAt = lastExpiry(s)
}

func remove(s *v1alpha1.CapabilityGrantStatus, attempt int32) {
	s.Exposed = slices.DeleteFunc(
		slices.Clone(s.Exposed),
		func(e v1alpha1.AttemptExposure) bool { return e.Attempt == attempt },
	)
}

// lastExpiry is when the last of the exposed credentials stops working; nil when nothing may have been issued.
func lastExpiry(s *v1alpha1.CapabilityGrantStatus) *metav1.Time {
	var last *metav1.Time
	for i := range s.Exposed {
		if until := s.Exposed[i].Until; last == nil || until.After(last.Time) {
			last = &until
		}
	}
	return last
}
