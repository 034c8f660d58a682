// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

func TestReading_ShowsTheMostDangerousFirstAndTheStepBeforeTheOthers(t *testing.T) {
	job := newJob()
	pod := &job.Spec.Template.Spec
	pod.InitContainers = []corev1.Container{{Name: "fetch", Image: image, Command: []string{"fetch", "--all"}, ImagePullPolicy: corev1.PullIfNotPresent}}
	publish := &pod.Containers[0]
	publish.Env = []corev1.EnvVar{{Name: "STAGE", Value: "preview"}, {Name: "TOKEN", ValueFrom: &corev1.EnvVarSource{
		SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "s"}, Key: "k"}}}}
	publish.VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data", ReadOnly: true}}
	publish.Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"sh", "-c", "a\nb"}}}}
	publish.LivenessProbe = &corev1.Probe{PeriodSeconds: 3, ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Scheme: corev1.URISchemeHTTPS, Path: "/x", Port: intstr.FromString("web")}}}
	publish.Ports = []corev1.ContainerPort{{Name: "web", ContainerPort: 80, Protocol: corev1.ProtocolTCP}}
	pod.ImagePullSecrets, pod.SecurityContext = []corev1.LocalObjectReference{{Name: "registry"}}, &corev1.PodSecurityContext{}
	pod.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
	pod.HostAliases = []corev1.HostAlias{{IP: "10.0.0.1", Hostnames: []string{"s3.amazonaws.com"}}}
	pod.DNSPolicy, pod.SchedulerName = corev1.DNSClusterFirst, "default-scheduler"
	pod.ActiveDeadlineSeconds = ptr.To[int64](15)
	job.Spec.Template.Labels = map[string]string{"valetkey.dev/request": "publish-pr-184", "job-name": "valetkey-publish-pr-184"}
	job.Spec.Template.Annotations = map[string]string{"valetkey.dev/grant": "x", "k8s.v1.cni.cncf.io/networks": "evil"}
	want := []Line{
		{Program, "publish", "image", nil, `"` + image + `"`, Step},
		{Program, "publish", "command", []string{"/scripts/publish-preview.sh"}, "", Step},
		{Program, "publish", "args", []string{"--fast"}, "", Step},
		{Program, "publish", "livenessProbe.periodSeconds", nil, "3", Step},
		{Program, "publish", "lifecycle.preStop.exec.command", []string{"sh", "-c", "a\nb"}, "", Step},
		{Program, "fetch", "image", nil, `"` + image + `"`, Init},
		{Program, "fetch", "command", []string{"fetch", "--all"}, "", Init},
		{Content, "publish", "env[STAGE]", nil, `name "STAGE", value "preview"`, Step},
		{Content, "publish", "env[TOKEN]", nil, `name "TOKEN", valueFrom.secretKeyRef.name "s", valueFrom.secretKeyRef.key "k"`, Step},
		{Content, "publish", "volumeMounts[/data]", nil, `name "data", readOnly true, mountPath "/data"`, Step},
		{Content, "", "metadata.annotations", nil, `{"k8s.v1.cni.cncf.io/networks":"evil"}`, ""},
		{Content, "", "volumes[data]", nil, `emptyDir {}`, ""},
		{Network, "publish", "ports[web]", nil, `name "web", containerPort 80`, Step},
		{Network, "publish", "livenessProbe.httpGet.path", nil, `"/x"`, Step},
		{Network, "publish", "livenessProbe.httpGet.port", nil, `"web"`, Step},
		{Network, "publish", "livenessProbe.httpGet.scheme", nil, `"HTTPS"`, Step},
		{Network, "", "hostAliases[0]", nil, `ip "10.0.0.1", hostnames ["s3.amazonaws.com"]`, ""},
		{Identity, "", "serviceAccountName", nil, `"web-app-bot"`, ""},
		{Identity, "", "automountServiceAccountToken", nil, `false`, ""},
		{Identity, "", "imagePullSecrets[registry]", nil, `name "registry"`, ""},
		{Placement, "", "activeDeadlineSeconds", nil, `15`, ""},
		{Rest, "", "labels of the Job", nil, `{"team":"web"}`, ""},
	}
	got := Reading(job, "publish")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestReading_SaysWhatIsDecidedByNotBeingSet(t *testing.T) {
	job := newJob()
	pod := &job.Spec.Template.Spec
	pod.AutomountServiceAccountToken, pod.Containers[0].Command = nil, nil
	var got []string
	for _, l := range Reading(job, pod.Containers[0].Name) {
		got = append(got, l.String())
	}
	want := []string{
		`image "` + image + `"`, `args "--fast"`, "command is not set: the image decides what runs", `serviceAccountName "web-app-bot"`,
		"automountServiceAccountToken is not set: each container has that account's token, unless the account says otherwise",
		`labels of the Job {"team":"web"}`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestReading_TellsElementsByTheirPlace: names of variables and mounts can have brackets, blanks and quotes, and be there twice.
func TestReading_TellsElementsByTheirPlace(t *testing.T) {
	job := newJob()
	publish := &job.Spec.Template.Spec.Containers[0]
	secret := &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "s"}, Key: "k"}}
	publish.Env = []corev1.EnvVar{{Name: "A", Value: "x"}, {Name: "A]B", Value: "hidden?"}, {Name: "A", Value: "second"}, {Name: "A", ValueFrom: secret},
		{Name: "LD_PRELOAD]", Value: "/x.so"}, {Name: `Q="good" B`, Value: "evil"}, {Name: "E"}, {Name: "A]", Value: "<"}, {Name: "A[0]", Value: "0"}, {Name: "<", Value: "1"}}
	publish.VolumeMounts = []corev1.VolumeMount{{Name: "d", MountPath: "/a].name"}, {Name: "e", MountPath: `/b: name "x", mountPath "/c"`}, {Name: "f", MountPath: "/a]"}}
	var got []string
	for _, l := range Reading(job, "publish") {
		if l.Danger == Content {
			got = append(got, l.String())
		}
	}
	const not = ", which does not count: it is the variable %d of 3 of this name, and a later one replaces it"
	want := []string{
		`env A="x"` + fmt.Sprintf(not, 1), `env "A]B"="hidden?"`, `env A="second"` + fmt.Sprintf(not, 2),
		`env A: valueFrom.secretKeyRef.name "s", valueFrom.secretKeyRef.key "k", which replaces the others: it is the last of 3 variables of this name`,
		`env "LD_PRELOAD]"="/x.so"`, `env "Q=\"good\" B"="evil"`, `env E=""`, `env "A]"="<"`, `env "A[0]"="0"`, `env "<"="1"`,
		`volumeMounts "/a].name": name "d", mountPath "/a].name"`, `volumeMounts "/b: name \"x\", mountPath \"/c\"": name "e", mountPath "/b: name \"x\", mountPath \"/c\""`,
		`volumeMounts "/a]": name "f", mountPath "/a]"`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestReading_ShowsWhatAContainerHasOfItsNode(t *testing.T) {
	job := newJob()
	publish := &job.Spec.Template.Spec.Containers[0]
	publish.Resources.Limits = corev1.ResourceList{"cpu": resource.MustParse("666")}
	publish.Resources.Requests = corev1.ResourceList{"cpu": resource.MustParse("1"), "example.com/gadget": resource.MustParse("2")}
	publish.Env = []corev1.EnvVar{
		{Name: "N", ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "limits.cpu", Divisor: resource.MustParse("1m")}}},
		{Name: "M", ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "limits.cpu", Divisor: resource.MustParse("0")}}},
	}
	want := []Line{
		{Content, "publish", "env[N]", nil, `name "N", valueFrom.resourceFieldRef.resource "limits.cpu", valueFrom.resourceFieldRef.divisor "1m"`, Step},
		{Content, "publish", "env[M]", nil, `name "M", valueFrom.resourceFieldRef.resource "limits.cpu"`, Step},
		{Content, "publish", "resources.requests", nil, `{"cpu":"1","example.com/gadget":"2"}`, Step},
		{Placement, "publish", "resources.limits", nil, `{"cpu":"666"}`, Step},
		{Rest, "", "labels of the Job", nil, `{"team":"web"}`, ""},
	}
	got := slices.DeleteFunc(Reading(job, "publish"), func(l Line) bool { return l.Danger == Program || l.Danger == Identity })
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestReading_LeavesOutNothingThatIsReviewed fills every field of a Job and looks for each of those that people are to be shown.
func TestReading_LeavesOutNothingThatIsReviewed(t *testing.T) {
	in := everything()
	shown := strings.Builder{}
	for _, l := range Reading(in.Job, "filled") {
		fmt.Fprintln(&shown, l.Container, l.Name, l.Words, l.Value)
	}
	leaves := 0
	walk(&in.Job.Spec, func(s Setting) bool {
		if s.Field.Class == Harmless {
			return false
		}
		if (s.Field.Class == Reviewed || s.Field.Class == Input) && !s.isDefault() && !isComposite(s.Value) {
			leaves++
			if thing, field := s.thing(); !strings.Contains(shown.String(), thing) || !strings.Contains(shown.String(), field) {
				t.Errorf("%s is not shown", s.where())
			}
		}
		return true
	})
	if leaves < 100 {
		t.Errorf("only %d fields were looked for", leaves)
	}
}

