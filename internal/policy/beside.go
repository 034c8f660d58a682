// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"net"
	"path"
	"slices"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/visible"
)

// late are the containers of a Pod that the kubelet starts, or starts again, while the step runs: those beside it, and
// sidecars. It does one thing after the other for a Pod, and looks at no deadline meanwhile: whatever holds it up as it
// starts or ends one of them keeps the step running. Source: the kubelet of Kubernetes 1.37.
func late(pod *corev1.PodSpec, step string) []corev1.Container {
	var all []corev1.Container
	for _, c := range pod.InitContainers {
		if isSidecar(c) {
			all = append(all, c)
		}
	}
	for _, c := range pod.Containers {
		if c.Name != step {
			all = append(all, c)
		}
	}
	return all
}

// mostProbed is how many containers beside the step may have a probe by which the kubelet ends them: it ends those that
// fail one after the other, each with the grace that the Pod has.
const mostProbed = 2

// holdUps finds what could keep the kubelet from ending the step in time: what it opens as it starts another container,
// where that one's neighbours could have put something that does not answer, and containers that it has to end itself.
func holdUps(job *batchv1.Job, step string) findings {
	pod := &job.Spec.Template.Spec
	var f findings
	probed := 0
	for _, c := range late(pod, step) {
		for _, m := range c.VolumeMounts {
			f.add(writable(pod, m.Name) && (m.MountPath == "/" || path.Clean(m.MountPath) == "/etc" || strings.HasPrefix(path.Clean(m.MountPath), "/etc/")),
				"container %s: no volume that containers write may be mounted at %s: the runtime looks up users there as it starts the container, "+
					"while the step runs, and another container could have put there what never answers", c.Name, visible.Name(m.MountPath))
			f.add(m.SubPath+m.SubPathExpr != "" && writable(pod, m.Name), "container %s: the mount at %s must have no subPath: the kubelet opens that folder while the "+
				"step runs, and another container could have put there what never answers; mount the whole volume", c.Name, visible.Name(m.MountPath))
		}
		if c.LivenessProbe != nil || c.StartupProbe != nil {
			probed++
		}
	}
	f.add(probed > mostProbed, "%d containers beside the step have a liveness or a startup probe, and %d may: the kubelet ends those that "+
		"fail one after the other, and the step only then; leave the probes of the others out", probed, mostProbed)
	return f
}

// writable reports whether a container of the Pod may write into a volume: into all but those that the kubelet fills.
func writable(pod *corev1.PodSpec, volume string) bool {
	at := slices.IndexFunc(pod.Volumes, func(v corev1.Volume) bool { return v.Name == volume })
	if at < 0 {
		return true
	}
	v := pod.Volumes[at]
	return v.ConfigMap == nil && v.Secret == nil && v.Projected == nil && v.DownwardAPI == nil && v.Image == nil
}

// mostLate is how many containers may be started while the step runs without anybody's having accepted that: as it
// starts one, the kubelet waits up to two minutes for its runtime, which copies the image's volumes and looks up its user.
const mostLate = 2

// lateStarts says that there are more; empty if there are not.
func lateStarts(in ReviewInput) string {
	n := len(late(&in.Job.Spec.Template.Spec, in.Request.Spec.Container))
	if n <= mostLate {
		return ""
	}
	return fmt.Sprintf("%d containers may be started while the step runs, and %d may: while the node starts one, up to two minutes each, "+
		"nothing ends the step in time; make them init containers, which end before it, or leave some out", n, mostLate)
}

// PullSecrets are the names of the Secrets by which a Pod's images are pulled.
func PullSecrets(pod *corev1.PodSpec) []string {
	var names []string
	for _, s := range pod.ImagePullSecrets {
		names = append(names, s.Name)
	}
	return names
}

// lateImages are the containers whose image may be pulled while the step runs. A node that has an image looks for it
// again where it is always pulled, and where it came by a Secret that may have changed since; and it keeps images by the
// name as it is written: the step's image in another spelling, with capitals or the port of its registry, is another one
// to it. Nobody knows how long a node pulls: others' images may come first.
func lateImages(in ReviewInput) []corev1.Container {
	pod := &in.Job.Spec.Template.Spec
	step := find(pod.Containers, in.Request.Spec.Container)
	if step == nil {
		return nil
	}
	listed, before := listedImages(in), []string{step.Image}
	for _, c := range pod.InitContainers {
		before = append(before, c.Image)
	}
	return slices.DeleteFunc(late(pod, step.Name), func(c corev1.Container) bool {
		known := c.Image == step.Image || slices.Contains(listed, c.Image)
		return known && slices.Contains(before, c.Image) && c.ImagePullPolicy != corev1.PullAlways && len(pod.ImagePullSecrets) == 0
	})
}

