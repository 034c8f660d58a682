// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"bytes"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// model is a world of one grant, in which two operators act on what they last saw: either may be late.
type model struct {
	t     *testing.T
	now   time.Time
	facts Facts // what is stored; Attempt is empty
	// grants and jobs count the writes to the grant and to the Job, as resourceVersion does.
	grants, jobs int
	operators    [2]operator
	// secrets that exist, by attempt, and sessions that were asked for.
	secrets  map[int32]bool
	sessions map[int32]int
	starts   int
	released bool
}

// operator is one process: its memory, and a step that it decided on and has not taken.
type operator struct {
	memory       AttemptFacts
	seen         Facts
	action       Action
	grants, jobs int
	decided      bool
}

const lifetime = 15 * time.Minute

func newModel(t *testing.T) *model {
	return &model{t: t, now: now, facts: stored(), secrets: map[int32]bool{}, sessions: map[int32]int{}}
}

// snapshot is what an operator sees now.
func (m *model) snapshot(o *operator) Facts {
	f := m.facts
	f.Grant = m.facts.Grant.DeepCopy()
	f.Pods = slices.Clone(m.facts.Pods)
	f.Attempt = o.memory
	return f
}

// decide asks for the next step, and holds it to what must be true of any step.
func (m *model) decide(o *operator) {
	o.seen = m.snapshot(o)
	o.action, o.grants, o.jobs, o.decided = Next(o.seen, m.now), m.grants, m.jobs, true
	s, f := o.seen.Grant.Status, o.seen
	issues := slices.Contains([]Step{BeginAttempt, Mint, StoreSecret, StartJob, RecordDelivery}, o.action.Step)
	switch {
	case issues && s.Stop != nil:
		m.fail("%s though the grant is being ended", o.action.Step)
	case s.EndedAt != nil && !slices.Contains([]Step{Wait, StopJob, Sweep, Release}, o.action.Step):
		m.fail("%s after the end", o.action.Step)
	case issues && o.action.Step != RecordDelivery && (f.Guard.Reason != "" || !f.Policy.Known || !f.Policy.Allows || !f.Request.Exists || f.Request.DeniedBy != ""):
		m.fail("%s though nothing allows it", o.action.Step)
	case slices.Contains([]Step{Mint, StoreSecret, StartJob}, o.action.Step) && (o.memory.Began == 0 || o.memory.Began != s.Attempt || o.memory.Failure.Message != ""):
		m.fail("%s of an attempt that is not this process's own", o.action.Step)
	case o.action.Step == Mint && (o.memory.Minting || o.memory.Minted):
		m.fail("a back end is asked twice for one attempt")
	case o.action.Step == StartJob && (!o.memory.Minted || !o.memory.Stored || !f.Job.Suspended || f.Job.StartedFor != ""):
		m.fail("a Job is started that cannot be")
	case o.action.Step == Mint && o.memory.TooLate(m.now):
		m.fail("a back end is asked for what was stored %s ago", m.now.Sub(o.memory.BeganAt))
	case o.action.Step == BeginAttempt && o.action.Attempt == s.Attempt && (o.memory.Began != s.Attempt || o.memory.Minting || o.memory.Minted):
		m.fail("attempt %d anew, of which the back end may know", o.action.Attempt)
	case o.action.Step == BeginAttempt && o.action.Attempt != s.Attempt && (o.action.Attempt != s.Attempt+1 || o.action.Attempt > MaxAttempts):
		m.fail("attempt %d after %d", o.action.Attempt, s.Attempt)
	case o.action.Step == Revoke && o.memory.Minting:
		m.fail("what is not issued yet is revoked")
	case o.action.Step == End && !o.memory.Revoked:
		m.fail("the end without revocation by a process that knows of it")
	case o.action.Step == End && m.running() && (f.Grant.Annotations[v1alpha1.AnnotationAbandon] == "" || o.action.Outcome != v1alpha1.OutcomeUnknown):
		m.fail("the end while a container runs")
	case o.action.Step == Wait && !o.action.Until.IsZero() && !o.action.Until.After(m.now):
		m.fail("a wait that is over already")
	}
}

func (m *model) running() bool {
	return slices.ContainsFunc(m.facts.Pods, func(p PodFacts) bool { return p.Started && !p.Ended })
}

func (m *model) fail(format string, args ...any) {
	m.t.Helper()
	m.t.Fatalf(format, args...)
}

