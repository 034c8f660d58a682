// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/policy"
)

// state is a word for where a request stands.
type state string

const (
	// stateAsked: the operator has not said anything yet.
	stateAsked state = "asked"
	// stateAwaiting: people have to approve.
	stateAwaiting state = "awaiting_approval"
	// stateWaiting: for something that neither the agent nor whoever approves can change.
	stateWaiting state = "waiting"
	// stateGranted: the credential is being issued.
	stateGranted state = "granted"
	// stateStarting: the Job has it, and its step does not run yet.
	stateStarting state = "starting"
	// stateRunning: the step runs with it.
	stateRunning state = "running"
	// stateEnding: the credential is being taken away.
	stateEnding state = "ending"
	// stateEnded: nothing more will happen.
	stateEnded state = "ended"
	// stateRefused: it will never be granted.
	stateRefused state = "refused"
	// stateWithdrawn: it was deleted.
	stateWithdrawn state = "withdrawn"
	// stateInvalid: a tool was given what it does not take.
	stateInvalid state = "invalid"
	// stateFailed: something could not be done.
	stateFailed state = "failed"
	// stateAbsent: there is no such request.
	stateAbsent state = "absent"
)

// over reports whether nothing more will happen.
func (s state) over() bool { return s == stateEnded || s == stateRefused }

// stand is a request, and its grant once there is one.
type stand struct {
	request *v1alpha1.CapabilityRequest
	grant   *v1alpha1.CapabilityGrant
}

func (st stand) allowed() metav1.Condition {
	return condition(st.request.Status.Conditions, v1alpha1.ConditionAllowed)
}

func (st stand) state() state {
	r, g := st.request, st.grant
	switch {
	case condition(r.Status.Conditions, v1alpha1.ConditionEnded).Reason == v1alpha1.ReasonRefused:
		return stateRefused
	case r.Status.EndedAt != nil || (g != nil && g.Status.EndedAt != nil):
		return stateEnded
	case g != nil && g.Status.Stop != nil:
		return stateEnding
	case g != nil && meta.IsStatusConditionTrue(g.Status.Conditions, v1alpha1.ConditionDelivered):
		switch running := condition(g.Status.Conditions, v1alpha1.ConditionRunning); {
		case running.Status == metav1.ConditionTrue:
			return stateRunning
		case running.Reason == v1alpha1.ReasonStepOver:
			return stateEnding
		}
		return stateStarting
	case g != nil || r.Status.GrantName != "":
		return stateGranted
	}
	switch st.allowed().Reason {
	case "", v1alpha1.ReasonAwaitingJob:
		return stateAsked
	case v1alpha1.ReasonAwaitingApproval:
		return stateAwaiting
	default:
		return stateWaiting
	}
}

// slow is after which time it is said that nothing has been decided.
const slow = 20 * time.Second

// tell says where a request stands, and what comes next. Nothing of the grant that leads to its Secret is told.
func (s *Server) tell(st stand) told {
	t := told{Name: st.request.Name, State: st.state(), Next: "call wait"}
	t.Message = policy.Clip(st.allowed().Message, maxMessage)
	switch t.State {
	case stateAsked:
		t.undecided(st, s.clock.Since(st.request.CreationTimestamp.Time))
	case stateAwaiting:
		t.Message, _, _ = strings.Cut(t.Message, "; look at status.review")
		if review := st.request.Status.Review; review != nil {
			t.Approve = fmt.Sprintf("kubectl annotate capreq %s -n %s %s=%s", st.request.Name, st.request.Namespace, v1alpha1.AnnotationApprove, review.Digest)
		}
		t.Next = "show a person the command approve, which you may not run yourself, and the review that status has; then call wait"
	case stateGranted:
		t.Message = "the credential is being issued"
		if st.grant == nil {
			break
		}
		// What is said of one that was issued names it, which is nothing to the agent.
		if issued := condition(st.grant.Status.Conditions, v1alpha1.ConditionIssued); issued.Status != metav1.ConditionTrue && issued.Message != "" {
			t.Message = policy.Clip(issued.Message, maxMessage)
		}
	case stateStarting:
		t.Until = instant(st.grant.Status.ExpiresAt)
		t.Message = policy.Clip(condition(st.grant.Status.Conditions, v1alpha1.ConditionRunning).Message, maxMessage)
	case stateRunning:
		t.Until = instant(st.grant.Status.ExpiresAt)
	case stateEnding:
		t.Message = policy.Clip(condition(st.grant.Status.Conditions, v1alpha1.ConditionRunning).Message, maxMessage)
		if st.grant.Status.Stop != nil {
			t.Message = policy.Clip(st.grant.Status.Stop.Message, maxMessage)
		}
	case stateRefused:
		t.refused(st)
	case stateEnded:
		t.ended(st)
	}
	return t
}

