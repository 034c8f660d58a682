// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/names"
	"github.com/valetkey/valetkey/internal/visible"
)

// Facts are all that a decision depends on.
type Facts struct {
	// Request is what is asked for.
	Request *v1alpha1.CapabilityRequest
	// Unsaid are the fields of the request, as expressions call them, that whoever asks has not said yet. An expression
	// that reads one is left open, as one that reads the Job is while there is none.
	Unsaid []string
	// Capability that is asked for; nil if there is none of that name.
	Capability *v1alpha1.Capability
	// CapabilityReady and CapabilityMessage are its condition Ready.
	CapabilityReady   bool
	CapabilityMessage string
	// Job is the request's; nil while it is not there.
	Job *batchv1.Job
	// JobSize is how many bytes its template has as JSON, where that is too large for the rest of it to have been read.
	JobSize int
	// JobProblems are what is wrong with the Job beside its spec: fields that this program does not know, and inputs that are not there.
	JobProblems []string
	// Policies are all there are.
	Policies *Set
	// Risks are what only a policy's accept can take.
	Risks []Risk
	// Unprotected is what [Unprotected] says of the request's namespace; empty where that was not looked at, or is
	// looked at before.
	Unprotected string
	// Digest is that of status.review; empty before the review.
	Digest string
	// ReviewedAt is when the review was written. The timeout for approvals counts from here.
	ReviewedAt time.Time
	// Seen are the decisions that the operator stored having seen.
	Seen []v1alpha1.SeenDecision
	// IdentityExtraKey is the key of a user's extra whose value is the same for one person under every name; empty for none.
	IdentityExtraKey string
	// Active counts the credentials that still work, by the policy that allowed them, without this request's own; nil if
	// nobody counted, and then no limit is asked.
	Active map[string]int
	// GrantedBy is set when a living grant is looked at again: the name of the policy that allowed it, beside which no other does, for nobody
	// approved by that one's rules. Limits, until when people approved, and the Job's being held are not asked again, everything else must still
	// hold.
	GrantedBy string
	// Approvals is how many people had approved it.
	Approvals int32
	// Now is the instant of the decision.
	Now time.Time
}

// Risk is something that only a policy's accept can take.
type Risk struct {
	// Needs is what the policy must accept.
	Needs v1alpha1.Acceptance
	// Message says what the risk is.
	Message string
}

// Verdict is the kind of a decision.
type Verdict string

const (
	// Allow says that policy and people allow it. Before the review is written, that is all that is missing.
	Allow Verdict = "Allow"
	// Deny is final for a request, and ends a grant.
	Deny Verdict = "Deny"
	// Pending says that the Job, an approval or room within a limit is awaited.
	Pending Verdict = "Pending"
	// Indeterminate says that something could not be found out. It neither allows nor refuses.
	Indeterminate Verdict = "Indeterminate"
)

// Decision is the answer to Facts.
type Decision struct {
	Verdict Verdict
	// Reason is one of the documented reasons of the condition Allowed.
	Reason string
	// Message is a sentence that a person understands, of at most 1024 bytes. Of a refusal, it says what would have been allowed.
	Message string
	// Policy decided; nil if none did.
	Policy *v1alpha1.PolicyReference
	// ApprovedBy are the people whose approval counts, sorted.
	ApprovedBy []string
	// Limit is limits.active of the policy that allows it; nil where that has none, and when nothing allows it.
	Limit *int32
	// ApprovalsMissing is how many more people must approve.
	ApprovalsMissing int32
	// Recheck is when the answer can change by time alone; zero if it cannot.
	Recheck time.Time
}

// Evaluate decides. Refusals come first, so that nothing that could not be found out, and nothing that is awaited, hides one.
func Evaluate(f Facts) Decision {
	e := evaluation{Facts: f}
	if f.Capability != nil {
		e.vars = e.variables()
	}
	steps := []func() *Decision{
		e.unprotected, e.notStamped, e.deniedByPerson, e.noSuchCapability, e.nameRefused, e.jobTooLarge, e.deniedByPolicy,
		e.notAllowed, e.notServed, e.jobRefused, e.capabilityNotReady, e.awaitingJob, e.awaitingApproval,
	}
	for _, step := range steps {
		if d := step(); d != nil {
			d.Message = Clip(d.Message, maxMessageLength)
			return *d
		}
	}
	d := e.allowed()
	if d.Limit == nil || f.Active == nil {
		return d
	}
	return d.Within(Room{Active: f.Active[d.Policy.Name]})
}

func (f *Facts) granted() bool { return f.GrantedBy != "" }

// evaluation is Evaluate on its way: chosen is set by notAllowed, approvers and uncounted by awaitingApproval.
type evaluation struct {
	Facts
	vars      map[string]any
	chosen    *Compiled
	approvers []string
	// uncounted says of each approval that was given in vain why it does not count.
	uncounted []string
	// read is what asked returns, once it was called.
	read *names.Asked
}

// asked are the names of the request, as the capability's back end reads them.
func (e *evaluation) asked() names.Asked {
	if e.read == nil {
		read := names.Of(e.Capability).Read(e.Request.Spec.Repo, e.Request.Spec.Environment)
		e.read = &read
	}
	return *e.read
}

func (e *evaluation) notStamped() *Decision {
	if e.Request.Spec.Requester.Username != "" {
		return nil
	}
	return &Decision{Verdict: Deny, Reason: v1alpha1.ReasonNotGuarded,
		Message: "the request has no requester: the API server's rules did not stamp it; create it again"}
}

