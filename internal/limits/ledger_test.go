// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package limits

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/policy"
)

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// book is a ledger with a clock, and who was woken.
type book struct {
	*testing.T
	*Ledger
	clock *clocktesting.FakePassiveClock
	woken []string
}

func newBook(t *testing.T) *book {
	b := &book{T: t, clock: clocktesting.NewFakePassiveClock(noon)}
	b.Ledger = New(b.clock)
	b.OnWake(func(name types.NamespacedName) { b.woken = append(b.woken, name.Name) })
	b.Open()
	b.Lead()
	return b
}

// at sets the clock to so long after noon.
func (b *book) at(d time.Duration) { b.clock.SetTime(noon.Add(d)) }

// requested is a request that was created so many seconds after noon.
func requested(name string, second int) *v1alpha1.CapabilityRequest {
	return &v1alpha1.CapabilityRequest{
		ObjectMeta: metav1.ObjectMeta{Namespace: "agents", Name: name, UID: types.UID("uid-" + name), ResourceVersion: "1",
			CreationTimestamp: metav1.NewTime(noon.Add(time.Duration(second) * time.Second))},
	}
}

// grantOf is the request's grant under a policy.
func grantOf(
	r *v1alpha1.CapabilityRequest,
	policyName string,
	changes ...func(*v1alpha1.CapabilityGrantStatus),
) *v1alpha1.CapabilityGrant {
	g := &v1alpha1.CapabilityGrant{ObjectMeta: metav1.ObjectMeta{Namespace: r.Namespace, Name: r.Name}}
	g.Spec.RequestRef = v1alpha1.ObjectReference{Name: r.Name, UID: string(r.UID)}
	g.Spec.Approval.Policy = policyName
	for _, change := range changes {
		change(&g.Status)
	}
	return g
}

// exposed says that an attempt may work until so long after noon.
func exposed(attempt int32, d time.Duration) func(*v1alpha1.CapabilityGrantStatus) {
	return func(s *v1alpha1.CapabilityGrantStatus) {
		s.Attempt = attempt
		s.Exposed = append(
			s.Exposed,
			v1alpha1.AttemptExposure{Attempt: attempt, Until: metav1.NewTime(noon.Add(d)), Answered: true},
		)
	}
}

func ended(mode v1alpha1.RevocationMode) func(*v1alpha1.CapabilityGrantStatus) {
	return func(s *v1alpha1.CapabilityGrantStatus) {
		s.EndedAt, s.Revocation = ptr.To(metav1.NewTime(noon)), &v1alpha1.Revocation{Mode: mode}
	}
}

func stopped(s *v1alpha1.CapabilityGrantStatus) {
	s.Stop = &v1alpha1.GrantStop{At: metav1.NewTime(noon)}
}

// leaves tells of a request that waits for something else now.
func (b *book) leaves(r *v1alpha1.CapabilityRequest) {
	after := r.DeepCopy()
	after.ResourceVersion = "1000"
	b.Request(after)
}

func (b *book) expectReserved(r *v1alpha1.CapabilityRequest, limit int32, want bool) policy.Room {
	b.Helper()
	room, got, err := b.Reserve("one", limit, r)
	if err != nil || got != want {
		b.Errorf("%s is reserved a slot: %v, %v; want %v (%+v)", r.Name, got, err, want, room)
	}
	return room
}

func (b *book) expectActive(want int) {
	b.Helper()
	if got := b.Room("one", requested("nobody", 1000)).Active; got != want {
		b.Errorf("%d are active; want %d", got, want)
	}
}

func TestReserve_TakesASlotUntilItIsGivenBack(t *testing.T) {
	b := newBook(t)
	first, second := requested("first", 1), requested("second", 2)
	b.expectReserved(first, 1, true)
	b.expectReserved(first, 1, true)
	if room := b.expectReserved(second, 1, false); room.Active != 1 || room.Ahead != 0 || !room.Next.IsZero() {
		t.Errorf("there is %+v", room)
	}
	b.GiveBack("uid-nobody")
	b.expectReserved(second, 1, false)
	b.GiveBack(first.UID)
	if !slices.Equal(b.woken, []string{"second"}) {
		t.Errorf("%v were woken", b.woken)
	}
	b.expectReserved(second, 1, true)
}

