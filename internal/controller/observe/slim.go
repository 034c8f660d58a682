// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unique"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/policy"
	"github.com/valetkey/valetkey/internal/projection"
	"github.com/valetkey/valetkey/internal/rbac"
)

// Slim is the transform of the operator's cache. It leaves of each object what the controllers read of it, so that what others put into
// an object does not fill the operator's memory.
func Slim(object any) (any, error) {
	switch o := object.(type) {
	case *batchv1.Job:
		return slimJob(o), nil
	case *corev1.Pod:
		return slimPod(o), nil
	case *v1alpha1.CapabilityRequest:
		return SlimRequest(*o), nil
	case *v1alpha1.CapabilityGrant:
		return SlimGrant(o), nil
	case *rbacv1.Role, *rbacv1.ClusterRole, *rbacv1.RoleBinding, *rbacv1.ClusterRoleBinding:
		rbac.Bound(object)
		return withoutNotes(o.(client.Object)), nil
	case *corev1.Namespace:
		o.ManagedFields, o.Annotations, o.OwnerReferences, o.GenerateName = nil, nil, nil, ""
		return o, nil
	case *corev1.ServiceAccount, *v1alpha1.CapabilityProvider, *v1alpha1.Capability, *v1alpha1.CapabilityPolicy:
		return withoutManagers(o.(client.Object)), nil
	case *admissionv1.ValidatingAdmissionPolicy, *admissionv1.ValidatingAdmissionPolicyBinding,
		*admissionv1.MutatingAdmissionPolicy, *admissionv1.MutatingAdmissionPolicyBinding:
		return onlyTimes(o.(client.Object)), nil
	default:
		return nil, fmt.Errorf("%T is not among what is cached in part", object)
	}
}

// SlimRequest is what the controllers read of a request.
func SlimRequest(r v1alpha1.CapabilityRequest) *v1alpha1.CapabilityRequest {
	r.ObjectMeta = slimMeta(r.ObjectMeta)
	r.Labels, r.Annotations = nil, nil // decisions are read from where the API server wrote them
	r.Status.Review = slimReview(r.Status.Review)
	shareRequest(&r)
	return &r
}

// shareRequest has what many requests say alike kept once.
func shareRequest(r *v1alpha1.CapabilityRequest) {
	share(&r.Spec.Capability, &r.Spec.Actor, &r.Spec.Repo, &r.Spec.Environment, &r.Spec.Container, &r.Spec.Requester.Username, &r.Spec.Requester.UID)
	shareAll(r.Spec.Requester.Groups)
	shareConditions(r.Status.Conditions)
	if r.Status.Policy != nil {
		share(&r.Status.Policy.Name)
	}
	if review := r.Status.Review; review != nil {
		share(&review.Capability.Name, &review.Capability.Description, &review.Capability.Provider, &review.Capability.Principal)
		shareAll(review.Scope)
	}
}

func shareGrant(g *v1alpha1.CapabilityGrant) {
	s := &g.Spec
	share(&s.Requester, &s.Actor, &s.Repo, &s.Environment, &s.Capability, &s.Provider.Name, &s.Job.Container, &s.Approval.Policy)
	s.Provider.Type = shared(s.Provider.Type)
	shareAll(s.Scope)
	shareAll(s.Approval.ApprovedBy)
	shareConditions(g.Status.Conditions)
	if g.Status.Credential != nil {
		share(&g.Status.Credential.Principal)
	}
	if g.Status.Audit != nil {
		share(&g.Status.Audit.Writer)
	}
}

func shareConditions(all []metav1.Condition) {
	for i := range all {
		c := &all[i]
		c.Status = shared(c.Status)
		share(&c.Type, &c.Reason, &c.Message)
	}
}

func shareAll(texts []string) {
	for i := range texts {
		share(&texts[i])
	}
}

// share has a text kept once, however many objects say it: each is decoded by itself.
func share(texts ...*string) {
	for _, text := range texts {
		*text = shared(*text)
	}
}

func shared[S ~string](text S) S { return S(unique.Make(string(text)).Value()) }

