// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package floor makes the writes of a grant, and of its end, as a bare client does: one after the other, without a cache, a watch, a queue,
// an audit log, events, questions to the authorizer, or a back end. What it takes is what the API server takes: no operator that makes the same
// writes can be faster.
package floor

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/lifecycle"
	"github.com/valetkey/valetkey/internal/policy"
	"github.com/valetkey/valetkey/internal/projection"
	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/test/bench/env"
	"github.com/valetkey/valetkey/test/bench/timeline"
)

// Floor is one bare client.
type Floor struct {
	env      *env.Env
	timeline *timeline.Timeline
	// least leaves out each write that a grant can do without.
	least bool
}

// Design makes each write that the operator makes today, in its order. For a grant: request, the review where somebody has to approve, the namespace's
// mark, grant, the request's status with the grant's name, the attempt, the trial of the Pod, Secret, what was issued, the Job's start, the delivery.
// For an end: why, Secret, revocation and outcome, the request's status; where the grant ends before its Job, the Job's stop, and each of both by itself.
func Design(e *env.Env, t *timeline.Timeline) *Floor { return &Floor{env: e, timeline: t} }

// Least makes the writes that a grant cannot do without. For a grant: request, grant, Secret, the grant's status, the Job's start, the request's
// status. For an end: Secret, the Job's stop where the grant ends before its Job, the grant's status, the request's status.
func Least(e *env.Env, t *timeline.Timeline) *Floor { return &Floor{env: e, timeline: t, least: true} }

// work is one grant on its way.
type work struct {
	*Floor
	terms      env.Terms
	job        *batchv1.Job
	request    *v1alpha1.CapabilityRequest
	review     v1alpha1.Review
	grant      *v1alpha1.CapabilityGrant
	scope      provider.Scope
	credential *provider.Credential
}

// Grant makes the writes from a request to a started Job. The Job is there, and is read before the clock starts: an operator knows it from its
// watch.
func (f *Floor) Grant(ctx context.Context, name string, terms env.Terms) error {
	w := &work{Floor: f, terms: terms, job: &batchv1.Job{ObjectMeta: env.Meta(env.JobName(name))}}
	if err := f.env.AsOperator.Get(ctx, client.ObjectKeyFromObject(w.job), w.job); err != nil {
		return err
	}
	steps := []func(context.Context) error{w.ask, w.approve, w.mark, w.storeGrant, w.nameGrant, w.beginAttempt, w.tryPod, w.storeSecret, w.storeIssued, w.startJob, w.storeDelivered}
	if f.least {
		steps = []func(context.Context) error{w.ask, w.approve, w.storeGrant, w.storeSecret, w.storeIssued, w.startJob, w.nameGrant}
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// ask starts the clock, and creates the request.
func (w *work) ask(ctx context.Context) (err error) {
	name := w.job.Labels[v1alpha1.LabelRequest]
	w.timeline.Mark(name, timeline.Asked, time.Now())
	if w.request, err = w.env.CreateRequest(ctx, name, w.terms); err != nil {
		return err
	}
	w.timeline.Mark(name, timeline.Answered, time.Now())
	w.scope, err = w.env.Backend.Render(ctx, w.env.Capability, provider.Values{Repo: env.Repo, Environment: w.terms.Environment, Namespace: env.Namespace})
	if err != nil {
		return err
	}
	w.review, _, err = policy.NewReview(policy.ReviewInput{Request: w.request, Job: w.job, Capability: w.env.Capability, Provider: w.env.Provider,
		Scope: w.scope.Lines, Principal: w.scope.Principal, ConfigMaps: map[string]*corev1.ConfigMap{}, Now: time.Now()})
	w.request.Status.Review = &w.review
	set(w.request, &w.request.Status.Conditions, v1alpha1.ConditionReviewed, metav1.ConditionTrue, v1alpha1.ReasonReviewed)
	return err
}

func (w *work) storeRequest(ctx context.Context) error {
	w.request.Status.ObservedGeneration = w.request.Generation
	return w.env.AsOperator.Status().Update(ctx, w.request)
}

func (w *work) storeReview(ctx context.Context) error {
	set(w.request, &w.request.Status.Conditions, v1alpha1.ConditionReconciling, metav1.ConditionTrue, v1alpha1.ReasonWaiting)
	return w.storeRequest(ctx)
}

// approve has somebody approve what was reviewed, where the policy asks for that.
func (w *work) approve(ctx context.Context) error {
	if w.terms.Environment != env.Approved {
		return nil
	}
	if err := w.storeReview(ctx); err != nil {
		return err
	}
	w.timeline.Mark(w.request.Name, timeline.Approving, time.Now())
	if err := w.env.Approve(ctx, w.request.Name, w.review.Digest); err != nil {
		return err
	}
	// An operator has the decision from its watch.
	if err := w.env.AsOperator.Get(ctx, client.ObjectKeyFromObject(w.request), w.request); err != nil || w.least {
		return err
	}
	for _, d := range w.request.Decisions {
		w.request.Status.SeenDecisions = append(w.request.Status.SeenDecisions, v1alpha1.SeenDecision{By: d.By, Decision: d.Decision, Digest: d.Digest, SeenAt: metav1.Now()})
	}
	return w.storeRequest(ctx)
}

// mark marks the namespace as one in which a grant lives.
func (w *work) mark(ctx context.Context) error {
	patch := fmt.Appendf(nil, `{"metadata":{"labels":{%q:"true"}}}`, v1alpha1.LabelInUse)
	return w.env.AsOperator.Patch(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: env.Namespace}}, client.RawPatch(types.MergePatchType, patch))
}

