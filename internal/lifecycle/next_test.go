// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

var now = time.Date(2026, 5, 9, 11, 48, 0, 0, time.UTC)

const uid = "grant-uid"

// change is one thing that differs from a story's beginning.
type change func(*Facts)

// stored is a grant that was just created, beside its held Job.
func stored(changes ...change) Facts {
	f := Facts{
		Grant:   &v1alpha1.CapabilityGrant{ObjectMeta: metav1.ObjectMeta{Name: "publish-pr-184", UID: uid, Finalizers: []string{v1alpha1.FinalizerRevoke}}},
		Job:     JobFacts{Exists: true, Suspended: true, Idle: true},
		Request: RequestFacts{Exists: true, Names: true},
		Policy:  PolicyFacts{Known: true, Allows: true},
		Fenced:  true,
	}
	for _, c := range changes {
		c(&f)
	}
	return f
}

// TestNext_SaysWhoEndedItInWordsOfItsOwn: an authenticator reports any text as a name, and an annotation has any text.
func TestNext_SaysWhoEndedItInWordsOfItsOwn(t *testing.T) {
	for name, row := range map[string]struct {
		with change
		want string
	}{
		"a late denial": {func(f *Facts) { f.Request.DeniedBy = "bob, and withdrawn by alice" }, `denied by "bob, and withdrawn by alice"`},
		"an annotation": {func(f *Facts) {
			f.Grant.Annotations = map[string]string{v1alpha1.AnnotationRevokedBy: "bob, for alice", v1alpha1.AnnotationRevoke: "a leak\n\x1b[31mand more"}
		}, `revoked by "bob, for alice": a leak\u000a\u001b[31mand more`},
		"an annotation in an ordinary sentence": {func(f *Facts) {
			f.Grant.Annotations = map[string]string{v1alpha1.AnnotationRevokedBy: "bob@example.com", v1alpha1.AnnotationRevoke: "it's a leak: see #12"}
		}, `revoked by bob@example.com: it's a leak: see #12`},
	} {
		if got := Next(active(row.with), now); got.Stop.Message != row.want {
			t.Errorf("%s: %q, want %q", name, got.Stop.Message, row.want)
		}
	}
}

// active is a grant whose Job runs, issued a minute ago for ten.
func active(changes ...change) Facts {
	f := stored(issued(-time.Minute, 10*time.Minute), started, delivery)
	f.Pods = []PodFacts{{UID: "pod", Name: "valetkey-publish-pr-184-x", Node: "node1", Started: true}}
	for _, c := range changes {
		c(&f)
	}
	return f
}

// stopping is an active grant with a reason to stop stored.
func stopping(changes ...change) Facts {
	f := active(func(f *Facts) {
		f.Grant.Status.Stop = &v1alpha1.GrantStop{Outcome: v1alpha1.OutcomeRevoked, At: metav1.NewTime(now)}
	})
	for _, c := range changes {
		c(&f)
	}
	return f
}

func issued(since, ttl time.Duration) change {
	return func(f *Facts) {
		at, expires, credential := metav1.NewTime(now.Add(since)), metav1.NewTime(now.Add(since+ttl)), metav1.NewTime(now.Add(since+15*time.Minute))
		f.Grant.Status.Attempt = 1
		f.Grant.Status.IssuedAt, f.Grant.Status.ExpiresAt, f.Grant.Status.CredentialExpiresAt = &at, &expires, &credential
	}
}

func started(f *Facts) {
	f.Job.Suspended, f.Job.Idle, f.Job.StartedFor = false, false, uid
}

func held(f *Facts) { f.Job.Suspended = true }

func released(f *Facts) { f.Grant.Finalizers = nil }

func delivery(f *Facts) {
	f.Grant.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionDelivered, Status: metav1.ConditionTrue}}
}

func began(attempt int32) change {
	return func(f *Facts) {
		f.Grant.Status.Attempt, f.Attempt.Began, f.Attempt.PodTried, f.Attempt.Copied = attempt, attempt, true, true
		f.Attempt.BeganAt = now
	}
}

// quiet: the Job is stopped and the credential revoked, and only the containers are waited for.
func quiet(f *Facts) {
	f.Job.Suspended, f.Job.Idle, f.Attempt.Revoked, f.Pods[0].Deleting = true, true, true, true
}

