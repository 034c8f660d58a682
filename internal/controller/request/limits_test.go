// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package request_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/controller/controllertest"
)

// session is how long a credential works at the least, longer than any grant of these tests.
const session = 15 * time.Minute

// begin starts an operator whose back end cannot end a credential early, with a policy named "one" that lets so many
// work.
func begin(t *testing.T, mode v1alpha1.RevocationMode, limit int32) (*controllertest.Env, *controllertest.Operator) {
	t.Helper()
	e := controllertest.New(t, session, mode)
	e.Policy("one", limit)
	return e, e.Start()
}

// ask has requests made, a second apart, in the order of their names.
func ask(o *controllertest.Operator, names ...string) {
	o.Helper()
	for _, name := range names {
		o.Ask(name)
		o.Advance(time.Second)
	}
}

// expectGranted compares the requests that have a grant with those that should, of all that are stored.
func expectGranted(e *controllertest.Env, want ...string) {
	e.Helper()
	list := &v1alpha1.CapabilityRequestList{}
	e.Must(e.Client.List(e.Context(), list))
	var granted []string
	for _, r := range list.Items {
		if r.Status.GrantName != "" {
			granted = append(granted, r.Name)
		}
	}
	slices.Sort(granted)
	if !slices.Equal(granted, want) {
		e.Errorf("granted are %v; want %v", granted, want)
	}
}

func allowed(r *v1alpha1.CapabilityRequest) metav1.Condition {
	if c := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionAllowed); c != nil {
		return *c
	}
	return metav1.Condition{}
}

func expectWaits(e *controllertest.Env, name, words string) {
	e.Helper()
	if c := allowed(e.Request(name)); c.Reason != v1alpha1.ReasonLimitReached || !strings.Contains(c.Message, words) {
		e.Errorf("%s stands at %s: %s; want LimitReached: …%s…", name, c.Reason, c.Message, words)
	}
}

func TestLimits_WithdrawnGrantGivesItsSlotBack(t *testing.T) {
	e, o := begin(t, v1alpha1.RevocationImmediate, 1)
	for _, name := range []string{"first", "second", "third"} {
		ask(o, name)
		if e.Request(name).Status.GrantName == "" {
			t.Fatalf("nothing works, and %s waits: %+v", name, allowed(e.Request(name)))
		}
		e.Withdraw(name)
		o.Run()
	}
	if e.Most != 1 {
		t.Errorf("up to %d credentials worked", e.Most)
	}
}

func TestLimits_DeletedRequestHoldsItsSlotWhileTheCredentialWorks(t *testing.T) {
	deletions := map[string]func(*controllertest.Env){
		"the request": func(e *controllertest.Env) { e.Withdraw("first") },
		"the grant":   func(e *controllertest.Env) { e.Must(e.Client.Delete(e.Context(), e.Grant("first"))) },
		"the Job":     func(e *controllertest.Env) { e.DeleteJob("first") },
	}
	for name, deletes := range deletions {
		t.Run(name, func(t *testing.T) {
			e, o := begin(t, v1alpha1.RevocationAtExpiry, 1)
			ask(o, "first")
			deletes(e)
			o.Advance(2 * time.Minute)
			if stop := e.Grant("first"); stop == nil || stop.Status.EndedAt == nil {
				t.Fatalf("the grant has not ended, or is gone: %+v", stop)
			}
			ask(o, "second")
			expectWaits(e, "second", "policy one lets 1 credential work at the same time, and 1 does; "+
				"the next one stops working at 2026-03-04T12:15:00Z")
			o.Advance(session - 3*time.Minute)
			expectWaits(e, "second", "")
			o.Advance(time.Minute)
			if e.Request("second").Status.GrantName == "" {
				t.Errorf("the first credential works no more, and the second request waits: %+v", allowed(e.Request("second")))
			}
			if e.Most != 1 {
				t.Errorf("up to %d credentials worked", e.Most)
			}
		})
	}
}

// TestLimits_RetentionDoesNotGiveASlotBack has a request removed for its age before its credential has expired.
func TestLimits_RetentionDoesNotGiveASlotBack(t *testing.T) {
	e, o := begin(t, v1alpha1.RevocationAtExpiry, 1)
	o.Requests.Retention = time.Minute
	ask(o, "first")
	e.Finish("first")
	o.Advance(2 * time.Minute)
	e.Must(client.IgnoreNotFound(e.Client.Delete(e.Context(), e.Grant("first")))) // as the garbage collector does
	ask(o, "second")
	expectWaits(e, "second", "1 does")
	o.Advance(session - 2*time.Minute)
	expectGranted(e, "second")
}

