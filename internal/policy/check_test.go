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

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// TestRisks_AnImageVolumeIsNotPulledWhileTheStepRuns: the kubelet pulls all image volumes of a Pod at each start of a container that
// mounts one, one after the other, and ends nothing meanwhile.
func TestRisks_AnImageVolumeIsNotPulledWhileTheStepRuns(t *testing.T) {
	const other = "10.0.0.1:5000/a/b@sha256:" + digest
	mount := func(name string) []corev1.VolumeMount {
		return []corev1.VolumeMount{{Name: name, MountPath: "/" + name}}
	}
	for name, row := range map[string]struct {
		given func(*corev1.PodSpec)
		late  bool
	}{
		"one that the container beside mounts":                {func(p *corev1.PodSpec) { p.Containers[1].VolumeMounts = mount("i") }, true},
		"one beside another that the container beside mounts": {func(p *corev1.PodSpec) { p.Containers[1].VolumeMounts = mount("listed") }, true},
		"one that nobody mounts":                              {func(*corev1.PodSpec) {}, false},
		"one that the step mounts":                            {func(p *corev1.PodSpec) { p.Containers[0].VolumeMounts = mount("i") }, false},
		"one that the step and the container beside mount": {func(p *corev1.PodSpec) {
			p.Containers[0].VolumeMounts, p.Containers[1].VolumeMounts = mount("i"), mount("i")
		}, false},
		"one that an init container and the one beside it mount": {func(p *corev1.PodSpec) {
			p.InitContainers, p.Containers[1].VolumeMounts = []corev1.Container{{Name: "first", Image: image, VolumeMounts: mount("i")}}, mount("i")
		}, false},
		"one of the step's own image": {func(p *corev1.PodSpec) {
			p.Volumes[0].Image.Reference, p.Containers[1].VolumeMounts = image, mount("i")
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			in := ReviewInput{Request: newRequest(), Job: newJob(), Capability: newCapability(), Provider: &v1alpha1.CapabilityProvider{}}
			pod := &in.Job.Spec.Template.Spec
			pod.Containers = append(pod.Containers, corev1.Container{Name: "beside", Image: image})
			pod.Volumes = []corev1.Volume{{Name: "i", VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: other}}},
				{Name: "listed", VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: image}}}}
			row.given(pod)
			_, risks, err := NewReview(in)
			if err != nil {
				t.Fatal(err)
			}
			late := slices.ContainsFunc(risks, func(r Risk) bool {
				return r.Needs == v1alpha1.AcceptOtherImage && strings.Contains(r.Message, "volume i ")
			})
			if late != row.late {
				t.Errorf("it may be pulled late: %v; %v", late, risks)
			}
		})
	}
}

// TestCheckJob_WhatOthersNoteOnThePodIsNotRead: labels and annotations are added when the Pod is made, as by a LimitRange.
func TestCheckJob_WhatOthersNoteOnThePodIsNotRead(t *testing.T) {
	reads := func(path string) func(*batchv1.Job, *corev1.PodSpec, *corev1.Container) {
		return func(j *batchv1.Job, _ *corev1.PodSpec, c *corev1.Container) {
			j.Spec.Template.Annotations = map[string]string{"note": "x", "kubernetes.io/limit-ranger": "x"}
			j.Spec.Template.Labels = map[string]string{v1alpha1.LabelRequest: j.Labels[v1alpha1.LabelRequest], "team": "web", "batch.kubernetes.io/job-name": "x"}
			c.Env = []corev1.EnvVar{{Name: "NOTE", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: path}}}}
		}
	}
	inVolume := func(path string) func(*batchv1.Job, *corev1.PodSpec, *corev1.Container) {
		return func(_ *batchv1.Job, pod *corev1.PodSpec, _ *corev1.Container) {
			items := []corev1.DownwardAPIVolumeFile{{Path: "notes", FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: path}}}
			pod.Volumes = []corev1.Volume{{Name: "info", VolumeSource: corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: items}}}}
		}
	}
	checkJobs(t, newCapability(), []jobRow{
		{"an annotation of the Job's", reads("metadata.annotations['note']"), ""},
		{"a label of the Job's", reads("metadata.labels['team']"), ""},
		{"a label by which the Job knows its Pods", reads("metadata.labels['batch.kubernetes.io/job-name']"), ""},
		{"the Pod's name", reads("metadata.name"), ""},
		{"an annotation that is not set", reads("metadata.annotations['other']"), "container publish: env[NOTE] reads metadata.annotations['other'], which the Job does not set"},
		{"a label that is not set", reads("metadata.labels['other']"), "which the Job does not set"},
		{"an annotation that Kubernetes writes anew", reads("metadata.annotations['kubernetes.io/limit-ranger']"), "or Kubernetes writes"},
		{"a label of the node's", reads("metadata.labels['topology.kubernetes.io/zone']"), "which the Job does not set"},
		{"all annotations, in a volume", inVolume("metadata.annotations"), "volume info: notes reads all of metadata.annotations, which others add to"},
		{"all labels, in a volume", inVolume("metadata.labels"), "reads all of metadata.labels"},
	})
}

