// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"sync"
	"sync/atomic"

	batchv1 "k8s.io/api/batch/v1"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// World counts the changes of what decides about a living grant beside its request and its Job: the catalogue, namespaces, roles and
// admission rules. Its zero value is ready to use.
type World struct{ changes atomic.Int64 }

// Changed says that something of it has changed, and that the cache shows it.
func (w *World) Changed() { w.changes.Add(1) }

// asOf is something that was found out, and stays so until the world changes. Its zero value is ready to use.
type asOf[T any] struct {
	mu    sync.Mutex
	known bool
	world int64
	found T
}

// get finds out, if it has to. What failed is found out the next time.
func (a *asOf[T]) get(world *World, find func() (T, error)) (T, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := world.changes.Load()
	if a.known && a.world == now {
		return a.found, nil
	}
	found, err := find()
	a.known, a.world, a.found = err == nil, now, found
	return found, err
}

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