func TestLimits_TimeWakesTheFirstInLineAndNobodyElse(t *testing.T) {
	e, o := begin(t, v1alpha1.RevocationAtExpiry, 1)
	ask(o, "a", "b", "c", "d")
	e.Finish("a")
	o.Advance(time.Second)
	before := o.Looks["d"]
	o.Advance(session)
	expectGranted(e, "a", "b")
	if o.Looks["d"] != before {
		t.Errorf("d, which is third in line, was looked at %d times", o.Looks["d"]-before)
	}
	if e.Most != 1 {
		t.Errorf("up to %d credentials worked", e.Most)
	}
}

func TestLimits_OneFreeSlotWakesOneRequest(t *testing.T) {
	e, o := begin(t, v1alpha1.RevocationImmediate, 1)
	var names []string
	for i := range 20 {
		names = append(names, fmt.Sprintf("r%02d", i))
	}
	ask(o, names...)
	for i, name := range names[:5] {
		expectGranted(e, names[:i+1]...)
		o.Woken = nil
		e.Finish(name)
		o.Run()
		// It may learn first when there will be room at the latest.
		if want := names[i+1 : i+2]; !slices.Equal(slices.Compact(o.Woken), want) {
			t.Errorf("the end of %s woke %v; want %v", name, o.Woken, want)
		}
	}
	if e.Most != 1 {
		t.Errorf("up to %d credentials worked", e.Most)
	}
}

func TestLimits_LaterRequestsDoNotOvertake(t *testing.T) {
	e, o := begin(t, v1alpha1.RevocationImmediate, 1)
	ask(o, "a", "b")
	o.Pause()
	e.Finish("a")
	e.Ask("c")
	o.Wake()
	o.Run()
	e.Finish("a")
	o.Run()
	expectGranted(e, "a", "b")
	expectWaits(e, "c", "1 does")
}

func TestLimits_TurnPassesOn(t *testing.T) {
	for name, leaves := range map[string]func(e *controllertest.Env){
		"from one that is deleted": func(e *controllertest.Env) { e.Withdraw("b") },
		"from one that is refused": func(e *controllertest.Env) {
			e.DeleteJob("b")
		},
		"from one that cannot be decided on": func(e *controllertest.Env) {
			e.Faults.Before = func(verb string, object client.Object) error {
				if g, ok := object.(*v1alpha1.CapabilityGrant); ok && verb == "create" && g.Name == "b" {
					return apierrors.NewForbidden(schema.GroupResource{Resource: "capabilitygrants"}, "b", errors.New("not now"))
				}
				return nil
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			e, o := begin(t, v1alpha1.RevocationImmediate, 1)
			ask(o, "a", "b", "c", "d")
			leaves(e)
			e.Finish("a")
			o.Run()
			if e.Request("c").Status.GrantName == "" {
				t.Errorf("c, which comes next, waits: %+v", allowed(e.Request("c")))
			}
			expectWaits(e, "d", "1 does")
		})
	}
}

func TestLimits_ChangeOfTheLimit(t *testing.T) {
	limit := func(active *int32) func(*v1alpha1.CapabilityPolicySpec) {
		return func(s *v1alpha1.CapabilityPolicySpec) {
			s.Limits = nil
			if active != nil {
				s.Limits = &v1alpha1.Limits{Active: active}
			}
		}
	}
	e, o := begin(t, v1alpha1.RevocationImmediate, 2)
	ask(o, "a", "b", "c", "d", "e", "f")
	expectGranted(e, "a", "b")
	e.Change("one", limit(ptr.To[int32](3)))
	o.Run()
	expectGranted(e, "a", "b", "c")
	e.Change("one", limit(ptr.To[int32](1)))
	e.Finish("a")
	o.Run()
	e.Finish("b")
	o.Run()
	expectGranted(e, "a", "b", "c")
	e.Finish("c")
	o.Run()
	expectGranted(e, "a", "b", "c", "d")
	e.Change("one", limit(nil))
	o.Run()
	expectGranted(e, "a", "b", "c", "d", "e", "f")
	if e.Most != 3 {
		t.Errorf("up to %d credentials worked; want 3", e.Most)
	}
}

// TestLimits_LimitThatIsAddedCountsWhatWorks counts what was granted before there was a limit.
func TestLimits_LimitThatIsAddedCountsWhatWorks(t *testing.T) {
	e, o := begin(t, v1alpha1.RevocationAtExpiry, 0)
	ask(o, "a", "b")
	e.Change("one", func(s *v1alpha1.CapabilityPolicySpec) { s.Limits = &v1alpha1.Limits{Active: ptr.To[int32](2)} })
	ask(o, "c")
	expectWaits(e, "c", "2 credentials work at the same time, and 2 do")
}

