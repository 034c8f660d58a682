// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"testing"

	batchv1 "k8s.io/api/batch/v1"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// TestSight_ChangesWithWhatItDependsOn, and with nothing in another namespace, unless the rights are the cluster's.
func TestSight_ChangesWithWhatItDependsOn(t *testing.T) {
	for name, row := range map[string]struct {
		change       func(o *Observer, r *v1alpha1.CapabilityRequest, j *batchv1.Job)
		ofTheCluster bool
		changes      bool
	}{
		"nothing":                              {func(*Observer, *v1alpha1.CapabilityRequest, *batchv1.Job) {}, true, false},
		"something in no namespace":            {func(o *Observer, _ *v1alpha1.CapabilityRequest, _ *batchv1.Job) { o.World.Changed("") }, false, true},
		"something in its namespace":           {func(o *Observer, _ *v1alpha1.CapabilityRequest, _ *batchv1.Job) { o.World.Changed("agents") }, false, true},
		"something in another":                 {func(o *Observer, _ *v1alpha1.CapabilityRequest, _ *batchv1.Job) { o.World.Changed("other") }, false, false},
		"something in another, of the cluster": {func(o *Observer, _ *v1alpha1.CapabilityRequest, _ *batchv1.Job) { o.World.Changed("other") }, true, true},
		"the request":                          {func(_ *Observer, r *v1alpha1.CapabilityRequest, _ *batchv1.Job) { r.ResourceVersion = "2" }, false, true},
		"the Job's spec":                       {func(_ *Observer, _ *v1alpha1.CapabilityRequest, j *batchv1.Job) { j.Generation = 2 }, false, true},
		"the Job's status":                     {func(_ *Observer, _ *v1alpha1.CapabilityRequest, j *batchv1.Job) { j.Status.Active = 1 }, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			o, r, j := &Observer{}, &v1alpha1.CapabilityRequest{}, &batchv1.Job{}
			r.Namespace = "agents"
			before := o.Sight(r, j, row.ofTheCluster)
			row.change(o, r, j)
			if changes := o.Sight(r, j, row.ofTheCluster) != before; changes != row.changes {
				t.Errorf("it changes: %t", changes)
			}
		})
	}
}
