// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/lifecycle"
	"github.com/valetkey/valetkey/internal/provider"
	providerfake "github.com/valetkey/valetkey/internal/provider/fake"
)

func ended() corev1.ContainerState {
	return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}
}

// overdue is when an end that was not seen is reported.
const overdue = v1alpha1.PodGraceSeconds*time.Second + lifecycle.Settle

// revoked is a grant that was revoked while its step ran: the Job is stopped, and the node says nothing.
func revoked(t *testing.T) (*env, *corev1.Pod) {
	t.Helper()
	e := newEnv(t)
	pod := e.delivered()
	e.annotate(v1alpha1.AnnotationRevoke, "seen enough")
	e.reconcile()
	if !suspended(e.job()) {
		t.Fatal("the Job was not stopped")
	}
	e.jobControllerSays(batchv1.JobSuspended)
	e.must(e.client.Delete(t.Context(), pod)) // as the job-controller does
	e.reconcile()
	if g := e.grant(); g.Status.EndedAt != nil || g.Status.Revocation == nil {
		t.Fatalf("ended at %v, revocation %v", g.Status.EndedAt, g.Status.Revocation)
	}
	return e, pod
}

func (e *env) endedCondition() metav1.Condition  { return e.condition(v1alpha1.ConditionEnded) }
func (e *env) issuedCondition() metav1.Condition { return e.condition(v1alpha1.ConditionIssued) }

func (e *env) condition(kind string) metav1.Condition {
	e.Helper()
	c := meta.FindStatusCondition(e.grant().Status.Conditions, kind)
	if c == nil {
		e.Fatalf("there is no condition %s", kind)
	}
	return *c
}

func TestEnds_AreSeenOrSaidNotToBe(t *testing.T) {
	e, pod := revoked(t)
	if result := e.reconcile(); result.RequeueAfter != overdue {
		t.Errorf("it is looked at again after %s, want %s", result.RequeueAfter, overdue)
	}
	e.clock.Step(overdue)
	e.reconcile()
	e.reconcile()
	c := e.endedCondition()
	if c.Status != metav1.ConditionUnknown || c.Reason != v1alpha1.ReasonEndNotSeen || !strings.Contains(c.Message, "node node1 has not reported that the containers of Pod valetkey-pr-184-x ended") {
		t.Errorf("%s, %s: %s", c.Status, c.Reason, c.Message)
	}
	if n := count(e.audit.events(), audit.EventEndNotSeen); n != 1 {
		t.Errorf("it is on record %d times", n)
	}
	e.nodeSays(pod, corev1.PodFailed, ended())
	e.reconcile()
	if g := e.grant(); g.Status.EndedAt == nil || g.Status.Outcome != v1alpha1.OutcomeRevoked {
		t.Errorf("the node has said it, and the outcome is %q", g.Status.Outcome)
	}
	if c := e.endedCondition(); c.Status != metav1.ConditionTrue {
		t.Errorf("Ended is %s", c.Status)
	}
}

func count(events []audit.Event, kind audit.Event) int {
	return len(slices.DeleteFunc(events, func(e audit.Event) bool { return e != kind }))
}

func TestEnds_ThatNobodySawCanBeAbandoned(t *testing.T) {
	e, _ := revoked(t)
	e.clock.Step(overdue)
	e.reconcile()
	g := e.grant()
	g.Annotations[v1alpha1.AnnotationAbandon], g.Annotations[v1alpha1.AnnotationAbandonedBy] = "the node burnt down", "alice@example.com"
	e.must(e.client.Update(t.Context(), g))
	e.reconcile()
	if g := e.grant(); g.Status.EndedAt == nil || g.Status.Outcome != v1alpha1.OutcomeUnknown {
		t.Errorf("the outcome is %q", g.Status.Outcome)
	}
	last := e.audit.records[len(e.audit.records)-2:]
	if last[0].Event != audit.EventAbandoned || !strings.Contains(last[0].Reason, "alice@example.com: the node burnt down") || last[1].Outcome != "unknown" {
		t.Errorf("on record: %+v", last)
	}
	pod := &corev1.Pod{}
	e.must(e.client.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "valetkey-pr-184-x"}, pod))
	if !slices.Contains(pod.Finalizers, v1alpha1.FinalizerSeen) {
		t.Error("the Pod was let go, though nobody saw it end")
	}
}

