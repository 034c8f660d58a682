// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"cmp"
	"fmt"
	"time"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// AskWithin is how long after an attempt was begun the back end may be asked. It is a part of the time for asking that the
// lifetimes of all back ends include: what is asked for later could work longer than the attempt was stored to count. Under
// a limit the attempt is withdrawn then; otherwise it is begun, and stored, anew.
const AskWithin = 30 * time.Second

// LimitFacts is what limits.active of the grant's policy is decided from before anything is minted.
//
// The request controller reserves a slot before it creates a grant, in the memory of one process. Two processes can
// each believe that they lead, so the count is asked once more here, in three steps. A grant begins an attempt only
// if there is room for it. Beginning stores the attempt as exposed: that is the claim on a slot. The back end is
// asked only if, in a state of the cluster that is at least as new as the claim, no more credentials may work than
// the limit allows, this one among them; otherwise the claim is withdrawn. Of any credentials that may work at the
// same time, the one whose claim was stored last has seen the claims of all others, and was counted with them: so
// there are never more than the limit.
type LimitFacts struct {
	// Active is the limit; nil when the policy has none.
	Active *int32
	// Peers are the grants of the policy, this one among them or not.
	Peers []*v1alpha1.CapabilityGrant
	// Current reports whether Peers shows everything that was stored before this process stored the attempt that it began.
	Current bool
}

// limited reports whether the policy has a limit now.
func (l LimitFacts) limited() bool { return l.Active != nil }

// AwaitsPeers reports whether the next step is to be taken only when Peers is current: this process has begun an
// attempt under a limit, has asked for nothing yet, and may not yet see the claims that were stored before its own.
func (f Facts) AwaitsPeers() bool {
	return f.Limit.limited() && !f.Limit.Current && f.ownsAttempt() && !f.Attempt.Minting && !f.Attempt.Minted
}

// working counts the credentials of all peers that may work, with this grant in its own latest state.
func (f Facts) working(now time.Time) int {
	sum := f.Grant.Working(now)
	for _, peer := range f.Limit.Peers {
		if peer.UID != f.Grant.UID {
			sum += peer.Working(now)
		}
	}
	return sum
}

// oneTooMany reports whether the attempt that this process began must be withdrawn: more credentials would work than
// the limit allows, or the attempt was begun too long ago.
func (f Facts) oneTooMany(now time.Time) bool {
	return f.Limit.limited() && (f.working(now) > int(*f.Limit.Active) || f.Attempt.TooLate(now))
}

// mayBegin reports whether the limit leaves room for one more attempt of this grant. Grants that have begun an
// attempt come first. Those that wait to begin one come in the order of their creation, then of their UID, so that of
// too many grants all processes choose the same.
func (f Facts) mayBegin(now time.Time) bool {
	if !f.Limit.limited() {
		return true
	}
	before := f.working(now)
	for _, peer := range f.Limit.Peers {
		if peer.UID != f.Grant.UID && waitsToBegin(peer, now) && precedes(peer, f.Grant) {
			before++
		}
	}
	return before < int(*f.Limit.Active)
}

func waitsToBegin(g *v1alpha1.CapabilityGrant, now time.Time) bool {
	s := &g.Status
	return s.EndedAt == nil && s.Stop == nil && g.DeletionTimestamp == nil && g.Working(now) == 0
}

func precedes(a, b *v1alpha1.CapabilityGrant) bool {
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.UID, b.UID)) < 0
}

// awaitRoom waits until fewer credentials of the policy work. Time makes room, and so does the end of a grant, which
// the cache shows without bringing this grant back.
func (f Facts) awaitRoom(now time.Time) Action {
	until := now.Add(Recheck)
	for _, peer := range append([]*v1alpha1.CapabilityGrant{f.Grant}, f.Limit.Peers...) {
		for _, stop := range peer.Stops() {
			if now.Before(stop) && stop.Before(until) {
				until = stop
			}
		}
	}
	return Action{Step: Wait, Reason: v1alpha1.ReasonLimitReached, Until: until, Message: fmt.Sprintf(
		"limits.active of policy %s is %d; the credential is issued when fewer work%s",
		f.Grant.Spec.Approval.Policy, *f.Limit.Active, f.ownExposure(now))}
}

// ownExposure goes on after a sentence, where earlier attempts of the grant itself take up room.
func (f Facts) ownExposure(now time.Time) string {
	working := f.Grant.Working(now)
	if working == 0 {
		return ""
	}
	return fmt.Sprintf("; %d earlier attempts may have been issued a credential that nobody holds, and count until %s",
		working, f.Grant.Status.CredentialExpiresAt.UTC().Format(time.RFC3339))
}

// held reports whether an ended and deleted grant has to stay: a limit counts its credential, and would forget it
// with the grant.
func (f Facts) held(now time.Time) bool {
	return f.Limit.limited() && f.Grant.StillWorks(now)
}

// hold waits until the last credential of an ended and deleted grant works no more.
func (f Facts) hold(now time.Time) Action {
	until := now
	for _, stop := range f.Grant.Stops() {
		if stop.After(until) {
			until = stop
		}
	}
	return Action{Step: Wait, Reason: v1alpha1.ReasonGrantEnded, Until: until, Message: fmt.Sprintf(
		"it is kept until %s: its credential may work until then, and limits.active of policy %s counts it",
		until.UTC().Format(time.RFC3339), f.Grant.Spec.Approval.Policy)}
}
