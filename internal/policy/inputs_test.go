// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestCheckJob_WhatIsReadIsNamedByAName: people read it among the operator's words, and the API server takes any text.
func TestCheckJob_WhatIsReadIsNamedByAName(t *testing.T) {
	const text = "tls, which was looked at and cannot change"
	volume := func(source corev1.VolumeSource) func(*corev1.PodSpec) {
		return func(pod *corev1.PodSpec) {
			pod.Volumes = append(pod.Volumes, corev1.Volume{Name: "v", VolumeSource: source})
		}
	}
	variable := func(source corev1.EnvVarSource) func(*corev1.PodSpec) {
		return func(pod *corev1.PodSpec) {
			pod.Containers[0].Env = append(pod.Containers[0].Env, corev1.EnvVar{Name: "V", ValueFrom: &source})
		}
	}
	ref := corev1.LocalObjectReference{Name: text}
	for name, change := range map[string]func(*corev1.PodSpec){
		"a Secret's volume":    volume(corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: text}}),
		"a projected Secret":   volume(corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{Secret: &corev1.SecretProjection{LocalObjectReference: ref}}}}}),
		"a claim":              volume(corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: text}}),
		"a ConfigMap's volume": volume(corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: ref}}),
		"a Secret's key":       variable(corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: ref, Key: "k"}}),
		"all of a Secret": func(pod *corev1.PodSpec) {
			pod.Containers[0].EnvFrom = []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: ref}}}
		},
		"a Secret for images": func(pod *corev1.PodSpec) { pod.ImagePullSecrets = []corev1.LocalObjectReference{ref} },
	} {
		w := newWorld()
		change(&w.Job.Spec.Template.Spec)
		if d := w.decide(t); d.Reason != "JobRefused" || !strings.Contains(d.Message, "can have that name") {
			t.Errorf("%s: %s: %s", name, d.Reason, d.Message)
		}
	}
}
