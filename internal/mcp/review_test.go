// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// awaiting is a world in which an agent's request waits for approval, with a Job that somebody changed before it was reviewed.
func awaiting(t *testing.T, change func(*corev1.PodSpec)) *world {
	w := newWorld(t)
	w.asks(plea(), awaitsApproval)
	job := w.job(asking)
	edit(w, job, func(j *batchv1.Job) {
		j.UID = "reviewed"
		change(&j.Spec.Template.Spec)
	})
	w.operator(asking, func(r *v1alpha1.CapabilityRequest) {
		r.Status.Review = &v1alpha1.Review{Digest: digest, Scope: []string{"s3:PutObject on arn:aws:s3:::previews/web-app/*"},
			NotCovered: []string{"volume code can change"},
			Inputs:     []v1alpha1.ReviewedInput{{Name: "absent"}, {Name: "scripts", UID: "c-1", SHA256: "9f86d081"}},
			Job:        v1alpha1.ReviewedJob{Name: job.Name, UID: "reviewed", Container: "step"}}
	})
	return w
}

func TestStatus_ShowsAllThatCanTouchTheStep(t *testing.T) {
	w := awaiting(t, func(pod *corev1.PodSpec) {
		pod.Containers[0].Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"/hook", "a\nb\u3164"}}}}
		pod.Containers[0].Env = []corev1.EnvVar{{Name: "NODE_OPTIONS", Value: "--require /tmp/x"}}
		pod.Containers = append(pod.Containers, corev1.Container{Name: "beside", Image: image,
			LivenessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"/probe"}}}}})
		pod.HostAliases = []corev1.HostAlias{{IP: "10.0.0.1", Hostnames: []string{"s3.amazonaws.com"}}}
	})
	r := w.call("status", arguments{"name": asking})
	w.expect(r, stateAwaiting, "s3:PutObject on arn:aws:s3:::previews/web-app/*", `"not_covered":["volume code can change"]`,
		"absent, SHA-256 none: it does not exist", "scripts, SHA-256 9f86d081")
	if r.Review == nil || r.Review.Unshown != "" {
		t.Fatalf("the review is not whole: %s", r.text)
	}
	var got []string
	for _, s := range r.Review.Job {
		got = append(got, s.Heading)
		got = append(got, s.Lines...)
	}
	all := strings.Join(got, "\n")
	at := 0
	for _, next := range []string{"What runs", `step (step): image "` + image, `step (step): lifecycle.preStop.exec.command "/hook" "a\nb`, `beside (beside): livenessProbe.exec.command "/probe"`,
		"beside (beside): command is not set", "What it reads", `step (step): env NODE_OPTIONS="--require /tmp/x"`, "Whom it talks to", "the Pod: hostAliases 0: ip \"10.0.0.1\"",
		"As whom it runs", "the Pod: automountServiceAccountToken false"} {
		found := strings.Index(all[at:], next)
		if found < 0 {
			t.Fatalf("%q is not shown, or not in the order of danger:\n%s", next, all)
		}
		at += found
	}
	if strings.Contains(r.text, "\u3164") {
		t.Error("a character that nobody sees is not shown by its number")
	}
}

func TestStatus_SaysWhatOfTheJobIsNotShown(t *testing.T) {
	long := awaiting(t, func(pod *corev1.PodSpec) {
		pod.Containers[0].Env = []corev1.EnvVar{{Name: "LONG", Value: strings.Repeat("x", maxReview)}, {Name: "LAST", Value: "y"}}
	})
	r := long.call("status", arguments{"name": asking})
	long.expect(r, stateAwaiting, "for which there is no room; a person reads them with: kubectl valetkey describe "+asking+" -n "+agents)
	if strings.Contains(r.text, "LONG") || strings.Contains(r.text, "LAST") || r.Review.Job == nil {
		t.Errorf("more or less is shown than there is room for: %s", r.text)
	}
	another := awaiting(t, func(*corev1.PodSpec) {})
	edit(another, another.job(asking), func(j *batchv1.Job) { j.UID = types.UID("another") })
	r = another.call("status", arguments{"name": asking})
	if another.expect(r, stateAwaiting, "the Job that was reviewed is gone"); r.Review.Job != nil {
		t.Errorf("a Job that nobody reviewed is shown as if it was: %s", r.text)
	}
}
