// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// aside adds a container beside the step, or before it, after a change.
func aside(change func(*corev1.Container)) func(*batchv1.Job, *corev1.PodSpec, *corev1.Container) {
	return func(_ *batchv1.Job, pod *corev1.PodSpec, _ *corev1.Container) {
		c := corev1.Container{Name: "side", Image: image}
		change(&c)
		pod.Containers = append(pod.Containers, c)
	}
}

func before(restart *corev1.ContainerRestartPolicy, change func(*corev1.Container)) func(*batchv1.Job, *corev1.PodSpec, *corev1.Container) {
	return func(_ *batchv1.Job, pod *corev1.PodSpec, _ *corev1.Container) {
		c := corev1.Container{Name: "side", Image: image, RestartPolicy: restart}
		change(&c)
		pod.InitContainers = []corev1.Container{c}
	}
}

var always = ptr.To(corev1.ContainerRestartPolicyAlways)

// tame is what makes a container unable to deceive another one.
func tame(c *corev1.Container) {
	c.SecurityContext = &corev1.SecurityContext{RunAsNonRoot: ptr.To(true), AllowPrivilegeEscalation: ptr.To(false),
		Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}}
}

// TestLeaks_NobodyInThePodDecidesWhomTheStepTalksTo: by the files that name servers, which root of any container may
// write, or by the packets of the network that all of them share.
func TestLeaks_NobodyInThePodDecidesWhomTheStepTalksTo(t *testing.T) {
	const says = "runAsNonRoot: true, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}"
	but := func(change func(*corev1.SecurityContext)) func(*corev1.Container) {
		return func(c *corev1.Container) {
			tame(c)
			change(c.SecurityContext)
		}
	}
	rows := []jobRow{
		{"there is none", func(*batchv1.Job, *corev1.PodSpec, *corev1.Container) {}, ""},
		{"a container as it comes", aside(func(*corev1.Container) {}), says},
		{"a sidecar", before(always, func(*corev1.Container) {}), says},
		{"an init container, whose resolv.conf stays", before(nil, func(*corev1.Container) {}), says},
		{"a tame container", aside(tame), ""},
		{"a tame sidecar", before(always, tame), ""},
		{"a tame init container", before(nil, tame), ""},
		{"one that may be root", aside(but(func(s *corev1.SecurityContext) { s.RunAsNonRoot = nil })), says},
		{"one that is root", aside(but(func(s *corev1.SecurityContext) { s.RunAsNonRoot = ptr.To(false) })), says},
		{"one that may become root", aside(but(func(s *corev1.SecurityContext) { s.AllowPrivilegeEscalation = nil })), says},
		{"one that drops nothing", aside(but(func(s *corev1.SecurityContext) { s.Capabilities = nil })), says},
		{"one that drops NET_RAW alone", aside(but(func(s *corev1.SecurityContext) { s.Capabilities.Drop[0] = "NET_RAW" })), says},
		{"one that drops all by a name that no runtime knows", aside(but(func(s *corev1.SecurityContext) { s.Capabilities.Drop[0] = "all" })), says},
		{"one that takes something back", aside(but(func(s *corev1.SecurityContext) { s.Capabilities.Add = []corev1.Capability{"NET_BIND_SERVICE"} })), says},
		{"one of a Pod that is nobody's root", func(job *batchv1.Job, pod *corev1.PodSpec, c *corev1.Container) {
			pod.SecurityContext = &corev1.PodSecurityContext{RunAsNonRoot: ptr.To(true)}
			aside(but(func(s *corev1.SecurityContext) { s.RunAsNonRoot = nil }))(job, pod, c)
		}, ""},
	}
	google, postgres, listed := newCapability(), newCapability(), newCapability()
	google.Spec.GCP = &v1alpha1.GCPCapability{}
	postgres.Spec.Vault = &v1alpha1.VaultCapability{Postgres: &v1alpha1.VaultPostgres{SSLMode: "require"}}
	listed.Spec.Runner = []v1alpha1.Runner{{Image: image, Command: []string{"/scripts/publish-preview.sh"}, Args: []string{"--fast"}}}
	for _, c := range []*v1alpha1.Capability{google, postgres, listed} {
		checkJobs(t, c, rows)
	}
	demanded := newCapability()
	demanded.Spec.Exec, demanded.Spec.Runner = &v1alpha1.ExecDemand{Images: []string{execImage}}, []v1alpha1.Runner{execRunner()}
	another := func(policy *corev1.ContainerRestartPolicy) jobChange {
		return from(func(pod *corev1.PodSpec, c *corev1.Container) {
			before(policy, func(c *corev1.Container) { c.Image, c.Command = execImage, []string{"/x"} })(nil, pod, c)
		})
	}
	checkJobs(t, demanded, []jobRow{
		{"what installs valetkey-exec", copied, ""},
		{"its image as a sidecar", another(always), says},
		{"another program of its image", another(nil), says},
	})
	for _, mode := range []string{"disable", "verify-ca"} {
		postgres.Spec.Vault.Postgres.SSLMode = mode
		checkJobs(t, postgres, rows[1:2])
	}
	for _, host := range []string{"localhost", "LOCALHOST", "db.localhost.", "127.0.0.1", "127.1.2.3", "::1", "0.0.0.0"} {
		postgres.Spec.Vault.Postgres.Host = host
		checkJobs(t, postgres, []jobRow{{"a tame container, and the server is " + host, aside(tame), "could answer as the server of postgres.host"}, rows[0]})
	}
	google.Spec.GCP.Delivery, postgres.Spec.Vault.Postgres.SSLMode = v1alpha1.DeliveryEnv, "verify-full"
	for _, c := range []*v1alpha1.Capability{google, postgres, newCapability()} {
		checkJobs(t, c, []jobRow{{"it does not matter", aside(func(*corev1.Container) {}), ""}})
	}
}

