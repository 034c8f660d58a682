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

// TestRequest_WhoseJobGetsAnotherLabelEnds: policies decide by labels, and one that lets fewer people decide may be about another.
func TestRequest_WhoseJobGetsAnotherLabelEnds(t *testing.T) {
	e := controllertest.New(t, session, v1alpha1.RevocationImmediate)
	e.Policy("two", 0)
	e.Change("two", func(p *v1alpha1.CapabilityPolicySpec) {
		p.Approval = &v1alpha1.Approval{Required: 2, TimeoutSeconds: 3600, Approvers: []v1alpha1.Subject{{Kind: v1alpha1.SubjectGroup, Name: "people"}}}
	})
	o := e.Start()
	ask(o, "a")
	if r := e.Request("a"); r.Status.Review == nil || r.Status.EndedAt != nil {
		t.Fatalf("it does not wait for approvals: %+v", r.Status)
	}
	job := &batchv1.Job{}
	e.Must(e.Client.Get(e.Context(), client.ObjectKey{Namespace: controllertest.Namespace, Name: v1alpha1.NamePrefix + "a"}, job))
	job.Labels["example.com/change"] = "docs"
	e.Must(e.Client.Update(e.Context(), job))
	o.Advance(time.Second)
	if c := allowed(e.Request("a")); c.Reason != v1alpha1.ReasonReviewChanged {
		t.Errorf("it stands at %s: %s", c.Reason, c.Message)
	}
}
