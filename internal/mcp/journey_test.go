// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// TestAnAgentIsRefusedChangesWhatItAskedForAndIsDone: the whole way, with the calls that it takes, and a canary in every place from
// which a credential could be read.
func TestAnAgentIsRefusedChangesWhatItAskedForAndIsDone(t *testing.T) {
	w := newWorld(t,
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: agents, Name: "valetkey-1"}, Type: v1alpha1.SecretType, StringData: map[string]string{"token": planted}},
		&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: agents, Name: "valetkey-" + asking, Labels: map[string]string{v1alpha1.LabelRequest: asking}},
			Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "step", Env: []corev1.EnvVar{{Name: "TOKEN", Value: planted}}}}}})
	offers := w.call("capabilities", arguments{})
	if len(offers.offered.Capabilities) != 1 || offers.offered.You != agent {
		t.Fatalf("offered: %s", offers.text)
	}
	refused := w.call("ask", plea(arguments{"environment": "production", "ttl_seconds": 3600}))
	w.expectRefusal(refused, "policy preview-builds", "nothing was created", `"ttl_seconds":3600`)
	if refused.Change["environment"] != "preview; the request has production" || refused.Change["ttl_seconds"] != "up to 900; the request has 3600" || len(refused.Change) != 2 {
		t.Errorf("what to change: %v", refused.Change)
	}
	w.expectChanges()

	asked := w.asks(plea(), awaitsApproval)
	w.expect(asked, stateAwaiting, "waits for 1 approval by 2026-03-04T13:00:00Z, from group release-managers")
	if want := "kubectl annotate capreq publish-preview-build-pr-184 -n agents valetkey.dev/approve=" + digest; asked.Approve != want || asked.failed {
		t.Errorf("the command is %q, want %q", asked.Approve, want)
	}
	w.expectChanges("POST capabilityrequests", "POST jobs")

	ended := w.while("wait", arguments{"name": asked.Name}, func() {
		w.awaitProgress("from group release-managers: kubectl annotate capreq publish-preview-build-pr-184 -n agents valetkey.dev/approve=" + digest)
		w.operator(asking, func(r *v1alpha1.CapabilityRequest) { r.Status.GrantName = asking })
		w.awaitProgress("granted")
		w.grants(asking)
		w.awaitProgress("running")
		if r := w.call("status", arguments{"name": asking}); r.Until != "2026-03-04T12:15:00Z" {
			t.Errorf("the time is up at %s", r.Until)
		}
		w.settles(asking, v1alpha1.OutcomeCompleted)
		w.operator(asking, ends(v1alpha1.ReasonGrantEnded, "Completed: the Job succeeded"))
	})
	w.expect(ended, stateEnded, "done; its output: kubectl logs -n agents job/valetkey-publish-preview-build-pr-184")
	if ended.Outcome != "Completed" {
		t.Errorf("the outcome is %s", ended.Outcome)
	}
	w.call("status", arguments{})
	w.call("withdraw", arguments{"name": asking})
	w.expectChanges("POST capabilityrequests", "POST jobs")
	for _, call := range w.api.seen() {
		if strings.Contains(call, "secret") {
			t.Errorf("it called %s", call)
		}
	}
}

// TestTheRequestIsTheAgentsAndItsJobOneStep: what is created is what a person would write.
func TestTheRequestIsTheAgentsAndItsJobOneStep(t *testing.T) {
	w := newWorld(t)
	w.asks(plea(arguments{"service_account": "runner"}), awaitsApproval)
	r := &v1alpha1.CapabilityRequest{}
	if err := w.api.Get(w.ctx, client.ObjectKey{Namespace: agents, Name: asking}, r); err != nil {
		t.Fatal(err)
	}
	s := r.Spec
	if s.TaskID != "pr-184" || s.Actor != "an-agent/2" || s.Justification == "" || *s.TTLSeconds != 900 || s.Container != "step" || s.Requester.Username != agent {
		t.Errorf("the request is %+v", s)
	}
	job := w.job(asking)
	pod := job.Spec.Template.Spec
	if job.Labels[v1alpha1.LabelRequest] != asking || job.Spec.Template.Labels[v1alpha1.LabelRequest] != asking || *job.Spec.BackoffLimit != 0 ||
		pod.RestartPolicy != corev1.RestartPolicyNever || pod.ServiceAccountName != "runner" || *pod.AutomountServiceAccountToken || len(pod.Containers) != 1 {
		t.Errorf("the Job is %+v", job)
	}
	c := pod.Containers[0]
	if c.Image != image || strings.Join(c.Command, " ") != "/publish-preview" || strings.Join(c.Args, " ") != "publish index.html" || *c.SecurityContext.AllowPrivilegeEscalation ||
		c.SecurityContext.RunAsNonRoot != nil {
		t.Errorf("the container is %+v", c)
	}
}

