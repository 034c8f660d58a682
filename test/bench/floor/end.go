// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package floor

import (
	"context"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/projection"
	"github.com/valetkey/valetkey/test/bench/env"
	"github.com/valetkey/valetkey/test/bench/timeline"
)

// Ending is a grant that is to end, with its request, as they were read.
type Ending struct{ work }

// Read reads a grant that is to end, and its request. An operator knows them from its watch, so it is done before the clock starts.
func (f *Floor) Read(ctx context.Context, name string) (*Ending, error) {
	e := &Ending{work{Floor: f, grant: &v1alpha1.CapabilityGrant{ObjectMeta: env.Meta(name)}, request: &v1alpha1.CapabilityRequest{ObjectMeta: env.Meta(name)}}}
	for _, o := range []client.Object{e.grant, e.request} {
		if err := f.env.AsOperator.Get(ctx, client.ObjectKeyFromObject(o), o); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// Write makes the writes of an end. stop says that the Job still runs, and is stopped too.
func (e *Ending) Write(ctx context.Context, stop bool) error {
	w := &e.work
	w.timeline.Mark(w.request.Name, timeline.Ending, time.Now())
	type step func(context.Context) error
	steps := []step{w.storeStop, w.deleteSecret, w.stopJob, w.storeRevocation, w.storeOutcome, w.close}
	switch {
	case w.least && stop:
		steps = []step{w.deleteSecret, w.stopJob, w.storeOutcome, w.close}
	case w.least:
		steps = []step{w.deleteSecret, w.storeOutcome, w.close}
	case !stop:
		steps = []step{w.storeStop, w.deleteSecret, w.storeBoth, w.close}
	}
	for _, do := range steps {
		if err := do(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (w *work) storeStop(ctx context.Context) error {
	w.stop()
	return w.storeStatus(ctx)
}

func (w *work) stop() {
	w.grant.Status.Stop = &v1alpha1.GrantStop{Outcome: v1alpha1.OutcomeCompleted, Reason: v1alpha1.ReasonJobCompleted, Message: "the Job succeeded", At: metav1.Now()}
	set(w.grant, &w.grant.Status.Conditions, v1alpha1.ConditionEnded, metav1.ConditionFalse, v1alpha1.ReasonEnding)
}

func (w *work) deleteSecret(ctx context.Context) error {
	secret := &corev1.Secret{ObjectMeta: env.Meta(projection.SecretName(w.grant.UID, 1))}
	return w.env.AsOperator.Delete(ctx, secret, client.PropagationPolicy(metav1.DeletePropagationBackground))
}

func (w *work) stopJob(ctx context.Context) error {
	job := &batchv1.Job{ObjectMeta: env.Meta(w.grant.Spec.Job.Name)}
	job.UID = types.UID(w.grant.Spec.Job.UID)
	return w.env.AsOperator.Patch(ctx, job, client.RawPatch(types.MergePatchType, projection.StopPatch(job)))
}

func (w *work) storeRevocation(ctx context.Context) error {
	w.revoke()
	return w.storeStatus(ctx)
}

// storeBoth stores the revocation with the outcome, as the operator does where nothing runs any more.
func (w *work) storeBoth(ctx context.Context) error {
	w.revoke()
	return w.storeOutcome(ctx)
}

func (w *work) revoke() {
	now := metav1.Now()
	w.grant.Status.Revocation = &v1alpha1.Revocation{Mode: v1alpha1.RevocationImmediate, ConfirmedAt: &now}
}

func (w *work) storeOutcome(ctx context.Context) error {
	if w.least {
		w.stop()
		w.revoke()
	}
	now := metav1.Now()
	w.grant.Status.Outcome, w.grant.Status.EndedAt = v1alpha1.OutcomeCompleted, &now
	set(w.grant, &w.grant.Status.Conditions, v1alpha1.ConditionEnded, metav1.ConditionTrue, v1alpha1.ReasonJobCompleted)
	return w.storeStatus(ctx)
}

// close stores in the request's status that it has ended.
func (w *work) close(ctx context.Context) error {
	now := metav1.Now()
	w.request.Status.EndedAt = &now
	set(w.request, &w.request.Status.Conditions, v1alpha1.ConditionEnded, metav1.ConditionTrue, v1alpha1.ReasonGrantEnded)
	return w.storeRequest(ctx)
}
