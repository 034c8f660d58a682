// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/visible"
)

// leaks says by what the credential would leave its container without its program telling it: what the kubelet copies from the
// container into an object, and what a neighbour in the Pod can read; and by what it would stay there after its end. Source: the kubelet of Kubernetes 1.37.
func leaks(job *batchv1.Job, r *v1alpha1.CapabilityRequest, c *v1alpha1.Capability) findings {
	pod := &job.Spec.Template.Spec
	step := find(pod.Containers, r.Spec.Container)
	if step == nil {
		return nil // It is refused for that.
	}
	return slices.Concat(expanded(step, c), copiedOut(step), otherCredentials(step, c), deceivers(pod, step, c),
		holdUps(job, step.Name))
}

// expanded finds the references that the kubelet would replace by the credential. It does so in the command, the arguments, the values
// of variables and the names of mounted folders, and what it makes of them is in the process list, in messages of the runtime, and from
// there in events and in the Pod's status.
func expanded(step *corev1.Container, c *v1alpha1.Capability) findings {
	var f findings
	secret := SecretVariables(c)
	look := func(where string, texts ...string) {
		for _, text := range texts {
			for _, name := range references(text) {
				f.add(slices.Contains(secret, name), "container %s: %s holds $(%s), which the kubelet replaces by the credential, so that "+
					"it would be seen outside of the container; let the program read the variable, or write $$(%s) for that text itself",
					step.Name, where, name, name)
			}
		}
	}
	look("command", step.Command...)
	look("args", step.Args...)
	for _, e := range step.Env {
		look(fmt.Sprintf("env[%s]", visible.Name(e.Name)), e.Value)
	}
	for _, m := range step.VolumeMounts {
		look(fmt.Sprintf("volumeMounts[%s].subPathExpr", visible.Name(m.MountPath)), m.SubPathExpr)
	}
	return f
}

// references are the names of the variables that the kubelet looks for in a text: those in $(NAME), but not in $$(NAME).
func references(text string) []string {
	var names []string
	for {
		at := strings.IndexByte(text, '$')
		if at < 0 || at+1 == len(text) {
			return names
		}
		next := text[at+1]
		text = text[at+2:]
		if next != '(' {
			continue // The character behind a $ belongs to it: a second $ begins no reference.
		}
		if name, rest, closed := strings.Cut(text, ")"); closed {
			names, text = append(names, name), rest
		}
	}
}

// SecretVariables are the variables of the container that a capability's back end sets to the credential, or to a part of it. Those that
// only point at its files are none of them.
func SecretVariables(c *v1alpha1.Capability) []string {
	s := &c.Spec
	var names []string
	add := func(delivery v1alpha1.CredentialDelivery, variables ...string) {
		if delivery == v1alpha1.DeliveryEnv {
			names = append(names, variables...)
		}
	}
	if s.AWS != nil {
		add(s.AWS.Delivery, "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
	}
	if s.GCP != nil {
		add(s.GCP.Delivery, "CLOUDSDK_AUTH_ACCESS_TOKEN", "GOOGLE_OAUTH_ACCESS_TOKEN")
	}
	if s.GitHub != nil {
		add(s.GitHub.Delivery, "GITHUB_TOKEN", "GH_TOKEN")
	}
	if s.Token != nil {
		add(s.Token.Delivery, "VALETKEY_TOKEN")
	}
	if s.Vault != nil {
		for _, v := range s.Vault.Variables {
			names = append(names, v.Name)
		}
	}
	return names
}

// copiedOut finds what has the kubelet copy the output of the container into an object of the cluster, where nobody redacts it.
func copiedOut(step *corev1.Container) findings {
	var f findings
	f.add(step.TerminationMessagePolicy == corev1.TerminationMessageFallbackToLogsOnError,
		"container %s: terminationMessagePolicy must be File: the end of its log would be kept in the Pod's status", step.Name)
	for name, probe := range map[string]*corev1.Probe{"livenessProbe": step.LivenessProbe, "startupProbe": step.StartupProbe, "readinessProbe": step.ReadinessProbe} {
		f.add(probe != nil && (probe.Exec != nil || probe.HTTPGet != nil || probe.GRPC != nil), "container %s: %s must be tcpSocket: the kubelet "+
			"writes into an event what a command prints, and what is answered over HTTP or gRPC", step.Name, name)
	}
	hook := step.Lifecycle
	f.add(hook != nil && hook.PreStop != nil && (hook.PreStop.Exec != nil || hook.PreStop.HTTPGet != nil), "container %s: lifecycle.preStop "+
		"must be sleep or tcpSocket: the kubelet writes into its log what a command prints, and what is answered over HTTP; have the program "+
		"heed its signal", step.Name)
	slices.Sort(f)
	return f
}
