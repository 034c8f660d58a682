// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/google/go-cmp/cmp"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/lifecycle"
)

func TestAPodThatWentBeforeAnybodyLooked(t *testing.T) {
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	ended := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}
	for name, row := range map[string]struct {
		shown  []*corev1.Pod
		before bool
		want   []lifecycle.PodFacts
	}{
		"had ended, as its kubelet reported": {
			shown: []*corev1.Pod{pod("job", corev1.PodRunning, running), pod("job", corev1.PodFailed, ended)},
			want:  []lifecycle.PodFacts{{UID: "pod", Name: "p", Node: "node1", Started: true, Ended: true, Gone: true, Step: lifecycle.StepFacts{Over: true}}},
		},
		"may run on when it was removed by force": {
			shown: []*corev1.Pod{pod("job", corev1.PodRunning, running)},
			want:  []lifecycle.PodFacts{{UID: "pod", Name: "p", Node: "node1", Started: true, Gone: true, Step: lifecycle.StepFacts{Runs: true}}},
		},
		"is none of the grant's when another Job made it": {
			shown: []*corev1.Pod{pod("another", corev1.PodFailed, ended)},
			want:  []lifecycle.PodFacts{},
		},
		"is not known of a grant that was never looked at": {
			shown:  []*corev1.Pod{pod("job", corev1.PodFailed, ended)},
			before: true,
			want:   []lifecycle.PodFacts{},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := &Controller{Client: fake.NewClientBuilder().WithScheme(scheme.Scheme).WithIndex(&corev1.Pod{}, PodRequestField, PodRequest).Build()}
			g := &v1alpha1.CapabilityGrant{ObjectMeta: metav1.ObjectMeta{Namespace: "agents", Name: "g", UID: "grant"}}
			g.Spec.Job.UID, g.Spec.RequestRef.Name = "job", "g"
			if !row.before {
				c.recall(g)
			}
			for _, p := range row.shown {
				c.Saw(p)
			}
			got, err := c.pods(t.Context(), g, c.recall(g))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(row.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func pod(job types.UID, phase corev1.PodPhase, state corev1.ContainerState) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "agents", Name: "p", UID: "pod",
			Annotations:     map[string]string{v1alpha1.AnnotationGrant: "grant"},
			OwnerReferences: []metav1.OwnerReference{{Kind: "Job", UID: job, Controller: ptr.To(true)}}},
		Spec:   corev1.PodSpec{NodeName: "node1"},
		Status: corev1.PodStatus{Phase: phase, ContainerStatuses: []corev1.ContainerStatus{{State: state}}},
	}
}

// TestWhatThisProcessStoredIsNotForgottenForACacheThatLags: it would be done, and recorded, twice.
func TestWhatThisProcessStoredIsNotForgottenForACacheThatLags(t *testing.T) {
	version := func(v string) *v1alpha1.CapabilityGrant {
		return &v1alpha1.CapabilityGrant{ObjectMeta: metav1.ObjectMeta{ResourceVersion: v}}
	}
	mem := &memory{written: version("100")}
	for _, step := range []struct{ cached, want string }{{"99", "100"}, {"9", "100"}, {"100", "100"}, {"99", "99"}} {
		if got := mem.newest(version(step.cached)).ResourceVersion; got != step.want {
			t.Errorf("with %s in the cache the grant is taken to be at %s, not %s", step.cached, got, step.want)
		}
	}
	mem.written = version("100")
	if got := mem.newest(version("101")).ResourceVersion; got != "101" || mem.written != nil {
		t.Errorf("what is newer than this process's own write is taken to be at %s, and the write is remembered: %t", got, mem.written != nil)
	}
}
