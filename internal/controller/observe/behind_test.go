// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"errors"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/live"
	"github.com/valetkey/valetkey/internal/policy"
)

// TestCatalogue_ACapabilityThatTheWatchDoesNotShowYetIsNotMissing: whoever asks for one that is missing is refused for
// good.
func TestCatalogue_ACapabilityThatTheWatchDoesNotShowYetIsNotMissing(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	holds := func(objects ...client.Object) client.Reader {
		return fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).Build()
	}
	stored := &v1alpha1.Capability{ObjectMeta: metav1.ObjectMeta{Name: "publish"}}
	for name, row := range map[string]struct {
		cache, live client.Reader
		found       bool
		err         error
	}{
		"is there":      {holds(stored), holds(stored), true, nil},
		"has just come": {holds(), holds(stored), false, errBehind},
		"is not there":  {holds(), holds(), false, nil},
	} {
		o := &Observer{Cache: row.cache, Live: live.New(row.live)}
		found := Observation{Facts: policy.Facts{Request: &v1alpha1.CapabilityRequest{Spec: v1alpha1.CapabilityRequestSpec{Capability: "publish"}}}}
		err := o.catalogue(t.Context(), &found)
		if !errors.Is(err, row.err) || (found.Facts.Capability != nil) != row.found {
			t.Errorf("a capability that %s: found %t, %v", name, found.Facts.Capability != nil, err)
		}
	}
}
