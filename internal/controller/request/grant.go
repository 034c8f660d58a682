// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package request

import (
	"context"
	"fmt"
	"strings"

	"github.com/google/uuid"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/controller/observe"
	"github.com/valetkey/valetkey/internal/policy"
	"github.com/valetkey/valetkey/internal/visible"
)

// grant reserves a slot, where the policy that allows it has a limit, and creates the grant. A request for which
// there is no room waits in line.
func (c *Controller) grant(
	ctx context.Context, r *v1alpha1.CapabilityRequest, found observe.Observation, d policy.Decision,
) (outcome, error) {
	if d.Limit == nil {
		return c.create(ctx, r, newGrant(r, found, d))
	}
	room, reserved, err := c.Limits.Reserve(d.Policy.Name, *d.Limit, r)
	if err != nil {
		return outcome{}, err
	}
	if !reserved {
		return c.wait(r, d.Within(room)), nil
	}
	return c.create(ctx, r, newGrant(r, found, d))
}

// create creates the grant, in a namespace whose protection nobody can take away any more. What was reserved for it is
// given back if it certainly was not created; if that is not known, the next look at the request finds out.
func (c *Controller) create(
	ctx context.Context, r *v1alpha1.CapabilityRequest, grant *v1alpha1.CapabilityGrant,
) (outcome, error) {
	ns, err := c.Marks.Mark(ctx, c.Client, r.Namespace)
	if err != nil {
		c.Limits.GiveBack(r.UID)
		return outcome{}, err
	}
	if lacks := observe.Protection(ns); lacks.Reason != "" {
		c.Limits.GiveBack(r.UID)
		return c.refuse(ctx, r, lacks.Reason, lacks.Message, nil)
	}
	err = c.Client.Create(ctx, grant)
	switch {
	case err == nil:
		c.takeOver(r, grant)
		return outcome{lease: grant.Spec.LeaseID}, nil
	case apierrors.IsAlreadyExists(err):
		return c.collide(ctx, r)
	case observe.Refused(err):
		c.Limits.GiveBack(r.UID)
		err = &refusedError{err}
	default:
		c.Limits.Doubt(r.UID)
	}
	return outcome{}, fmt.Errorf("creating the grant: %w", err)
}

// collide goes on with the grant that has the request's name: its own, or that of an earlier request, which has to go
// first.
func (c *Controller) collide(ctx context.Context, r *v1alpha1.CapabilityRequest) (outcome, error) {
	grant := &v1alpha1.CapabilityGrant{}
	if err := c.Live.Get(ctx, client.ObjectKeyFromObject(r), grant); err != nil {
		// It went in between, or could not be read: the next look finds out.
		c.Limits.Doubt(r.UID)
		return outcome{}, fmt.Errorf("looking up the grant of that name: %w", err)
	}
	if grant.Spec.RequestRef.UID == string(r.UID) {
		c.takeOver(r, grant)
		return outcome{lease: grant.Spec.LeaseID}, nil
	}
	c.Limits.GiveBack(r.UID)
	const most = 1000
	message := "the grant of an earlier request of this name is still being removed"
	ended := meta.FindStatusCondition(grant.Status.Conditions, v1alpha1.ConditionEnded)
	if ended != nil && ended.Message != "" {
		message += ": " + ended.Message
	}
	return c.wait(r, policy.Decision{Verdict: policy.Pending, Reason: v1alpha1.ReasonIndeterminate,
		Message: policy.Clip(message+"; wait, or ask under another name", most)}), nil
}

// adopt goes on with a grant that was created for this very request before its status could say so. It returns the
// lease, none if there is no such grant. Where it is in doubt whether the grant was created, the API server is asked.
func (c *Controller) adopt(ctx context.Context, r *v1alpha1.CapabilityRequest) (lease string, err error) {
	reader, doubtful := client.Reader(c.Client), c.Limits.Doubtful(r.UID)
	if doubtful {
		reader = c.Live
	}
	grant := &v1alpha1.CapabilityGrant{}
	err = reader.Get(ctx, client.ObjectKeyFromObject(r), grant)
	if client.IgnoreNotFound(err) != nil {
		return "", err
	}
	if err != nil || grant.Spec.RequestRef.UID != string(r.UID) {
		if doubtful {
			c.Limits.GiveBack(r.UID)
		}
		return "", nil
	}
	if r.Status.Review == nil {
		// The process that created the grant did not come to store its review with its name.
		found, err := c.Observer.Observe(ctx, r)
		if err != nil {
			return "", err
		}
		if found.Review != nil {
			c.review(r, &found)
		}
	}
	c.takeOver(r, grant)
	return grant.Spec.LeaseID, nil
}

