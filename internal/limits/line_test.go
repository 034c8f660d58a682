// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package limits

import (
	"fmt"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

func TestLine_IsInTheOrderOfCreation(t *testing.T) {
	b := newBook(t)
	b.expectReserved(requested("x", 0), 1, true)
	for name, second := range map[string]int{"c": 3, "a": 1, "b": 2, "b2": 2} {
		b.expectReserved(requested(name, second), 1, false)
	}
	b.woken = nil
	b.GiveBack("uid-x")
	b.expectReserved(requested("b", 2), 1, false)
	b.expectReserved(requested("later", 9), 1, false)
	b.expectReserved(requested("a", 1), 1, true)
	b.GiveBack("uid-a")
	b.expectReserved(requested("b", 2), 1, true)
	b.GiveBack("uid-b")
	b.expectReserved(requested("b2", 2), 1, true)
	if want := []string{"a", "b", "b2"}; !slices.Equal(b.woken, want) {
		t.Errorf("%v were woken; want %v", b.woken, want)
	}
}

func TestLine_AsManyAreWokenAsThereIsRoom(t *testing.T) {
	b := newBook(t)
	limit := func(n *int32) {
		b.woken = nil
		b.Policy(
			&v1alpha1.CapabilityPolicy{
				ObjectMeta: metav1.ObjectMeta{Name: "one"},
				Spec:       v1alpha1.CapabilityPolicySpec{Limits: &v1alpha1.Limits{Active: n}},
			},
		)
	}
	limit(ptr.To[int32](1))
	b.expectReserved(requested("x", 0), 1, true)
	for i := range 5 {
		b.expectReserved(requested(fmt.Sprintf("r%d", i), i+1), 1, false)
	}
	limit(ptr.To[int32](3))
	if want := []string{"r0", "r1"}; !slices.Equal(b.woken, want) {
		t.Errorf("%v were woken; want %v", b.woken, want)
	}
	b.woken = nil
	b.leaves(requested("r0", 1))
	b.RequestGone(requested("r1", 2))
	if want := []string{"r2", "r3"}; !slices.Equal(b.woken, want) {
		t.Errorf("two left, and %v were woken; want %v", b.woken, want)
	}
	limit(nil)
	if want := []string{"r4"}; !slices.Equal(b.woken, want) {
		t.Errorf("there is no limit any more, and %v were woken; want %v", b.woken, want)
	}
}

func TestLine_TheFirstKnowsWhenThereIsRoom(t *testing.T) {
	b := newBook(t)
	x, a, c := requested("x", 0), requested("a", 1), requested("c", 2)
	b.expectReserved(x, 1, true)
	b.expectReserved(a, 1, false)
	if room := b.expectReserved(c, 1, false); !room.Next.IsZero() || room.Ahead != 1 {
		t.Errorf("c, which is second in line, is told %+v", room)
	}
	b.woken = nil
	b.Grant(grantOf(x, "one", exposed(1, time.Minute), ended(v1alpha1.RevocationAtExpiry)))
	if !slices.Equal(b.woken, []string{"a"}) {
		t.Fatalf("the instant is known, and %v were woken", b.woken)
	}
	if room := b.expectReserved(a, 1, false); !room.Next.Equal(noon.Add(time.Minute)) {
		t.Errorf("it is told %+v", room)
	}
	if room := b.expectReserved(c, 1, false); !room.Next.IsZero() {
		t.Errorf("c, which is second in line, is told %+v", room)
	}
	b.woken = nil
	b.leaves(a)
	if !slices.Equal(b.woken, []string{"c"}) {
		t.Errorf("c is first now, and %v were woken", b.woken)
	}
	b.at(time.Minute)
	b.expectReserved(c, 1, true)
}

func TestLine_TheFirstIsWokenForAnEarlierInstantAndNotForALaterOne(t *testing.T) {
	b := newBook(t)
	x, y, a := requested("x", 0), requested("y", 1), requested("a", 2)
	b.expectReserved(x, 2, true)
	b.expectReserved(y, 2, true)
	ends := func(r *v1alpha1.CapabilityRequest, until time.Duration) *v1alpha1.CapabilityGrant {
		return grantOf(r, "one", exposed(1, until), ended(v1alpha1.RevocationAtExpiry))
	}
	b.Grant(ends(x, time.Hour))
	b.expectReserved(a, 2, false)
	b.Grant(ends(y, 2*time.Hour))
	if len(b.woken) > 0 {
		t.Errorf("a later instant woke %v", b.woken)
	}
	b.Grant(ends(y, time.Minute))
	if !slices.Equal(b.woken, []string{"a"}) {
		t.Errorf("an earlier instant woke %v", b.woken)
	}
}

// waiting is a request as it is stored while it waits for room.
func waiting(name string, second int, version string) *v1alpha1.CapabilityRequest {
	r := requested(name, second)
	r.ResourceVersion, r.Status.Policy = version, &v1alpha1.PolicyReference{Name: "one"}
	r.Status.Conditions = []metav1.Condition{
		{Type: v1alpha1.ConditionAllowed, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonLimitReached},
	}
	return r
}

func TestRequest_ThatIsStoredAsWaitingIsInLine(t *testing.T) {
	b := newBook(t)
	b.Request(waiting("old", 1, "5"))
	b.expectReserved(requested("new", 2), 1, false)
	for name, leaves := range map[string]func(*v1alpha1.CapabilityRequest){
		"granted": func(r *v1alpha1.CapabilityRequest) { r.Status.GrantName = r.Name },
		"ended":   func(r *v1alpha1.CapabilityRequest) { r.Status.EndedAt = ptr.To(metav1.NewTime(noon)) },
		"deleted": func(r *v1alpha1.CapabilityRequest) { r.DeletionTimestamp = ptr.To(metav1.NewTime(noon)) },
		"waiting for something else": func(r *v1alpha1.CapabilityRequest) {
			r.Status.Conditions[0].Reason = v1alpha1.ReasonAwaitingApproval
		},
	} {
		after := waiting("old", 1, "6")
		leaves(after)
		b.Request(after)
		if room := b.Room("one", requested("z", 9)); room.Ahead != 1 {
			t.Errorf("the request is %s, and %d are in line", name, room.Ahead)
		}
		b.Request(waiting("old", 1, "5"))
	}
}

// TestRequest_OldNewsChangesNothing has a watch that is behind the controller.
func TestRequest_OldNewsChangesNothing(t *testing.T) {
	b := newBook(t)
	b.expectReserved(requested("x", 0), 1, true)
	r := requested("a", 1)
	r.ResourceVersion = "7"
	b.expectReserved(r, 1, false)
	old := requested("a", 1)
	old.ResourceVersion = "6"
	b.Request(old)
	if room := b.Room("one", requested("z", 9)); room.Ahead != 1 {
		t.Errorf("what was before it asked took it out of the line")
	}
	b.Request(waiting("a", 1, "8"))
	b.woken = nil
	b.GiveBack("uid-x")
	if !slices.Equal(b.woken, []string{"a"}) {
		t.Errorf("%v were woken", b.woken)
	}
}
