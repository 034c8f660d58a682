// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/visible"
)

// What fits the fields of status.review: a Job that cannot be shown whole cannot be approved.
const (
	maxImages      = 64
	maxWords       = 256
	maxImageLength = 1024
	maxProgramSize = 64 << 10
)

// findings collects all that is wrong, so that whoever is refused can mend it in one go.
type findings []string

func (f *findings) add(wrong bool, format string, args ...any) {
	if wrong {
		*f = append(*f, fmt.Sprintf(format, args...))
	}
}

func (f findings) err() error {
	if len(f) == 0 {
		return nil
	}
	return errors.New(strings.Join(f, "; "))
}

// CheckJob says why a Job may not hold the request's credential: it is not the request's, it is not held any more, it sets a field that
// [Fields] refuses, or its container is not one that the capability takes. It relies on no admission rule. The error lists all
// that is wrong and is nil if nothing is.
func CheckJob(job *batchv1.Job, r *v1alpha1.CapabilityRequest, c *v1alpha1.Capability) error {
	return slices.Concat(showable(job), tooLarge(job), unfit(job, r, c)).err()
}

// unfit is what [CheckJob] says of a Job that is not too large, as [Evaluate] found before it looked at a policy.
func unfit(job *batchv1.Job, r *v1alpha1.CapabilityRequest, c *v1alpha1.Capability) findings {
	return slices.Concat(ownership(job, r), held(job), fields(&job.Spec), combinations(&job.Spec), step(job, r, c), leaks(job, r, c))
}

// unfitStep is what must still hold of a Job that was started with the credential. Its spec is the one that was reviewed: its digest is
// looked at.
func unfitStep(job *batchv1.Job, r *v1alpha1.CapabilityRequest, c *v1alpha1.Capability) findings {
	return slices.Concat(ownership(job, r), step(job, r, c))
}

func ownership(job *batchv1.Job, r *v1alpha1.CapabilityRequest) findings {
	var f findings
	f.add(job.Namespace != r.Namespace || job.Name != JobName(r),
		"the Job is %s/%s, not %s/%s", job.Namespace, job.Name, r.Namespace, JobName(r))
	f.add(job.Labels[v1alpha1.LabelRequest] != r.Name, "the Job's label %s is %q, not %q", v1alpha1.LabelRequest,
		job.Labels[v1alpha1.LabelRequest], r.Name)
	creator, requester := job.Annotations[v1alpha1.AnnotationCreatedBy], r.Spec.Requester.Username
	f.add(creator == "", "nobody stamped who created the Job")
	f.add(creator != "" && creator != requester, "the Job was created by %s, the request by %s",
		visible.Name(creator), visible.Name(requester))
	f.add(slices.ContainsFunc(job.OwnerReferences, func(o metav1.OwnerReference) bool { return o.UID != r.UID }),
		"the Job has an owner that is not the request")
	return f
}

// held means that the Job waits, as the API server made it wait, and that nothing of it ran before.
func held(job *batchv1.Job) findings {
	var f findings
	f.add(job.DeletionTimestamp != nil, "the Job is being deleted")
	f.add(finished(job), "the Job is already finished")
	f.add(job.Spec.Suspend == nil || !*job.Spec.Suspend, "the Job is not suspended")
	s := &job.Status
	f.add(s.Active > 0 || s.Succeeded > 0 || s.Failed > 0 || (s.Terminating != nil && *s.Terminating > 0), "the Job already ran a Pod")
	f.add(annotationsSize(job.Spec.Template.Annotations) > maxAnnotationsSize,
		"the annotations of the Job's template are longer than %d bytes; the API server takes twice as much, but the grant's own must fit too", maxAnnotationsSize)
	for _, key := range slices.Sorted(maps.Keys(job.Spec.Template.Annotations)) {
		f.add(isOurs(key), "the Job's template has the annotation %s, which is the operator's", key)
	}
	for _, key := range slices.Sorted(maps.Keys(job.Spec.Template.Labels)) {
		f.add(isOurs(key) && key != v1alpha1.LabelRequest, "the Job's template has the label %s, which is the operator's", key)
	}
	return f
}

