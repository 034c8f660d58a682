// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"time"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// Room is what a policy's limit leaves for a request.
type Room struct {
	// Active is how many credentials that the policy allowed may work, without the request's own.
	Active int
	// Ahead is how many requests wait for room under the same policy and come first.
	Ahead int
	// Next is when Active falls by time alone; zero if only an event can make it fall, and for a request that is not
	// served first then.
	Next time.Time
}

// Within turns a decision that allows into one that waits, if the limit leaves no room.
func (d Decision) Within(room Room) Decision {
	if d.Verdict != Allow || d.Limit == nil || room.Active+room.Ahead < int(*d.Limit) {
		return d
	}
	d.Verdict, d.Reason, d.Recheck = Pending, v1alpha1.ReasonLimitReached, room.Next
	d.Message = Clip(
		fmt.Sprintf("policy %s lets %s work at the same time, and %s", d.Policy.Name, credentials(*d.Limit), room),
		maxMessageLength,
	)
	return d
}

// String goes on after a sentence that says the limit.
func (r Room) String() string {
	text := fmt.Sprintf("%d do", r.Active)
	if r.Active == 1 {
		text = "1 does"
	}
	if r.Ahead > 0 {
		text += fmt.Sprintf("; requests that were made earlier and come first: %d", r.Ahead)
	}
	if !r.Next.IsZero() {
		text += "; the next one stops working at " + r.Next.UTC().Format(time.RFC3339)
	}
	return text
}

func credentials(n int32) string {
	if n == 1 {
		return "1 credential"
	}
	return fmt.Sprintf("%d credentials", n)
}