func TestReserve_NothingBeforeOpen(t *testing.T) {
	l := New(clocktesting.NewFakePassiveClock(noon))
	if _, reserved, err := l.Reserve("one", 1, requested("a", 0)); reserved || !errors.Is(err, ErrNotCounted) {
		t.Errorf("%v %v", reserved, err)
	}
}

func TestGrant_TakesThePlaceOfTheReservation(t *testing.T) {
	b := newBook(t)
	a := requested("a", 0)
	b.expectReserved(a, 2, true)
	b.Doubt(a.UID)
	if !b.Doubtful(a.UID) || len(b.ReservedFor(types.NamespacedName{Namespace: "agents", Name: "a"})) != 1 {
		t.Error("the reservation is not in doubt")
	}
	b.Grant(grantOf(a, "one"))
	b.expectActive(1)
	if b.Doubtful(a.UID) || len(b.ReservedFor(types.NamespacedName{Namespace: "agents", Name: "a"})) != 0 {
		t.Error("the grant was seen, and it is still in doubt whether it is there")
	}
	b.GiveBack(a.UID)
	b.expectActive(1)
	b.expectReserved(a, 2, true)
	b.expectActive(1)
}

// TestGrant_Counts goes through what a grant can be, and how much of the limit it takes now, and a minute and two
// minutes later.
func TestGrant_Counts(t *testing.T) {
	a := requested("a", 0)
	for name, c := range map[string]struct {
		tell func(*book)
		want [3]int
		next time.Duration
	}{
		"nothing was begun": {func(b *book) { b.Grant(grantOf(a, "one")) }, [3]int{1, 1, 1}, 0},
		"it lives":          {func(b *book) { b.Grant(grantOf(a, "one", exposed(1, time.Minute))) }, [3]int{1, 1, 1}, 0},
		"it lives, and two attempts may work": {func(b *book) {
			b.Grant(grantOf(a, "one", exposed(1, time.Minute), exposed(2, 2*time.Minute)))
		}, [3]int{2, 1, 1}, time.Minute},
		"it ended, and works until it expires": {func(b *book) {
			b.Grant(grantOf(a, "one", exposed(1, 2*time.Minute), ended(v1alpha1.RevocationAtExpiry)))
		}, [3]int{1, 1, 0}, 2 * time.Minute},
		"it ended for good": {func(b *book) {
			b.Grant(grantOf(a, "one", exposed(1, time.Minute), ended(v1alpha1.RevocationImmediate)))
		}, [3]int{}, 0},
		"it was removed, and worked": {func(b *book) {
			b.GrantGone(grantOf(a, "one", exposed(1, time.Minute)))
		}, [3]int{1, 0, 0}, time.Minute},
		"its end was asked for, and is not confirmed": {func(b *book) {
			b.Grant(grantOf(a, "one", exposed(1, time.Minute), stopped))
		}, [3]int{1, 1, 1}, 0},
		"its end was asked for, and it was removed": {func(b *book) {
			b.GrantGone(grantOf(a, "one", exposed(1, time.Minute), stopped))
		}, [3]int{1, 0, 0}, time.Minute},
		"it was removed, and did not": {func(b *book) { b.GrantGone(grantOf(a, "one")) }, [3]int{}, 0},
		"it ended, was removed, and works": {func(b *book) {
			b.Grant(grantOf(a, "one", exposed(1, time.Minute), ended(v1alpha1.RevocationAtExpiry)))
			b.GrantGone(grantOf(a, "one", exposed(1, time.Minute), ended(v1alpha1.RevocationAtExpiry)))
		}, [3]int{1, 0, 0}, time.Minute},
		"it is another policy's": {func(b *book) { b.Grant(grantOf(a, "another")) }, [3]int{}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBook(t)
			c.tell(b)
			next := b.Room("one", requested("b", 1)).Next
			if want := noon.Add(c.next); c.next == 0 && !next.IsZero() || c.next != 0 && !next.Equal(want) {
				t.Errorf("the next change is at %s", next)
			}
			for i, want := range c.want {
				b.at(time.Duration(i) * time.Minute)
				b.expectActive(want)
			}
		})
	}
}

