// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package request

import (
	"context"
	"fmt"
	"math"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/controller/observe"
	"github.com/valetkey/valetkey/internal/policy"
)

// outcome is when to look again; the rest is in the request's status.
type outcome struct {
	after time.Duration
	// lease is that of the grant that was just made.
	lease string
}

// step takes the one next step for a request and leaves what it found in the request's status.
func (c *Controller) step(ctx context.Context, r *v1alpha1.CapabilityRequest) (outcome, error) {
	switch {
	case r.Status.EndedAt != nil:
		c.deniedTooLate(r)
		return c.retire(ctx, r)
	case r.Status.GrantName != "":
		out, err := c.follow(ctx, r)
		c.deniedTooLate(r)
		return out, err
	}
	if lease, err := c.adopt(ctx, r); lease != "" || err != nil {
		return outcome{lease: lease}, err
	}
	if r.DeletionTimestamp != nil {
		// Whoever asked can hold it there for as long as they like, by an object of theirs that names it as its owner.
		return c.refuse(ctx, r, v1alpha1.ReasonWithdrawn, "the request is being deleted; nothing can be approved any more", nil)
	}
	found, err := c.Observer.Observe(ctx, r)
	if err != nil {
		return outcome{}, err
	}
	if done, out, err := c.fence(ctx, r, found); done || err != nil {
		return out, err
	}
	if seen := c.see(r); seen {
		// Only what is stored counts: the decision is made when this status has been written.
		return outcome{}, nil
	}
	return c.decide(ctx, r, found)
}

// fence waits or refuses when what protects the request is not whole.
func (c *Controller) fence(ctx context.Context, r *v1alpha1.CapabilityRequest, found observe.Observation) (bool, outcome, error) {
	objects := []metav1.Object{r}
	if found.Facts.Job != nil {
		objects = append(objects, found.Facts.Job)
	}
	fence, err := c.Observer.Fence(ctx, r.Namespace, objects...)
	switch {
	case err != nil:
		return true, outcome{}, err
	case fence.Reason == "":
		return false, outcome{}, nil
	case fence.Final:
		out, err := c.refuse(ctx, r, fence.Reason, fence.Message, nil)
		return true, out, err
	default:
		c.waits(r, fence.Reason, fence.Message)
		return true, outcome{}, nil
	}
}

// see stores when a decision was first seen. CEL has no clock: this is what the timeout is measured by.
func (c *Controller) see(r *v1alpha1.CapabilityRequest) bool {
	if r.Status.Review == nil {
		return false
	}
	known := map[string]v1alpha1.SeenDecision{}
	for _, s := range r.Status.SeenDecisions {
		known[s.By] = s
	}
	changed := false
	for _, d := range r.Decisions {
		if s, ok := known[d.By]; ok && s.Decision == d.Decision && s.Digest == d.Digest {
			continue
		}
		known[d.By] = v1alpha1.SeenDecision{By: d.By, Decision: d.Decision, Digest: d.Digest, SeenAt: metav1.NewTime(c.Clock.Now())}
		changed = true
	}
	if !changed {
		return false
	}
	r.Status.SeenDecisions = r.Status.SeenDecisions[:0]
	for _, d := range r.Decisions {
		r.Status.SeenDecisions = append(r.Status.SeenDecisions, known[d.By])
	}
	return true
}

// decide asks the policies, writes the review when there is something to review, and grants what is allowed. Where nobody has to approve, the
// review and the grant's name are stored together, once there is the grant: nothing is issued before.
func (c *Controller) decide(ctx context.Context, r *v1alpha1.CapabilityRequest, found observe.Observation) (outcome, error) {
	if review := r.Status.Review; review != nil && found.Review != nil && review.Digest != found.Review.Digest {
		return c.refuse(ctx, r, v1alpha1.ReasonReviewChanged,
			"no approval counts any more, for what was reviewed has changed: "+policy.Changed(review, found.Review)+"; create another request", nil)
	}
	if found.Facts.Job == nil {
		return c.withoutJob(ctx, r, found)
	}
	exposure, err := c.Observer.Exposure(ctx, r, observe.Deciding)
	if err != nil {
		return outcome{}, err
	}
	found.Facts.Risks = append(found.Facts.Risks, exposure...)
	d, err := c.Observer.Decide(ctx, found.Facts)
	if first := r.Status.Review == nil && found.Review != nil; err == nil && first && d.Verdict != policy.Deny && d.Verdict != policy.Indeterminate {
		c.review(r, &found)
		// What is waited for depends on the review: until when, above all.
		d, err = c.Observer.Decide(ctx, found.Facts)
	}
	switch {
	case err != nil:
		return outcome{}, err
	case d.Verdict == policy.Deny:
		return c.refuse(ctx, r, d.Reason, d.Message, d.Policy)
	case people(r) && r.Status.Policy != nil && d.Policy != nil && d.Policy.Name != r.Status.Policy.Name:
		return c.refuse(ctx, r, v1alpha1.ReasonReviewChanged, fmt.Sprintf(
			"approvals were asked for by policy %s, and policy %s would decide by now; create another request", r.Status.Policy.Name, d.Policy.Name), nil)
	case d.Verdict == policy.Allow && r.Status.Review != nil:
		return c.grant(ctx, r, found, d)
	default:
		return c.wait(r, d), nil
	}
}

// people reports whether anybody was asked to decide on the request, or has. They decide on what one policy lets them: another may ask for fewer
// of them, or accept what it does not.
func people(r *v1alpha1.CapabilityRequest) bool {
	return r.Status.Approvals != nil || len(r.Status.SeenDecisions) > 0
}

