// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"path"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/visible"
)

const (
	// execProgram is the name of the program that a capability can demand in front of the command.
	execProgram = "valetkey-exec"
	// ExecMount is where a volume with that program is mounted. It is one fixed folder: at a path of the
	// requester's choice, the volume could hide files that the listed image works with, or lie behind one of the
	// image's links, where another mount changes what the path names.
	ExecMount = "/valetkey"
	// installMount is where an init container that copies the program mounts the volume.
	installMount = "/to"
)

// execMissing says why a container's command is not one of valetkey-exec's, or why it may be another program of
// that name. It finds nothing where the capability does not demand valetkey-exec.
func execMissing(container *corev1.Container, pod *corev1.PodSpec, c *v1alpha1.Capability) findings {
	if c.Spec.Exec == nil {
		return nil
	}
	var f findings
	// runnerMismatch holds the container to what is listed, field by field. Without a list the image is the
	// requester's own, and links in it decide which program a path names: one to /proc/self/cwd leads elsewhere
	// when the volume is mounted than when the program is started.
	f.add(len(c.Spec.Runner) == 0, "capability %s demands valetkey-exec and lists no runner: an image that is not listed "+
		"can put another program in its place; list image and command in spec.runner, with anyArgs for any arguments", c.Name)
	f.add(hasDevices(&container.Resources), "container %s has resource claims or devices, whose driver could mount another "+
		"program over valetkey-exec; leave all resources but cpu, memory, ephemeral-storage and hugepages-* out", container.Name)
	if !startsExec(container.Command) {
		begins := container.Command[:min(len(container.Command), 2)]
		f.add(true, "capability %s wants the command of container %s to begin with valetkey-exec and --, and it begins "+
			"with %s; write command: [%s/valetkey-exec, --, …]", c.Name, container.Name, words(begins), ExecMount)
		return f
	}
	mount := execMount(container)
	for i := range container.VolumeMounts {
		if other := &container.VolumeMounts[i]; other != mount {
			f.add(covers(other.MountPath, container.Command[0]), "container %s mounts %s over valetkey-exec at %s",
				container.Name, visible.Name(other.MountPath), container.Command[0])
		}
	}
	if mount == nil {
		return append(f, ownExec(container, c)...)
	}
	return slices.Concat(f, wholeMount(container, mount), execVolume(container, mount, pod, c))
}

// behindExec is the container without the valetkey-exec that is mounted into it: a runner lists the step itself.
func behindExec(container *corev1.Container, c *v1alpha1.Capability) *corev1.Container {
	mount := execMount(container)
	if c.Spec.Exec == nil || len(c.Spec.Exec.Images) == 0 || !startsExec(container.Command) || mount == nil {
		return container
	}
	step := container.DeepCopy()
	step.Command = step.Command[2:]
	step.VolumeMounts = slices.DeleteFunc(step.VolumeMounts, func(m corev1.VolumeMount) bool {
		return m.MountPath == ExecMount
	})
	return step
}

func startsExec(command []string) bool {
	return len(command) >= 2 && path.IsAbs(command[0]) && path.Clean(command[0]) == command[0] &&
		path.Base(command[0]) == execProgram && command[1] == "--"
}

// execMount is the mount that a container's valetkey-exec lies directly in; nil if it is in the image.
func execMount(container *corev1.Container) *corev1.VolumeMount {
	if len(container.Command) == 0 || container.Command[0] != ExecMount+"/"+execProgram {
		return nil
	}
	for i := range container.VolumeMounts {
		if container.VolumeMounts[i].MountPath == ExecMount {
			return &container.VolumeMounts[i]
		}
	}
	return nil
}

// ownExec takes a program of the image's own, which a runner has to list as its command: runnerMismatch sees to that.
func ownExec(container *corev1.Container, c *v1alpha1.Capability) findings {
	var f findings
	own := slices.ContainsFunc(c.Spec.Runner, func(r v1alpha1.Runner) bool { return startsExec(r.Command) })
	f.add(!own, "no volume with valetkey-exec is mounted at %s in container %s, and no runner of capability %s has it in "+
		"its image; mount one of exec.images there, %s", ExecMount, container.Name, c.Name, list(c.Spec.Exec.Images))
	return f
}