func TestReserve_UnderAnotherPolicyGivesTheSlotUp(t *testing.T) {
	for _, room := range []bool{true, false} {
		b := newBook(t)
		if !room {
			if _, reserved, err := b.Reserve("two", 1, requested("c", 0)); err != nil || !reserved {
				t.Fatal(reserved, err)
			}
		}
		a := requested("a", 0)
		b.expectReserved(a, 1, true)
		b.expectReserved(requested("b", 1), 1, false)
		if _, reserved, err := b.Reserve("two", 1, a); err != nil || reserved != room {
			t.Errorf("reserved: %v, %v; want %v", reserved, err, room)
		}
		b.expectActive(0)
		if !slices.Equal(b.woken, []string{"b"}) {
			t.Errorf("%v were woken", b.woken)
		}
	}
}

func TestGrantGone_IsForgottenWhenNobodyAsks(t *testing.T) {
	b := newBook(t)
	for i := range 10_000 {
		b.at(time.Duration(i) * time.Second)
		b.GrantGone(
			grantOf(
				requested(fmt.Sprint(i), i),
				"unlimited",
				exposed(1, time.Duration(i)*time.Second+time.Minute),
				ended(v1alpha1.RevocationAtExpiry),
			),
		)
	}
	if len(b.slots) > 300 {
		t.Errorf("%d slots are remembered, and 60 can count", len(b.slots))
	}
}

// TestGrant_ThatWaitsForItsEndCountsAsLongAsItsCredentialWorks: the end of its containers may never be seen.
func TestGrant_ThatWaitsForItsEndCountsAsLongAsItsCredentialWorks(t *testing.T) {
	revoked := func(s *v1alpha1.CapabilityGrantStatus) {
		s.Revocation = &v1alpha1.Revocation{Mode: v1alpha1.RevocationImmediate, ConfirmedAt: ptr.To(metav1.NewTime(noon))}
	}
	atExpiry := func(s *v1alpha1.CapabilityGrantStatus) {
		s.Revocation = &v1alpha1.Revocation{Mode: v1alpha1.RevocationAtExpiry}
	}
	for name, row := range map[string]struct {
		changes []func(*v1alpha1.CapabilityGrantStatus)
		want    int
	}{
		"it lives":                       {[]func(*v1alpha1.CapabilityGrantStatus){exposed(1, time.Hour)}, 1},
		"it lives, and is past its time": {[]func(*v1alpha1.CapabilityGrantStatus){exposed(1, -time.Hour)}, 1},
		"it was stopped":                 {[]func(*v1alpha1.CapabilityGrantStatus){exposed(1, time.Hour), stopped}, 1},
		"it was stopped, and its time is over, of which nobody has said that it ended": {
			[]func(*v1alpha1.CapabilityGrantStatus){exposed(1, -time.Hour), stopped}, 1},
		"it was stopped and revoked": {[]func(*v1alpha1.CapabilityGrantStatus){exposed(1, time.Hour), stopped, revoked}, 0},
		"it was stopped, ended by itself, and its containers were not seen to end": {
			[]func(*v1alpha1.CapabilityGrantStatus){exposed(1, -time.Hour), stopped, atExpiry}, 0},
		"it was stopped before it had one": {[]func(*v1alpha1.CapabilityGrantStatus){stopped}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBook(t)
			b.Grant(grantOf(requested("a", 0), "one", row.changes...))
			b.expectActive(row.want)
		})
	}
}
