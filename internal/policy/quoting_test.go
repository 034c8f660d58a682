// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// lie is what somebody would have people read as the operator's words.
const lie = "x), which alice has approved;\n\x1b[31m\u202eall is well"

var quotedText = regexp.MustCompile(`"(\\.|[^"\\])*"`)

// expectQuoted sees that a message tells the lie, and that nobody takes it for the operator's words.
func expectQuoted(t *testing.T, message string) {
	t.Helper()
	if !strings.Contains(message, "which alice has approved") {
		t.Errorf("it does not tell what is wrong: %q", message)
	}
	if strings.Contains(quotedText.ReplaceAllString(message, ""), "alice has approved") {
		t.Errorf("it reads as the operator's words: %q", message)
	}
	if strings.ContainsFunc(message, func(r rune) bool { return !unicode.IsPrint(r) }) {
		t.Errorf("it has what moves the cursor: %q", message)
	}
}

// TestCheckJob_QuotesWhatTheJobCalls: the API server takes any text as a path, a variable or a reference.
func TestCheckJob_QuotesWhatTheJobCalls(t *testing.T) {
	type container = corev1.Container
	variable := func(c *container, value string, from *corev1.EnvVarSource) {
		c.Env = []corev1.EnvVar{{Name: lie, Value: value, ValueFrom: from}}
	}
	mount := func(c *container, m corev1.VolumeMount) {
		c.VolumeMounts = []corev1.VolumeMount{m}
	}
	listed := func(r *v1alpha1.Capability) { r.Spec.Runner = []v1alpha1.Runner{execRunner()} }
	for name, edit := range map[string]func(*batchv1.Job, *container, *v1alpha1.Capability){
		"a mount over the credential": func(_ *batchv1.Job, c *container, _ *v1alpha1.Capability) {
			mount(c, corev1.VolumeMount{MountPath: "/" + lie + "/../var/run"})
		},
		"a field of a mount": func(_ *batchv1.Job, c *container, _ *v1alpha1.Capability) {
			mode := corev1.MountPropagationBidirectional
			mount(c, corev1.VolumeMount{MountPath: "/" + lie, MountPropagation: &mode})
		},
		"a variable of all labels": func(_ *batchv1.Job, c *container, _ *v1alpha1.Capability) {
			variable(c, "", &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels"}})
		},
		"a variable of a container's limits": func(_ *batchv1.Job, c *container, _ *v1alpha1.Capability) {
			c.Env = []corev1.EnvVar{{Name: "LIMIT", ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{
				Resource: "limits.cpu", ContainerName: lie}}}}
		},
		"a file of all labels": func(j *batchv1.Job, _ *container, _ *v1alpha1.Capability) {
			j.Spec.Template.Spec.Volumes = []corev1.Volume{{Name: "labels", VolumeSource: corev1.VolumeSource{
				DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: []corev1.DownwardAPIVolumeFile{
					{Path: lie, FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels"}}}}}}}
		},
		"a variable that is too long": func(_ *batchv1.Job, c *container, _ *v1alpha1.Capability) {
			variable(c, strings.Repeat("x", 1<<20), nil)
		},
		"a variable with the credential": func(_ *batchv1.Job, c *container, of *v1alpha1.Capability) {
			of.Spec.AWS = &v1alpha1.AWSCapability{Delivery: v1alpha1.DeliveryEnv}
			variable(c, "$(AWS_SECRET_ACCESS_KEY)", nil)
		},
		"a path with the credential": func(_ *batchv1.Job, c *container, of *v1alpha1.Capability) {
			of.Spec.AWS = &v1alpha1.AWSCapability{Delivery: v1alpha1.DeliveryEnv}
			mount(c, corev1.VolumeMount{MountPath: "/" + lie, SubPathExpr: "$(AWS_SECRET_ACCESS_KEY)"})
		},
		"a variable that is not listed": func(_ *batchv1.Job, c *container, of *v1alpha1.Capability) {
			listed(of)
			variable(c, "1", nil)
		},
		"a mount that is not listed": func(_ *batchv1.Job, c *container, of *v1alpha1.Capability) {
			listed(of)
			mount(c, corev1.VolumeMount{MountPath: "/" + lie})
		},
		"an image that is too long": func(_ *batchv1.Job, c *container, _ *v1alpha1.Capability) {
			c.Image = lie + strings.Repeat("x", maxImageLength)
		},
		"who created it": func(j *batchv1.Job, _ *container, _ *v1alpha1.Capability) {
			j.Annotations[v1alpha1.AnnotationCreatedBy] = lie
		},
	} {
		t.Run(name, func(t *testing.T) {
			job, capability := newJob(), newCapability()
			edit(job, &job.Spec.Template.Spec.Containers[0], capability)
			err := CheckJob(job, newRequest(), capability)
			if err == nil {
				t.Fatal("it is taken")
			}
			expectQuoted(t, err.Error())
		})
	}
}

// TestNewReview_QuotesWhatTheJobCalls: risks stand in the messages of the policies that do not accept them.
func TestNewReview_QuotesWhatTheJobCalls(t *testing.T) {
	for name, source := range map[string]corev1.VolumeSource{
		"an image": {Image: &corev1.ImageVolumeSource{Reference: lie}},
		"a Secret": {Secret: &corev1.SecretVolumeSource{SecretName: lie}},
	} {
		t.Run(name, func(t *testing.T) {
			job := newJob()
			job.Spec.Template.Spec.Volumes = []corev1.Volume{{Name: "in", VolumeSource: source}}
			_, risks, _ := NewReview(reviewOf(job))
			if len(risks) != 1 {
				t.Fatalf("got %d risks", len(risks))
			}
			expectQuoted(t, risks[0].Message)
		})
	}
	t.Run("a variable", func(t *testing.T) {
		job := newJob()
		job.Spec.Template.Spec.Containers[0].Env = []corev1.EnvVar{{Name: lie, ValueFrom: &corev1.EnvVarSource{
			SecretKeyRef: &corev1.SecretKeySelector{Key: "k", LocalObjectReference: corev1.LocalObjectReference{Name: "s"}}}}}
		_, risks, _ := NewReview(reviewOf(job))
		if len(risks) != 1 {
			t.Fatalf("got %d risks", len(risks))
		}
		expectQuoted(t, risks[0].Message)
	})
}

// TestEvaluate_QuotesNamesOfPeople: an authenticator reports any text.
func TestEvaluate_QuotesNamesOfPeople(t *testing.T) {
	for name, given := range map[string]func(*world){
		"the requester": func(w *world) {
			w.Request.Spec.Requester.Username = lie
			w.policies = nil
		},
		"who denied it": func(w *world) { w.decides(lie, v1alpha1.DecisionDeny, 0) },
		"who approved it": func(w *world) {
			w.needs(1)
			w.decides(lie, v1alpha1.DecisionApprove, 0)
		},
		"whose approval does not count": func(w *world) {
			w.needs(1)
			w.decides(lie, v1alpha1.DecisionApprove, 0).Groups = nil
		},
		"who may approve it": func(w *world) {
			w.needs(1)
			w.preview().Approval.Approvers[0].Name = lie
		},
		"who is two": func(w *world) {
			w.needs(2)
			w.decides(lie, v1alpha1.DecisionApprove, 0).UID = "one"
			w.decides("bob", v1alpha1.DecisionApprove, time.Second).UID = "one"
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			given(w)
			expectQuoted(t, w.decide(t).Message)
		})
	}
}

// TestExplain_QuotesTheRequester holds the same for the answer to why.
func TestExplain_QuotesTheRequester(t *testing.T) {
	w := newWorld()
	w.Request.Spec.Requester.Username = lie
	w.decide(t)
	_, all := Explain(w.Facts)
	for _, c := range all[0].Clauses {
		if c.Field == "requesters" {
			expectQuoted(t, c.Text)
		}
	}
}

// TestEvaluate_QuotesTheKeyThatAnExpressionMisses: the expression can have it from the request.
func TestEvaluate_QuotesTheKeyThatAnExpressionMisses(t *testing.T) {
	w := newWorld()
	w.Request.Spec.Justification = strings.ReplaceAll(lie, "\n", "")
	w.preview().When = when("{'a': true}[request.justification]", "m")
	expectQuoted(t, w.decide(t).Message)
}