// TestAbandoned_SaysByWhomInWordsOfItsOwn: an authenticator reports any text as a name, and an annotation has any text.
func TestAbandoned_SaysByWhomInWordsOfItsOwn(t *testing.T) {
	g := &v1alpha1.CapabilityGrant{}
	g.Annotations = map[string]string{v1alpha1.AnnotationAbandonedBy: "bob, for alice", v1alpha1.AnnotationAbandon: "it burnt\n\x1b[31mdown"}
	if got, want := abandoned(g), `abandoned by "bob, for alice": it burnt\u000a\u001b[31mdown`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestSaidBy_IsOneLine: a webhook of somebody's has any text.
func TestSaidBy_IsOneLine(t *testing.T) {
	if got, want := saidBy(errors.New("denied: no\n\x1b[31m\u202eway")), `denied: no\u000a\u001b[31m\u202eway`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestEnds_OfAPodThatIsGone has another process look: it never saw the Pod.
func TestEnds_OfAPodThatIsGone(t *testing.T) {
	for name, tt := range map[string]struct {
		rules func(*env)
		ends  bool
	}{
		"are known where the rules were there all the time": {rules: func(*env) {}, ends: true},
		"are not known where the rules were changed":        {rules: func(e *env) { e.guard.status.Since = e.clock.Now() }},
		"are not known where a rule is missing":             {rules: func(e *env) { e.guard.status.Problems = []string{"valetkey-pods is missing"} }},
	} {
		t.Run(name, func(t *testing.T) {
			e, pod := revoked(t)
			e.remove(pod)
			e.grants = e.controller()
			tt.rules(e)
			e.reconcile()
			if g := e.grant(); (g.Status.EndedAt != nil) != tt.ends {
				t.Errorf("ended at %v: %+v", g.Status.EndedAt, e.endedCondition())
			}
		})
	}
}

func TestEnds_LetTheirPodsGo(t *testing.T) {
	e, pod := revoked(t)
	e.nodeSays(pod, corev1.PodFailed, ended())
	e.reconcile()
	e.must(e.client.Get(t.Context(), client.ObjectKeyFromObject(pod), pod))
	if !slices.Equal(pod.Finalizers, []string{batchv1.JobTrackingFinalizer}) {
		t.Errorf("its finalizers are %v", pod.Finalizers)
	}
}

func TestEnds_OfAPodWhoseGrantIsGoneLetItGo(t *testing.T) {
	e, pod := revoked(t)
	e.remove(e.grant())
	e.reconcile()
	e.must(e.client.Get(t.Context(), client.ObjectKeyFromObject(pod), pod))
	if !slices.Contains(pod.Finalizers, v1alpha1.FinalizerSeen) {
		t.Error("it was let go before it had ended")
	}
	e.nodeSays(pod, corev1.PodSucceeded, ended())
	e.reconcile()
	e.must(e.client.Get(t.Context(), client.ObjectKeyFromObject(pod), pod))
	if slices.Contains(pod.Finalizers, v1alpha1.FinalizerSeen) {
		t.Error("it is kept for ever")
	}
}

// TestEnds_OfAJobThatWasDeletedBeforeItsPodStarted come at once: nobody waits for a Pod that never was.
func TestEnds_OfAJobThatWasDeletedBeforeItsPodStarted(t *testing.T) {
	e := newEnv(t)
	e.reconcile()
	e.remove(e.job())
	request := &v1alpha1.CapabilityRequest{}
	e.must(e.client.Get(t.Context(), key(), request))
	e.must(e.client.Delete(t.Context(), request))
	e.reconcile()
	if g := e.grant(); g.Status.EndedAt == nil {
		t.Errorf("it waits: %+v", e.endedCondition())
	}
}

func TestContainersEnded_AsTheNodeSaid(t *testing.T) {
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	waiting := corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{}}
	collected := corev1.PodCondition{Type: corev1.DisruptionTarget, Reason: "DeletionByPodGC"}
	pod := func(node string, phase corev1.PodPhase, conditions []corev1.PodCondition, states ...corev1.ContainerState) *corev1.Pod {
		p := &corev1.Pod{Spec: corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "a"}, {Name: "b"}}}, Status: corev1.PodStatus{Phase: phase, Conditions: conditions}}
		for i, s := range states {
			p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, corev1.ContainerStatus{Name: p.Spec.Containers[i].Name, State: s})
		}
		return p
	}
	deleted := func(p *corev1.Pod) *corev1.Pod { p.DeletionTimestamp = &metav1.Time{}; return p }
	initial := pod("n", corev1.PodFailed, nil, ended(), ended())
	initial.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: "sidecar", State: running}}
	for name, tt := range map[string]struct {
		pod  *corev1.Pod
		want bool
	}{
		"both have ended": {pod("n", corev1.PodSucceeded, nil, ended(), ended()), true},
		"one runs on":     {pod("n", corev1.PodRunning, nil, ended(), running), false},
		"one runs on in a Pod that is said to have failed": {pod("n", corev1.PodFailed, nil, ended(), running), false},
		"a sidecar runs on":                                   {initial, false},
		"one never began":                                     {pod("n", corev1.PodFailed, nil, ended(), waiting), true},
		"the node refused the Pod":                            {pod("n", corev1.PodFailed, nil), true},
		"it is on its node and nothing is known":              {pod("n", corev1.PodPending, nil), false},
		"it is on its node and being deleted":                 {deleted(pod("n", corev1.PodPending, nil)), false},
		"it waits for a node":                                 {pod("", corev1.PodPending, nil), false},
		"it waits for a node and is being deleted":            {deleted(pod("", corev1.PodPending, nil)), true},
		"its node is gone, and nobody said anything":          {pod("n", corev1.PodFailed, []corev1.PodCondition{collected}), false},
		"its node is gone, and had said of one":               {pod("n", corev1.PodFailed, []corev1.PodCondition{collected}, ended(), waiting), false},
		"its node is gone, and had said that both have ended": {pod("n", corev1.PodFailed, []corev1.PodCondition{collected}, ended(), ended()), true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := containersEnded(tt.pod); got != tt.want {
				t.Errorf("it has ended: %t", got)
			}
		})
	}
}