// take does what was decided, as the controller does: what was written meanwhile by somebody else refuses it.
func (m *model) take(o *operator) {
	if !o.decided {
		return
	}
	o.decided = false
	write := func(change func(*v1alpha1.CapabilityGrantStatus)) bool {
		if o.grants != m.grants || m.released {
			return false
		}
		change(&m.facts.Grant.Status)
		m.grants++
		return true
	}
	sweep := func(last int32) {
		for n := int32(1); n <= last; n++ {
			delete(m.secrets, n)
		}
	}
	switch o.action.Step {
	case BeginAttempt:
		m.begin(o, write)
	case TryPod:
		o.memory.PodTried = true
	case CopyInputs:
		o.memory.Copied = true
	case Mint:
		m.sessions[o.memory.Began]++
		o.memory.Minting = true
	case StoreSecret:
		m.secrets[o.memory.Began] = true
		at, expires := metav1.NewTime(m.now), metav1.NewTime(m.now.Add(lifetime/3))
		o.memory.Stored = write(func(s *v1alpha1.CapabilityGrantStatus) { s.IssuedAt, s.ExpiresAt = &at, &expires })
	case StartJob:
		m.start(o)
	case RecordDelivery:
		write(func(s *v1alpha1.CapabilityGrantStatus) {
			s.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionDelivered, Status: metav1.ConditionTrue}}
		})
	case Stop:
		if write(func(s *v1alpha1.CapabilityGrantStatus) {
			stop := o.action.Stop
			stop.At = metav1.NewTime(m.now)
			s.Stop = &stop
		}) {
			sweep(o.seen.Grant.Status.Attempt)
		}
	case StopJob:
		m.facts.Job.Suspended, m.facts.Job.Idle = true, !m.running()
		m.jobs++
	case Revoke:
		sweep(o.seen.Grant.Status.Attempt)
		o.memory.Revoked = write(func(s *v1alpha1.CapabilityGrantStatus) {
			s.Revocation = &v1alpha1.Revocation{Mode: v1alpha1.RevocationAtExpiry}
		}) || o.memory.Revoked
	case ReportUnseen:
		write(func(s *v1alpha1.CapabilityGrantStatus) {
			s.Conditions = append(s.Conditions, metav1.Condition{Type: v1alpha1.ConditionEnded, Status: metav1.ConditionUnknown, Reason: o.action.Reason})
		})
	case End:
		at := metav1.NewTime(m.now)
		write(func(s *v1alpha1.CapabilityGrantStatus) { s.EndedAt = &at })
	case Sweep:
		sweep(o.seen.Grant.Status.Attempt)
		o.memory.SweptAt = m.now
	case Release:
		m.released = m.released || o.grants == m.grants
	case Wait:
	}
}

func (m *model) begin(o *operator, write func(func(*v1alpha1.CapabilityGrantStatus)) bool) {
	worst := metav1.NewTime(m.now.Add(lifetime))
	stored := write(func(s *v1alpha1.CapabilityGrantStatus) {
		s.Attempt, s.CredentialExpiresAt, s.IssuedAt, s.ExpiresAt, s.Conditions = o.action.Attempt, &worst, nil, nil, nil
	})
	if stored {
		o.memory = AttemptFacts{Began: o.action.Attempt, BeganAt: m.now}
		for n := int32(1); n < o.action.Attempt; n++ {
			delete(m.secrets, n)
		}
	}
}

func (m *model) start(o *operator) {
	if o.jobs != m.jobs || !m.facts.Job.Exists {
		return
	}
	m.facts.Job.Suspended, m.facts.Job.Idle, m.facts.Job.StartedFor = false, false, uid
	m.jobs++
	if m.starts++; m.starts > 1 {
		m.fail("the Job is started twice")
	}
}