// left: the job-controller has not told the Pod to end.
func left(f *Facts) {
	f.Pods[0].Deleting = false
	f.Grant.Status.Stop.At = metav1.NewTime(now.Add(-JobControllerTime))
}

// over: the step has ended with an exit code, and another container goes on.
func over(exitCode int32) change {
	return func(f *Facts) {
		f.Pods[0].Step = StepFacts{Over: true, OverAt: now.Add(-StepGrace), ExitCode: exitCode, Others: true}
	}
}

// stepped: the grant ends because its step is over.
func stepped(f *Facts) {
	over(0)(f)
	f.Grant.Status.Stop.Outcome, f.Grant.Status.Stop.Reason = v1alpha1.OutcomeCompleted, v1alpha1.ReasonStepCompleted
}

func taken(f *Facts) { f.Attempt.Revoked = true }

func gone(f *Facts) { f.Pods[0].Gone = true }

func unfenced(f *Facts) { f.Fenced = false }

func nobodySaw(f *Facts) { f.Pods, f.Grant.Status.PodsStarted = nil, 1 }

func overdue(f *Facts) {
	f.Grant.Status.Stop.At = metav1.NewTime(now.Add(-v1alpha1.PodGraceSeconds*time.Second - Settle))
}

func unseen(f *Facts) {
	f.Grant.Status.Conditions = append(f.Grant.Status.Conditions, metav1.Condition{
		Type: v1alpha1.ConditionEnded, Status: metav1.ConditionUnknown, Reason: v1alpha1.ReasonEndNotSeen})
}

func abandoned(f *Facts) {
	f.Grant.Annotations = map[string]string{v1alpha1.AnnotationAbandon: "the node burnt down"}
}

func deleting(f *Facts) {
	at := metav1.NewTime(now)
	f.Grant.DeletionTimestamp = &at
}

func finished(f *Facts) {
	at := metav1.NewTime(now)
	f.Grant.Status.EndedAt = &at
}

