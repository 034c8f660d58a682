// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package exec_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/utils/clock"

	"github.com/valetkey/valetkey/internal/exec"
)

// hourIsOver names the FIFO by which a test tells valetkey-exec that the hour is over.
const hourIsOver = "VALETKEY_TEST_HOUR"

// toldClock is a clock whose long times are over when the test says so.
type toldClock struct {
	clock.RealClock
	fifo string
}

func (c toldClock) After(d time.Duration) <-chan time.Time {
	if d < time.Minute {
		return c.RealClock.After(d)
	}
	over := make(chan time.Time, 1)
	go func() {
		if f, err := os.Open(c.fifo); err == nil { // until the test opens it too
			_ = f.Close()
		}
		over <- c.Now()
	}()
	return over
}

func TestWhenTheGrantIsOverTheCommandIsEnded(t *testing.T) {
	t.Run("one that was over before is not begun, and its credential is not read", func(t *testing.T) {
		c := delivered(t)
		c.terms.Expires = time.Now().Add(-time.Second)
		c.files["exec/secrets"] = "cannot be read"
		expectRefused(t, c, 124, "the grant is over; ask for another")
	})
	t.Run("a variable of the Job's does not lengthen it", func(t *testing.T) {
		c := delivered(t)
		c.terms.Expires = time.Now().Add(-time.Second)
		c.environment = append(c.environment, "VALETKEY_EXPIRES_AT="+time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
		expectRefused(t, c, 124, "the grant is over; ask for another")
	})
	t.Run("a variable of the Job's is not what the command is told", func(t *testing.T) {
		c := delivered(t)
		c.environment = append(c.environment, "VALETKEY_EXPIRES_AT=soon")
		if code, stdout, stderr := c.runs("sh", "-c", "echo $VALETKEY_EXPIRES_AT"); code != 0 ||
			stdout != c.terms.Expires.UTC().Format(time.RFC3339) {
			t.Errorf("%d: %s %s", code, stdout, stderr)
		}
	})
	t.Run("one that runs is told to end", func(t *testing.T) {
		code, rest, stderr := hourLater(
			t,
			true,
			"sh",
			"-c",
			`trap 'echo ended; exit 0' TERM; echo ready; while :; do sleep 0.1; done`,
		)
		if code != 124 || rest != "ended\n" || !strings.Contains(stderr, "the command was ended") {
			t.Errorf("%d: %s %s", code, rest, stderr)
		}
	})
	t.Run("one that does not want to is killed", func(t *testing.T) {
		if code, rest, _ := hourLater(t, true, exec.ContainerProgram, "play-stubborn"); code != 124 || rest != "" {
			t.Errorf("%d: %s", code, rest)
		}
	})
	t.Run("one whose output nobody reads is killed", func(t *testing.T) {
		if code, _, _ := hourLater(t, false, exec.ContainerProgram, "play-flood"); code != 124 {
			t.Errorf("%d", code)
		}
	})
}

// hourLater runs a command until it says something, has the grant be over then, and reads the rest of what it says, or
// does not.
func hourLater(t *testing.T, reads bool, args ...string) (code int, rest, stderr string) {
	t.Helper()
	c := delivered(t)
	fifo := filepath.Join(t.TempDir(), "hour")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	c.environment = append(c.environment, hourIsOver+"="+fifo)
	cmd := c.command(args...)
	var problems bytes.Buffer
	cmd.Stderr = &problems
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, len("ready\n"))); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(fifo, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var text []byte
	if reads {
		if text, err = io.ReadAll(out); err != nil {
			t.Fatal(err)
		}
	}
	_ = cmd.Wait() // how it ended is in its state
	if cmd.ProcessState == nil {
		t.Fatal("it did not end")
	}
	return cmd.ProcessState.ExitCode(), string(text), problems.String()
}
