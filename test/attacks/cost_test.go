// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package attacks

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/valetkey/valetkey/test/manifests"
)

// TestWhatTheRulesCost prints how long an ordinary Pod's creation takes, by dry run so that no disk is in it, in an enrolled namespace
// and in one that is not, turn by turn; and then, in the same run, without any rule of ours. It fails only if there is nothing to
// measure: what a machine needs for it is not for a test to judge.
func TestWhatTheRulesCost(t *testing.T) {
	ctx := t.Context()
	w := newWorld(ctx, t)
	with := w.creationTimes(ctx, t)
	rules := kubernetes.NewForConfigOrDie(w.configs[admin]).AdmissionregistrationV1()
	for _, remove := range []func(context.Context, metav1.DeleteOptions, metav1.ListOptions) error{
		rules.ValidatingAdmissionPolicyBindings().DeleteCollection, rules.MutatingAdmissionPolicyBindings().DeleteCollection,
		rules.ValidatingAdmissionPolicies().DeleteCollection, rules.MutatingAdmissionPolicies().DeleteCollection,
	} {
		if err := remove(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := manifests.InForce(ctx, w.configs[admin]); err != nil {
		t.Fatal(err)
	}
	without := w.creationTimes(ctx, t)
	fmt.Println("Creating an ordinary Pod   median   99th percentile")
	for _, row := range []struct {
		where string
		times []time.Duration
	}{{"enrolled, with the rules", with[namespace]}, {"not enrolled, with them", with[plain]}, {"enrolled, without them", without[namespace]}, {"not enrolled, without", without[plain]}} {
		fmt.Printf("%-25s %7.2f ms %11.2f ms\n", row.where, milliseconds(row.times, 50), milliseconds(row.times, 99))
	}
}

// creationTimes are sorted, by namespace.
func (w *world) creationTimes(ctx context.Context, t *testing.T) map[string][]time.Duration {
	t.Helper()
	const rounds, warming = 400, 50
	times := map[string][]time.Duration{}
	for i := range rounds {
		for _, ns := range []string{namespace, plain} {
			pod := w.pod0("cost", set("metadata.namespace", ns))
			began := time.Now()
			if _, err := w.clients[mallory].Resource(kinds["Pod"]).Namespace(ns).Create(ctx, pod, metav1.CreateOptions{DryRun: dryRun}); err != nil {
				t.Fatal(err)
			}
			if i >= warming {
				times[ns] = append(times[ns], time.Since(began))
			}
		}
	}
	for _, list := range times {
		slices.Sort(list)
	}
	return times
}

func milliseconds(sorted []time.Duration, percentile int) float64 {
	const whole = 100
	return float64(sorted[len(sorted)*percentile/whole]) / float64(time.Millisecond)
}

// TestWhatALargeJobCosts prints how long it takes to refuse a Job of 600,000 empty arguments, turn by turn with taking one that no
// rule of ours looks into, by dry run.
func TestWhatALargeJobCosts(t *testing.T) {
	ctx := t.Context()
	w := newWorld(ctx, t)
	const arguments, rounds = 600_000, 5
	large := set("spec.template.spec.containers.0.args", slices.Repeat([]any{""}, arguments))
	ordinary := []edit{large, set("metadata.name", "ordinary"), set("metadata.labels", map[string]any{}), set("spec.template.metadata", map[string]any{})}
	times := map[string][]time.Duration{}
	for range rounds {
		for what, edits := range map[string][]edit{"with the label": {large}, "without it": ordinary} {
			job := w.job0("q", edits...)
			began := time.Now()
			_, err := w.clients[agent].Resource(kinds["Job"]).Namespace(namespace).Create(ctx, job, metav1.CreateOptions{DryRun: dryRun})
			times[what] = append(times[what], time.Since(began))
			if (err == nil) != (what == "without it") {
				t.Fatalf("%s: %v", what, err)
			}
		}
	}
	for what, list := range times {
		slices.Sort(list)
		fmt.Printf("A Job of %d words, %-15s %6.0f ms\n", arguments, what, milliseconds(list, 50))
	}
}
