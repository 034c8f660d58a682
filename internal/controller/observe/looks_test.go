// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"context"
	"errors"
	goruntime "runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/policy"
	"github.com/valetkey/valetkey/internal/provider"
	providerfake "github.com/valetkey/valetkey/internal/provider/fake"
)

// TestLooks_LeaveOthersTheProcessors: however many requests of a namespace wait to be looked at, and however many
// namespaces there are.
func TestLooks_LeaveOthersTheProcessors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var all looks
		half := max(1, int32(goruntime.GOMAXPROCS(0))/2)
		running, goOn := map[string]*atomic.Int32{"agents": {}, "others": {}, "more": {}}, make(chan struct{})
		for namespace, inside := range running {
			for range 10 {
				go func() {
					_ = all.do(t.Context(), Turn{Namespace: namespace}, func() error {
						inside.Add(1)
						<-goOn
						inside.Add(-1)
						return nil
					})
				}()
			}
		}
		for range 30 {
			synctest.Wait()
			sum := int32(0)
			for namespace, inside := range running {
				if n := inside.Load(); n > 1 {
					t.Errorf("%d looks for %s are made at a time", n, namespace)
				}
				sum += inside.Load()
			}
			if sum == 0 || sum > half {
				t.Errorf("%d looks are made at a time", sum)
			}
			goOn <- struct{}{}
		}
	})
}

// rendering is a back end whose looks at what a credential could do are counted, and take until they are let go.
type rendering struct {
	*providerfake.Provider
	at, count atomic.Int32
	goOn      chan struct{}
}

func (r *rendering) Render(context.Context, *v1alpha1.Capability, provider.Values) (provider.Scope, error) {
	r.count.Add(1)
	r.at.Add(1)
	<-r.goOn
	r.at.Add(-1)
	return provider.Scope{}, nil
}

// TestLooks_AreWhatBackEndsMake: one may look at every binding of the cluster for each request.
func TestLooks_AreWhatBackEndsMake(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		const requests = 10
		backend := &rendering{Provider: providerfake.New(clock.RealClock{}, 0, v1alpha1.RevocationImmediate), goOn: make(chan struct{})}
		cache := fake.NewClientBuilder().WithScheme(scheme).WithObjects(
			&v1alpha1.CapabilityProvider{ObjectMeta: metav1.ObjectMeta{Name: "aws"}, Spec: v1alpha1.CapabilityProviderSpec{AWS: &v1alpha1.AWSProvider{}}},
			&v1alpha1.Capability{ObjectMeta: metav1.ObjectMeta{Name: "publish"}, Spec: v1alpha1.CapabilitySpec{ProviderRef: v1alpha1.ProviderReference{Name: "aws"}}},
		).Build()
		o := &Observer{Cache: cache, Providers: provider.NewSet(backend)}
		for range requests {
			go func() {
				request := &v1alpha1.CapabilityRequest{ObjectMeta: metav1.ObjectMeta{Namespace: "agents"}, Spec: v1alpha1.CapabilityRequestSpec{Capability: "publish"}}
				if err := o.catalogue(t.Context(), &Observation{Facts: policy.Facts{Request: request}}); err != nil {
					t.Error(err)
				}
			}()
		}
		for range requests {
			synctest.Wait()
			if n := backend.at.Load(); n != 1 {
				t.Errorf("%d looks for one namespace are made at a time", n)
			}
			backend.goOn <- struct{}{}
		}
		synctest.Wait()
		if n := backend.count.Load(); n != requests {
			t.Errorf("%d looks were made for %d requests", n, requests)
		}
	})
}

// TestLooks_AtAGrantDoNotWaitForRequests of its namespace, and not for long for others: it may have to end.
func TestLooks_AtAGrantDoNotWaitForRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var all looks
		goOn, made := make(chan struct{}), 0
		for range 100 {
			go func() {
				_ = all.do(t.Context(), Turn{Namespace: "agents"}, func() error {
					<-goOn
					made++
					return nil
				})
			}()
		}
		synctest.Wait()
		for made = 0; made < 1; {
			goOn <- struct{}{}
			synctest.Wait()
		}
		before, looked := made, make(chan error, 1)
		go func() {
			looked <- all.do(t.Context(), Turn{Namespace: "agents", Granted: true}, func() error { return nil })
		}()
		synctest.Wait()
		for len(looked) == 0 {
			goOn <- struct{}{}
			synctest.Wait()
		}
		if most := 3; made-before > most {
			t.Errorf("it waits for %d of 100 looks at requests", made-before)
		}
		if err := all.do(t.Context(), Turn{Namespace: "agents", Granted: true}, func() error { return nil }); !errors.Is(err, ErrBusy) {
			t.Errorf("while a look takes for ever: %v", err)
		}
		close(goOn)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		synctest.Wait()
		if err := <-looked; err != nil {
			t.Error(err)
		}
		if err := all.do(ended, Turn{Granted: true}, func() error { return nil }); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("it is told %v", err)
		}
	})
}

// TestLooks_AtARequestThatWasRemovedAreNotMade.
func TestLooks_AtARequestThatWasRemovedAreNotMade(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	named := func(uid types.UID) *v1alpha1.CapabilityRequest {
		return &v1alpha1.CapabilityRequest{ObjectMeta: metav1.ObjectMeta{Namespace: "agents", Name: "q", UID: uid}}
	}
	for name, row := range map[string]struct {
		stored *v1alpha1.CapabilityRequest
		made   bool
	}{"it is there": {named("1"), true}, "it is gone": {nil, false}, "another has its name": {named("2"), false}} {
		b := fake.NewClientBuilder().WithScheme(scheme)
		if row.stored != nil {
			b = b.WithObjects(row.stored)
		}
		made := false
		err := (&Observer{Cache: b.Build()}).look(t.Context(), named("1"), func() error { made = true; return nil })
		if made != row.made || errors.Is(err, errGone) == row.made {
			t.Errorf("%s: made %v, %v", name, made, err)
		}
	}
}
