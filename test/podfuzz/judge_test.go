// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package podfuzz_test

import (
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/valetkey/valetkey/test/podfuzz"
)

const (
	image  = "registry.example.com/publisher@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
	secret = "valetkey-5e9ef6fb-1"
)

func given() podfuzz.Given {
	return podfuzz.Given{
		Container: "publish", Secret: secret, CopyPrefix: "valetkey.dev-grant-", ServiceAccount: "runner", Image: image,
		TTL: 10 * time.Minute, Grace: 5 * time.Second,
	}
}

// granted is a Pod as it has to be.
func granted() *corev1.Pod {
	return &corev1.Pod{Spec: corev1.PodSpec{
		ServiceAccountName: "runner", RestartPolicy: corev1.RestartPolicyNever, EnableServiceLinks: ptr.To(false),
		ActiveDeadlineSeconds: ptr.To[int64](600), TerminationGracePeriodSeconds: ptr.To[int64](5),
		Volumes: []corev1.Volume{
			{Name: "credential", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: secret}}},
			{Name: "scratch", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		},
		Containers: []corev1.Container{
			{
				Name: "publish", Image: image, TerminationMessagePath: corev1.TerminationMessagePathDefault,
				VolumeMounts: []corev1.VolumeMount{{Name: "credential", MountPath: "/var/run/secrets/valetkey.dev", ReadOnly: true}},
			},
			{Name: "beside", Image: image},
		},
	}}
}

func TestJudge_AcceptsAPodAsItHasToBe(t *testing.T) {
	if found := podfuzz.Judge(granted(), given()); len(found) > 0 {
		t.Errorf("it finds %q", found)
	}
}

func TestJudge_FindsEachHole(t *testing.T) {
	mount := func(at string) corev1.VolumeMount { return corev1.VolumeMount{Name: "scratch", MountPath: at} }
	volume := func(source corev1.VolumeSource) func(*corev1.PodSpec) {
		return func(p *corev1.PodSpec) { p.Volumes[1].VolumeSource = source }
	}
	variable := func(container int, source corev1.EnvVarSource) func(*corev1.PodSpec) {
		return func(p *corev1.PodSpec) {
			p.Containers[container].Env = []corev1.EnvVar{{Name: "X", ValueFrom: &source}}
		}
	}
	ofSecret := func(name string) corev1.EnvVarSource {
		ref := corev1.LocalObjectReference{Name: name}
		return corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: ref}}
	}
	settings := corev1.LocalObjectReference{Name: "settings"}
	for name, test := range map[string]struct {
		change func(*corev1.PodSpec)
		words  string
	}{
		"another container mounts the credential": {func(p *corev1.PodSpec) {
			p.Containers[1].VolumeMounts = p.Containers[0].VolumeMounts
		}, "beside mounts the credential"},
		"another container's variable":  {variable(1, ofSecret(secret)), "beside has a variable of Secret"},
		"a variable of another Secret":  {variable(0, ofSecret("ordinary")), "a variable of Secret ordinary"},
		"a second volume of the Secret": {volume(corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: secret}}), "2 volumes"},
		"a mount above the credential": {func(p *corev1.PodSpec) {
			p.Containers[0].VolumeMounts = append(p.Containers[0].VolumeMounts, mount("/var/lib/../run//"))
		}, "mounts scratch at"},
		"last words over the credential": {func(p *corev1.PodSpec) {
			p.Containers[0].TerminationMessagePath = "/var/run/secrets/valetkey.dev/x"
		}, "last words"},
		"a folder of the node": {volume(corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}), "of the node"},
		"a ConfigMap that is no copy": {volume(corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
			LocalObjectReference: settings}}), "reads"},
		"a ConfigMap's variable": {variable(0, corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{
			LocalObjectReference: settings}}), "has a variable of"},
		"a claim": {volume(corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{
			ClaimName: "c"}}), "can change"},
		"processes in common":    {func(p *corev1.PodSpec) { p.ShareProcessNamespace = ptr.To(true) }, "see each other"},
		"the node's network":     {func(p *corev1.PodSpec) { p.HostNetwork = true }, "host namespaces"},
		"another ServiceAccount": {func(p *corev1.PodSpec) { p.ServiceAccountName = "admin" }, "runs as admin"},
		"Services in variables":  {func(p *corev1.PodSpec) { p.EnableServiceLinks = nil }, "Services set variables"},
		"an image by its tag":    {func(p *corev1.PodSpec) { p.Containers[1].Image = "registry.example.com/a:1" }, "can change"},
		"a hook that is waited for": {func(p *corev1.PodSpec) {
			p.Containers[1].Lifecycle = &corev1.Lifecycle{PostStart: &corev1.LifecycleHandler{}}
		}, "a hook"},
		"a probe's own grace": {func(p *corev1.PodSpec) {
			p.Containers[1].LivenessProbe = &corev1.Probe{TerminationGracePeriodSeconds: ptr.To[int64](3600)}
		}, "a grace of its own"},
		"no deadline":     {func(p *corev1.PodSpec) { p.ActiveDeadlineSeconds = nil }, "its deadline"},
		"a long deadline": {func(p *corev1.PodSpec) { p.ActiveDeadlineSeconds = ptr.To[int64](601) }, "its deadline"},
		"a long grace":    {func(p *corev1.PodSpec) { p.TerminationGracePeriodSeconds = ptr.To[int64](30) }, "its grace"},
		"restarts":        {func(p *corev1.PodSpec) { p.RestartPolicy = corev1.RestartPolicyOnFailure }, "it restarts"},
		"an image that comes late": {func(p *corev1.PodSpec) {
			p.Containers[1].ImagePullPolicy = corev1.PullAlways
		}, "can come late"},
	} {
		t.Run(name, func(t *testing.T) {
			pod := granted()
			test.change(&pod.Spec)
			if found := strings.Join(podfuzz.Judge(pod, given()), "; "); !strings.Contains(found, test.words) {
				t.Errorf("it finds %q; want %q", found, test.words)
			}
		})
	}
}

func TestJudgeJob_FindsASecondRun(t *testing.T) {
	once := func() *batchv1.JobSpec {
		return &batchv1.JobSpec{Parallelism: ptr.To[int32](1), Completions: ptr.To[int32](1), BackoffLimit: ptr.To[int32](0)}
	}
	if found := podfuzz.JudgeJob(once()); len(found) > 0 {
		t.Errorf("it finds %q", found)
	}
	for name, change := range map[string]func(*batchv1.JobSpec){
		"two Pods":          func(j *batchv1.JobSpec) { j.Parallelism = ptr.To[int32](2) },
		"another attempt":   func(j *batchv1.JobSpec) { j.BackoffLimit = nil },
		"by index":          func(j *batchv1.JobSpec) { j.CompletionMode = ptr.To(batchv1.IndexedCompletion) },
		"by somebody else":  func(j *batchv1.JobSpec) { j.ManagedBy = ptr.To("example.com/other") },
		"Pods of its own":   func(j *batchv1.JobSpec) { j.ManualSelector = ptr.To(true) },
		"a policy's choice": func(j *batchv1.JobSpec) { j.PodFailurePolicy = &batchv1.PodFailurePolicy{} },
	} {
		t.Run(name, func(t *testing.T) {
			job := once()
			change(job)
			if found := podfuzz.JudgeJob(job); len(found) != 1 {
				t.Errorf("it finds %q", found)
			}
		})
	}
}