// review writes what people would decide on into the status.
func (c *Controller) review(r *v1alpha1.CapabilityRequest, found *observe.Observation) {
	r.Status.Review = found.Review
	found.Facts.Digest, found.Facts.ReviewedAt = found.Review.Digest, found.Review.At.Time
	c.set(r, v1alpha1.ConditionReviewed, metav1.ConditionTrue, v1alpha1.ReasonReviewed, "status.review says what is asked for")
}

// withoutJob refuses what no Job could change, and else waits for the Job, for a while.
func (c *Controller) withoutJob(ctx context.Context, r *v1alpha1.CapabilityRequest, found observe.Observation) (outcome, error) {
	d, err := c.Observer.Decide(ctx, found.Facts)
	if err != nil {
		return outcome{}, err
	}
	until := r.CreationTimestamp.Add(c.JobTimeout)
	switch {
	case d.Verdict == policy.Deny:
		return c.refuse(ctx, r, d.Reason, d.Message, d.Policy)
	case r.Status.Review != nil:
		return c.refuse(ctx, r, v1alpha1.ReasonReviewChanged, "the Job that was reviewed is gone; create another request", d.Policy)
	case !c.Clock.Now().Before(until):
		return c.refuse(ctx, r, v1alpha1.ReasonJobTimedOut, fmt.Sprintf(
			"no Job %s%s appeared within %s; create the request again, and the Job beside it", v1alpha1.NamePrefix, r.Name, c.JobTimeout), d.Policy)
	case d.Verdict == policy.Indeterminate:
		return c.wait(r, d), nil
	}
	c.waits(r, v1alpha1.ReasonAwaitingJob, fmt.Sprintf(
		"create the Job %s%s in this namespace, labelled %s=%s", v1alpha1.NamePrefix, r.Name, v1alpha1.LabelRequest, r.Name))
	return outcome{after: until.Sub(c.Clock.Now())}, nil
}

func (c *Controller) wait(r *v1alpha1.CapabilityRequest, d policy.Decision) outcome {
	out := outcome{}
	if !d.Recheck.IsZero() {
		out.after = max(d.Recheck.Sub(c.Clock.Now()), time.Millisecond)
	}
	if d.Policy != nil {
		r.Status.Policy = d.Policy
	}
	if d.Verdict != policy.Indeterminate { // what could not be found out takes nothing back
		r.Status.Approvals = approvals(d)
	}
	message := d.Message
	if d.Reason == v1alpha1.ReasonAwaitingApproval && r.Status.Review != nil {
		message = fmt.Sprintf("%s; look at status.review, then: kubectl annotate capreq %s -n %s %s=%s",
			d.Message, r.Name, r.Namespace, v1alpha1.AnnotationApprove, r.Status.Review.Digest)
	}
	c.waits(r, d.Reason, message)
	return out
}

// approvals counts those of a decision that waits for some; nil if it waits for none.
func approvals(d policy.Decision) *v1alpha1.Approvals {
	if d.Reason != v1alpha1.ReasonAwaitingApproval {
		return nil
	}
	given := int32(min(len(d.ApprovedBy), math.MaxInt32))
	count := &v1alpha1.Approvals{Required: given + d.ApprovalsMissing, Given: given}
	if !d.Recheck.IsZero() {
		count.Until = &metav1.Time{Time: d.Recheck}
	}
	return count
}

// waits says what is waited for. Unknown means that it could not be found out.
func (c *Controller) waits(r *v1alpha1.CapabilityRequest, reason, message string) {
	status := metav1.ConditionFalse
	if reason == v1alpha1.ReasonIndeterminate || reason == v1alpha1.ReasonGuardIncomplete {
		status = metav1.ConditionUnknown
	}
	c.set(r, v1alpha1.ConditionAllowed, status, reason, message)
}

// standing says in the words of kstatus, by which GitOps tools judge, whether the request is decided.
func (c *Controller) standing(r *v1alpha1.CapabilityRequest) {
	r.Status.ObservedGeneration = r.Generation
	if r.Status.EndedAt != nil || r.Status.GrantName != "" {
		meta.RemoveStatusCondition(&r.Status.Conditions, v1alpha1.ConditionReconciling)
		return
	}
	awaited := metav1.Condition{Reason: v1alpha1.ReasonWaiting}
	if allowed := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionAllowed); allowed != nil {
		awaited = *allowed
	}
	c.set(r, v1alpha1.ConditionReconciling, metav1.ConditionTrue, awaited.Reason, awaited.Message)
}

func (c *Controller) set(r *v1alpha1.CapabilityRequest, kind string, status metav1.ConditionStatus, reason, message string) {
	meta.SetStatusCondition(&r.Status.Conditions, metav1.Condition{Type: kind, Status: status, Reason: reason,
		Message: policy.Clip(message, mostMessage), ObservedGeneration: r.Generation, LastTransitionTime: metav1.NewTime(c.Clock.Now())})
}

// mostMessage is how many bytes of a condition's message are kept.
const mostMessage = 1500

// retire removes a request that ended long enough ago.
func (c *Controller) retire(ctx context.Context, r *v1alpha1.CapabilityRequest) (outcome, error) {
	left := r.Status.EndedAt.Add(c.Retention).Sub(c.Clock.Now())
	if left > 0 {
		return outcome{after: left}, nil
	}
	err := c.Client.Delete(ctx, r, client.Preconditions{UID: &r.UID}, client.PropagationPolicy(metav1.DeletePropagationBackground))
	return outcome{}, client.IgnoreNotFound(err)
}
