// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"context"
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// Terms are what requests of one step have in common.
type Terms struct {
	// Environment is Free or Approved.
	Environment string
	// TTL of the credential, in whole seconds.
	TTL time.Duration
}

// Hour are the terms of most steps: nothing expires, and nobody is asked.
func Hour() Terms { return Terms{Environment: Free, TTL: time.Hour} }

// Meta is what the objects of one request have in common.
func Meta(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: Namespace, Name: name} }

// JobName is that of a request's Job.
func JobName(request string) string { return v1alpha1.NamePrefix + request }

// CreateRequest asks, as the agent.
func (e *Env) CreateRequest(ctx context.Context, name string, terms Terms) (*v1alpha1.CapabilityRequest, error) {
	r := &v1alpha1.CapabilityRequest{ObjectMeta: Meta(name), Spec: v1alpha1.CapabilityRequestSpec{
		Capability: catalogued, TaskID: "pr-184", Actor: "openclaw-agent", Repo: Repo, Environment: terms.Environment,
		Justification: "Publish the preview build for PR-184", TTLSeconds: ptr.To(int32(terms.TTL / time.Second)), Container: Container}}
	return r, e.Requester.Create(ctx, r)
}

// CreateJob creates a request's Job, as the agent.
func (e *Env) CreateJob(ctx context.Context, name string) error {
	job := e.job.DeepCopy()
	labels := map[string]string{v1alpha1.LabelRequest: name}
	job.Namespace, job.Name, job.Labels, job.Spec.Template.Labels = Namespace, JobName(name), labels, labels
	if e.Bare {
		job.Spec.Suspend = ptr.To(true) // no admission rule does it
	}
	return e.Requester.Create(ctx, job)
}

// Approve approves what a digest stands for.
func (e *Env) Approve(ctx context.Context, name, digest string) error {
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, v1alpha1.AnnotationApprove, digest)
	return e.Approver.Patch(ctx, &v1alpha1.CapabilityRequest{ObjectMeta: Meta(name)}, client.RawPatch(types.MergePatchType, patch))
}

// RemoveRequest deletes a request. Its Job is removed later: where no node runs its Pod, the grant of a Job that is gone would wait for its
// TTL, for nobody knows whether the Job had another Pod.
func (e *Env) RemoveRequest(ctx context.Context, name string) error {
	return e.remove(ctx, &v1alpha1.CapabilityRequest{ObjectMeta: Meta(name)})
}

// RemoveGrant deletes a grant without the operator.
func (e *Env) RemoveGrant(ctx context.Context, name string) error {
	g := &v1alpha1.CapabilityGrant{ObjectMeta: Meta(name)}
	if err := e.release(ctx, g); err != nil {
		return err
	}
	return e.remove(ctx, g)
}

// RemoveJob deletes a Job, and has the garbage collector delete its Pod.
func (e *Env) RemoveJob(ctx context.Context, name string) error {
	return e.remove(ctx, &batchv1.Job{ObjectMeta: Meta(JobName(name))})
}

func (e *Env) remove(ctx context.Context, o client.Object) error {
	return client.IgnoreNotFound(e.Admin.Delete(ctx, o, client.PropagationPolicy(metav1.DeletePropagationBackground)))
}

// release takes all finalizers off an object, as the operator.
func (e *Env) release(ctx context.Context, o client.Object) error {
	return client.IgnoreNotFound(e.AsOperator.Patch(ctx, o, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))))
}
