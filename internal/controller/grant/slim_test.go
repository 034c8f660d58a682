// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"fmt"
	goruntime "runtime"
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
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

// TestSlim_LeavesLittle: what somebody puts into an object does not fill the operator's memory. What is let go of holds
// none of it: a list that became shorter, and a map that things were taken out of, keep the room that they had.
func TestSlim_LeavesLittle(t *testing.T) {
	for name, object := range map[string]func() runtime.Object{
		"long notes": func() runtime.Object {
			long := string(make([]byte, 1_000_000))
			return &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{"example.com/a": long}, Labels: map[string]string{"example.com/a": long},
				ManagedFields: []metav1.ManagedFieldsEntry{{Manager: long}}}}
		},
		"very many notes":  func() runtime.Object { return &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Annotations: notes(100_000)}} },
		"very many labels": func() runtime.Object { return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: notes(100_000)}} },
		"notes of a template": func() runtime.Object {
			return jobOf(corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Annotations: notes(100_000)}})
		},
		"notes of a grant": func() runtime.Object {
			return &v1alpha1.CapabilityGrant{ObjectMeta: metav1.ObjectMeta{Annotations: notes(100_000)}}
		},
		"the command that was reviewed": func() runtime.Object { return reviewed(keys(3000)) },
		"finalizers": func() runtime.Object {
			return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Finalizers: make([]string, 300_000)}}
		},
		"owners": func() runtime.Object {
			return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{OwnerReferences: make([]metav1.OwnerReference, 20_000)}}
		},
		"arguments": func() runtime.Object {
			return jobOf(corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Args: make([]string, 600_000)}}}})
		},
		"containers": func() runtime.Object {
			return &corev1.Pod{Spec: corev1.PodSpec{Containers: make([]corev1.Container, 5_000)}}
		},
		"what a container said": func() runtime.Object { return saying(string(make([]byte, 1_000_000))) },
		"a role of one word": func() runtime.Object {
			return &rbacv1.Role{Rules: []rbacv1.PolicyRule{{ResourceNames: make([]string, 600_000)}}}
		},
		"a role of many words":     func() runtime.Object { return &rbacv1.ClusterRole{Rules: []rbacv1.PolicyRule{{Verbs: keys(100_000)}}} },
		"a binding of many":        func() runtime.Object { return &rbacv1.RoleBinding{Subjects: make([]rbacv1.Subject, 50_000)} },
		"a binding of many to all": func() runtime.Object { return &rbacv1.ClusterRoleBinding{Subjects: make([]rbacv1.Subject, 50_000)} },
		"notes of a role":          func() runtime.Object { return &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Annotations: notes(100_000)}} },
		"a namespace's annotations": func() runtime.Object {
			return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Annotations: notes(100_000)}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			const many, most = 8, 8 << 10
			kept := make([]any, many)
			before := inUse()
			for i := range kept {
				var err error
				if kept[i], err = observe.Slim(object()); err != nil {
					t.Fatal(err)
				}
			}
			if each := (inUse() - before) / many; each > most {
				t.Errorf("each leaves %d bytes", each)
			}
			goruntime.KeepAlive(kept)
		})
	}
}

// inUse is how much memory is used, in bytes.
func inUse() int64 {
	goruntime.GC()
	var m goruntime.MemStats
	goruntime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func notes(n int) map[string]string {
	all := map[string]string{}
	for _, key := range keys(n) {
		all[key] = ""
	}
	return all
}

func keys(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprint("example.com/", i)
	}
	return all
}

func jobOf(template corev1.PodTemplateSpec) *batchv1.Job {
	return &batchv1.Job{Spec: batchv1.JobSpec{Template: template}}
}

// saying is a Pod that everybody has said something about.
func saying(words string) *corev1.Pod {
	pod := &corev1.Pod{Status: corev1.PodStatus{Message: words, Reason: words}}
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Message: words, Reason: words}}
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Message: words}}}}
	return pod
}

// reviewed is a request for a step with such a command.
func reviewed(command []string) *v1alpha1.CapabilityRequest {
	r := &v1alpha1.CapabilityRequest{}
	r.Status.Review = &v1alpha1.Review{Digest: "d", Job: v1alpha1.ReviewedJob{Command: command, Args: command}, NotCovered: command}
	return r
}
