// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/lifecycle"
	"github.com/valetkey/valetkey/internal/live"
	"github.com/valetkey/valetkey/internal/provider"
	providerfake "github.com/valetkey/valetkey/internal/provider/fake"
)

// oddly is a back end that does something else when it is asked for a credential.
type oddly struct {
	*providerfake.Provider
	issue  func(context.Context, provider.Lease) (*provider.Credential, error)
	revoke func()
}

func (o oddly) Revoke(ctx context.Context, issued provider.Issued) (provider.Revoked, error) {
	if o.revoke != nil {
		o.revoke()
		return provider.Revoked{}, nil
	}
	return o.Provider.Revoke(ctx, issued)
}

func (o oddly) Issue(ctx context.Context, l provider.Lease) (*provider.Credential, error) {
	return o.issue(ctx, l)
}

// TestCalls_APanicCostsOneAttempt: one odd answer of a back end must not end the operator for all tenants, again and
// again.
func TestCalls_APanicCostsOneAttempt(t *testing.T) {
	e := newEnv(t)
	panicked := false
	e.grants.Observer.Providers = provider.NewSet(oddly{Provider: e.backend, issue: func(ctx context.Context, l provider.Lease) (*provider.Credential, error) {
		if !panicked {
			panicked = true
			panic("token-that-nobody-may-read")
		}
		return e.backend.Issue(ctx, l)
	}})
	e.reconcile()
	c := e.issuedCondition()
	if c.Reason != v1alpha1.ReasonBackingOff || !strings.Contains(c.Message, "a fault in the back end") || strings.Contains(c.Message, "nobody-may-read") {
		t.Errorf("after the panic: %s: %s", c.Reason, c.Message)
	}
	if until := e.grant().Status.CredentialExpiresAt; until == nil || !until.After(e.clock.Now()) {
		t.Error("nobody knows whether anything was issued, and the grant says that nothing was")
	}
	e.clock.Step(backoff(1))
	e.reconcile()
	if suspended(e.job()) || e.grant().Status.Attempt != 2 {
		t.Errorf("the second attempt was not delivered: %+v", e.grant().Status)
	}
}

// TestCalls_AreBoundedForEachProvider: a back end that does not answer takes no more than its share, and of the next
// attempt it is known that nothing was asked for.
func TestCalls_AreBoundedForEachProvider(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inside, goOn := map[string]int{}, make(chan struct{})
		var mu sync.Mutex
		slow := oddly{issue: func(_ context.Context, l provider.Lease) (*provider.Credential, error) {
			mu.Lock()
			inside[l.Provider.Name]++
			mu.Unlock()
			<-goOn
			return nil, nil
		}}
		all := &calls{}
		issue := func(name string) error {
			lease := provider.Lease{Provider: &v1alpha1.CapabilityProvider{ObjectMeta: metav1.ObjectMeta{Name: name}},
				Capability: &v1alpha1.Capability{ObjectMeta: metav1.ObjectMeta{Name: "publish"}}}
			_, err := all.issue(t.Context(), slow, lease)
			return err
		}
		for range mostCalls / 2 {
			go func() { _ = issue("slow") }()
		}
		synctest.Wait()
		began := time.Now()
		err := issue("slow")
		if !provider.IsRefused(err) || !provider.IsRetryable(err) || !strings.Contains(err.Error(), "provider slow") || time.Since(began) != turnWithin {
			t.Errorf("one too many, after %s: %v", time.Since(began), err)
		}
		go func() { _ = issue("another") }()
		synctest.Wait()
		if inside["slow"] != mostCalls/2 || inside["another"] != 1 {
			t.Errorf("%v are asked for", inside)
		}
		close(goOn)
		if err := issue("slow"); err != nil {
			t.Errorf("after the others: %v", err)
		}
	})
}

// TestCalls_RevocationsStandAside: a back end that hangs takes no more than its share of the workers.
func TestCalls_RevocationsStandAside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		goOn, all, inside := make(chan struct{}), &calls{}, 0
		slow := oddly{revoke: func() { inside++; <-goOn }}
		revoke := func(name string) error {
			_, err := all.revoke(t.Context(), slow, name, caller{capability: "publish"}, provider.Issued{})
			return err
		}
		for range mostRevocations / 2 {
			go func() { _ = revoke("slow") }()
			synctest.Wait()
		}
		began := time.Now()
		err := revoke("slow")
		if !provider.IsRetryable(err) || provider.RetryAfter(err) != revokeTurn || time.Since(began) != revokeTurn {
			t.Errorf("one too many, after %s: %v", time.Since(began), err)
		}
		go func() { _ = revoke("another") }()
		synctest.Wait()
		if inside != mostRevocations/2+1 {
			t.Errorf("%d are asked for", inside)
		}
		close(goOn)
		if err := revoke("slow"); err != nil {
			t.Errorf("after the others: %v", err)
		}
	})
}

