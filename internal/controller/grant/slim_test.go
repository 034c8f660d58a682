// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/randfill"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/controller/observe"
	"github.com/valetkey/valetkey/internal/lifecycle"
)

// TestSlim_LeavesAllThatTheFactsDependOn compares what is found out from whole objects and from what the cache has of them.
func TestSlim_LeavesAllThatTheFactsDependOn(t *testing.T) {
	const seed = 184
	fill := randfill.NewWithSeed(seed).NilChance(0.3).NumElements(1, 4).MaxDepth(12).Funcs(
		// Whose wire form depends on more than its fields.
		func(*metav1.FieldsV1, randfill.Continue) {},
		func(c *corev1.PodCondition, r randfill.Continue) {
			c.Type, c.Reason = corev1.DisruptionTarget, []string{"DeletionByPodGC", "Other"}[r.Intn(2)]
		},
		func(c *batchv1.JobCondition, r randfill.Continue) {
			c.Type = []batchv1.JobConditionType{batchv1.JobComplete, batchv1.JobFailed, batchv1.JobSuspended, "Other"}[r.Intn(4)]
			c.Status = []corev1.ConditionStatus{corev1.ConditionTrue, corev1.ConditionFalse}[r.Intn(2)]
			c.Reason = []string{batchv1.JobReasonDeadlineExceeded, "Other"}[r.Intn(2)]
		},
		func(phase *corev1.PodPhase, r randfill.Continue) {
			*phase = []corev1.PodPhase{corev1.PodRunning, corev1.PodSucceeded, corev1.PodFailed}[r.Intn(3)]
		},
	)
	slim := func(o runtime.Object) any {
		left, err := observe.Slim(o.DeepCopyObject())
		if err != nil {
			t.Fatal(err)
		}
		return left
	}
	told := map[bool]int{}
	for range 2000 {
		pod, job := &corev1.Pod{}, &batchv1.Job{}
		fill.Fill(pod)
		fill.Fill(job)
		ours := map[string]string{v1alpha1.AnnotationGrant: "grant", v1alpha1.AnnotationSecret: "secret", "example.com/other": "x"}
		job.Spec.Template.Annotations, pod.Annotations = ours, ours
		pod.Finalizers = append(pod.Finalizers, v1alpha1.FinalizerSeen)
		step := "absent"
		if len(pod.Status.ContainerStatuses) > 0 {
			step = pod.Status.ContainerStatuses[0].Name
		}
		whole := podFacts(pod, lifecycle.PodFacts{}, step)
		told[whole.Ended]++
		if diff := cmp.Diff(whole, podFacts(slim(pod).(*corev1.Pod), lifecycle.PodFacts{}, step)); diff != "" {
			t.Fatalf("of a Pod: %s", diff)
		}
		if diff := cmp.Diff(jobFacts(job), jobFacts(slim(job).(*batchv1.Job))); diff != "" {
			t.Fatalf("of a Job: %s", diff)
		}
	}
	if told[true] < 100 || told[false] < 100 {
		t.Errorf("%d Pods had ended and %d had not: they do not tell", told[true], told[false])
	}
}

// TestSlim_LeavesLittle: what an agent puts into an object does not fill the operator's memory.
func TestSlim_LeavesLittle(t *testing.T) {
	long := string(make([]byte, 100_000))
	meta := metav1.ObjectMeta{Namespace: namespace, Name: "x", Annotations: map[string]string{"example.com/a": long}, Labels: map[string]string{"example.com/a": long},
		ManagedFields: []metav1.ManagedFieldsEntry{{Manager: long}}}
	job, pod := &batchv1.Job{ObjectMeta: meta}, &corev1.Pod{ObjectMeta: meta}
	container := corev1.Container{Name: "c", Args: make([]string, 600_000), Env: []corev1.EnvVar{{Name: "A", Value: long}}}
	pod.Spec.Containers, pod.Status.Message = []corev1.Container{container}, long
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "c", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Message: long}}}}
	job.Spec.Template = corev1.PodTemplateSpec{ObjectMeta: meta, Spec: pod.Spec}
	for name, o := range map[string]interface {
		runtime.Object
		Size() int
	}{"a Job": job, "a Pod": pod} {
		left, err := observe.Slim(o.DeepCopyObject())
		if err != nil {
			t.Fatal(err)
		}
		if size := left.(interface{ Size() int }).Size(); size > 1000 {
			t.Errorf("%s of %d bytes leaves %d", name, o.Size(), size)
		}
	}
	if _, err := observe.Slim(&corev1.Secret{}); err == nil {
		t.Error("a Secret is cached")
	}
}
