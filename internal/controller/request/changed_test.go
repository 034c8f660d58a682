// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package request_test

import (
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/controller/controllertest"
)

// waiting has a request wait for two approvals, by policy two.
func waiting(t *testing.T) (*controllertest.Env, *controllertest.Operator) {
	t.Helper()
	e := controllertest.New(t, session, v1alpha1.RevocationImmediate)
	e.Policy("two", 0)
	e.Change("two", func(p *v1alpha1.CapabilityPolicySpec) {
		p.Approval = &v1alpha1.Approval{Required: 2, TimeoutSeconds: 3600, Approvers: []v1alpha1.Subject{{Kind: v1alpha1.SubjectGroup, Name: "people"}}}
	})
	o := e.Start()
	ask(o, "a")
	if r := e.Request("a"); r.Status.Review == nil || r.Status.Approvals == nil || r.Status.EndedAt != nil {
		t.Fatalf("it does not wait for approvals: %+v", r.Status)
	}
	return e, o
}

// TestRequest_ThatAnotherPolicyWouldDecideEnds: people approved what the first lets them. That is so although it could not be found out in between.
func TestRequest_ThatAnotherPolicyWouldDecideEnds(t *testing.T) {
	e, o := waiting(t)
	capability := &v1alpha1.Capability{}
	e.Must(e.Client.Get(e.Context(), client.ObjectKey{Name: controllertest.Capability}, capability))
	ready := capability.Status.Conditions
	capability.Status.Conditions = nil
	e.Must(e.Client.Update(e.Context(), capability))
	e.Change("two", func(p *v1alpha1.CapabilityPolicySpec) { p.Repos = append(p.Repos, "api") })
	o.Advance(time.Second)
	if c := allowed(e.Request("a")); c.Reason != v1alpha1.ReasonIndeterminate {
		t.Fatalf("it stands at %s: %s", c.Reason, c.Message)
	}
	capability.Status.Conditions = ready
	e.Must(e.Client.Update(e.Context(), capability))
	e.Policy("one", 0)
	e.Change("two", func(p *v1alpha1.CapabilityPolicySpec) { p.Repos = []string{"api"} })
	o.Advance(time.Second)
	if c := allowed(e.Request("a")); c.Reason != v1alpha1.ReasonReviewChanged || e.Grant("a") != nil {
		t.Errorf("it stands at %s: %s", c.Reason, c.Message)
	}
}

// approvable has the policy of that name ask for one approval.
func approvable(p *v1alpha1.CapabilityPolicySpec) {
	p.Approval = &v1alpha1.Approval{Required: 1, TimeoutSeconds: 3600, Approvers: []v1alpha1.Subject{{Kind: v1alpha1.SubjectUser, Name: "alice"}}}
}

// approve has alice approve a request.
func approve(e *controllertest.Env, o *controllertest.Operator, name string) {
	e.Helper()
	decideAsAlice(e, name, v1alpha1.DecisionApprove)
	o.Advance(time.Second)
}

// TestRequest_ThatWaitsForRoomIsDecidedByThePolicyThatAskedForApprovals: whoever approved it decided by that, also when nothing but room is waited
// for any more.
func TestRequest_ThatWaitsForRoomIsDecidedByThePolicyThatAskedForApprovals(t *testing.T) {
	e := controllertest.New(t, session, v1alpha1.RevocationImmediate)
	e.Policy("strict", 1)
	e.Change("strict", approvable)
	o := e.Start()
	for _, name := range []string{"a", "b"} {
		ask(o, name)
		approve(e, o, name)
	}
	if c := allowed(e.Request("b")); c.Reason != v1alpha1.ReasonLimitReached || e.Grant("a") == nil {
		t.Fatalf("it stands at %s: %s", c.Reason, c.Message)
	}
	e.Policy("another", 0)
	e.Change("another", approvable)
	e.Change("strict", func(p *v1alpha1.CapabilityPolicySpec) { p.Repos = []string{"api"} })
	o.Advance(time.Second)
	if c := allowed(e.Request("b")); c.Reason != v1alpha1.ReasonReviewChanged || e.Grant("b") != nil {
		t.Errorf("it stands at %s: %s", c.Reason, c.Message)
	}
	if stop := e.Grant("a").Status.Stop; stop == nil || stop.Reason != v1alpha1.ReasonPolicyWithdrawn {
		t.Errorf("what the first policy allowed goes on by another: %+v", stop)
	}
}

// TestGrant_IsIssuedByThePolicyThatAllowedIt, and by no other that matches by then.
func TestGrant_IsIssuedByThePolicyThatAllowedIt(t *testing.T) {
	e := controllertest.New(t, session, v1alpha1.RevocationImmediate)
	e.Policy("strict", 0)
	e.Change("strict", approvable)
	o := e.Start()
	ask(o, "a")
	e.Backend.Break(true)
	approve(e, o, "a")
	if g := e.Grant("a"); g == nil || g.Status.IssuedAt != nil {
		t.Fatalf("it does not wait for its back end: %+v", g)
	}
	e.Policy("another", 0)
	e.Change("strict", func(p *v1alpha1.CapabilityPolicySpec) { p.Repos = []string{"api"} })
	e.Backend.Break(false)
	o.Advance(time.Minute)
	if g := e.Grant("a"); g.Status.IssuedAt != nil || g.Status.Stop == nil || g.Status.Stop.Reason != v1alpha1.ReasonPolicyWithdrawn {
		t.Errorf("it is issued: %+v", g.Status)
	}
}

// TestRequest_WhoseJobGetsAnotherLabelEnds: policies decide by labels, and one that lets fewer people decide may be about another.
func TestRequest_WhoseJobGetsAnotherLabelEnds(t *testing.T) {
	e, o := waiting(t)
	job := &batchv1.Job{}
	e.Must(e.Client.Get(e.Context(), client.ObjectKey{Namespace: controllertest.Namespace, Name: v1alpha1.NamePrefix + "a"}, job))
	job.Labels["example.com/change"] = "docs"
	e.Must(e.Client.Update(e.Context(), job))
	o.Advance(time.Second)
	if c := allowed(e.Request("a")); c.Reason != v1alpha1.ReasonReviewChanged {
		t.Errorf("it stands at %s: %s", c.Reason, c.Message)
	}
}
