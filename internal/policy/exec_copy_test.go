// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

func TestExec_ACopyIsMadeByItsOwnImageAlone(t *testing.T) {
	c := newCapability()
	c.Spec.Exec = &v1alpha1.ExecDemand{Images: []string{execImage}}
	c.Spec.Runner = []v1alpha1.Runner{execRunner()}
	installer := func(change func(c *corev1.Container)) jobChange {
		return by(func(pod *corev1.PodSpec, _ *corev1.Container) { change(&pod.InitContainers[0]) })
	}
	const other = "container exec mounts volume exec at /to, from which valetkey-exec is run"
	checkJobs(t, c, []jobRow{
		{
			"its command says all",
			installer(func(c *corev1.Container) { c.Command, c.Args = []string{"/valetkey-exec", "install", "/to"}, nil }),
			"",
		},
		{"it is limited, restricted and as the API server stores it", installer(func(c *corev1.Container) {
			c.Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi")}
			c.SecurityContext = &corev1.SecurityContext{
				RunAsNonRoot: ptr.To(true),
				Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			}
			c.ImagePullPolicy, c.TerminationMessagePolicy = corev1.PullIfNotPresent, corev1.TerminationMessageReadFile
			c.TerminationMessagePath = corev1.TerminationMessagePathDefault
		}), ""},
		{"into memory", by(func(pod *corev1.PodSpec, _ *corev1.Container) {
			pod.Volumes[0].EmptyDir.Medium = corev1.StorageMediumMemory
		}), ""},
		{
			"nobody copies it",
			by(func(pod *corev1.PodSpec, _ *corev1.Container) { pod.InitContainers = nil }),
			"no init container puts valetkey-exec into volume exec",
		},
		{"another image copies it", installer(func(c *corev1.Container) { c.Image = image }), other},
		{
			"the image's own command copies it",
			installer(func(c *corev1.Container) { c.Command, c.Args = nil, []string{"/valetkey-exec", "install", "/to"} }),
			other,
		},
		{"it is copied elsewhere", installer(func(c *corev1.Container) { c.Args[1] = "/tmp" }), other},
		{
			"more is run than the copying",
			installer(func(c *corev1.Container) { c.Command = append(c.Command, "--", "sh") }),
			other,
		},
		{
			"the copying is told more by variables",
			installer(func(c *corev1.Container) { c.Env = []corev1.EnvVar{{Name: "A"}} }),
			other,
		},
		{
			"the copying is told more by a ConfigMap",
			installer(func(c *corev1.Container) { c.EnvFrom = []corev1.EnvFromSource{{}} }),
			other,
		},
		{"it begins elsewhere", installer(func(c *corev1.Container) { c.WorkingDir = "/to" }), other},
		{"what copies it has another volume", installer(func(c *corev1.Container) {
			c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: "x", MountPath: "/x"})
		}), other},
		{
			"what copies it has a device",
			installer(func(c *corev1.Container) { c.VolumeDevices = []corev1.VolumeDevice{{}} }),
			other,
		},
		{
			"what copies it has a claim",
			installer(func(c *corev1.Container) { c.Resources.Claims = []corev1.ResourceClaim{{}} }),
			other,
		},
		{
			"what copies it has a device of a plug-in",
			installer(func(c *corev1.Container) {
				c.Resources.Limits = corev1.ResourceList{"example.com/gadget": resource.MustParse("1")}
			}),
			other,
		},
		{
			"what copies it lies below the volume",
			installer(func(c *corev1.Container) { c.VolumeMounts[0].MountPath, c.Args[1] = "/valetkey-exec", "/valetkey-exec" }),
			"container exec mounts volume exec at /valetkey-exec",
		},
		{
			"the volume is the whole file system of what copies it",
			installer(func(c *corev1.Container) { c.VolumeMounts[0].MountPath, c.Args[1] = "/", "/" }),
			"container exec mounts volume exec at /,",
		},
		{"a part of the volume is written", installer(func(c *corev1.Container) { c.VolumeMounts[0].SubPath = "x" }), other},
		{"the volume is given back to the node", installer(func(c *corev1.Container) {
			c.VolumeMounts[0].MountPropagation = ptr.To(corev1.MountPropagationBidirectional)
		}), other},
		{
			"the message of its end lies over the program",
			installer(func(c *corev1.Container) { c.TerminationMessagePath = "/valetkey-exec" }),
			other,
		},
		{
			"it goes on beside it",
			installer(func(c *corev1.Container) { c.RestartPolicy = ptr.To(corev1.ContainerRestartPolicyAlways) }),
			other,
		},
		{
			"it is run again",
			installer(func(c *corev1.Container) { c.RestartPolicyRules = []corev1.ContainerRestartRule{{}} }),
			other,
		},
		{"a hook writes beside it", installer(func(c *corev1.Container) { c.Lifecycle = &corev1.Lifecycle{} }), other},
		{"a probe writes beside it", installer(func(c *corev1.Container) { c.StartupProbe = &corev1.Probe{} }), other},
		{"a later one can change it", by(func(pod *corev1.PodSpec, _ *corev1.Container) {
			later := *pod.InitContainers[0].DeepCopy()
			later.Name = "later"
			pod.InitContainers = append(pod.InitContainers, later)
		}), "container later mounts volume exec"},
		{"a sidecar can change it", by(func(pod *corev1.PodSpec, _ *corev1.Container) {
			pod.InitContainers = append(
				pod.InitContainers,
				corev1.Container{Name: "side", Image: image, RestartPolicy: ptr.To(corev1.ContainerRestartPolicyAlways),
					VolumeMounts: []corev1.VolumeMount{{Name: "exec", MountPath: "/to"}}},
			)
		}), "container side mounts volume exec at /to"},
		{"one beside it can change it", by(func(pod *corev1.PodSpec, _ *corev1.Container) {
			pod.Containers = append(
				pod.Containers,
				corev1.Container{
					Name:         "beside",
					Image:        image,
					VolumeMounts: []corev1.VolumeMount{{Name: "exec", MountPath: "/to"}},
				},
			)
		}), "container beside mounts volume exec at /to"},
		{"one beside it mounts it as the step does", by(func(pod *corev1.PodSpec, c *corev1.Container) {
			pod.Containers = append(
				pod.Containers,
				corev1.Container{Name: "beside", Image: image, VolumeMounts: slices.Clone(c.VolumeMounts)},
			)
		}), "container beside mounts volume exec at /valetkey"},
		{"the container that copies it is no init container", by(func(pod *corev1.PodSpec, _ *corev1.Container) {
			pod.Containers, pod.InitContainers = append(pod.Containers, pod.InitContainers...), nil
		}), other},
		{
			"the step itself can change it",
			by(func(_ *corev1.PodSpec, c *corev1.Container) { c.VolumeMounts[0].ReadOnly = false }),
			"is not readOnly",
		},
	})
}