func (w *work) storeGrant(ctx context.Context) error {
	r := w.request
	w.grant = &v1alpha1.CapabilityGrant{
		ObjectMeta: metav1.ObjectMeta{Namespace: r.Namespace, Name: r.Name, Labels: map[string]string{v1alpha1.LabelRequest: r.Name}, Finalizers: []string{v1alpha1.FinalizerRevoke},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(r, v1alpha1.GroupVersion.WithKind("CapabilityRequest"))}},
		Spec: v1alpha1.CapabilityGrantSpec{
			LeaseID: uuid.NewString(), RequestRef: v1alpha1.ObjectReference{Name: r.Name, UID: string(r.UID)}, Requester: r.Spec.Requester.Username,
			TaskID: r.Spec.TaskID, Actor: r.Spec.Actor, Repo: r.Spec.Repo, Environment: r.Spec.Environment, Capability: r.Spec.Capability,
			Provider: v1alpha1.GrantProvider{Name: w.env.Provider.Name, Type: w.env.Backend.Type()}, Scope: w.scope.Actions, TTLSeconds: w.review.TTLSeconds,
			Job:      v1alpha1.GrantJob{Name: w.job.Name, UID: string(w.job.UID), Container: r.Spec.Container},
			Approval: v1alpha1.GrantApproval{Policy: w.terms.Environment, PolicyGeneration: 1, Digest: w.review.Digest},
		},
	}
	for _, d := range r.Decisions {
		w.grant.Spec.Approval.ApprovedBy = append(w.grant.Spec.Approval.ApprovedBy, d.By)
	}
	return w.env.AsOperator.Create(ctx, w.grant)
}

// nameGrant stores in the request's status which grant it has.
func (w *work) nameGrant(ctx context.Context) error {
	s := &w.request.Status
	s.GrantName, s.Policy = w.grant.Name, &v1alpha1.PolicyReference{Name: w.terms.Environment, Generation: 1}
	meta.RemoveStatusCondition(&s.Conditions, v1alpha1.ConditionReconciling)
	set(w.request, &s.Conditions, v1alpha1.ConditionAllowed, metav1.ConditionTrue, v1alpha1.ReasonAllowed)
	set(w.request, &s.Conditions, v1alpha1.ConditionGranted, metav1.ConditionTrue, v1alpha1.ReasonGranted)
	return w.storeRequest(ctx)
}

func (w *work) storeStatus(ctx context.Context) error {
	w.grant.Status.ObservedGeneration = w.grant.Generation
	return w.env.AsOperator.Status().Update(ctx, w.grant)
}

func (w *work) lease() provider.Lease {
	return provider.Lease{ID: w.grant.Spec.LeaseID, Attempt: 1, Capability: w.env.Capability, Provider: w.env.Provider, TTL: w.terms.TTL, Grant: w.grant.Name,
		Values: provider.Values{Repo: env.Repo, Environment: w.terms.Environment, Namespace: env.Namespace}}
}

// beginAttempt stores the attempt, before anything would be asked of a back end.
func (w *work) beginAttempt(ctx context.Context) error {
	w.begin()
	s := &w.grant.Status
	set(w.grant, &s.Conditions, v1alpha1.ConditionIssued, metav1.ConditionFalse, v1alpha1.ReasonIssuing)
	set(w.grant, &s.Conditions, v1alpha1.ConditionDelivered, metav1.ConditionFalse, v1alpha1.ReasonWaiting)
	set(w.grant, &s.Conditions, v1alpha1.ConditionReconciling, metav1.ConditionTrue, v1alpha1.ReasonIssuing)
	return w.storeStatus(ctx)
}

