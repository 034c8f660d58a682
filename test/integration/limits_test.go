// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// one lets one credential of a policy work at a time.
func one(p *v1alpha1.CapabilityPolicySpec) {
	active := int32(1)
	p.Limits = &v1alpha1.Limits{Active: &active}
}

// beside is another request under the journey's policy.
func (j *journey) beside(name string) *journey {
	other := *j
	other.name = name
	return &other
}

// asksBeside asks under the policy of another journey.
func (j *journey) asksBeside(of *journey) {
	j.Helper()
	j.request(func(r *v1alpha1.CapabilityRequest) { r.Spec.Environment = of.name })
	j.job()
}

// awaitEnded returns when the grant has ended, in whatever way.
func (j *journey) awaitEnded() {
	j.Helper()
	await(j.T, j.w, j.grantObject(), "ended", func(g *v1alpha1.CapabilityGrant) bool { return g.Status.EndedAt != nil })
}

// unlimited takes the limit away from the journey's policy.
func (j *journey) unlimited() {
	j.Helper()
	p := &v1alpha1.CapabilityPolicy{ObjectMeta: metav1.ObjectMeta{Name: j.name}}
	j.must(j.w.admin.Patch(j.Context(), p, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"limits":null}}`))))
}

// crowd has so many requests made at once under the journey's policy, and returns how many are granted when all are
// decided.
func (j *journey) crowd(size int) (granted int, err error) {
	j.Helper()
	var group errgroup.Group
	others := make([]*journey, size)
	for i := range others {
		others[i] = j.beside(fmt.Sprintf("%s-of-%d", j.name, i))
		request, job := others[i].sampleRequest(
			func(r *v1alpha1.CapabilityRequest) { r.Spec.Environment = j.name },
		), others[i].sampleJob()
		group.Go(func() error {
			return errors.Join(j.agent.Create(j.Context(), request), j.agent.Create(j.Context(), job))
		})
	}
	err = group.Wait()
	for _, other := range others {
		r := await(j.T, j.w, other.requestObject(), "granted or waiting for room", func(r *v1alpha1.CapabilityRequest) bool {
			return r.Status.GrantName != "" ||
				condition(r.Status.Conditions, v1alpha1.ConditionAllowed).Reason == v1alpha1.ReasonLimitReached
		})
		if r.Status.GrantName != "" {
			granted++
		}
	}
	return granted, err
}

// TestLimit_DeletedRequestHoldsItsSlot withdraws a request whose session of STS works on: neither its name nor its
// slot is free.
func TestLimit_DeletedRequestHoldsItsSlot(t *testing.T) {
	j := begin(t, "limit-withdrawn")
	j.allow(one)
	j.ask()
	j.awaitDelivered()
	j.must(j.agent.Delete(t.Context(), j.requestObject()))
	kept := await(t, j.w, j.grantObject(), "kept", func(g *v1alpha1.CapabilityGrant) bool {
		return strings.Contains(condition(g.Status.Conditions, v1alpha1.ConditionEnded).Message, "it is kept until")
	})
	until := kept.Status.CredentialExpiresAt.UTC().Format("2006-01-02T15:04:05Z")
	if c := condition(kept.Status.Conditions, v1alpha1.ConditionEnded); !strings.Contains(c.Message, until) ||
		!strings.Contains(c.Message, "limits.active of policy limit-withdrawn counts it") {
		t.Errorf("it says %s", c.Message)
	}
	second := j.beside("limit-withdrawn-second")
	second.asksBeside(j)
	words := condition(
		second.awaitDecision(v1alpha1.ReasonLimitReached).Status.Conditions,
		v1alpha1.ConditionAllowed,
	).Message
	if !strings.HasSuffix(words, "and 1 does; the next one stops working at "+until) {
		t.Errorf("the second request says %s", words)
	}
	j.unlimited()
	second.awaitDelivered()
	awaitGone(t, j.w, j.grantObject())
}

// TestLimit_NamespaceWaitsForWhatALimitCounts deletes a namespace in which a session of STS was issued.
func TestLimit_NamespaceWaitsForWhatALimitCounts(t *testing.T) {
	j := begin(t, "limit-namespace")
	j.enrol("agents-that-are-counted")
	j.allow(one)
	j.ask()
	j.awaitDelivered()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: j.namespace}}
	j.must(j.w.admin.Delete(t.Context(), ns))
	await(t, j.w, ns, "held by the grant alone", func(ns *corev1.Namespace) bool {
		for _, c := range ns.Status.Conditions {
			if c.Type == corev1.NamespaceFinalizersRemaining && c.Status == corev1.ConditionTrue &&
				strings.Contains(c.Message, v1alpha1.FinalizerRevoke+" in 1 resource instances") {
				return true
			}
		}
		return false
	})
	await(t, j.w, j.grantObject(), "kept, and saying why", func(g *v1alpha1.CapabilityGrant) bool {
		return strings.Contains(condition(g.Status.Conditions, v1alpha1.ConditionEnded).Message, "it is kept until")
	})
	j.unlimited()
	awaitGone(t, j.w, ns)
}

// TestLimit_GrantsAreFoundByTheirPolicy asks the API server as an operator does that watches each of several
// namespaces by itself.
func TestLimit_GrantsAreFoundByTheirPolicy(t *testing.T) {
	j := begin(t, "limit-field")
	j.deliverWithoutApproval()
	list := &v1alpha1.CapabilityGrantList{}
	j.must(j.w.admin.List(context.Background(), list, client.MatchingFields{"spec.approval.policy": j.name}))
	if len(list.Items) != 1 || list.Items[0].Name != j.name {
		t.Errorf("there are %d grants of the policy", len(list.Items))
	}
}
