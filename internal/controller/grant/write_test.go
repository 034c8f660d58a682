// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/lifecycle"
)

// refusesWrites has the API server refuse to write objects of a kind, so many times, in words that are made of them, and
// with each status in turn.
func (e *env) refusesWrites(kind client.Object, times int, words func(client.Object) string) {
	refuse := func(o client.Object) error {
		if reflect.TypeOf(o) != reflect.TypeOf(kind) || times == 0 {
			return nil
		}
		times--
		return []error{
			apierrors.NewForbidden(corev1.Resource("objects"), o.GetName(), errors.New(words(o))),
			apierrors.NewConflict(corev1.Resource("objects"), o.GetName(), errors.New(words(o))),
			apierrors.NewInvalid(schema.GroupKind{Kind: "X"}, o.GetName(), field.ErrorList{field.Forbidden(field.NewPath(""), words(o))}),
		}[times%3]
	}
	e.funcs.Create = func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
		if err := refuse(o); err != nil {
			return err
		}
		return c.Create(ctx, o, opts...)
	}
	e.funcs.Patch = func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
		if err := refuse(o); err != nil {
			return err
		}
		return c.Patch(ctx, o, p, opts...)
	}
}

// TestWrites_WhatIsRefusedIsSaidAndNotTriedForEver: a quota, Pod Security or somebody's webhook refuses a write on the
// way to a started Job. The grant says so in the API server's words, goes on once it is let through, and ends when that
// takes too long: then nothing that was issued works any more, and it is on record once.
func TestWrites_WhatIsRefusedIsSaidAndNotTriedForEver(t *testing.T) {
	quota := func(client.Object) string {
		return "exceeded quota: objects, requested: count/secrets=1, used: 0, limited: 0"
	}
	settings := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "settings", UID: "c"}, Data: map[string]string{"a": "b"}}
	for what, kind := range map[string]client.Object{"making the Job's Pod": &corev1.Pod{}, "storing the Secret": &corev1.Secret{}, "copying ConfigMap settings": &corev1.ConfigMap{}, "starting the Job": &batchv1.Job{}} {
		for _, forGood := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, for good: %t", what, forGood), func(t *testing.T) {
				e := newEnvWith(t, []*corev1.ConfigMap{settings.DeepCopy()}, func(job *batchv1.Job) {
					job.Spec.Template.Spec.Volumes = []corev1.Volume{{Name: "s", VolumeSource: corev1.VolumeSource{
						ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}}}}}
				})
				times := 2
				if forGood {
					times = 1000
				}
				e.refusesWrites(kind, times, quota)
				began := e.clock.Now()
				result := e.reconcile()
				condition := e.issuedCondition()
				if e.grant().Status.IssuedAt != nil {
					condition = e.condition(v1alpha1.ConditionDelivered)
				}
				if condition.Status != metav1.ConditionFalse || condition.Reason != v1alpha1.ReasonBackingOff ||
					!strings.HasPrefix(condition.Message, what+" is refused: ") || !strings.Contains(condition.Message, "exceeded quota: objects") {
					t.Errorf("it says %s: %s", condition.Reason, condition.Message)
				}
				if n := count(e.audit.events(), audit.EventIssuing); (n == 0) != (what == "making the Job's Pod" || strings.HasPrefix(what, "copying")) {
					t.Errorf("a credential was asked for %d times", n)
				}
				for range mostWrites {
					if suspended(e.job()) {
						e.clock.Step(max(result.RequeueAfter, time.Second))
						result = e.reconcile()
					}
				}
				if n := count(e.audit.events(), audit.EventIssued); n > 1 {
					t.Errorf("the credential is on record %d times", n)
				}
				if !forGood {
					if suspended(e.job()) || e.grant().Status.ExpiresAt.After(began.Add(10*time.Minute+5*time.Second)) {
						t.Errorf("it did not go on, or its time began too late: %+v", e.grant().Status)
					}
					return
				}
				e.funcs.Patch = nil // the Job can be stopped
				e.clock.Step(lifecycle.Recheck)
				e.reconcile()
				g := e.grant()
				if g.Status.Outcome != v1alpha1.OutcomeIssueFailed || !strings.Contains(g.Status.Stop.Message, "exceeded quota") || e.backend.Working() != 0 {
					t.Errorf("outcome %q, stop %+v, %d credentials work", g.Status.Outcome, g.Status.Stop, e.backend.Working())
				}
				asked := count(e.audit.events(), audit.EventIssuing) > 0
				if none := len(g.Status.Exposed) == 0 && g.Status.Revocation.Mode == v1alpha1.RevocationNone; none == asked {
					t.Errorf("asked for: %t; exposed %+v, revocation %+v", asked, g.Status.Exposed, g.Status.Revocation)
				}
			})
		}
	}
}

// TestWrites_WordsThatTellTheCredentialAreNotRepeated: a webhook may repeat what it was sent, in whatever form. Of what
// was refused together with the credential nothing is said but what Kubernetes itself says.
func TestWrites_WordsThatTellTheCredentialAreNotRepeated(t *testing.T) {
	data := func(o client.Object) map[string][]byte { return o.(*corev1.Secret).Data }
	for name, row := range map[string]struct {
		words func(client.Object) string
		says  string
	}{
		"as it is":   {func(o client.Object) string { return fmt.Sprintf("%s", data(o)) }, ""},
		"as numbers": {func(o client.Object) string { return fmt.Sprintf("%v", data(o)) }, ""},
		"as JSON, by a webhook": {func(o client.Object) string {
			text, _ := json.Marshal(data(o))
			return `admission webhook "plain.example.com" denied the request: no plain configuration: ` + string(text)
		}, ` is refused: admission webhook "plain.example.com" denied the request`},
		"as text, by a policy": {func(o client.Object) string {
			return fmt.Sprintf("ValidatingAdmissionPolicy 'plain.example.com' with binding 'plain' denied request: %q", data(o))
		}, ` is refused: ValidatingAdmissionPolicy 'plain.example.com' with binding 'plain' denied request`},
		"a quota": {func(client.Object) string {
			return "exceeded quota: few, requested: count/secrets=1, used: count/secrets=5, limited: count/secrets=5"
		}, " is refused: exceeded quota: few, requested: count/secrets=1, used: count/secrets=5, limited: count/secrets=5"},
		"a namespace that goes": {func(client.Object) string {
			return "unable to create new content in namespace agents because it is being terminated"
		}, " is refused: unable to create new content in namespace agents because it is being terminated"},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t)
			e.refusesWrites(&corev1.Secret{}, 1, row.words)
			e.reconcile()
			if c := e.issuedCondition(); c.Message != "storing the Secret"+cmp.Or(row.says, ": Forbidden") {
				t.Errorf("%s: %d bytes, not as it should", c.Reason, len(c.Message))
			}
		})
	}
}
