// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package controllertest

import (
	"cmp"
	"context"
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/controller/grant"
	"github.com/valetkey/valetkey/internal/policy"
	"github.com/valetkey/valetkey/internal/step"
)

// watched is a client whose writes are seen by whoever watches. It gives new objects what an API server gives them.
func (e *Env) watched(c client.WithWatch, faults *Faults) client.WithWatch {
	write := func(ctx context.Context, verb string, object client.Object, do func() error) error {
		if faults != nil && faults.Before != nil {
			if err := faults.Before(verb, object); err != nil {
				return err
			}
		}
		last := e.read(ctx, object)
		if err := do(); err != nil {
			return err
		}
		if err := moved(ctx, c, last, object); err != nil {
			return err
		}
		if faults == nil {
			e.seen(ctx, last, object)
		}
		if faults != nil && faults.After != nil {
			return faults.After(verb, object)
		}
		return nil
	}
	return interceptor.NewClient(c, interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, object client.Object, opts ...client.CreateOption) error {
			return write(ctx, "create", object, func() error {
				e.born(object)
				return c.Create(ctx, object, opts...)
			})
		},
		Update: func(ctx context.Context, c client.WithWatch, object client.Object, opts ...client.UpdateOption) error {
			return write(ctx, "update", object, func() error { return c.Update(ctx, object, opts...) })
		},
		Patch: func(ctx context.Context, c client.WithWatch, object client.Object, patch client.Patch,
			opts ...client.PatchOption) error {
			return write(ctx, "patch", object, func() error { return c.Patch(ctx, object, patch, opts...) })
		},
		Delete: func(ctx context.Context, c client.WithWatch, object client.Object, opts ...client.DeleteOption) error {
			return write(ctx, "delete", object, func() error { return c.Delete(ctx, object, opts...) })
		},
		SubResourceUpdate: func(ctx context.Context, c client.Client, name string, object client.Object,
			opts ...client.SubResourceUpdateOption) error {
			return write(ctx, "update "+name, object, func() error { return c.SubResource(name).Update(ctx, object, opts...) })
		},
	})
}

// born gives a new object what the API server gives it.
func (e *Env) born(object client.Object) {
	e.uids++
	if object.GetUID() == "" {
		object.SetUID(types.UID(fmt.Sprintf("uid-%d", e.uids)))
	}
	if created := object.GetCreationTimestamp(); created.IsZero() {
		object.SetCreationTimestamp(metav1.NewTime(e.Clock.Now()))
	}
	if job, ok := object.(*batchv1.Job); ok {
		job.Generation = 1
	}
}

// moved counts a Job's generation on where its spec was changed.
func moved(ctx context.Context, c client.Client, last, now client.Object) error {
	before, was := last.(*batchv1.Job)
	job, is := now.(*batchv1.Job)
	if !was || !is || equality.Semantic.DeepEqual(before.Spec, job.Spec) {
		return nil
	}
	job.Generation = before.Generation + 1
	return c.Update(ctx, job)
}

// read is what is stored of an object; nil if nothing is.
func (e *Env) read(ctx context.Context, like client.Object) client.Object {
	stored := like.DeepCopyObject().(client.Object)
	if e.Client == nil || e.Client.Get(ctx, client.ObjectKeyFromObject(like), stored) != nil {
		return nil
	}
	return stored
}

// seen plays the job-controller and the kubelet, and tells all operators of an object as it is stored now.
func (e *Env) seen(ctx context.Context, last, object client.Object) {
	now := e.read(ctx, object)
	if job, ok := now.(*batchv1.Job); ok {
		e.playJob(ctx, job)
	}
	for _, o := range e.operators {
		if !o.asleep {
			o.told(last, now)
		}
	}
}

// told brings back what a watch would: the object itself, and what belongs to it by its name or its label.
func (o *Operator) told(last, now client.Object) {
	object := now
	if object == nil {
		if object = last; object == nil {
			return
		}
	}
	name := client.ObjectKeyFromObject(object)
	switch is := object.(type) {
	case *v1alpha1.CapabilityGrant:
		if now == nil {
			o.Ledger.GrantGone(is)
		} else {
			o.Ledger.Grant(is)
		}
	case *v1alpha1.CapabilityRequest:
		if now == nil {
			o.Ledger.RequestGone(is)
		} else {
			o.Ledger.Request(is)
		}
	case *v1alpha1.CapabilityPolicy:
		o.toldPolicy(is, now != nil)
		return
	case *corev1.Pod:
		o.Grants.Saw(is)
		name.Name = is.Labels[v1alpha1.LabelRequest]
	case *batchv1.Job:
		name.Name = is.Labels[v1alpha1.LabelRequest]
	default:
		o.Grants.Observer.World.Changed("")
		return
	}
	o.enqueue(work{name: name})
	o.enqueue(work{grant: true, name: name})
}

