// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package limits

import (
	"slices"
	"testing"
	"time"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// requestedIn is a request of a namespace that was created so many seconds after noon.
func requestedIn(namespace, name string, second int) *v1alpha1.CapabilityRequest {
	r := requested(name, second)
	r.Namespace = namespace
	return r
}

// uses has a request reserve a slot and its grant seen.
func (b *book) uses(r *v1alpha1.CapabilityRequest, limit int32) {
	b.Helper()
	b.expectReserved(r, limit, true)
	b.Grant(grantOf(r, "one", exposed(1, time.Hour)))
}

// ends has the grant of a request end, and its credential with it.
func (b *book) ends(r *v1alpha1.CapabilityRequest) {
	b.Grant(grantOf(r, "one", exposed(1, time.Hour), ended(v1alpha1.RevocationImmediate)))
}

// wait has requests wait in line.
func (b *book) wait(limit int32, requests ...*v1alpha1.CapabilityRequest) {
	b.Helper()
	for _, r := range requests {
		b.expectReserved(r, limit, false)
	}
}

// passes sets the clock to so long after noon, as the timer does whenever something is due.
func (b *book) passes(d time.Duration) {
	for end := noon.Add(d); ; b.Pass() {
		due := b.Due()
		if due.IsZero() || due.After(end) {
			b.clock.SetTime(end)
			return
		}
		b.clock.SetTime(due)
	}
}

// expectWoken compares who was woken since it was called last.
func (b *book) expectWoken(want ...string) {
	b.Helper()
	if !slices.Equal(b.woken, want) {
		b.Errorf("%v were woken; want %v", b.woken, want)
	}
	b.woken = nil
}

func TestOffer_ThatIsNotUsedInTimeIsMadeToAnotherNamespace(t *testing.T) {
	b := newBook(t)
	x, a, a2 := requestedIn("agents", "x", 0), requestedIn("agents", "a", 1), requestedIn("agents", "a2", 2)
	c, c2, d := requestedIn("team-c", "c", 3), requestedIn("team-c", "c2", 4), requestedIn("team-d", "d", 5)
	b.uses(x, 1)
	b.wait(1, a, a2, c, c2, d)
	b.ends(x)
	b.expectWoken("a")
	b.passes(offerLasts - 1)
	b.wait(1, c)
	b.expectWoken()
	b.passes(offerLasts)
	b.expectWoken("c")
	b.wait(1, a2, c2)
	if room := b.expectReserved(d, 1, false); room.Ahead != 4 {
		t.Errorf("%d requests were made earlier than d and come first", room.Ahead)
	}
	b.uses(c, 1)
	if room := b.expectReserved(a, 1, false); room.Active != 1 || room.Ahead != 0 {
		t.Errorf("it was late, and is told %+v", room)
	}
	b.ends(c)
	b.expectWoken("a")
	b.passes(2*offerLasts - 1)
	b.wait(1, c2, d)
	b.passes(2 * offerLasts)
	b.expectWoken("c2")
}

func TestOffer_WhoIsLateCanStillTakeTheSlot(t *testing.T) {
	b := newBook(t)
	x, a, c := requestedIn("agents", "x", 0), requestedIn("agents", "a", 1), requestedIn("team-c", "c", 2)
	b.uses(x, 1)
	b.wait(1, a, c)
	b.ends(x)
	b.passes(offerLasts)
	b.uses(a, 1)
	b.expectReserved(c, 1, false)
	b.expectActive(1)
	b.ends(a)
	b.expectWoken("a", "c", "c")
}

// TestOffer_NobodyWaitsForThoseThatAreLate has the requests of two namespaces not come, one after the other.
func TestOffer_NobodyWaitsForThoseThatAreLate(t *testing.T) {
	b := newBook(t)
	x, a, c := requestedIn("agents", "x", 0), requestedIn("agents", "a", 1), requestedIn("team-c", "c", 2)
	b.uses(x, 1)
	b.wait(1, a, c)
	b.ends(x)
	b.passes(2*offerLasts - 1)
	b.expectReserved(requestedIn("team-d", "d", 8), 1, false)
	b.passes(2 * offerLasts)
	b.expectWoken("a", "c", "d")
	b.expectReserved(requestedIn("team-e", "e", 9), 1, false)
	b.expectReserved(requestedIn("agents", "a2", 9), 1, false)
	b.passes(4 * offerLasts)
	b.expectWoken("e")
	b.uses(requestedIn("team-f", "f", 10), 1)
}

func TestOffer_OfTwoSlotsIsMadeOfBoth(t *testing.T) {
	b := newBook(t)
	x, y := requestedIn("agents", "x", 0), requestedIn("agents", "y", 0)
	a, a2, a3 := requestedIn("agents", "a", 1), requestedIn("agents", "a2", 2), requestedIn("agents", "a3", 3)
	c, d, d2 := requestedIn("team-c", "c", 4), requestedIn("team-d", "d", 5), requestedIn("team-d", "d2", 6)
	b.uses(x, 2)
	b.uses(y, 2)
	b.wait(2, a, a2, a3, c, d, d2)
	b.ends(x)
	b.ends(y)
	b.expectWoken("a", "a2")
	b.passes(offerLasts)
	b.expectWoken("c", "d")
	b.wait(2, a3, d2)
	b.uses(d, 2)
	b.uses(a, 2)
	b.wait(2, c, a2)
	b.expectActive(2)
}

// TestOffer_CannotBeProlonged has a namespace do what it can to keep a free slot from another one.
func TestOffer_CannotBeProlonged(t *testing.T) {
	var own []*v1alpha1.CapabilityRequest
	for i, name := range []string{"a1", "a2", "a3", "a4"} {
		own = append(own, requestedIn("agents", name, i+1))
	}
	for name, does := range map[string]func(*book, *v1alpha1.CapabilityRequest){
		"by requests that are withdrawn":                 func(b *book, r *v1alpha1.CapabilityRequest) { b.RequestGone(r) },
		"by requests that wait for something else":       func(b *book, r *v1alpha1.CapabilityRequest) { b.leaves(r) },
		"by requests whose grants cannot be created":     func(b *book, r *v1alpha1.CapabilityRequest) { b.expectReserved(r, 1, true); b.GiveBack(r.UID) },
		"by asking for what another of its requests has": func(b *book, _ *v1alpha1.CapabilityRequest) { b.expectReserved(own[3], 1, false) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBook(t)
			x, c := requestedIn("agents", "x", 0), requestedIn("team-c", "c", 9)
			b.uses(x, 1)
			b.wait(1, append(slices.Clone(own), c)...)
			b.ends(x)
			for i, r := range own[:3] {
				b.passes(time.Duration(i+1) * (offerLasts - 1) / 3)
				b.woken = nil
				does(b, r)
				if slices.Contains(b.woken, "c") {
					t.Error("c was woken before the offer was over")
				}
			}
			b.woken = nil
			b.passes(offerLasts)
			b.expectWoken("c")
			b.uses(c, 1)
		})
	}
}

