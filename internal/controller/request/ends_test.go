// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package request_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/controller/controllertest"
	"github.com/valetkey/valetkey/internal/provider"
)

// end is a way in which a request can end, and what somebody who waits for it sees.
type end struct {
	// before changes the cluster before the operator looks at the request, waiting while the request waits, and granted
	// when it was granted.
	before, waiting, granted func(*controllertest.Env)
	// wait is how long it takes until the request has ended.
	wait time.Duration
	// reason is that of the condition Ended, and words are in its message.
	reason, words string
	// outcome is the grant's; empty where there is no grant.
	outcome v1alpha1.GrantOutcome
	// unrecorded: what could be recorded was taken away by force.
	unrecorded bool
}

// TestEnded_IsTrueAfterEveryEnd holds what makes kubectl wait --for=condition=Ended work: nobody waits out a timeout on
// a request that was refused.
func TestEnded_IsTrueAfterEveryEnd(t *testing.T) {
	for name, row := range ends() {
		t.Run(name, func(t *testing.T) {
			e, o := begin(t, v1alpha1.RevocationImmediate, 0)
			e.Ask("a")
			if row.before != nil {
				row.before(e)
			}
			o.Advance(time.Second)
			if row.waiting != nil || row.granted != nil {
				row.meanwhile(t, e)
			}
			o.Advance(row.wait + time.Second)
			row.expect(t, e)
			row.expectRecord(t, o.Records)
		})
	}
}

// TestEnded_OfWhatIsWithdrawnIsItsRemoval: kubectl wait --for=delete sees it, of the request and of the grant.
func TestEnded_OfWhatIsWithdrawnIsItsRemoval(t *testing.T) {
	for name, before := range map[string]func(*controllertest.Env){
		"while it waits": approvers, "while it is granted": func(*controllertest.Env) {},
	} {
		t.Run(name, func(t *testing.T) {
			e, o := begin(t, v1alpha1.RevocationImmediate, 0)
			e.Ask("a")
			before(e)
			o.Advance(time.Second)
			e.Withdraw("a")
			o.Advance(time.Minute)
			list := &v1alpha1.CapabilityRequestList{}
			e.Must(e.Client.List(e.Context(), list))
			if g := e.Grant("a"); g != nil || len(list.Items) > 0 || e.Backend.Working() > 0 {
				t.Errorf("%+v and %+v are still there, and %d credentials work", list.Items, g, e.Backend.Working())
			}
		})
	}
}

// meanwhile does what ends a request that waits, or is granted, and lives.
func (row end) meanwhile(t *testing.T, e *controllertest.Env) {
	t.Helper()
	expectNotEnded(t, e.Request("a").Status.Conditions)
	if row.waiting != nil {
		row.waiting(e)
		return
	}
	if e.Grant("a") == nil {
		t.Fatalf("it was not granted: %+v", allowed(e.Request("a")))
	}
	expectNotEnded(t, e.Grant("a").Status.Conditions)
	row.granted(e)
}

func expectNotEnded(t *testing.T, conditions []metav1.Condition) {
	t.Helper()
	if meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionEnded) {
		t.Errorf("Ended is True of what lives: %+v", conditions)
	}
}

func (row end) expect(t *testing.T, e *controllertest.Env) {
	t.Helper()
	r := e.Request("a")
	c := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionEnded)
	if c == nil || c.Status != metav1.ConditionTrue || c.Reason != row.reason || !strings.Contains(c.Message, row.words) {
		t.Fatalf("Ended is %+v; want True, %s: …%s…\n%+v", c, row.reason, row.words, r.Status)
	}
	if r.Status.EndedAt == nil {
		t.Error("it has no endedAt")
	}
	if review := r.Status.Review; review != nil && (review.Job.Image == "" || review.Job.Container == "") {
		t.Errorf("what was reviewed is not there any more: %+v", review)
	}
	if row.outcome == "" {
		return
	}
	g := e.Grant("a")
	if g == nil || g.Status.Outcome != row.outcome ||
		!meta.IsStatusConditionTrue(g.Status.Conditions, v1alpha1.ConditionEnded) {
		t.Fatalf("the grant ended as %+v; want %s", g, row.outcome)
	}
	if running := meta.FindStatusCondition(g.Status.Conditions, v1alpha1.ConditionRunning); running != nil &&
		running.Status != metav1.ConditionFalse {
		t.Errorf("the grant has ended, and its step runs: %+v", running)
	}
}

// expectRecord has the audit log say what the end says, and with it who wanted it.
func (row end) expectRecord(t *testing.T, records []audit.Record) {
	t.Helper()
	if row.unrecorded {
		return
	}
	_, words, said := strings.Cut(row.words, ": ")
	if !said || row.outcome == "" {
		words = row.words
	}
	if !slices.ContainsFunc(records, func(r audit.Record) bool {
		return (r.Event == audit.EventDenied || r.Event == audit.EventStopping) && strings.Contains(r.Message, words)
	}) {
		t.Errorf("no record says %q: %+v", words, records)
	}
}