// TestReading_SaysHowEachContainerRuns: who writes before the step, and who while it runs. A container's name cannot
// pass for another label.
func TestReading_SaysHowEachContainerRuns(t *testing.T) {
	job := newJob()
	pod := &job.Spec.Template.Spec
	always := corev1.ContainerRestartPolicyAlways
	pod.InitContainers = []corev1.Container{{Name: "fetch", Image: image}, {Name: "mesh", Image: image, RestartPolicy: &always}}
	pod.Containers = append(pod.Containers, corev1.Container{Name: "decision", Image: image})
	labels := map[string]bool{}
	for _, l := range Reading(job, "publish") {
		labels[l.Label()] = true
	}
	want := []string{"decision (beside)", "fetch (init)", "mesh (sidecar)", "publish (step)", "the Pod"}
	if got := slices.Sorted(maps.Keys(labels)); !slices.Equal(got, want) {
		t.Errorf("%q; want %q", got, want)
	}
}

// TestReading_TellsWhatStartsBeforeTheStep: it can leave something for it.
func TestReading_TellsWhatStartsBeforeTheStep(t *testing.T) {
	for _, names := range [][]string{{"a", "publish", "b"}, {"publish", "a"}, {"a", "publish"}} {
		job := newJob()
		pod := &job.Spec.Template.Spec
		step := pod.Containers[0]
		pod.Containers = nil
		for _, name := range names {
			c := corev1.Container{Name: name, Image: image}
			if name == step.Name {
				c = step
			}
			pod.Containers = append(pod.Containers, c)
		}
		for _, line := range Reading(job, step.Name) {
			want := Beside
			switch {
			case line.Container == "":
				continue
			case line.Container == step.Name:
				want = Step
			case slices.Index(names, line.Container) < slices.Index(names, step.Name):
				want = Ahead
			}
			if line.Kind != want {
				t.Errorf("%v: %s is %q, want %q", names, line.Container, line.Kind, want)
			}
		}
	}
}
