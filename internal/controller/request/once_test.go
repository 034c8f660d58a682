// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package request_test

import (
	"context"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/controller/controllertest"
)

// written collects the states in which requests are stored.
func written(e *controllertest.Env) *[]v1alpha1.CapabilityRequestStatus {
	var all []v1alpha1.CapabilityRequestStatus
	e.Faults.After = func(verb string, object client.Object) error {
		if r, is := object.(*v1alpha1.CapabilityRequest); is && verb == "update status" {
			all = append(all, *r.Status.DeepCopy())
		}
		return nil
	}
	return &all
}

// TestRequest_ThatNobodyHasToApproveIsStoredOnce with its review and its grant.
func TestRequest_ThatNobodyHasToApproveIsStoredOnce(t *testing.T) {
	e := controllertest.New(t, session, v1alpha1.RevocationImmediate)
	e.Policy("one", 0)
	o := e.Start()
	all := written(e)
	ask(o, "a")
	if len(*all) != 1 || (*all)[0].Review == nil || (*all)[0].GrantName != "a" {
		t.Fatalf("the request is stored %d times: %+v", len(*all), *all)
	}
	if got, want := (*all)[0].Review.Digest, e.Grant("a").Spec.Approval.Digest; got != want || want == "" {
		t.Errorf("the review has the digest %q, the grant %q", got, want)
	}
}

// dies has an operator end right after it created a grant: the API server refuses it everything from then on.
func dies(e *controllertest.Env) {
	dead := false
	e.Faults.After = func(verb string, object client.Object) error {
		if _, is := object.(*v1alpha1.CapabilityGrant); is && verb == "create" {
			dead = true
		}
		return nil
	}
	e.Faults.Before = func(string, client.Object) error {
		if dead {
			return controllertest.Unreachable()
		}
		return nil
	}
}

// TestRequest_WhoseReviewWasNotStoredWithItsGrant: the process died in between. Nothing was issued meanwhile.
func TestRequest_WhoseReviewWasNotStoredWithItsGrant(t *testing.T) {
	begin := func(t *testing.T) *controllertest.Env {
		e := controllertest.New(t, session, v1alpha1.RevocationImmediate)
		e.Policy("one", 0)
		o := e.Start()
		dies(e)
		e.Ask("a")
		o.Run()
		if r := e.Request("a"); r.Status.Review != nil || e.Grant("a").UID == "" {
			t.Fatalf("it did not die in between: %+v", r.Status)
		}
		o.Kill()
		e.Faults = controllertest.Faults{}
		return e
	}
	t.Run("is stored by the next process", func(t *testing.T) {
		e := begin(t)
		o := e.Start()
		o.Advance(time.Minute / 2)
		r, g := e.Request("a"), e.Grant("a")
		if r.Status.Review == nil || r.Status.Review.Digest != g.Spec.Approval.Digest || r.Status.GrantName != "a" {
			t.Errorf("the request has the review %+v", r.Status.Review)
		}
		if g.Status.IssuedAt == nil {
			t.Errorf("nothing is issued: %+v", g.Status)
		}
	})
	t.Run("is not another one", func(t *testing.T) {
		e := begin(t)
		capability := &v1alpha1.Capability{}
		e.Must(e.Client.Get(e.Context(), client.ObjectKey{Name: controllertest.Capability}, capability))
		capability.Spec.Description = "Publish something else."
		e.Must(e.Client.Update(e.Context(), capability))
		o := e.Start()
		o.Advance(time.Minute / 2)
		if r := e.Request("a"); r.Status.Review != nil || r.Status.GrantName != "a" {
			t.Errorf("the request has the review %+v", r.Status.Review)
		}
		if g := e.Grant("a"); g.Status.Stop == nil || g.Status.Stop.Reason != v1alpha1.ReasonPolicyWithdrawn || g.Status.IssuedAt != nil {
			t.Errorf("the grant goes on: %+v", g.Status)
		}
	})
}

// TestGrant_OfARequestThatDoesNotSayWhatWasReviewedIsNotIssued, and is once it does.
func TestGrant_OfARequestThatDoesNotSayWhatWasReviewedIsNotIssued(t *testing.T) {
	e := controllertest.New(t, session, v1alpha1.RevocationImmediate)
	e.Policy("one", 0)
	o := e.Start()
	refuses := true
	e.Faults.Before = func(verb string, object client.Object) error {
		if _, is := object.(*v1alpha1.CapabilityRequest); is && refuses && verb == "update status" {
			return controllertest.Unreachable()
		}
		return nil
	}
	e.Ask("a")
	o.Advance(time.Minute)
	issued := func() (times int) {
		for _, r := range o.Records {
			if r.Event == audit.EventIssuing {
				times++
			}
		}
		return times
	}
	if e.Grant("a").UID == "" || issued() > 0 {
		t.Fatalf("issued %d times, of the grant %+v", issued(), e.Grant("a").Status)
	}
	refuses = false
	o.Advance(time.Minute / 2)
	if issued() != 1 {
		t.Errorf("issued %d times", issued())
	}
}

// behind is a cache that shows requests as they were once.
type behind struct {
	client.Client
	shown map[client.ObjectKey]*v1alpha1.CapabilityRequest
}

func (b behind) Get(ctx context.Context, key client.ObjectKey, into client.Object, opts ...client.GetOption) error {
	if r, is := into.(*v1alpha1.CapabilityRequest); is && b.shown[key] != nil {
		b.shown[key].DeepCopyInto(r)
		return nil
	}
	return b.Client.Get(ctx, key, into, opts...)
}

// TestRequest_IsNotInConflictWithItself where the cache does not show yet what was stored.
func TestRequest_IsNotInConflictWithItself(t *testing.T) {
	e := controllertest.New(t, session, v1alpha1.RevocationImmediate)
	e.Policy("one", 0)
	o := e.Start()
	key := client.ObjectKey{Namespace: controllertest.Namespace, Name: "a"}
	cache := behind{o.Requests.Client, map[client.ObjectKey]*v1alpha1.CapabilityRequest{}}
	o.Requests.Client = cache
	tries := 0
	e.Faults.Before = func(verb string, object client.Object) error {
		if _, is := object.(*v1alpha1.CapabilityRequest); is && verb == "update status" {
			tries++
		}
		return nil
	}
	e.Ask("a")
	cache.shown[key] = e.Request("a")
	o.Advance(10 * time.Second)
	if tries != 1 {
		t.Errorf("it is written %d times", tries)
	}
	delete(cache.shown, key)
	e.Finish("a")
	o.Advance(10 * time.Second)
	if r := e.Request("a"); r.Status.EndedAt == nil || tries != 2 {
		t.Errorf("it is written %d times, and is %+v", tries, r.Status)
	}
}