// TestCalls_HoweverManyProvidersHangANamespaceHasWorkersLeft: one server may stand behind many of them.
func TestCalls_HoweverManyProvidersHangANamespaceHasWorkersLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		goOn, all := make(chan struct{}), &calls{}
		inside := map[string]*atomic.Int32{"agents": {}, "others": {}} // more than one goes on when a turn ends
		revoke := func(namespace, name string) {
			of := caller{capability: name, namespace: namespace}
			_, _ = all.revoke(t.Context(), oddly{revoke: func() { inside[namespace].Add(1); <-goOn }}, name, of, provider.Issued{})
		}
		for _, namespace := range []string{"agents", "others"} {
			for n := range 40 {
				go revoke(namespace, []string{"a", "b", "c", "d"}[n%4])
				synctest.Wait()
			}
		}
		for namespace := range inside {
			if n := inside[namespace].Load(); n == 0 || n > mostRevocations {
				t.Errorf("%d revocations of %s are under way", n, namespace)
			}
		}
		close(goOn)
	})
}

// TestAnswer_OfAnAttemptThatIsAnothersNowIsRecorded: what was issued is in the audit log, whoever goes on.
func TestAnswer_OfAnAttemptThatIsAnothersNowIsRecorded(t *testing.T) {
	e := newEnv(t)
	answers := make(chan struct{})
	e.grants.Observer.Providers = provider.NewSet(oddly{Provider: e.backend, issue: func(ctx context.Context, l provider.Lease) (*provider.Credential, error) {
		<-answers
		return e.backend.Issue(ctx, l)
	}})
	_, err := e.grants.Reconcile(t.Context(), ctrl.Request{NamespacedName: key()})
	e.must(err)
	g := e.grant()
	g.Status.Attempt = 2
	e.must(e.client.Status().Update(t.Context(), g))
	close(answers)
	<-e.grants.Answered
	for range 3 {
		_, _ = e.grants.Reconcile(t.Context(), ctrl.Request{NamespacedName: key()})
	}
	for _, r := range e.audit.records {
		if r.Event == audit.EventIssued && r.Attempt == 1 && r.CredentialID != "" && strings.HasSuffix(r.Session, "-1") {
			return
		}
	}
	t.Errorf("it is not on record: %v", e.audit.events())
}

// TestFence_WhatWaitingCannotMendEndsTheGrant: the rules were changed after the request was made, and it can never become
// younger than they are.
func TestFence_WhatWaitingCannotMendEndsTheGrant(t *testing.T) {
	e := newEnv(t)
	e.guard.status.Since = e.clock.Now().Add(time.Minute)
	e.clock.Step(2 * time.Minute)
	e.reconcile()
	e.clock.Step(lifecycle.Recheck)
	e.over()
	g := e.grant()
	if g.Status.Stop == nil || g.Status.Stop.Reason != v1alpha1.ReasonNotGuarded || g.Status.Outcome != v1alpha1.OutcomeIssueFailed {
		t.Errorf("stop %+v, outcome %q", g.Status.Stop, g.Status.Outcome)
	}
	if n := len(e.backend.Calls()); n > 0 {
		t.Errorf("the back end was asked %d times", n)
	}
}

// TestStartJob_WithoutItsJobIsNotTriedInARow: the API server is asked once for a Job that the cache still shows.
func TestStartJob_WithoutItsJobIsNotTriedInARow(t *testing.T) {
	e := newEnv(t)
	asked := 0
	e.grants.Live = live.New(interceptor.NewClient(e.client.(client.WithWatch), interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			if _, ok := o.(*batchv1.Job); ok {
				asked++
				return apierrors.NewNotFound(batchv1.Resource("jobs"), key.Name)
			}
			return c.Get(ctx, key, o, opts...)
		}}))
	if result := e.reconcile(); result.RequeueAfter != time.Second || asked != 1 {
		t.Errorf("asked %d times, again after %s", asked, result.RequeueAfter)
	}
}
