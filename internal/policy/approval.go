// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

func (c *Compiled) approvers() []v1alpha1.Subject {
	if c.policy.Spec.Approval == nil {
		return nil
	}
	return c.policy.Spec.Approval.Approvers
}

// required is how many people must approve under a policy: never fewer than the capability asks for.
func (e *evaluation) required(c *Compiled) int32 {
	required := e.Capability.Spec.MinimumApproval
	if a := c.policy.Spec.Approval; a != nil {
		required = max(required, a.Required)
	}
	return required
}

// awaitingApproval counts the approvals of the chosen policy. After the timeout nothing can be added to them.
func (e *evaluation) awaitingApproval() *Decision {
	required := e.required(e.chosen)
	if e.Granted || required <= 0 {
		return nil
	}
	deadline := e.ReviewedAt.Add(time.Duration(e.chosen.policy.Spec.Approval.TimeoutSeconds) * time.Second)
	e.approvers = e.approvedBy(deadline)
	missing := required - int32(min(len(e.approvers), int(required)))
	if missing == 0 {
		return nil
	}
	d := &Decision{Verdict: Pending, Reason: v1alpha1.ReasonAwaitingApproval, Policy: e.chosen.reference(),
		ApprovedBy: e.approvers, ApprovalsMissing: missing}
	switch {
	case e.Digest == "":
		d.Message = e.whoApproves(missing, "")
	case e.Now.Before(deadline):
		d.Recheck = deadline
		d.Message = e.whoApproves(missing, " by "+deadline.UTC().Format(time.RFC3339))
	default:
		d.Verdict, d.Reason = Deny, v1alpha1.ReasonApprovalTimedOut
		d.Message = fmt.Sprintf("policy %s asks for %s by %s, and %s missing; create another request", e.chosen.name(),
			approvals(required), deadline.UTC().Format(time.RFC3339), wereMissing(missing))
	}
	return d
}

// whoApproves says what is missing, until when, and who may give it.
func (e *evaluation) whoApproves(missing int32, until string) string {
	subjects := make([]string, len(e.chosen.approvers()))
	for i, s := range e.chosen.approvers() {
		subjects[i] = describeSubject(s)
	}
	return fmt.Sprintf("policy %s waits for %s%s, from %s", e.chosen.name(), approvals(missing), until, list(subjects))
}

func approvals(n int32) string {
	if n == 1 {
		return "1 approval"
	}
	return fmt.Sprintf("%d approvals", n)
}

func wereMissing(n int32) string {
	if n == 1 {
		return "1 was"
	}
	return fmt.Sprintf("%d were", n)
}

// approvedBy are the different people whose approval counts: of this digest, seen in time, by somebody whom the chosen policy
// takes, and not by whoever asked. It is sorted.
func (e *evaluation) approvedBy(deadline time.Time) []string {
	people := newPeople(e.Request.Spec.Requester)
	var names []string
	for _, d := range e.Request.Decisions {
		if !e.counts(d, deadline) || !people.add(d.By, d.UID) {
			continue
		}
		names = append(names, d.By)
	}
	slices.Sort(names)
	return names
}

func (e *evaluation) counts(d v1alpha1.Decision, deadline time.Time) bool {
	if e.Digest == "" || d.Digest != e.Digest || d.Decision != v1alpha1.DecisionApprove {
		return false
	}
	taken := slices.ContainsFunc(e.chosen.approvers(), func(s v1alpha1.Subject) bool { return matchApprover(s, d.By, d.Groups) })
	return taken && slices.ContainsFunc(e.Seen, func(s v1alpha1.SeenDecision) bool {
		return s.By == d.By && s.Decision == d.Decision && s.Digest == d.Digest && s.SeenAt.Time.Before(deadline)
	})
}

// people tells persons apart. Two names are one person if an authenticator reports the same uid for both, or if they differ in
// case alone: counting one person twice is worse than not counting a second.
type people struct {
	names, uids map[string]bool
}

// newPeople begins with the requester, who never counts.
func newPeople(requester v1alpha1.Identity) people {
	p := people{names: map[string]bool{}, uids: map[string]bool{}}
	p.add(requester.Username, requester.UID)
	return p
}

// add reports whether the person is new. What is learnt of a known person is kept, so that an alias of an alias is known too.
func (p people) add(name, uid string) bool {
	name = strings.ToLower(name)
	known := p.names[name] || (uid != "" && p.uids[uid])
	p.names[name] = true
	if uid != "" {
		p.uids[uid] = true
	}
	return !known
}
