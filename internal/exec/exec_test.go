// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package exec_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	osexec "os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/utils/clock"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/delivery"
	"github.com/valetkey/valetkey/internal/exec"
)

const secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"

// TestMain has the test's own program play valetkey-exec (as-exec …), the process that it starts (keep), and the
// commands that it runs (play-…).
func TestMain(m *testing.M) {
	exec.EnterContainer()
	if args, found := asExec(); found {
		o := exec.Options{
			Args:        args,
			Environment: os.Environ(),
			Stdin:       os.Stdin,
			Stdout:      os.Stdout,
			Stderr:      os.Stderr,
			Clock:       clock.RealClock{},
		}
		if fifo := os.Getenv(hourIsOver); fifo != "" {
			o.Clock = toldClock{fifo: fifo}
		}
		os.Exit(exec.Run(context.Background(), o))
	}
	if len(os.Args) > 1 {
		if play, found := map[string]func() int{
			"play-google": playGoogle, "play-signalled": playSignalled, "play-stubborn": playStubborn, "play-flood": playFlood,
			"play-proc": playProc, "play-aws": playAWS}[os.Args[1]]; found {
			os.Exit(play())
		}
	}
	os.Exit(m.Run())
}

func asExec() ([]string, bool) {
	if len(os.Args) == 2 && os.Args[1] == "keep" {
		return os.Args[1:], true
	}
	if len(os.Args) > 1 && os.Args[1] == "as-exec" {
		return os.Args[2:], true
	}
	return nil, false
}

// playSignalled says that it is there, and ends by the signal that it is sent.
func playSignalled() int {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1)
	fmt.Println("ready")
	<-signals
	return 42
}

// playStubborn does not end when it is told to.
func playStubborn() int {
	// A program that ignores the signal and waits for nothing is a deadlock to Go's runtime, which may end it first.
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGTERM)
	fmt.Println("ready")
	for range asked {
	}
	return 0
}

// playFlood writes for ever.
func playFlood() int {
	for {
		if _, err := fmt.Println(strings.Repeat("flood ", 1000)); err != nil {
			return 3
		}
	}
}

// playProc tells what of the secret stands where the processes around it can be looked into: never the secret itself.
func playProc() int {
	parent := strconv.Itoa(os.Getppid())
	fmt.Println("own environment:", strings.Contains(os.Getenv("API_TOKEN"), "wJalr"))
	for _, file := range []string{"environ", "cmdline", "mem", "maps", "fd"} {
		text, err := os.ReadFile(filepath.Join("/proc", parent, file))
		fmt.Println("parent's", file+":", errors.Is(err, os.ErrPermission) || !strings.Contains(string(text), "wJalr"))
	}
	limit := syscall.Rlimit{}
	_ = syscall.Getrlimit(syscall.RLIMIT_CORE, &limit)
	fmt.Println("core:", limit.Cur, limit.Max)
	return 0
}

// container is one that a grant was delivered to, and the variables that it has.
type container struct {
	*testing.T
	terms       delivery.Terms
	files       map[string]string
	environment []string
	uid         int
	program     string
	// make is how the container is made of the files; nil for how it is made by the kubelet.
	make func(files map[string]string) []exec.Step
}

func delivered(t *testing.T) *container {
	t.Helper()
	now := time.Now()
	return &container{T: t, environment: append(os.Environ(), "PLAIN=plain"),
		terms: delivery.Terms{Issued: now.Add(-time.Minute), Expires: now.Add(time.Hour)},
		files: map[string]string{"exec/secrets": `["` + secret + `"]`, "exec/environment/api_token": secret}}
}

// command is valetkey-exec with a command.
func (c *container) command(args ...string) *osexec.Cmd {
	c.Helper()
	files := maps.Clone(c.files)
	if _, spoilt := files[v1alpha1.ExecTermsFile]; !spoilt {
		files[v1alpha1.ExecTermsFile] = string(c.terms.Encode())
	}
	inside := exec.Granted(files)
	if c.make != nil {
		inside.Steps = c.make(files)
	}
	inside.UID, inside.Program = c.uid, c.program
	cmd := inside.Command(c.T, append([]string{"as-exec", "--"}, args...)...)
	cmd.Env = c.environment
	return cmd
}

// runs runs a command behind valetkey-exec.
func (c *container) runs(args ...string) (code int, stdout, stderr string) {
	c.Helper()
	cmd := c.command(args...)
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		c.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), strings.TrimSpace(out.String()), problems.String()
}

func TestTheVariableIsTheCommandsAlone(t *testing.T) {
	c := delivered(t)
	code, stdout, stderr := c.runs(
		"sh",
		"-c",
		`[ "$API_TOKEN" = "`+secret+`" ] && echo has it; [ "$PLAIN" = plain ] && echo and the rest; `+
			`tr '\0' '\n' </proc/$PPID/environ | grep -c API_TOKEN`,
	)
	if code != 1 || stdout != "has it\nand the rest\n0" || stderr != "" {
		t.Errorf("%d: %s %s", code, stdout, stderr)
	}
}

func TestWhatTheCommandWritesIsScrubbed(t *testing.T) {
	c := delivered(t)
	code, stdout, stderr := c.runs(
		"sh",
		"-c",
		`echo token=$API_TOKEN; env | grep API; printf %s "$API_TOKEN" | base64; echo failed with $API_TOKEN >&2; exit 3`,
	)
	if code != 3 || stdout != "token=[redacted]\nAPI_TOKEN=[redacted]\n[redacted]" ||
		stderr != "failed with [redacted]\n" {
		t.Errorf("%d: %q %q", code, stdout, stderr)
	}
	encoded := base64.StdEncoding.EncodeToString([]byte(secret))
	if strings.Contains(stdout+stderr, secret) || strings.Contains(stdout, encoded[:16]) {
		t.Error("the secret got through")
	}
}

