// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package step makes the Job of a request: one container that runs once, behind valetkey-exec where the capability demands it.
package step

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/policy"
)

const (
	// execVolume is the name of the volume with valetkey-exec.
	execVolume = "valetkey-exec"
	// keptSeconds is how long a Job that is over is kept, for its log.
	keptSeconds = 24 * 60 * 60
)

// Step is what is to be run.
type Step struct {
	// Image of the container, by digest unless a policy accepts another.
	Image string
	// Command and Args of the container. An empty Command is the image's own, which cannot be run behind valetkey-exec.
	Command, Args []string
	// WorkingDir, Env and Mounts of it; a mount is of an empty folder.
	WorkingDir string
	Env        []corev1.EnvVar
	Mounts     []string
	// ServiceAccount that the Pod runs as; empty for the namespace's default. Its token is not mounted.
	ServiceAccount string
	// Restricted: the namespace takes only Pods of the Pod Security level restricted.
	Restricted bool
}

// NamePart makes a part of a request's name of a text: of at most so many bytes, which begins and ends with a letter or
// a digit.
func NamePart(text string, most int) string {
	part := strings.Trim(notInNames.ReplaceAllString(strings.ToLower(text), "-"), "-")
	return strings.TrimRight(part[:min(len(part), most)], "-")
}

// notInNames matches what a name of a request cannot have.
var notInNames = regexp.MustCompile(`[^a-z0-9]+`)

// Of is one of the steps that a capability lists, with arguments where it takes any. What it may mount of ConfigMaps is left out: it does
// not name them.
func Of(r *v1alpha1.Runner, args []string) Step {
	s := Step{Image: r.Image, Command: r.Command, Args: r.Args, WorkingDir: r.WorkingDir}
	if r.AnyArgs {
		s.Args = args
	}
	for _, v := range r.Env {
		s.Env = append(s.Env, corev1.EnvVar{Name: v.Name, Value: v.Value})
	}
	for _, m := range r.Mounts {
		if m.Source == v1alpha1.MountEmptyDir {
			s.Mounts = append(s.Mounts, m.MountPath)
		}
	}
	return s
}

// Job of a request. The capability is nil where it is not known: then it is not known either whether it demands valetkey-exec.
func (s Step) Job(r *v1alpha1.CapabilityRequest, c *v1alpha1.Capability) *batchv1.Job {
	labels := map[string]string{v1alpha1.LabelRequest: r.Name}
	container := corev1.Container{Name: r.Spec.Container, Image: s.Image, Command: s.Command, Args: s.Args, WorkingDir: s.WorkingDir, Env: s.Env, SecurityContext: s.security()}
	pod := corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, ServiceAccountName: s.ServiceAccount,
		// The step works with what it is granted, not with its account's own token.
		AutomountServiceAccountToken: ptr.To(false)}
	for i, path := range s.Mounts {
		name := fmt.Sprintf("empty-%d", i)
		pod.Volumes = append(pod.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
		container.VolumeMounts = append(container.VolumeMounts, corev1.VolumeMount{Name: name, MountPath: path})
	}
	if c != nil && c.Spec.Exec != nil && len(c.Spec.Exec.Images) > 0 {
		container.Command = append([]string{policy.ExecMount + "/valetkey-exec", "--"}, s.Command...)
		container.VolumeMounts = append(container.VolumeMounts, corev1.VolumeMount{Name: execVolume, MountPath: policy.ExecMount, ReadOnly: true})
		pod.Volumes = append(pod.Volumes, corev1.Volume{Name: execVolume, VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: c.Spec.Exec.Images[0]}}})
	}
	pod.Containers = []corev1.Container{container}
	job := &batchv1.Job{Spec: batchv1.JobSpec{BackoffLimit: ptr.To[int32](0), TTLSecondsAfterFinished: ptr.To[int32](keptSeconds),
		Template: corev1.PodTemplateSpec{Spec: pod}}}
	job.Namespace, job.Name, job.Labels, job.Spec.Template.Labels = r.Namespace, policy.JobName(r), labels, labels
	return job
}

// Restricted reports whether a namespace takes only Pods of the Pod Security level restricted. Whoever may not read that works where
// the level is baseline.
func Restricted(ctx context.Context, c client.Reader, name string) (bool, error) {
	namespace := &corev1.Namespace{}
	if err := c.Get(ctx, client.ObjectKey{Name: name}, namespace); apierrors.IsForbidden(err) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("reading namespace %s: %w", name, err)
	}
	return namespace.Labels["pod-security.kubernetes.io/enforce"] == "restricted", nil
}

func (s Step) security() *corev1.SecurityContext {
	c := &corev1.SecurityContext{AllowPrivilegeEscalation: ptr.To(false)}
	if s.Restricted {
		c.RunAsNonRoot = ptr.To(true)
		c.Capabilities = &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}
		c.SeccompProfile = &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}
	}
	return c
}