// listedImages are those that the capability answers for.
func listedImages(in ReviewInput) []string {
	var listed []string
	for _, r := range in.Capability.Spec.Runner {
		listed = append(listed, r.Image)
	}
	if exec := in.Capability.Spec.Exec; exec != nil {
		listed = append(listed, exec.Images...)
	}
	return listed
}

// lateVolumes are the volumes whose image may be pulled while the step runs: the kubelet pulls those of the Pod at each
// start of a container that mounts one. What the step or an init container mounts was pulled before the step started.
func lateVolumes(in ReviewInput) []corev1.Volume {
	pod := &in.Job.Spec.Template.Spec
	step := find(pod.Containers, in.Request.Spec.Container)
	if step == nil {
		return nil
	}
	others, before := late(pod, step.Name), append(slices.Clone(pod.InitContainers), *step)
	images := slices.DeleteFunc(slices.Clone(pod.Volumes), func(v corev1.Volume) bool { return v.Image == nil })
	if !slices.ContainsFunc(images, func(v corev1.Volume) bool { return isMounted(v, others) }) {
		return nil
	}
	return slices.DeleteFunc(images, func(v corev1.Volume) bool {
		return (isMounted(v, before) || v.Image.Reference == step.Image) && v.Image.PullPolicy != corev1.PullAlways && len(pod.ImagePullSecrets) == 0
	})
}

// deceivers finds containers that could have the credential sent to another server than the step means: all containers
// of a Pod share /etc/hosts and /etc/resolv.conf, which root may write, and the network, which NET_RAW may read and
// NET_ADMIN turn. It looks where somebody answers for the step alone, and where a false server could use what it is
// sent.
func deceivers(pod *corev1.PodSpec, step *corev1.Container, c *v1alpha1.Capability) findings {
	why := deceivable(c)
	if why == "" {
		return nil
	}
	var f findings
	for _, other := range slices.Concat(pod.InitContainers, pod.Containers) {
		if other.Name == step.Name || c.Spec.Exec != nil && len(other.VolumeMounts) == 1 && installs(&other, other.VolumeMounts[0].Name, c) {
			continue
		}
		if nearby(c) {
			f.add(true, "container %s shares the loopback address with container %s, and could answer as the server of postgres.host: "+
				"leave it out, or have the server prove itself (sslMode: verify-full)", other.Name, step.Name)
			continue
		}
		f.add(!powerless(pod.SecurityContext, other.SecurityContext), "container %s shares names and network with container %s, and could "+
			"have the credential sent to itself (%s); write securityContext: {runAsNonRoot: true, allowPrivilegeEscalation: false, "+
			"capabilities: {drop: [ALL]}} for container %s", other.Name, step.Name, why, other.Name)
	}
	return f
}

// nearby reports whether a client of PostgreSQL would send its password to whoever listens in its own Pod: no power is
// needed for that.
func nearby(c *v1alpha1.Capability) bool {
	vault := c.Spec.Vault
	if vault == nil || vault.Postgres == nil || vault.Postgres.SSLMode == "verify-full" {
		return false
	}
	host := strings.ToLower(strings.TrimSuffix(vault.Postgres.Host, "."))
	address := net.ParseIP(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || address != nil && (address.IsLoopback() || address.IsUnspecified())
}

// deceivable says why it matters whom the step talks to; nothing if a false server could not use what it is sent, or if
// whoever approves answers for all containers alike.
func deceivable(c *v1alpha1.Capability) string {
	switch s := &c.Spec; {
	case len(s.Runner) > 0 || s.Exec != nil:
		return fmt.Sprintf("capability %s lists the step, and nothing beside it", c.Name)
	case s.GCP != nil && s.GCP.Delivery != v1alpha1.DeliveryEnv:
		return "valetkey-exec hands Google's token to its libraries in clear"
	case s.Vault != nil && s.Vault.Postgres != nil && s.Vault.Postgres.SSLMode != "verify-full":
		return "PostgreSQL's clients send their password to whoever answers, unless sslMode is verify-full"
	}
	return ""
}

// powerless reports whether a container can neither write what is root's nor read or turn the packets of its Pod.
// Runtimes know the names of capabilities in capitals and without CAP_.
func powerless(pod *corev1.PodSecurityContext, s *corev1.SecurityContext) bool {
	if s == nil || s.Capabilities == nil || s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation {
		return false
	}
	nonRoot := s.RunAsNonRoot
	if nonRoot == nil && pod != nil {
		nonRoot = pod.RunAsNonRoot
	}
	return nonRoot != nil && *nonRoot && slices.Contains(s.Capabilities.Drop, "ALL") && len(s.Capabilities.Add) == 0
}