// happen is what anybody else does.
func (m *model) happen(what byte) {
	f, o := &m.facts, &m.operators[what%2]
	switch what / 2 % 22 {
	case 0: // a crash
		*o = operator{}
	case 1:
		m.answer(o, true, false)
	case 2:
		m.answer(o, false, false)
	case 3:
		m.answer(o, false, true)
	case 4:
		f.Request.Exists = false
	case 5:
		f.Request.DeniedBy = "alice@example.com"
	case 6:
		f.Policy = PolicyFacts{Known: what%2 == 0}
	case 7, 8:
		f.Policy = PolicyFacts{Known: true, Allows: true}
	case 9:
		f.Guard = Obstacle{Reason: v1alpha1.ReasonGuardIncomplete}
	case 10, 11:
		f.Guard = Obstacle{}
	case 12: // the job-controller and the kubelet
		if f.Job.Exists && !f.Job.Suspended && len(f.Pods) == 0 {
			f.Pods = []PodFacts{{UID: "pod", Name: "pod", Node: "node1", Started: true}}
		}
	case 13, 14:
		m.podEnds(what%2 == 0)
	case 15:
		f.Job = JobFacts{}
		m.jobs++
	case 16: // the requester, bumping the Job's resourceVersion
		m.jobs++
	case 17:
		m.now = m.now.Add(time.Duration(what) * time.Second)
	case 18:
		at := metav1.NewTime(m.now)
		f.Grant.DeletionTimestamp = &at
		m.grants++
	case 19: // a clock that is set back
		m.now = m.now.Add(-time.Minute)
	case 20: // somebody changes the admission rules
		f.Fenced = false
	case 21: // a Pod object goes: before its end only where the rules do not hold it
		if len(f.Pods) > 0 && (f.Pods[0].Ended || !f.Fenced) {
			f.Pods[0].Gone = true
		}
	}
}

// answer is what a back end says to an operator that asked it.
func (m *model) answer(o *operator, good, final bool) {
	if !o.memory.Minting {
		return
	}
	o.memory.Minting = false
	switch {
	case good:
		o.memory.Minted = m.facts.Grant.Status.Stop == nil
	default:
		o.memory.Failure, o.memory.NotBefore = Failure{Final: final, Message: "no"}, m.now.Add(time.Second)
	}
}

func (m *model) podEnds(well bool) {
	f := &m.facts
	if !m.running() || f.Pods[0].Gone {
		return // Nobody sees the end of a Pod that is gone.
	}
	f.Pods[0].Ended = true
	switch {
	case !f.Job.Exists:
	case f.Job.Suspended:
		f.Job.Idle = true
	default:
		f.Job.Complete, f.Job.Failed = well, !well
	}
	m.jobs++
}

// FuzzNext has two operators, crashes, late writes and whatever people and back ends do in any order. Whatever came before, one
// operator in a world that cooperates brings the grant to its end in few steps, and leaves no Secret.
func FuzzNext(f *testing.F) {
	f.Add([]byte{200, 202, 200, 202, 200, 2, 202, 200, 202, 200, 202, 24, 26})
	f.Add([]byte{200, 202, 200, 202, 201, 203, 0, 201, 203, 2, 3, 200, 202})
	f.Add(bytes.Repeat([]byte{200, 200, 4, 34}, MaxAttempts+2)) // every attempt fails
	f.Add([]byte("kill it, pause it, ask again: nothing is delivered twice"))
	f.Fuzz(func(t *testing.T, events []byte) {
		const most, deciding, taking = 400, 200, 228
		m := newModel(t)
		for _, e := range events[:min(len(events), most)] {
			o := &m.operators[e%2]
			switch {
			case m.released:
				return
			case e >= taking:
				m.take(o)
			case e >= deciding:
				m.decide(o)
				if e%4 < 2 { // most steps are taken at once
					m.take(o)
				}
			default:
				m.happen(e)
			}
		}
		m.conclude()
	})
}

// conclude ends the grant with a fresh operator, whose every write succeeds and who is always answered.
func (m *model) conclude() {
	o := &operator{}
	m.operators[0], m.facts.Request.Exists = operator{}, false
	const enough = 40
	for range enough {
		if s := m.facts.Grant.Status; s.EndedAt != nil && (s.Attempt == 0 || !m.now.Before(s.CredentialExpiresAt.Add(Settle))) && o.memory.SweptAt.Equal(m.now) || m.released || s.EndedAt != nil && s.Attempt == 0 {
			if len(m.secrets) > 0 {
				m.fail("Secrets of attempts %v are left", m.secrets)
			}
			return
		}
		m.decide(o)
		if o.action.Step == Wait {
			m.answer(o, true, false)
			m.podEnds(false)
			if o.action.Reason == v1alpha1.ReasonEndNotSeen {
				m.facts.Grant.Annotations = map[string]string{v1alpha1.AnnotationAbandon: "nobody knows"}
			}
			if o.action.Until.After(m.now) {
				m.now = o.action.Until
			}
		}
		m.take(o)
	}
	m.fail("no end after %d steps; the last was %s (%s)", enough, o.action.Step, o.action.Reason)
}