// TestCheckJob_WhatALimitRangeWouldDecideIsNotRead: a namespace's LimitRange fills in what a Pod leaves open, after the Job was reviewed.
func TestCheckJob_WhatALimitRangeWouldDecideIsNotRead(t *testing.T) {
	reads := func(kind corev1.ResourceFieldSelector, set corev1.ResourceRequirements) func(*batchv1.Job, *corev1.PodSpec, *corev1.Container) {
		return func(_ *batchv1.Job, _ *corev1.PodSpec, c *corev1.Container) {
			c.Resources = set
			c.Env = []corev1.EnvVar{{Name: "CPU", ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &kind}}}
		}
	}
	one := func(name corev1.ResourceName) corev1.ResourceList {
		return corev1.ResourceList{name: resource.MustParse("1")}
	}
	limited := corev1.ResourceRequirements{Limits: one(corev1.ResourceCPU)}
	in := func(v corev1.VolumeSource, set corev1.ResourceRequirements) func(*batchv1.Job, *corev1.PodSpec, *corev1.Container) {
		return func(_ *batchv1.Job, pod *corev1.PodSpec, c *corev1.Container) {
			c.Resources, pod.Volumes = set, []corev1.Volume{{Name: "info", VolumeSource: v}}
		}
	}
	items := []corev1.DownwardAPIVolumeFile{{Path: "cpu", ResourceFieldRef: &corev1.ResourceFieldSelector{ContainerName: "publish", Resource: "limits.cpu"}}}
	downward := corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: items}}
	projected := corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
		Sources: []corev1.VolumeProjection{{DownwardAPI: &corev1.DownwardAPIProjection{Items: items}}}}}
	checkJobs(t, newCapability(), []jobRow{
		{"a limit that is set", reads(corev1.ResourceFieldSelector{Resource: "limits.cpu"}, limited), ""},
		{"a request that is set", reads(corev1.ResourceFieldSelector{Resource: "requests.hugepages-2Mi"}, corev1.ResourceRequirements{Requests: one("hugepages-2Mi")}), ""},
		{"a limit that is not set", reads(corev1.ResourceFieldSelector{Resource: "limits.cpu"}, corev1.ResourceRequirements{}),
			"container publish: env[CPU] reads resources.limits.cpu of container publish, which the Job does not set"},
		{"a request where a limit is set", reads(corev1.ResourceFieldSelector{Resource: "requests.cpu"}, limited), "resources.requests.cpu"},
		{"another resource than is set", reads(corev1.ResourceFieldSelector{Resource: "limits.memory"}, limited), "resources.limits.memory"},
		{"a limit of a container that is not there", reads(corev1.ResourceFieldSelector{ContainerName: "other", Resource: "limits.cpu"}, limited), "of container other"},
		{"a limit that is set, in a volume", in(downward, limited), ""},
		{"a limit that is not set, in a volume", in(downward, corev1.ResourceRequirements{}), "volume info: cpu reads resources.limits.cpu of container publish"},
		{"a limit that is not set, in a projected volume", in(projected, corev1.ResourceRequirements{}), "volume info: cpu reads resources.limits.cpu"},
	})
}
