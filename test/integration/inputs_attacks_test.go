// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package integration

import (
	"fmt"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// with asks under a policy that accepts none of the risks of a Job.
func with(edits ...func(*batchv1.Job)) func(*journey) error {
	return func(j *journey) error {
		j.allow()
		j.request()
		j.job(edits...)
		return nil
	}
}

// podOf changes the Pod of the sample's Job, and the container that gets the credential.
func podOf(change func(*corev1.PodSpec, *corev1.Container)) func(*batchv1.Job) {
	return func(job *batchv1.Job) { change(&job.Spec.Template.Spec, &job.Spec.Template.Spec.Containers[0]) }
}

// reads has the container beside the step read ConfigMaps.
func readsConfigMaps(names ...string) func(*batchv1.Job) {
	return podOf(func(pod *corev1.PodSpec, _ *corev1.Container) {
		for _, name := range names {
			source := corev1.EnvFromSource{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: name}}}
			pod.Containers[1].EnvFrom = append(pod.Containers[1].EnvFrom, source)
		}
	})
}

// volume puts a volume into the Pod that the container beside the step mounts.
func volume(source corev1.VolumeSource) func(*batchv1.Job) {
	return podOf(func(pod *corev1.PodSpec, _ *corev1.Container) {
		pod.Volumes = append(pod.Volumes, corev1.Volume{Name: "v", VolumeSource: source})
		pod.Containers[1].VolumeMounts = append(pod.Containers[1].VolumeMounts, corev1.VolumeMount{Name: "v", MountPath: "/v"})
	})
}

func projectedSource(source corev1.VolumeProjection) func(*batchv1.Job) {
	return volume(corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{source}}})
}

// configMap stores one of the journey's own.
func (j *journey) configMap(script string) *corev1.ConfigMap {
	j.Helper()
	cm := &corev1.ConfigMap{ObjectMeta: j.meta(j.name), Data: map[string]string{"script": script}}
	j.must(j.w.admin.Create(j.Context(), cm))
	return cm
}

// swaps changes what the Pod reads between the review and the approval.
func swaps(swap func(*journey, *corev1.ConfigMap)) func(*journey) error {
	return func(j *journey) error {
		j.allow(byAlice)
		cm := j.configMap("echo harmless")
		j.request()
		j.job(readsConfigMaps(cm.Name))
		digest := j.awaitReviewed()
		swap(j, cm)
		if err := j.approve(j.w.alice, digest); err != nil {
			j.awaitRequestEnd(v1alpha1.ReasonRefused, "")
		}
		return nil
	}
}

