// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package exec_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/auth/credentials"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/exec"
	"github.com/valetkey/valetkey/internal/handover"
)

// playGoogle is a program that uses Google's client library.
func playGoogle() int {
	found, err := credentials.DetectDefault(
		&credentials.DetectOptions{Scopes: []string{"https://www.googleapis.com/auth/devstorage.read_only"}},
	)
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

// forGoogle is what a container finds of a grant of Google Cloud.
func (c *container) forGoogle(token string, expires time.Time) {
	c.Helper()
	list, err := json.Marshal([]string{token})
	if err != nil {
		c.Fatal(err)
	}
	const file = v1alpha1.MountPath + "/gcp/access-token"
	c.files = map[string]string{"exec/secrets": string(list), "gcp/access-token": token,
		"gcp/credentials": handover.Credentials(
			file,
			"//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q",
			expires,
		)}
	c.terms.Variables = map[string]string{"GOOGLE_APPLICATION_CREDENTIALS": v1alpha1.MountPath + "/gcp/credentials"}
}

func TestGooglesLibraryFindsTheToken(t *testing.T) {
	c := delivered(t)
	c.forGoogle("ya29.granted", time.Now().Add(time.Hour))
	code, stdout, stderr := c.runs(exec.ContainerProgram, "play-google")
	if code != 0 || stdout != "[redacted]" || stderr != "" {
		t.Errorf("%d: %s %s", code, stdout, stderr)
	}
}

// TestGoogle_TheCompletedFileIsNobodyElses: it says where the library sends the token. /dev/shm, and whatever else is
// writable, may belong to another container as well.
func TestGoogle_TheCompletedFileIsNobodyElses(t *testing.T) {
	c := delivered(t)
	c.forGoogle("ya29.granted", time.Now().Add(time.Hour))
	code, stdout, stderr := c.runs(
		"sh",
		"-c",
		`f=$GOOGLE_APPLICATION_CREDENTIALS; ls -l $f | sed 's/.*-> //'; grep -c token_url $f; `+
			`(echo changed >$f) 2>/dev/null || echo cannot be changed; ls /dev/shm | grep valetkey`,
	)
	if code != 1 || stdout != "/memfd:credentials (deleted)\n1\ncannot be changed" || stderr != "" {
		t.Errorf("%d: %s %s", code, stdout, stderr)
	}
}

func TestGooglesLibraryIsToldThatTheTokenHasExpired(t *testing.T) {
	c := delivered(t)
	c.forGoogle("ya29.granted", time.Now().Add(-time.Minute))
	code, stdout, _ := c.runs(exec.ContainerProgram, "play-google")
	if code != 1 || !strings.Contains(stdout, "ask for another grant") {
		t.Errorf("%d: %s", code, stdout)
	}
}

// TestACredentialsFileOfTheCommandsOwnIsLeftAlone: where nothing of Google's was granted, it is nobody's business.
func TestACredentialsFileOfTheCommandsOwnIsLeftAlone(t *testing.T) {
	c := delivered(t)
	own := filepath.Join(t.TempDir(), "own")
	const text = `{"type": "external_account", "audience": "a", "token_url": "http://127.0.0.1:1/own",
		"subject_token_type": "urn:ietf:params:oauth:token-type:jwt", "credential_source": {"file": "/dev/null"}}`
	if err := os.WriteFile(own, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c.environment = append(c.environment, "GOOGLE_APPLICATION_CREDENTIALS="+own)
	if code, stdout, _ := c.runs(exec.ContainerProgram, "play-google"); code != 1 || strings.Contains(stdout, "valetkey") {
		t.Errorf("%d: %s", code, stdout)
	}
}
