// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package main

import (
	"fmt"
	"maps"
	"math"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/valetkey/valetkey/test/bench/env"
	"github.com/valetkey/valetkey/test/bench/plan"
	"github.com/valetkey/valetkey/test/bench/result"
)

// expected says how often a call is made for one ordinary grant, and why.
type expected struct {
	times int
	why   string
}

// calls are those that the API server counts for one ordinary grant, from its Job's creation to its request's end: another lives beside it,
// without which the mark of its namespace would go and come again; the Job is there first and reads no ConfigMap, nobody has to approve, the back end
// is asked without a call, and the Job succeeds. Whoever adds a call adds its reason here.
func calls() map[string]expected {
	return map[string]expected{
		"POST jobs":                     {1, "the agent's Job"},
		"POST capabilityrequests":       {1, "the agent's request"},
		"GET jobs":                      {2, "the operator's: what the cache leaves out of the Job, for the review; and the Job as it stands, right before its start"},
		"PATCH namespaces":              {1, "the operator's: the mark that keeps the namespace's protection as it is, before a grant is made there"},
		"POST capabilitygrants":         {1, "the operator's: the record of what is about to be issued"},
		"PUT capabilityrequests/status": {2, "the operator's: the review, and which grant it has; that it has ended"},
		"PUT capabilitygrants/status": {7, "the operator's: the attempt, before the back end is asked; what was issued, before the Job is started; the delivery; that the step runs; " +
			"that it is over; why the grant ends; the revocation and the outcome"},
		"POST dry-run pods":  {1, "the operator's: would the API server take the Job's Pod? If not, nothing is issued"},
		"POST secrets":       {1, "the operator's: the credential"},
		"PATCH jobs":         {1, "the operator's: the Job's start"},
		"DELETE secrets":     {1, "the operator's: the credential goes as soon as the grant ends"},
		"DELETE 404 secrets": {1, "the operator's: after the end, in case another process woke late"},
		"POST events":        {6, "the operator's two: that it is granted, and how that ended; the job-controller's four: suspended, resumed, Pod created, completed"},
		"PUT jobs/status":    {4, "the job-controller's: suspended, resumed, the Pod is active, completed"},
		"POST pods":          {1, "the job-controller's: the Job's Pod"},
		"PATCH pods":         {2, "the job-controller's and the operator's: each takes its finalizer off the Pod that has ended"},
		"POST pods/binding":  {1, "the scheduler's"},
		"GET pods":           {2, "the node's, before each status"},
		"PUT pods/status":    {2, "the node's: the Pod runs; it has ended"},
	}
}

// own are the operator's calls among them, by method, as its own client counts them.
func own() map[string]expected {
	return map[string]expected{
		"POST": {5, "the grant, the dry run of the Pod, the Secret, two events"},
		"GET": {5, "the Job twice; the grant twice, past the cache: that the back end's tokens count as over, when it is told and after the end; " +
			"the request, of whose review the cache keeps a part, before its end is stored"},
		"PUT":    {9, "seven statuses of the grant, two of the request"},
		"PATCH":  {3, "the namespace's mark, the Job's start, the Pod's finalizer"},
		"DELETE": {2, "the Secret, when the grant ends, and after the end"},
	}
}

// Calls that are made now and then.
const (
	// conflict is a status that was decided on before the operator's own last write had come back by the watch. It is read and written again.
	conflict = "PUT 409 capabilityrequests/status"
	// probe asks, every few seconds while requests come, whether the admission rules refuse what they must.
	probe = "POST dry-run 403 secrets"
)

// TestCalls_OfAnOrdinaryGrant compares what is called for one grant with the tables.
func TestCalls_OfAnOrdinaryGrant(t *testing.T) {
	const grants = 20
	b := startBench(t)
	planned := plan.Turn{Actor: result.Product, Steps: []plan.Step{{Name: "fill", N: 1}, {Name: "whole", N: grants}}}
	var got result.Result
	err := b.take(t.Context(), planned, "calls", func(r result.Result) error {
		got = r
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	const most = 2 // of three
	if got.Calls[conflict] > most {
		t.Errorf("%.2f statuses of each request are in conflict with another", got.Calls[conflict])
	}
	got.Own["POST"] -= got.Calls[probe]
	got.Own["PUT"] -= got.Calls[conflict]
	// A status in conflict has the request looked up as it is stored, and its review once more if it has one.
	got.Own["GET"] -= got.Calls[conflict]
	got.Own["GET"] -= min(got.Calls[conflict], max(0, got.Own["GET"]-float64(own()["GET"].times)))
	// A grant that still lives when it is its turn is looked at once more, with its Job as it was started.
	started := min(1, max(0, got.Calls["GET jobs"]-float64(calls()["GET jobs"].times)))
	got.Calls["GET jobs"] -= started
	got.Own["GET"] -= started
	compare(t, "API server", got.Calls, calls())
	compare(t, "operator", got.Own, own())
	if t.Failed() {
		t.Logf("for each grant: %s\nof that the operator's: %s", show(got.Calls), show(got.Own))
	}
}

// compare rounds what was called for each of many grants: what happens for fewer than half of them is a matter of chance, or is still under way
// when the last has ended, such as an event.
func compare(t *testing.T, who string, got map[string]float64, want map[string]expected) {
	t.Helper()
	for call, n := range got {
		if times := int(math.Round(n)); times > want[call].times && counts(call) {
			t.Errorf("%s: %s is called %d times for each grant (%.2f); by the table %d times: %s", who, call, times, n, want[call].times, want[call].why)
		}
	}
	for call, e := range want {
		if times := int(math.Round(got[call])); times < e.times {
			t.Errorf("%s: %s is called %d times for each grant (%.2f); by the table %d times, which is a gain: lower the table", who, call, times, got[call], e.times)
		}
	}
}

// counts leaves out what is no call about an object, what goes on by the clock, what is counted apart, and the look-ups of owners, which the garbage
// collector makes as often as its watches are behind each other: the operator's own are in its own count.
func counts(call string) bool {
	apart := []string{conflict, probe, "GET capabilitygrants", "GET capabilityrequests"}
	return !strings.HasSuffix(call, " ") && !strings.Contains(call, " /") && !strings.HasPrefix(call, "WATCH") && !strings.HasSuffix(call, " leases") && !slices.Contains(apart, call)
}

func show(calls map[string]float64) string {
	var words []string
	for _, call := range slices.Sorted(maps.Keys(calls)) {
		words = append(words, fmt.Sprintf("\n  %s %.2f", call, calls[call]))
	}
	return strings.Join(words, "")
}

// startBench starts a cluster with an operator's program of this tree.
func startBench(t *testing.T) *bench {
	t.Helper()
	log.SetLogger(logr.Discard())
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	manager := filepath.Join(t.TempDir(), "manager")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", manager, "./cmd/manager")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s := settings{workers: 1, Options: env.Options{Root: root, Manager: manager, BackendName: "token", Fast: true, Progress: t.Output(),
		Flags: []string{"--leader-elect=false"}}}
	e, err := env.Start(t.Context(), s.Options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Stop(); err != nil {
			t.Error(err)
		}
	})
	return &bench{Env: e, settings: s}
}
