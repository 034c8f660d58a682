// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package grant_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	corev1 "k8s.io/api/core/v1"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/controller/controllertest"
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
