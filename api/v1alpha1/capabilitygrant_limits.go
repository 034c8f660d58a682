// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import "time"

// Counts is how many credentials of the grant limits.active of its policy counts at an instant. A grant that is
// not being ended counts once from its creation, and once for each attempt that may have been issued a credential which
// can still work. One that is counts the latter alone: nothing more is issued for it, and nobody may ever see the end
// of its containers.
func (g *CapabilityGrant) Counts(now time.Time) int {
	if g.Status.Stop == nil && g.Status.EndedAt == nil {
		return max(1, g.Working(now))
	}
	return g.Working(now)
}

// StillWorks reports whether the grant counts at an instant: it is not being ended, or a credential of it may work
// all the same.
func (g *CapabilityGrant) StillWorks(now time.Time) bool { return g.Counts(now) > 0 }

// Working is how many credentials of the grant may work at an instant, as far as is known and whether or not anybody
// holds them.
func (g *CapabilityGrant) Working(now time.Time) int {
	working := 0
	for _, stop := range g.Stops() {
		if now.Before(stop) {
			working++
		}
	}
	return working
}

// Unconfirmed is the instant at which a credential stops working whose end the back end was asked for and has not
// confirmed: none that will come by itself. That its time is over says only what the back end was to do.
func Unconfirmed() time.Time { return time.Unix(1<<37, 0) }

// Stops are the instants at which the credentials of the grant stop working by themselves, one for each. Once it is
// being ended it depends on the revocation: what the back end confirmed to have ended works only as long as a part of the
// back end that was not asked may still accept it, unless its attempt was never answered and may be answered still, or
// was answered with something else than was asked for.
func (g *CapabilityGrant) Stops() []time.Time {
	var stops []time.Time
	for _, e := range g.exposed() {
		if until, works := g.stop(e); works {
			stops = append(stops, until)
		}
	}
	return stops
}

// stop is when what an attempt was issued stops working; false when it does not work any more.
func (g *CapabilityGrant) stop(e AttemptExposure) (time.Time, bool) {
	revocation := g.Status.Revocation
	switch {
	case revocation == nil && g.Status.EndedAt == nil && g.Status.Stop != nil:
		return Unconfirmed(), true
	case revocation == nil && g.Status.EndedAt == nil, e.Mismatched:
		return e.Until.Time, true
	case revocation == nil || revocation.Mode == RevocationNone:
		return time.Time{}, false
	case revocation.Mode == RevocationAtExpiry || !e.Answered:
		return e.Until.Time, true
	case revocation.ExposedUntil == nil:
		return time.Time{}, false
	case revocation.ExposedUntil.Before(&e.Until):
		return revocation.ExposedUntil.Time, true
	}
	return e.Until.Time, true
}

// exposed are the attempts that may have been issued a credential. A grant that was stored before status.exposed
// existed has one.
func (g *CapabilityGrant) exposed() []AttemptExposure {
	if len(g.Status.Exposed) == 0 && g.Status.CredentialExpiresAt != nil {
		return []AttemptExposure{{Until: *g.Status.CredentialExpiresAt, Answered: true}}
	}
	return g.Status.Exposed
}
