// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/provider"
)

// record writes one audit record about the grant. Its anchor goes into the status with the next write; when the log cannot be
// written, the status says so and the error keeps the step from being taken.
func (c *Controller) record(ctx context.Context, g *v1alpha1.CapabilityGrant, event audit.Event, more func(*audit.Record)) error {
	r := audit.Record{
		TaskID: g.Spec.TaskID, Actor: g.Spec.Actor, Repo: g.Spec.Repo, Environment: g.Spec.Environment, Capability: g.Spec.Capability,
		LeaseID: g.Spec.LeaseID, Provider: g.Spec.Provider.Type, Scope: g.Spec.Scope, TTLSeconds: g.Spec.TTLSeconds,
		Approval: audit.ApprovalNotRequired, Event: event,
		Requester: g.Spec.Requester, Namespace: g.Namespace, Request: g.Spec.RequestRef.Name, Grant: g.Name, Job: g.Spec.Job.Name,
		Policy: g.Spec.Approval.Policy, ApprovedBy: g.Spec.Approval.ApprovedBy, Digest: g.Spec.Approval.Digest, Attempt: g.Status.Attempt,
	}
	if len(g.Spec.Approval.ApprovedBy) > 0 {
		r.Approval = audit.ApprovalGranted
	}
	if g.Status.Attempt > 0 {
		r.Session = session(g, g.Status.Attempt)
	}
	if g.Status.Credential != nil {
		r.CredentialID = g.Status.Credential.ID
	}
	if more != nil {
		more(&r)
	}
	anchor, err := c.Audit.Append(ctx, r)
	if err != nil {
		return c.unaudited(ctx, g, err)
	}
	g.Status.Audit = &anchor
	return nil
}

// unaudited says that the log cannot be written, and returns the error all the same.
func (c *Controller) unaudited(ctx context.Context, g *v1alpha1.CapabilityGrant, cause error) error {
	err := fmt.Errorf("the audit log cannot be written: %w", cause)
	_ = c.write(ctx, g, func(s *v1alpha1.CapabilityGrantStatus) { // the error below is the one that matters
		kind := v1alpha1.ConditionIssued
		if s.Stop != nil || s.IssuedAt != nil {
			kind = v1alpha1.ConditionEnded
		}
		c.condition(g, s, kind, metav1.ConditionFalse, v1alpha1.ReasonAuditUnavailable, err.Error())
	})
	return err
}

func session(g *v1alpha1.CapabilityGrant, attempt int32) string {
	return provider.Lease{ID: g.Spec.LeaseID, Attempt: attempt}.Session()
}

// ofAttempt makes a record tell of an attempt, which need not be the last that is stored: another process may have begun
// the next one meanwhile.
func ofAttempt(g *v1alpha1.CapabilityGrant, attempt int32, more func(*audit.Record)) func(*audit.Record) {
	return func(r *audit.Record) {
		r.Attempt, r.Session, r.CredentialID = attempt, session(g, attempt), ""
		more(r)
	}
}

func auditTime(t *metav1.Time) string {
	if t == nil {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05Z")
}

// tell tells people, after what it tells of was stored.
func (c *Controller) tell(g *v1alpha1.CapabilityGrant, reason, message string) {
	c.Events.Eventf(g, nil, corev1.EventTypeNormal, reason, "Grant", "%s", message)
}
