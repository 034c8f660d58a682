// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package exec_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"cloud.google.com/go/auth/credentials"
	"k8s.io/utils/clock"

	"github.com/valetkey/valetkey/internal/exec"
	"github.com/valetkey/valetkey/internal/handover"
)

const secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"

// TestMain has the test's own program play valetkey-exec (as-exec MOUNT …), and the commands that it runs (play-…).
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "as-exec" {
		o := exec.Options{Args: os.Args[3:], Environment: os.Environ(), Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Mount: os.Args[2], Clock: clock.RealClock{}}
		if fifo := os.Getenv(hourIsOver); fifo != "" {
			o.Clock = toldClock{fifo: fifo}
		}
		os.Exit(exec.Run(context.Background(), o))
	}
	if len(os.Args) > 1 {
		if play, found := map[string]func() int{"play-google": playGoogle, "play-signalled": playSignalled, "play-stubborn": playStubborn, "play-flood": playFlood,
			"play-proc": playProc}[os.Args[1]]; found {
			os.Exit(play())
		}
	}
	os.Exit(m.Run())
}

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

// playGoogle is a program that uses Google's client library.
func playGoogle() int {
	found, err := credentials.DetectDefault(&credentials.DetectOptions{Scopes: []string{"https://www.googleapis.com/auth/devstorage.read_only"}})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	token, err := found.Token(context.Background())
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println(token.Value)
	return 0
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

// container is a folder in which a grant's files lie, and the variables beside it.
type container struct {
	*testing.T
	mount       string
	environment []string
}

func delivered(t *testing.T) *container {
	t.Helper()
	c := &container{T: t, mount: t.TempDir(), environment: append(os.Environ(), "PLAIN=plain")}
	c.write("exec/secrets", `["`+secret+`"]`)
	c.write("exec/environment/api_token", secret)
	return c
}

func (c *container) write(name, content string) {
	c.Helper()
	file := filepath.Join(c.mount, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(content), 0o444)); err != nil { //nolint:gosec // other users read it in the test
		c.Fatal(err)
	}
}

// command is valetkey-exec with a command.
func (c *container) command(args ...string) *osexec.Cmd {
	cmd := osexec.CommandContext(c.Context(), os.Args[0], append([]string{"as-exec", c.mount, "--"}, args...)...)
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
	code, stdout, stderr := c.runs("sh", "-c", `[ "$API_TOKEN" = "`+secret+`" ] && echo has it; [ "$PLAIN" = plain ] && echo and the rest; tr '\0' '\n' </proc/$PPID/environ | grep -c API_TOKEN`)
	if code != 1 || stdout != "has it\nand the rest\n0" || stderr != "" {
		t.Errorf("%d: %s %s", code, stdout, stderr)
	}
}

func TestWhatTheCommandWritesIsScrubbed(t *testing.T) {
	c := delivered(t)
	code, stdout, stderr := c.runs("sh", "-c", `echo token=$API_TOKEN; env | grep API; printf %s "$API_TOKEN" | base64; echo failed with $API_TOKEN >&2; exit 3`)
	if code != 3 || stdout != "token=[redacted]\nAPI_TOKEN=[redacted]\n[redacted]" || stderr != "failed with [redacted]\n" {
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
		open(t, os.Args[0], c.mount)
	}
	cmd := c.command(os.Args[0], "play-proc")
	if os.Getuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65532, Gid: 65532}}
	}
	out, err := cmd.CombinedOutput()
	want := "own environment: true\nparent's environ: true\nparent's cmdline: true\nparent's mem: true\nparent's maps: true\nparent's fd: true\ncore: 0 0\n"
	if err != nil || string(out) != want {
		t.Errorf("%v: %s", err, out)
	}
}