// toldPolicy brings back all that waits or lives, as a change of the catalogue does, and what a limit of the policy
// holds.
func (o *Operator) toldPolicy(p *v1alpha1.CapabilityPolicy, there bool) {
	o.Grants.Observer.World.Changed("")
	if there {
		o.Ledger.Policy(p)
	} else {
		o.Ledger.PolicyGone(p)
	}
	requests, grants := &v1alpha1.CapabilityRequestList{}, &v1alpha1.CapabilityGrantList{}
	o.Must(o.Client.List(o.Context(), requests))
	o.Must(o.Client.List(o.Context(), grants))
	for i := range requests.Items {
		if r := &requests.Items[i]; r.Status.EndedAt == nil && r.Status.GrantName == "" {
			o.enqueue(work{name: client.ObjectKeyFromObject(r)})
		}
	}
	for i := range grants.Items {
		if g := &grants.Items[i]; g.Status.EndedAt == nil {
			o.enqueue(work{grant: true, name: client.ObjectKeyFromObject(g)})
		}
	}
	for _, held := range grant.Held(o.Grants.Peers)(o.Context(), p) {
		o.enqueue(work{grant: true, name: held.NamespacedName})
	}
}

// tellAll is what a watch begins with.
func (o *Operator) tellAll() {
	policies := &v1alpha1.CapabilityPolicyList{}
	grants, requests := &v1alpha1.CapabilityGrantList{}, &v1alpha1.CapabilityRequestList{}
	for _, list := range []client.ObjectList{policies, grants, requests} {
		o.Must(o.Client.List(o.Context(), list))
	}
	for i := range policies.Items {
		o.Ledger.Policy(&policies.Items[i])
	}
	for i := range grants.Items {
		o.told(nil, &grants.Items[i])
	}
	for i := range requests.Items {
		o.told(nil, &requests.Items[i])
	}
}

// playJob makes the Pod of a Job that was started, and ends it when the Job is suspended.
func (e *Env) playJob(ctx context.Context, job *batchv1.Job) {
	pod := &corev1.Pod{}
	key := client.ObjectKeyFromObject(job)
	started, there := !ptr.Deref(job.Spec.Suspend, false), e.Client.Get(ctx, key, pod) == nil
	switch {
	case started && !there:
		pod = &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Namespace:   job.Namespace,
				Name:        job.Name,
				Labels:      job.Labels,
				Annotations: job.Spec.Template.Annotations,
				Finalizers:  []string{v1alpha1.FinalizerSeen},
				OwnerReferences: []metav1.OwnerReference{
					*metav1.NewControllerRef(job, batchv1.SchemeGroupVersion.WithKind("Job")),
				},
			},
			Spec: *job.Spec.Template.Spec.DeepCopy(),
		}
		pod.Spec.NodeName, pod.Status = "node", podStatus(job, corev1.PodRunning)
		e.Store(pod)
	case !started && there && pod.Status.Phase == corev1.PodRunning:
		e.endPod(ctx, job, pod, corev1.PodFailed)
		e.Must(e.Client.Get(ctx, key, job))
		job.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobSuspended, Status: corev1.ConditionTrue}}
		e.Must(e.Client.Status().Update(ctx, job))
	}
}

func (e *Env) endPod(ctx context.Context, job *batchv1.Job, pod *corev1.Pod, phase corev1.PodPhase) {
	e.Must(e.Client.Get(ctx, client.ObjectKeyFromObject(pod), pod))
	pod.Status = podStatus(job, phase)
	e.Must(e.Client.Status().Update(ctx, pod))
}

func podStatus(job *batchv1.Job, phase corev1.PodPhase) corev1.PodStatus {
	status := corev1.PodStatus{Phase: phase}
	for _, c := range job.Spec.Template.Spec.Containers {
		state := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
		if phase != corev1.PodRunning {
			state = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}
		}
		status.ContainerStatuses = append(status.ContainerStatuses, corev1.ContainerStatus{Name: c.Name, State: state})
	}
	return status
}