func inputAttacks() []attack {
	const changed, refused, denied = v1alpha1.ReasonReviewChanged, v1alpha1.ReasonJobRefused, v1alpha1.ReasonDeniedByPolicy
	many := make([]string, 33)
	for i := range many {
		many[i] = fmt.Sprintf("c%d", i)
	}
	return []attack{
		{"a ConfigMap is changed between review and approval", "mallory", changed, "create another request", swaps(func(j *journey, cm *corev1.ConfigMap) {
			cm.Data["script"] = "echo evil"
			j.must(j.w.admin.Update(j.Context(), cm))
		})},
		{"a ConfigMap is made again under its name between review and approval", "mallory", changed, "create another request", swaps(func(j *journey, cm *corev1.ConfigMap) {
			j.must(j.w.admin.Delete(j.Context(), cm))
			j.configMap("echo evil")
		})},
		{"a ConfigMap gets one more file between review and approval", "mallory", changed, "create another request", swaps(func(j *journey, cm *corev1.ConfigMap) {
			cm.BinaryData = map[string][]byte{"more": {0}}
			j.must(j.w.admin.Update(j.Context(), cm))
		})},
		{"a ConfigMap is deleted between review and approval", "mallory", changed, "create another request", swaps(func(j *journey, cm *corev1.ConfigMap) {
			j.must(j.w.admin.Delete(j.Context(), cm))
		})},
		{"a ConfigMap that does not exist yet", "agent", refused, "does not exist; create it before the Job", with(readsConfigMaps("later"))},
		{"a ConfigMap that may be missing, and does not exist yet", "agent", v1alpha1.ReasonReviewChanged, "create another request", func(j *journey) error {
			j.allow(byAlice)
			j.request()
			j.job(readsConfigMaps(j.name), podOf(func(pod *corev1.PodSpec, _ *corev1.Container) {
				pod.Containers[1].EnvFrom[0].ConfigMapRef.Optional = ptr.To(true)
			}))
			digest := j.awaitReviewed()
			j.configMap("echo evil")
			if err := j.approve(j.w.alice, digest); err != nil {
				j.awaitRequestEnd(v1alpha1.ReasonRefused, "")
			}
			return nil
		}},
		{"thirty-three ConfigMaps", "agent", refused, "ConfigMaps, of at most 32", with(readsConfigMaps(many...))},
		{"one ConfigMap, named 257 times", "agent", refused, "of at most 256", with(readsConfigMaps(strings.Split(strings.Repeat("c,", 256)+"c", ",")...))},
		{"a volume of a claim", "agent", denied, "PersistentVolumeClaim", with(volume(corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "c"}}))},
		{"a volume of a driver", "agent", denied, "which can change", with(volume(corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: "d"}}))},
		{"a volume of a claim of its own", "agent", denied, "which can change", with(volume(corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{
			VolumeClaimTemplate: &corev1.PersistentVolumeClaimTemplate{Spec: corev1.PersistentVolumeClaimSpec{AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
				Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}}}}}}))},
		{"a volume of trust anchors", "agent", denied, "which can change", with(projectedSource(corev1.VolumeProjection{
			ClusterTrustBundle: &corev1.ClusterTrustBundleProjection{Name: ptr.To("b"), Path: "b"}}))},
		{"a device that a claim's template describes", "agent", denied, "which can change", with(podOf(func(pod *corev1.PodSpec, c *corev1.Container) {
			pod.ResourceClaims = []corev1.PodResourceClaim{{Name: "d", ResourceClaimTemplateName: ptr.To("t")}}
			c.Resources.Claims = []corev1.ResourceClaim{{Name: "d"}}
		}))},
		{"a device of a claim", "agent", denied, "which can change", with(podOf(func(pod *corev1.PodSpec, _ *corev1.Container) {
			pod.ResourceClaims = []corev1.PodResourceClaim{{Name: "d", ResourceClaimName: ptr.To("c")}}
			pod.Containers[1].Resources.Claims = []corev1.ResourceClaim{{Name: "d"}}
		}))},
		{"a device that a DeviceClass brings, by the limits of the step", "agent", denied, "is device deviceclass.resource.kubernetes.io/gadget", with(podOf(func(_ *corev1.PodSpec, c *corev1.Container) {
			c.Resources.Limits = corev1.ResourceList{"deviceclass.resource.kubernetes.io/gadget": resource.MustParse("1")}
		}))},
		{"a device of a plug-in, by the limits of the container beside the step", "agent", denied, "is device example.com/gadget", with(podOf(func(pod *corev1.PodSpec, _ *corev1.Container) {
			pod.Containers[1].Resources.Limits = corev1.ResourceList{"example.com/gadget": resource.MustParse("1")}
		}))},
		{"another container's image, which may be slow to pull", "agent", denied, "may be pulled while the step runs", with(podOf(func(pod *corev1.PodSpec, _ *corev1.Container) {
			pod.Containers[1].Image = "registry.example.com/huge@sha256:" + strings.Repeat("d", 64)
		}))},
		{"the step's image once more, with its registry in capitals, which is pulled", "agent", denied, "may be pulled while the step runs", with(podOf(func(pod *corev1.PodSpec, c *corev1.Container) {
			registry, rest, _ := strings.Cut(c.Image, "/")
			pod.Containers[1].Image = strings.ToUpper(registry) + "/" + rest
		}))},
		{"the step's own image of a sidecar, by a Secret that may change", "agent", denied, "may be pulled while the step runs", with(podOf(func(pod *corev1.PodSpec, c *corev1.Container) {
			pod.InitContainers = []corev1.Container{besideTheStep(c)}
			pod.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "pull"}}
		}))},
		{"three containers that the kubelet has to end first", "agent", denied, "may be started while the step runs", with(podOf(func(pod *corev1.PodSpec, c *corev1.Container) {
			for i := range 3 {
				more := besideTheStep(c)
				more.Name = fmt.Sprint("more-", i)
				more.LivenessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(9)}}}
				pod.InitContainers = append(pod.InitContainers, more)
			}
		}))},
		{"a folder that the kubelet opens, and others write", "agent", refused, "must have no subPath", with(volume(corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}),
			podOf(func(pod *corev1.PodSpec, _ *corev1.Container) {
				pod.Containers[1].VolumeMounts = []corev1.VolumeMount{{Name: "v", MountPath: "/v", SubPath: "folder"}}
			}))},
		{"a container before a listed step that may write whom names stand for", "agent", refused, "could have the credential sent to itself", with(podOf(func(pod *corev1.PodSpec, c *corev1.Container) {
			before := besideTheStep(c)
			before.RestartPolicy, before.SecurityContext = nil, nil
			pod.InitContainers = []corev1.Container{before}
		}))},
		{"a container beside a listed step that is root", "agent", refused, "could have the credential sent to itself", with(podOf(func(pod *corev1.PodSpec, _ *corev1.Container) {
			pod.Containers[1].SecurityContext.RunAsNonRoot = nil
		}))},
		{"a container beside a listed step that keeps its capabilities", "agent", refused, "could have the credential sent to itself", with(podOf(func(pod *corev1.PodSpec, _ *corev1.Container) {
			pod.Containers[1].SecurityContext.Capabilities = nil
		}))},
		{"a Pod that is named as a server is", "agent", refused, "hostnameOverride is set", with(podOf(func(pod *corev1.PodSpec, _ *corev1.Container) {
			pod.HostnameOverride = ptr.To("api.internal.example")
		}))},
		{"a Pod that is named as a server of its domain is", "agent", refused, "hostname is set", with(podOf(func(pod *corev1.PodSpec, _ *corev1.Container) {
			pod.Hostname = "api"
		}))},
		{"what the step answers to a probe, in an event", "agent", refused, "readinessProbe must be tcpSocket", with(podOf(func(_ *corev1.PodSpec, c *corev1.Container) {
			c.ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Port: intstr.FromInt32(8080)}}}
		}))},
		{"what the step's probe prints, in an event", "agent", refused, "livenessProbe must be tcpSocket", with(podOf(func(_ *corev1.PodSpec, c *corev1.Container) {
			c.LivenessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"env"}}}}
		}))},
		{"the end of the step's log, in the Pod's status", "agent", refused, "terminationMessagePolicy must be File", with(podOf(func(_ *corev1.PodSpec, c *corev1.Container) {
			c.TerminationMessagePolicy = corev1.TerminationMessageFallbackToLogsOnError
		}))},
		{"a Pod that pushes aside those of its node", "agent", refused, "priorityClassName must not be system-node-critical", with(podOf(func(pod *corev1.PodSpec, _ *corev1.Container) {
			pod.PriorityClassName = "system-node-critical"
		}))},
		{"a mount above the credential, by a link that images have", "agent", refused, "could hide the credential's files", with(volume(corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}),
			podOf(func(_ *corev1.PodSpec, c *corev1.Container) {
				c.VolumeMounts = []corev1.VolumeMount{{Name: "v", MountPath: "/run/secrets"}}
			}))},
	}
}

// besideTheStep is a sidecar of the step's own image that can do nothing to it.
func besideTheStep(step *corev1.Container) corev1.Container {
	return corev1.Container{Name: "more", Image: step.Image, RestartPolicy: ptr.To(corev1.ContainerRestartPolicyAlways), SecurityContext: &corev1.SecurityContext{
		RunAsNonRoot: ptr.To(true), AllowPrivilegeEscalation: ptr.To(false), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}}}
}
