// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

func TestTheReviewShowsWhatPeopleDecideOn(t *testing.T) {
	job := newJob()
	job.Spec.Template.Spec.InitContainers = []corev1.Container{{Name: "fetch", Image: "fetch@sha256:" + digest}}
	job.Spec.Template.Spec.Containers = append(job.Spec.Template.Spec.Containers, corev1.Container{Name: "side", Image: "side:v1"})
	in := reviewOf(job)
	got, risks, err := NewReview(in)
	want := v1alpha1.Review{
		Digest: Digest(in), At: metav1.NewTime(noon()),
		Job: v1alpha1.ReviewedJob{
			Name: "valetkey-publish-pr-184", UID: "job-uid", Container: "publish", Image: image,
			Command: []string{"/scripts/publish-preview.sh"}, Args: []string{"--fast"},
			OtherContainers: []string{"fetch=fetch@sha256:" + digest, "side=side:v1"}, ServiceAccountName: "web-app-bot",
		},
		Capability: v1alpha1.ReviewedCapability{
			Name: "publish-preview-build", Description: "Upload the preview build of one repository.", Provider: "aws-preview",
			Principal: "arn:aws:iam::123456789012:role/preview-deployer",
		},
		Scope: in.Scope, TTLSeconds: 900,
		NotCovered: []string{"the image side:v1 of container side is not named by digest"},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	if len(risks) != 2 || risks[0] != (Risk{v1alpha1.AcceptUnpinnedImage, want.NotCovered[0]}) || risks[1].Needs != v1alpha1.AcceptOtherImage {
		t.Errorf("the risks are %v", risks)
	}
}

func TestAReviewOfADefaultLifetimeShowsIt(t *testing.T) {
	in := reviewOf(newJob())
	in.Request.Spec.TTLSeconds = nil
	in.Job.Spec.Template.Spec.ServiceAccountName = ""
	if got, _, _ := NewReview(in); got.TTLSeconds != 600 || got.Job.ServiceAccountName != "default" {
		t.Errorf("%d seconds as %s", got.TTLSeconds, got.Job.ServiceAccountName)
	}
	if TTL(in.Request, nil) != 0 {
		t.Error("a lifetime without a capability")
	}
}

func TestWhatCanChangeAfterTheApprovalIsARisk(t *testing.T) {
	const unpinned, mutable, other = v1alpha1.AcceptUnpinnedImage, v1alpha1.AcceptMutableInput, v1alpha1.AcceptOtherImage
	beside := func(image string) func(*corev1.PodSpec) {
		return func(pod *corev1.PodSpec) {
			pod.Containers = append(pod.Containers, corev1.Container{Name: "side", Image: image})
		}
	}
	ref := func(name string) corev1.LocalObjectReference { return corev1.LocalObjectReference{Name: name} }
	volume := func(v corev1.VolumeSource) func(*corev1.PodSpec) {
		return func(pod *corev1.PodSpec) { pod.Volumes = []corev1.Volume{{Name: "v", VolumeSource: v}} }
	}
	projected := func(p ...corev1.VolumeProjection) func(*corev1.PodSpec) {
		return volume(corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: p}})
	}
	env := func(from *corev1.EnvVarSource) func(*corev1.PodSpec) {
		return func(pod *corev1.PodSpec) {
			pod.Containers[0].Env = []corev1.EnvVar{{Name: "E", Value: "", ValueFrom: from}}
		}
	}
	resources := func(kind string, names ...corev1.ResourceName) func(*corev1.PodSpec) {
		return func(pod *corev1.PodSpec) {
			list := corev1.ResourceList{}
			for _, name := range names {
				list[name] = resource.MustParse("1")
			}
			if pod.Containers[0].Resources.Requests = list; kind == "limits" {
				pod.Containers[0].Resources = corev1.ResourceRequirements{Limits: list}
			}
		}
	}
	envFrom := func(from corev1.EnvFromSource) func(*corev1.PodSpec) {
		return func(pod *corev1.PodSpec) {
			pod.InitContainers = []corev1.Container{{Name: "init", Image: image, EnvFrom: []corev1.EnvFromSource{from}}}
		}
	}
	for _, tt := range []struct {
		name  string
		given func(pod *corev1.PodSpec)
		needs v1alpha1.Acceptance
		says  string
	}{
		{"nothing can change", func(*corev1.PodSpec) {}, "", ""},
		{"an image has a tag", func(p *corev1.PodSpec) { p.Containers[0].Image = "alpine:3" }, unpinned, "the image alpine:3 of container publish"},
		{"an image has nothing", func(p *corev1.PodSpec) { p.Containers[0].Image = "alpine" }, unpinned, "the image alpine of"},
		{"an image has a digest that is cut", func(p *corev1.PodSpec) { p.Containers[0].Image = image[:len(image)-1] }, unpinned, "not named by digest"},
		{"an image has a digest in capitals", func(p *corev1.PodSpec) {
			p.Containers[0].Image = "a@sha256:" + strings.ToUpper(digest)
		}, unpinned, "not named by digest"},
		{"an image has a digest of another kind", func(p *corev1.PodSpec) { p.Containers[0].Image = "a@sha512:" + digest }, unpinned, "not named by digest"},
		{"an image is nothing but a digest", func(p *corev1.PodSpec) { p.Containers[0].Image = "@sha256:" + digest }, unpinned, "not named by digest"},
		{"an image has a tag and a digest", func(p *corev1.PodSpec) { p.Containers[0].Image = "a:v1@sha256:" + digest }, "", ""},
		{"an init container's image has a tag", func(p *corev1.PodSpec) {
			p.InitContainers = []corev1.Container{{Name: "init", Image: "busybox"}}
		}, unpinned, "of container init"},
		{"a debug container's image has a tag", func(p *corev1.PodSpec) {
			p.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "debug", Image: "busybox"}}}
		}, unpinned, "of container debug"},
		{"a volume is empty", volume(corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}), "", ""},
		{"a volume tells of the Pod", volume(corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{}}), "", ""},
		{"a volume is a ConfigMap, of which the grant makes a copy", volume(configMapVolume("settings")), "", ""},
		{"a volume is a ConfigMap without a name", volume(configMapVolume("")), mutable, "without a name"},
		{"a volume is a Secret", volume(corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "s"}}), mutable, "volume v is Secret s"},
		{"a volume is a claim", volume(corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "c"},
		}), mutable, "PersistentVolumeClaim c"},
		{"a volume is of a driver", volume(corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: "d"}}), mutable, "driver d"},
		{"a volume is an image", volume(corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: "registry.example.com/a:v1"}}), mutable, "image registry"},
		{"a volume is an image by digest", volume(corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: image}}), "", ""},
		{"a volume is a claim of its own", volume(corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}}), mutable, "PersistentVolumeClaim of the Pod's own"},
		{"a volume is two things", volume(corev1.VolumeSource{
			EmptyDir: &corev1.EmptyDirVolumeSource{}, Secret: &corev1.SecretVolumeSource{SecretName: "s"},
		}), mutable, "Secret s"},
		{"a token of its own ServiceAccount is projected", projected(corev1.VolumeProjection{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{}}), "", ""},
		{"what tells of the Pod is projected", projected(corev1.VolumeProjection{DownwardAPI: &corev1.DownwardAPIProjection{}}), "", ""},
		{"a ConfigMap is projected", projected(corev1.VolumeProjection{
			ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: ref("settings")},
		}), "", ""},
		{"a Secret is projected after a ConfigMap", projected(
			corev1.VolumeProjection{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: ref("settings")}},
			corev1.VolumeProjection{Secret: &corev1.SecretProjection{LocalObjectReference: ref("s")}},
		), mutable, "Secret s"},
		{"a Secret is projected", projected(corev1.VolumeProjection{Secret: &corev1.SecretProjection{LocalObjectReference: ref("s")}}), mutable, "Secret s"},
		{"a bundle is projected", projected(corev1.VolumeProjection{ClusterTrustBundle: &corev1.ClusterTrustBundleProjection{}}), mutable, "a ClusterTrustBundle"},
		{"a certificate is projected", projected(corev1.VolumeProjection{PodCertificate: &corev1.PodCertificateProjection{SignerName: "x"}}), mutable, "a certificate of signer x"},
		{"a variable has a value", env(nil), "", ""},
		{"a variable is a field of the Pod", env(&corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{}}), "", ""},
		{"a variable is a resource of the container", env(&corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{}}), "", ""},
		{"a variable is of a ConfigMap", env(&corev1.EnvVarSource{
			ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: ref("settings")},
		}), "", ""},
		{"a variable is of a Secret", env(&corev1.EnvVarSource{
			SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: ref("s")},
		}), mutable, "env E of container publish is Secret s"},
		{"an init container's variables are of a ConfigMap", envFrom(corev1.EnvFromSource{
			ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: ref("settings")},
		}), "", ""},
		{"an init container's variables are of a Secret", envFrom(corev1.EnvFromSource{
			SecretRef: &corev1.SecretEnvSource{LocalObjectReference: ref("s")},
		}), mutable, "an envFrom of container init is Secret s"},
		{"devices are claimed", func(p *corev1.PodSpec) {
			p.ResourceClaims = []corev1.PodResourceClaim{{Name: "gpu", ResourceClaimTemplateName: ptr.To("t")}}
		}, mutable, "resource claim gpu is ResourceClaim or ResourceClaimTemplate t, which can change"},
		{"the step has a device", resources("limits", "example.com/gadget"), mutable,
			"container publish: resources.limits is device example.com/gadget, of which a plug-in or a driver decides"},
		{"the step has a device of a class", resources("limits", "deviceclass.resource.kubernetes.io/gadget"), mutable, "deviceclass."},
		{"the step asks for a device", resources("requests", "example.com/gadget"), mutable, "container publish: resources.requests"},
		{"the step has a share of a node that nobody knows", resources("limits", "gadget"), mutable, "device gadget"},
		{"the step has shares of a node", resources("limits", "cpu", "memory", "ephemeral-storage", "hugepages-2Mi"), "", ""},
		{"an init container has a device", func(p *corev1.PodSpec) {
			p.InitContainers = []corev1.Container{{Name: "init", Image: image}}
			p.InitContainers[0].Resources.Limits = corev1.ResourceList{"example.com/gadget": resource.MustParse("1")}
		}, mutable, "container init: resources.limits is device example.com/gadget"},
		{"a container beside the step has the step's image", func(p *corev1.PodSpec) {
			p.Containers = append(p.Containers, corev1.Container{Name: "side", Image: image})
		}, "", ""},
		{"a container beside the step has another image", func(p *corev1.PodSpec) {
			p.Containers = append(p.Containers, corev1.Container{Name: "side", Image: "side@sha256:" + digest})
		}, other, "the image of container side may be pulled while the step runs"},
		{"a container beside the step has the step's image with its registry in capitals", beside(strings.Replace(image, "registry", "reGistry", 1)), other, "side"},
		{"a container beside the step has the step's image with the port of its registry", beside(strings.Replace(image, ".com/", ".com:443/", 1)), other, "side"},
		{"a container beside the step has the step's image with a tag", beside(strings.Replace(image, "@", ":v1@", 1)), other, "side"},
		{"a container beside the step looks for its image again", func(p *corev1.PodSpec) {
			p.Containers = append(p.Containers, corev1.Container{Name: "side", Image: image, ImagePullPolicy: corev1.PullAlways})
		}, other, "the image of container side"},
		{"a sidecar has another image", func(p *corev1.PodSpec) {
			p.InitContainers = []corev1.Container{{Name: "side", Image: "side@sha256:" + digest, RestartPolicy: ptr.To(corev1.ContainerRestartPolicyAlways)}}
		}, other, "the image of container side"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			job := newJob()
			tt.given(&job.Spec.Template.Spec)
			in := reviewOf(job)
			in.ConfigMaps = map[string]*corev1.ConfigMap{"settings": {}}
			review, risks, err := NewReview(in)
			if err != nil {
				t.Fatal(err)
			}
			if tt.needs == "" {
				if len(risks) > 0 || len(review.NotCovered) > 0 {
					t.Errorf("found %v", risks)
				}
				return
			}
			if len(risks) != 1 || risks[0].Needs != tt.needs || !strings.Contains(risks[0].Message, tt.says) {
				t.Fatalf("found %v, want %s: %s", risks, tt.needs, tt.says)
			}
			var want []string
			if tt.needs != other {
				want = []string{risks[0].Message}
			}
			if diff := cmp.Diff(want, review.NotCovered); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAReviewThatCoversLittleFitsItsField(t *testing.T) {
	job := newJob()
	for i := range 100 {
		job.Spec.Template.Spec.Volumes = append(job.Spec.Template.Spec.Volumes, corev1.Volume{
			Name: fmt.Sprint(i), VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: strings.Repeat("é", 2000)}},
		})
	}
	review, risks, _ := NewReview(reviewOf(job))
	if len(risks) != 100 || len(review.NotCovered) != 64 || review.NotCovered[63] != "and 37 more" {
		t.Errorf("%d risks, %d lines, the last %q", len(risks), len(review.NotCovered), review.NotCovered[len(review.NotCovered)-1])
	}
	for _, line := range review.NotCovered {
		if len(line) > 1024 {
			t.Errorf("a line of %d bytes", len(line))
		}
	}
}