// Policy stores a policy that allows everything that Ask asks for, with a limit unless it is zero.
func (e *Env) Policy(name string, limit int32) *v1alpha1.CapabilityPolicy {
	e.Helper()
	p := &v1alpha1.CapabilityPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: name, Generation: 1},
		Spec: v1alpha1.CapabilityPolicySpec{Effect: v1alpha1.EffectAllow,
			Capabilities: []string{Capability}, Repos: []string{"web-app"}, Environments: []string{"preview"},
			Requesters: []v1alpha1.Subject{{Kind: v1alpha1.SubjectUser, Name: "bot"}}},
	}
	if limit > 0 {
		p.Spec.Limits = &v1alpha1.Limits{Active: &limit}
	}
	e.Store(p)
	return p
}

// Change changes a policy.
func (e *Env) Change(name string, change func(*v1alpha1.CapabilityPolicySpec)) {
	e.Helper()
	p := &v1alpha1.CapabilityPolicy{}
	e.Must(e.Client.Get(e.Context(), client.ObjectKey{Name: name}, p))
	change(&p.Spec)
	p.Generation++
	e.Must(e.Client.Update(e.Context(), p))
}

// Ask creates a request and its Job.
func (e *Env) Ask(name string) {
	e.Helper()
	e.AskIn(Namespace, name)
}

// AskIn creates them in a namespace.
func (e *Env) AskIn(namespace, name string) {
	e.Helper()
	r := &v1alpha1.CapabilityRequest{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	r.Spec = v1alpha1.CapabilityRequestSpec{
		Capability:  Capability,
		TaskID:      "t",
		Actor:       "a",
		Repo:        "web-app",
		Environment: "preview",
		Container:   "step",
		TTLSeconds:  ptr.To[int32](60),
		Requester:   v1alpha1.Identity{Username: "bot"},
	}
	e.Store(r)
	const image = "registry.example.com/publisher@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
	e.Store(policy.AsHeld(step.Step{Image: image, Command: []string{"/publish"}}.Job(r, nil), "bot"))
}

// Request is what is stored under a name.
func (e *Env) Request(name string) *v1alpha1.CapabilityRequest {
	e.Helper()
	r := &v1alpha1.CapabilityRequest{}
	e.Must(e.Client.Get(e.Context(), client.ObjectKey{Namespace: Namespace, Name: name}, r))
	return r
}

// Grant is what is stored under a name; nil if nothing is.
func (e *Env) Grant(name string) *v1alpha1.CapabilityGrant {
	like := &v1alpha1.CapabilityGrant{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: name}}
	g, _ := e.read(e.Context(), like).(*v1alpha1.CapabilityGrant)
	return g
}

// Finish ends the Job of a request well.
func (e *Env) Finish(name string) {
	e.Helper()
	job, pod, key := &batchv1.Job{}, &corev1.Pod{}, client.ObjectKey{
		Namespace: Namespace,
		Name:      v1alpha1.NamePrefix + name,
	}
	e.Must(e.Client.Get(e.Context(), key, job))
	e.Must(e.Client.Get(e.Context(), key, pod))
	e.endPod(e.Context(), job, pod, corev1.PodSucceeded)
	e.Must(e.Client.Get(e.Context(), key, job))
	job.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobComplete, Status: corev1.ConditionTrue}}
	e.Must(e.Client.Status().Update(e.Context(), job))
}

// DeleteJob deletes the Job of a request, and its Pod as the garbage collector and the kubelet do.
func (e *Env) DeleteJob(name string) {
	e.Helper()
	job, pod := &batchv1.Job{}, &corev1.Pod{}
	key := client.ObjectKey{Namespace: Namespace, Name: v1alpha1.NamePrefix + name}
	e.Must(e.Client.Get(e.Context(), key, job))
	e.Must(e.Client.Delete(e.Context(), job))
	if e.Client.Get(e.Context(), key, pod) == nil {
		e.Must(e.Client.Delete(e.Context(), pod))
		e.endPod(e.Context(), job, pod, corev1.PodFailed)
	}
}

// Withdraw deletes a request, and its grant as the garbage collector does.
func (e *Env) Withdraw(name string) {
	e.Helper()
	e.Must(e.Client.Delete(e.Context(), e.Request(name)))
	if g := e.Grant(name); g != nil {
		e.Must(e.Client.Delete(e.Context(), g))
	}
}

func compare(a, b types.NamespacedName) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}
