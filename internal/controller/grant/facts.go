// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/controller/observe"
	"github.com/valetkey/valetkey/internal/lifecycle"
	"github.com/valetkey/valetkey/internal/policy"
	"github.com/valetkey/valetkey/internal/projection"
	"github.com/valetkey/valetkey/internal/provider"
)

// facts gathers everything that the next step is decided from.
func (c *Controller) facts(ctx context.Context, g *v1alpha1.CapabilityGrant, mem *memory) (lifecycle.Facts, error) {
	f := lifecycle.Facts{Grant: g}
	job, err := c.job(ctx, g, mem)
	if err != nil {
		return f, err
	}
	f.Job = jobFacts(job)
	if f.Pods, err = c.pods(ctx, g, mem); err != nil {
		return f, err
	}
	if f.Fenced, err = c.Observer.GuardedSince(ctx, g.CreationTimestamp.Time); err != nil {
		return f, err
	}
	request, replaced, err := c.request(ctx, g)
	if err != nil {
		return f, err
	}
	if request != nil {
		mem.requested = request.CreationTimestamp.DeepCopy() // not a place in the request, which would be kept
	}
	f.Request = requestFacts(request, g)
	f.Request.Replaced = replaced
	f.Attempt = mem.AttemptFacts
	if f.Limit, err = c.limit(ctx, f, mem); err != nil && lifecycle.Next(f, c.Clock.Now()).Step != lifecycle.Stop {
		return f, err // Whatever cannot be counted, what is to be stopped is.
	}
	if f.AwaitsPeers() || g.Status.EndedAt != nil || g.Status.Stop != nil {
		return f, nil // What the policies say takes a while to find out, and changes nothing.
	}
	if next := lifecycle.Next(f, c.Clock.Now()).Step; next == lifecycle.Stop || next == lifecycle.RecordDelivery {
		return f, nil // as before
	}
	if f.Job.StartedFor != "" && !mem.met {
		// A new leader meets all that live at once, and some of them are to be stopped.
		mem.met = true
		return f, errInTurn
	}
	mem.met = true
	if g.Status.ExpiresAt != nil {
		// No look outlives the grant: it would keep it from being ended.
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, g.Status.ExpiresAt.Sub(c.Clock.Now()))
		defer cancel()
	}
	return f, c.permission(ctx, g, request, job, mem, &f)
}

// job is the Job that the grant names by UID, or nil. A patch of this process's own is newer than the cache.
func (c *Controller) job(ctx context.Context, g *v1alpha1.CapabilityGrant, mem *memory) (*batchv1.Job, error) {
	job := &batchv1.Job{}
	err := c.Client.Get(ctx, client.ObjectKey{Namespace: g.Namespace, Name: g.Spec.Job.Name}, job)
	if apierrors.IsNotFound(err) || (err == nil && string(job.UID) != g.Spec.Job.UID) {
		mem.job = nil
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking up the Job: %w", err)
	}
	if mem.job != nil {
		if shows(job, mem.job) {
			mem.job = nil
		} else {
			return mem.job, nil
		}
	}
	return job, nil
}

// shows: what the cache holds has what our own patch wrote.
func shows(cached, patched *batchv1.Job) bool {
	uid, _, ok := projection.Started(cached)
	wantUID, _, wantOK := projection.Started(patched)
	return uid == wantUID && ok == wantOK && suspended(cached) == suspended(patched)
}

func suspended(job *batchv1.Job) bool { return job.Spec.Suspend != nil && *job.Spec.Suspend }

func jobFacts(job *batchv1.Job) lifecycle.JobFacts {
	if job == nil {
		return lifecycle.JobFacts{}
	}
	f := lifecycle.JobFacts{Exists: true, Deleting: job.DeletionTimestamp != nil, Suspended: suspended(job)}
	f.StartedFor, f.StartedSecret, _ = projection.Started(job)
	terminating := job.Status.Terminating != nil && *job.Status.Terminating > 0
	for _, condition := range job.Status.Conditions {
		if condition.Status != corev1.ConditionTrue {
			continue
		}
		switch condition.Type {
		case batchv1.JobComplete:
			f.Complete = true
		case batchv1.JobFailed:
			f.Failed = true
			f.DeadlineExceeded = condition.Reason == batchv1.JobReasonDeadlineExceeded
		case batchv1.JobSuspended:
			f.Idle = f.Suspended && job.Status.Active == 0 && !terminating
		}
	}
	return f
}