// TestOffer_OrderStaysWhileEachComesInTime has slots become free faster than they are taken, each of them in time.
func TestOffer_OrderStaysWhileEachComesInTime(t *testing.T) {
	b := newBook(t)
	var hold, line []*v1alpha1.CapabilityRequest
	for i := range 8 {
		hold = append(hold, requestedIn("agents", string(rune('p'+i)), 0))
		line = append(line, requestedIn("agents", string(rune('a'+i)), i+1))
		b.uses(hold[i], 8)
	}
	c := requestedIn("team-c", "z", 60)
	b.wait(8, append(slices.Clone(line), c)...)
	b.ends(hold[0])
	const most = offerLasts * 3 / 4
	for i, r := range line[:7] {
		b.ends(hold[i+1])
		b.passes(time.Duration(i+1) * most)
		b.wait(8, c)
		b.uses(r, 8)
	}
	b.expectWoken("a", "b", "c", "d", "e", "f", "g", "h")
}

func TestOffer_OfWhatExpiredIsMadeByTime(t *testing.T) {
	b := newBook(t)
	x, a, c := requestedIn("agents", "x", 0), requestedIn("agents", "a", 1), requestedIn("team-c", "c", 2)
	b.uses(x, 1)
	b.wait(1, a, c)
	b.Grant(grantOf(x, "one", exposed(1, time.Minute), ended(v1alpha1.RevocationAtExpiry)))
	b.expectWoken("a") // to say when
	b.passes(time.Minute - 1)
	b.expectWoken()
	b.wait(1, a)
	b.passes(time.Minute)
	b.expectWoken("a")
	b.passes(time.Minute + offerLasts)
	b.expectWoken("c")
	b.uses(c, 1)
}

// TestOffer_OfAProcessThatDoesNotLeadHasNoTime has a process wait to lead, and be told in the meantime what is stored.
func TestOffer_OfAProcessThatDoesNotLeadHasNoTime(t *testing.T) {
	b := newBook(t)
	b.leads = false
	for _, r := range []*v1alpha1.CapabilityRequest{waiting("a", 1, "5"), waiting("c", 2, "6")} {
		if r.Name == "c" {
			r.Namespace = "team-c"
		}
		b.Request(r)
	}
	b.Policy(limitOf("one", 1))
	b.passes(time.Hour)
	b.Pass()
	b.expectWoken("a", "c") // until it was told of the limit, there was room for both
	b.Lead()
	b.passes(time.Hour + offerLasts - 1)
	b.expectReserved(requestedIn("team-c", "c", 2), 1, false)
	b.expectWoken()
	b.passes(time.Hour + offerLasts)
	b.expectWoken("c")
	b.uses(requestedIn("team-c", "c", 2), 1)
}
