// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"

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
	pod.Volumes = []corev1.Volume{
		{Name: "exec", VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: execImage}}},
	}
}

func copied(_ *batchv1.Job, pod *corev1.PodSpec, c *corev1.Container) {
	wrapped(c)
	pod.Volumes = []corev1.Volume{
		{Name: "exec", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
	}
	pod.InitContainers = []corev1.Container{
		{Name: "exec", Image: execImage, Command: []string{"/valetkey-exec"}, Args: []string{"install", "/to"},
			VolumeMounts: []corev1.VolumeMount{{Name: "exec", MountPath: "/to"}}},
	}
}

// execRunner is the step that capabilities which demand valetkey-exec list.
func execRunner() v1alpha1.Runner {
	return v1alpha1.Runner{Image: image, Command: []string{"/scripts/publish-preview.sh"}, AnyArgs: true}
}

type jobChange = func(*batchv1.Job, *corev1.PodSpec, *corev1.Container)

// after changes a Job that valetkey-exec runs in.
func after(first jobChange, change func(pod *corev1.PodSpec, c *corev1.Container)) jobChange {
	return func(j *batchv1.Job, pod *corev1.PodSpec, c *corev1.Container) {
		first(j, pod, c)
		change(pod, c)
	}
}

// from changes one with an image volume, and by one with a copy.
func from(change func(pod *corev1.PodSpec, c *corev1.Container)) jobChange {
	return after(fromImage, change)
}
func by(change func(pod *corev1.PodSpec, c *corev1.Container)) jobChange {
	return after(copied, change)
}

// mounted adds a mount of an empty folder to the step.
func mounted(m corev1.VolumeMount) jobChange {
	return from(func(pod *corev1.PodSpec, c *corev1.Container) {
		m.Name = "work"
		pod.Volumes = append(
			pod.Volumes,
			corev1.Volume{Name: "work", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		)
		c.VolumeMounts = append(c.VolumeMounts, m)
	})
}

func TestExec_WhereItIsDemandedNothingElseRuns(t *testing.T) {
	c := newCapability()
	c.Spec.Exec = &v1alpha1.ExecDemand{Images: []string{execImage}}
	c.Spec.Runner = []v1alpha1.Runner{execRunner()}
	checkJobs(t, c, []jobRow{
		{"it is mounted as an image", fromImage, ""},
		{"it is copied by its own image", copied, ""},
		{"its arguments are args", from(func(_ *corev1.PodSpec, c *corev1.Container) {
			c.Args = []string{"--fast"}
		}), ""},
		{
			"the command stands alone",
			func(*batchv1.Job, *corev1.PodSpec, *corev1.Container) {},
			"wants the command of container publish to begin with valetkey-exec and --",
		},
		{
			"the command is the image's own",
			from(func(_ *corev1.PodSpec, c *corev1.Container) { c.Command = nil }),
			"begin with valetkey-exec and --",
		},
		{
			"it is not told where the command begins",
			from(func(_ *corev1.PodSpec, c *corev1.Container) { c.Command[1] = "install" }),
			"begin with valetkey-exec and --",
		},
		{
			"its path is relative",
			from(func(_ *corev1.PodSpec, c *corev1.Container) { c.Command[0] = "valetkey/valetkey-exec" }),
			"begin with valetkey-exec and --",
		},
		{
			"its path has detours",
			from(func(_ *corev1.PodSpec, c *corev1.Container) { c.Command[0] = "/valetkey/../tmp/valetkey-exec" }),
			"begin with valetkey-exec and --",
		},
		{
			"it is another program",
			from(func(_ *corev1.PodSpec, c *corev1.Container) { c.Command[0] = "/valetkey/sh" }),
			"begin with valetkey-exec and --",
		},
		{
			"it is of the container's own image",
			from(func(_ *corev1.PodSpec, c *corev1.Container) { c.VolumeMounts = nil }),
			"no volume with valetkey-exec is mounted at /valetkey",
		},
		{
			"it is elsewhere in the container's own image",
			from(func(_ *corev1.PodSpec, c *corev1.Container) { c.Command[0] = "/tmp/valetkey-exec" }),
			"no volume with valetkey-exec is mounted at /valetkey",
		},
		{
			"it is of an image that is not listed",
			from(func(pod *corev1.PodSpec, _ *corev1.Container) { pod.Volumes[0].Image.Reference = image }),
			"takes valetkey-exec from",
		},
		{
			"it is deep in a volume",
			from(func(_ *corev1.PodSpec, c *corev1.Container) { c.Command[0] = "/valetkey/deep/valetkey-exec" }),
			"no volume with valetkey-exec is mounted at /valetkey",
		},
		{"it is of a ConfigMap", from(func(pod *corev1.PodSpec, _ *corev1.Container) {
			pod.Volumes[0].VolumeSource = corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{}}
		}), "neither an image volume nor an emptyDir"},
		{
			"there is no such volume",
			from(func(pod *corev1.PodSpec, _ *corev1.Container) { pod.Volumes = nil }),
			"there is no volume exec",
		},
		{
			"something else starts with it",
			from(func(_ *corev1.PodSpec, c *corev1.Container) { c.Lifecycle = &corev1.Lifecycle{} }),
			"lifecycle is set",
		},
		{
			"something else is asked for",
			from(func(_ *corev1.PodSpec, c *corev1.Container) { c.StartupProbe = &corev1.Probe{} }),
			"startupProbe is set",
		},
		{"a driver brings something with it", from(func(_ *corev1.PodSpec, c *corev1.Container) {
			c.Resources.Claims = []corev1.ResourceClaim{{Name: "device"}}
		}), "has resource claims"},
		{"a device brings something with it", from(func(_ *corev1.PodSpec, c *corev1.Container) {
			c.Resources.Limits = corev1.ResourceList{"example.com/gadget": resource.MustParse("1")}
		}), "has resource claims or devices"},
		{"it has its share of a node", from(func(_ *corev1.PodSpec, c *corev1.Container) {
			c.Resources.Limits = corev1.ResourceList{"cpu": resource.MustParse("1"), "memory": resource.MustParse("1Gi")}
		}), ""},
		{"variables tell it another end", from(func(_ *corev1.PodSpec, c *corev1.Container) {
			c.Env = []corev1.EnvVar{{Name: v1alpha1.ExecExpiresVariable, Value: "2099-01-01T00:00:00Z"}}
		}), "env VALETKEY_EXPIRES_AT is not listed"},
		{"its end is written over it", from(func(_ *corev1.PodSpec, c *corev1.Container) {
			c.TerminationMessagePath = "/valetkey/valetkey-exec"
		}), "terminationMessagePath must be"},
		{"it can be traced", from(func(_ *corev1.PodSpec, c *corev1.Container) {
			c.SecurityContext = &corev1.SecurityContext{
				Capabilities: &corev1.Capabilities{Add: []corev1.Capability{"SYS_PTRACE"}},
			}
		}), "capabilities.add is set"},
		{
			"a block device lies beside it",
			from(func(_ *corev1.PodSpec, c *corev1.Container) { c.VolumeDevices = []corev1.VolumeDevice{{}} }),
			"volumeDevices is set",
		},
	})
}

// TestExec_IsMountedWholeAtOnePlace: wherever else it were mounted, it could lie behind a link of the image's, as
// /var/run is one in most, or hide what the step works with.
func TestExec_IsMountedWholeAtOnePlace(t *testing.T) {
	c := newCapability()
	c.Spec.Exec = &v1alpha1.ExecDemand{Images: []string{execImage}}
	c.Spec.Runner = []v1alpha1.Runner{execRunner()}
	var rows []jobRow
	for _, dir := range []string{
		"/run/vk", "/var/run/vk", "/run/secrets/valetkey.dev", "/var/run/secrets/valetkey.dev/exec", "/var/run/secrets",
		"/scripts", "/etc/ssl", "/tmp",
		"/proc/self/cwd", "/dev", "/", "/valetkey/deep", "/valetkey-exec", "/Valetkey",
	} {
		rows = append(rows, jobRow{"it is mounted at " + dir, from(func(_ *corev1.PodSpec, c *corev1.Container) {
			c.VolumeMounts[0].MountPath, c.Command[0] = dir, strings.TrimSuffix(dir, "/")+"/valetkey-exec"
		}), "no volume with valetkey-exec is mounted at /valetkey"})
	}
	for _, dir := range []string{"/valetkey/", "/valetkey/.", "valetkey", "//valetkey", "/tmp/../valetkey"} {
		rows = append(rows, jobRow{"its mount is spelt " + dir, from(func(_ *corev1.PodSpec, c *corev1.Container) {
			c.VolumeMounts[0].MountPath = dir
		}), "over valetkey-exec at /valetkey/valetkey-exec"})
	}
	mount := func(change func(m *corev1.VolumeMount)) jobChange {
		return from(func(_ *corev1.PodSpec, c *corev1.Container) { change(&c.VolumeMounts[0]) })
	}
	const notWhole = "with more than name, mountPath, readOnly and recursiveReadOnly"
	checkJobs(t, c, append(rows, []jobRow{
		{"it is written to be read", mount(func(m *corev1.VolumeMount) { m.ReadOnly = false }), ""}, // as an image always is
		{
			"all in it is read only",
			mount(func(m *corev1.VolumeMount) { m.RecursiveReadOnly = ptr.To(corev1.RecursiveReadOnlyEnabled) }),
			"",
		},
		{
			"it does not propagate",
			mount(func(m *corev1.VolumeMount) { m.MountPropagation = ptr.To(corev1.MountPropagationNone) }),
			"",
		},
		{
			"it takes what the node mounts",
			mount(func(m *corev1.VolumeMount) { m.MountPropagation = ptr.To(corev1.MountPropagationHostToContainer) }),
			notWhole,
		},
		{"a part of the volume is mounted", mount(func(m *corev1.VolumeMount) { m.SubPath = "x" }), notWhole},
		{"a part that a variable names is mounted", mount(func(m *corev1.VolumeMount) { m.SubPathExpr = "$(X)" }), notWhole},
		{"it has options", mount(func(m *corev1.VolumeMount) { m.BindMountOptions = []string{"noexec"} }), notWhole},
		{
			"the image is always pulled",
			from(func(pod *corev1.PodSpec, _ *corev1.Container) { pod.Volumes[0].Image.PullPolicy = corev1.PullAlways }),
			"must be IfNotPresent or Never",
		},
		{"the volume has two sources", from(func(pod *corev1.PodSpec, _ *corev1.Container) {
			pod.Volumes[0].EmptyDir = &corev1.EmptyDirVolumeSource{}
		}), "neither an image volume nor an emptyDir"},
	}...))
}

// TestExec_NoMountLiesOverItOrOverTheCredential: not even one that the runner lists.
func TestExec_NoMountLiesOverItOrOverTheCredential(t *testing.T) {
	listed := execRunner()
	var rows []jobRow
	row := func(name, mountPath, says string) {
		listed.Mounts = append(listed.Mounts, v1alpha1.RunnerMount{MountPath: mountPath, Source: v1alpha1.MountEmptyDir})
		rows = append(rows, jobRow{name, mounted(corev1.VolumeMount{MountPath: mountPath}), says})
	}
	for _, beside := range []string{
		"/work", "/var/lib/app", "/run/lock", "/var/run/lock", "/valetkey-work",
		"/var/run/secrets/kubernetes.io/serviceaccount", "/run/secrets/valetkey.devices",
	} {
		row("beside both: "+beside, beside, "")
	}
	for _, over := range []string{"/valetkey/valetkey-exec", "/", "/valetkey/", "valetkey"} {
		row("over the program: "+over, over, "over valetkey-exec at /valetkey/valetkey-exec")
	}
	for _, above := range []string{
		"/", "/var", "/run", "/var/run", "/run/secrets", "/var/run/secrets", "/var/run/secrets/", "/var/run/secrets/.",
		"/var//run/secrets", "/var/lib/../run", "run/secrets", "/var/run/secrets/valetkey.dev/exec",
		"/run/secrets/valetkey.dev/..data/exec/environment", "/run/secrets/valetkey.dev",
	} {
		row("over the credential: "+above, above, "could hide the credential's files at /var/run/secrets/valetkey.dev")
	}
	c := newCapability()
	c.Spec.Exec = &v1alpha1.ExecDemand{Images: []string{execImage}}
	c.Spec.Runner = []v1alpha1.Runner{listed}
	checkJobs(t, c, append(rows,
		jobRow{"not listed", mounted(corev1.VolumeMount{MountPath: "/var/run/vk"}), "the mount at /var/run/vk is not listed"},
		jobRow{"the program's own volume, to be written", from(func(_ *corev1.PodSpec, c *corev1.Container) {
			c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: "exec", MountPath: "/work"})
		}), "the mount at /work is not listed with this source"},
		jobRow{"the copy's own volume, to be written", by(func(_ *corev1.PodSpec, c *corev1.Container) {
			c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: "exec", MountPath: "/work"})
		}), "container publish mounts volume exec at /work"},
	))
}