// pods are those of the Job that carry the grant's credential. One that was seen and is gone stays among them, for its end may not have
// been seen.
func (c *Controller) pods(ctx context.Context, g *v1alpha1.CapabilityGrant, mem *memory) ([]lifecycle.PodFacts, error) {
	present, err := c.present(ctx, c.Client, client.MatchingFields{PodRequestField: g.Spec.RequestRef.Name}, g, mem)
	if err != nil {
		return nil, err
	}
	for uid, pod := range c.sawOf(mem, types.UID(g.Spec.Job.UID)) {
		if !present[uid] {
			mem.pods = remembered(mem.pods, uid, &pod)
		}
	}
	if len(mem.pods) == 0 && g.Status.Stop != nil && g.Status.EndedAt == nil && g.Status.IssuedAt != nil && !mem.looked {
		// The watch of Pods may be behind that of Jobs, and a Pod that it does not show yet may run.
		if present, err = c.present(ctx, c.Live, client.MatchingLabels{v1alpha1.LabelRequest: g.Spec.RequestRef.Name}, g, mem); err != nil {
			return nil, err
		}
		mem.looked = true
	}
	facts := make([]lifecycle.PodFacts, 0, len(mem.pods))
	for uid, seen := range mem.pods {
		pod := *seen
		pod.Gone, pod.Kept = !present[uid], pod.Kept && !mem.released[uid]
		facts = append(facts, pod)
	}
	return facts, nil
}

// PodRequestField is the field of the cache by which the Pods of a request are found.
const PodRequestField = "metadata.labels." + v1alpha1.LabelRequest

// PodRequest is the value of [PodRequestField].
func PodRequest(pod client.Object) []string {
	if name := pod.GetLabels()[v1alpha1.LabelRequest]; name != "" {
		return []string{name}
	}
	return nil
}

// present takes note of the Pods that are there.
func (c *Controller) present(ctx context.Context, from client.Reader, which client.ListOption, g *v1alpha1.CapabilityGrant, mem *memory) (map[types.UID]bool, error) {
	list := &corev1.PodList{}
	err := from.List(ctx, list, client.InNamespace(g.Namespace), which)
	if err != nil {
		return nil, fmt.Errorf("listing the Job's Pods: %w", err)
	}
	present := map[types.UID]bool{}
	for i := range list.Items {
		pod := &list.Items[i]
		if !metav1.IsControlledBy(pod, &metav1.ObjectMeta{UID: types.UID(g.Spec.Job.UID)}) || pod.Annotations[v1alpha1.AnnotationGrant] != string(g.UID) {
			continue
		}
		present[pod.UID] = true
		before := lifecycle.PodFacts{}
		if seen := mem.pods[pod.UID]; seen != nil {
			before = *seen
		}
		facts := podFacts(pod, before, g.Spec.Job.Container)
		if facts.Ended && facts.EndedSeen.IsZero() {
			facts.EndedSeen = c.Clock.Now()
		}
		mem.pods = remembered(mem.pods, pod.UID, &facts)
	}
	return present, nil
}

func podFacts(pod *corev1.Pod, before lifecycle.PodFacts, step string) lifecycle.PodFacts {
	f := lifecycle.PodFacts{UID: pod.UID, Name: pod.Name, Node: pod.Spec.NodeName, Started: before.Started, Ended: containersEnded(pod), EndedSeen: before.EndedSeen,
		Kept: controllerutil.ContainsFinalizer(pod, v1alpha1.FinalizerSeen), Deleting: pod.DeletionTimestamp != nil,
		Step: stepFacts(pod, step)}
	for _, s := range containerStatuses(pod) {
		f.Started = f.Started || s.State.Running != nil || s.State.Terminated != nil || s.LastTerminationState.Terminated != nil
	}
	return f
}

// containersEnded reports whether the node has said that every container of a Pod ended. A Pod that was never given to a node, and is
// being deleted, will not be given to one. The Pod garbage collector says that a Pod failed when its node is gone: that is not the
// node's word. The admission rule valetkey-pods judges in the same way before it lets a Pod go.
func containersEnded(pod *corev1.Pod) bool {
	if pod.Spec.NodeName == "" {
		return pod.DeletionTimestamp != nil
	}
	terminated := map[string]bool{}
	for _, s := range containerStatuses(pod) {
		if s.State.Running != nil {
			return false
		}
		terminated[s.Name] = s.State.Terminated != nil
	}
	if pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed {
		return false
	}
	collected := slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.DisruptionTarget && c.Reason == "DeletionByPodGC"
	})
	return !collected || !slices.ContainsFunc(pod.Spec.Containers, func(c corev1.Container) bool { return !terminated[c.Name] })
}

func containerStatuses(pod *corev1.Pod) []corev1.ContainerStatus {
	return slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses)
}

// request is the request that the grant names by UID, or nil; replaced when another one has its name.
func (c *Controller) request(ctx context.Context, g *v1alpha1.CapabilityGrant) (found *v1alpha1.CapabilityRequest, replaced bool, err error) {
	request := &v1alpha1.CapabilityRequest{}
	err = c.Client.Get(ctx, client.ObjectKey{Namespace: g.Namespace, Name: g.Spec.RequestRef.Name}, request)
	switch {
	case apierrors.IsNotFound(err):
		return nil, false, nil
	case err != nil:
		return nil, false, fmt.Errorf("looking up the request: %w", err)
	case string(request.UID) != g.Spec.RequestRef.UID:
		return nil, true, nil
	}
	return request, false, nil
}

