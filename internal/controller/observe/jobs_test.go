// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"context"
	"fmt"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/live"
)

func aJob(uid string, generation int64, size int) *batchv1.Job {
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "agents", Name: "valetkey-r", UID: types.UID(uid), Generation: generation}}
	job.Spec.Template.Spec.Containers = []corev1.Container{{Name: "step", Args: []string{strings.Repeat("x", size)}}}
	return job
}

func TestJobs_AreRememberedInBoundedMemory(t *testing.T) {
	var known Jobs
	const size = mostRemembered / 100
	for i := range 1000 {
		known.add(wholeJob{job: aJob(fmt.Sprint(i), 1, size)})
		known.get(edition{"0", 1, ""}) // It is asked for again and again, so that it is kept.
	}
	if known.bytes > mostRemembered || known.bytes < mostRemembered/2 {
		t.Errorf("it holds %d bytes, of at most %d", known.bytes, mostRemembered)
	}
	for uid, want := range map[string]bool{"0": true, "1": false, "999": true} {
		if _, ok := known.get(edition{types.UID(uid), 1, ""}); ok != want {
			t.Errorf("it remembers Job %s: %v", uid, ok)
		}
	}
	known.add(wholeJob{job: aJob("huge", 1, mostRemembered/16)})
	if _, ok := known.get(edition{"huge", 1, ""}); ok {
		t.Error("it remembers one that fills it")
	}
	before := known.bytes
	known.add(wholeJob{job: aJob("999", 1, size)})
	if known.bytes != before {
		t.Errorf("one that was known counts twice: %d bytes, then %d", before, known.bytes)
	}
}

// TestJob_IsReadOnceAndShowsWhatMoves has a cache that shows no more of a Job than Slim leaves.
func TestJob_IsReadOnceAndShowsWhatMoves(t *testing.T) {
	reads := 0
	stored := interceptor.NewClient(fake.NewClientBuilder().WithScheme(clientgoscheme.Scheme).Build(), interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			reads++
			return c.Get(ctx, key, o, opts...)
		},
	})
	whole := aJob("job", 1, 100)
	whole.Spec.Suspend = ptr.To(true)
	whole.Spec.Template.Annotations = map[string]string{"example.com/a": "b"}
	if err := stored.Create(t.Context(), whole); err != nil {
		t.Fatal(err)
	}
	shown := aJob("job", 1, 0)
	shown.Spec.Suspend = ptr.To(true)
	o := &Observer{Live: live.New(stored)}
	look := func() *batchv1.Job {
		t.Helper()
		slim, err := Slim(shown.DeepCopy())
		if err != nil {
			t.Fatal(err)
		}
		o.Cache = fake.NewClientBuilder().WithScheme(clientgoscheme.Scheme).WithObjects(slim.(client.Object)).Build()
		found, err := o.job(t.Context(), &v1alpha1.CapabilityRequest{ObjectMeta: metav1.ObjectMeta{Namespace: "agents", Name: "r"}})
		if err != nil {
			t.Fatal(err)
		}
		return found.job
	}
	if got := look(); len(got.Spec.Template.Spec.Containers[0].Args[0]) != 100 || got.Spec.Template.Annotations["example.com/a"] != "b" || !*got.Spec.Suspend {
		t.Errorf("it is not whole: %+v", got.Spec)
	}
	shown.Spec.Suspend = ptr.To(false)
	shown.Spec.Template.Annotations = map[string]string{v1alpha1.AnnotationSecret: "s"}
	shown.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobComplete, Status: corev1.ConditionTrue}}
	got := look()
	if *got.Spec.Suspend || got.Spec.Template.Annotations[v1alpha1.AnnotationSecret] != "s" || got.Spec.Template.Annotations["example.com/a"] != "b" || len(got.Status.Conditions) != 1 {
		t.Errorf("it does not show what moved: %+v", got)
	}
	if reads != 1 {
		t.Errorf("it was read %d times", reads)
	}
	shown.Generation = 2
	if look(); reads != 2 {
		t.Errorf("another edition of it: read %d times", reads)
	}
	for i, labels := range []map[string]string{{"example.com/quarantine": "yes"}, {"example.com/quarantine": "no"}, nil} {
		shown.Generation, shown.Labels = 1, labels
		now := whole.DeepCopy()
		now.Labels = labels
		if err := stored.Update(t.Context(), now); err != nil {
			t.Fatal(err)
		}
		whole = now
		if got := look(); got.Labels["example.com/quarantine"] != labels["example.com/quarantine"] {
			t.Errorf("its labels are %v, not %v (%d)", got.Labels, labels, i)
		}
	}
	shown.UID = "another"
	if got := look(); got != nil {
		t.Errorf("a Job that is gone is shown as %+v", got)
	}
}
