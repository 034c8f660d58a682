// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package attacks

import (
	"reflect"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/policy"
)

// TestAsHeld_IsJudgedAsWhatTheAPIServerStores compares what a decision before the Job is stored depends on with what it depends on after.
func TestAsHeld_IsJudgedAsWhatTheAPIServerStores(t *testing.T) {
	const bot = "system:serviceaccount:agents:web-app-bot"
	w := newWorld(t.Context(), t)
	c := &v1alpha1.Capability{Spec: v1alpha1.CapabilitySpec{AWS: &v1alpha1.AWSCapability{}}}
	r := &v1alpha1.CapabilityRequest{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "q"}}
	r.Spec.Container, r.Spec.Requester.Username = "publish", bot
	for name, edits := range map[string][]edit{
		"the least":                      nil,
		"a deadline of the Job":          {set("spec.activeDeadlineSeconds", 30)},
		"the longer deadline of the two": {set("spec.activeDeadlineSeconds", 300), set("spec.template.spec.activeDeadlineSeconds", 30)},
		"service links":                  {set("spec.template.spec.enableServiceLinks", true)},
		"completions alone":              {set("spec.completions", 1)},
		"a suspended Job":                {set("spec.suspend", true)},
		"a ConfigMap as a volume":        {set("spec.template.spec.volumes", []any{map[string]any{"name": "c", "configMap": map[string]any{"name": "c"}}})},
		"a script of an image by tag":    {set("spec.template.spec.initContainers", []any{map[string]any{"name": "i", "image": "busybox"}})},
	} {
		t.Run(name, func(t *testing.T) {
			asked := w.job0("q", edits...)
			raw, err := w.creating(t.Context(), agent, asked.DeepCopy())
			if err != nil {
				t.Fatal(err)
			}
			stored, thought := &batchv1.Job{}, &batchv1.Job{}
			for _, err := range []error{
				runtime.DefaultUnstructuredConverter.FromUnstructured(raw.Object, stored),
				runtime.DefaultUnstructuredConverter.FromUnstructured(asked.Object, thought),
			} {
				if err != nil {
					t.Fatal(err)
				}
			}
			thought = policy.AsHeld(thought, bot)
			if a, b := policy.CheckJob(stored, r, c), policy.CheckJob(thought, r, c); !reflect.DeepEqual(a, b) {
				t.Errorf("as it is stored: %v\nas it was thought to be: %v", a, b)
			}
			if a, b := stored.Spec.Template.Spec.ActiveDeadlineSeconds, thought.Spec.Template.Spec.ActiveDeadlineSeconds; !reflect.DeepEqual(a, b) {
				t.Errorf("the deadline is %v, and was thought to be %v", a, b)
			}
			a, b := policy.Reading(stored, "publish"), policy.Reading(thought, "publish")
			if !reflect.DeepEqual(a, b) {
				t.Errorf("as it is stored:\n%v\nas it was thought to be:\n%v", a, b)
			}
		})
	}
}
