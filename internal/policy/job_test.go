// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// jobRow changes a Job that may hold a credential into one that may not, unless says is empty.
type jobRow struct {
	name  string
	given func(j *batchv1.Job, pod *corev1.PodSpec, publish *corev1.Container)
	says  string
}

func checkJobs(t *testing.T, c *v1alpha1.Capability, rows []jobRow) {
	for _, tt := range rows {
		t.Run(tt.name, func(t *testing.T) {
			job := newJob()
			tt.given(job, &job.Spec.Template.Spec, &job.Spec.Template.Spec.Containers[0])
			err := CheckJob(job, newRequest(), c)
			switch {
			case tt.says == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)):
				t.Errorf("want %q in %v", tt.says, err)
			}
		})
	}
}

func TestAJobThatIsNotTheRequestsOrNotHeldIsRefused(t *testing.T) {
	condition := func(c batchv1.JobConditionType) func(*batchv1.Job, *corev1.PodSpec, *corev1.Container) {
		return func(j *batchv1.Job, _ *corev1.PodSpec, _ *corev1.Container) {
			j.Status.Conditions = []batchv1.JobCondition{{Type: c, Status: corev1.ConditionTrue}}
		}
	}
	checkJobs(t, newCapability(), []jobRow{
		{"it is as it should be", func(*batchv1.Job, *corev1.PodSpec, *corev1.Container) {}, ""},
		{"it has another name", func(j *batchv1.Job, _ *corev1.PodSpec, _ *corev1.Container) { j.Name = "valetkey-other" }, "the Job is agents/valetkey-other"},
		{"it is in another namespace", func(j *batchv1.Job, _ *corev1.PodSpec, _ *corev1.Container) { j.Namespace = "other" }, "the Job is other/valetkey-publish-pr-184"},
		{"it has no label", func(j *batchv1.Job, _ *corev1.PodSpec, _ *corev1.Container) { j.Labels = nil }, `label valetkey.dev/request is ""`},
		{"its label names another request", func(j *batchv1.Job, _ *corev1.PodSpec, _ *corev1.Container) {
			j.Labels[v1alpha1.LabelRequest] = "other"
		}, `label valetkey.dev/request is "other"`},
		{"nobody stamped its creator", func(j *batchv1.Job, _ *corev1.PodSpec, _ *corev1.Container) { j.Annotations = nil }, "nobody stamped who created the Job"},
		{"somebody else created it", func(j *batchv1.Job, _ *corev1.PodSpec, _ *corev1.Container) {
			j.Annotations[v1alpha1.AnnotationCreatedBy] = "mallory"
		}, "created by mallory"},
		{"something else owns it", func(j *batchv1.Job, _ *corev1.PodSpec, _ *corev1.Container) {
			j.OwnerReferences = []metav1.OwnerReference{{Kind: "CronJob", UID: "cron"}}
		}, "an owner that is not the request"},
		{"the request owns it", func(j *batchv1.Job, _ *corev1.PodSpec, _ *corev1.Container) {
			j.OwnerReferences = []metav1.OwnerReference{{Kind: "CapabilityRequest", UID: "request-uid"}}
		}, ""},
		{"it is being deleted", func(j *batchv1.Job, _ *corev1.PodSpec, _ *corev1.Container) {
			j.DeletionTimestamp = ptr.To(metav1.NewTime(time.Unix(0, 0)))
		}, "being deleted"},
		{"it is complete", condition(batchv1.JobComplete), "already finished"},
		{"it has failed", condition(batchv1.JobFailed), "already finished"},
		{"it is about to be complete", condition(batchv1.JobSuccessCriteriaMet), "already finished"},
		{"it is about to fail", condition(batchv1.JobFailureTarget), "already finished"},
		{"it is suspended, which is no end", condition(batchv1.JobSuspended), ""},
		{"it is not suspended", func(j *batchv1.Job, _ *corev1.PodSpec, _ *corev1.Container) { j.Spec.Suspend = ptr.To(false) }, "not suspended"},
		{"its template's annotations leave no room for the grant's", func(j *batchv1.Job, _ *corev1.PodSpec, _ *corev1.Container) {
			j.Spec.Template.Annotations = map[string]string{"example.com/huge": strings.Repeat("x", 128<<10)}
		}, "the annotations of the Job's template are longer than 131072 bytes"},
		{"it does not say whether it is suspended", func(j *batchv1.Job, _ *corev1.PodSpec, _ *corev1.Container) { j.Spec.Suspend = nil }, "not suspended"},
		{"a Pod of it runs", func(j *batchv1.Job, _ *corev1.PodSpec, _ *corev1.Container) { j.Status.Active = 1 }, "already ran a Pod"},
		{"a Pod of it succeeded", func(j *batchv1.Job, _ *corev1.PodSpec, _ *corev1.Container) { j.Status.Succeeded = 1 }, "already ran a Pod"},
		{"a Pod of it failed", func(j *batchv1.Job, _ *corev1.PodSpec, _ *corev1.Container) { j.Status.Failed = 1 }, "already ran a Pod"},
		{"a Pod of it terminates", func(j *batchv1.Job, _ *corev1.PodSpec, _ *corev1.Container) {
			j.Status.Terminating = ptr.To[int32](1)
		}, "already ran a Pod"},
		{"somebody planted the operator's annotation", func(j *batchv1.Job, _ *corev1.PodSpec, _ *corev1.Container) {
			j.Spec.Template.Annotations = map[string]string{v1alpha1.AnnotationSecret: "valetkey-x"}
		}, "annotation valetkey.dev/secret"},
	})
}

