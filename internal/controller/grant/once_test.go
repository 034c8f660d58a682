// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package grant_test

import (
	"slices"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/controller/controllertest"
)

// TestEnd_IsStoredWithWhatTheBackEndConfirmed, in two writes: that it ends, and what came of it. A write that fails loses nothing of it, and
// nothing is recorded twice.
func TestEnd_IsStoredWithWhatTheBackEndConfirmed(t *testing.T) {
	for name, fails := range map[string]int{"each write is stored": 0, "the last is not stored at first": 2} {
		t.Run(name, func(t *testing.T) {
			e := controllertest.New(t, time.Minute, v1alpha1.RevocationImmediate)
			e.Policy("one", 0)
			o := e.Start()
			e.Ask("a")
			o.Run()
			stored := 0
			e.Faults.Before = func(verb string, object client.Object) error {
				g, is := object.(*v1alpha1.CapabilityGrant)
				if !is || verb != "update status" {
					return nil
				}
				if g.Status.EndedAt != nil && fails > 0 {
					fails--
					return controllertest.Unreachable()
				}
				stored++
				return nil
			}
			e.Finish("a")
			o.Advance(30 * time.Second)
			g := e.Grant("a")
			if g.Status.EndedAt == nil || g.Status.Revocation == nil || g.Status.Revocation.Mode != v1alpha1.RevocationImmediate || g.Status.Revocation.ConfirmedAt == nil {
				t.Errorf("it ended so: %+v", g.Status)
			}
			if most := 2; stored > most {
				t.Errorf("it is stored %d times", stored)
			}
			if e.Backend.Working() != 0 {
				t.Error("its credential works")
			}
			revoked := slices.DeleteFunc(slices.Clone(o.Records), func(r audit.Record) bool { return r.Event != audit.EventRevoked })
			if len(revoked) != 1 {
				t.Errorf("the revocation is recorded %d times", len(revoked))
			}
		})
	}
}