// TestEnds_APodThatTheJobControllerLeavesIsDeleted: whatever keeps the job-controller from looking at a Job keeps no Pod
// of it running.
func TestEnds_APodThatTheJobControllerLeavesIsDeleted(t *testing.T) {
	rows := refusals()
	rows["at once"] = nil
	for what, refused := range rows {
		t.Run(what, func(t *testing.T) {
			e := newEnv(t)
			pod := e.delivered()
			e.annotate(v1alpha1.AnnotationRevoke, "seen enough")
			if result := e.reconcile(); result.RequeueAfter != lifecycle.JobControllerTime {
				t.Errorf("it is looked at again after %s", result.RequeueAfter)
			}
			let := func() {}
			if refused != nil {
				let = e.refuses("pods", refused)
			}
			e.clock.Step(lifecycle.JobControllerTime)
			e.reconcile()
			if c := e.endedCondition(); refused != nil && !strings.Contains(c.Message, "Pod valetkey-pr-184-x could not be deleted: ") {
				t.Errorf("it says %s", c.Message)
			}
			let()
			e.clock.Step(lifecycle.Recheck)
			e.reconcile()
			if e.must(e.client.Get(t.Context(), client.ObjectKeyFromObject(pod), pod)); pod.DeletionTimestamp == nil {
				t.Error("the Pod goes on")
			}
			e.nodeSays(pod, corev1.PodFailed, ended())
			e.jobControllerSays(batchv1.JobSuspended)
			e.reconcile()
			if g := e.grant(); g.Status.EndedAt == nil {
				t.Errorf("it does not end: %s", e.endedCondition().Message)
			}
		})
	}
}