func TestAJobThatCouldRunMoreThanOnePodIsRefused(t *testing.T) {
	spec := func(change func(s *batchv1.JobSpec)) func(*batchv1.Job, *corev1.PodSpec, *corev1.Container) {
		return func(j *batchv1.Job, _ *corev1.PodSpec, _ *corev1.Container) { change(&j.Spec) }
	}
	always := corev1.ContainerRestartPolicyAlways
	checkJobs(t, newCapability(), []jobRow{
		{"two at a time", spec(func(s *batchv1.JobSpec) { s.Parallelism = ptr.To[int32](2) }), "parallelism must be 1"},
		{"none at a time", spec(func(s *batchv1.JobSpec) { s.Parallelism = ptr.To[int32](0) }), "parallelism must be 1"},
		{"as many as it takes", spec(func(s *batchv1.JobSpec) { s.Completions = nil }), "completions must be 1"},
		{"one after the other", spec(func(s *batchv1.JobSpec) { s.Completions = ptr.To[int32](2) }), "completions must be 1"},
		{"it retries", spec(func(s *batchv1.JobSpec) { s.BackoffLimit = ptr.To[int32](1) }), "backoffLimit must be 0"},
		{"it retries as often as the default", spec(func(s *batchv1.JobSpec) { s.BackoffLimit = nil }), "backoffLimit must be 0"},
		{"it retries each index", spec(func(s *batchv1.JobSpec) { s.BackoffLimitPerIndex = ptr.To[int32](3) }), "backoffLimitPerIndex"},
		{"it bears failed indexes", spec(func(s *batchv1.JobSpec) { s.MaxFailedIndexes = ptr.To[int32](3) }), "maxFailedIndexes"},
		{"it is indexed", spec(func(s *batchv1.JobSpec) { s.CompletionMode = ptr.To(batchv1.IndexedCompletion) }), "completionMode"},
		{"it says that it is not indexed", spec(func(s *batchv1.JobSpec) { s.CompletionMode = ptr.To(batchv1.NonIndexedCompletion) }), ""},
		{"it ignores failures", spec(func(s *batchv1.JobSpec) { s.PodFailurePolicy = &batchv1.PodFailurePolicy{} }), "podFailurePolicy"},
		{"it has a rule of its own for success", spec(func(s *batchv1.JobSpec) { s.SuccessPolicy = &batchv1.SuccessPolicy{} }), "successPolicy"},
		{"it selects Pods by more than the API server", spec(func(s *batchv1.JobSpec) {
			s.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{batchv1.ControllerUidLabel: "u"},
				MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "topology.kubernetes.io/zone", Operator: metav1.LabelSelectorOpDoesNotExist}}}
		}), "selector must be left out"},
		{"it selects Pods by another label", spec(func(s *batchv1.JobSpec) {
			s.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{batchv1.ControllerUidLabel: "u", "app": "web"}}
		}), "selector must be left out"},
		{"it selects Pods by the API server's own labels", spec(func(s *batchv1.JobSpec) {
			s.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{batchv1.ControllerUidLabel: "u", "controller-uid": "u"}}
		}), ""},
		{"it selects Pods by itself", spec(func(s *batchv1.JobSpec) { s.ManualSelector = ptr.To(true) }), "manualSelector"},
		{"something else runs it", spec(func(s *batchv1.JobSpec) { s.ManagedBy = ptr.To("example.com/queue") }), "managedBy"},
		{"it names the job-controller", spec(func(s *batchv1.JobSpec) { s.ManagedBy = ptr.To(batchv1.JobControllerName) }), ""},
		{"its containers restart", spec(func(s *batchv1.JobSpec) { s.Template.Spec.RestartPolicy = corev1.RestartPolicyOnFailure }), "restartPolicy must be Never"},
		{"its Pods stay when they are deleted", spec(func(s *batchv1.JobSpec) { s.Template.Finalizers = []string{"example.com/hold"} }), "finalizers"},
		{"the container restarts by itself", func(_ *batchv1.Job, _ *corev1.PodSpec, c *corev1.Container) { c.RestartPolicy = &always }, "container publish: restartPolicy must be Never"},
		{"the container restarts for some exit codes", func(_ *batchv1.Job, _ *corev1.PodSpec, c *corev1.Container) {
			c.RestartPolicyRules = []corev1.ContainerRestartRule{{}}
		}, "container publish: restartPolicyRules must not be set"},
		{"a container beside it restarts by itself", func(_ *batchv1.Job, pod *corev1.PodSpec, _ *corev1.Container) {
			pod.Containers = append(pod.Containers, corev1.Container{Name: "side", Image: image, RestartPolicy: &always})
		}, "container side: restartPolicy must be Never"},
		{"a sidecar restarts by itself", func(_ *batchv1.Job, pod *corev1.PodSpec, _ *corev1.Container) {
			pod.InitContainers = []corev1.Container{{Name: "side", Image: image, RestartPolicy: &always}}
		}, ""},
		{"a sidecar's image is looked for whenever it restarts", func(_ *batchv1.Job, pod *corev1.PodSpec, _ *corev1.Container) {
			pod.InitContainers = []corev1.Container{{Name: "side", Image: image, RestartPolicy: &always, ImagePullPolicy: corev1.PullAlways}}
		}, "container side: imagePullPolicy must not be Always"},
		{"an init container's image is looked for once", func(_ *batchv1.Job, pod *corev1.PodSpec, _ *corev1.Container) {
			pod.InitContainers = []corev1.Container{{Name: "first", Image: image, ImagePullPolicy: corev1.PullAlways}}
		}, ""},
		{"it is gone as soon as it is over", spec(func(s *batchv1.JobSpec) { s.TTLSecondsAfterFinished = ptr.To[int32](599) }), "ttlSecondsAfterFinished must be at least 600"},
		{"it is gone ten minutes after it is over", spec(func(s *batchv1.JobSpec) { s.TTLSecondsAfterFinished = ptr.To[int32](600) }), ""},
	})
}

