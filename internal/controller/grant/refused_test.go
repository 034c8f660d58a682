// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/lifecycle"
	"github.com/valetkey/valetkey/internal/provider"
)

// refusals are the statuses by which somebody's rule refuses a write: whoever writes it chooses one.
func refusals() map[string]error {
	const words = "somebody's rule says no"
	return map[string]error{
		"Forbidden": apierrors.NewForbidden(corev1.Resource("x"), "x", errors.New(words)),
		"Invalid":   apierrors.NewInvalid(schema.GroupKind{Kind: "X"}, "x", field.ErrorList{field.Forbidden(field.NewPath(""), words)}),
		"Conflict":  apierrors.NewConflict(corev1.Resource("x"), "x", errors.New(words)),
	}
}

// errUndone stands for a webhook of somebody's that writes into a Job what the operator did not.
var errUndone = errors.New("undone")

// refuses has the API server refuse to stop Jobs, or to delete Secrets, until let is called.
func (e *env) refuses(what string, refused error) (let func()) {
	switch what {
	case "jobs":
		e.funcs.Patch = func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			job, ok := o.(*batchv1.Job)
			switch {
			case !ok:
				return c.Patch(ctx, o, p, opts...)
			case !errors.Is(refused, errUndone):
				return refused
			}
			if err := c.Patch(ctx, o, p, opts...); err != nil {
				return err
			}
			job.Spec.Suspend = ptr.To(false)
			return c.Update(ctx, job)
		}
		return func() { e.funcs.Patch = nil }
	case "pods":
		e.funcs.Delete = func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			if _, ok := o.(*corev1.Pod); ok {
				return refused
			}
			return c.Delete(ctx, o, opts...)
		}
		return func() { e.funcs.Delete = nil }
	default:
		e.funcs.Delete = func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			if _, ok := o.(*corev1.Secret); ok {
				return refused
			}
			return c.Delete(ctx, o, opts...)
		}
		return func() { e.funcs.Delete = nil }
	}
}

// over looks at the grant until it comes to rest, whatever is refused meanwhile.
func (e *env) over() {
	e.Helper()
	for range 3 {
		for range 5 {
			_, _ = e.grants.Reconcile(e.Context(), ctrl.Request{NamespacedName: key()})
		}
		e.clock.Step(lifecycle.Recheck)
	}
}

// TestEnds_NoRefusalKeepsTheBackEndFromBeingTold: what was issued is revoked whatever else of the end is refused, the grant says what, and
// it ends once that is let through.
func TestEnds_NoRefusalKeepsTheBackEndFromBeingTold(t *testing.T) {
	for what, words := range map[string]string{"jobs": "the Job could not be stopped: ", "secrets": "something stays here: deleting Secret"} {
		rows := refusals()
		if what == "jobs" {
			rows["undone"] = errUndone
		}
		for status, refused := range rows {
			t.Run(what+" "+status, func(t *testing.T) { expectRevokedThough(t, what, words, refused) })
		}
	}
}

func expectRevokedThough(t *testing.T, what, words string, refused error) {
	t.Helper()
	e := newEnv(t)
	pod := e.delivered()
	let := e.refuses(what, refused)
	e.annotate(v1alpha1.AnnotationRevoke, "seen enough")
	e.over()
	if n := e.backend.Working(); n != 0 {
		t.Fatalf("%d credentials work", n)
	}
	if c := e.endedCondition(); c.Status != metav1.ConditionFalse || !strings.Contains(c.Message, words) {
		t.Errorf("%s: %s", c.Status, c.Message)
	}
	e.over()
	if n := count(e.audit.events(), audit.EventRevoked); n != 1 {
		t.Errorf("the revocation is on record %d times", n)
	}
	let()
	e.nodeSays(pod, corev1.PodFailed, ended())
	e.clock.Step(backoff(10))
	e.over()
	if !suspended(e.job()) {
		t.Error("the Job was not stopped")
	}
	e.jobControllerSays(batchv1.JobSuspended)
	e.over()
	if g := e.grant(); g.Status.EndedAt == nil || g.Status.Outcome != v1alpha1.OutcomeRevoked {
		t.Errorf("it does not end: %+v", e.endedCondition())
	}
}

// TestEnds_ABackEndThatAsksForPatienceIsAskedAgainInFiveMinutes: what was issued works meanwhile.
func TestEnds_ABackEndThatAsksForPatienceIsAskedAgainInFiveMinutes(t *testing.T) {
	e := newEnv(t)
	e.delivered()
	e.annotate(v1alpha1.AnnotationRevoke, "seen enough")
	e.backend.NextErr(&provider.Error{Class: provider.Retryable, Message: "come back", RetryAfter: time.Hour})
	e.over()
	if n := e.backend.Working(); n != 1 {
		t.Fatalf("%d credentials work", n)
	}
	e.clock.Step(5 * time.Minute)
	e.over()
	if n := e.backend.Working(); n != 0 {
		t.Errorf("%d credentials work after five minutes", n)
	}
}

// TestStop_ABackEndThatThrottlesIsGivenTimeInAStorm, in which the end cannot be stored.
func TestStop_ABackEndThatThrottlesIsGivenTimeInAStorm(t *testing.T) {
	e := newEnv(t)
	e.delivered()
	e.annotate(v1alpha1.AnnotationRevoke, "seen enough")
	e.statusRefused = apierrors.NewConflict(schema.GroupResource{Resource: "capabilitygrants"}, key().Name, errors.New("changed"))
	e.backend.Reset()
	for range 30 {
		e.backend.NextErr(&provider.Error{Class: provider.Throttled, Message: "throttled", RetryAfter: time.Hour})
	}
	for range 30 {
		_, _ = e.grants.Reconcile(t.Context(), ctrl.Request{NamespacedName: key()})
		e.clock.Step(time.Second)
	}
	if n := len(e.backend.Calls()); n != 1 {
		t.Errorf("it was asked %d times in half a minute", n)
	}
}

// TestEnds_AreOnRecordOnceHoweverOftenTheyAreTried: a namespace that is gone refuses each write for ever.
func TestEnds_AreOnRecordOnceHoweverOftenTheyAreTried(t *testing.T) {
	e := newEnv(t)
	e.delivered()
	e.annotate(v1alpha1.AnnotationRevoke, "seen enough")
	e.statusRefused = apierrors.NewNotFound(corev1.Resource("namespaces"), namespace)
	e.over()
	if n := count(e.audit.events(), audit.EventStopping); n != 1 {
		t.Errorf("that it stops is on record %d times", n)
	}
}

func TestEnds_ThatAreRefusedForEverCanBeAbandoned(t *testing.T) {
	for _, what := range []string{"jobs", "secrets"} {
		t.Run(what, func(t *testing.T) {
			e := newEnv(t)
			pod := e.delivered()
			e.refuses(what, refusals()["Forbidden"])
			e.annotate(v1alpha1.AnnotationRevoke, "seen enough")
			e.over()
			e.nodeSays(pod, corev1.PodFailed, ended())
			e.clock.Step(overdue)
			g := e.grant()
			g.Annotations[v1alpha1.AnnotationAbandon], g.Annotations[v1alpha1.AnnotationAbandonedBy] = "somebody's rule", "alice@example.com"
			e.must(e.client.Update(t.Context(), g))
			e.over()
			if e.grant().Status.EndedAt == nil {
				t.Errorf("it waits on: %+v", e.endedCondition())
			}
			if count(e.audit.events(), audit.EventAbandoned) == 0 {
				t.Error("that it was abandoned is not on record")
			}
		})
	}
}
