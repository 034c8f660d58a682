// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package grant_test

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/controller/controllertest"
)

// session is how long a credential works at the least.
const session = 15 * time.Minute

func begin(t *testing.T, limit int32) (*controllertest.Env, *controllertest.Operator) {
	t.Helper()
	e := controllertest.New(t, session, v1alpha1.RevocationAtExpiry)
	e.Policy("one", limit)
	return e, e.Start()
}

// is reports whether a write is the one of a kind to the grant of a name.
func is(object client.Object, verb, of, name string) (*v1alpha1.CapabilityGrant, bool) {
	g, ok := object.(*v1alpha1.CapabilityGrant)
	return g, ok && verb == of && g.Name == name
}

func said(g *v1alpha1.CapabilityGrant, kind string) metav1.Condition {
	if c := meta.FindStatusCondition(g.Status.Conditions, kind); c != nil {
		return *c
	}
	return metav1.Condition{}
}

func TestLimits_DeletedGrantIsKeptWhileALimitCountsIt(t *testing.T) {
	withdrawn := func(t *testing.T, limit int32) (*controllertest.Env, *controllertest.Operator) {
		e, o := begin(t, limit)
		e.Ask("a")
		o.Run()
		e.Withdraw("a")
		o.Advance(2 * time.Minute)
		return e, o
	}
	t.Run("until its credential expires", func(t *testing.T) {
		e, o := withdrawn(t, 1)
		g := e.Grant("a")
		if g == nil {
			t.Fatal("it is gone, and its credential works")
		}
		const words = "deleted; it is kept until 2026-03-04T12:15:00Z: " +
			"its credential may work until then, and limits.active of policy one counts it"
		if c := said(g, v1alpha1.ConditionEnded); c.Status != metav1.ConditionTrue ||
			c.Reason != v1alpha1.ReasonRequestGone && c.Reason != v1alpha1.ReasonGrantDeleted ||
			!strings.HasSuffix(c.Message, words) {
			t.Errorf("it says %s: %s", c.Reason, c.Message)
		}
		o.Advance(session - 2*time.Minute - time.Second)
		if e.Grant("a") == nil {
			t.Error("it went a second too early")
		}
		o.Advance(time.Second)
		if e.Grant("a") != nil {
			t.Error("its credential has expired, and it is still there")
		}
	})
	t.Run("but not where its policy has no limit", func(t *testing.T) {
		e, _ := withdrawn(t, 0)
		if e.Grant("a") != nil {
			t.Error("it is kept, and nobody counts it")
		}
	})
	for name, change := range map[string]func(*controllertest.Env){
		"nor when the limit is taken away": func(e *controllertest.Env) {
			e.Change("one", func(s *v1alpha1.CapabilityPolicySpec) { s.Limits = nil })
		},
		"nor when the policy is deleted": func(e *controllertest.Env) {
			e.Must(e.Client.Delete(e.Context(), &v1alpha1.CapabilityPolicy{ObjectMeta: metav1.ObjectMeta{Name: "one"}}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			e, o := withdrawn(t, 1)
			change(e)
			o.Run()
			if e.Grant("a") != nil {
				t.Error("it is kept, and nobody counts it")
			}
		})
	}
}

// TestLimits_KeptGrantIsToldOnce has a grant kept that people look at: they are told why, by one event.
func TestLimits_KeptGrantIsToldOnce(t *testing.T) {
	e, o := begin(t, 1)
	e.Ask("a")
	o.Run()
	e.Withdraw("a")
	o.Advance(session - time.Minute)
	told := 0
	for range len(o.Events.Events) {
		if event := <-o.Events.Events; strings.Contains(event, v1alpha1.ReasonCounted) &&
			strings.Contains(event, "it is kept until") {
			told++
		}
	}
	if told != 1 {
		t.Errorf("it was told %d times", told)
	}
}

// TestLimits_LeaderThatWakesLateIssuesNothingTooMuch pauses a leader before a write. Meanwhile another one takes over
// and grants as much as the limit allows; then the write of the first arrives.
func TestLimits_LeaderThatWakesLateIssuesNothingTooMuch(t *testing.T) {
	for name, pausedBefore := range map[string]func(verb string, object client.Object) bool{
		"creating the grant": func(verb string, object client.Object) bool {
			_, ok := is(object, verb, "create", "a")
			return ok
		},
		"beginning the attempt": func(verb string, object client.Object) bool {
			g, ok := is(object, verb, "update status", "a")
			return ok && g.Status.Attempt == 1 && g.Status.IssuedAt == nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			e, late := begin(t, 1)
			var other *controllertest.Operator
			e.Faults.Before = func(verb string, object client.Object) error {
				if !pausedBefore(verb, object) {
					return nil
				}
				e.Faults.Before = nil
				late.Pause()
				// The request that the late leader works on is withdrawn, so that its slot is another's.
				e.Must(e.Client.Delete(e.Context(), e.Request("a")))
				if g := e.Grant("a"); g != nil {
					e.Must(e.Client.Delete(e.Context(), g))
				}
				e.Ask("b")
				other = e.Start()
				other.Run()
				return nil
			}
			e.Ask("a")
			late.Run()
			late.Wake()
			late.Run()
			if other == nil || other.Grant("b") == nil ||
				said(e.Grant("b"), v1alpha1.ConditionDelivered).Status != metav1.ConditionTrue {
				t.Fatal("the other leader delivered nothing: the test shows nothing")
			}
			if e.Most != 1 {
				t.Errorf("up to %d credentials worked", e.Most)
			}
		})
	}
}