func TestAStepThatOthersCouldReachIsRefused(t *testing.T) {
	checkJobs(t, newCapability(), []jobRow{
		{"there is no such container", func(_ *batchv1.Job, _ *corev1.PodSpec, c *corev1.Container) { c.Name = "other" }, "no container publish"},
		{"it is an init container", func(_ *batchv1.Job, pod *corev1.PodSpec, c *corev1.Container) {
			pod.InitContainers = []corev1.Container{{Name: "publish"}}
			c.Name = "other"
		}, "publish is an init container"},
		{"containers see each other's processes", func(_ *batchv1.Job, pod *corev1.PodSpec, _ *corev1.Container) {
			pod.ShareProcessNamespace = ptr.To(true)
		}, "shareProcessNamespace must be false"},
		{"containers say that they do not", func(_ *batchv1.Job, pod *corev1.PodSpec, _ *corev1.Container) {
			pod.ShareProcessNamespace = ptr.To(false)
		}, ""},
		{"it uses the node's processes", func(_ *batchv1.Job, pod *corev1.PodSpec, _ *corev1.Container) { pod.HostPID = true }, "hostPID must be false"},
		{"it uses the node's network", func(_ *batchv1.Job, pod *corev1.PodSpec, _ *corev1.Container) { pod.HostNetwork = true }, "hostNetwork must be false"},
		{"it uses the node's memory", func(_ *batchv1.Job, pod *corev1.PodSpec, _ *corev1.Container) { pod.HostIPC = true }, "hostIPC must be false"},
		{"a container beside it is privileged", func(_ *batchv1.Job, pod *corev1.PodSpec, _ *corev1.Container) {
			pod.Containers = append(pod.Containers, corev1.Container{Name: "side", SecurityContext: &corev1.SecurityContext{Privileged: ptr.To(true)}})
		}, "container side: securityContext.privileged must be false"},
		{"there is a debug container", func(_ *batchv1.Job, pod *corev1.PodSpec, _ *corev1.Container) {
			pod.EphemeralContainers = []corev1.EphemeralContainer{{}}
		}, "ephemeralContainers must not be set"},
		{"it pushes aside what its node needs", func(_ *batchv1.Job, pod *corev1.PodSpec, _ *corev1.Container) {
			pod.PriorityClassName = "system-node-critical"
		}, "priorityClassName must not be system-node-critical"},
		{"it pushes aside what the cluster needs", func(_ *batchv1.Job, pod *corev1.PodSpec, _ *corev1.Container) {
			pod.PriorityClassName = "system-cluster-critical"
		}, "priorityClassName must not be system-cluster-critical"},
		{"it keeps Pods of others away", func(_ *batchv1.Job, pod *corev1.PodSpec, _ *corev1.Container) {
			pod.Affinity = awayFrom(corev1.PodAffinityTerm{Namespaces: []string{"others"}})
		}, "[0].namespaces must not be set"},
		{"it keeps everybody's Pods away", func(_ *batchv1.Job, pod *corev1.PodSpec, _ *corev1.Container) {
			pod.Affinity = awayFrom(corev1.PodAffinityTerm{NamespaceSelector: &metav1.LabelSelector{}})
		}, "namespaceSelector must not be set"},
		{"it keeps Pods of its namespace away", func(_ *batchv1.Job, pod *corev1.PodSpec, _ *corev1.Container) {
			pod.Affinity = awayFrom(corev1.PodAffinityTerm{LabelSelector: &metav1.LabelSelector{}})
		}, ""},
		{"it pushes aside what the operator needs", func(_ *batchv1.Job, pod *corev1.PodSpec, _ *corev1.Container) {
			pod.PriorityClassName = "valetkey"
		}, "priorityClassName must not be valetkey"},
		{"it has a priority of its own", func(_ *batchv1.Job, pod *corev1.PodSpec, _ *corev1.Container) { pod.PriorityClassName = "high" }, ""},
		{"a volume has the reserved name", func(_ *batchv1.Job, pod *corev1.PodSpec, _ *corev1.Container) {
			pod.Volumes = []corev1.Volume{{Name: "valetkey"}}
		}, "the volume name valetkey is reserved"},
		{"something is mounted over the credential", func(_ *batchv1.Job, _ *corev1.PodSpec, c *corev1.Container) {
			c.VolumeMounts = []corev1.VolumeMount{{MountPath: "/var/run/secrets/../secrets/valetkey.dev/"}}
		}, "could hide the credential's files"},
		{"something is mounted into the credential", func(_ *batchv1.Job, _ *corev1.PodSpec, c *corev1.Container) {
			c.VolumeMounts = []corev1.VolumeMount{{MountPath: "/var/run/secrets/valetkey.dev/aws"}}
		}, "could hide the credential's files"},
		{"something is mounted beside the credential", func(_ *batchv1.Job, _ *corev1.PodSpec, c *corev1.Container) {
			c.VolumeMounts = []corev1.VolumeMount{{MountPath: "/var/run/secrets/valetkey.devices"}, {MountPath: "/var/run/secrets/kubernetes.io/serviceaccount"}, {MountPath: "/runs"}}
		}, ""},
		{"something is mounted above the credential", func(_ *batchv1.Job, _ *corev1.PodSpec, c *corev1.Container) {
			c.VolumeMounts = []corev1.VolumeMount{{MountPath: "/var/run/secrets"}}
		}, "mounts /var/run/secrets, which could hide"},
		{"something is mounted far above the credential", func(_ *batchv1.Job, _ *corev1.PodSpec, c *corev1.Container) {
			c.VolumeMounts = []corev1.VolumeMount{{MountPath: "/var"}}
		}, "mounts /var, which could hide"},
		{"something is mounted above the credential by another name", func(_ *batchv1.Job, _ *corev1.PodSpec, c *corev1.Container) {
			c.VolumeMounts = []corev1.VolumeMount{{MountPath: "//run/./x/.."}}
		}, "which could hide"},
		{"everything is something else's", func(_ *batchv1.Job, _ *corev1.PodSpec, c *corev1.Container) {
			c.VolumeMounts = []corev1.VolumeMount{{MountPath: "/"}}
		}, "mounts /, which could hide"},
		{"something is mounted above the credential in the container beside", func(_ *batchv1.Job, pod *corev1.PodSpec, _ *corev1.Container) {
			pod.Containers = append(pod.Containers, corev1.Container{Name: "side", Image: image, VolumeMounts: []corev1.VolumeMount{{MountPath: "/var/run"}}})
		}, ""},
		{"everything is just as large as a review shows", func(j *batchv1.Job, pod *corev1.PodSpec, c *corev1.Container) {
			for i := range 62 {
				j.Labels[fmt.Sprint(i)] = ""
			}
			pod.InitContainers = slices.Repeat([]corev1.Container{{Image: image}}, 16)
			// No image's name is longer: 255 characters of registry and repository, 128 of the tag.
			c.Image = "registry.example.com/" + strings.Repeat("x", 234) + ":" + strings.Repeat("v", 128) + image[strings.Index(image, "@"):]
			c.Command, c.Args = make([]string, 256), make([]string, 256)
			c.Command[0] = strings.Repeat("x", 65536)
		}, ""},
		{"there are more init containers than fit", func(_ *batchv1.Job, pod *corev1.PodSpec, _ *corev1.Container) {
			pod.InitContainers = slices.Repeat([]corev1.Container{{Image: image}}, 17)
		}, "initContainers has 17 elements, of at most 16"},
		{"there are more variables than fit", func(_ *batchv1.Job, _ *corev1.PodSpec, c *corev1.Container) {
			c.Env = make([]corev1.EnvVar, 257)
		}, "container publish: env has 257 elements, of at most 256"},
		{"a variable is longer than fits", func(_ *batchv1.Job, _ *corev1.PodSpec, c *corev1.Container) {
			c.Env = []corev1.EnvVar{{Name: "A", Value: strings.Repeat("ü", 32769)}}
		}, "env[A].value has a text of 32769 characters, of at most 32768"},
		{"variables are longer together than fits", func(_ *batchv1.Job, _ *corev1.PodSpec, c *corev1.Container) {
			c.Env = slices.Repeat([]corev1.EnvVar{{Name: "A", Value: strings.Repeat("x", 32768)}}, 5)
		}, "the variables of all containers have 163840 characters, of at most 131072"},
		{"words are longer together than fits", func(_ *batchv1.Job, pod *corev1.PodSpec, c *corev1.Container) {
			c.Args = []string{strings.Repeat("x", 60000)}
			pod.InitContainers = slices.Repeat([]corev1.Container{{Image: image, Args: c.Args}}, 2)
		}, "command and args of all containers have 180027 characters"},
		{"all of it together is more than fits beside what becomes of it", func(_ *batchv1.Job, pod *corev1.PodSpec, c *corev1.Container) {
			pod.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
			for i := range 64 {
				c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: "data", MountPath: fmt.Sprintf("/%s%d", strings.Repeat("x/", 2000), i)})
			}
			pod.InitContainers = []corev1.Container{{Name: "first", Image: image, VolumeMounts: c.VolumeMounts}}
		}, "the Pod template has 5"},
		{"a node is told of more values than fit", func(_ *batchv1.Job, pod *corev1.PodSpec, _ *corev1.Container) {
			pod.HostAliases = []corev1.HostAlias{{Hostnames: make([]string, 33)}}
		}, "hostAliases[0].hostnames has 33 elements, of at most 32"},
		{"a label is longer than fits", func(j *batchv1.Job, _ *corev1.PodSpec, _ *corev1.Container) {
			j.Spec.Template.Labels = map[string]string{"a": strings.Repeat("x", 1025)}
		}, "metadata.labels has a text of 1025 characters"},
		{"there are more annotations than fit", func(j *batchv1.Job, _ *corev1.PodSpec, _ *corev1.Container) {
			for i := range 65 {
				j.Annotations[fmt.Sprint(i)] = ""
			}
		}, "the Job has 66 annotations, of at most 64"},
		{"there are more labels than an expression may see", func(j *batchv1.Job, _ *corev1.PodSpec, _ *corev1.Container) {
			for i := range 64 {
				j.Labels[fmt.Sprint(i)] = ""
			}
		}, "66 labels"},
		{"there are more containers than a review shows", func(_ *batchv1.Job, pod *corev1.PodSpec, _ *corev1.Container) {
			pod.InitContainers = slices.Repeat([]corev1.Container{{Image: image}}, 64)
		}, "65 images"},
		{"there are more images to mount than a review shows", func(_ *batchv1.Job, pod *corev1.PodSpec, _ *corev1.Container) {
			for range 64 {
				pod.Volumes = append(pod.Volumes, corev1.Volume{VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{}}})
			}
		}, "65 images"},
		{"an image is longer than a review shows", func(_ *batchv1.Job, _ *corev1.PodSpec, c *corev1.Container) {
			c.Image = strings.Repeat("x", 1025)
		}, "more than 1024 characters"},
		{"there are more words than a review shows", func(_ *batchv1.Job, _ *corev1.PodSpec, c *corev1.Container) {
			c.Args = make([]string, 257)
		}, "more than 256 words"},
		{"there are more words of command than a review shows", func(_ *batchv1.Job, _ *corev1.PodSpec, c *corev1.Container) {
			c.Command = make([]string, 257)
		}, "more than 256 words"},
		{"the words are longer than a review shows", func(_ *batchv1.Job, _ *corev1.PodSpec, c *corev1.Container) {
			c.Args = []string{strings.Repeat("x", 65537)}
		}, "longer than 65536 bytes"},
	})
}