// undecided says what is missing when nothing has been decided for longer than it takes.
func (t *told) undecided(st stand, age time.Duration) {
	t.Message = ""
	switch {
	case age <= slow:
	case st.allowed().Reason == v1alpha1.ReasonAwaitingJob:
		t.Message, t.Next = "its Job was never made", "call ask again with the same, which makes the Job"
	default:
		t.Message = fmt.Sprintf("the operator has not decided since %s; it may be away", duration.HumanDuration(age))
		t.Next = "tell a person, then call wait"
	}
}

// refused says by what, and what can be done.
func (t *told) refused(st stand) {
	reason := st.allowed().Reason
	t.Asked, t.Rule = askedOf(st.request), "Valetkey, "+reason
	if p := st.request.Status.Policy; p != nil && reason == v1alpha1.ReasonDeniedByPolicy {
		t.Rule = "policy " + p.Name
	}
	switch reason {
	case v1alpha1.ReasonDeniedByPolicy:
		t.Next = changeAndAsk
	case v1alpha1.ReasonNameRefused:
		t.Next = writeNames
	case v1alpha1.ReasonDeniedByPerson:
		t.Rule, t.Next = "a person", "do not ask for the same again before that person agrees"
	case v1alpha1.ReasonApprovalTimedOut:
		t.Next = "ask again when somebody is there to approve"
	case v1alpha1.ReasonJobRefused:
		t.Next = "ask again, with the step changed as the message says"
	case v1alpha1.ReasonNamespaceUnsafe, v1alpha1.ReasonRequesterTooStrong:
		t.Next = tellAPerson
	default:
		t.Next = "ask again"
	}
}

const (
	changeAndAsk = "change what the message names, if your task allows that, and ask again; else tell a person"
	writeNames   = "ask again, with the names written as the message says"
	tellAPerson  = "no change of yours helps; tell a person what the message says"
)

// ended says how, and what can be done.
func (t *told) ended(st stand) {
	t.Message = policy.Clip(condition(st.request.Status.Conditions, v1alpha1.ConditionEnded).Message, maxMessage)
	if st.grant == nil {
		t.Next = "ask again for another run"
		return
	}
	g := &st.grant.Status
	t.Outcome = string(g.Outcome)
	if t.Message == "" && g.Stop != nil {
		t.Message = policy.Clip(g.Stop.Message, maxMessage)
	}
	logs := fmt.Sprintf("kubectl logs -n %s job/%s%s", st.request.Namespace, v1alpha1.NamePrefix, st.request.Name)
	switch g.Outcome {
	case v1alpha1.OutcomeCompleted:
		t.Next = "done; its output: " + logs
	case v1alpha1.OutcomeFailed:
		t.Next = "the step failed; its output: " + logs + "; mend it, and ask again"
	case v1alpha1.OutcomeExpired:
		t.Next = "the time was up before the step was done; ask again, for longer if the terms allow it"
	case v1alpha1.OutcomeRevoked:
		t.Next = "find out from whoever ended it before you ask again"
	default:
		t.Next = "tell a person what the message says"
	}
}

func askedOf(r *v1alpha1.CapabilityRequest) *asked {
	a := &asked{Capability: r.Spec.Capability, Repo: r.Spec.Repo, Environment: r.Spec.Environment, Task: r.Spec.TaskID}
	if r.Spec.TTLSeconds != nil {
		a.TTLSeconds = *r.Spec.TTLSeconds
	}
	return a
}

func condition(conditions []metav1.Condition, kind string) metav1.Condition {
	if c := meta.FindStatusCondition(conditions, kind); c != nil {
		return *c
	}
	return metav1.Condition{}
}

func instant(t *metav1.Time) string {
	if t == nil {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