// TestLimits_OfTwoGrantsTooManyOneIsIssued has two leaders store a grant each, under a limit of one.
func TestLimits_OfTwoGrantsTooManyOneIsIssued(t *testing.T) {
	e, late := begin(t, 1)
	e.Ask("b")
	e.Faults.Before = func(verb string, object client.Object) error {
		if _, ok := is(object, verb, "create", "b"); !ok {
			return nil
		}
		e.Faults.Before = nil
		late.Pause()
		e.Ask("a")
		e.Faults.Before = func(verb string, object client.Object) error {
			if _, ok := is(object, verb, "create", "b"); ok {
				return controllertest.Unreachable() // to the other leader, so that it grants a alone
			}
			return nil
		}
		other := e.Start()
		other.Run()
		other.Kill()
		e.Faults.Before = nil
		return nil
	}
	late.Run()
	late.Wake()
	late.Run()
	a, b := e.Grant("a"), e.Grant("b")
	if a == nil || b == nil {
		t.Fatalf("there are not two grants: %v %v", a, b)
	}
	if e.Most != 1 {
		t.Errorf("up to %d credentials worked", e.Most)
	}
	if c := said(b, v1alpha1.ConditionIssued); c.Reason != v1alpha1.ReasonLimitReached ||
		!strings.Contains(c.Message, "limits.active of policy one is 1") {
		t.Errorf("the grant that is one too many says %s: %s", c.Reason, c.Message)
	}
	e.Finish("a")
	late.Advance(session + time.Minute)
	if said(e.Grant("b"), v1alpha1.ConditionDelivered).Status != metav1.ConditionTrue {
		t.Errorf("there is room, and the grant waits: %+v", said(e.Grant("b"), v1alpha1.ConditionIssued))
	}
	if e.Most != 1 {
		t.Errorf("up to %d credentials worked", e.Most)
	}
}

