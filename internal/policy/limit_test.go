// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"testing"
	"time"

	"k8s.io/utils/ptr"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

func TestWithin_WaitsWhereThereIsNoRoom(t *testing.T) {
	at := time.Date(2026, 3, 4, 12, 15, 0, 0, time.UTC)
	allow := func(limit *int32) Decision {
		return Decision{
			Verdict:    Allow,
			Reason:     v1alpha1.ReasonAllowed,
			Policy:     &v1alpha1.PolicyReference{Name: "one"},
			Limit:      limit,
			ApprovedBy: []string{"alice"},
		}
	}
	const lets = "policy one lets "
	for name, c := range map[string]struct {
		decision Decision
		room     Room
		// message is empty where there is room.
		message string
	}{
		"there is room":     {allow(ptr.To[int32](3)), Room{Active: 2}, ""},
		"there is no limit": {allow(nil), Room{Active: 100, Ahead: 100}, ""},
		"there is none": {allow(ptr.To[int32](1)), Room{Active: 1},
			lets + "1 credential work at the same time, and 1 does"},
		"there is less than none": {allow(ptr.To[int32](2)), Room{Active: 3},
			lets + "2 credentials work at the same time, and 3 do"},
		"others come first": {allow(ptr.To[int32](2)), Room{Active: 1, Ahead: 4},
			lets + "2 credentials work at the same time, and 1 does; requests that were made earlier and come first: 4"},
		"it is known when there will be": {allow(ptr.To[int32](2)), Room{Active: 2, Next: at},
			lets + "2 credentials work at the same time, and 2 do; the next one stops working at 2026-03-04T12:15:00Z"},
		"it is refused": {Decision{Verdict: Deny, Reason: v1alpha1.ReasonDeniedByPolicy, Limit: ptr.To[int32](1)},
			Room{Active: 1}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := c.decision.Within(c.room)
			if c.message == "" {
				if got.Verdict != c.decision.Verdict || got.Reason != c.decision.Reason || !got.Recheck.IsZero() {
					t.Errorf("it became %+v", got)
				}
				return
			}
			if got.Verdict != Pending || got.Reason != v1alpha1.ReasonLimitReached || got.Message != c.message ||
				!got.Recheck.Equal(c.room.Next) ||
				len(got.ApprovedBy) != 1 {
				t.Errorf("it became %+v", got)
			}
		})
	}
}
