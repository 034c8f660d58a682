// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"context"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/lifecycle"
	"github.com/valetkey/valetkey/internal/provider"
)

// answer is what a back end said to the attempt that this process asked it for.
type answer struct {
	credential *provider.Credential
	failure    error
	at         time.Time
}

// hear takes in what the back end has answered, if it has. A credential that came when the grant was being ended
// already, or when another process had begun the next attempt, is recorded, and forgotten.
func (c *Controller) hear(ctx context.Context, g *v1alpha1.CapabilityGrant, mem *memory) error {
	if err := c.storeHandle(ctx, g, mem); err != nil {
		return err
	}
	c.mu.Lock()
	heard := mem.answer
	c.mu.Unlock()
	if heard == nil {
		return nil
	}
	var err error
	switch {
	case heard.failure != nil:
		err = c.mintFailed(ctx, g, mem, heard.failure)
	case g.Status.Stop != nil || g.Status.Attempt != mem.Began:
		err = c.tooLate(ctx, g, mem, heard.credential)
	default:
		mem.credential, mem.issuedAt, mem.Minted = heard.credential, heard.at, true
	}
	if err != nil {
		return err
	}
	mem.Minting = false
	c.mu.Lock()
	mem.answer = nil
	c.mu.Unlock()
	return nil
}

// tooLate puts a credential that nobody is given on record, and stores until when it works.
func (c *Controller) tooLate(ctx context.Context, g *v1alpha1.CapabilityGrant, mem *memory,
	credential *provider.Credential) error {
	if err := c.recordIssued(ctx, g, mem, credential); err != nil {
		return err
	}
	return c.storeAnswer(ctx, g, mem, unused(mem.Began, credential))
}

// unused writes into a status what is known of a credential that was issued, and that nobody is given. It keeps nothing
// of what is secret.
func unused(attempt int32, credential *provider.Credential) func(*v1alpha1.CapabilityGrantStatus) {
	until, named := metav1.NewTime(credential.WorksUntil()), reference(credential)
	return func(s *v1alpha1.CapabilityGrantStatus) {
		lifecycle.Learn(s, v1alpha1.AttemptExposure{Attempt: attempt, Until: until, Answered: true})
		if s.Attempt == attempt {
			s.Credential = named
		}
	}
}

// storeAnswer stores what the back end answered. While the grant is being ended, a status that the API server does not
// store keeps nothing from being revoked: the end goes on with what is known, and stores it with its own words.
func (c *Controller) storeAnswer(ctx context.Context, g *v1alpha1.CapabilityGrant, mem *memory,
	change func(*v1alpha1.CapabilityGrantStatus)) error {
	err := c.write(ctx, g, change)
	if err == nil || g.Status.Stop == nil {
		return err
	}
	mem.sayLater(g, change)
	return nil
}

// recordIssued puts on record, once, what was issued to the attempt that this process began.
func (c *Controller) recordIssued(ctx context.Context, g *v1alpha1.CapabilityGrant, mem *memory,
	credential *provider.Credential) error {
	if mem.recorded == mem.Began {
		return nil
	}
	id := func(r *audit.Record) { r.CredentialID = credential.ID() }
	if err := c.record(ctx, g, audit.EventIssued, ofAttempt(g, mem.Began, id)); err != nil {
		return err
	}
	mem.recorded = mem.Began
	return nil
}

// reference is how the status names a credential.
func reference(c *provider.Credential) *v1alpha1.CredentialReference {
	return &v1alpha1.CredentialReference{ID: c.ID(), Principal: c.Principal()}
}

// mintFailed sorts the failure. What the back end refused in so many words was never issued; of anything else that is
// not known, but what its answer said.
func (c *Controller) mintFailed(ctx context.Context, g *v1alpha1.CapabilityGrant, mem *memory, failure error) error {
	mem.Failure = lifecycle.Failure{Final: provider.IsFinal(failure), Message: failure.Error()}
	wait := max(backoff(mem.Began), provider.RetryAfter(failure))
	mem.NotBefore = c.Clock.Now().Add(wait)
	if mem.failed != mem.Began {
		record := ofAttempt(g, mem.Began, func(r *audit.Record) { r.Reason = mem.Failure.Message })
		if err := c.record(ctx, g, audit.EventIssueFailed, record); err != nil {
			return err
		}
		mem.failed = mem.Began
	}
	return c.storeAnswer(ctx, g, mem, func(s *v1alpha1.CapabilityGrantStatus) { c.sayFailed(g, s, mem, failure) })
}

// learn writes into a status until when that works which an attempt was answered, and nobody is given.
func learn(attempt int32, works provider.Works) func(*v1alpha1.CapabilityGrantStatus) {
	return func(s *v1alpha1.CapabilityGrantStatus) {
		lifecycle.Learn(s, v1alpha1.AttemptExposure{Attempt: attempt, Until: metav1.NewTime(works.Until), Answered: true,
			Unknown: works.Unknown, Mismatched: works.Mismatched})
	}
}

// sayFailed writes a failure into a status. Another process may have begun the next attempt meanwhile: then the status
// tells of that, and of this one only until when that works which was answered.
func (c *Controller) sayFailed(g *v1alpha1.CapabilityGrant, s *v1alpha1.CapabilityGrantStatus, mem *memory,
	failure error) {
	if works := provider.StillWorks(failure); works != (provider.Works{}) {
		learn(mem.Began, works)(s)
	}
	if s.Attempt != mem.Began {
		return
	}
	if provider.IsRefused(failure) {
		lifecycle.NeverIssued(s, mem.Began)
	}
	if s.Stop != nil {
		return
	}
	reason := v1alpha1.ReasonBackingOff
	if mem.Failure.Final {
		reason = v1alpha1.ReasonIssueFailed
	}
	c.condition(g, s, v1alpha1.ConditionIssued, metav1.ConditionFalse, reason, mem.Failure.Message)
}
