// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/utils/ptr"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/visible"
)

// Limits of what a Pod may read. They bound what one request makes the operator read and copy.
const (
	// MaxInputs is how many ConfigMaps a Pod may read.
	MaxInputs = 32
	// maxReferences is how often it may name one.
	maxReferences = 256
	// MaxInputSize is how many bytes they may have together.
	MaxInputSize = 4 << 20
)

// RootCA is the ConfigMap of every namespace that the API server mounts beside the token of the Pod's ServiceAccount.
const RootCA = "kube-root-ca.crt"

// source is something from outside the Job that its Pod reads: a ConfigMap, or something else that nobody can hold still.
type source struct {
	// where begins a sentence: volume x, env y of container z.
	where string
	// configMap is its name, if it is one.
	configMap string
	// optional is set where the Pod can start without the ConfigMap.
	optional bool
	// other names what it is, if it is not a ConfigMap. Of what the API server takes under any text, kind and name are apart, too.
	other, kind, name string
}

// sources are all of a Job's Pod: the fields that [Fields] calls inputs.
func sources(spec *batchv1.JobSpec) []source {
	var all []source
	walk(spec, func(s Setting) bool {
		if s.Field.Class != Input {
			return true
		}
		all = append(all, s.sources()...)
		return false
	})
	if mount := spec.Template.Spec.AutomountServiceAccountToken; mount == nil || *mount {
		all = append(all, source{where: "the token of ServiceAccount " + serviceAccountName(&spec.Template.Spec), configMap: RootCA})
	}
	return all
}

func (s Setting) sources() []source {
	where := s.place()
	switch v := s.Value.Interface().(type) {
	case *corev1.ConfigMapVolumeSource:
		return []source{configMap(where, v.Name, v.Optional)}
	case *corev1.ConfigMapProjection:
		return []source{configMap(where, v.Name, v.Optional)}
	case *corev1.ConfigMapKeySelector:
		return []source{configMap(where, v.Name, v.Optional)}
	case *corev1.ConfigMapEnvSource:
		return []source{configMap(where, v.Name, v.Optional)}
	case *corev1.ImageVolumeSource:
		if pinned(v.Reference) {
			return nil
		}
		return []source{{where: where, other: "image " + visible.Name(v.Reference)}}
	case corev1.ResourceList:
		var all []source
		for _, device := range devices(v) {
			all = append(all, source{where: where, other: "device " + device + ", of which a plug-in or a driver decides what it is"})
		}
		return all
	case []corev1.PodResourceClaim:
		var all []source
		for _, claim := range v {
			all = append(all, source{where: "resource claim " + claim.Name, other: "ResourceClaim or ResourceClaimTemplate " +
				ptr.Deref(claim.ResourceClaimName, ptr.Deref(claim.ResourceClaimTemplateName, ""))})
		}
		return all
	default:
		if kind, name := objectOf(v); kind != "" {
			return []source{{where: where, other: kind + " " + visible.Name(name), kind: kind, name: name}}
		}
		return []source{{where: where, other: describeSource(v)}}
	}
}

// devices are the names of a list of resources that are not known to be plain shares of a node, sorted. A device plug-in, or a driver
// by a DeviceClass, decides what a container gets for any other name, and can mount files for it.
func devices(list corev1.ResourceList) []string {
	var names []string
	for name := range list {
		switch {
		case name == corev1.ResourceCPU, name == corev1.ResourceMemory, name == corev1.ResourceEphemeralStorage:
		case strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix):
		default:
			names = append(names, string(name))
		}
	}
	slices.Sort(names)
	return names
}

// Devices are what a Pod's containers have of device plug-ins and drivers: container=resource.
func Devices(pod *corev1.PodSpec) []string {
	var all []string
	for _, c := range containers(pod) {
		names := slices.Concat(devices(c.Resources.Limits), devices(c.Resources.Requests))
		slices.Sort(names)
		for _, name := range slices.Compact(names) {
			all = append(all, c.Name+"="+name)
		}
	}
	return all
}

// hasDevices reports whether a container has anything of a device plug-in or a driver.
func hasDevices(r *corev1.ResourceRequirements) bool {
	return len(r.Claims)+len(devices(r.Limits))+len(devices(r.Requests)) > 0
}

// place names the volume, or the variable, that a field is of.
func (s Setting) place() string {
	switch s.in.list {
	case "volumes":
		return "volume " + s.in.name
	case "env":
		return "env " + visible.Name(s.in.name) + " of container " + s.Container
	case "envFrom":
		return "an envFrom of container " + s.Container
	}
	return s.where()
}

// configMap takes a ConfigMap without a name, which the API server lets pass, for something that cannot be looked at.
func configMap(where, name string, optional *bool) source {
	if name == "" {
		return source{where: where, other: "a ConfigMap without a name"}
	}
	return source{where: where, configMap: name, optional: ptr.Deref(optional, false)}
}

