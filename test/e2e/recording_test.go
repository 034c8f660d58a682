// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/creack/pty"
	"github.com/google/go-cmp/cmp"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/hack/demo/stage"
)

// update writes what was recorded, instead of comparing with it: make record.
var update = flag.Bool("update", false, "write docs/sessions")

// recording is a command on a terminal, and what it printed.
type recording struct {
	terminal *os.File
	cmd      *exec.Cmd
	pieces   chan string
	printed  string
}

// record begins a command on a terminal of its own. It is wide enough for every line to stay whole: a digest that is
// broken could not be written alike.
func record(t *testing.T, cmd *exec.Cmd) *recording {
	t.Helper()
	terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 50, Cols: 200})
	if err != nil {
		t.Fatal(err)
	}
	r := &recording{terminal: terminal, cmd: cmd, pieces: make(chan string, 1)}
	go func() {
		defer close(r.pieces)
		for {
			piece := make([]byte, 4096)
			n, err := terminal.Read(piece)
			r.pieces <- string(piece[:n])
			if err != nil { // a terminal ends with one
				return
			}
		}
	}()
	return r
}

// answer types when the command asks.
func (r *recording) answer(t *testing.T, question, answer string) {
	t.Helper()
	for piece := range r.pieces {
		if r.printed += piece; strings.Contains(r.printed, question) {
			if _, err := io.WriteString(r.terminal, answer+"\n"); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("it never asked %q:\n%s", question, r.printed)
}

// end waits for the command's end, and returns the session as it is kept: with what differs from one time to the next written in the same
// way.
func (r *recording) end(t *testing.T, typed string, wantCode int) string {
	t.Helper()
	for piece := range r.pieces {
		r.printed += piece
	}
	text := r.printed
	if _ = r.cmd.Wait(); r.cmd.ProcessState.ExitCode() != wantCode {
		t.Errorf("%s ended with %d:\n%s", typed, r.cmd.ProcessState.ExitCode(), text)
	}
	_ = r.terminal.Close()
	return "$ " + typed + "\n" + alike(strings.ReplaceAll(text, "\r\n", "\n"))
}

// alike writes what differs from one time to the next in the same way.
func alike(text string) string {
	for _, one := range []struct{ form, instead string }{
		{`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`, "9f8c6b6a-9c2a-4e0b-8a4d-2d7db8f80731"},
		{`sha256:[0-9a-f]{64}`, "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"},
		{`\b[0-9a-f]{64}\b`, "25d35774d6b1b51ef1b5a6b2b4e0f0e2a2e1f4d3c2b1a09f8e7d6c5b4a392817"},
		{`lease_id=[0-9a-f]{8}\b`, "lease_id=9f8c6b6a"},
		{`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`, "2026-11-25T16:32:46Z"},
		{`\b(until|exposed_until)=\d\d:\d\d:\d\d`, "$1=16:32:46"},
		{`\((in )?\d+[smh]\d*[sm]?( ago)?\)`, "(${1}1s$2)"},
		{`(?m)[ \t]+$`, ""},
	} {
		text = regexp.MustCompile(one.form).ReplaceAllString(text, one.instead)
	}
	return text
}

// expectRecorded compares with what is kept.
func expectRecorded(t *testing.T, s *stage.Stage, name, session string) {
	t.Helper()
	file := s.Path(filepath.Join("docs", "sessions", name+".txt"))
	if *update {
		if err := os.WriteFile(file, []byte(session), 0o644); err != nil { //nolint:gosec // a document
			t.Fatal(err)
		}
		return
	}
	kept, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(kept), session); diff != "" {
		t.Errorf("%s is not what happens; if that is meant, run make record (-kept +happens):\n%s", name, diff)
	}
}

// sessions are those of docs/sessions, as they are: an agent runs a step, somebody approves it, and an author tests policies.
func sessions(t *testing.T, s *stage.Stage) {
	plugin := func(who stage.Person, args ...string) *exec.Cmd {
		t.Helper()
		cmd, err := s.Plugin(t.Context(), who, args...)
		if err != nil {
			t.Fatal(err)
		}
		cmd.Dir = s.Path("")
		return cmd
	}
	step := []string{"run", "publish-preview-build", "--repo", "web-app", "--env", "preview", "--task", "pr-184", "--ttl", "15m", "--name", "publish-pr-184",
		"--justification", "Publish the preview build for PR-184", "--", "publish", "previews/web-app/pr-184/index.html"}
	running := record(t, plugin(stage.Agent, append([]string{"-n", stage.Namespace, "--service-account", "runner"}, step...)...))
	if _, err := s.AwaitRequest(t.Context(), "publish-pr-184", v1alpha1.ReasonAwaitingApproval); err != nil {
		t.Fatal(err)
	}
	approving := record(t, plugin(stage.Alice, "approve", "publish-pr-184", "-n", stage.Namespace))
	approving.answer(t, "[y/N]", "y")
	expectRecorded(t, s, "approve", approving.end(t, "kubectl valetkey approve publish-pr-184 -n agents", 0))
	expectRecorded(t, s, "run", running.end(t, "kubectl valetkey run publish-preview-build --repo web-app --env preview --task pr-184 --ttl 15m --name publish-pr-184 \\\n"+
		"    --justification 'Publish the preview build for PR-184' -- publish previews/web-app/pr-184/index.html", 0))
	testing := record(t, plugin(stage.Alice, "policy", "test", "config/samples"))
	expectRecorded(t, s, "policy-test", testing.end(t, "kubectl valetkey policy test config/samples", 0))
}