// TestHoldUps_NothingKeepsTheKubeletFromTheDeadline: it does one thing after the other for a Pod.
func TestHoldUps_NothingKeepsTheKubeletFromTheDeadline(t *testing.T) {
	volumes := func(source corev1.VolumeSource, of func(func(*corev1.Container)) func(*batchv1.Job, *corev1.PodSpec, *corev1.Container),
		m corev1.VolumeMount) func(*batchv1.Job, *corev1.PodSpec, *corev1.Container) {
		return func(job *batchv1.Job, pod *corev1.PodSpec, c *corev1.Container) {
			m.Name, m.MountPath = "v", "/v"
			pod.Volumes = []corev1.Volume{{Name: "v", VolumeSource: source}}
			of(func(c *corev1.Container) { c.VolumeMounts = []corev1.VolumeMount{m} })(job, pod, c)
		}
	}
	empty, settings := corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}, configMapVolume("settings")
	sidecar := func(change func(*corev1.Container)) func(*batchv1.Job, *corev1.PodSpec, *corev1.Container) {
		return before(always, change)
	}
	first := func(change func(*corev1.Container)) func(*batchv1.Job, *corev1.PodSpec, *corev1.Container) {
		return before(nil, change)
	}
	probed := func(count int, probe func(*corev1.Container)) func(*batchv1.Job, *corev1.PodSpec, *corev1.Container) {
		return func(_ *batchv1.Job, pod *corev1.PodSpec, _ *corev1.Container) {
			for i := range count {
				c := corev1.Container{Name: "side-" + strings.Repeat("i", i+1), Image: image, RestartPolicy: always}
				probe(&c)
				pod.InitContainers = append(pod.InitContainers, c)
			}
		}
	}
	alive := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{}}}
	lives := func(c *corev1.Container) { c.LivenessProbe = alive }
	starts := func(c *corev1.Container) { c.StartupProbe = alive }
	file := func(_ *batchv1.Job, _ *corev1.PodSpec, c *corev1.Container) {
		c.Env = []corev1.EnvVar{{Name: "A", ValueFrom: &corev1.EnvVarSource{FileKeyRef: &corev1.FileKeySelector{VolumeName: "v", Path: "f", Key: "A"}}}}
	}
	const says = "must have no subPath"
	checkJobs(t, newCapability(), []jobRow{
		{"a folder of a volume that others write, of the container beside", volumes(empty, aside, corev1.VolumeMount{SubPath: "x"}), says},
		{"a folder that a variable names", volumes(empty, aside, corev1.VolumeMount{SubPathExpr: "x"}), says},
		{"a folder, of a sidecar", volumes(empty, sidecar, corev1.VolumeMount{SubPath: "x"}), says},
		{"a folder, of a container that ends before", volumes(empty, first, corev1.VolumeMount{SubPath: "x"}), ""},
		{"a whole volume", volumes(empty, aside, corev1.VolumeMount{}), ""},
		{"a file of a ConfigMap", volumes(settings, aside, corev1.VolumeMount{SubPath: "x"}), ""},
		{"a volume that others write, where users are looked up", func(job *batchv1.Job, pod *corev1.PodSpec, c *corev1.Container) {
			volumes(empty, aside, corev1.VolumeMount{})(job, pod, c)
			pod.Containers[1].VolumeMounts[0].MountPath = "/etc"
		}, "may be mounted at /etc"},
		{"below where users are looked up, of a sidecar", func(job *batchv1.Job, pod *corev1.PodSpec, c *corev1.Container) {
			volumes(empty, sidecar, corev1.VolumeMount{})(job, pod, c)
			pod.InitContainers[0].VolumeMounts[0].MountPath = "/etc/x/"
		}, "may be mounted at /etc/x/"},
		{"a ConfigMap there", func(job *batchv1.Job, pod *corev1.PodSpec, c *corev1.Container) {
			volumes(settings, aside, corev1.VolumeMount{})(job, pod, c)
			pod.Containers[1].VolumeMounts[0].MountPath = "/etc/app"
		}, ""},
		{"a volume that others write beside that", func(job *batchv1.Job, pod *corev1.PodSpec, c *corev1.Container) {
			volumes(empty, aside, corev1.VolumeMount{})(job, pod, c)
			pod.Containers[1].VolumeMounts[0].MountPath = "/etcetera"
		}, ""},
		{"a variable from a file", file, "fileKeyRef must not be set"},
		{"two containers that it ends by itself", probed(2, lives), ""},
		{"three of them", probed(3, lives), "3 containers beside the step have a liveness or a startup probe, and 2 may"},
		{"three that it ends before they are started", probed(3, starts), "3 containers beside the step"},
		{"a probe of the step's own", func(_ *batchv1.Job, _ *corev1.PodSpec, c *corev1.Container) { c.LivenessProbe = alive }, ""},
	})
}

