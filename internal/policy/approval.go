// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/visible"
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
	if e.granted() || required <= 0 {
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
		d.Message = e.whoApproves(missing, " by "+deadline.UTC().Format(time.RFC3339)) + e.notCounted()
	default:
		d.Verdict, d.Reason = Deny, v1alpha1.ReasonApprovalTimedOut
		d.Message = fmt.Sprintf("policy %s asks for %s by %s, and %s missing; create another request", e.chosen.name(),
			approvals(required), deadline.UTC().Format(time.RFC3339), wereMissing(missing)) + e.notCounted()
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
// takes, and not by whoever asked. It is sorted. What was given and does not count is kept, to be told.
func (e *evaluation) approvedBy(deadline time.Time) []string {
	everybody := e.everybody()
	requester := everybody.person(e.Request.Spec.Requester.Username)
	known := map[string]string{}
	var names []string
	for _, d := range e.Request.Decisions {
		if !e.given(d, deadline) {
			continue
		}
		who := everybody.person(d.By)
		switch first, again := known[who]; {
		case !e.takes(d):
			e.uncounted = append(e.uncounted, visible.Name(d.By)+" is no approver of this policy"+unlessNamed(d.By))
		case who == requester:
			e.uncounted = append(e.uncounted, visible.Name(d.By)+" is the requester under another name, and nobody approves their own request")
		case again:
			e.uncounted = append(e.uncounted, visible.Name(d.By)+" is "+visible.Name(first)+" under another name, and one person counts once")
		default:
			known[who] = d.By
			names = append(names, d.By)
		}
	}
	slices.Sort(names)
	return names
}

// given reports whether it is an approval of what is reviewed, seen in time.
func (e *evaluation) given(d v1alpha1.Decision, deadline time.Time) bool {
	if e.Digest == "" || d.Digest != e.Digest || d.Decision != v1alpha1.DecisionApprove {
		return false
	}
	return slices.ContainsFunc(e.Seen, func(s v1alpha1.SeenDecision) bool {
		return s.By == d.By && s.Decision == d.Decision && s.Digest == d.Digest && s.SeenAt.Time.Before(deadline)
	})
}

// takes reports whether the chosen policy takes the person as an approver.
func (e *evaluation) takes(d v1alpha1.Decision) bool {
	return slices.ContainsFunc(e.chosen.approvers(), func(s v1alpha1.Subject) bool { return matchApprover(s, d.By, d.Groups) })
}

func unlessNamed(username string) string {
	if strings.HasPrefix(username, serviceAccountPrefix) {
		return ", which takes a ServiceAccount only where it names it as one"
	}
	return ""
}

// notCounted goes on after a sentence: which approvals were given in vain, and why.
func (e *evaluation) notCounted() string {
	if len(e.uncounted) == 0 {
		return ""
	}
	return "; not counted: " + strings.Join(e.uncounted[:min(len(e.uncounted), maxListed)], "; ")
}

// everybody is whoever asked and whoever decided.
func (e *evaluation) everybody() people {
	p := people{}
	r := e.Request.Spec.Requester
	p.meet(r.Username, r.UID, values(r.Extra, e.IdentityExtraKey))
	for _, d := range e.Request.Decisions {
		p.meet(d.By, d.UID, values(d.Extra, e.IdentityExtraKey))
	}
	return p
}

// values are those under a key, which API servers write in lower case and other authenticators as they like.
func values(extra map[string]v1alpha1.ExtraValue, key string) []string {
	var all []string
	for k, v := range extra {
		if key != "" && strings.EqualFold(k, key) {
			all = append(all, v...)
		}
	}
	return all
}

// people tells persons apart. Two names are one person if they differ in case alone, if an authenticator reports the same uid for
// both, or the same value of the identity key, or if both are one person with a third: counting one person twice is worse than not
// counting a second. It leads from each mark that a person was met by to another of the same person; the last one leads nowhere.
type people map[string]string

// meet learns that a name, a uid and values belong to one person.
func (p people) meet(name, uid string, values []string) {
	if uid != "" {
		p.join(name, "uid "+uid)
	}
	for _, value := range values {
		if value = strings.ToLower(strings.TrimSpace(value)); value != "" {
			p.join(name, "value "+value)
		}
	}
}

func (p people) join(name, mark string) {
	if a, b := p.person(name), p.last(mark); a != b {
		p[b] = a
	}
}

// person is the same for all names of one person.
func (p people) person(name string) string { return p.last("name " + strings.ToLower(name)) }

func (p people) last(mark string) string {
	for p[mark] != "" {
		mark = p[mark]
	}
	return mark
}
