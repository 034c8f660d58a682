// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package integration

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

func TestARehearsalIsGrantedWithoutApprovalAndNothingRemains(t *testing.T) {
	j := begin(t, "rehearsal")
	j.ask()
	granted := j.awaitDelivered()
	secret := &corev1.Secret{}
	j.must(j.w.admin.Get(t.Context(), client.ObjectKey{Namespace: j.namespace, Name: granted.Status.SecretName}, secret))
	if secret.Type != v1alpha1.SecretType {
		t.Errorf("the Secret is of type %s", secret.Type)
	}
	expectProjected(t, j.awaitRunning(), granted)
	j.finish(corev1.PodSucceeded)
	ended := j.awaitEnd(v1alpha1.OutcomeCompleted, v1alpha1.ReasonJobCompleted)
	if rev := ended.Status.Revocation; rev == nil || rev.Mode != v1alpha1.RevocationAtExpiry || !rev.ExposedUntil.Equal(ended.Status.CredentialExpiresAt) {
		t.Errorf("the revocation is not told honestly: %+v", rev)
	}
	j.awaitRequestEnd(v1alpha1.ReasonGrantEnded, "Completed")
}

// expectProjected: the credential is in the one container, and the Pod ends by itself.
func expectProjected(t *testing.T, pod *corev1.Pod, g *v1alpha1.CapabilityGrant) {
	t.Helper()
	volume := slices.IndexFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == v1alpha1.VolumeName })
	if volume < 0 || pod.Spec.Volumes[volume].Secret == nil || pod.Spec.Volumes[volume].Secret.SecretName != g.Status.SecretName {
		t.Errorf("the Pod's volumes have not Secret %s: %+v", g.Status.SecretName, pod.Spec.Volumes)
	}
	for _, c := range pod.Spec.Containers {
		mounted := slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool {
			return m.Name == v1alpha1.VolumeName && m.MountPath == v1alpha1.MountPath && m.ReadOnly
		})
		told := slices.ContainsFunc(c.Env, func(e corev1.EnvVar) bool { return e.Name == "AWS_SHARED_CREDENTIALS_FILE" })
		if want := c.Name == g.Spec.Job.Container; mounted != want || told != want {
			t.Errorf("container %s: mounted %t, told %t; want %t", c.Name, mounted, told, want)
		}
	}
	if d := pod.Spec.ActiveDeadlineSeconds; d == nil || *d > int64(g.Spec.TTLSeconds) || *d < int64(g.Spec.TTLSeconds)-60 {
		t.Errorf("the Pod's deadline is %v; want just below %d s", d, g.Spec.TTLSeconds)
	}
	if grace := pod.Spec.TerminationGracePeriodSeconds; grace == nil || *grace != v1alpha1.PodGraceSeconds {
		t.Errorf("the Pod's grace is %v", grace)
	}
}
