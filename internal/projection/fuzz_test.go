// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package projection

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// FuzzPatches sees that whatever a Job and a grant are called, the patches that start and stop it are JSON and change what they may.
func FuzzPatches(f *testing.F) {
	f.Add("5e8f1a3c-1111", int64(1), "publish", "valetkey-1-1", int64(900))
	f.Add(`"},"spec":{"parallelism":50`, int64(-1), "a\x00b\xff", "</secret>", int64(-1))
	f.Fuzz(func(t *testing.T, uid string, generation int64, container, secret string, left int64) {
		job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{UID: types.UID(uid), Generation: generation}}
		note := map[string]string{v1alpha1.AnnotationGrant: uid, v1alpha1.AnnotationSecret: secret, v1alpha1.AnnotationContainer: container,
			v1alpha1.AnnotationContainers: container + "=", v1alpha1.AnnotationDeadlineSeconds: "1"}
		patch, err := StartPatch(job, note, time.Duration(left))
		if (err == nil) != (uid != "" && generation != 0 && container != "" && secret != "") {
			t.Fatalf("a patch for %q, %d, %q, %q: %v", uid, generation, container, secret, err)
		}
		if err == nil {
			expectPaths(t, patch, "/metadata/uid", "/metadata/generation", "/spec/suspend", "/spec/activeDeadlineSeconds", "/spec/template/metadata/annotations")
		}
		expectKeys(t, StopPatch(job), map[string][]string{"": {"metadata", "spec"}, "metadata": {"uid"}, "spec": {"suspend"}})
	})
}

func expectPaths(t *testing.T, patch []byte, want ...string) {
	t.Helper()
	var operations []struct{ Path string }
	if err := json.Unmarshal(patch, &operations); err != nil {
		t.Fatalf("%v: %s", err, patch)
	}
	var got []string
	for _, o := range operations {
		got = append(got, o.Path)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: %s", patch, diff)
	}
}

func expectKeys(t *testing.T, patch []byte, want map[string][]string) {
	t.Helper()
	var whole map[string]map[string]any
	if err := json.Unmarshal(patch, &whole); err != nil {
		t.Fatalf("%v: %s", err, patch)
	}
	got := map[string][]string{"": slices.Sorted(maps.Keys(whole))}
	for name, part := range whole {
		got[name] = slices.Sorted(maps.Keys(part))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: %s", patch, diff)
	}
}
