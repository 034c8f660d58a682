// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// execProgram is the name of the program that a capability can demand to be in front of the command.
const execProgram = "valetkey-exec"

// execMissing says why a container's command is not one of valetkey-exec's, or why it is not known to be the real one; nothing where the
// capability does not demand it.
func execMissing(container *corev1.Container, pod *corev1.PodSpec, c *v1alpha1.Capability) findings {
	if c.Spec.Exec == nil {
		return nil
	}
	var f findings
	f.add(container.Lifecycle != nil, "container %s has lifecycle hooks, which would run beside valetkey-exec", container.Name)
	f.add(container.LivenessProbe != nil || container.ReadinessProbe != nil || container.StartupProbe != nil,
		"container %s has probes, which could run beside valetkey-exec", container.Name)
	command := container.Command
	if !startsExec(command) {
		f.add(true, "capability %s wants the command of container %s to begin with valetkey-exec and --, and it begins with %s; "+
			"write command: [/valetkey/valetkey-exec, --, …]", c.Name, container.Name, words(command[:min(len(command), 2)]))
		return f
	}
	mount := covering(container.VolumeMounts, command[0])
	if mount == nil {
		f.add(len(c.Spec.Runner) == 0, "valetkey-exec of container %s is the image's own, and capability %s lists no runner; mount one of its exec.images, %s",
			container.Name, c.Name, list(c.Spec.Exec.Images))
		return f
	}
	f.add(mount.MountPath != path.Dir(command[0]) || mount.SubPath != "" || mount.SubPathExpr != "",
		"container %s has valetkey-exec inside a volume that is mounted at %s; mount the folder that it lies in, whole", container.Name, mount.MountPath)
	return append(f, execVolume(mount, pod, c)...)
}

// behindExec is the container as it is without valetkey-exec of one of the capability's images: what a runner lists is the step itself.
func behindExec(container *corev1.Container, c *v1alpha1.Capability) *corev1.Container {
	if c.Spec.Exec == nil || len(c.Spec.Exec.Images) == 0 || !startsExec(container.Command) {
		return container
	}
	mount := covering(container.VolumeMounts, container.Command[0])
	if mount == nil {
		return container
	}
	step := container.DeepCopy()
	step.Command = step.Command[2:]
	step.VolumeMounts = slices.DeleteFunc(step.VolumeMounts, func(m corev1.VolumeMount) bool { return m.MountPath == mount.MountPath })
	return step
}

func startsExec(command []string) bool {
	return len(command) >= 2 && path.IsAbs(command[0]) && path.Clean(command[0]) == command[0] && path.Base(command[0]) == execProgram && command[1] == "--"
}

// covering is the mount in which a path lies, the innermost if there are several.
func covering(mounts []corev1.VolumeMount, name string) *corev1.VolumeMount {
	var found *corev1.VolumeMount
	for i := range mounts {
		if inside(name, path.Clean(mounts[i].MountPath)) && (found == nil || len(mounts[i].MountPath) > len(found.MountPath)) {
			found = &mounts[i]
		}
	}
	return found
}

// execVolume takes a volume of one of the capability's images, and one that such an image alone has filled.
func execVolume(mount *corev1.VolumeMount, pod *corev1.PodSpec, c *v1alpha1.Capability) findings {
	var f findings
	at := slices.IndexFunc(pod.Volumes, func(v corev1.Volume) bool { return v.Name == mount.Name })
	if at < 0 {
		f.add(true, "there is no volume %s", mount.Name)
		return f
	}
	switch source := pod.Volumes[at].VolumeSource; source {
	case corev1.VolumeSource{Image: source.Image}:
		f.add(!isOneOf(c.Spec.Exec.Images, source.Image.Reference), "volume %s is image %s, and capability %s takes valetkey-exec from %s",
			mount.Name, Clip(source.Image.Reference, 128), c.Name, list(c.Spec.Exec.Images))
	case corev1.VolumeSource{EmptyDir: source.EmptyDir}:
		f.add(!mount.ReadOnly, "mount %s of valetkey-exec is not readOnly", mount.MountPath)
		return append(f, installed(mount.Name, pod, c)...)
	default:
		f.add(true, "volume %s of valetkey-exec is neither an image volume nor an emptyDir", mount.Name)
	}
	return f
}

// installed means that one init container of a listed image copied valetkey-exec into the volume, and that nothing else can write there.
func installed(volume string, pod *corev1.PodSpec, c *v1alpha1.Capability) findings {
	var f findings
	found := false
	for _, other := range containers(pod) {
		for _, m := range other.VolumeMounts {
			if m.Name != volume || m.ReadOnly {
				continue
			}
			if find(pod.InitContainers, other.Name) != nil && installs(&other, m.MountPath, c) && !found {
				found = true
				continue
			}
			f.add(true, "container %s can write to volume %s, from which valetkey-exec is run", other.Name, volume)
		}
	}
	f.add(!found, "no init container puts valetkey-exec into volume %s; add one of image %s with command [/valetkey-exec] and args [install, MOUNTPATH]",
		volume, list(c.Spec.Exec.Images))
	return f
}

// installs reports whether a container runs nothing but valetkey-exec's own copying.
func installs(container *corev1.Container, dir string, c *v1alpha1.Capability) bool {
	return isOneOf(c.Spec.Exec.Images, container.Image) && slices.Equal(append(slices.Clone(container.Command), container.Args...), []string{"/" + execProgram, "install", dir}) &&
		len(container.Command) > 0 && len(container.VolumeMounts) == 1 && !strings.HasPrefix("/"+execProgram, path.Clean(dir)+"/") && path.Clean(dir) != "/"+execProgram &&
		len(container.Env)+len(container.EnvFrom)+len(container.VolumeDevices) == 0 && container.Lifecycle == nil && container.RestartPolicy == nil
}