func TestLimits_PolicyThatIsMadeAgainGoesOnCounting(t *testing.T) {
	e, o := begin(t, v1alpha1.RevocationAtExpiry, 1)
	ask(o, "a")
	e.Must(e.Client.Delete(e.Context(), &v1alpha1.CapabilityPolicy{ObjectMeta: metav1.ObjectMeta{Name: "one"}}))
	o.Run()
	if g := e.Grant("a"); g.Status.Stop == nil || g.Status.Stop.Reason != v1alpha1.ReasonPolicyWithdrawn {
		t.Fatalf("nobody allows it, and it goes on: %+v", g.Status)
	}
	e.Withdraw("a")
	e.Policy("one", 1)
	ask(o, "b")
	expectWaits(e, "b", "1 does")
	o.Advance(session)
	expectGranted(e, "b")
	if e.Most != 1 {
		t.Errorf("up to %d credentials worked", e.Most)
	}
}

func TestLimits_RequestIsAllowedByAnotherPolicyLater(t *testing.T) {
	e, o := begin(t, v1alpha1.RevocationAtExpiry, 1)
	ask(o, "a", "b", "c")
	e.Policy("another", 1) // which comes first by its name
	o.Run()
	expectGranted(e, "a", "b")
	if got := e.Grant("b").Spec.Approval.Policy; got != "another" {
		t.Errorf("b was allowed by %s", got)
	}
	expectWaits(e, "c", "policy another lets 1 credential")
	e.Must(e.Client.Delete(e.Context(), &v1alpha1.CapabilityPolicy{ObjectMeta: metav1.ObjectMeta{Name: "another"}}))
	o.Run()
	expectWaits(e, "c", "policy one lets 1 credential")
	e.Finish("a")
	o.Advance(session)
	expectGranted(e, "a", "b", "c")
}

func TestLimits_RestartCountsWhatIsStoredAndKeepsTheOrder(t *testing.T) {
	e, first := begin(t, v1alpha1.RevocationAtExpiry, 2)
	ask(first, "c", "b", "a", "e", "d")
	expectGranted(e, "b", "c")
	e.Withdraw("c")
	first.Run()
	first.Kill()
	second := e.Start()
	second.Run()
	expectGranted(e, "b")
	second.Advance(session - 5*time.Second) // the first one's credential expires, and a second later the other's
	expectGranted(e, "a", "b")
	second.Advance(time.Second)
	expectGranted(e, "a", "b", "e")
	if e.Most != 2 {
		t.Errorf("up to %d credentials worked", e.Most)
	}
}

func TestLimits_NameOfAGrantThatIsKept(t *testing.T) {
	e, o := begin(t, v1alpha1.RevocationAtExpiry, 2)
	ask(o, "a")
	e.Withdraw("a")
	e.DeleteJob("a")
	o.Advance(2 * time.Minute)
	ask(o, "a")
	if c := allowed(e.Request("a")); !strings.Contains(c.Message, "kept until 2026-03-04T12:15:00Z") ||
		!strings.Contains(c.Message, "ask under another name") {
		t.Errorf("it stands at %s: %s", c.Reason, c.Message)
	}
	ask(o, "b")
	expectGranted(e, "b")
	o.Advance(session)
	expectGranted(e, "a", "b")
}

func TestLimits_WaitingTakesOneWrite(t *testing.T) {
	e, o := begin(t, v1alpha1.RevocationImmediate, 1)
	ask(o, "a")
	writes := 0
	e.Faults.Before = func(verb string, object client.Object) error {
		if r, ok := object.(*v1alpha1.CapabilityRequest); ok && verb == "update status" && r.Name == "b" {
			writes++
		}
		return nil
	}
	ask(o, "b")
	expectWaits(e, "b", "1 does")
	if writes != 1 {
		t.Errorf("its status was written %d times", writes)
	}
}

// TestLimits_NothingIsReservedBeforeAllIsCounted asks a ledger that was not told what is stored.
func TestLimits_NothingIsReservedBeforeAllIsCounted(t *testing.T) {
	e, o := begin(t, v1alpha1.RevocationImmediate, 1)
	ledger := o.Ledger
	o.Requests.Limits = controllertest.Untold(e)
	ask(o, "a")
	expectGranted(e)
	if c := allowed(e.Request("a")); c.Reason != v1alpha1.ReasonIndeterminate {
		t.Errorf("it stands at %s: %s", c.Reason, c.Message)
	}
	o.Requests.Limits = ledger
	o.Advance(2 * time.Second)
	expectGranted(e, "a")
}
