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

// TestRequest_IsGrantedOnceInAStorm has an administrator of the namespace change notes of the request whenever its status
// is to be stored, and delete its grant meanwhile: a request that does not know its grant would be granted again.
func TestRequest_IsGrantedOnceInAStorm(t *testing.T) {
	e, o := begin(t, v1alpha1.RevocationImmediate, 0)
	notes := 0
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
		if notes++; notes%100 != 0 {
			note := fmt.Appendf(nil, `{"metadata":{"annotations":{"x":"%d"}}}`, notes)
			e.Must(e.Client.Patch(e.Context(), e.Request(r.Name), client.RawPatch(types.MergePatchType, note)))
		}
		return nil
	}
	ask(o, "a")
	o.Advance(time.Minute)
	if r := e.Request("a"); len(made) != 1 || r.Status.EndedAt == nil {
		t.Errorf("%d grants were made; the request says %+v", len(made), r.Status)
	}
}