func TestConfigMapNames(t *testing.T) {
	job := newJob()
	pod := &job.Spec.Template.Spec
	pod.Volumes = []corev1.Volume{
		{Name: "a", VolumeSource: configMapVolume("z")},
		{Name: "b", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "projected"}}},
		}}}},
		{Name: "c", VolumeSource: configMapVolume("")},
	}
	pod.InitContainers = []corev1.Container{{EnvFrom: []corev1.EnvFromSource{
		{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "init"}}},
	}}}
	pod.Containers[0].Env = []corev1.EnvVar{{ValueFrom: &corev1.EnvVarSource{
		ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "z"}},
	}}}
	if diff := cmp.Diff([]string{"init", "projected", "z"}, ConfigMapNames(job)); diff != "" {
		t.Error(diff)
	}
}

func TestWhatChangedSinceTheReviewIsSaid(t *testing.T) {
	was := v1alpha1.Review{Job: v1alpha1.ReviewedJob{UID: "1"}, Capability: v1alpha1.ReviewedCapability{Provider: "p", Principal: "role/a"}, Scope: []string{"put on x"}, TTLSeconds: 900, Inputs: []v1alpha1.ReviewedInput{{Name: "settings", UID: "1", SHA256: "1"}}}
	for want, change := range map[string]func(*v1alpha1.Review){
		"the Job is another one of the same name": func(r *v1alpha1.Review) { r.Job.UID = "2" },
		"the provider is q and was p":             func(r *v1alpha1.Review) { r.Capability.Provider = "q" },
		"the principal is role/b and was role/a":  func(r *v1alpha1.Review) { r.Capability.Principal = "role/b" },
		"the scope is put on * and was put on x":  func(r *v1alpha1.Review) { r.Scope = []string{"put on *"} },
		"ttlSeconds is 901 and was 900":           func(r *v1alpha1.Review) { r.TTLSeconds = 901 },
		"the provider is q and was p; the scope is put on x and put on y and was put on x": func(r *v1alpha1.Review) {
			r.Capability.Provider, r.Scope = "q", []string{"put on x", "put on y"}
		},
		"the Job's template, or a field of the capability or of its provider": func(r *v1alpha1.Review) { r.Digest = "2" },
		"ConfigMap settings was changed, or made again":                       func(r *v1alpha1.Review) { r.Inputs[0].SHA256 = "2" },
	} {
		is := *was.DeepCopy()
		change(&is)
		if got := Changed(&was, &is); got != want {
			t.Errorf("it says %q; want %q", got, want)
		}
	}
	long := *was.DeepCopy()
	long.Scope = []string{strings.Repeat("é", 2000)}
	if got := Changed(&was, &long); len(got) > maxMessageLength {
		t.Errorf("it says %d bytes", len(got))
	}
}

