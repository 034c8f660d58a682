// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/creack/pty"
)

func TestWhatIsPrintedIsVerifiedElsewhere(t *testing.T) {
	var printed []string
	var grants []string
	for range 2 {
		l := start(t, filepath.Join(t.TempDir(), "audit.log"), maxSize(1))
		l.appendN(3)
		l.close()
		append1(t, l.path, `{"unfinished`)
		var stdout, stderr bytes.Buffer
		if code := PrintCommand([]string{filepath.Dir(l.path)}, &stdout, &stderr); code != 0 || stderr.Len() > 0 {
			t.Fatalf("%d: %s", code, stderr.String())
		}
		if n := strings.Count(stdout.String(), "\n"); n != 3 || strings.Contains(stdout.String(), "unfinished") {
			t.Errorf("%d lines of a log of three are printed:\n%s", n, stdout.String())
		}
		printed, grants = append(printed, stdout.String()), saved(t, grantList(t, l.anchors...))
	}
	files := saved(t, printed...)
	var stdout, stderr bytes.Buffer
	if code := VerifyCommand([]string{"--grants", grants[0], files[0], files[1]}, nil, &stdout, &stderr); code != 0 ||
		!strings.Contains(stdout.String(), "ok: the last record of each of 3 grants") {
		t.Errorf("two replicas' logs: %d: %s%s", code, stdout.String(), stderr.String())
	}
	stdout.Reset()
	if code := VerifyCommand([]string{"--grants", grants[0], files[0]}, nil, &stdout, &stderr); code != 1 || !strings.Contains(stdout.String(), "of which no file was given") {
		t.Errorf("the log of the wrong replica: %d: %s%s", code, stdout.String(), stderr.String())
	}
}

// TestPrint_ATerminalShowsWhatCannotBeSeen has a log in which somebody else wrote. Whoever reads it from a pipe gets every
// byte.
func TestPrint_ATerminalShowsWhatCannotBeSeen(t *testing.T) {
	const line = "{\"reason\":\"\x1b[2Jhid\u2800den\"}\n"
	log := saved(t, line)
	var stdout, stderr bytes.Buffer
	if code := PrintCommand(log, &stdout, &stderr); code != 0 || stdout.String() != line {
		t.Errorf("%d: %q: %s", code, stdout.String(), stderr.String())
	}
	screen, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = screen.Close(), tty.Close() })
	if code := PrintCommand(log, tty, &stderr); code != 0 {
		t.Errorf("%d: %s", code, stderr.String())
	}
	shown, err := bufio.NewReader(screen).ReadString('\n')
	if err != nil || shown != `{"reason":"\u001b[2Jhid\u2800den"}`+"\r\n" {
		t.Errorf("%q: %v", shown, err)
	}
}

func TestPrintCommandSaysWhatItCannotDo(t *testing.T) {
	long := saved(t, strings.Repeat("x", maxLine+2)+"\n")
	for _, args := range [][]string{{}, {"--help"}, {"absent"}, {t.TempDir()}, long} {
		var stdout, stderr bytes.Buffer
		if code := PrintCommand(args, &stdout, &stderr); code != 2 || stdout.Len() > 0 || stderr.Len() == 0 {
			t.Errorf("%v: %d: %s%s", args, code, stdout.String(), stderr.String())
		}
	}
}

func append1(t *testing.T, file, text string) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}