// isOurs reports whether a label or annotation is one that only Valetkey writes.
func isOurs(key string) bool { return strings.HasPrefix(key, v1alpha1.GroupVersion.Group+"/") }

func finished(job *batchv1.Job) bool {
	return slices.ContainsFunc(job.Status.Conditions, func(c batchv1.JobCondition) bool {
		switch c.Type {
		case batchv1.JobComplete, batchv1.JobFailed, batchv1.JobSuccessCriteriaMet, batchv1.JobFailureTarget:
			return c.Status == corev1.ConditionTrue
		default:
			return false
		}
	})
}

// step is the container that gets the credential, and what its Pod has around it.
func step(job *batchv1.Job, r *v1alpha1.CapabilityRequest, c *v1alpha1.Capability) findings {
	var f findings
	pod := &job.Spec.Template.Spec
	container := find(pod.Containers, r.Spec.Container)
	if container == nil {
		initial := find(pod.InitContainers, r.Spec.Container) != nil
		f.add(initial, "%s is an init container; a credential goes to a container of the Pod", r.Spec.Container)
		f.add(!initial, "the Job has no container %s", r.Spec.Container)
		return f
	}
	for _, m := range container.VolumeMounts {
		f.add(hidesCredential(m.MountPath), "container %s mounts %s, which could hide the credential's files at %s; mount it elsewhere",
			container.Name, visible.Name(m.MountPath), v1alpha1.MountPath)
	}
	return slices.Concat(f, runnerMismatch(behindExec(container, c), job, c), execMissing(container, pod, c))
}

// hidesCredential reports whether a mount lies over the credential's files, below them, or above them, where a link could lead
// elsewhere. /var/run is a link to /run in most images, so both spellings count. A runner that lists such a mount cannot be used.
func hidesCredential(mountPath string) bool {
	return slices.ContainsFunc([]string{v1alpha1.MountPath, strings.TrimPrefix(v1alpha1.MountPath, "/var")}, func(dir string) bool {
		return covers(mountPath, dir) || covers(dir, mountedAt(mountPath))
	})
}

// covers reports whether what is mounted at a path lies over another path.
func covers(mountPath, name string) bool {
	dir := mountedAt(mountPath)
	return dir == "/" || inside(name, dir)
}

// mountedAt is where the kubelet mounts something: it takes a relative path as one from the root.
func mountedAt(mountPath string) string { return path.Clean("/" + mountPath) }

// showable is asked before any expression sees the Job: the cost of an expression was estimated for these sizes.
func showable(job *batchv1.Job) findings {
	var f findings
	pod := &job.Spec.Template.Spec
	f.add(len(job.Labels) > maxLabels, "the Job has %d labels, of at most %d", len(job.Labels), maxLabels)
	f.add(len(images(pod)) > maxImages, "the Pod has %d images, of at most %d", len(images(pod)), maxImages)
	for _, image := range images(pod) {
		f.add(len(image) > maxImageLength, "the image %s has more than %d characters", visible.Name(image), maxImageLength)
		if _, err := imageName(image); err != nil {
			f.add(true, "%s", err)
		}
	}
	for _, c := range containers(pod) {
		f.add(len(c.Command) > maxWords || len(c.Args) > maxWords,
			"container %s has more than %d words of command or args", c.Name, maxWords)
		f.add(size(c.Command)+size(c.Args) > maxProgramSize, "command and args of container %s are longer than %d bytes", c.Name, maxProgramSize)
	}
	return f
}

// maxAnnotationsSize leaves room: a Job that cannot take the grant's annotations could never be started with what was issued for it.
const maxAnnotationsSize = 128 << 10

func annotationsSize(annotations map[string]string) int {
	sum := 0
	for k, v := range annotations {
		sum += len(k) + len(v)
	}
	return sum
}

func size(words []string) int {
	sum := 0
	for _, w := range words {
		sum += len(w)
	}
	return sum
}

func find(all []corev1.Container, name string) *corev1.Container {
	for i := range all {
		if all[i].Name == name {
			return &all[i]
		}
	}
	return nil
}

// inside reports whether a path is the directory or lies in it.
func inside(name, dir string) bool {
	name = path.Clean(name)
	return name == dir || strings.HasPrefix(name, dir+"/")
}