func TestAllThatIsWrongIsTold(t *testing.T) {
	job := newJob()
	job.Spec.BackoffLimit, job.Spec.Completions = nil, ptr.To[int32](2)
	job.Annotations[v1alpha1.AnnotationCreatedBy] = "mallory"
	err := CheckJob(job, newRequest(), newCapability())
	for _, part := range []string{"backoffLimit", "completions", "mallory", "; "} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("want %q in %v", part, err)
		}
	}
}

func TestWhereRunnersAreListedTheContainerIsOneOfThemWhole(t *testing.T) {
	c := newCapability()
	c.Spec.Runner = []v1alpha1.Runner{
		{Image: strings.Replace(image, "publisher", "another", 1), Command: []string{"/bin/a", "b"}, AnyArgs: true, WorkingDir: "/w"},
		{
			Image: image, Command: []string{"/scripts/publish-preview.sh"}, Args: []string{"--fast"},
			Env:    []v1alpha1.RunnerVariable{{Name: "STAGE", Value: "preview"}},
			Mounts: []v1alpha1.RunnerMount{{MountPath: "/data", Source: v1alpha1.MountEmptyDir}, {MountPath: "/etc/app", Source: v1alpha1.MountConfigMap}},
		},
	}
	container := func(change func(c *corev1.Container)) func(*batchv1.Job, *corev1.PodSpec, *corev1.Container) {
		return func(_ *batchv1.Job, _ *corev1.PodSpec, c *corev1.Container) { change(c) }
	}
	mount := func(m corev1.VolumeMount, v corev1.VolumeSource) func(*batchv1.Job, *corev1.PodSpec, *corev1.Container) {
		return func(_ *batchv1.Job, pod *corev1.PodSpec, c *corev1.Container) {
			m.Name = "v"
			pod.Volumes, c.VolumeMounts = []corev1.Volume{{Name: "v", VolumeSource: v}}, []corev1.VolumeMount{m}
		}
	}
	emptyDir := corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}
	configMap := corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{}}
	both := corev1.PullPolicy("Always")
	checkJobs(t, c, []jobRow{
		{"it is one of them", container(func(*corev1.Container) {}), ""},
		{"it is the other", container(func(c *corev1.Container) {
			c.Image, c.Command, c.WorkingDir = strings.Replace(image, "publisher", "another", 1), []string{"/bin/a", "b"}, "/w"
			c.Args = []string{"what", "ever"}
		}), ""},
		{"resources and the like do not matter", container(func(c *corev1.Container) {
			c.ImagePullPolicy = both
			c.Resources = corev1.ResourceRequirements{Claims: []corev1.ResourceClaim{}}
			c.SecurityContext = &corev1.SecurityContext{RunAsNonRoot: ptr.To(true), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}}
		}), ""},
		{"it has its share of a node", container(func(c *corev1.Container) {
			c.Resources.Limits = corev1.ResourceList{"cpu": resource.MustParse("1"), "hugepages-2Mi": resource.MustParse("2Mi")}
		}), ""},
		{"it has a device", container(func(c *corev1.Container) {
			c.Resources.Limits = corev1.ResourceList{"cpu": resource.MustParse("1"), "example.com/gadget": resource.MustParse("1")}
		}), "resources.limits is set"},
		{"it asks for a device", container(func(c *corev1.Container) {
			c.Resources.Requests = corev1.ResourceList{"example.com/gadget": resource.MustParse("1")}
		}), "resources.requests is set"},
		{"the digest is another", container(func(c *corev1.Container) { c.Image = c.Image[:len(c.Image)-1] + "9" }), "runner[1]: image is"},
		{"the image has a tag only", container(func(c *corev1.Container) { c.Image = "registry.example.com/publisher:v1" }), "image is registry.example.com/publisher:v1"},
		{"the command is the image's own", container(func(c *corev1.Container) { c.Command = nil }), "command is []"},
		{"the command is a relative path", container(func(c *corev1.Container) { c.Command = []string{"publish-preview.sh"} }), "command is"},
		{"the command has a word more", container(func(c *corev1.Container) { c.Command = append(c.Command, "-x") }), "command is"},
		{"the args have a word more", container(func(c *corev1.Container) { c.Args = append(c.Args, "--debug") }), `args are ["--fast" "--debug"], not ["--fast"]`},
		{"the args are missing", container(func(c *corev1.Container) { c.Args = nil }), "args are []"},
		{"the working directory is another", container(func(c *corev1.Container) { c.WorkingDir = "/tmp" }), `workingDir is "/tmp"`},
		{"a listed variable has its value", container(func(c *corev1.Container) { c.Env = []corev1.EnvVar{{Name: "STAGE", Value: "preview"}} }), ""},
		{"a listed variable has another value", container(func(c *corev1.Container) { c.Env = []corev1.EnvVar{{Name: "STAGE", Value: "prod"}} }), "env STAGE"},
		{"a listed variable comes from somewhere", container(func(c *corev1.Container) {
			c.Env = []corev1.EnvVar{{Name: "STAGE", Value: "preview", ValueFrom: &corev1.EnvVarSource{}}}
		}), "env STAGE"},
		{"a variable is not listed", container(func(c *corev1.Container) { c.Env = []corev1.EnvVar{{Name: "LD_PRELOAD", Value: "/data/x.so"}} }), "env LD_PRELOAD"},
		{"variables come from a ConfigMap", container(func(c *corev1.Container) { c.EnvFrom = []corev1.EnvFromSource{{}} }), "envFrom"},
		{"it starts with a hook", container(func(c *corev1.Container) { c.Lifecycle = &corev1.Lifecycle{} }), "lifecycle"},
		{"it has a liveness probe", container(func(c *corev1.Container) { c.LivenessProbe = &corev1.Probe{} }), "livenessProbe is set"},
		{"it has a readiness probe", container(func(c *corev1.Container) { c.ReadinessProbe = &corev1.Probe{} }), "readinessProbe is set"},
		{"it has a startup probe", container(func(c *corev1.Container) { c.StartupProbe = &corev1.Probe{} }), "startupProbe is set"},
		{"it reads from its standard input", container(func(c *corev1.Container) { c.Stdin = true }), "stdin"},
		{"it reads from its standard input once", container(func(c *corev1.Container) { c.StdinOnce = true }), "stdin"},
		{"it has a terminal", container(func(c *corev1.Container) { c.TTY = true }), "tty"},
		{"it has a port", container(func(c *corev1.Container) { c.Ports = []corev1.ContainerPort{{}} }), "ports"},
		{"it ends with a message from a file of its choice", container(func(c *corev1.Container) {
			c.TerminationMessagePath = v1alpha1.MountPath + "/aws/credentials"
		}), "terminationMessagePath"},
		{"it ends with its log as a message", container(func(c *corev1.Container) {
			c.TerminationMessagePolicy = corev1.TerminationMessageFallbackToLogsOnError
		}), "terminationMessagePolicy"},
		{"it is privileged", container(func(c *corev1.Container) {
			c.SecurityContext = &corev1.SecurityContext{Privileged: ptr.To(true)}
		}), "securityContext.privileged must be false"},
		{"it has more capabilities of the kernel", container(func(c *corev1.Container) {
			c.SecurityContext = &corev1.SecurityContext{Capabilities: &corev1.Capabilities{Add: []corev1.Capability{"SYS_PTRACE"}}}
		}), "securityContext.capabilities.add is set"},
		{"it sees all of /proc", container(func(c *corev1.Container) {
			c.SecurityContext = &corev1.SecurityContext{ProcMount: ptr.To(corev1.UnmaskedProcMount)}
		}), "procMount"},
		{"it has a block device", container(func(c *corev1.Container) { c.VolumeDevices = []corev1.VolumeDevice{{}} }), "volumeDevices"},
		{"a listed mount has its source", mount(corev1.VolumeMount{MountPath: "/data"}, emptyDir), ""},
		{"another listed mount has its source", mount(corev1.VolumeMount{MountPath: "/etc/app", ReadOnly: true}, configMap), ""},
		{"a listed mount has another source", mount(corev1.VolumeMount{MountPath: "/data"}, configMap), "mount at /data"},
		{"a listed mount has a source that cannot be listed", mount(corev1.VolumeMount{MountPath: "/data"},
			corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{}}), "mount at /data"},
		{"a listed mount has two sources", mount(corev1.VolumeMount{MountPath: "/data"},
			corev1.VolumeSource{EmptyDir: emptyDir.EmptyDir, Secret: &corev1.SecretVolumeSource{}}), "mount at /data"},
		{"a mount is not listed", mount(corev1.VolumeMount{MountPath: "/scripts"}, emptyDir), "mount at /scripts"},
		{"a mount's volume does not exist", container(func(c *corev1.Container) {
			c.VolumeMounts = []corev1.VolumeMount{{Name: "nowhere", MountPath: "/data"}}
		}), "mount at /data"},
		{"a listed mount is of a part", mount(corev1.VolumeMount{MountPath: "/data", SubPath: "x"}, emptyDir), "subPath"},
		{"a listed mount is of a part that a variable names", mount(corev1.VolumeMount{MountPath: "/data", SubPathExpr: "$(X)"}, emptyDir), "subPath"},
		{"a listed mount propagates", mount(corev1.VolumeMount{MountPath: "/data", MountPropagation: ptr.To(corev1.MountPropagationBidirectional)}, emptyDir), "propagates"},
		{"a listed mount has options", mount(corev1.VolumeMount{MountPath: "/data", BindMountOptions: []string{"exec"}}, emptyDir), "bindMountOptions"},
		{"names lead to other addresses", func(_ *batchv1.Job, pod *corev1.PodSpec, _ *corev1.Container) {
			pod.HostAliases = []corev1.HostAlias{{IP: "10.0.0.1", Hostnames: []string{"s3.amazonaws.com"}}}
		}, "hostAliases"},
		{"another server answers for names", func(_ *batchv1.Job, pod *corev1.PodSpec, _ *corev1.Container) {
			pod.DNSConfig = &corev1.PodDNSConfig{}
		}, "dnsConfig"},
		{"the Pod has a server's name", func(_ *batchv1.Job, pod *corev1.PodSpec, _ *corev1.Container) { pod.Hostname = "api" }, "hostname is set"},
		{"the Pod has a server's name, in a domain", func(_ *batchv1.Job, pod *corev1.PodSpec, _ *corev1.Container) { pod.Subdomain = "internal" }, "subdomain is set"},
		{"the Pod has a server's whole name", func(_ *batchv1.Job, pod *corev1.PodSpec, _ *corev1.Container) {
			pod.HostnameOverride = ptr.To("api.internal.example")
		}, "hostnameOverride is set"},
		{"the Pod has its whole name", func(_ *batchv1.Job, pod *corev1.PodSpec, _ *corev1.Container) { pod.SetHostnameAsFQDN = ptr.To(true) }, "setHostnameAsFQDN is set"},
	})
}

