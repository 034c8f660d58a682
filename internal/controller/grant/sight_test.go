// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package grant_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/controller/controllertest"
	"github.com/valetkey/valetkey/internal/lifecycle"
)

// counting counts how often a capability is looked up, which each look at a grant's permission begins with. It fails as it is told to.
type counting struct {
	client.Reader
	looks int
	fails error
}

func (c *counting) Get(ctx context.Context, key client.ObjectKey, into client.Object, opts ...client.GetOption) error {
	if _, is := into.(*v1alpha1.Capability); is {
		if c.looks++; c.fails != nil {
			return c.fails
		}
	}
	return c.Reader.Get(ctx, key, into, opts...)
}

// TestPermission_OfALivingGrantIsFoundOutWhenSomethingChanges that it depends on, and not whenever its Pod says something.
func TestPermission_OfALivingGrantIsFoundOutWhenSomethingChanges(t *testing.T) {
	e := controllertest.New(t, time.Hour, v1alpha1.RevocationImmediate)
	e.Policy("one", 0)
	o := e.Start()
	e.Ask("a")
	o.Run()
	if g := e.Grant("a"); g == nil || g.Status.IssuedAt == nil {
		t.Fatalf("nothing is issued: %+v", g)
	}
	cache := &counting{Reader: o.Grants.Observer.Cache}
	o.Grants.Observer.Cache = cache
	podSays := func() {
		pods := &corev1.PodList{}
		e.Must(e.Client.List(e.Context(), pods))
		pod := &pods.Items[0]
		pod.Status.Message += "x"
		e.Must(e.Client.Status().Update(e.Context(), pod))
		o.Run()
	}
	expect := func(after string, least, most int) {
		t.Helper()
		if cache.looks < least || cache.looks > most {
			t.Errorf("%s it is looked at %d times", after, cache.looks)
		}
		cache.looks = 0
	}
	podSays()
	expect("after the Pod said something", 0, 0)
	cache.fails = errors.New("the cache is away")
	e.Change("one", func(p *v1alpha1.CapabilityPolicySpec) { p.Repos = append(p.Repos, "other") })
	o.Run()
	expect("after a policy was changed", 1, 2)
	cache.fails = nil
	podSays()
	expect("when it could not be found out before", 1, 2)
	podSays()
	expect("after that", 0, 0)
	e.Change("one", func(p *v1alpha1.CapabilityPolicySpec) { p.Repos = []string{"other"} })
	o.Run()
	if g := e.Grant("a"); g.Status.Stop == nil || g.Status.Stop.Reason != v1alpha1.ReasonPolicyWithdrawn {
		t.Errorf("it goes on: %+v", g.Status.Stop)
	}
}

// TestPermission_ThatCouldNotBeFoundOutIsTriedAgain: nothing else may bring the grant back before its time is up.
func TestPermission_ThatCouldNotBeFoundOutIsTriedAgain(t *testing.T) {
	e := controllertest.New(t, time.Hour, v1alpha1.RevocationImmediate)
	e.Policy("one", 0)
	o := e.Start()
	e.Ask("a")
	o.Run()
	cache := &counting{Reader: o.Grants.Observer.Cache, fails: errors.New("the connection was lost")}
	o.Grants.Observer.Cache = cache
	e.Change("one", func(p *v1alpha1.CapabilityPolicySpec) { p.Repos = []string{"other"} })
	o.Run()
	if g := e.Grant("a"); cache.looks == 0 || g.Status.Stop != nil {
		t.Fatalf("it was looked at %d times: %+v", cache.looks, g.Status.Stop)
	}
	cache.fails = nil
	o.Advance(lifecycle.Recheck)
	if g := e.Grant("a"); g.Status.Stop == nil || g.Status.Stop.Reason != v1alpha1.ReasonPolicyWithdrawn {
		t.Errorf("it goes on: %+v", g.Status.Stop)
	}
}

// TestPermission_IsFoundOutRightBeforeTheBackEndIsAskedAndTheJobStarted, whatever was found earlier in the same pass.
func TestPermission_IsFoundOutRightBeforeTheBackEndIsAskedAndTheJobStarted(t *testing.T) {
	for name, row := range map[string]struct {
		during func(object client.Object) bool
		issued bool
	}{
		"withdrawn while its Pod is tried":     {func(o client.Object) bool { _, is := o.(*corev1.Pod); return is }, false},
		"withdrawn while its Secret is stored": {func(o client.Object) bool { _, is := o.(*corev1.Secret); return is }, true},
	} {
		t.Run(name, func(t *testing.T) {
			e := controllertest.New(t, time.Hour, v1alpha1.RevocationImmediate)
			e.Policy("one", 0)
			o := e.Start()
			e.Faults.After = func(verb string, object client.Object) error {
				if verb == "create" && row.during(object) {
					e.Faults.After = nil
					e.Change("one", func(p *v1alpha1.CapabilityPolicySpec) { p.Repos = []string{"other"} })
				}
				return nil
			}
			e.Ask("a")
			o.Run()
			asked := slices.ContainsFunc(o.Records, func(r audit.Record) bool { return r.Event == audit.EventIssuing })
			g := e.Grant("a")
			if asked != row.issued || g.Status.Stop == nil || g.Status.Stop.Reason != v1alpha1.ReasonPolicyWithdrawn {
				t.Errorf("the back end was asked: %v; it stands at %+v", asked, g.Status.Stop)
			}
			job := &batchv1.Job{}
			e.Must(e.Client.Get(e.Context(), client.ObjectKey{Namespace: controllertest.Namespace, Name: v1alpha1.NamePrefix + "a"}, job))
			if !*job.Spec.Suspend {
				t.Error("its Job was started")
			}
		})
	}
}

// TestPermission_IsNotFoundOutMoreOftenThanItCounts on the way from the grant to the delivery.
func TestPermission_IsNotFoundOutMoreOftenThanItCounts(t *testing.T) {
	e := controllertest.New(t, time.Hour, v1alpha1.RevocationImmediate)
	e.Policy("one", 0)
	o := e.Start()
	cache := &counting{Reader: o.Grants.Observer.Cache}
	e.Faults.After = func(verb string, object client.Object) error {
		if _, is := object.(*v1alpha1.CapabilityGrant); is && verb == "create" {
			o.Grants.Observer.Cache = cache
		}
		return nil
	}
	e.Ask("a")
	o.Run()
	if g := e.Grant("a"); g.Status.PodsStarted == 0 {
		t.Fatalf("it is not delivered: %+v", g.Status)
	}
	if most := 4; cache.looks > most {
		t.Errorf("it is looked at %d times; want %d", cache.looks, most)
	}
}
