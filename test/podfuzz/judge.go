// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package podfuzz

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/pod-security-admission/api"
	psa "k8s.io/pod-security-admission/policy"
	"k8s.io/utils/ptr"
)

// Given is what the judge is told of the grant.
type Given struct {
	// Container is the one that gets the credential. Secret holds it.
	Container, Secret string
	// CopyPrefix begins the names of the grant's copies of ConfigMaps.
	CopyPrefix string
	// ServiceAccount and Image are the reviewed ones.
	ServiceAccount, Image string
	// CanChange means that the approver was told that something in the Pod can change, OtherImage that a container has
	// another image than the step, and Unpinned that an image is not named by digest.
	CanChange, OtherImage, Unpinned bool
	// TTL is what is left of the grant, and Grace how long the Pod may take to end.
	TTL, Grace time.Duration
}

// verdict collects what is wrong.
type verdict struct {
	Given
	found []string
}

func (v *verdict) wrong(is bool, format string, args ...any) {
	if is {
		v.found = append(v.found, fmt.Sprintf(format, args...))
	}
}

// Judge says what is wrong with a granted Pod, as the API server stored it: who else can read the credential, what can
// be other than it was reviewed, and what can keep it alive.
func Judge(pod *corev1.Pod, given Given) []string {
	v := &verdict{Given: given}
	v.readers(&pod.Spec)
	v.neighbours(pod)
	v.inputs(&pod.Spec)
	v.lifetime(&pod.Spec)
	return v.found
}

func all(pod *corev1.PodSpec) []corev1.Container {
	return slices.Concat(pod.InitContainers, pod.Containers)
}

// JudgeJob says what could have a Job run its Pod more than once, or be run by somebody else than Kubernetes.
func JudgeJob(job *batchv1.JobSpec) []string {
	v := &verdict{}
	one := func(n *int32) bool { return n != nil && *n == 1 }
	v.wrong(!one(job.Parallelism) || !one(job.Completions), "it has more than one Pod")
	v.wrong(job.BackoffLimit == nil || *job.BackoffLimit != 0, "it tries again")
	v.wrong(job.BackoffLimitPerIndex != nil || job.MaxFailedIndexes != nil, "it tries again by index")
	v.wrong(job.PodFailurePolicy != nil || job.SuccessPolicy != nil, "a policy decides when it is over")
	v.wrong(job.CompletionMode != nil && *job.CompletionMode != batchv1.NonIndexedCompletion, "it is %s", ptr.Deref(job.CompletionMode, ""))
	v.wrong(job.ManagedBy != nil && *job.ManagedBy != batchv1.JobControllerName, "somebody else runs it")
	v.wrong(job.ManualSelector != nil && *job.ManualSelector, "it chooses its Pods")
	return v.found
}

// readers are those who can read the Secret: one mount, in one container, of one volume.
func (v *verdict) readers(pod *corev1.PodSpec) {
	var holds []string
	for _, volume := range pod.Volumes {
		for _, name := range secretsOf(volume) {
			if name == v.Secret {
				holds = append(holds, volume.Name)
			} else {
				v.wrong(!v.CanChange, "volume %s reads Secret %s", volume.Name, name)
			}
		}
	}
	v.wrong(len(holds) != 1, "%d volumes read the credential", len(holds))
	mounts := 0
	for _, c := range all(pod) {
		for _, m := range c.VolumeMounts {
			if !slices.Contains(holds, m.Name) {
				v.wrong(c.Name == v.Container && touches(m.MountPath), "%s mounts %s at %s", c.Name, m.Name, m.MountPath)
				continue
			}
			mounts++
			v.wrong(c.Name != v.Container, "%s mounts the credential", c.Name)
			v.wrong(!m.ReadOnly || m.SubPath != "" || m.SubPathExpr != "", "the credential is mounted as %+v", m)
		}
		file := c.TerminationMessagePath
		v.wrong(c.Name == v.Container && file != corev1.TerminationMessagePathDefault, "its last words lie over %s", file)
		v.environment(c)
	}
	v.wrong(mounts != 1 || len(pod.EphemeralContainers) > 0, "the credential is mounted %d times", mounts)
}