func TestAStepIsFilledInFromTheCapability(t *testing.T) {
	w := newWorld(t, newCapability(func(c *v1alpha1.Capability) {
		c.Name = "other"
		c.Spec.Runner = append(c.Spec.Runner, v1alpha1.Runner{Image: image, Command: []string{"/fixed"}, Args: []string{"all"}, WorkingDir: "/work",
			Env: []v1alpha1.RunnerVariable{{Name: "MODE", Value: "strict"}}, Mounts: []v1alpha1.RunnerMount{
				{MountPath: "/config", Source: v1alpha1.MountConfigMap}, {MountPath: "/work", Source: v1alpha1.MountEmptyDir}}})
	}), func() *v1alpha1.CapabilityPolicy {
		p := rehearsals()
		p.Name, p.Spec.Capabilities = "other", []string{"other"}
		return p
	}())
	const name = "other-pr-184"
	w.while("ask", plea(arguments{"capability": "other", "environment": "rehearsal", "step": 1, "args": nil}), func() {
		w.awaitProgress("asked")
		w.operator(name, decides(v1alpha1.ReasonLimitReached, "2 are out"))
	})
	pod := w.job(name).Spec.Template.Spec
	c := pod.Containers[0]
	if c.Command[0] != "/fixed" || c.Args[0] != "all" || c.WorkingDir != "/work" || c.Env[0].Value != "strict" || len(c.VolumeMounts) != 1 ||
		c.VolumeMounts[0].MountPath != "/work" || pod.Volumes[0].EmptyDir == nil {
		t.Errorf("the Pod is %+v", pod)
	}
	for words, wrong := range map[string]arguments{
		"step is 2; capability other has steps 0 to 1":                              {"step": 2},
		"args are given; step 1 of capability other takes none":                     {"step": 1, "args": []string{"some"}},
		"step and image are both given":                                             {"step": 1, "image": image},
		"command is given without image":                                            {"command": []string{"/bin/sh"}},
		"service_account is \"Runner\"; allowed are lower case letters":             {"service_account": "Runner"},
		"there is no field steps; the fields are capability, repo, environment, ta": {"steps": 1},
	} {
		r := w.call("ask", plea(arguments{"capability": "other", "environment": "rehearsal"}, wrong))
		if w.expect(r, stateInvalid); !r.failed || !strings.Contains(r.Message, strings.ReplaceAll(words, "steps; the", `"steps"; the`)) {
			t.Errorf("%v: %s", wrong, r.text)
		}
	}
}

func TestInANamespaceOfTheLevelRestrictedTheStepIsRestricted(t *testing.T) {
	w := newWorld(t)
	edit(w, enrolled(""), func(n *corev1.Namespace) { n.Labels["pod-security.kubernetes.io/enforce"] = "restricted" })
	w.asks(plea(), awaitsApproval)
	security := w.job(asking).Spec.Template.Spec.Containers[0].SecurityContext
	if security.RunAsNonRoot == nil || !*security.RunAsNonRoot || security.SeccompProfile == nil || len(security.Capabilities.Drop) != 1 {
		t.Errorf("the step may %+v", security)
	}
}

func TestAStepRunsBehindValetkeyExecWhereThatIsDemanded(t *testing.T) {
	w := newWorld(t)
	edit(w, newCapability(), func(c *v1alpha1.Capability) {
		c.Spec.Exec = &v1alpha1.ExecDemand{Images: []string{"registry.example.com/valetkey-exec@" + image[strings.Index(image, "@")+1:]}}
	})
	w.asks(plea(), awaitsApproval)
	pod := w.job(asking).Spec.Template.Spec
	if got := strings.Join(pod.Containers[0].Command, " "); got != "/valetkey/valetkey-exec -- /publish-preview" || len(pod.Volumes) != 1 || pod.Volumes[0].Image == nil {
		t.Errorf("the command is %s, the volumes are %v", got, pod.Volumes)
	}
}

func TestACapabilityWithoutStepsTakesTheAgentsOwn(t *testing.T) {
	w := newWorld(t)
	edit(w, newCapability(), func(c *v1alpha1.Capability) { c.Spec.Runner = nil })
	r := w.call("ask", plea())
	w.expect(r, stateInvalid, "image is missing: capability publish-preview-build lists no steps")
	w.expectRefusal(w.call("ask", plea(arguments{"image": "publisher:latest"})), "policy preview-builds", "the image publisher:latest of container step is not named by digest")
	w.asks(plea(arguments{"image": image, "command": []string{"/bin/publish"}}), awaitsApproval)
	if c := w.job(asking).Spec.Template.Spec.Containers[0]; c.Image != image || c.Command[0] != "/bin/publish" || c.Args[0] != "publish" {
		t.Errorf("the container is %+v", c)
	}
}
