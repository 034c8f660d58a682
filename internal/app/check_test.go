// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package app

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clocktesting "k8s.io/utils/clock/testing"
	fakeclient "sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

var checked = time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC)

func TestSomebodyHasToLead(t *testing.T) {
	holder, seconds := "valetkey-1_x", int32(15)
	renewed := func(ago time.Duration) *coordinationv1.Lease {
		at := metav1.NewMicroTime(checked.Add(-ago))
		return &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "valetkey", Namespace: "valetkey-system"},
			Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: &seconds, RenewTime: &at}}
	}
	givenBack := renewed(time.Second)
	givenBack.Spec.HolderIdentity = new(string)
	died, nobody := renewed(16*time.Second), &coordinationv1.Lease{ObjectMeta: renewed(0).ObjectMeta}
	for name, c := range map[string]struct {
		stored []runtime.Object
		then   *coordinationv1.Lease // what becomes of it while it is looked at
		says   string
	}{
		"nobody ever did":      {nil, nil, "no replica leads: look at"},
		"who did gave back":    {[]runtime.Object{givenBack}, nil, "no replica leads: look at"},
		"who did has died":     {[]runtime.Object{died}, nil, "valetkey-1_x led until 2026-03-14T09:26:52Z"},
		"somebody does":        {[]runtime.Object{renewed(14 * time.Second)}, nil, ""},
		"a lease never taken":  {[]runtime.Object{nobody}, nil, "no replica leads: look at"},
		"the first takes it":   {nil, renewed(0), ""},
		"it is taken":          {[]runtime.Object{givenBack}, renewed(0), ""},
		"it is taken over":     {[]runtime.Object{died}, renewed(0), ""},
		"it is given back now": {[]runtime.Object{died}, nobody, "no replica leads: look at"},
	} {
		synctest.Test(t, func(t *testing.T) {
			clients := fake.NewClientset(c.stored...)
			i := inquiry{o: options{namespace: "valetkey-system", clock: clocktesting.NewFakePassiveClock(checked)}, clients: clients}
			ctx, cancel := context.WithTimeout(t.Context(), checkTime)
			defer cancel()
			said := make(chan error, 1)
			go func() { said <- i.led(ctx) }()
			synctest.Wait()
			if c.then != nil {
				leases, err := clients.CoordinationV1().Leases("valetkey-system"), error(nil)
				if c.stored == nil {
					_, err = leases.Create(ctx, c.then, metav1.CreateOptions{})
				} else {
					_, err = leases.Update(ctx, c.then, metav1.UpdateOptions{})
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if err := <-said; (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: %v, want %q", name, err, c.says)
			}
		})
	}
}

func TestRemovalIsRefusedWhileAGrantNeedsTheOperator(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	grant := func(namespace, name string, expires, ended *metav1.Time) *v1alpha1.CapabilityGrant {
		return &v1alpha1.CapabilityGrant{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: v1alpha1.CapabilityGrantSpec{Capability: "publish"},
			Status: v1alpha1.CapabilityGrantStatus{ExpiresAt: expires, EndedAt: ended}}
	}
	at := metav1.NewTime(checked)
	held := grant("a", "x", &at, &at)
	held.Finalizers = []string{v1alpha1.FinalizerRevoke}
	expires := metav1.NewTime(checked.Add(time.Hour))
	held.Status.CredentialExpiresAt = &expires
	counted := held.DeepCopy()
	counted.Name, counted.DeletionTimestamp = "y", &at
	counted.Status.Revocation = &v1alpha1.Revocation{Mode: v1alpha1.RevocationAtExpiry}
	for name, c := range map[string]struct {
		watched []string
		grants  []*v1alpha1.CapabilityGrant
		prints  string
		refused string
	}{
		"nothing": {nil, nil, "no grant needs the operator\n", ""},
		"ended":   {nil, []*v1alpha1.CapabilityGrant{grant("a", "x", &at, &at)}, "no grant needs the operator\n", ""},
		"held": {nil, []*v1alpha1.CapabilityGrant{held}, "a/x: capability publish, has ended\n",
			"1 grants have ended and carry the finalizer valetkey.dev/revoke"},
		"counted": {nil, []*v1alpha1.CapabilityGrant{counted},
			"a/y: capability publish, has ended, is deleted, and is counted by a limit until 2026-03-14T10:26:53Z\n",
			"or wait until 2026-03-14T10:26:53Z"},
		"living":     {nil, []*v1alpha1.CapabilityGrant{grant("a", "x", &at, nil), grant("b", "y", nil, nil)}, "a/x: capability publish, until 2026-03-14T09:26:53Z\nb/y: capability publish, not issued yet\n", "2 grants live"},
		"watched":    {[]string{"a", "b"}, []*v1alpha1.CapabilityGrant{grant("b", "y", nil, nil)}, "b/y: capability publish, not issued yet\n", "1 grants live"},
		"elsewhere":  {[]string{"a"}, []*v1alpha1.CapabilityGrant{grant("b", "y", nil, nil)}, "no grant needs the operator\n", ""},
		"both kinds": {nil, []*v1alpha1.CapabilityGrant{grant("a", "x", &at, &at), grant("a", "y", nil, nil)}, "a/y: capability publish, not issued yet\n", "1 grants live"},
	} {
		builder := fakeclient.NewClientBuilder().WithScheme(scheme)
		for _, g := range c.grants {
			builder = builder.WithObjects(g)
		}
		var printed bytes.Buffer
		o := options{watchNamespaces: c.watched, clock: clocktesting.NewFakePassiveClock(checked)}
		i := inquiry{o: o, reader: builder.Build(), to: &printed}
		if err := i.mayBeRemoved(t.Context()); (err == nil) != (c.refused == "") || err != nil && !strings.Contains(err.Error(), c.refused) {
			t.Errorf("%s: %v, want %q", name, err, c.refused)
		}
		if printed.String() != c.prints {
			t.Errorf("%s: it prints\n%swant\n%s", name, printed.String(), c.prints)
		}
	}
}

func TestChecksRefuseFlagsThatTheOperatorWouldRefuse(t *testing.T) {
	for _, check := range []func([]string, *bytes.Buffer) int{
		func(args []string, to *bytes.Buffer) int {
			return Check(t.Context(), args, to, to, clocktesting.NewFakePassiveClock(checked))
		},
		func(args []string, to *bytes.Buffer) int {
			return CheckRemoval(t.Context(), args, to, to, clocktesting.NewFakePassiveClock(checked))
		},
	} {
		var said bytes.Buffer
		if code := check([]string{"--watch-namespaces=a"}, &said); code != 2 || !strings.Contains(said.String(), "--watch-namespace") {
			t.Errorf("%d: %s", code, said.String())
		}
	}
}
