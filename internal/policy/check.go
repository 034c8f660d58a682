// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/visible"
)

// leastSecondsKept is how long a Job must stay after its end, in seconds: the grant's end is read from it.
const leastSecondsKept = 600

// operatorPriority is the PriorityClass that the operator brings: what has it makes others leave their nodes.
const operatorPriority = "valetkey"

// fields says which fields of a Job's spec have what [Fields] refuses.
func fields(spec *batchv1.JobSpec) findings {
	var f findings
	walk(spec, func(s Setting) bool {
		switch {
		case s.Field.Class == "":
			f.add(true, "%s is not known to this version of Valetkey; leave it out", s.where())
		case s.Field.Class == Refused && len(s.Field.Values) == 0:
			f.add(true, "%s must not be set: %s", s.where(), s.Field.Why)
		case !s.Value.IsValid() || !s.allowed():
			f.add(true, "%s must be %s: %s", s.where(), alternatives(s.Field.Values), s.Field.Why)
		}
		return true
	})
	return f
}

// allowed reports whether each value of a field is among those that it may have.
func (s Setting) allowed() bool {
	return len(s.Field.Values) == 0 || !slices.ContainsFunc(texts(s.Value), func(text string) bool { return !s.Field.takes(text) })
}

func (f Field) takes(text string) bool {
	return slices.ContainsFunc(f.Values, func(value string) bool {
		prefix, open := strings.CutSuffix(value, "*")
		return value == text || open && strings.HasPrefix(text, prefix)
	})
}

// alternatives lists values for a sentence: a, b or c.
func alternatives(values []string) string {
	if len(values) < 2 {
		return strings.Join(values, "")
	}
	last := len(values) - 1
	return strings.Join(values[:last], ", ") + " or " + values[last]
}

// combinations says what is wrong with fields that are fine by themselves.
func combinations(spec *batchv1.JobSpec) findings {
	pod := &spec.Template.Spec
	var f findings
	if kept := spec.TTLSecondsAfterFinished; kept != nil {
		f.add(*kept < leastSecondsKept, "ttlSecondsAfterFinished must be at least %d: the grant's end is read from the Job", leastSecondsKept)
	}
	f.add(strings.HasPrefix(pod.PriorityClassName, "system-") || pod.PriorityClassName == operatorPriority,
		"priorityClassName must not be %s: Pods that a node or the cluster needs would make room for it; "+
			"use a PriorityClass of your own", pod.PriorityClassName)
	f.add(selectsMore(spec.Selector), "selector must be left out: the API server writes it, and the job-controller must not let go of the Job's Pod for another")
	for _, v := range pod.Volumes {
		f.add(v.Name == v1alpha1.VolumeName, "the volume name %s is reserved", v.Name)
	}
	for _, c := range pod.Containers {
		f.add(c.RestartPolicy != nil && *c.RestartPolicy != corev1.ContainerRestartPolicyNever,
			"container %s: restartPolicy must be Never: one request is one run", c.Name)
	}
	for _, c := range pod.InitContainers {
		f.add(isSidecar(c) && c.ImagePullPolicy == corev1.PullAlways, "container %s: imagePullPolicy must not be Always: "+
			"the kubelet would ask its registry whenever it is restarted, and look at no deadline meanwhile", c.Name)
	}
	return slices.Concat(f, resources(pod), notesRead(&spec.Template))
}

// selectsMore reports whether a Job's selector is another than the API server's, which adds its own to what is there.
func selectsMore(s *metav1.LabelSelector) bool {
	if s == nil {
		return false
	}
	for key := range s.MatchLabels {
		if key != batchv1.ControllerUidLabel && key != legacyControllerUID {
			return true
		}
	}
	return len(s.MatchExpressions) > 0
}

// legacyControllerUID is what API servers before Kubernetes 1.27 wrote alone.
const legacyControllerUID = "controller-uid"

