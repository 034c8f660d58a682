// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// TestLearn_LengthensAndNeverShortens: of an answer that is not used, the status says what is worst.
func TestLearn_LengthensAndNeverShortens(t *testing.T) {
	now := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	at := func(d time.Duration) metav1.Time { return metav1.NewTime(now.Add(d)) }
	for name, test := range map[string]struct {
		said v1alpha1.AttemptExposure
		// until is what the attempt's entry says then, and exposed what a revocation at expiry does; nil if nobody can
		// say.
		until   metav1.Time
		exposed *metav1.Time
	}{
		"later":   {v1alpha1.AttemptExposure{Attempt: 1, Until: at(3 * time.Hour)}, at(3 * time.Hour), new(at(3 * time.Hour))},
		"earlier": {v1alpha1.AttemptExposure{Attempt: 1, Until: at(time.Minute)}, at(time.Hour), new(at(2 * time.Hour))},
		"unknown": {v1alpha1.AttemptExposure{Attempt: 1, Unknown: true}, at(time.Hour), nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := &v1alpha1.CapabilityGrantStatus{Attempt: 2, Revocation: &v1alpha1.Revocation{Mode: v1alpha1.RevocationAtExpiry}}
			Expose(s, v1alpha1.AttemptExposure{Attempt: 1, Until: at(time.Hour)})
			Expose(s, v1alpha1.AttemptExposure{Attempt: 2, Until: at(2 * time.Hour)})
			before := s.Revocation
			test.said.Answered = true
			Learn(s, test.said)
			Learn(s, test.said)
			if before.ExposedUntil != nil {
				t.Error("it changed what others hold")
			}
			for _, e := range s.Exposed {
				if e.Attempt == 1 && (!e.Until.Equal(&test.until) || !e.Answered || e.Unknown != test.said.Unknown) {
					t.Errorf("got %+v", e)
				}
			}
			if got := s.Revocation.ExposedUntil; len(s.Exposed) != 2 || !got.Equal(test.exposed) {
				t.Errorf("%d attempts, exposed until %v, want %v", len(s.Exposed), got, test.exposed)
			}
		})
	}
}

// TestEffectiveRevocation_NothingIsProvedOfAnAttemptThatWasAnsweredOtherwise: what the back end confirms is about what was asked for.
func TestEffectiveRevocation_NothingIsProvedOfAnAttemptThatWasAnsweredOtherwise(t *testing.T) {
	now := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	at := func(d time.Duration) *metav1.Time { return new(metav1.NewTime(now.Add(d))) }
	for name, test := range map[string]struct {
		learned v1alpha1.AttemptExposure
		again   bool
		// until is nil where nobody can say; otherwise reports whether it is AtExpiry whatever is confirmed.
		until     *metav1.Time
		otherwise bool
	}{
		"as it was asked":                        {learned: v1alpha1.AttemptExposure{Until: *at(3 * time.Hour)}, until: at(3 * time.Hour)},
		"otherwise":                              {learned: v1alpha1.AttemptExposure{Until: *at(3 * time.Hour), Mismatched: true}, until: at(3 * time.Hour), otherwise: true},
		"otherwise, and ends before":             {learned: v1alpha1.AttemptExposure{Until: *at(time.Minute), Mismatched: true}, until: at(2 * time.Hour), otherwise: true},
		"otherwise, and who knows until when":    {learned: v1alpha1.AttemptExposure{Unknown: true, Mismatched: true}, otherwise: true},
		"otherwise, and something is known late": {learned: v1alpha1.AttemptExposure{Until: *at(3 * time.Hour), Mismatched: true}, again: true, until: at(4 * time.Hour), otherwise: true},
	} {
		for _, confirmed := range []v1alpha1.Revocation{{Mode: v1alpha1.RevocationNone}, {Mode: v1alpha1.RevocationAtExpiry},
			{Mode: v1alpha1.RevocationImmediate, ConfirmedAt: at(0)},
			{Mode: v1alpha1.RevocationImmediate, ConfirmedAt: at(0), ExposedUntil: at(time.Minute), LeavesOpen: true}} {
			t.Run(name+", "+string(confirmed.Mode), func(t *testing.T) {
				g := &v1alpha1.CapabilityGrant{Status: v1alpha1.CapabilityGrantStatus{Attempt: 2}}
				s := &g.Status
				Expose(s, v1alpha1.AttemptExposure{Attempt: 1, Until: *at(time.Hour)})
				Expose(s, v1alpha1.AttemptExposure{Attempt: 2, Until: *at(2 * time.Hour), Answered: true})
				test.learned.Attempt, test.learned.Answered = 1, true
				Learn(s, test.learned)
				if test.again {
					Learn(s, v1alpha1.AttemptExposure{Attempt: 1, Answered: true, Until: *at(4 * time.Hour)})
				}
				got := EffectiveRevocation(s, confirmed)
				if !test.otherwise && confirmed.Mode != v1alpha1.RevocationAtExpiry {
					if got != confirmed {
						t.Errorf("got %+v", got)
					}
					return
				}
				if got.Mode != v1alpha1.RevocationAtExpiry || got.ConfirmedAt != nil || !got.ExposedUntil.Equal(test.until) || got.LeavesOpen != confirmed.LeavesOpen {
					t.Errorf("got %+v, until %s", got, got.ExposedUntil)
				}
				// The answer can come after another process has ended the grant.
				late := &v1alpha1.CapabilityGrantStatus{Attempt: 2, Revocation: &confirmed}
				Expose(late, v1alpha1.AttemptExposure{Attempt: 1, Until: *at(time.Hour)})
				Expose(late, v1alpha1.AttemptExposure{Attempt: 2, Until: *at(2 * time.Hour)})
				if Learn(late, test.learned); late.Revocation.Mode != v1alpha1.RevocationAtExpiry {
					t.Errorf("afterwards it is %+v", late.Revocation)
				}
			})
		}
	}
}

func TestNothing_IsWhatWasNeverIssued(t *testing.T) {
	s := &v1alpha1.CapabilityGrantStatus{Attempt: 3}
	for attempt := int32(1); attempt <= 3; attempt++ {
		Expose(s, v1alpha1.AttemptExposure{Attempt: attempt, Until: metav1.NewTime(time.Unix(1000, 0))})
	}
	if got := Nothing(s); len(got) > 0 {
		t.Errorf("before: %v", got)
	}
	NeverIssued(s, 1)
	NeverIssued(s, 3)
	if got := Nothing(s); !slices.Equal(got, []int32{1, 3}) {
		t.Errorf("got %v", got)
	}
}

// TestExpose_WhatNeverEndsCanBeStored: years have four digits, also when they are rounded up.
func TestExpose_WhatNeverEndsCanBeStored(t *testing.T) {
	for _, text := range []string{"9999-12-31T23:59:59.9999999Z", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59-12:00"} {
		until, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			t.Fatal(err)
		}
		s := &v1alpha1.CapabilityGrantStatus{}
		Expose(s, v1alpha1.AttemptExposure{Attempt: 1, Until: metav1.NewTime(until)})
		if got := s.Exposed[0].Until.UTC().Format(time.RFC3339); got != "9999-12-31T23:59:59Z" {
			t.Errorf("%s is stored as %s", text, got)
		}
	}
}