// TestLimits_CredentialThatNobodyHoldsCounts kills the operator between the back end's answer and the Secret.
func TestLimits_CredentialThatNobodyHoldsCounts(t *testing.T) {
	killed := func(t *testing.T, limit int32) (*controllertest.Env, *controllertest.Operator) {
		e, first := begin(t, limit)
		e.Faults.Before = func(verb string, object client.Object) error {
			if object.GetObjectKind().GroupVersionKind().Kind == "Secret" ||
				verb == "create" && strings.HasPrefix(object.GetName(), "valetkey-uid") {
				first.Kill()
				return controllertest.Unreachable()
			}
			return nil
		}
		e.Ask("a")
		first.Run()
		e.Faults.Before = nil
		if e.Backend.Working() != 1 {
			t.Fatal("nothing was issued: the test shows nothing")
		}
		second := e.Start()
		second.Advance(time.Minute)
		return e, second
	}
	t.Run("there is no room for another", func(t *testing.T) {
		e, o := killed(t, 1)
		if c := said(e.Grant("a"), v1alpha1.ConditionIssued); c.Reason != v1alpha1.ReasonLimitReached ||
			!strings.Contains(c.Message, "that nobody holds") ||
			!strings.Contains(c.Message, "2026-03-04T12:15:00Z") {
			t.Errorf("it says %s: %s", c.Reason, c.Message)
		}
		o.Advance(session)
		if said(e.Grant("a"), v1alpha1.ConditionDelivered).Status != metav1.ConditionTrue {
			t.Errorf("there is room, and the grant waits: %+v", said(e.Grant("a"), v1alpha1.ConditionIssued))
		}
		if e.Most != 1 {
			t.Errorf("up to %d credentials worked", e.Most)
		}
	})
	t.Run("there is room for another, and it takes that too", func(t *testing.T) {
		e, o := killed(t, 2)
		if g := e.Grant("a"); said(g, v1alpha1.ConditionDelivered).Status != metav1.ConditionTrue ||
			g.Counts(e.Clock.Now()) != 2 {
			t.Errorf("it stands at %+v", g.Status)
		}
		e.Ask("b")
		o.Run()
		if e.Grant("b") != nil || e.Most != 2 {
			t.Errorf("up to %d credentials worked, and another is granted: %v", e.Most, e.Grant("b"))
		}
	})
}

func TestLimits_RefusedAttemptsDoNotCount(t *testing.T) {
	e, o := begin(t, 1)
	e.Backend.NextErr(controllertest.Refused(), controllertest.Refused())
	e.Ask("a")
	o.Advance(time.Minute)
	g := e.Grant("a")
	if said(g, v1alpha1.ConditionDelivered).Status != metav1.ConditionTrue || g.Status.Attempt != 3 ||
		len(g.Status.Exposed) != 1 ||
		g.Status.Exposed[0].Attempt != 3 {
		t.Errorf("it stands at %+v", g.Status)
	}
}

// TestLimits_LimitThatIsLoweredHoldsWhatIsNotIssued lowers the limit when two grants have begun their attempts.
func TestLimits_LimitThatIsLoweredHoldsWhatIsNotIssued(t *testing.T) {
	e, o := begin(t, 2)
	begun := 0
	e.Faults.After = func(verb string, object client.Object) error {
		if g, ok := object.(*v1alpha1.CapabilityGrant); ok && verb == "update status" && g.Status.Attempt == 1 &&
			g.Status.IssuedAt == nil {
			if begun++; begun == 2 {
				e.Faults.After = nil
				e.Change("one", func(s *v1alpha1.CapabilityPolicySpec) { s.Limits.Active = ptr.To[int32](1) })
			}
		}
		return nil
	}
	e.Ask("a")
	e.Ask("b")
	o.Run()
	o.Advance(20 * time.Second)
	if begun != 2 {
		t.Fatalf("%d attempts were begun: the test shows nothing", begun)
	}
	if e.Most != 1 {
		t.Errorf("up to %d credentials worked", e.Most)
	}
	asked := 0
	for _, r := range o.Records {
		if r.Event == audit.EventIssuing {
			asked++
		}
	}
	if asked != 1 {
		t.Errorf("the back end was asked %d times", asked)
	}
}

// TestLimits_BackEndIsAskedWhenTheCacheShowsTheClaim looks at a grant once, and once more when its own write has come
// back.
func TestLimits_BackEndIsAskedWhenTheCacheShowsTheClaim(t *testing.T) {
	for limit, want := range map[int32]int{0: 1, 1: 0} {
		e, o := begin(t, limit)
		asked := func() int {
			n := 0
			for _, r := range o.Records {
				if r.Event == audit.EventIssuing {
					n++
				}
			}
			return n
		}
		e.Ask("a")
		for e.Grant("a") == nil {
			o.Step()
		}
		key := ctrl.Request{NamespacedName: client.ObjectKeyFromObject(e.Grant("a"))}
		if _, err := o.Grants.Reconcile(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		if g := e.Grant("a"); g.Status.Attempt != 1 || asked() != want {
			t.Errorf(
				"with a limit of %d, attempt %d was begun and the back end was asked %d times; want %d",
				limit,
				g.Status.Attempt,
				asked(),
				want,
			)
		}
		if _, err := o.Grants.Reconcile(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		if asked() != 1 {
			t.Errorf("with a limit of %d, the back end was asked %d times when the claim had come back", limit, asked())
		}
	}
}
