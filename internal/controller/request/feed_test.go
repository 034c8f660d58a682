// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package request

import (
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"

	"github.com/valetkey/valetkey/api/v1alpha1"
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
