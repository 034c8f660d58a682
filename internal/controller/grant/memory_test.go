// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"context"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/provider"
)

// TestMemory_KeepsNoJob: grants stay for days, and a Job can be large.
func TestMemory_KeepsNoJob(t *testing.T) {
	for name, comes := range map[string]func(e *env){
		"to a delivery": func(e *env) { e.delivered() },
		"to a Pod that would not be taken": func(e *env) {
			e.refusesWrites(&corev1.Pod{}, 1, func(client.Object) string { return "exceeded quota" })
			e.reconcile()
		},
		"to a back end that refuses": func(e *env) {
			e.backend.NextErr(provider.Refused(provider.Final, true, "no"))
			e.reconcile()
		},
		"to its end": func(e *env) {
			e.delivered()
			e.annotate(v1alpha1.AnnotationRevoke, "now")
			e.over()
			e.jobControllerSays(batchv1.JobSuspended)
			e.over()
		},
		"to a Job that was removed as it was stopped": func(e *env) {
			e.delivered()
			e.grants.recall(e.grant()).job = e.job()
			e.remove(e.job())
			e.over()
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t)
			comes(e)
			e.over()
			if mem := e.grants.recall(e.grant()); mem.template != nil || mem.job != nil || mem.passing {
				t.Errorf("it keeps the template %v, the Job %v", mem.template, mem.job)
			}
		})
	}
}

// stepping has its clock step at one of the times at which a request is looked up.
type stepping struct {
	client.Reader
	at   int
	step func()
}

func (s *stepping) Get(ctx context.Context, key client.ObjectKey, into client.Object, opts ...client.GetOption) error {
	if _, is := into.(*v1alpha1.CapabilityRequest); is {
		if s.at--; s.at == 0 {
			s.step()
		}
	}
	return s.Reader.Get(ctx, key, into, opts...)
}

// TestPermission_IsFoundOutWholeBeforeAnythingIsIssued, whenever the time for the next attempt comes while less is looked at.
func TestPermission_IsFoundOutWholeBeforeAnythingIsIssued(t *testing.T) {
	for at := 1; ; at++ {
		e := newEnv(t)
		e.backend.NextErr(provider.Refused(provider.Retryable, true, "not now"))
		e.reconcile()
		asked := len(e.backend.Calls())
		mem := e.grants.recall(e.grant())
		if mem.NotBefore.IsZero() || e.grant().Status.Attempt != 1 {
			t.Fatalf("it is not left alone: %+v", e.grant().Status)
		}
		e.guard.status.Problems = []string{"ValidatingAdmissionPolicy valetkey-pods is missing"}
		e.grants.Observer.World.Changed("")
		cache := &stepping{e.grants.Observer.Cache, at, func() { e.clock.SetTime(mem.NotBefore.Add(time.Millisecond)) }}
		e.grants.Observer.Cache = cache
		e.reconcile()
		if calls := e.backend.Calls(); len(calls) != asked {
			t.Errorf("the back end was asked where its time came at look-up %d: %+v", at, calls[asked:])
		}
		if cache.at > 0 { // there were fewer
			if at < 3 {
				t.Errorf("requests are looked up %d times", at-1)
			}
			return
		}
	}
}

// TestGrant_OfARequestThatNobodyCanDecideOnEnds: it was refused before its grant arrived, or says nothing of what was approved.
func TestGrant_OfARequestThatNobodyCanDecideOnEnds(t *testing.T) {
	for name, change := range map[string]func(r *v1alpha1.CapabilityRequest, now metav1.Time){
		"refused":          func(r *v1alpha1.CapabilityRequest, now metav1.Time) { r.Status.GrantName, r.Status.EndedAt = "", &now },
		"without a review": func(r *v1alpha1.CapabilityRequest, _ metav1.Time) { r.Status.Review = nil },
		"of another review": func(r *v1alpha1.CapabilityRequest, _ metav1.Time) {
			r.Status.Review.Digest = strings.Repeat("0", 64)
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t)
			r := &v1alpha1.CapabilityRequest{}
			e.must(e.client.Get(t.Context(), key(), r))
			r.Status.GrantName = e.grant().Name
			change(r, metav1.NewTime(e.clock.Now()))
			e.must(e.client.Status().Update(t.Context(), r))
			e.over()
			if g := e.grant(); g.Status.IssuedAt != nil || g.Status.Stop == nil || len(e.backend.Calls()) != 0 {
				t.Errorf("attempt %d, issued at %v, stop %+v", g.Status.Attempt, g.Status.IssuedAt, g.Status.Stop)
			}
		})
	}
}

// TestMint_AsksForNothingThatWasNotLookedAt: the cache may show another capability before anybody was told that it changed.
func TestMint_AsksForNothingThatWasNotLookedAt(t *testing.T) {
	for _, changes := range []bool{false, true} {
		e := newEnv(t)
		e.funcs.Create = func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			if _, tried := o.(*corev1.Pod); tried && changes {
				capability := &v1alpha1.Capability{}
				e.must(e.client.Get(ctx, client.ObjectKey{Name: e.grant().Spec.Capability}, capability))
				capability.Generation++
				e.must(e.client.Update(ctx, capability))
			}
			return c.Create(ctx, o, opts...)
		}
		_, err := e.grants.Reconcile(t.Context(), ctrl.Request{NamespacedName: key()})
		e.must(err)
		if asked := e.grants.recall(e.grant()).asked; asked == changes {
			t.Errorf("it changes: %t, and the back end is asked: %t", changes, asked)
		}
	}
}
