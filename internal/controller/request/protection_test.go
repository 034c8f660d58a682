// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package request_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/controller/controllertest"
)

func TestGrant_IsMadeInAMarkedNamespaceOnly(t *testing.T) {
	e, o := begin(t, v1alpha1.RevocationImmediate, 0)
	made := false
	e.Faults.Before = func(verb string, object client.Object) error {
		if _, ok := object.(*v1alpha1.CapabilityGrant); ok && verb == "create" {
			made = true
			if home(e).Labels[v1alpha1.LabelInUse] != "true" {
				t.Error("the grant is made before its namespace is marked")
			}
		}
		return nil
	}
	if ask(o, "a"); !made {
		t.Error("nothing was granted")
	}
}

// TestGrant_IsNotMadeWhereTheProtectionWasJustTakenAway has an administrator of the namespace act after the last look.
func TestGrant_IsNotMadeWhereTheProtectionWasJustTakenAway(t *testing.T) {
	for name, take := range map[string]func(*corev1.Namespace){
		"the enrolment": func(ns *corev1.Namespace) { delete(ns.Labels, v1alpha1.LabelEnrolled) },
		"Pod Security":  func(ns *corev1.Namespace) { delete(ns.Labels, "pod-security.kubernetes.io/enforce") },
		"what holds it": func(ns *corev1.Namespace) { ns.Spec.Finalizers = nil },
	} {
		t.Run(name, func(t *testing.T) {
			e, o := begin(t, v1alpha1.RevocationImmediate, 1)
			e.Faults.Before = func(_ string, object client.Object) error {
				if _, ok := object.(*corev1.Namespace); ok {
					e.Faults.Before = nil
					there := home(e)
					take(there)
					e.Must(e.Client.Update(e.Context(), there))
				}
				return nil
			}
			ask(o, "a")
			expectGranted(e)
			allowed := meta.FindStatusCondition(e.Request("a").Status.Conditions, v1alpha1.ConditionAllowed)
			if allowed == nil || allowed.Reason != v1alpha1.ReasonNamespaceUnsafe {
				t.Errorf("the request says %+v", allowed)
			}
			// What was reserved for it is free again.
			there := home(e)
			there.Spec.Finalizers = []corev1.FinalizerName{corev1.FinalizerKubernetes}
			there.Labels[v1alpha1.LabelEnrolled], there.Labels["pod-security.kubernetes.io/enforce"] = "true", "baseline"
			e.Must(e.Client.Update(e.Context(), there))
			o.Advance(time.Second)
			ask(o, "b")
			expectGranted(e, "b")
		})
	}
}

// home is the namespace that requests are made in, as it is stored.
func home(e *controllertest.Env) *corev1.Namespace {
	e.Helper()
	ns := &corev1.Namespace{}
	e.Must(e.Client.Get(e.Context(), client.ObjectKey{Name: controllertest.Namespace}, ns))
	return ns
}
