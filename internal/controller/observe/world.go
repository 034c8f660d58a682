// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"hash/fnv"
	"sync"
	"sync/atomic"

	batchv1 "k8s.io/api/batch/v1"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// World counts the changes of what decides about a living grant beside its request and its Job: the catalogue, namespaces, roles and
// admission rules. Its zero value is ready to use.
type World struct {
	// cluster counts those of what is in no namespace, and all counts every change.
	cluster, all atomic.Int64
	// namespaces count those of what is in one: some share a count, for namespaces come and go.
	namespaces [256]atomic.Int64
}

// Changed says that something has changed, in a namespace or in none, and that the cache shows it.
func (w *World) Changed(namespace string) {
	if namespace == "" {
		w.cluster.Add(1)
	} else {
		w.of(namespace).Add(1)
	}
	w.all.Add(1)
}

func (w *World) of(namespace string) *atomic.Int64 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(namespace))
	return &w.namespaces[h.Sum32()%uint32(len(w.namespaces))]
}

// asOf is something that was found out of what is in no namespace, and stays so until that changes. Its zero value is ready to use.
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
	now := world.cluster.Load()
	if a.known && a.world == now {
		return a.found, nil
	}
	found, err := find()
	a.known, a.world, a.found = err == nil, now, found
	return found, err
}

// Sight is all that a decision about a living grant depends on: as long as it is the same, so is the decision.
type Sight struct {
	cluster, around int64
	request         string
	job             edition
}

// Sight of a request with its Job, as the cache shows it. It is taken before they are looked at. Of rights of the cluster itself, roles of every
// namespace decide.
func (o *Observer) Sight(request *v1alpha1.CapabilityRequest, job *batchv1.Job, ofTheCluster bool) Sight {
	around := o.World.of(request.Namespace)
	if ofTheCluster {
		around = &o.World.all
	}
	return Sight{cluster: o.World.cluster.Load(), around: around.Load(), request: request.ResourceVersion,
		job: edition{job.UID, job.Generation, job.Annotations[shownLabels]}}
}
