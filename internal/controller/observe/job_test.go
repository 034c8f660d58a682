// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"slices"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// TestUnknownFields_AreRefusedInWords has a cluster whose Jobs have fields that this program was not compiled with.
func TestUnknownFields_AreRefusedInWords(t *testing.T) {
	job := &batchv1.Job{}
	job.Spec.Template.Spec.Containers = []corev1.Container{{Name: "publish"}}
	for name, tt := range map[string]struct {
		path []string
		want string
	}{
		"of a Job":          {[]string{"spec", "teleport"}, "spec.teleport is not known to this version of Valetkey; leave it out, or upgrade Valetkey"},
		"of a Pod template": {[]string{"spec", "template", "spec", "teleport"}, "spec.template.spec.teleport is not known to this version of Valetkey; leave it out, or upgrade Valetkey"},
		"by another case":   {[]string{"spec", "template", "spec", "HostPID"}, "spec.template.spec.HostPID is not known to this version of Valetkey; leave it out, or upgrade Valetkey"},
	} {
		t.Run(name, func(t *testing.T) {
			raw := stored(t, job)
			if err := unstructured.SetNestedField(raw.Object, "x", tt.path...); err != nil {
				t.Fatal(err)
			}
			got, err := UnknownFields(raw)
			if err != nil || !slices.Equal(got, []string{tt.want}) {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
	t.Run("of a container", func(t *testing.T) {
		raw := stored(t, job)
		containers, _, _ := unstructured.NestedSlice(raw.Object, "spec", "template", "spec", "containers")
		containers[0].(map[string]any)["teleport"] = map[string]any{"to": "x"} //nolint:forcetypeassert // It was converted from a Container.
		if err := unstructured.SetNestedSlice(raw.Object, containers, "spec", "template", "spec", "containers"); err != nil {
			t.Fatal(err)
		}
		got, err := UnknownFields(raw)
		want := "spec.template.spec.containers[0].teleport is not known to this version of Valetkey; leave it out, or upgrade Valetkey"
		if err != nil || !slices.Equal(got, []string{want}) {
			t.Errorf("%q, %v", got, err)
		}
	})
	if got, err := UnknownFields(stored(t, job)); err != nil || got != nil {
		t.Errorf("of a Job whose fields are all known: %q, %v", got, err)
	}
}

func stored(t *testing.T, job *batchv1.Job) *unstructured.Unstructured {
	t.Helper()
	o, err := runtime.DefaultUnstructuredConverter.ToUnstructured(job)
	if err != nil {
		t.Fatal(err)
	}
	return &unstructured.Unstructured{Object: o}
}
