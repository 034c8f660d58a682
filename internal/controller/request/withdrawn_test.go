// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package request_test

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// TestRequest_ThatIsBeingDeletedEnds though a finalizer, or the garbage collector, holds it: whoever asked, with or
// without a grant, can do that.
func TestRequest_ThatIsBeingDeletedEnds(t *testing.T) {
	e, o := begin(t, v1alpha1.RevocationImmediate, 1)
	ask(o, "granted", "waits")
	expectGranted(e, "granted")
	for _, row := range []struct{ name, want string }{{"waits", v1alpha1.ReasonWithdrawn}, {"granted", v1alpha1.ReasonAllowed}} {
		name, want := row.name, row.want
		held := e.Request(name)
		held.Finalizers = append(held.Finalizers, "example.com/keep")
		e.Must(e.Client.Update(e.Context(), held))
		e.Must(e.Client.Delete(e.Context(), held))
		o.Advance(time.Second)
		r := e.Request(name)
		if r.Status.EndedAt == nil || !meta.IsStatusConditionTrue(r.Status.Conditions, v1alpha1.ConditionEnded) || allowed(r).Reason != want {
			t.Errorf("%s: ended at %v, %+v", name, r.Status.EndedAt, allowed(r))
		}
	}
}