// begin fills in what is stored of an attempt.
func (w *work) begin() {
	s := &w.grant.Status
	most, known := w.env.Backend.Lifetime(w.lease())
	lifecycle.Expose(s, v1alpha1.AttemptExposure{Attempt: 1, Until: metav1.NewTime(time.Now().Add(most)), Unknown: !known})
	s.Attempt, s.RevocationHandle = 1, w.env.Backend.Handle(w.lease())
	set(w.grant, &s.Conditions, v1alpha1.ConditionEnded, metav1.ConditionFalse, v1alpha1.ReasonActive)
}

// tryPod asks the API server whether it would take the Job's Pod. Nothing is stored, but all of admission has its say.
func (w *work) tryPod(ctx context.Context) error {
	return w.env.AsOperator.Create(ctx, projection.TrialPod(w.grant, &w.job.Spec.Template), client.DryRunAll)
}

func (w *work) storeSecret(ctx context.Context) (err error) {
	now := time.Now()
	expires := now.Add(w.terms.TTL)
	// A signed token is about as long.
	token := fmt.Sprintf("%0640d", 0)
	w.credential, err = provider.NewCredential(provider.CredentialFields{ID: w.grant.Spec.LeaseID, Principal: w.scope.Principal, ExpiresAt: expires,
		Files: map[string]string{"token/token": token}, Pointers: map[string]string{"VALETKEY_TOKEN_FILE": v1alpha1.MountPath + "/token/token"}, Secrets: []string{token}})
	if err != nil {
		return err
	}
	return w.env.AsOperator.Create(ctx, projection.Secret(w.grant, 1, w.credential, now, expires))
}

func (w *work) storeIssued(ctx context.Context) error {
	s := &w.grant.Status
	if w.least {
		w.begin()
		set(w.grant, &s.Conditions, v1alpha1.ConditionDelivered, metav1.ConditionTrue, v1alpha1.ReasonDelivered)
	}
	now := metav1.Now()
	expires := metav1.NewTime(now.Add(w.terms.TTL))
	lifecycle.Expose(s, v1alpha1.AttemptExposure{Attempt: 1, Until: expires, Answered: true})
	s.IssuedAt, s.ExpiresAt, s.SecretName = &now, &expires, projection.SecretName(w.grant.UID, 1)
	s.Credential = &v1alpha1.CredentialReference{ID: w.grant.Spec.LeaseID, Principal: w.scope.Principal}
	set(w.grant, &s.Conditions, v1alpha1.ConditionIssued, metav1.ConditionTrue, v1alpha1.ReasonIssued)
	return w.storeStatus(ctx)
}

// startJob starts the Job as it was read. Its status may have changed since, which the patch does not mind.
func (w *work) startJob(ctx context.Context) error {
	left := time.Until(w.grant.Status.ExpiresAt.Time)
	patch, err := projection.StartPatch(w.job, projection.Annotations(w.grant, w.job, 1, w.credential, nil, left), left)
	if err != nil {
		return err
	}
	return w.env.AsOperator.Patch(ctx, w.job, client.RawPatch(types.JSONPatchType, patch))
}

func (w *work) storeDelivered(ctx context.Context) error {
	s := &w.grant.Status
	meta.RemoveStatusCondition(&s.Conditions, v1alpha1.ConditionReconciling)
	set(w.grant, &s.Conditions, v1alpha1.ConditionDelivered, metav1.ConditionTrue, v1alpha1.ReasonDelivered)
	return w.storeStatus(ctx)
}

// set sets a condition, with a message of an ordinary length.
func set(o client.Object, list *[]metav1.Condition, kind string, status metav1.ConditionStatus, reason string) {
	meta.SetStatusCondition(list, metav1.Condition{Type: kind, Status: status, Reason: reason, ObservedGeneration: o.GetGeneration(),
		Message: "as a floor of the benchmark writes it, in about so many words"})
}

// Three makes three writes, which is the floor of operators that store an object, a Secret and the object's status.
func Three(ctx context.Context, e *env.Env, t *timeline.Timeline, name string) error {
	t.Mark(name, timeline.Asked, time.Now())
	r, err := e.CreateRequest(ctx, name, env.Hour())
	if err != nil {
		return err
	}
	t.Mark(name, timeline.Answered, time.Now())
	secret := &corev1.Secret{ObjectMeta: env.Meta(name), StringData: map[string]string{"password": "0123456789012345678901234567890123456789"}}
	secret.Labels = map[string]string{v1alpha1.LabelRequest: name}
	secret.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(r, v1alpha1.GroupVersion.WithKind("CapabilityRequest"))}
	if err := e.Admin.Create(ctx, secret); err != nil {
		return err
	}
	r.Status.GrantName = name
	set(r, &r.Status.Conditions, v1alpha1.ConditionGranted, metav1.ConditionTrue, v1alpha1.ReasonGranted)
	return e.AsOperator.Status().Update(ctx, r)
}