// secretsOf are the Secrets that a volume reads. Drivers get those that are named for them, too.
func secretsOf(volume corev1.Volume) []string {
	var names []string
	add := func(ref *corev1.LocalObjectReference) {
		if ref != nil {
			names = append(names, ref.Name)
		}
	}
	if volume.Secret != nil {
		names = append(names, volume.Secret.SecretName)
	}
	if volume.Projected != nil {
		for _, source := range volume.Projected.Sources {
			if source.Secret != nil {
				names = append(names, source.Secret.Name)
			}
		}
	}
	if volume.CSI != nil {
		add(volume.CSI.NodePublishSecretRef)
	}
	return names
}

// touches reports whether what is mounted at a path lies above, at or below the credential, or over a link to it.
func touches(mountPath string) bool {
	at := path.Clean("/" + mountPath)
	for _, folder := range []string{"/var/run/secrets/valetkey.dev", "/run/secrets/valetkey.dev"} {
		if at == "/" || at == folder || strings.HasPrefix(folder, at+"/") || strings.HasPrefix(at, folder+"/") {
			return true
		}
	}
	return false
}

func (v *verdict) environment(c corev1.Container) {
	for _, from := range c.EnvFrom {
		v.wrong(from.SecretRef != nil && (from.SecretRef.Name == v.Secret || !v.CanChange), "%s has variables of %v", c.Name, from.SecretRef)
		v.wrong(from.ConfigMapRef != nil && !v.isCopy(from.ConfigMapRef.Name), "%s has variables of %v", c.Name, from.ConfigMapRef)
	}
	for _, e := range c.Env {
		if e.ValueFrom == nil {
			continue
		}
		if ref := e.ValueFrom.SecretKeyRef; ref != nil {
			ours := ref.Name == v.Secret
			v.wrong(ours && c.Name != v.Container || !ours && !v.CanChange, "%s has a variable of Secret %s", c.Name, ref.Name)
		}
		ref := e.ValueFrom.ConfigMapKeyRef
		v.wrong(ref != nil && !v.isCopy(ref.Name), "%s has a variable of %v", c.Name, ref)
	}
}

func (v *verdict) isCopy(configMap string) bool { return strings.HasPrefix(configMap, v.CopyPrefix) }

// neighbours are containers and Pods that could look into the container. What they may have in common is what Pod
// Security's baseline allows, and less.
func (v *verdict) neighbours(pod *corev1.Pod) {
	spec := &pod.Spec
	evaluator, err := psa.NewEvaluator(psa.DefaultChecks(), nil)
	v.wrong(err != nil, "Pod Security cannot be asked: %v", err)
	if err == nil {
		level := api.LevelVersion{Level: api.LevelBaseline, Version: api.LatestVersion()}
		result := psa.AggregateCheckResults(evaluator.EvaluatePod(level, &pod.ObjectMeta, spec))
		v.wrong(!result.Allowed, "Pod Security's baseline: %s", result.ForbiddenDetail())
	}
	v.wrong(spec.ShareProcessNamespace != nil && *spec.ShareProcessNamespace, "processes see each other")
	v.wrong(spec.ServiceAccountName != v.ServiceAccount, "it runs as %s", spec.ServiceAccountName)
	for _, c := range all(spec) {
		if sc := c.SecurityContext; sc != nil && sc.Capabilities != nil {
			v.wrong(slices.Contains(sc.Capabilities.Add, "SYS_PTRACE"), "%s may trace", c.Name)
		}
		for _, m := range c.VolumeMounts {
			p := m.MountPropagation
			v.wrong(p != nil && *p != corev1.MountPropagationNone && *p != corev1.MountPropagationHostToContainer, "%s shares its mounts by %s", c.Name, m.Name)
		}
	}
}

// unchanging are the kinds of volumes whose content is made for the Pod, or is named by what it is.
func unchanging(volume corev1.Volume) bool {
	source := volume.VolumeSource
	return source.EmptyDir != nil || source.DownwardAPI != nil || source.Projected != nil || source.Secret != nil || source.ConfigMap != nil ||
		source.Image != nil && pinned(source.Image.Reference)
}

func pinned(image string) bool {
	_, digest, found := strings.Cut(image, "@sha256:")
	return found && len(digest) == 64
}

