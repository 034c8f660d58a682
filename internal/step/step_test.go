// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package step_test

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/policy"
	"github.com/valetkey/valetkey/internal/step"
)

const (
	agent     = "system:serviceaccount:agents:web-app-bot"
	image     = "registry.example.com/publisher@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
	execImage = "registry.example.com/valetkey-exec@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a09"
)

func request() *v1alpha1.CapabilityRequest {
	return &v1alpha1.CapabilityRequest{ObjectMeta: metav1.ObjectMeta{Namespace: "agents", Name: "publish-pr-184"},
		Spec: v1alpha1.CapabilityRequestSpec{Capability: "publish", Container: "step", Requester: v1alpha1.Identity{Username: agent}}}
}

// TestTheJobIsOneThatMayHoldACredential asks the operator's own check, of every kind of capability.
func TestTheJobIsOneThatMayHoldACredential(t *testing.T) {
	runner := v1alpha1.Runner{Image: image, Command: []string{"/publish"}, AnyArgs: true, WorkingDir: "/w", Env: []v1alpha1.RunnerVariable{{Name: "A", Value: "b"}},
		Mounts: []v1alpha1.RunnerMount{{MountPath: "/tmp", Source: v1alpha1.MountEmptyDir}, {MountPath: "/etc/app", Source: v1alpha1.MountConfigMap}}}
	demand, shell := &v1alpha1.ExecDemand{Images: []string{execImage}}, []string{"/bin/sh", "-c"}
	for name, test := range map[string]struct {
		step step.Step
		spec v1alpha1.CapabilitySpec
	}{
		"any step":     {step.Step{Image: image, Command: []string{"sh", "-c", "true"}}, v1alpha1.CapabilitySpec{}},
		"a listed one": {step.Of(&runner, []string{"web-app"}), v1alpha1.CapabilitySpec{Runner: []v1alpha1.Runner{runner}}},
		"any script of a listed image, behind valetkey-exec": {
			step.Step{Image: image, Command: shell, Args: []string{"true"}, Restricted: true},
			v1alpha1.CapabilitySpec{Runner: []v1alpha1.Runner{{Image: image, Command: shell, AnyArgs: true}}, Exec: demand},
		},
		"a listed one, behind it": {step.Of(&runner, []string{"web-app"}), v1alpha1.CapabilitySpec{Runner: []v1alpha1.Runner{runner}, Exec: demand}},
	} {
		t.Run(name, func(t *testing.T) {
			c := &v1alpha1.Capability{Spec: test.spec}
			job := policy.AsHeld(test.step.Job(request(), c), agent)
			if err := policy.CheckJob(job, request(), c); err != nil {
				t.Error(err)
			}
			_, risks, _ := policy.NewReview(policy.ReviewInput{Request: request(), Job: job, Capability: c, Provider: &v1alpha1.CapabilityProvider{}})
			if len(risks) > 0 {
				t.Errorf("it is a risk: %v", risks)
			}
		})
	}
}

func TestAListedStepKeepsItsOwnArguments(t *testing.T) {
	s := step.Of(&v1alpha1.Runner{Image: image, Command: []string{"/publish"}, Args: []string{"--fast"}}, []string{"--other"})
	if !slices.Equal(s.Args, []string{"--fast"}) {
		t.Errorf("args are %v", s.Args)
	}
}

func TestARestrictedNamespaceTakesIt(t *testing.T) {
	c := step.Step{Image: image, Restricted: true}.Job(request(), nil).Spec.Template.Spec.Containers[0].SecurityContext
	if !*c.RunAsNonRoot || *c.AllowPrivilegeEscalation || !slices.Equal(c.Capabilities.Drop, []corev1.Capability{"ALL"}) || !strings.HasPrefix(string(c.SeccompProfile.Type), "RuntimeDefault") {
		t.Errorf("%+v", c)
	}
}