// TestExec_OfAnImageThatIsNotListedIsRefused: links in such an image decide what a path names.
func TestExec_OfAnImageThatIsNotListedIsRefused(t *testing.T) {
	c := newCapability()
	c.Spec.Exec = &v1alpha1.ExecDemand{Images: []string{execImage}}
	checkJobs(t, c, []jobRow{
		{"nothing is listed", fromImage, "demands valetkey-exec and lists no runner"},
		{"nothing is listed, and it is copied", copied, "demands valetkey-exec and lists no runner"},
	})
	c.Spec.Runner = []v1alpha1.Runner{execRunner()}
	checkJobs(
		t,
		c,
		[]jobRow{
			{
				"another is listed",
				from(func(_ *corev1.PodSpec, c *corev1.Container) { c.Image = execImage }),
				"image is " + execImage,
			},
		},
	)
}

func TestARunnersImageCanHaveExecItself(t *testing.T) {
	c := newCapability()
	c.Spec.Exec = &v1alpha1.ExecDemand{}
	c.Spec.Runner = []v1alpha1.Runner{
		{Image: image, Command: []string{"/valetkey-exec", "--", "/scripts/publish-preview.sh"}, Args: []string{"--fast"},
			Mounts: []v1alpha1.RunnerMount{
				{MountPath: "/", Source: v1alpha1.MountEmptyDir},
				{MountPath: "/valetkey", Source: v1alpha1.MountEmptyDir},
			}},
	}
	own := func(_ *batchv1.Job, _ *corev1.PodSpec, publish *corev1.Container) {
		publish.Command = slices.Clone(c.Spec.Runner[0].Command)
	}
	over := func(dir string) jobChange {
		return after(own, func(pod *corev1.PodSpec, publish *corev1.Container) {
			pod.Volumes = []corev1.Volume{
				{Name: "over", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
			}
			publish.VolumeMounts = []corev1.VolumeMount{{Name: "over", MountPath: dir}}
		})
	}
	checkJobs(t, c, []jobRow{
		{"it is the runner", own, ""},
		{"it is not", func(_ *batchv1.Job, _ *corev1.PodSpec, publish *corev1.Container) {
			publish.Command = []string{"/tmp/valetkey-exec", "--", "/scripts/publish-preview.sh"}
		}, "differs from runner[0]"},
		{"something that is listed lies over it", over("/"), "mounts / over valetkey-exec at /valetkey-exec"},
		{"something that is listed lies beside it", over("/valetkey"), ""},
	})
}

// TestARunnerIsTheStepBehindExec: where valetkey-exec comes from an image of its own, runners list what it runs.
func TestARunnerIsTheStepBehindExec(t *testing.T) {
	c := newCapability()
	c.Spec.Exec = &v1alpha1.ExecDemand{Images: []string{execImage}}
	c.Spec.Runner = []v1alpha1.Runner{
		{Image: image, Command: []string{"/scripts/publish-preview.sh"}, Args: []string{"--fast"}},
	}
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