// inputs are what the Pod reads from outside.
func (v *verdict) inputs(pod *corev1.PodSpec) {
	for _, volume := range pod.Volumes {
		v.wrong(!unchanging(volume) && !v.CanChange, "volume %s can change: %+v", volume.Name, volume.VolumeSource)
		v.wrong(volume.HostPath != nil, "volume %s is of the node", volume.Name)
		v.wrong(volume.ConfigMap != nil && !v.isCopy(volume.ConfigMap.Name), "volume %s reads %v", volume.Name, volume.ConfigMap)
		if volume.Projected == nil {
			continue
		}
		for _, source := range volume.Projected.Sources {
			v.wrong(source.ConfigMap != nil && !v.isCopy(source.ConfigMap.Name), "volume %s reads %v", volume.Name, source.ConfigMap)
			v.wrong((source.ClusterTrustBundle != nil || source.PodCertificate != nil) && !v.CanChange, "volume %s can change", volume.Name)
		}
	}
	v.wrong(len(pod.ResourceClaims) > 0 && !v.CanChange, "devices can change")
	v.wrong(pod.EnableServiceLinks == nil || *pod.EnableServiceLinks, "Services set variables")
	for _, c := range all(pod) {
		v.wrong(!pinned(c.Image) && !v.Unpinned, "the image %s of %s can change", c.Image, c.Name)
	}
}

// lifetime is about what can hold up the kubelet, or have the step run again.
func (v *verdict) lifetime(pod *corev1.PodSpec) {
	deadline, grace := pod.ActiveDeadlineSeconds, pod.TerminationGracePeriodSeconds
	v.wrong(deadline == nil || time.Duration(*deadline)*time.Second > v.TTL, "its deadline is %v", deadline)
	v.wrong(grace == nil || time.Duration(*grace)*time.Second > v.Grace, "its grace is %v", grace)
	v.wrong(pod.RestartPolicy != corev1.RestartPolicyNever, "it restarts: %s", pod.RestartPolicy)
	names := sets.New[string]()
	for _, c := range all(pod) {
		v.wrong(names.Has(c.Name), "two containers are named %s", c.Name)
		names.Insert(c.Name)
		v.wrong(c.Lifecycle != nil && c.Lifecycle.PostStart != nil, "%s has a hook that the kubelet waits for", c.Name)
		v.wrong(len(c.RestartPolicyRules) > 0, "%s has rules for restarts", c.Name)
		for _, p := range []*corev1.Probe{c.LivenessProbe, c.StartupProbe, c.ReadinessProbe} {
			v.wrong(p != nil && p.TerminationGracePeriodSeconds != nil, "a probe of %s has a grace of its own", c.Name)
		}
	}
	for _, c := range pod.Containers {
		v.wrong(c.RestartPolicy != nil && *c.RestartPolicy != corev1.ContainerRestartPolicyNever, "%s restarts", c.Name)
	}
	probed := 0
	for _, c := range v.beside(pod) {
		late := c.Image != v.Image || c.ImagePullPolicy == corev1.PullAlways || len(pod.ImagePullSecrets) > 0
		v.wrong(late && !v.OtherImage, "the image of %s can come late", c.Name)
		if c.LivenessProbe != nil || c.StartupProbe != nil {
			probed++
		}
		for _, m := range c.VolumeMounts {
			v.wrong(!filled(pod, m.Name) && (m.MountPath == "/" || strings.HasPrefix(strings.TrimSuffix(m.MountPath, "/")+"/", "/etc/")),
				"the runtime looks up users of %s where others can write", c.Name)
			v.wrong(m.SubPath+m.SubPathExpr != "" && !filled(pod, m.Name), "the kubelet opens a folder for %s that others can write", c.Name)
		}
		for _, e := range c.Env {
			v.wrong(e.ValueFrom != nil && e.ValueFrom.FileKeyRef != nil, "the kubelet reads a file for %s that others can write", c.Name)
		}
	}
	v.wrong(len(v.beside(pod)) > 2 && !v.OtherImage, "%d containers can be started while the step runs", len(v.beside(pod)))
	v.wrong(probed > 2, "the kubelet may have to end %d containers before it looks at the step", probed)
}

// beside are the containers that start, or start again, while the step runs.
func (v *verdict) beside(pod *corev1.PodSpec) []corev1.Container {
	var found []corev1.Container
	for _, c := range pod.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			found = append(found, c)
		}
	}
	for _, c := range pod.Containers {
		if c.Name != v.Container {
			found = append(found, c)
		}
	}
	return found
}

// filled reports whether the kubelet alone writes into a volume.
func filled(pod *corev1.PodSpec, name string) bool {
	for _, v := range pod.Volumes {
		if v.Name == name {
			return v.ConfigMap != nil || v.Secret != nil || v.Projected != nil || v.DownwardAPI != nil || v.Image != nil
		}
	}
	return false
}