// slimReview leaves of a review its digest and what can change without the Job: whoever makes requests fills it with the
// commands of their Jobs. It is made whole again before a status is stored that has it.
func slimReview(review *v1alpha1.Review) *v1alpha1.Review {
	if review == nil {
		return nil
	}
	slim := *review
	slim.Job, slim.NotCovered = v1alpha1.ReviewedJob{Name: review.Job.Name, UID: review.Job.UID}, nil
	return &slim
}

// SlimGrant leaves of a grant what the controllers read of it, in place.
func SlimGrant(g *v1alpha1.CapabilityGrant) *v1alpha1.CapabilityGrant {
	g.ObjectMeta = slimMeta(g.ObjectMeta)
	for key, value := range g.Annotations {
		g.Annotations[key] = policy.Clip(value, longestNote)
	}
	shareGrant(g)
	return g
}

// slimMeta leaves no label and annotation but Valetkey's own, no owner but the one that manages the object, and no more
// finalizers than an object of Valetkey's can have.
func slimMeta(m metav1.ObjectMeta) metav1.ObjectMeta {
	m.ManagedFields, m.GenerateName = nil, ""
	share(&m.Namespace)
	shareAll(m.Finalizers)
	m.Labels, m.Annotations = ours(m.Labels), ours(m.Annotations)
	if owner := metav1.GetControllerOfNoCopy(&m); owner != nil {
		m.OwnerReferences = []metav1.OwnerReference{*owner}
		share(&m.OwnerReferences[0].APIVersion, &m.OwnerReferences[0].Kind)
	} else {
		m.OwnerReferences = nil
	}
	if len(m.Finalizers) > mostFinalizers {
		m.Finalizers = slices.Clone(m.Finalizers[:mostFinalizers])
	}
	return m
}

// mostFinalizers is how many are kept of an object. The admission rules let those of Valetkey's have fewer.
const mostFinalizers = 16

// ours is a map of its own: one that things are taken out of keeps the room that they had, and so does a list.
func ours(all map[string]string) map[string]string {
	var kept map[string]string
	for key, value := range all {
		if !strings.HasPrefix(key, v1alpha1.GroupVersion.Group+"/") {
			continue
		}
		if kept == nil {
			kept = map[string]string{}
		}
		kept[shared(key)] = value
	}
	return kept
}

// only is a map of its own, too, of some keys.
func only(all map[string]string, keys ...string) map[string]string {
	var kept map[string]string
	for _, key := range keys {
		if value, there := all[key]; there {
			if kept == nil {
				kept = map[string]string{}
			}
			kept[key] = value
		}
	}
	return kept
}

func withoutManagers(o client.Object) client.Object {
	o.SetManagedFields(nil)
	return o
}

// onlyTimes leaves when somebody wrote an object, which the guard reads, and not what of it.
func onlyTimes(o client.Object) client.Object {
	fields := o.GetManagedFields()
	for i := range fields {
		fields[i].FieldsV1 = nil
	}
	o.SetManagedFields(fields)
	return o
}

// longestNote is how many bytes are kept of what somebody wrote to end a grant.
const longestNote = 1 << 10

// withoutNotes leaves out what is written about an object, and nothing that it does.
func withoutNotes(o client.Object) client.Object {
	o.SetManagedFields(nil)
	o.SetAnnotations(nil)
	o.SetLabels(nil)
	o.SetOwnerReferences(nil)
	o.SetFinalizers(nil)
	o.SetGenerateName("")
	return o
}

func slimJob(job *batchv1.Job) *batchv1.Job {
	slim := &batchv1.Job{ObjectMeta: slimMeta(job.ObjectMeta)}
	slim.Spec.Suspend, slim.Annotations = job.Spec.Suspend, nil
	if sum := labelsSum(job.Labels); sum != "" {
		slim.Annotations = map[string]string{shownLabels: sum}
	}
	slim.Spec.Template.Annotations = ours(job.Spec.Template.Annotations)
	if _, _, started := projection.Started(slim); started {
		// The patch that starts it wrote all of these, and they are asked for no more.
		slim.Spec.Template.Annotations = only(slim.Spec.Template.Annotations, v1alpha1.AnnotationGrant, v1alpha1.AnnotationSecret)
	}
	slim.Status = batchv1.JobStatus{Conditions: slimConditions(job.Status.Conditions), Active: job.Status.Active, Succeeded: job.Status.Succeeded, Failed: job.Status.Failed,
		Terminating: job.Status.Terminating}
	return slim
}