func (e *evaluation) deniedByPerson() *Decision {
	if e.Digest == "" {
		return nil
	}
	for _, d := range e.Request.Decisions {
		if d.Decision != v1alpha1.DecisionDeny || d.Digest != e.Digest {
			continue
		}
		message := visible.Name(d.By) + " denied it"
		if d.Reason != "" {
			message += ": " + d.Reason
		}
		return &Decision{Verdict: Deny, Reason: v1alpha1.ReasonDeniedByPerson, Message: message}
	}
	return nil
}

func (e *evaluation) noSuchCapability() *Decision {
	message := fmt.Sprintf("there is no capability %q", e.Request.Spec.Capability)
	switch {
	case e.Capability == nil:
	case e.Capability.DeletionTimestamp != nil:
		message = fmt.Sprintf("capability %q is being deleted", e.Request.Spec.Capability)
	default:
		return nil
	}
	return &Decision{Verdict: Deny, Reason: v1alpha1.ReasonDeniedByPolicy, Message: message + e.whatMayBeAsked()}
}

// nameRefused is asked before any policy: a policy, an expression, the back end and the audit log then read the same
// names.
func (e *evaluation) nameRefused() *Decision {
	err := names.CheckSpelling(e.Capability, e.Request.Spec.Repo, e.Request.Spec.Environment)
	if err == nil {
		return nil
	}
	return &Decision{Verdict: Deny, Reason: v1alpha1.ReasonNameRefused, Message: err.Error()}
}

// notServed is asked when a policy allows the request: nobody else learns what a capability is for.
func (e *evaluation) notServed() *Decision {
	err := names.CheckServed(e.Capability, e.Request.Spec.Repo)
	if err == nil {
		return nil
	}
	return &Decision{Verdict: Deny, Reason: v1alpha1.ReasonNameRefused, Message: err.Error()}
}

func (e *evaluation) deniedByPolicy() *Decision {
	var found *Compiled
	var message string
	for p := range e.Policies.matching(false, e.Request, e.asked()) {
		if found != nil && found.name() <= p.name() {
			continue
		}
		if denies, why := p.denies(e.Request, e.asked(), e.vars); denies {
			found, message = p, why
		}
	}
	if found == nil {
		return nil
	}
	return &Decision{Verdict: Deny, Reason: v1alpha1.ReasonDeniedByPolicy, Message: message, Policy: found.reference()}
}

func (e *evaluation) jobTooLarge() *Decision {
	if e.Job == nil {
		return nil
	}
	found := slices.Concat(showable(e.Job), countInputs(e.Job))
	found.add(e.JobSize > MaxJobSize, templateTooLarge, e.JobSize, MaxJobSize)
	if !e.granted() {
		found = append(found, tooLarge(e.Job)...)
	}
	if err := found.err(); err != nil {
		return &Decision{Verdict: Deny, Reason: v1alpha1.ReasonJobRefused, Message: err.Error()}
	}
	return nil
}

func (e *evaluation) jobRefused() *Decision {
	if e.Job == nil {
		return nil
	}
	check := unfit
	if e.granted() {
		check = unfitStep
	}
	problems := slices.Concat(check(e.Job, e.Request, e.Capability), e.JobProblems)
	if len(problems) > 0 {
		return &Decision{Verdict: Deny, Reason: v1alpha1.ReasonJobRefused, Message: strings.Join(problems, "; ")}
	}
	return nil
}

func (e *evaluation) capabilityNotReady() *Decision {
	if e.CapabilityReady {
		return nil
	}
	message := fmt.Sprintf("capability %s is not Ready", e.Capability.Name)
	if e.CapabilityMessage != "" {
		message += ": " + e.CapabilityMessage
	}
	return &Decision{Verdict: Indeterminate, Reason: v1alpha1.ReasonIndeterminate, Message: message}
}

func (e *evaluation) awaitingJob() *Decision {
	if e.Job != nil {
		return nil
	}
	return &Decision{Verdict: Pending, Reason: v1alpha1.ReasonAwaitingJob,
		Message: fmt.Sprintf("Job %s does not exist yet", JobName(e.Request))}
}

func (e *evaluation) allowed() Decision {
	message := fmt.Sprintf("policy %s allows it", e.chosen.name())
	if len(e.approvers) > 0 {
		message += ", approved by " + list(visible.Names(e.approvers))
	}
	d := Decision{Verdict: Allow, Reason: v1alpha1.ReasonAllowed, Policy: e.chosen.reference(), ApprovedBy: e.approvers,
		Message: Clip(message, maxMessageLength)}
	if limits := e.chosen.policy.Spec.Limits; limits != nil && !e.granted() {
		d.Limit = limits.Active
	}
	return d
}

// TTL is how long the Job may use the credential, in seconds: what the request asks for, or else the capability's default.
func TTL(r *v1alpha1.CapabilityRequest, c *v1alpha1.Capability) int32 {
	if r.Spec.TTLSeconds != nil {
		return *r.Spec.TTLSeconds
	}
	if c == nil {
		return 0
	}
	return c.Spec.DefaultTTLSeconds
}

// JobName is the name of a request's Job.
func JobName(r *v1alpha1.CapabilityRequest) string { return v1alpha1.NamePrefix + r.Name }
