// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"sync/atomic"

	batchv1 "k8s.io/api/batch/v1"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// World counts the changes of what decides about a living grant beside its request and its Job: the catalogue, namespaces, roles and
// admission rules. Its zero value is ready to use.
type World struct{ changes atomic.Int64 }

// Changed says that something of it has changed, and that the cache shows it.
func (w *World) Changed() { w.changes.Add(1) }

// Sight is all that a decision about a living grant depends on: as long as it is the same, so is the decision.
type Sight struct {
	world   int64
	request string
	job     edition
}

// Sight of a request with its Job, as the cache shows it. It is taken before they are looked at.
func (o *Observer) Sight(request *v1alpha1.CapabilityRequest, job *batchv1.Job) Sight {
	return Sight{world: o.World.changes.Load(), request: request.ResourceVersion,
		job: edition{job.UID, job.Generation, job.Annotations[shownLabels]}}
}
