// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package request

import (
	"context"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/limits"
)

// TestFeed_TellsEveryStateAndTheLastOne also of an object whose removal the watch did not see.
func TestFeed_TellsEveryStateAndTheLastOne(t *testing.T) {
	var told []string
	named := func(name string) *v1alpha1.CapabilityGrant {
		return &v1alpha1.CapabilityGrant{ObjectMeta: metav1.ObjectMeta{Name: name}}
	}
	handler := tells(
		func(g *v1alpha1.CapabilityGrant) { told = append(told, "is "+g.Name) },
		func(g *v1alpha1.CapabilityGrant) { told = append(told, "gone "+g.Name) },
	)
	handler.OnAdd(named("a"), true)
	handler.OnAdd(named("b"), false)
	handler.OnUpdate(named("old"), named("new"))
	handler.OnDelete(named("a"))
	handler.OnDelete(toolscache.DeletedFinalStateUnknown{Key: "b", Obj: named("b")})
	handler.OnDelete(toolscache.DeletedFinalStateUnknown{Key: "c"})
	if want := []string{"is a", "is b", "is new", "gone a", "gone b"}; !slices.Equal(told, want) {
		t.Errorf("it told %v; want %v", told, want)
	}
}

func TestOffers_AreMadeInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ledger := limits.New(clock.RealClock{})
		start, woken := time.Now(), map[string]time.Duration{}
		ledger.OnWake(func(name types.NamespacedName) { woken[name.Name] = time.Since(start) })
		ledger.Open()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- Offers(ledger, clock.RealClock{}, clock.RealClock{}).Start(ctx) }()
		for _, name := range []string{"x", "a", "b", "c"} {
			r := &v1alpha1.CapabilityRequest{ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: name, UID: types.UID(name)}}
			if _, _, err := ledger.Reserve("one", 1, r); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		ledger.GiveBack("x")
		time.Sleep(time.Minute)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		want := map[string]time.Duration{"a": time.Minute, "b": time.Minute + 2*time.Second, "c": time.Minute + 4*time.Second}
		if !maps.Equal(woken, want) {
			t.Errorf("they were woken after %v; want %v", woken, want)
		}
	})
}
