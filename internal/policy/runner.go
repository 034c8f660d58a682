// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// runnerMismatch says in which fields a container differs from the runner that is most like it; nothing if it is one of them, or
// if the capability lists none.
func runnerMismatch(container *corev1.Container, pod *corev1.PodSpec, c *v1alpha1.Capability) findings {
	var nearest findings
	at := -1
	for i := range c.Spec.Runner {
		differs := runnerDifferences(container, pod, &c.Spec.Runner[i])
		if len(differs) == 0 {
			return nil
		}
		if at < 0 || len(differs) < len(nearest) {
			at, nearest = i, differs
		}
	}
	if at < 0 {
		return nil
	}
	return findings{fmt.Sprintf("container %s is not one that capability %s lists; it differs from runner[%d]: %s",
		container.Name, c.Name, at, strings.Join(nearest, ", "))}
}

func runnerDifferences(container *corev1.Container, pod *corev1.PodSpec, r *v1alpha1.Runner) findings {
	return slices.Concat(program(container, r), environmentDifferences(container, r), mountDifferences(container, pod, r),
		additions(container), podAdditions(pod))
}

func program(c *corev1.Container, r *v1alpha1.Runner) findings {
	var f findings
	f.add(!isImage(c.Image, r.Image), "image is %s, not %s", Clip(c.Image, 128), r.Image)
	f.add(len(c.Command) == 0 || !slices.Equal(c.Command, r.Command), "command is %s, not %s", words(c.Command), words(r.Command))
	f.add(!r.AnyArgs && !slices.Equal(c.Args, r.Args), "args are %s, not %s", words(c.Args), words(r.Args))
	f.add(c.WorkingDir != r.WorkingDir, "workingDir is %q, not %q", Clip(c.WorkingDir, 128), r.WorkingDir)
	return f
}

func words(all []string) string { return Clip(fmt.Sprintf("%q", all), 160) }

func environmentDifferences(c *corev1.Container, r *v1alpha1.Runner) findings {
	var f findings
	f.add(len(c.EnvFrom) > 0, "envFrom is set")
	for _, v := range c.Env {
		listed := slices.Contains(r.Env, v1alpha1.RunnerVariable{Name: v.Name, Value: v.Value})
		f.add(v.ValueFrom != nil || !listed, "env %s is not listed with this value", v.Name)
	}
	return f
}

func mountDifferences(c *corev1.Container, pod *corev1.PodSpec, r *v1alpha1.Runner) findings {
	var f findings
	f.add(len(c.VolumeDevices) > 0, "volumeDevices are set")
	for _, m := range c.VolumeMounts {
		listed := slices.Contains(r.Mounts, v1alpha1.RunnerMount{MountPath: m.MountPath, Source: mountSource(pod, m.Name)})
		f.add(!listed, "the mount at %s is not listed with this source", m.MountPath)
		f.add(m.SubPath != "" || m.SubPathExpr != "", "the mount at %s has a subPath", m.MountPath)
		f.add(m.MountPropagation != nil && *m.MountPropagation != corev1.MountPropagationNone, "the mount at %s propagates", m.MountPath)
		f.add(len(m.BindMountOptions) > 0, "the mount at %s has bindMountOptions", m.MountPath)
	}
	return f
}

// mountSource is the kind of volume, if it is one that a runner can list.
func mountSource(pod *corev1.PodSpec, volume string) v1alpha1.MountSource {
	for _, v := range pod.Volumes {
		if v.Name != volume {
			continue
		}
		switch v.VolumeSource {
		case corev1.VolumeSource{EmptyDir: v.EmptyDir}:
			return v1alpha1.MountEmptyDir
		case corev1.VolumeSource{ConfigMap: v.ConfigMap}:
			return v1alpha1.MountConfigMap
		case corev1.VolumeSource{Image: v.Image}:
			return v1alpha1.MountImage
		}
	}
	return ""
}

// additions are what no runner can list: each could run something else in the container, or carry something out of it. No
// container of the Pod may be privileged anyway.
func additions(c *corev1.Container) findings {
	var f findings
	f.add(c.Lifecycle != nil, "lifecycle is set")
	f.add(c.LivenessProbe != nil || c.ReadinessProbe != nil || c.StartupProbe != nil, "a probe is set")
	f.add(c.Stdin || c.StdinOnce || c.TTY, "stdin or tty is set")
	f.add(len(c.Ports) > 0, "ports are set")
	f.add(c.TerminationMessagePath != "" && c.TerminationMessagePath != corev1.TerminationMessagePathDefault, "terminationMessagePath is set")
	f.add(c.TerminationMessagePolicy != "" && c.TerminationMessagePolicy != corev1.TerminationMessageReadFile, "terminationMessagePolicy is not File")
	if s := c.SecurityContext; s != nil {
		f.add(s.Capabilities != nil && len(s.Capabilities.Add) > 0, "securityContext.capabilities.add is set")
		f.add(s.ProcMount != nil && *s.ProcMount != corev1.DefaultProcMount, "securityContext.procMount is set")
	}
	return f
}

// podAdditions are those of the Pod that change whom the container talks to.
func podAdditions(pod *corev1.PodSpec) findings {
	var f findings
	f.add(len(pod.HostAliases) > 0, "the Pod's hostAliases are set")
	f.add(pod.DNSConfig != nil || pod.DNSPolicy == corev1.DNSNone, "the Pod's dnsConfig is set")
	return f
}
