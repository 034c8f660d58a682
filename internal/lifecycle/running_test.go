// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"testing"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

func TestRunning(t *testing.T) {
	step := func(change func(*PodFacts)) change {
		return func(f *Facts) { change(&f.Pods[0]) }
	}
	for name, tt := range map[string]struct {
		facts   Facts
		running bool
		reason  string
		message string
	}{
		"it runs": {active(step(func(p *PodFacts) { p.Step.Runs = true })), true, v1alpha1.ReasonRunning,
			"container publish runs in Pod valetkey-publish-pr-184-x on node node1"},
		"no Pod was made": {active(nobodySaw), false, v1alpha1.ReasonNoPod, "the job-controller has made no Pod of Job valetkey-publish-pr-184 yet"},
		"no node has its Pod": {active(step(func(p *PodFacts) { p.Node, p.Step.Said = "", "Unschedulable: 0/3 nodes are available" })), false, v1alpha1.ReasonUnscheduled,
			"Pod valetkey-publish-pr-184-x has no node yet: Unschedulable: 0/3 nodes are available"},
		"nothing is said of it": {active(), false, v1alpha1.ReasonStarting, "container publish of Pod valetkey-publish-pr-184-x does not run yet"},
		"nothing is said of it, and no node has it": {active(step(func(p *PodFacts) { p.Node = "" })), false, v1alpha1.ReasonStarting,
			"Pod valetkey-publish-pr-184-x has no node yet"},
		"its image is not there": {active(step(func(p *PodFacts) { p.Step.Said = "ErrImagePull: not found" })), false, v1alpha1.ReasonNotStarted,
			"container publish of Pod valetkey-publish-pr-184-x does not run yet: ErrImagePull: not found"},
		"it ended": {active(over(3)), false, v1alpha1.ReasonStepOver, "container publish ended with exit code 3"},
		"it was killed": {active(step(func(p *PodFacts) { p.Step = StepFacts{Over: true, ExitCode: 137, Said: "OOMKilled"} })), false, v1alpha1.ReasonStepOver,
			"container publish ended with exit code 137: OOMKilled"},
		"it ran when its Pod went": {active(gone, step(func(p *PodFacts) { p.Step.Runs = true })), false, v1alpha1.ReasonStepOver, "Pod valetkey-publish-pr-184-x is gone"},
		"its Pod was evicted before": {active(step(func(p *PodFacts) { p.Ended, p.Step.Said = true, "Evicted: low on memory" })), false, v1alpha1.ReasonStepOver,
			"Pod valetkey-publish-pr-184-x has ended: Evicted: low on memory"},
	} {
		t.Run(name, func(t *testing.T) {
			tt.facts.Grant.Spec.Job = v1alpha1.GrantJob{Name: "valetkey-publish-pr-184", Container: "publish"}
			running, reason, message := Running(tt.facts)
			if running != tt.running || reason != tt.reason || message != tt.message {
				t.Errorf("got %t %s %q, want %t %s %q", running, reason, message, tt.running, tt.reason, tt.message)
			}
		})
	}
}
