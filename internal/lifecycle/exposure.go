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
// rounded up: a credential never works longer than the status says. One that works longer than an instant can be
// written works until [v1alpha1.LatestInstant].
func Expose(s *v1alpha1.CapabilityGrantStatus, e v1alpha1.AttemptExposure) {
	seed(s)
	remove(s, e.Attempt)
	e.Until = metav1.NewTime(e.Until.Add(time.Second - 1).Truncate(time.Second))
	if latest := v1alpha1.LatestInstant(); e.Until.After(latest) {
		e.Until = metav1.NewTime(latest)
	}
	s.Exposed = append(s.Exposed, e)
	s.CredentialExpiresAt = lastExpiry(s)
}

// Learn records what the back end's answer to an attempt says of a credential that nobody is given: until when it
// works, the zero time if it does not say. What was recorded before stays where it is later: an answer that is not
// used is not believed to shorten it.
func Learn(s *v1alpha1.CapabilityGrantStatus, e v1alpha1.AttemptExposure) {
	seed(s)
	for _, before := range s.Exposed {
		if before.Attempt != e.Attempt {
			continue
		}
		e.Mismatched = e.Mismatched || before.Mismatched
		if e.Until.Before(&before.Until) {
			e.Until = before.Until
		}
	}
	if e.Until.IsZero() {
		return
	}
	Expose(s, e)
	if s.Revocation != nil {
		// It was answered after another process had ended the grant.
		said := EffectiveRevocation(s, *s.Revocation)
		s.Revocation = &said
	}
}

// EffectiveRevocation is what a grant says of a revocation that the back end confirmed in the given way. Where an attempt was
// answered with something else than was asked for, nothing that was confirmed is about that: it works until it expires.
func EffectiveRevocation(s *v1alpha1.CapabilityGrantStatus, confirmed v1alpha1.Revocation) v1alpha1.Revocation {
	otherwise := slices.ContainsFunc(s.Exposed, func(e v1alpha1.AttemptExposure) bool { return e.Mismatched })
	if otherwise || confirmed.Mode == v1alpha1.RevocationAtExpiry {
		confirmed.Mode, confirmed.ConfirmedAt = v1alpha1.RevocationAtExpiry, nil
		confirmed.ExposedUntil = ExposedUntil(s)
	}
	return confirmed
}

// ExposedUntil is until when a copy of what was issued works if nobody ends it; nil if nothing was issued, or if
// nobody can say.
func ExposedUntil(s *v1alpha1.CapabilityGrantStatus) *metav1.Time {
	if slices.ContainsFunc(s.Exposed, func(e v1alpha1.AttemptExposure) bool { return e.Unknown }) {
		return nil
	}
	return s.CredentialExpiresAt
}

// seed makes the list where the attempts before were begun by a release that did not keep it.
func seed(s *v1alpha1.CapabilityGrantStatus) {
	if len(s.Exposed) == 0 && s.CredentialExpiresAt != nil {
		s.Exposed = append(s.Exposed, v1alpha1.AttemptExposure{Attempt: max(1, s.Attempt), Until: *s.CredentialExpiresAt})
	}
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

// Nothing are the attempts for which nothing was issued, as [NeverIssued] recorded.
func Nothing(s *v1alpha1.CapabilityGrantStatus) []int32 {
	var none []int32
	for attempt := int32(1); attempt <= s.Attempt; attempt++ {
		if !slices.ContainsFunc(s.Exposed, func(e v1alpha1.AttemptExposure) bool { return e.Attempt == attempt }) {
			none = append(none, attempt)
		}
	}
	return none
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