// gone gives back what was reserved for a request that was removed, unless its grant is there.
func (c *Controller) gone(ctx context.Context, name types.NamespacedName) error {
	for _, uid := range c.Limits.ReservedFor(name) {
		grant := &v1alpha1.CapabilityGrant{}
		err := c.Live.Get(ctx, name, grant)
		if client.IgnoreNotFound(err) != nil {
			return err
		}
		if err != nil || grant.Spec.RequestRef.UID != string(uid) {
			c.Limits.GiveBack(uid)
		}
	}
	return nil
}

// takeOver goes on with a grant. What was reviewed is what the grant says: where something else is found by now, no review is stored, and
// the grant is ended for that.
func (c *Controller) takeOver(r *v1alpha1.CapabilityRequest, g *v1alpha1.CapabilityGrant) {
	if review := r.Status.Review; review != nil && review.Digest != g.Spec.Approval.Digest {
		r.Status.Review = nil
		meta.RemoveStatusCondition(&r.Status.Conditions, v1alpha1.ConditionReviewed)
	}
	r.Status.Policy = &v1alpha1.PolicyReference{Name: g.Spec.Approval.Policy, Generation: g.Spec.Approval.PolicyGeneration}
	c.granted(r, g)
}

func (c *Controller) granted(r *v1alpha1.CapabilityRequest, g *v1alpha1.CapabilityGrant) {
	r.Status.GrantName, r.Status.Approvals = g.Name, nil
	message := fmt.Sprintf("allowed by policy %s", g.Spec.Approval.Policy)
	if len(g.Spec.Approval.ApprovedBy) > 0 {
		message += fmt.Sprintf(", approved by %v", visible.Names(g.Spec.Approval.ApprovedBy))
	}
	c.set(r, v1alpha1.ConditionAllowed, metav1.ConditionTrue, v1alpha1.ReasonAllowed, message)
	c.set(r, v1alpha1.ConditionGranted, metav1.ConditionTrue, v1alpha1.ReasonGranted, message+"; see capabilitygrant "+g.Name)
}

func newGrant(r *v1alpha1.CapabilityRequest, found observe.Observation, d policy.Decision) *v1alpha1.CapabilityGrant {
	return &v1alpha1.CapabilityGrant{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: r.Namespace, Name: r.Name,
			Labels:          map[string]string{v1alpha1.LabelRequest: r.Name},
			Finalizers:      []string{v1alpha1.FinalizerRevoke},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(r, v1alpha1.GroupVersion.WithKind("CapabilityRequest"))},
		},
		Spec: v1alpha1.CapabilityGrantSpec{
			LeaseID:    uuid.NewString(),
			RequestRef: v1alpha1.ObjectReference{Name: r.Name, UID: string(r.UID)},
			Requester:  r.Spec.Requester.Username,
			TaskID:     r.Spec.TaskID, Actor: r.Spec.Actor, Repo: r.Spec.Repo, Environment: r.Spec.Environment, Capability: r.Spec.Capability,
			Provider:   v1alpha1.GrantProvider{Name: found.Provider.Name, Type: found.Backend.Type()},
			Scope:      found.Scope.Actions,
			TTLSeconds: r.Status.Review.TTLSeconds,
			Job:        v1alpha1.GrantJob{Name: found.Facts.Job.Name, UID: string(found.Facts.Job.UID), Container: r.Spec.Container},
			Approval: v1alpha1.GrantApproval{Policy: d.Policy.Name, PolicyGeneration: d.Policy.Generation,
				ApprovedBy: d.ApprovedBy, Digest: r.Status.Review.Digest},
		},
	}
}

// follow mirrors the end of the grant.
func (c *Controller) follow(ctx context.Context, r *v1alpha1.CapabilityRequest) (outcome, error) {
	grant := &v1alpha1.CapabilityGrant{}
	key := client.ObjectKey{Namespace: r.Namespace, Name: r.Status.GrantName}
	err := c.Client.Get(ctx, key, grant)
	if apierrors.IsNotFound(err) {
		// The cache can be behind a grant that was only just created.
		err = c.Live.Get(ctx, key, grant)
	}
	switch {
	case apierrors.IsNotFound(err):
		c.Limits.GiveBack(r.UID)
		c.fail(r, v1alpha1.ReasonGrantEnded, "its grant was deleted")
		return outcome{after: c.Retention}, nil
	case err != nil:
		return outcome{}, err
	case grant.Status.EndedAt == nil:
		return outcome{}, nil
	case grant.Status.Outcome != v1alpha1.OutcomeCompleted:
		c.fail(r, v1alpha1.ReasonGrantEnded, endMessage(grant))
		return outcome{after: c.Retention}, nil
	}
	c.end(r, v1alpha1.ReasonGrantEnded, endMessage(grant))
	return outcome{after: c.Retention}, nil
}