// ends has every way in which a request ends.
func ends() map[string]end {
	type env = controllertest.Env
	const over, refused = v1alpha1.ReasonGrantEnded, v1alpha1.ReasonRefused
	deleteJob := func(e *env) { e.DeleteJob("a") }
	return map[string]end{
		"it completed": {granted: func(e *env) { e.Finish("a") },
			reason: over, words: "Completed: the Job succeeded", outcome: v1alpha1.OutcomeCompleted},
		"its Job failed": {granted: failJob,
			reason: over, words: "Failed: the Job failed", outcome: v1alpha1.OutcomeFailed},
		"it expired": {granted: func(*env) {}, wait: 2 * time.Minute,
			reason: over, words: "Expired: the time is up", outcome: v1alpha1.OutcomeExpired},
		"its grant was revoked": {granted: annotateGrant,
			reason: over, words: "Revoked: revoked by alice: enough", outcome: v1alpha1.OutcomeRevoked},
		"its Job went": {granted: deleteJob,
			reason: over, words: "Revoked: the Job was deleted", outcome: v1alpha1.OutcomeRevoked},
		"its grant is not there any more": {granted: removeGrant,
			reason: over, words: "its grant was deleted", unrecorded: true},
		"its grant was deleted": {granted: func(e *env) { e.Must(e.Client.Delete(e.Context(), e.Grant("a"))) },
			reason: over, words: "the grant was deleted"},
		"a policy withdrew the grant": {granted: deny,
			reason: over, words: "Revoked: policy freeze denies it", outcome: v1alpha1.OutcomeRevoked},
		"a person denied what was granted": {granted: denyAsAlice,
			reason: over, words: "Revoked: denied by alice", outcome: v1alpha1.OutcomeRevoked},
		"its back end refused": {before: func(e *env) {
			e.Backend.NextErr(provider.NotAsked(provider.Final, "no such role"))
		}, reason: over, words: "IssueFailed: no such role", outcome: v1alpha1.OutcomeIssueFailed},
		"a policy denied it": {before: deny, reason: refused, words: "policy freeze denies it"},
		"no policy allowed it": {before: func(e *env) {
			e.Change("one", func(p *v1alpha1.CapabilityPolicySpec) { p.Repos = []string{"api"} })
		}, reason: refused, words: "policy one allows repos api"},
		"a person denied it": {before: approvers, waiting: denyAsAlice, reason: refused, words: "alice denied it"},
		"nobody approved it in time": {before: approvers, wait: 90 * time.Minute,
			reason: refused, words: "missing; create another request"},
		"its Job was refused": {before: restartingJob, reason: refused, words: "restartPolicy"},
		"its Job never came": {before: deleteJob, wait: 90 * time.Minute,
			reason: refused, words: "no Job valetkey-a appeared"},
		"its Job went before approval": {before: approvers, waiting: deleteJob,
			reason: refused, words: "the Job that was reviewed is gone"},
		"its namespace is unsafe": {before: unenrol, reason: refused, words: "is not enrolled"},
	}
}

func jobKey() client.ObjectKey {
	return client.ObjectKey{Namespace: controllertest.Namespace, Name: v1alpha1.NamePrefix + "a"}
}

// changeJob changes the Job of the request before the operator sees it.
func changeJob(e *controllertest.Env, change func(*batchv1.Job)) {
	e.Helper()
	job := &batchv1.Job{}
	e.Must(e.Client.Get(e.Context(), jobKey(), job))
	change(job)
	e.Must(e.Client.Update(e.Context(), job))
}

func restartingJob(e *controllertest.Env) {
	e.Helper()
	changeJob(e, func(job *batchv1.Job) { job.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyOnFailure })
}

func failJob(e *controllertest.Env) {
	e.Helper()
	e.Finish("a")
	job := &batchv1.Job{}
	e.Must(e.Client.Get(e.Context(), jobKey(), job))
	job.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobFailed, Status: corev1.ConditionTrue}}
	e.Must(e.Client.Status().Update(e.Context(), job))
}

func annotateGrant(e *controllertest.Env) {
	e.Helper()
	g := e.Grant("a")
	g.Annotations = map[string]string{v1alpha1.AnnotationRevoke: "enough", v1alpha1.AnnotationRevokedBy: "alice"}
	e.Must(e.Client.Update(e.Context(), g))
}

// removeGrant takes the grant away with its finalizer, as a restored backup can.
func removeGrant(e *controllertest.Env) {
	e.Helper()
	g := e.Grant("a")
	g.Finalizers = nil
	e.Must(e.Client.Update(e.Context(), g))
	e.Must(client.IgnoreNotFound(e.Client.Delete(e.Context(), g)))
}

func deny(e *controllertest.Env) {
	e.Helper()
	freeze := &v1alpha1.CapabilityPolicy{ObjectMeta: metav1.ObjectMeta{Name: "freeze"}}
	freeze.Spec = v1alpha1.CapabilityPolicySpec{Effect: v1alpha1.EffectDeny, Capabilities: []string{"*"}}
	e.Store(freeze)
}

// approvers has the policy ask for an approval.
func approvers(e *controllertest.Env) {
	e.Helper()
	e.Change("one", approvable)
}

// denyAsAlice writes the decision that the admission rules make of alice's annotation.
func denyAsAlice(e *controllertest.Env) {
	e.Helper()
	decideAsAlice(e, "a", v1alpha1.DecisionDeny)
}

func decideAsAlice(e *controllertest.Env, name string, decision v1alpha1.DecisionKind) {
	e.Helper()
	r := e.Request(name)
	if r.Status.Review == nil {
		e.Fatalf("it was not reviewed: %+v", r.Status.Conditions)
	}
	r.Decisions = []v1alpha1.Decision{{By: "alice", Decision: decision, Digest: r.Status.Review.Digest}}
	e.Must(e.Client.Update(e.Context(), r))
}

func unenrol(e *controllertest.Env) {
	e.Helper()
	there := home(e)
	delete(there.Labels, v1alpha1.LabelEnrolled)
	e.Must(e.Client.Update(e.Context(), there))
}