func TestNext(t *testing.T) {
	cases := map[string]struct {
		facts Facts
		want  Step
		// reason of the stop, or of the wait.
		reason  string
		outcome v1alpha1.GrantOutcome
	}{
		"a stored grant begins its first attempt":                  {facts: stored(), want: BeginAttempt},
		"a begun attempt is minted":                                {facts: stored(began(1)), want: Mint},
		"and not while the request does not say what was reviewed": {facts: stored(began(1), func(f *Facts) { f.Request.Unaware = true }), want: Wait, reason: v1alpha1.ReasonIssuing},
		"a back end that was asked is not asked again":             {facts: stored(began(1), func(f *Facts) { f.Attempt.Minting = true }), want: Wait, reason: v1alpha1.ReasonIssuing},
		"what was asked for is waited for before it is revoked": {facts: stored(began(1), func(f *Facts) { f.Attempt.Minting = true; f.Grant.Status.Stop = &v1alpha1.GrantStop{} }),
			want: Wait, reason: v1alpha1.ReasonEnding},
		"the Pod is tried before anything is made for it": {facts: stored(began(1), func(f *Facts) { f.Attempt.PodTried, f.Attempt.Copied = false, false }), want: TryPod},
		"what the API server would not take is tried again later": {facts: stored(began(1), func(f *Facts) { f.Attempt.PodTried, f.Attempt.WriteNotBefore = false, now.Add(time.Second) }),
			want: Wait, reason: v1alpha1.ReasonBackingOff},
		"inputs are copied before anything is minted":             {facts: stored(began(1), func(f *Facts) { f.Attempt.Copied = false }), want: CopyInputs},
		"a minted credential is stored":                           {facts: stored(began(1), func(f *Facts) { f.Attempt.Minted = true }), want: StoreSecret},
		"a stored credential starts the Job":                      {facts: stored(began(1), func(f *Facts) { f.Attempt.Minted, f.Attempt.Stored = true, true }), want: StartJob},
		"another process's attempt is begun anew":                 {facts: stored(func(f *Facts) { f.Grant.Status.Attempt = 3 }), want: BeginAttempt},
		"another process's issued credential is not gone on with": {facts: stored(issued(0, time.Hour)), want: BeginAttempt},
		"an older attempt of this process is not gone on with":    {facts: stored(func(f *Facts) { f.Grant.Status.Attempt, f.Attempt.Began, f.Attempt.Minted = 2, 1, true }), want: BeginAttempt},
		"a failed attempt waits for its time": {facts: stored(began(1), func(f *Facts) {
			f.Attempt.Failure, f.Attempt.NotBefore = Failure{Message: "throttled"}, now.Add(time.Second)
		}), want: Wait, reason: v1alpha1.ReasonBackingOff},
		"a failed attempt is followed by another": {facts: stored(began(1), func(f *Facts) {
			f.Attempt.Failure, f.Attempt.NotBefore = Failure{Message: "throttled"}, now
		}), want: BeginAttempt},
		"a final failure ends the grant": {facts: stored(began(1), func(f *Facts) { f.Attempt.Failure = Failure{Final: true, Message: "no"} }),
			want: Stop, reason: v1alpha1.ReasonIssueFailed, outcome: v1alpha1.OutcomeIssueFailed},
		"the last attempt is the last": {facts: stored(func(f *Facts) { f.Grant.Status.Attempt = MaxAttempts }),
			want: Stop, reason: v1alpha1.ReasonIssueFailed, outcome: v1alpha1.OutcomeIssueFailed},
		"an attempt that was stored too long ago is stored anew before the back end is asked": {
			facts: stored(began(2), func(f *Facts) { f.Attempt.BeganAt = now.Add(-AskWithin - time.Second) }), want: BeginAttempt},
		"the last attempt itself is made": {facts: stored(began(MaxAttempts)), want: Mint},
		"a guard that is not whole keeps it from being issued": {facts: stored(func(f *Facts) { f.Guard.Reason = v1alpha1.ReasonGuardIncomplete }),
			want: Wait, reason: v1alpha1.ReasonGuardIncomplete},
		"a policy that cannot be evaluated keeps it from being issued": {facts: stored(func(f *Facts) { f.Policy = PolicyFacts{} }),
			want: Wait, reason: v1alpha1.ReasonIndeterminate},
		"a policy withdrawn before the mint ends it": {facts: stored(func(f *Facts) { f.Policy.Allows = false }),
			want: Stop, reason: v1alpha1.ReasonPolicyWithdrawn, outcome: v1alpha1.OutcomeRevoked},
		"a Job that is not held is never given a credential": {facts: stored(func(f *Facts) { f.Job.Suspended = false }),
			want: Stop, reason: v1alpha1.ReasonNeverIssued, outcome: v1alpha1.OutcomeIssueFailed},
		"a Job that finished without a credential is never given one": {facts: stored(func(f *Facts) { f.Job.Failed, f.Policy = true, PolicyFacts{} }),
			want: Stop, reason: v1alpha1.ReasonNeverIssued, outcome: v1alpha1.OutcomeIssueFailed},
		"a Job started by another grant is never given a credential": {facts: stored(func(f *Facts) { f.Job.StartedFor = "other" }),
			want: Stop, reason: v1alpha1.ReasonNeverIssued, outcome: v1alpha1.OutcomeIssueFailed},
		"a request that names another grant gets nothing from this one": {facts: stored(func(f *Facts) { f.Request.Names = false }),
			want: Stop, reason: v1alpha1.ReasonNeverIssued, outcome: v1alpha1.OutcomeIssueFailed},
		"a grant whose request was deleted is not minted": {facts: stored(func(f *Facts) { f.Request = RequestFacts{} }),
			want: Stop, reason: v1alpha1.ReasonRequestGone, outcome: v1alpha1.OutcomeRevoked},
		"a grant restored from a backup is not minted": {facts: stored(func(f *Facts) { f.Request = RequestFacts{Replaced: true} }),
			want: Stop, reason: v1alpha1.ReasonNeverIssued, outcome: v1alpha1.OutcomeUnknown},
		"a Job that started before the status was written is recorded": {facts: stored(issued(0, time.Hour), started), want: RecordDelivery},

		"a running Job is left alone until its time is up": {facts: active(), want: Wait, reason: v1alpha1.ReasonActive},
		"a guard that breaks does not end a grant":         {facts: active(func(f *Facts) { f.Guard.Reason = v1alpha1.ReasonGuardIncomplete }), want: Wait, reason: v1alpha1.ReasonActive},
		"a policy that cannot be evaluated ends nothing":   {facts: active(func(f *Facts) { f.Policy = PolicyFacts{} }), want: Wait, reason: v1alpha1.ReasonActive},
		"a Job that succeeded ends it": {facts: active(func(f *Facts) { f.Job.Complete = true }),
			want: Stop, reason: v1alpha1.ReasonJobCompleted, outcome: v1alpha1.OutcomeCompleted},
		"a Job that failed ends it": {facts: active(func(f *Facts) { f.Job.Failed = true }),
			want: Stop, reason: v1alpha1.ReasonJobFailed, outcome: v1alpha1.OutcomeFailed},
		"a Job ended at its deadline is expired, not failed": {facts: active(func(f *Facts) { f.Job.Failed, f.Job.DeadlineExceeded = true, true }),
			want: Stop, reason: v1alpha1.ReasonExpired, outcome: v1alpha1.OutcomeExpired},
		"a Job that is gone ends it": {facts: active(func(f *Facts) { f.Job = JobFacts{} }),
			want: Stop, reason: v1alpha1.ReasonJobGone, outcome: v1alpha1.OutcomeRevoked},
		"a Job that is being deleted ends it": {facts: active(func(f *Facts) { f.Job.Deleting = true }),
			want: Stop, reason: v1alpha1.ReasonJobGone, outcome: v1alpha1.OutcomeRevoked},
		"the time is up to the second": {facts: active(issued(-10*time.Minute, 10*time.Minute)),
			want: Stop, reason: v1alpha1.ReasonExpired, outcome: v1alpha1.OutcomeExpired},
		"the time is not up a second earlier": {facts: active(issued(-10*time.Minute+time.Second, 10*time.Minute)), want: Wait, reason: v1alpha1.ReasonActive},
		"an annotation revokes": {facts: active(func(f *Facts) { f.Grant.Annotations = map[string]string{v1alpha1.AnnotationRevoke: "leak"} }),
			want: Stop, reason: v1alpha1.ReasonRevokedByAnnotation, outcome: v1alpha1.OutcomeRevoked},
		"an annotation without a reason does": {facts: active(func(f *Facts) { f.Grant.Annotations = map[string]string{v1alpha1.AnnotationRevoke: ""} }),
			want: Stop, reason: v1alpha1.ReasonRevokedByAnnotation, outcome: v1alpha1.OutcomeRevoked},
		"deleting the grant revokes":                   {facts: active(deleting), want: Stop, reason: v1alpha1.ReasonGrantDeleted, outcome: v1alpha1.OutcomeRevoked},
		"deleting the request revokes":                 {facts: active(func(f *Facts) { f.Request.Exists = false }), want: Stop, reason: v1alpha1.ReasonRequestGone, outcome: v1alpha1.OutcomeRevoked},
		"a late denial revokes":                        {facts: active(func(f *Facts) { f.Request.DeniedBy = "alice" }), want: Stop, reason: v1alpha1.ReasonDeniedLate, outcome: v1alpha1.OutcomeRevoked},
		"a request that was refused meanwhile revokes": {facts: active(func(f *Facts) { f.Request.Names = false }), want: Stop, reason: v1alpha1.ReasonRequestGone, outcome: v1alpha1.OutcomeRevoked},
		"a Deny policy revokes":                        {facts: active(func(f *Facts) { f.Policy.Allows = false }), want: Stop, reason: v1alpha1.ReasonPolicyWithdrawn, outcome: v1alpha1.OutcomeRevoked},

		"a step that succeeded ends it, though others go on": {facts: active(over(0)),
			want: Stop, reason: v1alpha1.ReasonStepCompleted, outcome: v1alpha1.OutcomeCompleted},
		"a step that failed ends it, though others go on": {facts: active(over(3)),
			want: Stop, reason: v1alpha1.ReasonStepFailed, outcome: v1alpha1.OutcomeFailed},
		"others have a moment to end with it": {facts: active(over(0), func(f *Facts) { f.Pods[0].Step.OverAt = now.Add(time.Second - StepGrace) }),
			want: Wait, reason: v1alpha1.ReasonActive},
		"a step that ended with its Pod leaves it to the Job": {facts: active(over(0), func(f *Facts) { f.Pods[0].Ended = true }),
			want: Wait, reason: v1alpha1.ReasonActive},
		"a step that ended with its Pod, of which the Job says nothing": {facts: active(over(0), func(f *Facts) {
			f.Pods[0].Ended, f.Pods[0].EndedSeen = true, now.Add(-JobGrace)
		}), want: Stop, reason: v1alpha1.ReasonStepCompleted, outcome: v1alpha1.OutcomeCompleted},
		"a step that ended alone leaves it to the Job": {facts: active(over(0), func(f *Facts) { f.Pods[0].Step.Others = false }),
			want: Wait, reason: v1alpha1.ReasonActive},
		"a Job that failed is the graver reason": {facts: active(over(0), func(f *Facts) { f.Job.Failed = true }),
			want: Stop, reason: v1alpha1.ReasonJobFailed, outcome: v1alpha1.OutcomeFailed},
		"the credential of a step that is over is revoked while others go on": {facts: stopping(stepped), want: Revoke},
		"and their Job is not stopped":                                        {facts: stopping(stepped, taken), want: Wait, reason: v1alpha1.ReasonEnding},
		"nor their Pod deleted":                                               {facts: stopping(stepped, taken, left), want: Wait, reason: v1alpha1.ReasonEnding},
		"nor reported as unseen":                                              {facts: stopping(stepped, taken, overdue), want: Wait, reason: v1alpha1.ReasonEnding},
		"before the time is up":                                               {facts: stopping(stepped, taken, issued(-10*time.Minute, 10*time.Minute)), want: StopJob},
		"or somebody revokes it": {facts: stopping(stepped, taken, func(f *Facts) {
			f.Grant.Annotations = map[string]string{v1alpha1.AnnotationRevoke: "all of it"}
		}), want: StopJob},
		"or deletes the request": {facts: stopping(stepped, taken, func(f *Facts) { f.Request.Exists = false }), want: StopJob},
		"or there is another Pod": {facts: stopping(stepped, taken, func(f *Facts) {
			f.Pods = append(f.Pods, PodFacts{UID: "another", Node: "node1"})
		}), want: StopJob},
		"their end is the end": {facts: stopping(stepped, taken, func(f *Facts) { f.Pods[0].Ended, f.Job.Complete = true, true }),
			want: End, outcome: v1alpha1.OutcomeCompleted},
		"another reason to stop ends them, too": {facts: stopping(over(0)), want: StopJob},

		"ending stops the Job first":                                         {facts: stopping(), want: StopJob},
		"a stopped Job is followed by revocation, though its Pod still runs": {facts: stopping(func(f *Facts) { f.Job.Suspended = true }), want: Revoke},
		"a Job that is gone does not keep revocation waiting":                {facts: stopping(func(f *Facts) { f.Job = JobFacts{} }), want: Revoke},
		"a back end that asked for time is given it": {facts: stopping(func(f *Facts) { f.Job.Suspended, f.Attempt.RevokeNotBefore = true, now.Add(time.Minute) }),
			want: Wait, reason: v1alpha1.ReasonEnding},
		"a back end that asked for time is asked again": {facts: stopping(func(f *Facts) { f.Job.Suspended, f.Attempt.RevokeNotBefore = true, now }), want: Revoke},
		"whoever abandons a revocation does not wait for it": {facts: stopping(func(f *Facts) {
			f.Job.Suspended, f.Attempt.RevokeNotBefore = true, now.Add(time.Minute)
			f.Grant.Annotations = map[string]string{v1alpha1.AnnotationAbandon: "the account is closed"}
		}), want: Revoke},
		"the end waits for the Pod": {facts: stopping(func(f *Facts) { f.Job.Suspended, f.Attempt.Revoked = true, true }),
			want: Wait, reason: v1alpha1.ReasonEnding},
		"the end comes when the Pod has ended": {facts: stopping(func(f *Facts) {
			f.Job.Suspended, f.Job.Idle, f.Attempt.Revoked = true, true, true
			f.Pods[0].Ended = true
		}), want: End},
		"a Pod that was never given to a node and is gone has ended": {facts: stopping(quiet, func(f *Facts) {
			f.Pods, f.Fenced = []PodFacts{{UID: "pod", Gone: true}, {UID: "other", Node: "node1", Started: true, Ended: true}}, false
		}), want: End},
		"a Pod that is gone has ended where the rules let none go before":  {facts: stopping(quiet, gone), want: End},
		"a Pod that is gone may run where the rules were changed":          {facts: stopping(quiet, gone, unfenced), want: Wait, reason: v1alpha1.ReasonEnding},
		"a Pod that nobody saw has ended where the rules let none go":      {facts: stopping(quiet, nobodySaw), want: End},
		"a Pod that nobody saw may run where the rules were changed":       {facts: stopping(quiet, nobodySaw, unfenced), want: Wait, reason: v1alpha1.ReasonEnding},
		"a Job that failed does not say that its Pod ended":                {facts: stopping(func(f *Facts) { f.Job.Failed, f.Attempt.Revoked = true, true }), want: Wait, reason: v1alpha1.ReasonEnding},
		"without the Job its Pod may still run":                            {facts: stopping(func(f *Facts) { f.Job, f.Attempt.Revoked = JobFacts{}, true }), want: Wait, reason: v1alpha1.ReasonEnding},
		"a Job and its request that went before a Pod started end at once": {facts: stopping(nobodySaw, func(f *Facts) { f.Job, f.Attempt.Revoked, f.Request.Exists = JobFacts{}, true, false }), want: End},
		"a Job that is still told to make Pods holds the end":              {facts: stopping(nobodySaw, func(f *Facts) { f.Job.Suspended, f.Attempt.Revoked = true, true }), want: Wait, reason: v1alpha1.ReasonEnding},
		"a Pod that the job-controller leaves is deleted":                  {facts: stopping(quiet, left), want: EndPods},
		"and while the back end is asked":                                  {facts: stopping(left, func(f *Facts) { f.Job.Suspended, f.Attempt.Minting = true, true }), want: EndPods},
		"and while it is not to be asked":                                  {facts: stopping(left, func(f *Facts) { f.Job.Suspended, f.Attempt.RevokeNotBefore = true, now.Add(time.Minute) }), want: EndPods},
		"and though the Job could not be stopped":                          {facts: stopping(left, func(f *Facts) { f.Attempt.StopNotBefore = now.Add(time.Minute) }), want: EndPods},
		"and though the Job is gone or being deleted":                      {facts: stopping(left, func(f *Facts) { f.Job = JobFacts{} }), want: EndPods},
		"but not before the job-controller had time":                       {facts: stopping(quiet, left, func(f *Facts) { f.Grant.Status.Stop.At = metav1.NewTime(now) }), want: Wait, reason: v1alpha1.ReasonEnding},
		"nor again before a while":                                         {facts: stopping(quiet, left, func(f *Facts) { f.Attempt.EndPodsNotBefore = now.Add(time.Second) }), want: Wait, reason: v1alpha1.ReasonEnding},
		"nor one that ended by itself":                                     {facts: stopping(quiet, left, func(f *Facts) { f.Pods[0].Ended = true }), want: End},
		"a Job that is being deleted makes no Pods, and says nothing": {facts: stopping(func(f *Facts) {
			f.Job.Deleting, f.Attempt.Revoked, f.Pods[0].Ended = true, true, true
		}), want: End},
		"an end that is not seen in time is reported":              {facts: stopping(quiet, overdue), want: ReportUnseen, reason: v1alpha1.ReasonEndNotSeen},
		"an end that is not seen is reported once, and waited for": {facts: stopping(quiet, overdue, unseen), want: Wait, reason: v1alpha1.ReasonEndNotSeen},
		"an end that is seen late is the end":                      {facts: stopping(quiet, overdue, unseen, func(f *Facts) { f.Pods[0].Ended = true }), want: End, outcome: v1alpha1.OutcomeRevoked},
		"an end that is not seen can be abandoned":                 {facts: stopping(quiet, overdue, unseen, abandoned), want: End, outcome: v1alpha1.OutcomeUnknown},
		"an end that is not seen can be abandoned without a reason": {facts: stopping(quiet, overdue, unseen, func(f *Facts) {
			f.Grant.Annotations = map[string]string{v1alpha1.AnnotationAbandon: ""}
		}), want: End, outcome: v1alpha1.OutcomeUnknown},
		"an end is not abandoned before it is overdue": {facts: stopping(quiet, abandoned), want: Wait, reason: v1alpha1.ReasonEnding},
		"a grant that never was issued ends at once": {facts: stored(func(f *Facts) {
			f.Grant.Status.Stop, f.Attempt.Revoked = &v1alpha1.GrantStop{Outcome: v1alpha1.OutcomeIssueFailed}, true
		}), want: End},
		"a grant issued and never delivered ends at once": {facts: stored(issued(0, time.Hour), func(f *Facts) {
			f.Grant.Status.Stop, f.Attempt.Revoked = &v1alpha1.GrantStop{Outcome: v1alpha1.OutcomeRevoked}, true
		}), want: End},
		"the first reason to stop stays": {facts: stopping(deleting), want: StopJob},

		"a Pod that is made after the end is deleted": {facts: stopping(held, finished, left), want: EndPods},
		"and a moment after the stop at the earliest": {facts: stopping(held, finished, released, func(f *Facts) { f.Attempt.EndPodsNotBefore = now.Add(time.Second) }),
			want: Wait, reason: v1alpha1.ReasonGrantEnded},
		"an ended grant is swept by every process once": {facts: stopping(held, finished), want: Sweep},
		"and again when the credential has expired": {facts: stopping(held, finished, issued(-time.Hour, 10*time.Minute),
			func(f *Facts) { f.Attempt.SweptAt = now.Add(-30 * time.Minute).Add(-time.Hour) }), want: Sweep},
		"and is released then": {facts: stopping(held, finished, issued(-time.Hour, 10*time.Minute),
			func(f *Facts) { f.Attempt.SweptAt = now }), want: Release},
		"and is left alone then":                                    {facts: stopping(held, finished, released), want: Wait, reason: v1alpha1.ReasonGrantEnded},
		"an ended and deleted grant is swept before it is released": {facts: stopping(held, finished, deleting), want: Sweep},
		"an ended, swept and deleted grant is released":             {facts: stopping(held, finished, deleting, func(f *Facts) { f.Attempt.SweptAt = now }), want: Release},
		"but not while its request does not know of it": {facts: stopping(held, finished, deleting, func(f *Facts) {
			f.Attempt.SweptAt, f.Request.Unaware = now, true
		}), want: Wait, reason: v1alpha1.ReasonGrantEnded},
		"nor where it has expired": {facts: stopping(held, finished, issued(-time.Hour, 10*time.Minute), func(f *Facts) {
			f.Attempt.SweptAt, f.Request.Unaware = now, true
		}), want: Wait, reason: v1alpha1.ReasonGrantEnded},
		"a Job that starts after the end is stopped":                  {facts: stopping(finished), want: StopJob},
		"a Job that starts after the end is stopped before a release": {facts: stopping(finished, deleting, func(f *Facts) { f.Attempt.SweptAt = now }), want: StopJob},
		"a grant that never began is released without a sweep":        {facts: stored(finished, deleting), want: Release},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got := Next(c.facts, now)
			if got.Step != c.want {
				t.Fatalf("step %s (%s %s), want %s", got.Step, got.Stop.Reason, got.Reason, c.want)
			}
			reason := got.Reason
			outcome := c.outcome
			switch got.Step {
			case Stop:
				reason, outcome = got.Stop.Reason, got.Stop.Outcome
			case End:
				outcome = got.Outcome
			}
			if reason != c.reason || c.outcome != "" && outcome != c.outcome {
				t.Errorf("reason %q outcome %q, want %q %q", reason, outcome, c.reason, c.outcome)
			}
		})
	}
}

