// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package exec_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"cloud.google.com/go/auth/credentials"
	"k8s.io/utils/clock"

	"github.com/valetkey/valetkey/internal/exec"
	"github.com/valetkey/valetkey/internal/handover"
)

// role has the test's own program play the command that is run.
const role = "VALETKEY_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "":
		os.Exit(m.Run())
	case "google":
		os.Exit(playGoogle())
	case "signalled":
		os.Exit(playSignalled())
	}
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

// runs runs this program in a role.
func runs(t *testing.T, plays string, more ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, problems bytes.Buffer
	code = exec.Run(t.Context(), []string{"--", os.Args[0]}, append(append(os.Environ(), role+"="+plays), more...), nil, &out, &problems, clock.RealClock{})
	return code, strings.TrimSpace(out.String()), problems.String()
}

// delivered is what a container finds of a grant of Google Cloud: the variable that points at the credentials file.
func delivered(t *testing.T, token string, expires time.Time) (variable string) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "access-token")
	if err := os.WriteFile(file, []byte(token), 0o400); err != nil {
		t.Fatal(err)
	}
	place := filepath.Join(dir, "credentials")
	if err := os.WriteFile(place, []byte(handover.Credentials(file, "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q", expires)), 0o400); err != nil {
		t.Fatal(err)
	}
	return "GOOGLE_APPLICATION_CREDENTIALS=" + place
}

func TestGooglesLibraryFindsTheToken(t *testing.T) {
	code, stdout, stderr := runs(t, "google", delivered(t, "ya29.granted", time.Now().Add(time.Hour)))
	if code != 0 || stdout != "ya29.granted" || stderr != "" {
		t.Errorf("%d: %s %s", code, stdout, stderr)
	}
	if left, err := filepath.Glob("/dev/shm/valetkey-*"); err != nil || len(left) > 0 {
		t.Errorf("%v is left: %v", left, err)
	}
}

func TestGooglesLibraryIsToldThatTheTokenHasExpired(t *testing.T) {
	code, stdout, _ := runs(t, "google", delivered(t, "ya29.granted", time.Now().Add(-time.Minute)))
	if code != 1 || !strings.Contains(stdout, "ask for another grant") || strings.Contains(stdout, "ya29") {
		t.Errorf("%d: %s", code, stdout)
	}
}

// TestACredentialsFileOfTheCommandsOwnIsLeftAlone: it was there before, and is nobody's business.
func TestACredentialsFileOfTheCommandsOwnIsLeftAlone(t *testing.T) {
	file := filepath.Join(t.TempDir(), "own")
	if err := os.WriteFile(file, []byte(`{"type": "external_account", "audience": "a", "subject_token_type": "urn:ietf:params:oauth:token-type:jwt", "token_url": "http://127.0.0.1:1/own", "credential_source": {"file": "/dev/null"}}`), 0o400); err != nil {
		t.Fatal(err)
	}
	if code, stdout, _ := runs(t, "google", "GOOGLE_APPLICATION_CREDENTIALS="+file); code != 1 || strings.Contains(stdout, "valetkey") {
		t.Errorf("%d: %s", code, stdout)
	}
}

// TestSignalsReachTheCommand sends one to this process, as the kubelet does.
func TestSignalsReachTheCommand(t *testing.T) {
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = read.Close() })
	go func() {
		_, _ = read.Read(make([]byte, 8)) // it is ready
		_ = syscall.Kill(os.Getpid(), syscall.SIGUSR1)
	}()
	code := exec.Run(t.Context(), []string{os.Args[0]}, append(os.Environ(), role+"=signalled"), nil, write, os.Stderr, clock.RealClock{})
	if code != 42 {
		t.Errorf("exit code %d", code)
	}
	_ = write.Close()
}

func TestTheExitCodeIsTheCommands(t *testing.T) {
	for _, test := range []struct {
		args []string
		want int
	}{
		{[]string{"--", "sh", "-c", "exit 7"}, 7}, {[]string{"sh", "-c", "exit 0"}, 0}, {[]string{"--", "sh", "-c", "kill -9 $$"}, 137},
		{[]string{"--", "valetkey-has-no-such-program"}, 127}, {[]string{"/dev/null"}, 126}, {nil, 2}, {[]string{"--"}, 2},
	} {
		var out, problems bytes.Buffer
		if code := exec.Run(t.Context(), test.args, os.Environ(), nil, &out, &problems, clock.RealClock{}); code != test.want {
			t.Errorf("%v: %d, want %d", test.args, code, test.want)
		}
		if said := problems.String(); (said == "") == (test.want == 127 || test.want == 126 || test.want == 2) {
			t.Errorf("%v: said %q", test.args, said)
		}
	}
}
