// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	corev1 "k8s.io/api/core/v1"
)

// input is something from outside the Job that its Pod reads: a ConfigMap, or something else that nobody can hold still.
type input struct {
	// where begins a sentence: volume x, env y of container z.
	where string
	// configMap is its name, if it is one.
	configMap string
	// other names what it is, if it is not a ConfigMap.
	other string
}

// inputs are all of a Pod, leaving out what the Pod itself makes (an emptyDir), what the API server says of the Pod (the downward
// API), and the tokens of its own ServiceAccount. What is not known to be harmless is an input.
func inputs(pod *corev1.PodSpec) []input {
	var all []input
	for _, v := range pod.Volumes {
		all = append(all, volumeInputs(v)...)
	}
	for _, c := range containers(pod) {
		for _, e := range c.Env {
			all = append(all, variableInputs("env "+e.Name+" of container "+c.Name, e.ValueFrom)...)
		}
		for _, from := range c.EnvFrom {
			all = append(all, variablesInput("an envFrom of container "+c.Name, from))
		}
	}
	return all
}

func volumeInputs(v corev1.Volume) []input {
	where := "volume " + v.Name
	switch v.VolumeSource {
	case corev1.VolumeSource{EmptyDir: v.EmptyDir}, corev1.VolumeSource{DownwardAPI: v.DownwardAPI}:
		return nil
	case corev1.VolumeSource{ConfigMap: v.ConfigMap}:
		return []input{configMapInput(where, v.ConfigMap.Name)}
	case corev1.VolumeSource{Image: v.Image}:
		if pinned(v.Image.Reference) {
			return nil
		}
	case corev1.VolumeSource{Projected: v.Projected}:
		var all []input
		for _, s := range v.Projected.Sources {
			all = append(all, projectionInputs(where, s)...)
		}
		return all
	}
	return []input{{where: where, other: volumeKind(v.VolumeSource)}}
}

func projectionInputs(where string, p corev1.VolumeProjection) []input {
	switch p {
	case corev1.VolumeProjection{DownwardAPI: p.DownwardAPI}, corev1.VolumeProjection{ServiceAccountToken: p.ServiceAccountToken}:
		return nil
	case corev1.VolumeProjection{ConfigMap: p.ConfigMap}:
		return []input{configMapInput(where, p.ConfigMap.Name)}
	case corev1.VolumeProjection{Secret: p.Secret}:
		return []input{{where: where, other: "Secret " + p.Secret.Name}}
	}
	return []input{{where: where, other: "a projection of another kind"}}
}

func variableInputs(where string, from *corev1.EnvVarSource) []input {
	if from == nil {
		return nil
	}
	switch *from {
	case corev1.EnvVarSource{FieldRef: from.FieldRef}, corev1.EnvVarSource{ResourceFieldRef: from.ResourceFieldRef}:
		return nil
	case corev1.EnvVarSource{ConfigMapKeyRef: from.ConfigMapKeyRef}:
		return []input{configMapInput(where, from.ConfigMapKeyRef.Name)}
	case corev1.EnvVarSource{SecretKeyRef: from.SecretKeyRef}:
		return []input{{where: where, other: "Secret " + from.SecretKeyRef.Name}}
	}
	return []input{{where: where, other: "a source of another kind"}}
}

func variablesInput(where string, from corev1.EnvFromSource) input {
	switch {
	case from.ConfigMapRef != nil && from.SecretRef == nil:
		return configMapInput(where, from.ConfigMapRef.Name)
	case from.SecretRef != nil && from.ConfigMapRef == nil:
		return input{where: where, other: "Secret " + from.SecretRef.Name}
	}
	return input{where: where, other: "a source of another kind"}
}

// configMapInput takes a ConfigMap without a name, which the API server lets pass, for something that cannot be looked at.
func configMapInput(where, name string) input {
	if name == "" {
		return input{where: where, other: "a ConfigMap without a name"}
	}
	return input{where: where, configMap: name}
}

// volumeKind names the kinds that people know.
func volumeKind(s corev1.VolumeSource) string {
	switch {
	case s.Secret != nil:
		return "Secret " + s.Secret.SecretName
	case s.PersistentVolumeClaim != nil:
		return "PersistentVolumeClaim " + s.PersistentVolumeClaim.ClaimName
	case s.HostPath != nil:
		return "path " + s.HostPath.Path + " of the node"
	case s.NFS != nil:
		return "an NFS share"
	case s.CSI != nil:
		return "a CSI volume of driver " + s.CSI.Driver
	case s.Image != nil:
		return "image " + s.Image.Reference
	}
	return "a volume of another kind"
}