func TestReview_ListsWhatAPodReads(t *testing.T) {
	job := newJob()
	pod := &job.Spec.Template.Spec
	pod.AutomountServiceAccountToken = nil
	optional := configMapVolume("nowhere")
	optional.ConfigMap.Optional = ptr.To(true)
	pod.Volumes = []corev1.Volume{{Name: "a", VolumeSource: configMapVolume("settings")}, {Name: "b", VolumeSource: optional}}
	in := reviewOf(job)
	in.ConfigMaps = map[string]*corev1.ConfigMap{
		"settings": {ObjectMeta: metav1.ObjectMeta{UID: "1", ResourceVersion: "7"}, Data: map[string]string{"a": "b"}},
		RootCA:     {ObjectMeta: metav1.ObjectMeta{UID: "2", ResourceVersion: "8"}, Data: map[string]string{"ca.crt": "x"}, Immutable: ptr.To(true)},
	}
	review, _, err := NewReview(in)
	if err != nil {
		t.Fatal(err)
	}
	want := []v1alpha1.ReviewedInput{
		{Name: RootCA, UID: "2", SHA256: contentSum(in.ConfigMaps[RootCA])},
		{Name: "nowhere"},
		{Name: "settings", UID: "1", ResourceVersion: "7", SHA256: contentSum(in.ConfigMaps["settings"])},
	}
	if diff := cmp.Diff(want, review.Inputs); diff != "" {
		t.Error(diff)
	}
	if !ContentMatches(want[2], in.ConfigMaps["settings"]) || ContentMatches(want[2], in.ConfigMaps[RootCA]) || ContentMatches(want[1], nil) {
		t.Error("a content is taken for another")
	}
}