func TestAWaitEndsByItself(t *testing.T) {
	if got := Next(active(), now); !got.Until.Equal(now.Add(9 * time.Minute)) {
		t.Errorf("looks again at %s, want at the end of the TTL", got.Until)
	}
	waiting := stopping(func(f *Facts) { f.Job.Suspended, f.Attempt.Revoked = true, true })
	if got, want := Next(waiting, now).Until, now.Add(JobControllerTime); !got.Equal(want) {
		t.Errorf("looks again at %s, want when the job-controller has had its time, %s", got, want)
	}
	if got, want := Next(stopping(stepped, taken), now).Until, now.Add(9*time.Minute); !got.Equal(want) {
		t.Errorf("looks again at %s, want at the end of the TTL, %s", got, want)
	}
	just := active(over(0), func(f *Facts) { f.Pods[0].Step.OverAt = now })
	if got, want := Next(just, now).Until, now.Add(StepGrace); !got.Equal(want) {
		t.Errorf("looks again at %s, want when others have had their moment, %s", got, want)
	}
	waiting.Pods[0].Deleting = true
	if got, want := Next(waiting, now).Until, now.Add(v1alpha1.PodGraceSeconds*time.Second+Settle); !got.Equal(want) {
		t.Errorf("looks again at %s, want %s", got, want)
	}
}
