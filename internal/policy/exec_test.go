// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// execImage holds valetkey-exec.
var execImage = strings.Replace(image, "publisher", "valetkey-exec", 1)

// wrapped has the command run by valetkey-exec, from a volume.
func wrapped(c *corev1.Container) {
	c.Command = []string{"/valetkey/valetkey-exec", "--", "/scripts/publish-preview.sh"}
	c.VolumeMounts = []corev1.VolumeMount{{Name: "exec", MountPath: "/valetkey", ReadOnly: true}}
}

// fromImage mounts an image of it, copied has an init container of such an image copy it.
func fromImage(_ *batchv1.Job, pod *corev1.PodSpec, c *corev1.Container) {
	wrapped(c)
	pod.Volumes = []corev1.Volume{{Name: "exec", VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: execImage}}}}
}

func copied(_ *batchv1.Job, pod *corev1.PodSpec, c *corev1.Container) {
	wrapped(c)
	pod.Volumes = []corev1.Volume{{Name: "exec", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
	pod.InitContainers = []corev1.Container{{Name: "exec", Image: execImage, Command: []string{"/valetkey-exec"}, Args: []string{"install", "/to"},
		VolumeMounts: []corev1.VolumeMount{{Name: "exec", MountPath: "/to"}}}}
}

func TestWhereExecIsDemandedNothingElseRuns(t *testing.T) {
	c := newCapability()
	c.Spec.Exec = &v1alpha1.ExecDemand{Images: []string{execImage}}
	after := func(first func(*batchv1.Job, *corev1.PodSpec, *corev1.Container), change func(pod *corev1.PodSpec, c *corev1.Container)) func(*batchv1.Job, *corev1.PodSpec, *corev1.Container) {
		return func(j *batchv1.Job, pod *corev1.PodSpec, c *corev1.Container) {
			first(j, pod, c)
			change(pod, c)
		}
	}
	from := func(change func(pod *corev1.PodSpec, c *corev1.Container)) func(*batchv1.Job, *corev1.PodSpec, *corev1.Container) {
		return after(fromImage, change)
	}
	by := func(change func(pod *corev1.PodSpec, c *corev1.Container)) func(*batchv1.Job, *corev1.PodSpec, *corev1.Container) {
		return after(copied, change)
	}
	checkJobs(t, c, []jobRow{
		{"it is mounted as an image", fromImage, ""},
		{"it is copied by its own image", copied, ""},
		{"its arguments are args", from(func(_ *corev1.PodSpec, c *corev1.Container) {
			c.Command, c.Args = c.Command[:2], []string{"/scripts/publish-preview.sh", "--fast"}
		}), ""},
		{"the command stands alone", func(*batchv1.Job, *corev1.PodSpec, *corev1.Container) {}, "wants the command of container publish to begin with valetkey-exec and --"},
		{"the command is the image's own", from(func(_ *corev1.PodSpec, c *corev1.Container) { c.Command = nil }), "begin with valetkey-exec and --"},
		{"it is not told where the command begins", from(func(_ *corev1.PodSpec, c *corev1.Container) { c.Command[1] = "install" }), "begin with valetkey-exec and --"},
		{"its path is relative", from(func(_ *corev1.PodSpec, c *corev1.Container) { c.Command[0] = "valetkey/valetkey-exec" }), "begin with valetkey-exec and --"},
		{"its path has detours", from(func(_ *corev1.PodSpec, c *corev1.Container) { c.Command[0] = "/valetkey/../tmp/valetkey-exec" }), "begin with valetkey-exec and --"},
		{"it is another program", from(func(_ *corev1.PodSpec, c *corev1.Container) { c.Command[0] = "/valetkey/sh" }), "begin with valetkey-exec and --"},
		{"it is of the container's own image", from(func(_ *corev1.PodSpec, c *corev1.Container) { c.VolumeMounts = nil }), "is the image's own"},
		{"it is of an image that is not listed", from(func(pod *corev1.PodSpec, _ *corev1.Container) { pod.Volumes[0].Image.Reference = image }), "takes valetkey-exec from"},
		{"it is deep in a volume", from(func(_ *corev1.PodSpec, c *corev1.Container) { c.Command[0] = "/valetkey/deep/valetkey-exec" }), "mount the folder that it lies in"},
		{"a part of the volume is mounted", from(func(_ *corev1.PodSpec, c *corev1.Container) { c.VolumeMounts[0].SubPath = "x" }), "mount the folder that it lies in"},
		{"another volume lies over it", from(func(pod *corev1.PodSpec, c *corev1.Container) {
			pod.Volumes = append(pod.Volumes, corev1.Volume{Name: "over", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
			c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: "over", MountPath: "/valetkey/valetkey-exec"})
		}), "mount the folder that it lies in"},
		{"it is of a ConfigMap", from(func(pod *corev1.PodSpec, _ *corev1.Container) {
			pod.Volumes[0].VolumeSource = corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{}}
		}), "neither an image volume nor an emptyDir"},
		{"there is no such volume", from(func(pod *corev1.PodSpec, _ *corev1.Container) { pod.Volumes = nil }), "there is no volume exec"},
		{"something else starts with it", from(func(_ *corev1.PodSpec, c *corev1.Container) { c.Lifecycle = &corev1.Lifecycle{} }), "lifecycle hooks"},
		{"something else is asked for", from(func(_ *corev1.PodSpec, c *corev1.Container) { c.StartupProbe = &corev1.Probe{} }), "has probes"},

		{"nobody copies it", by(func(pod *corev1.PodSpec, _ *corev1.Container) { pod.InitContainers = nil }), "no init container puts valetkey-exec into volume exec"},
		{"another image copies it", by(func(pod *corev1.PodSpec, _ *corev1.Container) { pod.InitContainers[0].Image = image }), "container exec can write to volume exec"},
		{"the image's own command copies it", by(func(pod *corev1.PodSpec, _ *corev1.Container) {
			pod.InitContainers[0].Command, pod.InitContainers[0].Args = nil, []string{"/valetkey-exec", "install", "/to"}
		}), "can write to volume exec"},
		{"it is copied elsewhere", by(func(pod *corev1.PodSpec, _ *corev1.Container) { pod.InitContainers[0].Args[1] = "/tmp" }), "can write to volume exec"},
		{"more is run than the copying", by(func(pod *corev1.PodSpec, _ *corev1.Container) {
			pod.InitContainers[0].Command = append(pod.InitContainers[0].Command, "--", "sh")
		}), "can write to volume exec"},
		{"the copying is told more by variables", by(func(pod *corev1.PodSpec, _ *corev1.Container) {
			pod.InitContainers[0].Env = []corev1.EnvVar{{Name: "A"}}
		}), "can write to volume exec"},
		{"what copies it has another volume", by(func(pod *corev1.PodSpec, _ *corev1.Container) {
			pod.InitContainers[0].VolumeMounts = append(pod.InitContainers[0].VolumeMounts, corev1.VolumeMount{Name: "x", MountPath: "/x"})
		}), "can write to volume exec"},
		{"what copies it lies below the volume", by(func(pod *corev1.PodSpec, _ *corev1.Container) {
			pod.InitContainers[0].VolumeMounts[0].MountPath, pod.InitContainers[0].Args[1] = "/valetkey-exec", "/valetkey-exec"
		}), "can write to volume exec"},
		{"what copies it goes on beside it", by(func(pod *corev1.PodSpec, _ *corev1.Container) {
			pod.InitContainers[0].RestartPolicy = new(corev1.ContainerRestartPolicy)
		}), "can write to volume exec"},
		{"a later one can change it", by(func(pod *corev1.PodSpec, _ *corev1.Container) {
			later := *pod.InitContainers[0].DeepCopy()
			later.Name = "later"
			pod.InitContainers = append(pod.InitContainers, later)
		}), "container later can write to volume exec"},
		{"one beside it can change it", by(func(pod *corev1.PodSpec, _ *corev1.Container) {
			pod.Containers = append(pod.Containers, corev1.Container{Name: "beside", Image: image, VolumeMounts: []corev1.VolumeMount{{Name: "exec", MountPath: "/to"}}})
		}), "container beside can write to volume exec"},
		{"one beside it can read it", by(func(pod *corev1.PodSpec, _ *corev1.Container) {
			pod.Containers = append(pod.Containers, corev1.Container{Name: "beside", Image: image, VolumeMounts: []corev1.VolumeMount{{Name: "exec", MountPath: "/to", ReadOnly: true}}})
		}), ""},
		{"the step itself can change it", by(func(_ *corev1.PodSpec, c *corev1.Container) { c.VolumeMounts[0].ReadOnly = false }), "is not readOnly"},
	})
}

func TestARunnersImageCanHaveExecItself(t *testing.T) {
	c := newCapability()
	c.Spec.Exec = &v1alpha1.ExecDemand{}
	c.Spec.Runner = []v1alpha1.Runner{{Image: image, Command: []string{"/valetkey-exec", "--", "/scripts/publish-preview.sh"}, Args: []string{"--fast"}}}
	checkJobs(t, c, []jobRow{
		{"it is the runner", func(_ *batchv1.Job, _ *corev1.PodSpec, publish *corev1.Container) {
			publish.Command = slices.Clone(c.Spec.Runner[0].Command)
		}, ""},
		{"it is not", func(_ *batchv1.Job, _ *corev1.PodSpec, publish *corev1.Container) {
			publish.Command = []string{"/tmp/valetkey-exec", "--", "/scripts/publish-preview.sh"}
		}, "differs from runner[0]"},
	})
}

// TestARunnerIsTheStepBehindExec: where valetkey-exec comes from an image of its own, runners list what it runs.
func TestARunnerIsTheStepBehindExec(t *testing.T) {
	c := newCapability()
	c.Spec.Exec = &v1alpha1.ExecDemand{Images: []string{execImage}}
	c.Spec.Runner = []v1alpha1.Runner{{Image: image, Command: []string{"/scripts/publish-preview.sh"}, Args: []string{"--fast"}}}
	checkJobs(t, c, []jobRow{
		{"it is the runner", fromImage, ""},
		{"it is the runner, with a copy", copied, ""},
		{"it is another step", func(j *batchv1.Job, pod *corev1.PodSpec, publish *corev1.Container) {
			fromImage(j, pod, publish)
			publish.Command[2] = "/bin/sh"
		}, "differs from runner[0]: command is"},
		{"there is no step", func(j *batchv1.Job, pod *corev1.PodSpec, publish *corev1.Container) {
			fromImage(j, pod, publish)
			publish.Command = publish.Command[:2]
		}, "differs from runner[0]: command is []"},
		{"it has another mount", func(j *batchv1.Job, pod *corev1.PodSpec, publish *corev1.Container) {
			fromImage(j, pod, publish)
			publish.VolumeMounts = append(publish.VolumeMounts, corev1.VolumeMount{Name: "exec", MountPath: "/scripts"})
		}, "the mount at /scripts is not listed"},
	})
}

func TestAnImageVolumeByDigestCannotChange(t *testing.T) {
	for reference, want := range map[string]int{execImage: 0, "registry.example.com/valetkey-exec:v1": 1} {
		job := newJob()
		job.Spec.Template.Spec.Volumes = []corev1.Volume{{Name: "exec", VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: reference}}}}
		if found := findRisks(reviewOf(job)); len(found) != want {
			t.Errorf("%s: %v", reference, found)
		}
	}
}
