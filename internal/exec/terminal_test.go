// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package exec_test

import (
	"bufio"
	"io"
	"strings"
	"testing"

	"github.com/creack/pty"
)

// TestATerminalPassesThrough talks to a command over a terminal, as a person does.
func TestATerminalPassesThrough(t *testing.T) {
	c := delivered(t)
	cmd := c.command("sh", "-c", `test -t 0 && test -t 1 && test -t 2 && echo terminal; stty size; printf 'name? '; read name; echo "hello $name, $API_TOKEN"; exit 9`)
	terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 33, Cols: 77})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = terminal.Close() }()
	out := bufio.NewReader(terminal)
	// The question has no line end: it must not be held back until there is an answer.
	asked, err := out.ReadString('?')
	if err != nil || !strings.Contains(asked, "terminal\r\n33 77\r\n") {
		t.Fatalf("%q: %v", asked, err)
	}
	if _, err := io.WriteString(terminal, "agent\n"); err != nil {
		t.Fatal(err)
	}
	rest, _ := io.ReadAll(out) // a terminal ends with an error
	if !strings.Contains(string(rest), "hello agent, [redacted]") || strings.Contains(string(rest), secret) {
		t.Errorf("%q", rest)
	}
	if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != 9 {
		t.Errorf("exit code %d", cmd.ProcessState.ExitCode())
	}
}
