// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/visible"
)

// runnerMismatch says in which fields a container differs from the runner that is most like it; nothing if it is one of them, or
// if the capability lists none.
func runnerMismatch(container *corev1.Container, job *batchv1.Job, c *v1alpha1.Capability) findings {
	var nearest findings
	at := -1
	for i := range c.Spec.Runner {
		differs := runnerDifferences(container, job, &c.Spec.Runner[i])
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

func runnerDifferences(container *corev1.Container, job *batchv1.Job, r *v1alpha1.Runner) findings {
	return slices.Concat(program(container, r), environmentDifferences(container, r),
		mountDifferences(container, &job.Spec.Template.Spec, r), additions(&job.Spec, container.Name))
}

func program(c *corev1.Container, r *v1alpha1.Runner) findings {
	var f findings
	f.add(!isImage(c.Image, r.Image), "image is %s, not %s", visible.Name(c.Image), r.Image)
	f.add(len(c.Command) == 0 || !slices.Equal(c.Command, r.Command), "command is %s, not %s", words(c.Command), words(r.Command))
	f.add(!r.AnyArgs && !slices.Equal(c.Args, r.Args), "args are %s, not %s", words(c.Args), words(r.Args))
	f.add(c.WorkingDir != r.WorkingDir, "workingDir is %q, not %q", Clip(c.WorkingDir, 128), r.WorkingDir)
	return f
}

func words(all []string) string { return Clip(fmt.Sprintf("%q", all), 160) }

func environmentDifferences(c *corev1.Container, r *v1alpha1.Runner) findings {
	var f findings
	for _, v := range c.Env {
		listed := slices.Contains(r.Env, v1alpha1.RunnerVariable{Name: v.Name, Value: v.Value})
		f.add(v.ValueFrom != nil || !listed, "env %s is not listed with this value", visible.Name(v.Name))
	}
	return f
}

func mountDifferences(c *corev1.Container, pod *corev1.PodSpec, r *v1alpha1.Runner) findings {
	var f findings
	for _, m := range c.VolumeMounts {
		at := visible.Name(m.MountPath)
		listed := slices.Contains(r.Mounts, v1alpha1.RunnerMount{MountPath: m.MountPath, Source: mountSource(pod, m.Name)})
		f.add(!listed, "the mount at %s is not listed with this source", at)
		f.add(m.SubPath != "" || m.SubPathExpr != "", "the mount at %s has a subPath", at)
		f.add(m.MountPropagation != nil && *m.MountPropagation != corev1.MountPropagationNone, "the mount at %s propagates", at)
		f.add(len(m.BindMountOptions) > 0, "the mount at %s has bindMountOptions", at)
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

// additions are the fields of the step and of its Pod that a runner cannot list: each could run something else, change what the step
// reads or whom it talks to. What [CheckJob] refuses of any Job is left to it.
func additions(spec *batchv1.JobSpec, step string) findings {
	var f findings
	walk(spec, func(s Setting) bool {
		switch {
		case s.Container != "" && s.Container != step, s.Field.Class == Refused, s.Field.Runner == Listed:
			return false
		case s.Field.Runner == AnyStep, s.isDefault(), s.isHarmlessNote(), s.isPlainShare():
			return true
		}
		f.add(true, "%s is set", s.shown())
		return false
	})
	return f
}

// empty is the default of a pointer to a struct none of whose fields is set.
const empty = "{}"

// isDefault reports whether a field has just what the API server writes where it is left out.
func (s Setting) isDefault() bool {
	if s.Field.Default == empty {
		return s.Value.Elem().IsZero()
	}
	return s.Field.Default != "" && slices.Equal(texts(s.Value), []string{s.Field.Default})
}

// isPlainShare reports whether a field is a list of resources without any device.
func (s Setting) isPlainShare() bool {
	list, ok := s.Value.Interface().(corev1.ResourceList)
	return ok && s.Field.Type == "ResourceRequirements" && len(devices(list)) == 0
}

// isHarmlessNote reports whether all annotations of a template are known to be read by nothing that runs the step, or are the
// operator's own.
func (s Setting) isHarmlessNote() bool {
	if s.Field.Type != "ObjectMeta" || s.Field.Name != "annotations" {
		return false
	}
	for _, key := range s.Value.MapKeys() {
		if !isOurs(key.String()) && !slices.Contains([]string{
			"kubectl.kubernetes.io/default-container", "kubectl.kubernetes.io/default-logs-container",
			"cluster-autoscaler.kubernetes.io/safe-to-evict", "karpenter.sh/do-not-disrupt",
			"prometheus.io/scrape", "prometheus.io/port", "prometheus.io/path", "prometheus.io/scheme",
		}, key.String()) {
			return false
		}
	}
	return true
}