// describeSource names the kinds that people know.
func describeSource(of any) string {
	switch v := of.(type) {
	case *corev1.EphemeralVolumeSource:
		return "a PersistentVolumeClaim of the Pod's own"
	case *corev1.CSIVolumeSource:
		return "a CSI volume of driver " + v.Driver
	case *corev1.ClusterTrustBundleProjection:
		return "a ClusterTrustBundle"
	case *corev1.PodCertificateProjection:
		return "a certificate of signer " + v.SignerName
	}
	return "a source of another kind"
}

// objectOf is the kind and the name of what is read from an object of the namespace; empty for what is none.
func objectOf(of any) (kind, name string) {
	const secret = "Secret"
	switch v := of.(type) {
	case *corev1.SecretVolumeSource:
		return secret, v.SecretName
	case *corev1.SecretProjection:
		return secret, v.Name
	case *corev1.SecretKeySelector:
		return secret, v.Name
	case *corev1.SecretEnvSource:
		return secret, v.Name
	case *corev1.PersistentVolumeClaimVolumeSource:
		return "PersistentVolumeClaim", v.ClaimName
	}
	return "", ""
}

// ConfigMapNames are all ConfigMaps that a Job's Pod reads, in volumes and in variables of all its containers, sorted. There are at
// most [MaxInputs] in a Job that [CheckJob] takes.
func ConfigMapNames(job *batchv1.Job) []string { return configMapNames(sources(&job.Spec)) }

func configMapNames(sources []source) []string {
	var names []string
	for _, s := range sources {
		if s.configMap != "" {
			names = append(names, s.configMap)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// countInputs says when a Pod reads more than the operator reads and copies for one request, and when it names something
// by what is no name: the API server takes such a volume, the grant's list of copies could not be read, and people would read the agent's
// words among the operator's.
func countInputs(job *batchv1.Job) findings {
	var f findings
	references, sources := 0, sources(&job.Spec)
	for _, s := range sources {
		if s.configMap != "" {
			references++
			s.kind, s.name = "ConfigMap", s.configMap
		}
		f.add(s.name != "" && len(validation.IsDNS1123Subdomain(s.name)) > 0, "%s is %s %q, and no %s can have that name", s.where, s.kind, s.name, s.kind)
	}
	for _, name := range PullSecrets(&job.Spec.Template.Spec) {
		f.add(name != "" && len(validation.IsDNS1123Subdomain(name)) > 0, "imagePullSecrets has %q, and no Secret can have that name", name)
	}
	names := len(configMapNames(sources))
	f.add(names > MaxInputs, "the Pod reads %d ConfigMaps, of at most %d; put what it needs into fewer", names, MaxInputs)
	f.add(references > maxReferences, "the Pod names ConfigMaps %d times, of at most %d; mount them whole", references, maxReferences)
	return f
}

// reviewInputs says what each ConfigMap is that a Job reads, and what is wrong with those that the Pod could not start with.
func reviewInputs(job *batchv1.Job, found map[string]*corev1.ConfigMap) ([]v1alpha1.ReviewedInput, findings) {
	var (
		all  []v1alpha1.ReviewedInput
		f    findings
		size int
	)
	for _, name := range ConfigMapNames(job) {
		all = append(all, reviewInput(name, found[name]))
		size += ContentSize(found[name])
	}
	f.add(size > MaxInputSize, "the ConfigMaps that the Pod reads have %d bytes, of at most %d", size, MaxInputSize)
	for _, s := range sources(&job.Spec) {
		missing := s.configMap != "" && found[s.configMap] == nil && !s.optional
		f.add(missing, "%s is ConfigMap %s, which does not exist; create it before the Job", s.where, visible.Name(s.configMap))
	}
	return all, f
}

// reviewInput says what a ConfigMap is. One that is not there is pinned, too: its name in the Pod will be one that nobody can make.
func reviewInput(name string, c *corev1.ConfigMap) v1alpha1.ReviewedInput {
	in := v1alpha1.ReviewedInput{Name: name}
	if c == nil {
		return in
	}
	in.UID, in.SHA256 = string(c.UID), contentSum(c)
	if !ptr.Deref(c.Immutable, false) {
		in.ResourceVersion = c.ResourceVersion
	}
	return in
}

// ContentSize is how many bytes the keys and values of a ConfigMap have together.
func ContentSize(c *corev1.ConfigMap) int {
	if c == nil {
		return 0
	}
	sum := 0
	for key, value := range c.Data {
		sum += len(key) + len(value)
	}
	for key, value := range c.BinaryData {
		sum += len(key) + len(value)
	}
	return sum
}

// contentSum is the SHA-256 of what a ConfigMap holds, in hexadecimal. An empty map is the same as none.
func contentSum(c *corev1.ConfigMap) string {
	content := struct {
		Data       map[string]string `json:",omitempty"`
		BinaryData map[string][]byte `json:",omitempty"`
	}{c.Data, c.BinaryData}
	encoded, _ := json.Marshal(content) // strings and bytes can always be encoded
	sum := sha256.Sum256(encoded)
	return hex.EncodeToString(sum[:])
}

// ContentMatches reports whether a ConfigMap holds what was reviewed under its name.
func ContentMatches(in v1alpha1.ReviewedInput, c *corev1.ConfigMap) bool {
	return c != nil && in.SHA256 != "" && contentSum(c) == in.SHA256
}