func endMessage(g *v1alpha1.CapabilityGrant) string {
	message := string(g.Status.Outcome)
	if stop := g.Status.Stop; stop != nil && stop.Message != "" {
		message += ": " + stop.Message
	}
	if rev := g.Status.Revocation; rev != nil && rev.ExposedUntil != nil {
		message += "; a copy of the credential would work until " + rev.ExposedUntil.UTC().Format("15:04:05Z")
	}
	if rev := g.Status.Revocation; rev != nil && rev.ExposedUntil == nil && rev.Mode == v1alpha1.RevocationAtExpiry {
		message += "; nobody can say until when a copy of what was issued would work"
	}
	if rev := g.Status.Revocation; rev != nil && rev.LeavesOpen {
		message += "; what was opened with it, such as a watch, may go on"
	}
	return message
}

// deniedTooLate names who denied a request whose grant was over. A denial is taken until the request itself says that it has ended, and that
// follows the grant.
func (c *Controller) deniedTooLate(r *v1alpha1.CapabilityRequest) {
	ended := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionEnded)
	if ended == nil || ended.Reason != v1alpha1.ReasonGrantEnded || r.Status.Review == nil {
		return
	}
	message := ended.Message
	for _, d := range r.Decisions {
		said := "denied by " + visible.Name(d.By)
		if d.Decision != v1alpha1.DecisionDeny || d.Digest != r.Status.Review.Digest || strings.Contains(message+";", said+";") {
			continue // or it ended by that
		}
		if said += " when it was over"; !strings.Contains(message, said) {
			message += "; " + said
		}
	}
	c.set(r, v1alpha1.ConditionEnded, metav1.ConditionTrue, ended.Reason, message)
}

func (c *Controller) end(r *v1alpha1.CapabilityRequest, reason, message string) {
	now := metav1.NewTime(c.Clock.Now())
	r.Status.EndedAt = &now
	c.set(r, v1alpha1.ConditionEnded, metav1.ConditionTrue, reason, message)
}

// fail ends a request whose Job did not do its work with a credential.
func (c *Controller) fail(r *v1alpha1.CapabilityRequest, reason, message string) {
	c.end(r, reason, message)
	c.set(r, v1alpha1.ConditionStalled, metav1.ConditionTrue, reason, message)
}

// refuse ends a request finally. The refusal is audited before it is told.
func (c *Controller) refuse(ctx context.Context, r *v1alpha1.CapabilityRequest, reason, message string, by *v1alpha1.PolicyReference) (outcome, error) {
	record := audit.Record{
		TaskID: r.Spec.TaskID, Actor: r.Spec.Actor, Repo: r.Spec.Repo, Environment: r.Spec.Environment, Capability: r.Spec.Capability,
		Approval: audit.ApprovalDenied, Outcome: audit.OutcomeDenied, Event: audit.EventDenied,
		Requester: r.Spec.Requester.Username, Namespace: r.Namespace, Request: r.Name, Reason: reason,
		Message: policy.Clip(message, audit.MaxMessage),
	}
	if by != nil {
		r.Status.Policy, record.Policy = by, by.Name
	}
	if r.Status.Review != nil {
		record.Digest = r.Status.Review.Digest
	}
	if _, err := c.Audit.Append(ctx, record); err != nil {
		return outcome{}, fmt.Errorf("the audit log cannot be written: %w", err)
	}
	c.set(r, v1alpha1.ConditionAllowed, metav1.ConditionFalse, reason, message)
	c.fail(r, v1alpha1.ReasonRefused, message)
	return outcome{after: c.Retention}, nil
}

// announce tells people what became of the request, after it was stored. What two events would tell is told by one: that a request is allowed
// by its grant, and the end of that by the grant's own.
func (c *Controller) announce(before, after *v1alpha1.CapabilityRequest, lease string) {
	for _, kind := range []string{v1alpha1.ConditionAllowed, v1alpha1.ConditionGranted, v1alpha1.ConditionEnded} {
		was, is := meta.FindStatusCondition(before.Status.Conditions, kind), meta.FindStatusCondition(after.Status.Conditions, kind)
		if is == nil || (was != nil && was.Reason == is.Reason) || is.Reason == v1alpha1.ReasonAllowed || is.Reason == v1alpha1.ReasonGrantEnded {
			continue
		}
		eventType := corev1.EventTypeNormal
		if is.Type == v1alpha1.ConditionAllowed && is.Status != metav1.ConditionTrue && after.Status.EndedAt != nil {
			eventType = corev1.EventTypeWarning
		}
		c.Events.Eventf(after, nil, eventType, is.Reason, kind, "%s", is.Message)
		if is.Status == metav1.ConditionTrue && (is.Reason == v1alpha1.ReasonGranted || is.Reason == v1alpha1.ReasonRefused) {
			c.Metrics.Decided(after, lease)
			c.Traces.Decided(after)
		}
	}
}
