// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"context"
	"fmt"
	"math"
	"strings"
	"sync"

	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/lru"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// mostRemembered is how many bytes of Jobs are remembered whole, as they are sent. In memory a Job is up to eight times as large.
const mostRemembered = 4 << 20

// Jobs remembers whole Jobs. The cache has of each what moves: an agent may make any number of Jobs, and what they fill must
// not be the operator's memory. Its zero value is ready to use.
type Jobs struct {
	mu    sync.Mutex
	known *lru.Cache
	bytes int
}

// edition is one state of a Job's spec, and of its labels.
type edition struct {
	uid        types.UID
	generation int64
	labels     string
}

func editionOf(whole *batchv1.Job) edition {
	return edition{whole.UID, whole.Generation, labelsSum(whole.Labels)}
}

// wholeJob is a Job as it is stored, with what is wrong with it that a typed Job does not show.
type wholeJob struct {
	job      *batchv1.Job
	problems []string
	// size of its template as JSON, where that is too large to be read.
	size int
}

func (j *Jobs) get(e edition) (wholeJob, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.known == nil {
		return wholeJob{}, false
	}
	found, ok := j.known.Get(e)
	if !ok {
		return wholeJob{}, false
	}
	return found.(wholeJob), true
}

// add remembers a Job, and forgets those that were not asked for the longest while, until there is room.
func (j *Jobs) add(whole wholeJob) {
	size := whole.job.Size()
	if size > mostRemembered/16 {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.known == nil {
		j.known = lru.NewWithEvictionFunc(math.MaxInt, func(_ lru.Key, value any) { j.bytes -= value.(wholeJob).job.Size() })
	}
	e := editionOf(whole.job)
	j.known.Remove(e)
	j.known.Add(e, whole)
	j.bytes += size
	for j.bytes > mostRemembered {
		j.known.RemoveOldest()
	}
}

// job is a request's Job whole, or nil. What moves in it is as the cache shows it.
func (o *Observer) job(ctx context.Context, request *v1alpha1.CapabilityRequest) (wholeJob, error) {
	shown := &batchv1.Job{}
	key := client.ObjectKey{Namespace: request.Namespace, Name: v1alpha1.NamePrefix + request.Name}
	if found, err := get(ctx, o.Cache, key, shown); !found {
		return wholeJob{}, err
	}
	whole, known := o.jobs.get(edition{shown.UID, shown.Generation, shown.Annotations[shownLabels]})
	if !known {
		var err error
		if whole, err = o.readJob(ctx, turnOf(request), key); err != nil || whole.job == nil || whole.job.UID != shown.UID {
			return wholeJob{}, err
		}
		o.jobs.add(whole)
	}
	return whole.as(shown), nil
}

// jobRoom is how many objects of the largest size a Job takes that is read as JSON, in which a character can be six times as long
// as it is stored.
const jobRoom = 6

// readJob reads a Job as it is stored. Fields that the API server has and this program does not know, because the cluster is newer, would
// be dropped by a typed client, so that neither the check of the Job nor its digest saw them.
func (o *Observer) readJob(ctx context.Context, turn Turn, key client.ObjectKey) (wholeJob, error) {
	stored := &storedJob{}
	stored.SetGroupVersionKind(batchv1.SchemeGroupVersion.WithKind("Job"))
	err := o.lookups.Do(ctx, turn, func() error {
		return o.Live.Group(ctx, key.Namespace, jobRoom, func(from client.Reader) error { return from.Get(ctx, key, stored) })
	})
	switch {
	case apierrors.IsNotFound(err):
		return wholeJob{}, nil
	case err != nil:
		return wholeJob{}, fmt.Errorf("looking up the Job as it is stored: %w", err)
	}
	return stored.whole, nil
}

// as is the Job with what the cache shows of it: when it goes, what it was started with, and how it stands.
func (w wholeJob) as(shown *batchv1.Job) wholeJob {
	job := w.job.DeepCopy()
	job.ResourceVersion, job.Generation = shown.ResourceVersion, shown.Generation
	job.DeletionTimestamp, job.Finalizers = shown.DeletionTimestamp, shown.Finalizers
	job.Status, job.Spec.Suspend = shown.Status, shown.Spec.Suspend
	for key := range job.Spec.Template.Annotations {
		if strings.HasPrefix(key, v1alpha1.GroupVersion.Group+"/") {
			delete(job.Spec.Template.Annotations, key)
		}
	}
	for key, value := range shown.Spec.Template.Annotations {
		if job.Spec.Template.Annotations == nil {
			job.Spec.Template.Annotations = map[string]string{}
		}
		job.Spec.Template.Annotations[key] = value
	}
	return wholeJob{job: job, problems: w.problems, size: w.size}
}
