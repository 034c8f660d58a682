// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policytest

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/policy"
)

const (
	// defaultContainer is the one that holds the credential, where a case names none.
	defaultContainer = "step"
	// defaultImage stands for some image that is named by digest, where a case and the capability's runners name none.
	defaultImage = "registry.example.com/step@sha256:0000000000000000000000000000000000000000000000000000000000000000"
)

// jobOf is what a case says of the Job: what of it matters, or the file of a whole one.
type jobOf struct {
	// Manifest is a file, beside that of the case, with the Job and the ConfigMaps that it uses.
	Manifest string   `yaml:"manifest"`
	Image    string   `yaml:"image"`
	Command  []string `yaml:"command"`
	Args     []string `yaml:"args"`
	// OtherImages are those of containers beside the one that holds the credential.
	OtherImages        []string          `yaml:"otherImages"`
	ServiceAccountName string            `yaml:"serviceAccountName"`
	Labels             map[string]string `yaml:"labels"`
}

func (j jobOf) onlyManifest() bool {
	return j.Image == "" && j.Command == nil && j.Args == nil && j.OtherImages == nil && j.ServiceAccountName == "" && j.Labels == nil
}

func (j jobOf) over(d jobOf) *jobOf {
	d.Image, d.ServiceAccountName = cmp.Or(j.Image, d.Image), cmp.Or(j.ServiceAccountName, d.ServiceAccountName)
	d.Command, d.Args, d.OtherImages = either(j.Command, d.Command), either(j.Args, d.Args), either(j.OtherImages, d.OtherImages)
	if j.Labels != nil {
		d.Labels = j.Labels
	}
	return &d
}

// workload is a Job with the ConfigMaps that it uses, by name.
type workload struct {
	job *batchv1.Job
	// described is set when a case describes the Job, and it is not read from a file. The first container is then the one that matters.
	described  bool
	configMaps map[string]*corev1.ConfigMap
}

// build makes the Job that a case describes. What it leaves open is as the capability's first runner wants it.
func (j jobOf) build(container string, c *v1alpha1.Capability) workload {
	step, pod, configMaps := stepOf(container, c)
	step.Image = cmp.Or(j.Image, step.Image)
	step.Command, step.Args = either(j.Command, step.Command), either(j.Args, step.Args)
	pod.Containers = []corev1.Container{step}
	for i, image := range j.OtherImages {
		pod.Containers = append(pod.Containers, corev1.Container{Name: fmt.Sprintf("%s-%d", container, i+2), Image: image})
	}
	pod.RestartPolicy, pod.ServiceAccountName, pod.AutomountServiceAccountToken = corev1.RestartPolicyNever, j.ServiceAccountName, ptr.To(false)
	return workload{
		described: true,
		job: &batchv1.Job{
			ObjectMeta: metav1.ObjectMeta{Labels: maps.Clone(j.Labels)},
			Spec:       batchv1.JobSpec{BackoffLimit: ptr.To[int32](0), Template: corev1.PodTemplateSpec{Spec: pod}},
		},
		configMaps: configMaps,
	}
}

// stepOf is the container that a capability's first runner describes, and what it mounts. Its ConfigMaps are as a review wants them.
func stepOf(name string, c *v1alpha1.Capability) (corev1.Container, corev1.PodSpec, map[string]*corev1.ConfigMap) {
	step, pod := corev1.Container{Name: name, Image: defaultImage}, corev1.PodSpec{}
	if c == nil || len(c.Spec.Runner) == 0 {
		return step, pod, nil
	}
	runner := c.Spec.Runner[0]
	step.Image, step.Command, step.Args, step.WorkingDir = runner.Image, runner.Command, runner.Args, runner.WorkingDir
	for _, v := range runner.Env {
		step.Env = append(step.Env, corev1.EnvVar{Name: v.Name, Value: v.Value})
	}
	configMaps := map[string]*corev1.ConfigMap{}
	for i, m := range runner.Mounts {
		volume := corev1.Volume{Name: fmt.Sprintf("mount-%d", i)}
		switch m.Source {
		case v1alpha1.MountConfigMap:
			volume.ConfigMap = &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: volume.Name}}
			configMaps[volume.Name] = &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: volume.Name}}
		default:
			volume.EmptyDir = &corev1.EmptyDirVolumeSource{}
		}
		pod.Volumes = append(pod.Volumes, volume)
		step.VolumeMounts = append(step.VolumeMounts, corev1.VolumeMount{Name: volume.Name, MountPath: m.MountPath})
	}
	return step, pod, configMaps
}

// readWorkload reads one Job, and any ConfigMaps, of a file. Other objects are not looked at.
func readWorkload(file string) (workload, error) {
	found, err := documents(file)
	if err != nil {
		return workload{}, err
	}
	// Kubernetes puts this one into every namespace.
	w := workload{configMaps: map[string]*corev1.ConfigMap{policy.RootCA: {}}}
	for _, d := range found {
		switch d.text("apiVersion") + " " + d.text("kind") {
		case "batch/v1 Job":
			if w.job != nil {
				return workload{}, fmt.Errorf("%s: a case has one Job; leave the others out of the file", d)
			}
			w.job = &batchv1.Job{}
			err = strictly(d, w.job)
		case "v1 ConfigMap":
			content := &corev1.ConfigMap{}
			err = strictly(d, content)
			w.configMaps[content.Name] = content
		}
		if err != nil {
			return workload{}, err
		}
	}
	if w.job == nil {
		return workload{}, fmt.Errorf("%s: there is no Job of batch/v1 in it", file)
	}
	return w, nil
}

func strictly(d document, into any) error {
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(d.object, into, true); err != nil {
		return fmt.Errorf("%s: %w", d, err)
	}
	return nil
}

// container is the one that holds the credential: as the case says, or the only one of a file.
func (w workload) container(named string) (string, error) {
	all := w.job.Spec.Template.Spec.Containers
	switch {
	case named != "":
		return named, nil
	case w.described || len(all) == 1:
		return all[0].Name, nil
	}
	return "", errors.New("request.container: say which container of the Job holds the credential")
}

// requestName is the request that a Job names; empty if it names none.
func (w workload) requestName() string {
	name, ours := strings.CutPrefix(w.job.Name, v1alpha1.NamePrefix)
	if !ours {
		return ""
	}
	return name
}

// asCreated is the Job as the API server holds it: with defaults, suspended, marked with who created it. A Job that a case describes
// is the request's; one that a file holds is what it says.
func (w workload) asCreated(r *v1alpha1.CapabilityRequest) *batchv1.Job {
	job := w.job.DeepCopy()
	job.UID = "job"
	if w.described {
		job.Name = v1alpha1.NamePrefix + r.Name
		if job.Labels == nil {
			job.Labels = map[string]string{}
		}
		job.Labels[v1alpha1.LabelRequest] = r.Name
	}
	job.Namespace = cmp.Or(job.Namespace, r.Namespace)
	return policy.AsHeld(job, r.Spec.Requester.Username)
}