// TestNobodyBesideItCanLookIn runs both as a user of the container: what the other users' eyes see is nothing.
func TestNobodyBesideItCanLookIn(t *testing.T) {
	c := delivered(t)
	if os.Getuid() == 0 {
		c.uid = 65532
	}
	out, err := c.command(exec.ContainerProgram, "play-proc").CombinedOutput()
	want := "own environment: true\nparent's environ: true\nparent's cmdline: true\nparent's mem: true\n" +
		"parent's maps: true\nparent's fd: true\ncore: 0 0\n"
	if err != nil || string(out) != want {
		t.Errorf("%v: %s", err, out)
	}
}

func TestTheExitCodeIsTheCommands(t *testing.T) {
	c := delivered(t)
	for _, test := range []struct {
		args []string
		want int
	}{
		{[]string{"sh", "-c", "exit 7"}, 7}, {[]string{"sh", "-c", "exit 0"}, 0}, {[]string{"sh", "-c", "kill -9 $$"}, 137},
		{[]string{"valetkey-has-no-such-program"}, 127}, {[]string{"/dev/null"}, 126}, {nil, 2},
	} {
		code, _, said := c.runs(test.args...)
		if code != test.want || (said == "") == (test.want == 127 || test.want == 126 || test.want == 2) {
			t.Errorf("%v: %d, said %q; want %d", test.args, code, said, test.want)
		}
	}
}

func TestWithoutACredentialNothingIsRun(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(*container)
		says  string
	}{
		"there is none": {func(c *container) {
			c.make = func(map[string]string) []exec.Step { return exec.Image() }
		}, "there is no credential at /var/run/secrets/valetkey.dev"},
		"another volume is there alone": {func(c *container) {
			c.make = func(map[string]string) []exec.Step {
				return append(exec.Image(), exec.Secret("/var/run/secrets/other", c.files)...)
			}
		}, "there is no credential at /var/run/secrets/valetkey.dev"},
		"nobody says what is secret": {func(c *container) {
			delete(c.files, "exec/secrets")
		}, "the list of what is secret cannot be read"},
		"what is secret cannot be read": {func(c *container) {
			c.files["exec/secrets"] = "{"
		}, "the list of what is secret cannot be read"},
		"a variable cannot be read": {func(c *container) {
			c.files["exec/environment/folder/file"] = ""
		}, "the variable folder cannot be read"},
		"nobody says when the grant ends": {func(c *container) {
			c.files[v1alpha1.ExecTermsFile] = "{}"
		}, "it does not say when the grant is over"},
		"what says when it ends cannot be read": {func(c *container) {
			c.files[v1alpha1.ExecTermsFile] = strings.Repeat(" ", 1<<20+1)
		}, "the file exec/terms cannot be read"},
		"the operator is of an older release": {func(c *container) {
			c.make = withoutTerms
		}, "the operator is of an older release than this valetkey-exec"},
		"the clock is before the grant's issuing": {func(c *container) {
			c.terms.Issued = time.Now().Add(time.Hour)
		}, "set the node's clock"},
	} {
		t.Run(name, func(t *testing.T) {
			c := delivered(t)
			test.spoil(c)
			expectRefused(t, c, 125, test.says)
		})
	}
}

// withoutTerms is what an operator delivered that knew nothing of the file with the terms.
func withoutTerms(files map[string]string) []exec.Step {
	delete(files, v1alpha1.ExecTermsFile)
	return exec.Granted(files).Steps
}

// expectRefused expects that valetkey-exec runs nothing, says why, and tells nothing of the credential.
func expectRefused(t *testing.T, c *container, want int, says string) {
	t.Helper()
	code, stdout, stderr := c.runs("echo", "ran")
	if code != want || stdout != "" || !strings.HasPrefix(stderr, "valetkey-exec: ") || !strings.Contains(stderr, says) ||
		strings.Contains(stderr, secret) {
		t.Errorf("%d: %s %s; want %q", code, stdout, stderr, says)
	}
}

func TestWhenNobodyReadsAnyMoreTheCommandIsTold(t *testing.T) {
	c := delivered(t)
	cmd := c.command(exec.ContainerProgram, "play-flood")
	read, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(read, make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	if err := read.Close(); err != nil {
		t.Fatal(err)
	}
	if state, err := cmd.Process.Wait(); err != nil ||
		state.ExitCode() != 128+int(syscall.SIGPIPE) && state.ExitCode() != 3 {
		t.Errorf("%v: %v", state, err)
	}
}

func TestSignalsReachTheCommand(t *testing.T) {
	c := delivered(t)
	cmd := c.command(exec.ContainerProgram, "play-signalled")
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
	if err := cmd.Process.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	if state, err := cmd.Process.Wait(); err != nil || state.ExitCode() != 42 {
		t.Errorf("%v: %v", state, err)
	}
}

func TestItCopiesItself(t *testing.T) {
	dir := t.TempDir()
	out, err := osexec.CommandContext(t.Context(), os.Args[0], "as-exec", "install", dir).CombinedOutput()
	info, problem := os.Stat(filepath.Join(dir, "valetkey-exec"))
	if err != nil || problem != nil || info.Mode().Perm() != 0o555 || info.Size() == 0 {
		t.Fatalf("%v %v: %s", err, problem, out)
	}
	out, err = osexec.CommandContext(t.Context(), os.Args[0], "as-exec", "install", filepath.Join(dir, "absent")).
		CombinedOutput()
	if err == nil || !strings.HasPrefix(string(out), "valetkey-exec: ") {
		t.Errorf("%v: %s", err, out)
	}
}