func TestTheRunnerThatIsMostLikeTheContainerIsTold(t *testing.T) {
	c := newCapability()
	exact := v1alpha1.Runner{Image: image, Command: []string{"/scripts/publish-preview.sh"}, Args: []string{"--slow"}}
	far := v1alpha1.Runner{Image: image, Command: []string{"/bin/a"}, Args: []string{"--slow"}}
	farther := v1alpha1.Runner{Image: image, Command: []string{"/bin/a"}, Args: []string{"--slow"}, WorkingDir: "/w"}
	c.Spec.Runner = []v1alpha1.Runner{exact, far, farther}
	checkJobs(t, c, []jobRow{{"the first", func(*batchv1.Job, *corev1.PodSpec, *corev1.Container) {}, `runner[0]: args are ["--fast"], not ["--slow"]`}})
	c.Spec.Runner = []v1alpha1.Runner{farther, far, exact}
	checkJobs(t, c, []jobRow{{"the last", func(*batchv1.Job, *corev1.PodSpec, *corev1.Container) {}, "runner[2]: args are"}})
}

func TestWhereNoRunnerIsListedAnyStepWillDo(t *testing.T) {
	job := newJob()
	job.Spec.Template.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "ANY", Value: "thing"}}
	job.Spec.Template.Spec.Containers[0].Command = nil
	if err := CheckJob(job, newRequest(), newCapability()); err != nil {
		t.Error(err)
	}
}

// awayFrom keeps Pods off each node of the operating system of the Pod's own.
func awayFrom(term corev1.PodAffinityTerm) *corev1.Affinity {
	term.TopologyKey = "kubernetes.io/os"
	return &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{term}}}
}