func TestReview_SaysWhatThePodCouldNotStartWith(t *testing.T) {
	for name, tt := range map[string]struct {
		given func(*corev1.PodSpec, *ReviewInput)
		says  string
	}{
		"a ConfigMap that is not there": {func(p *corev1.PodSpec, _ *ReviewInput) {
			p.Volumes = []corev1.Volume{{Name: "v", VolumeSource: configMapVolume("nowhere")}}
		}, "volume v is ConfigMap nowhere, which does not exist; create it before the Job"},
		"the cluster's certificate, which is not there": {func(p *corev1.PodSpec, _ *ReviewInput) {
			p.AutomountServiceAccountToken = ptr.To(true)
		}, "the token of ServiceAccount web-app-bot is ConfigMap kube-root-ca.crt, which does not exist"},
		"more than is copied": {func(p *corev1.PodSpec, in *ReviewInput) {
			in.ConfigMaps = map[string]*corev1.ConfigMap{}
			for i := range 5 {
				name := fmt.Sprint(i)
				p.Volumes = append(p.Volumes, corev1.Volume{Name: name, VolumeSource: configMapVolume(name)})
				in.ConfigMaps[name] = &corev1.ConfigMap{Data: map[string]string{"a": strings.Repeat("x", 1<<20-1)}}
			}
		}, "have 5242880 bytes, of at most 4194304"},
	} {
		t.Run(name, func(t *testing.T) {
			job := newJob()
			in := reviewOf(job)
			tt.given(&job.Spec.Template.Spec, &in)
			if _, _, err := NewReview(in); err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("it says %v", err)
			}
		})
	}
}

func TestInputs_AreBoundedBeforeAnyIsRead(t *testing.T) {
	for says, volumes := range map[string]func(int) string{
		"the Pod reads 33 ConfigMaps, of at most 32":         func(i int) string { return fmt.Sprint(min(i, 32)) },
		"the Pod names ConfigMaps 257 times, of at most 256": func(int) string { return "one" },
		`volume 0 is ConfigMap "a,b=c"`:                      func(int) string { return "a,b=c" },
	} {
		job := newJob()
		for i := range 257 {
			job.Spec.Template.Spec.Volumes = append(job.Spec.Template.Spec.Volumes, corev1.Volume{Name: fmt.Sprint(i), VolumeSource: configMapVolume(volumes(i))})
		}
		w := newWorld()
		w.Job = job
		if d := w.decide(t); d.Verdict != Deny || !strings.Contains(d.Message, says) {
			t.Errorf("%s: %+v", says, d)
		}
	}
}
