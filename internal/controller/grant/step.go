// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"cmp"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/valetkey/valetkey/internal/controller/observe"
	"github.com/valetkey/valetkey/internal/lifecycle"
	"github.com/valetkey/valetkey/internal/visible"
)

// stepFacts is what a Pod's status says of the container that holds the credential.
func stepFacts(pod *corev1.Pod, step string) lifecycle.StepFacts {
	f := lifecycle.StepFacts{Others: othersGoOn(pod, step)}
	at := slices.IndexFunc(pod.Status.ContainerStatuses, func(s corev1.ContainerStatus) bool { return s.Name == step })
	if at >= 0 {
		state := pod.Status.ContainerStatuses[at].State
		f.Runs = state.Running != nil
		if ended := state.Terminated; ended != nil {
			f.Over, f.OverAt, f.ExitCode = true, ended.FinishedAt.Time, ended.ExitCode
			switch ended.Reason {
			case "Completed", "Error": // which say no more than the exit code
			case observe.NotStarted:
				f.Said = words(ended.Reason, ended.Message)
			default:
				f.Said = words(ended.Reason, "")
			}
		}
	}
	if !f.Runs && !f.Over {
		f.Said = whyNot(pod, step)
	}
	return f
}

// othersGoOn reports whether a container beside the step, or one that was started before it to stay, has not ended.
func othersGoOn(pod *corev1.Pod, step string) bool {
	return slices.ContainsFunc(pod.Spec.Containers, func(c corev1.Container) bool {
		return c.Name != step && !slices.ContainsFunc(pod.Status.ContainerStatuses, func(s corev1.ContainerStatus) bool {
			return s.Name == c.Name && s.State.Terminated != nil
		})
	}) || slices.ContainsFunc(pod.Status.InitContainerStatuses, func(s corev1.ContainerStatus) bool { return s.State.Running != nil })
}

// whyNot is what scheduler and kubelet say of a container that does not run; empty while they say nothing worth telling.
func whyNot(pod *corev1.Pod, step string) string {
	if pod.Status.Reason != "" || pod.Status.Message != "" { // as of one that was evicted
		return words(pod.Status.Reason, pod.Status.Message)
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return words(c.Reason, c.Message)
		}
	}
	for _, s := range containerStatuses(pod) {
		prefix := ""
		if s.Name != step {
			prefix = "container " + s.Name + ": "
		}
		switch waiting, ended := s.State.Waiting, s.State.Terminated; {
		case waiting != nil && waiting.Reason != "ContainerCreating" && waiting.Reason != "PodInitializing":
			return prefix + words(waiting.Reason, waiting.Message)
		case ended != nil && ended.ExitCode != 0:
			return prefix + fmt.Sprintf("it ended with exit code %d: %s", ended.ExitCode, words(ended.Reason, ""))
		}
	}
	return ""
}

// words are the node's or the scheduler's, on one line: they can repeat what others wrote.
func words(reason, message string) string {
	if reason == "" || message == "" {
		return visible.Line(cmp.Or(reason, message))
	}
	return visible.Line(reason + ": " + message)
}
