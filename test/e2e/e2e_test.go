// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

// Package e2e plays journeys on a real node, with the operator as it ships.
package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/hack/demo/stage"
	"github.com/valetkey/valetkey/hack/demo/story"
)

// newStage sets a stage, from the chart, that is torn down with the test.
func newStage(t *testing.T, backEnds bool) *stage.Stage {
	t.Helper()
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	return setUp(t, stage.Options{Root: root, BackEnds: backEnds})
}

func setUp(t *testing.T, o stage.Options) *stage.Stage {
	t.Helper()
	o.Progress, o.Fast, o.Helm = os.Stderr, true, true
	s, err := stage.SetUp(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			s.Explain(context.Background(), os.Stderr)
		}
		if err := s.TearDown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

// TestTheStory is the demo: whatever `make demo` shows is insisted on here.
func TestTheStory(t *testing.T) {
	if err := story.Tell(t.Context(), newStage(t, false), os.Stdout); err != nil {
		t.Fatal(err)
	}
}

// TestTheStoryOfEachBackEnd is what `make demo-backends` shows.
func TestTheStoryOfEachBackEnd(t *testing.T) {
	s := newStage(t, true)
	if err := story.BackEnds(t.Context(), s, os.Stdout); err != nil {
		t.Fatal(err)
	}
	if found, err := s.Canary(t.Context()); err != nil {
		t.Error(err)
	} else {
		fmt.Println("canary:", found)
	}
}

// TestJourneys plays what the demo does not show, on one stage.
func TestJourneys(t *testing.T) {
	s := newStage(t, false)
	for name, journey := range map[string]func(*testing.T, *stage.Stage){
		"a capability delivered in the environment works, too":     deliveredInTheEnvironment,
		"behind valetkey-exec nothing is told":                     behindExec,
		"nothing else runs under the name of valetkey-exec":        nothingElseUnderItsName,
		"the plugin runs a step and ends as it does":               pluginRuns,
		"the recorded sessions are what happens":                   sessions,
		"a container that writes as root finds its credential":     asRoot,
		"a Job deleted while it runs ends its grant":               jobDeleted,
		"a Job that fails ends its grant as failed":                jobFails,
		"a namespace deleted with a living grant is gone for good": namespaceDeleted,
		"a step that stays ends with its grant":                    endsInTime,
		"a step reads what was reviewed":                           readsWhatWasRead,
		"a step that the job-controller leaves is ended":           leftByTheJobController,
		"a credential ends with its step while others go on":       outlived,
	} {
		t.Run(name, func(t *testing.T) { journey(t, s) })
	}
	t.Run("and the metrics tell of it", func(t *testing.T) { inTheMetrics(t, s) })
	if found, err := s.Canary(t.Context()); err != nil {
		t.Error(err)
	} else {
		fmt.Println("canary:", found)
	}
}

// inTheMetrics looks for what the journeys did. That a series is there means that it happened once at least.
func inTheMetrics(t *testing.T, s *stage.Stage) {
	told, err := s.Metrics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, series := range []string{
		`valetkey_decisions_total{decision="granted",reason="Allowed"} `,
		`valetkey_grants_ended_total{capability="publish-preview-build",outcome="Failed",provider="aws-sts",revocation="AtExpiry"} `,
		`valetkey_stage_duration_seconds_count{provider="aws-sts",stage="issue"} `,
		`valetkey_residual_exposure_seconds_count{provider="aws-sts"} `,
		"valetkey_audit_failures_total 0\n",
	} {
		if !strings.Contains(told, series) {
			t.Errorf("there is no %s", series)
		}
	}
}

func ask(t *testing.T, s *stage.Stage, a stage.Ask) {
	t.Helper()
	a.Environment, a.TTLSeconds = "rehearsal", 300
	if err := s.Request(t.Context(), stage.Agent, a); err != nil {
		t.Fatal(err)
	}
}

// ended waits for the end of a grant and insists on how it ended.
func ended(t *testing.T, s *stage.Stage, name string, outcome v1alpha1.GrantOutcome, reason string) *v1alpha1.CapabilityGrant {
	t.Helper()
	g, err := s.AwaitGrant(t.Context(), name, v1alpha1.ConditionEnded)
	if err != nil {
		t.Fatal(err)
	}
	if g.Status.Outcome != outcome || g.Status.Stop.Reason != reason {
		t.Errorf("it ended %s for %s (%s), want %s for %s", g.Status.Outcome, g.Status.Stop.Reason, g.Status.Stop.Message, outcome, reason)
	}
	secrets, err := s.Kubectl(t.Context(), stage.Admin, "-n", g.Namespace, "get", "secret", "-o", "name")
	if err != nil || strings.Contains(secrets, string(g.UID)) {
		t.Errorf("its Secret is still there: %s %v", secrets, err)
	}
	return g
}

func logs(t *testing.T, s *stage.Stage, name, container string) string {
	t.Helper()
	text, err := s.Kubectl(t.Context(), stage.Agent, "-n", stage.Namespace, "logs", "job/"+v1alpha1.NamePrefix+name, "-c", container)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// set changes the sample's capability, and waits until the operator knows.
func set(t *testing.T, s *stage.Stage, patch string) {
	t.Helper()
	if _, err := s.Kubectl(t.Context(), stage.Admin, "patch", "cap", "publish-preview-build", "--type=merge", "-p", patch); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Kubectl(t.Context(), stage.Admin, "wait", "cap/publish-preview-build", "--for=jsonpath={.status.conditions[0].observedGeneration}="+generation(t, s)); err != nil {
		t.Fatal(err)
	}
}

func deliveredInTheEnvironment(t *testing.T, s *stage.Stage) {
	set(t, s, `{"spec":{"aws":{"delivery":"Env"}}}`)
	defer set(t, s, `{"spec":{"aws":{"delivery":"Files"}}}`)
	ask(t, s, stage.Ask{Name: "by-env", Args: []string{"publish", "previews/web-app/by-env"}})
	ended(t, s, "by-env", v1alpha1.OutcomeCompleted, v1alpha1.ReasonJobCompleted)
	if text := logs(t, s, "by-env", "publish"); !strings.HasPrefix(text, "put previews/web-app/by-env ok\nget previews/web-app/by-env AccessDenied\n") {
		t.Errorf("the container says %q", text)
	}
	if text := logs(t, s, "by-env", "beside"); text != "sees nothing" {
		t.Errorf("the container beside it says %q", text)
	}
}

func generation(t *testing.T, s *stage.Stage) string {
	t.Helper()
	text, err := s.Kubectl(t.Context(), stage.Admin, "get", "cap", "publish-preview-build", "-o", "jsonpath={.metadata.generation}")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func asRoot(t *testing.T, s *stage.Stage) {
	ask(t, s, stage.Ask{Name: "as-root", Args: []string{"publish", "previews/web-app/as-root"}, Job: []string{
		`{op: add, path: /spec/template/spec/securityContext, value: {runAsUser: 0}}`,
		`{op: add, path: /spec/template/spec/containers/1/securityContext/runAsNonRoot, value: true}`,
		`{op: add, path: /spec/template/spec/containers/1/securityContext/runAsUser, value: 65532}`}})
	ended(t, s, "as-root", v1alpha1.OutcomeCompleted, v1alpha1.ReasonJobCompleted)
}

func jobDeleted(t *testing.T, s *stage.Stage) {
	ask(t, s, stage.Ask{Name: "deleted", Args: []string{"hold"}})
	if err := s.AwaitRunning(t.Context(), "deleted"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Kubectl(t.Context(), stage.Agent, "-n", stage.Namespace, "delete", "job", "valetkey-deleted", "--wait=false"); err != nil {
		t.Fatal(err)
	}
	ended(t, s, "deleted", v1alpha1.OutcomeRevoked, v1alpha1.ReasonJobGone)
}

func jobFails(t *testing.T, s *stage.Stage) {
	ask(t, s, stage.Ask{Name: "fails", Args: []string{"publish", "no-such-bucket"}})
	ended(t, s, "fails", v1alpha1.OutcomeFailed, v1alpha1.ReasonJobFailed)
}

// namespaceDeleted comes with a namespace of its own, enrolled like the samples'.
func namespaceDeleted(t *testing.T, s *stage.Stage) {
	const ns = "short-lived"
	if err := s.Enrol(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	a := stage.Ask{Name: "orphan", Namespace: ns, Args: []string{"hold"}}
	ask(t, s, a)
	for _, wait := range [][]string{{"capreq/orphan", "--for=condition=Granted"}, {"capgrant/orphan", "--for=condition=Delivered"}} {
		if _, err := s.Kubectl(t.Context(), stage.Admin, append([]string{"-n", ns, "wait", "--timeout=60s"}, wait...)...); err != nil {
			t.Fatal(err)
		}
	}
	limits := func(change string) {
		t.Helper()
		if _, err := s.Kubectl(t.Context(), stage.Admin, "patch", "cappol", "rehearsals", "--type=merge", "-p", change); err != nil {
			t.Fatal(err)
		}
	}
	for _, wait := range [][]string{
		{"delete", "namespace", ns, "--wait=false"},
		// The policy's limit counts the credential, which works for some minutes more.
		{"-n", ns, "wait", "--timeout=60s", "capgrant/orphan", "--for=condition=Ended"},
	} {
		if _, err := s.Kubectl(t.Context(), stage.Admin, wait...); err != nil {
			t.Fatal(err)
		}
	}
	limits(`{"spec":{"limits":null}}`)
	defer limits(`{"spec":{"limits":{"active":20}}}`)
	if _, err := s.Kubectl(t.Context(), stage.Admin, "wait", "--for=delete", "namespace/"+ns, "--timeout=120s"); err != nil {
		t.Fatal(err)
	}
}