// slimConditions leaves out what the job-controller says of its conditions in words, and those that are not so.
func slimConditions(all []batchv1.JobCondition) []batchv1.JobCondition {
	var kept []batchv1.JobCondition
	for _, c := range all {
		if c.Status == corev1.ConditionTrue {
			kept = append(kept, batchv1.JobCondition{Type: shared(c.Type), Status: corev1.ConditionTrue, Reason: shared(c.Reason)})
		}
	}
	return kept
}

// shownLabels is a note in the cache alone. It tells labels apart that are left out: they change without a new generation, and policies
// can look at them.
const shownLabels = "valetkey.dev/shown-labels"

// labelsSum tells labels that are none of Valetkey's apart from others; empty where there are none.
func labelsSum(labels map[string]string) string {
	sum := sha256.New()
	empty := true
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		if !strings.HasPrefix(key, v1alpha1.GroupVersion.Group+"/") {
			empty = false
			_, _ = fmt.Fprintf(sum, "%q=%q,", key, labels[key])
		}
	}
	if empty {
		return ""
	}
	return hex.EncodeToString(sum.Sum(nil))
}

func slimPod(pod *corev1.Pod) *corev1.Pod {
	slim := &corev1.Pod{ObjectMeta: slimMeta(pod.ObjectMeta)}
	slim.Annotations = only(slim.Annotations, v1alpha1.AnnotationGrant)
	slim.Spec.NodeName = pod.Spec.NodeName
	slim.Spec.Containers = goingOn(pod)
	slim.Status.Phase = pod.Status.Phase
	slim.Status.Reason, slim.Status.Message = policy.Clip(pod.Status.Reason, longestWords), policy.Clip(pod.Status.Message, longestWords)
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.DisruptionTarget || c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			slim.Status.Conditions = append(slim.Status.Conditions, corev1.PodCondition{Type: shared(c.Type), Status: shared(c.Status),
				Reason: shared(policy.Clip(c.Reason, longestWords)), Message: shared(policy.Clip(c.Message, longestWords))})
		}
	}
	slim.Status.InitContainerStatuses = slimStatuses(pod.Status.InitContainerStatuses)
	slim.Status.ContainerStatuses = slimStatuses(pod.Status.ContainerStatuses)
	return slim
}

// goingOn has the names of containers of which no end is known, two at most: the controllers ask whether there is one, and
// whether there is one beside the step.
func goingOn(pod *corev1.Pod) []corev1.Container {
	const enough = 2
	over := map[string]bool{}
	for _, s := range pod.Status.ContainerStatuses {
		over[s.Name] = s.State.Terminated != nil
	}
	var kept []corev1.Container
	for i := range pod.Spec.Containers {
		if name := pod.Spec.Containers[i].Name; !over[name] && len(kept) < enough {
			kept = append(kept, corev1.Container{Name: name})
		}
	}
	return kept
}

func slimStatuses(all []corev1.ContainerStatus) []corev1.ContainerStatus {
	var slim []corev1.ContainerStatus
	for _, s := range all {
		slim = append(slim, corev1.ContainerStatus{Name: s.Name, State: slimState(s.State), LastTerminationState: slimState(s.LastTerminationState)})
	}
	return slim
}

// longestWords is how many bytes are kept of each thing that scheduler and kubelet say of a Pod.
const longestWords = 256

// NotStarted is the kubelet's reason for a container whose runtime could not start it.
const NotStarted = "StartError"

// slimState leaves out what a container said at its end, which it says itself: what the runtime says of one that never
// ran is kept.
func slimState(s corev1.ContainerState) corev1.ContainerState {
	if s.Waiting != nil {
		s.Waiting = &corev1.ContainerStateWaiting{Reason: policy.Clip(s.Waiting.Reason, longestWords), Message: policy.Clip(s.Waiting.Message, longestWords)}
	}
	if s.Terminated != nil {
		ended := *s.Terminated
		ended.Reason, ended.Message = policy.Clip(ended.Reason, longestWords), policy.Clip(ended.Message, longestWords)
		if ended.Reason != NotStarted {
			ended.Message = ""
		}
		s.Terminated = &ended
	}
	return s
}
