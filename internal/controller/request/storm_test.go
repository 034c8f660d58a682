// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package request_test

import (
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// TestRequest_IsGrantedOnceInAStorm has an administrator of the namespace change a request whenever its status is to be
// stored, and delete its grant meanwhile: a request that does not know its grant would be granted again.
func TestRequest_IsGrantedOnceInAStorm(t *testing.T) {
	for name, tt := range map[string]struct {
		change string
		// pause is after how many changes one is left out.
		pause int
	}{
		"of notes":                     {change: `{"metadata":{"annotations":{"x":"%d"}}}`, pause: 100},
		"of notes without a pause":     {change: `{"metadata":{"annotations":{"x":"%d"}}}`, pause: 250},
		"of decisions":                 {change: `{"decisions":[{"by":"mallory","decision":"Approve","digest":"x","reason":"%d"}]}`, pause: 100},
		"of decisions without a pause": {change: `{"decisions":[{"by":"mallory","decision":"Approve","digest":"x","reason":"%d"}]}`, pause: 250},
	} {
		t.Run(name, func(t *testing.T) {
			e, o := begin(t, v1alpha1.RevocationImmediate, 0)
			changes := 0
			made := map[types.UID]bool{}
			e.Faults.Before = func(verb string, object client.Object) error {
				r, is := object.(*v1alpha1.CapabilityRequest)
				if !is || verb != "update status" || r.Status.GrantName == "" {
					return nil
				}
				if g := e.Grant(r.Name); g != nil {
					made[g.UID] = true
					e.Must(client.IgnoreNotFound(e.Client.Delete(e.Context(), g)))
				}
				if changes++; changes%tt.pause != 0 {
					e.Must(e.Client.Patch(e.Context(), e.Request(r.Name), client.RawPatch(types.MergePatchType, fmt.Appendf(nil, tt.change, changes))))
				}
				return nil
			}
			ask(o, "a")
			o.Advance(time.Minute)
			if r := e.Request("a"); len(made) != 1 || r.Status.EndedAt == nil {
				t.Errorf("%d grants were made; the request says %+v", len(made), r.Status)
			}
		})
	}
}