// open lets other users reach files in folders of the test's own.
func open(t *testing.T, paths ...string) {
	t.Helper()
	for _, path := range paths {
		for ; path != "/" && path != os.TempDir(); path = filepath.Dir(path) {
			if err := os.Chmod(path, 0o755); err != nil { //nolint:gosec // as above
				t.Fatal(err)
			}
		}
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
	for name, spoil := range map[string]func(*container){
		"there is none":                       func(c *container) { c.mount = filepath.Join(c.mount, "absent") },
		"what is secret cannot be read":       func(c *container) { c.mount = t.TempDir(); c.write("exec/secrets", "{") },
		"a variable cannot be read":           func(c *container) { _ = os.MkdirAll(filepath.Join(c.mount, "exec/environment/folder"), 0o750) },
		"nobody can say when the grant ends":  func(c *container) { c.environment = append(c.environment, "VALETKEY_EXPIRES_AT=soon") },
		"there is no place for what is asked": func(c *container) { c.mount = "/dev/null" },
	} {
		t.Run(name, func(t *testing.T) {
			c := delivered(t)
			spoil(c)
			code, stdout, stderr := c.runs("echo", "ran")
			if code != 125 || stdout != "" || !strings.HasPrefix(stderr, "valetkey-exec: ") || strings.Contains(stderr, secret) {
				t.Errorf("%d: %s %s", code, stdout, stderr)
			}
		})
	}
}

func TestWhenTheGrantIsOverTheCommandIsEnded(t *testing.T) {
	in := func(d time.Duration) string {
		return "VALETKEY_EXPIRES_AT=" + time.Now().Add(d).UTC().Format(time.RFC3339)
	}
	t.Run("one that was over before is not begun", func(t *testing.T) {
		c := delivered(t)
		c.environment = append(c.environment, in(-time.Minute))
		if code, stdout, stderr := c.runs("echo", "ran"); code != 124 || stdout != "" || !strings.Contains(stderr, "the grant is over; ask for another") {
			t.Errorf("%d: %s %s", code, stdout, stderr)
		}
	})
	t.Run("one that runs is told to end", func(t *testing.T) {
		code, rest, stderr := hourLater(t, true, "sh", "-c", `trap 'echo ended; exit 0' TERM; echo ready; while :; do sleep 0.1; done`)
		if code != 124 || rest != "ended\n" || !strings.Contains(stderr, "the command was ended") {
			t.Errorf("%d: %s %s", code, rest, stderr)
		}
	})
	t.Run("one that does not want to is killed", func(t *testing.T) {
		if code, rest, _ := hourLater(t, true, os.Args[0], "play-stubborn"); code != 124 || rest != "" {
			t.Errorf("%d: %s", code, rest)
		}
	})
	t.Run("one whose output nobody reads is killed", func(t *testing.T) {
		if code, _, _ := hourLater(t, false, os.Args[0], "play-flood"); code != 124 {
			t.Errorf("%d", code)
		}
	})
}

// hourLater runs a command until it says something, has the grant be over then, and reads the rest of what it says, or does not.
func hourLater(t *testing.T, reads bool, args ...string) (code int, rest, stderr string) {
	t.Helper()
	c := delivered(t)
	fifo := filepath.Join(t.TempDir(), "hour")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	c.environment = append(c.environment, hourIsOver+"="+fifo, "VALETKEY_EXPIRES_AT="+time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
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

func TestWhenNobodyReadsAnyMoreTheCommandIsTold(t *testing.T) {
	c := delivered(t)
	cmd := c.command(os.Args[0], "play-flood")
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
	if state, err := cmd.Process.Wait(); err != nil || state.ExitCode() != 128+int(syscall.SIGPIPE) && state.ExitCode() != 3 {
		t.Errorf("%v: %v", state, err)
	}
}

func TestSignalsReachTheCommand(t *testing.T) {
	c := delivered(t)
	cmd := c.command(os.Args[0], "play-signalled")
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
	out, err := osexec.CommandContext(t.Context(), os.Args[0], "as-exec", "-", "install", dir).CombinedOutput()
	info, problem := os.Stat(filepath.Join(dir, "valetkey-exec"))
	if err != nil || problem != nil || info.Mode().Perm() != 0o555 || info.Size() == 0 {
		t.Fatalf("%v %v: %s", err, problem, out)
	}
	out, err = osexec.CommandContext(t.Context(), os.Args[0], "as-exec", "-", "install", filepath.Join(dir, "absent")).CombinedOutput()
	if err == nil || !strings.HasPrefix(string(out), "valetkey-exec: ") {
		t.Errorf("%v: %s", err, out)
	}
}

// forGoogle is what a container finds of a grant of Google Cloud.
func (c *container) forGoogle(token string, expires time.Time) {
	c.Helper()
	list, err := json.Marshal([]string{token})
	if err != nil {
		c.Fatal(err)
	}
	if err := os.Remove(filepath.Join(c.mount, "exec/secrets")); err != nil {
		c.Fatal(err)
	}
	c.write("exec/secrets", string(list))
	c.write("gcp/access-token", token)
	c.write("gcp/credentials", handover.Credentials(filepath.Join(c.mount, "gcp/access-token"), "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q", expires))
	c.environment = append(c.environment, "GOOGLE_APPLICATION_CREDENTIALS="+filepath.Join(c.mount, "gcp/credentials"))
}

func TestGooglesLibraryFindsTheToken(t *testing.T) {
	c := delivered(t)
	c.forGoogle("ya29.granted", time.Now().Add(time.Hour))
	code, stdout, stderr := c.runs(os.Args[0], "play-google")
	if code != 0 || stdout != "[redacted]" || stderr != "" {
		t.Errorf("%d: %s %s", code, stdout, stderr)
	}
	if left, err := filepath.Glob("/dev/shm/valetkey-*"); err != nil || len(left) > 0 {
		t.Errorf("%v is left: %v", left, err)
	}
}

func TestGooglesLibraryIsToldThatTheTokenHasExpired(t *testing.T) {
	c := delivered(t)
	c.forGoogle("ya29.granted", time.Now().Add(-time.Minute))
	code, stdout, _ := c.runs(os.Args[0], "play-google")
	if code != 1 || !strings.Contains(stdout, "ask for another grant") {
		t.Errorf("%d: %s", code, stdout)
	}
}

// TestACredentialsFileOfTheCommandsOwnIsLeftAlone: it was there before, and is nobody's business.
func TestACredentialsFileOfTheCommandsOwnIsLeftAlone(t *testing.T) {
	c := delivered(t)
	c.write("own", `{"type": "external_account", "audience": "a", "subject_token_type": "urn:ietf:params:oauth:token-type:jwt", "token_url": "http://127.0.0.1:1/own", "credential_source": {"file": "/dev/null"}}`)
	c.environment = append(c.environment, "GOOGLE_APPLICATION_CREDENTIALS="+filepath.Join(c.mount, "own"))
	if code, stdout, _ := c.runs(os.Args[0], "play-google"); code != 1 || strings.Contains(stdout, "valetkey") {
		t.Errorf("%d: %s", code, stdout)
	}
}