// TestStop_WhatIsNotStoredIsDoneAllTheSame: a status that the API server refuses keeps no credential working, and nor
// does somebody who writes the grant again and again.
func TestStop_WhatIsNotStoredIsDoneAllTheSame(t *testing.T) {
	for name, refusal := range map[string]error{
		"it is too large":      errors.New("etcdserver: request is too large"),
		"others write it, too": apierrors.NewConflict(schema.GroupResource{Resource: "capabilitygrants"}, key().Name, errors.New("changed")),
	} {
		t.Run(name, func(t *testing.T) { expectStopped(t, refusal) })
	}
}

func expectStopped(t *testing.T, refusal error) {
	t.Helper()
	e := newEnv(t)
	e.delivered()
	secret := e.grant().Status.SecretName
	e.annotate(v1alpha1.AnnotationRevoke, "seen enough")
	e.statusRefused = refusal
	for range 5 {
		if _, err := e.grants.Reconcile(t.Context(), ctrl.Request{NamespacedName: key()}); err == nil && !apierrors.IsConflict(refusal) {
			t.Error("what could not be stored is not told")
		}
	}
	gone := e.client.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: secret}, &corev1.Secret{})
	if e.backend.Working() != 0 || !suspended(e.job()) || !apierrors.IsNotFound(gone) {
		t.Errorf("%d credentials work, the Job is stopped: %t, the Secret: %v", e.backend.Working(), suspended(e.job()), gone)
	}
	if n := count(e.audit.events(), audit.EventStopping); n != 1 {
		t.Errorf("the stop is on record %d times", n)
	}
	e.statusRefused = nil
	e.reconcile()
	if g := e.grant(); g.Status.Stop == nil || g.Status.Revocation == nil || g.Status.Revocation.ConfirmedAt == nil {
		t.Errorf("once it can be stored, it says %+v", g.Status)
	}
}

// unending is a back end that says that it still knows what it was told to end.
type unending struct{ *providerfake.Provider }

func (unending) Revoke(context.Context, provider.Issued) (provider.Revoked, error) {
	return provider.Revoked{}, provider.Unanswered(provider.Retryable, "it still knows it").Leaving(provider.WorksUntil(time.Time{}))
}

// TestAbandoned_SaysNoInstantOfWhatCouldNotBeEnded: what a back end cannot end now it cannot end later either, whatever it said at first.
func TestAbandoned_SaysNoInstantOfWhatCouldNotBeEnded(t *testing.T) {
	e := newEnv(t)
	e.grants.Observer.Providers = provider.NewSet(unending{e.backend})
	pod := e.delivered()
	e.nodeSays(pod, corev1.PodSucceeded, ended())
	e.jobControllerSays(batchv1.JobComplete)
	e.reconcile()
	if c := meta.FindStatusCondition(e.grant().Status.Conditions, v1alpha1.ConditionEnded); c == nil || !strings.Contains(c.Message, "until when it works is not known") {
		t.Errorf("before: %+v", c)
	}
	e.annotate(v1alpha1.AnnotationAbandon, "the database is gone")
	e.clock.Step(time.Minute)
	e.reconcile()
	r := e.grant().Status.Revocation
	if e.grant().Status.EndedAt == nil || r == nil || r.Mode != v1alpha1.RevocationAtExpiry || r.ExposedUntil != nil {
		t.Errorf("ended at %s with %+v", e.grant().Status.EndedAt, r)
	}
}