// wholeMount takes a mount of the whole volume with nothing special about it. A field that Kubernetes adds is refused
// until it is known.
func wholeMount(container *corev1.Container, m *corev1.VolumeMount) findings {
	var f findings
	plain := corev1.VolumeMount{
		Name:              m.Name,
		MountPath:         m.MountPath,
		ReadOnly:          m.ReadOnly,
		RecursiveReadOnly: m.RecursiveReadOnly,
	}
	if p := m.MountPropagation; p != nil && *p == corev1.MountPropagationNone {
		plain.MountPropagation = p
	}
	f.add(
		!equality.Semantic.DeepEqual(plain, *m),
		"container %s mounts valetkey-exec at %s with more than name, mountPath, "+
			"readOnly and recursiveReadOnly; mount the volume whole, and leave the others out",
		container.Name,
		m.MountPath,
	)
	return f
}

// execVolume takes a volume of one of the capability's images, and one that such an image alone has filled.
func execVolume(
	container *corev1.Container,
	mount *corev1.VolumeMount,
	pod *corev1.PodSpec,
	c *v1alpha1.Capability,
) findings {
	var f findings
	at := slices.IndexFunc(pod.Volumes, func(v corev1.Volume) bool { return v.Name == mount.Name })
	if at < 0 {
		f.add(true, "there is no volume %s", mount.Name)
		return f
	}
	switch source := pod.Volumes[at].VolumeSource; source {
	case corev1.VolumeSource{Image: source.Image}:
		f.add(!isOneOf(c.Spec.Exec.Images, source.Image.Reference), "volume %s is image %s, and capability %s takes "+
			"valetkey-exec from %s", mount.Name, visible.Name(source.Image.Reference), c.Name, list(c.Spec.Exec.Images))
	case corev1.VolumeSource{EmptyDir: source.EmptyDir}:
		f.add(!mount.ReadOnly, "mount %s of valetkey-exec is not readOnly", mount.MountPath)
		return append(f, installed(container, mount.Name, pod, c)...)
	default:
		f.add(true, "volume %s of valetkey-exec is neither an image volume nor an emptyDir", mount.Name)
	}
	return f
}

// installed means that one init container of a listed image copied valetkey-exec into the volume, and that the volume
// is mounted nowhere else. A mount that is only read could be mounted anew, to be written, by a container with the
// right to.
func installed(container *corev1.Container, volume string, pod *corev1.PodSpec, c *v1alpha1.Capability) findings {
	var f findings
	found := false
	for _, other := range containers(pod) {
		for _, m := range other.VolumeMounts {
			switch {
			case m.Name != volume, other.Name == container.Name && m.MountPath == ExecMount:
			case find(pod.InitContainers, other.Name) != nil && installs(&other, volume, c) && !found:
				found = true
			default:
				f.add(true, "container %s mounts volume %s at %s, from which valetkey-exec is run; only its own init "+
					"container may, with command [/valetkey-exec], args [install, %s] and nothing else",
					other.Name, volume, visible.Name(m.MountPath), installMount)
			}
		}
	}
	f.add(
		!found,
		"no init container puts valetkey-exec into volume %s; add one of image %s with command [/valetkey-exec], "+
			"args [install, %s] and the volume mounted at %s",
		volume,
		list(c.Spec.Exec.Images),
		installMount,
		installMount,
	)
	return f
}

// installs reports whether a container runs nothing but valetkey-exec's own copying. Whatever else a container can
// have, now or in a later Kubernetes, it must not have.
func installs(container *corev1.Container, volume string, c *v1alpha1.Capability) bool {
	program := slices.Concat(container.Command, container.Args)
	plain := corev1.Container{
		Name: container.Name, Image: container.Image, ImagePullPolicy: container.ImagePullPolicy,
		Command: container.Command, Args: container.Args,
		VolumeMounts: []corev1.VolumeMount{{Name: volume, MountPath: installMount}},
		Resources: corev1.ResourceRequirements{
			Limits:   container.Resources.Limits,
			Requests: container.Resources.Requests,
		},
		SecurityContext:          container.SecurityContext,
		TerminationMessagePolicy: container.TerminationMessagePolicy,
	}
	// A file is mounted there: at another path, it could be over the program.
	if container.TerminationMessagePath == corev1.TerminationMessagePathDefault {
		plain.TerminationMessagePath = container.TerminationMessagePath
	}
	return isOneOf(c.Spec.Exec.Images, container.Image) && len(container.Command) > 0 && !hasDevices(&container.Resources) &&
		slices.Equal(
			program,
			[]string{"/" + execProgram, "install", installMount},
		) && equality.Semantic.DeepEqual(plain, *container)
}