// TestRisks_AnImageIsNotPulledWhileTheStepRuns: for how long a node pulls is up to registries, and to whatever else it
// pulls.
func TestRisks_AnImageIsNotPulledWhileTheStepRuns(t *testing.T) {
	const other, listed = "registry.example.com/other@sha256:" + digest, "registry.example.com/listed@sha256:" + digest
	side := func(image string) func(*corev1.PodSpec) {
		return func(p *corev1.PodSpec) {
			p.Containers = append(p.Containers, corev1.Container{Name: "side", Image: image})
		}
	}
	sidecar := func(image string) func(*corev1.PodSpec) {
		return func(p *corev1.PodSpec) {
			p.InitContainers = append(p.InitContainers, corev1.Container{Name: "side", Image: image, RestartPolicy: always})
		}
	}
	first := func(image string) func(*corev1.PodSpec) {
		return func(p *corev1.PodSpec) {
			p.InitContainers = append(p.InitContainers, corev1.Container{Name: "first", Image: image})
		}
	}
	secret := func(p *corev1.PodSpec) { p.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "pull"}} }
	pulled := func(p *corev1.PodSpec) {
		p.Containers[len(p.Containers)-1].ImagePullPolicy = corev1.PullAlways
	}
	for name, row := range map[string]struct {
		given []func(*corev1.PodSpec)
		late  bool
	}{
		"nobody is beside":                                       {[]func(*corev1.PodSpec){secret}, false},
		"the step's own image":                                   {[]func(*corev1.PodSpec){side(image)}, false},
		"the step's own image, which is always pulled":           {[]func(*corev1.PodSpec){side(image), pulled}, true},
		"the step's own image, by a Secret":                      {[]func(*corev1.PodSpec){side(image), secret}, true},
		"the step's own image of a sidecar":                      {[]func(*corev1.PodSpec){sidecar(image)}, false},
		"the step's own image of a sidecar, by a Secret":         {[]func(*corev1.PodSpec){sidecar(image), secret}, true},
		"another image":                                          {[]func(*corev1.PodSpec){side(other)}, true},
		"another image that an init container has":               {[]func(*corev1.PodSpec){first(other), side(other)}, true},
		"another image of a sidecar":                             {[]func(*corev1.PodSpec){sidecar(other)}, true},
		"a listed image":                                         {[]func(*corev1.PodSpec){side(listed)}, true},
		"a listed image that an init container has":              {[]func(*corev1.PodSpec){first(listed), side(listed)}, false},
		"a listed image of a sidecar":                            {[]func(*corev1.PodSpec){sidecar(listed)}, false},
		"an image of an init container, which has ended by then": {[]func(*corev1.PodSpec){first(other), secret}, false},
		"two containers":                                         {[]func(*corev1.PodSpec){side(image), sidecar(image)}, false},
		"three containers":                                       {[]func(*corev1.PodSpec){side(image), sidecar(image), sidecar(image)}, true},
	} {
		t.Run(name, func(t *testing.T) {
			in := reviewOf(newJob())
			in.Capability.Spec.Runner = []v1alpha1.Runner{{Image: listed}}
			for _, give := range row.given {
				give(&in.Job.Spec.Template.Spec)
			}
			_, risks, err := NewReview(in)
			if err != nil {
				t.Fatal(err)
			}
			late := slices.ContainsFunc(risks, func(r Risk) bool {
				return r.Needs == v1alpha1.AcceptOtherImage && strings.Contains(r.Message, " while the step runs")
			})
			if late != row.late {
				t.Errorf("it may be pulled late: %v; %v", late, risks)
			}
		})
	}
}