// resources: what a container reads of its resources has to be in the Job. What is not set there is set by a LimitRange of the namespace
// when the Pod is made, or by its node.
func resources(pod *corev1.PodSpec) findings {
	var f findings
	read := func(where, container string, r *corev1.ResourceFieldSelector) {
		if r == nil {
			return
		}
		c := corev1.Container{}
		if found := slices.IndexFunc(containers(pod), func(c corev1.Container) bool { return c.Name == cmp.Or(r.ContainerName, container) }); found >= 0 {
			c = containers(pod)[found]
		}
		kind, name, _ := strings.Cut(r.Resource, ".")
		list := map[string]corev1.ResourceList{"limits": c.Resources.Limits, "requests": c.Resources.Requests}[kind]
		_, set := list[corev1.ResourceName(name)]
		f.add(!set, "%s reads resources.%s of container %s, which the Job does not set: a LimitRange or the node would decide what it reads; set it",
			where, visible.Name(r.Resource), visible.Name(cmp.Or(r.ContainerName, container)))
	}
	eachRead(pod, func(where, container string, _ *corev1.ObjectFieldSelector, r *corev1.ResourceFieldSelector) {
		read(where, container, r)
	})
	return f
}

// notesRead: a label or an annotation that a container reads has to be in the Job, and not one that Kubernetes writes:
// what a LimitRange of the namespace set is an annotation.
func notesRead(template *corev1.PodTemplateSpec) findings {
	var f findings
	eachRead(&template.Spec, func(where, _ string, r *corev1.ObjectFieldSelector, _ *corev1.ResourceFieldSelector) {
		if r == nil {
			return
		}
		path, key, subscripted := strings.Cut(strings.TrimSuffix(r.FieldPath, "']"), "['")
		notes, named := map[string]map[string]string{"metadata.labels": template.Labels, "metadata.annotations": template.Annotations}[path]
		if !named {
			return
		}
		f.add(!subscripted, "%s reads all of %s, which others add to when the Pod is made; name those that it needs, as %s['KEY']", where, path, path)
		_, set := notes[key]
		f.add(subscripted && (!set || kubernetesOwn(key)), "%s reads %s, which the Job does not set, or Kubernetes writes: others would decide what it reads; set one of another name",
			where, r.FieldPath)
	})
	return f
}

// kubernetesOwn reports whether Kubernetes writes labels and annotations of that name, but for those by which the Job
// knows its Pods.
func kubernetesOwn(key string) bool {
	domain, _, prefixed := strings.Cut(key, "/")
	if !prefixed || domain == "batch.kubernetes.io" {
		return false
	}
	return slices.ContainsFunc([]string{"kubernetes.io", "k8s.io"}, func(own string) bool { return domain == own || strings.HasSuffix(domain, "."+own) })
}

// eachRead calls read for whatever says something of the Pod to one of its containers.
func eachRead(pod *corev1.PodSpec, read func(where, container string, field *corev1.ObjectFieldSelector, resource *corev1.ResourceFieldSelector)) {
	for _, c := range containers(pod) {
		for _, e := range c.Env {
			if e.ValueFrom != nil {
				read(fmt.Sprintf("container %s: env[%s]", c.Name, visible.Name(e.Name)), c.Name, e.ValueFrom.FieldRef, e.ValueFrom.ResourceFieldRef)
			}
		}
	}
	for _, v := range pod.Volumes {
		for _, file := range downward(v) {
			read(fmt.Sprintf("volume %s: %s", v.Name, visible.Name(file.Path)), "", file.FieldRef, file.ResourceFieldRef)
		}
	}
}

// downward are the files of a volume that say something of the Pod.
func downward(v corev1.Volume) []corev1.DownwardAPIVolumeFile {
	var files []corev1.DownwardAPIVolumeFile
	if v.DownwardAPI != nil {
		files = append(files, v.DownwardAPI.Items...)
	}
	if v.Projected != nil {
		for _, source := range v.Projected.Sources {
			if source.DownwardAPI != nil {
				files = append(files, source.DownwardAPI.Items...)
			}
		}
	}
	return files
}

// isSidecar reports whether an init container goes on beside the containers of the Pod.
func isSidecar(c corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}