func requestFacts(r *v1alpha1.CapabilityRequest, g *v1alpha1.CapabilityGrant) lifecycle.RequestFacts {
	if r == nil || r.DeletionTimestamp != nil {
		return lifecycle.RequestFacts{}
	}
	f := lifecycle.RequestFacts{Exists: true, Names: r.Status.GrantName == g.Name || r.Status.GrantName == "" && r.Status.EndedAt == nil,
		Unaware: r.Status.GrantName == "" && r.Status.EndedAt == nil}
	for _, d := range r.Decisions {
		if d.Decision == v1alpha1.DecisionDeny && d.Digest == g.Spec.Approval.Digest {
			f.DeniedBy = d.By
		}
	}
	return f
}

// permission asks whether the grant is still allowed and, before it is delivered, whether anything keeps it from being issued.
// What cannot be found out is left unknown: it neither ends a grant nor lets it be issued. Of a grant that lives, it is found out when
// something has changed that it depends on, and not whenever its Pod says something; of one that is issued, once in each pass.
func (c *Controller) permission(ctx context.Context, g *v1alpha1.CapabilityGrant, r *v1alpha1.CapabilityRequest, job *batchv1.Job, mem *memory, f *lifecycle.Facts) error {
	if f.Job.Complete || f.Job.Failed {
		return nil
	}
	sight, lives := c.Observer.Sight(r, job, g.Spec.Provider.Type == provider.TypeKubernetes), f.Job.StartedFor != ""
	if (lives && mem.permitted || !lives && mem.passing) && mem.sight == sight {
		f.Policy = lifecycle.PolicyFacts{Known: true, Allows: true}
		return nil
	}
	mem.permitted, mem.passing = false, false
	if err := c.look(ctx, g, r, job, mem, f); err != nil {
		if errors.Is(err, observe.ErrBusy) {
			return errInTurn
		}
		f.Policy = lifecycle.PolicyFacts{Message: err.Error(), Failed: true}
	}
	mem.sight, mem.permitted = sight, lives && f.Policy.Known && f.Policy.Allows
	return nil
}

// look looks at all that permission depends on.
func (c *Controller) look(ctx context.Context, g *v1alpha1.CapabilityGrant, r *v1alpha1.CapabilityRequest, job *batchv1.Job, mem *memory, f *lifecycle.Facts) error {
	if review := r.Status.Review; r.Status.GrantName != "" && (review == nil || review.Digest != g.Spec.Approval.Digest) {
		// Nobody could be shown what is issued, nor decide on it.
		f.Policy = lifecycle.PolicyFacts{Known: true, Message: "the request has no review of what was approved"}
		return nil
	}
	found, err := c.Observer.Observe(ctx, r)
	if err != nil {
		return err
	}
	if found.Review != nil && found.Review.Digest != g.Spec.Approval.Digest {
		f.Policy = lifecycle.PolicyFacts{Known: true, Message: "what was approved has changed: " + changed(r, found.Review)}
		return nil
	}
	mem.catalogue = catalogueOf(found.Facts.Capability, found.Provider)
	issuing := f.Job.StartedFor == "" && !mem.atRest(c.Clock.Now())
	mem.inputs = copies(g, found)
	if issuing {
		mem.template = &found.Facts.Job.Spec.Template
		exposure, err := c.Observer.Exposure(ctx, r, observe.Issuing)
		if err != nil {
			return err
		}
		found.Facts.Risks = append(found.Facts.Risks, exposure...)
		f.Guard = c.obstacle(ctx, r, job)
	}
	found.Facts.GrantedBy, found.Facts.Approvals = g.Spec.Approval.Policy, int32(min(len(g.Spec.Approval.ApprovedBy), math.MaxInt32))
	d, err := c.Observer.Decide(ctx, found.Facts)
	if err != nil {
		return err
	}
	f.Policy = lifecycle.PolicyFacts{Known: d.Verdict == policy.Allow || d.Verdict == policy.Deny, Allows: d.Verdict == policy.Allow, Message: d.Message}
	mem.passing = issuing && f.Policy.Allows && f.Guard.Reason == ""
	return nil
}

func changed(r *v1alpha1.CapabilityRequest, now *v1alpha1.Review) string {
	if r.Status.Review == nil {
		return "the review is gone"
	}
	return policy.Changed(r.Status.Review, now)
}

// obstacle is what keeps the credential from being issued for now.
func (c *Controller) obstacle(ctx context.Context, r *v1alpha1.CapabilityRequest, job *batchv1.Job) lifecycle.Obstacle {
	unknown := func(err error) lifecycle.Obstacle {
		return lifecycle.Obstacle{Reason: v1alpha1.ReasonIndeterminate, Message: err.Error()}
	}
	fence, err := c.Observer.Fence(ctx, r.Namespace, r, job)
	if err != nil {
		return unknown(err)
	}
	if fence.Reason != "" {
		return lifecycle.Obstacle{Reason: fence.Reason, Message: fence.Message, Final: fence.Final}
	}
	problem, err := c.Observer.Probe(ctx)
	if err != nil {
		return unknown(err)
	}
	if problem != "" {
		return lifecycle.Obstacle{Reason: v1alpha1.ReasonGuardIncomplete, Message: problem}
	}
	return lifecycle.Obstacle{}
}
