// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/hack/demo/stage"
)

// runs is `kubectl valetkey run` of the sample's capability, as the agent.
func runs(t *testing.T, s *stage.Stage, flags []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	all := append([]string{"run", "publish-preview-build", "-n", stage.Namespace, "--repo", "web-app", "--task", "pr-184", "--ttl", "5m", "--service-account", "runner"}, flags...)
	cmd, err := s.Plugin(t.Context(), stage.Agent, append(append(all, "--"), args...)...)
	if err != nil {
		t.Fatal(err)
	}
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	_ = cmd.Run() // how it ended is in its state
	return cmd.ProcessState.ExitCode(), out.String(), problems.String()
}

func pluginRuns(t *testing.T, s *stage.Stage) {
	t.Run("a step that completes", func(t *testing.T) {
		code, stdout, stderr := runs(t, s, []string{"--env", "rehearsal"}, "publish", "previews/web-app/run")
		if code != 0 || !strings.HasPrefix(stdout, "put previews/web-app/run ok\nget previews/web-app/run AccessDenied\n") {
			t.Errorf("%d: %s", code, stdout)
		}
		order := []string{"policy.check        capability=publish-preview-build repo=web-app env=rehearsal approval=not_required\n", "policy.result       approved=true ttl_seconds=300 policy=rehearsals",
			"broker.issue        provider=aws-sts scope=s3:PutObject\n", "runner.exec         step=valetkey-publish-preview-build-", "broker.revoke       lease_id="}
		rest := stderr
		for _, line := range order {
			_, after, found := strings.Cut(rest, line)
			if !found {
				t.Fatalf("%q does not come next in\n%s", line, stderr)
			}
			rest = after
		}
		if !strings.Contains(rest, "status=completed mode=AtExpiry exposed_until=") {
			t.Errorf("it ended with %s", rest)
		}
	})
	t.Run("a step that fails", func(t *testing.T) {
		code, stdout, stderr := runs(t, s, []string{"--env", "rehearsal", "--name", "run-fails"}, "publish", "no-such-bucket")
		if code != 1 || !strings.Contains(stdout, "failed: ") || !strings.Contains(stderr, "status=failed") {
			t.Errorf("%d: %s %s", code, stdout, stderr)
		}
	})
	t.Run("what no policy allows", func(t *testing.T) {
		code, stdout, stderr := runs(t, s, []string{"--env", "production"}, "hold")
		if code != 1 || stdout != "" || !strings.Contains(stderr, "policy.result       approved=false reason=DeniedByPolicy") || !strings.Contains(stderr, "allows environments") {
			t.Errorf("%d: %s %s", code, stdout, stderr)
		}
	})
	t.Run("one that somebody gives up", func(t *testing.T) {
		cmd, err := s.Plugin(t.Context(), stage.Agent, "run", "publish-preview-build", "-n", stage.Namespace, "--repo", "web-app", "--task", "pr-184", "--env", "rehearsal", "--name", "run-given-up",
			"--service-account", "runner", "--", "hold")
		if err != nil {
			t.Fatal(err)
		}
		var problems bytes.Buffer
		cmd.Stderr = &problems
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(out).ReadString('\n'); line != "holding\n" {
			t.Fatalf("%q: %v\n%s", line, err, problems.String())
		}
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != 130 || !strings.Contains(problems.String(), "request.withdrawn   name=run-given-up; what it was granted ends now") {
			t.Errorf("%v: %s", cmd.ProcessState, problems.String())
		}
		g, err := s.AwaitGrant(t.Context(), "run-given-up", v1alpha1.ConditionEnded)
		if err == nil && g.Status.Outcome != v1alpha1.OutcomeRevoked {
			t.Errorf("the grant ended as %s", g.Status.Outcome)
		}
	})
}
