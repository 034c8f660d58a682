// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package exec_test

import (
	"context"
	"fmt"
	"net/url"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/config"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/exec"
)

// playAWS is a program that uses the AWS SDK: it says whose key it would use.
func playAWS() int {
	loaded, err := config.LoadDefaultConfig(context.Background())
	if err != nil {
		fmt.Println(err)
		return 1
	}
	found, err := loaded.Credentials.Retrieve(context.Background())
	if err != nil {
		fmt.Println("no key:", found.Source)
		return 1
	}
	fmt.Println(found.AccessKeyID, loaded.Region)
	return 0
}

// forAWS is what a container finds of a grant of AWS, in files or in variables.
func (c *container) forAWS(files bool) {
	c.terms.Variables = map[string]string{"AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}
	if !files {
		c.files["exec/environment/aws_access_key_id"] = "AKIAGRANTED"
		c.files["exec/environment/aws_secret_access_key"] = secret
		return
	}
	c.files["aws/credentials"] = "[default]\naws_access_key_id = AKIAGRANTED\naws_secret_access_key = " + secret + "\n"
	c.files["aws/config"] = "[default]\nregion = us-east-1\n"
	c.terms.Variables["AWS_SHARED_CREDENTIALS_FILE"] = v1alpha1.MountPath + "/aws/credentials"
	c.terms.Variables["AWS_CONFIG_FILE"] = v1alpha1.MountPath + "/aws/config"
	c.terms.Variables["AWS_PROFILE"] = "default"
	c.terms.Variables["AWS_ROLE_ARN"], c.terms.Variables["AWS_WEB_IDENTITY_TOKEN_FILE"] = "", ""
}

// TestEnvironment_TheSDKUsesWhatWasGranted, whatever else the container has: set by the Job, by the image, or by a
// webhook for a role of the Pod's ServiceAccount.
func TestEnvironment_TheSDKUsesWhatWasGranted(t *testing.T) {
	own := filepath.Join(t.TempDir(), "own")
	const text = "[default]\naws_access_key_id = AKIAOWN\naws_secret_access_key = x\n" +
		"[mine]\naws_access_key_id = AKIAMINE\naws_secret_access_key = x\n"
	if err := os.WriteFile(own, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, set := range map[string][]string{
		"nothing":          nil,
		"keys":             {"AWS_ACCESS_KEY_ID=AKIAOWN", "AWS_SECRET_ACCESS_KEY=x"},
		"keys, once older": {"AWS_ACCESS_KEY=AKIAOWN", "AWS_SECRET_KEY=x"},
		"a role":           {"AWS_ROLE_ARN=arn:aws:iam::1:role/own", "AWS_WEB_IDENTITY_TOKEN_FILE=" + own},
		"another profile":  {"AWS_PROFILE=mine", "AWS_SHARED_CREDENTIALS_FILE=" + own},
		"a default one":    {"AWS_DEFAULT_PROFILE=mine", "AWS_CONFIG_FILE=" + own},
		"another region":   {"AWS_REGION=eu-west-1", "AWS_DEFAULT_REGION=eu-west-1"},
		"an agent":         {"AWS_CONTAINER_CREDENTIALS_FULL_URI=http://127.0.0.1:1/own"},
	} {
		for kind, files := range map[string]bool{"files": true, "variables": false} {
			t.Run(name+" beside "+kind, func(t *testing.T) {
				c := delivered(t)
				c.forAWS(files)
				c.environment = append(c.environment, set...)
				if code, stdout, stderr := c.runs(exec.ContainerProgram, "play-aws"); code != 0 ||
					stdout != "AKIAGRANTED us-east-1" {
					t.Errorf("%d: %s %s", code, stdout, stderr)
				}
			})
		}
	}
}

// TestEnvironment_WhatIsLeftOutIsTold has the role of a Pod's account, and keys. Beside files the grant itself sets the
// role to nothing, and nothing is told of it.
func TestEnvironment_WhatIsLeftOutIsTold(t *testing.T) {
	for kind, test := range map[string]struct {
		files     bool
		set, told string
	}{
		"beside files":     {true, "AWS_ROLE_ARN AWS_ACCESS_KEY AWS_SECRET_KEY", "AWS_ACCESS_KEY, AWS_SECRET_KEY"},
		"beside variables": {false, "AWS_ROLE_ARN AWS_PROFILE AWS_SECRET_ACCESS_KEY", "AWS_PROFILE, AWS_ROLE_ARN"},
	} {
		t.Run(kind, func(t *testing.T) {
			c := delivered(t)
			c.forAWS(test.files)
			c.environment = append(c.environment, "AWS_MAX_ATTEMPTS=7", "GITHUB_TOKEN=of-another-client")
			for _, name := range strings.Fields(test.set) {
				c.environment = append(c.environment, name+"=of-its-own")
			}
			code, stdout, stderr := c.runs("sh", "-c", "env | grep -c of-its-own; echo $AWS_MAX_ATTEMPTS $GITHUB_TOKEN")
			want := "valetkey-exec: " + test.told + " are not passed on to the command: " +
				"the AWS SDKs could use them instead of the granted credential\n"
			if code != 0 || stdout != "0\n7 of-another-client" || stderr != want {
				t.Errorf("%d: %s %s", code, stdout, stderr)
			}
		})
	}
}

// TestEnvironment_AFileThatAClientPrefersIsRefused: it cannot be left out.
func TestEnvironment_AFileThatAClientPrefersIsRefused(t *testing.T) {
	home := t.TempDir()
	if err := os.WriteFile(filepath.Join(home, ".netrc"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c := delivered(t)
	c.environment = append(c.environment, "HOME="+home)
	if code, stdout, stderr := c.runs("echo", "ran"); code != 0 || stdout != "ran" {
		t.Errorf("where nothing of GitHub's is granted: %d: %s %s", code, stdout, stderr)
	}
	c.files["exec/environment/github_token"] = secret
	expectRefused(
		t,
		c,
		125,
		"there is a file "+home+"/.netrc, which git and GitHub's clients would use instead of the granted credential",
	)
	// Clients go by the list of users where the variable has nothing.
	passwd := filepath.Join(t.TempDir(), "passwd")
	if err := os.WriteFile(passwd, []byte("me:x:0:0::"+home+":/bin/sh\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.environment = append(c.environment, "HOME=")
	c.make = func(files map[string]string) []exec.Step {
		return append(exec.Granted(files).Steps, exec.Step{Do: "bind", Path: "/etc/passwd", Arg: passwd})
	}
	expectRefused(t, c, 125, "there is a file "+home+"/.netrc")
	c.environment = append(c.environment, "HOME="+t.TempDir())
	if code, stdout, stderr := c.runs("echo", "ran"); code != 0 || stdout != "ran" || strings.Contains(stderr, "netrc") {
		t.Errorf("with another home folder: %d: %s %s", code, stdout, stderr)
	}
}

// TestEnvironment_GitUsesWhatWasGranted, whatever else the container's variables name.
func TestEnvironment_GitUsesWhatWasGranted(t *testing.T) {
	folder := t.TempDir()
	own := filepath.Join(folder, "config")
	const text = "[credential]\n\thelper =\n\thelper = \"!echo username=another; echo password=own; :\"\n"
	if err := os.WriteFile(own, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	git := osexec.CommandContext(t.Context(), "git", "init", "-q", "--bare", filepath.Join(folder, "own.git"))
	if err := git.Run(); err != nil {
		t.Skipf("this machine has no git: %v", err)
	}
	if err := os.WriteFile(filepath.Join(folder, "own.git/config"),
		[]byte("[core]\n\trepositoryformatversion = 0\n\tbare = true\n"+text), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, set := range map[string][]string{
		"nothing":              nil,
		"another repository":   {"GIT_DIR=" + folder + "/own.git"},
		"another's common one": {"GIT_DIR=" + folder + "/own.git", "GIT_COMMON_DIR=" + folder + "/own.git"},
		"a system's file":      {"GIT_CONFIG_SYSTEM=" + own},
		"configuration": {
			"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=include.path", "GIT_CONFIG_VALUE_0=" + own,
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := delivered(t)
			c.files["github/gitconfig"] = "[credential \"https://git.example\"]\n\thelper = \"store --file " +
				v1alpha1.MountPath + "/github/git-credentials\"\n"
			c.files["github/git-credentials"] = "https://granted:" + url.QueryEscape(secret) + "@git.example\n"
			c.terms.Variables = map[string]string{"GIT_CONFIG_GLOBAL": v1alpha1.MountPath + "/github/gitconfig"}
			c.environment = append(append(c.environment, "HOME="+folder, "GIT_TERMINAL_PROMPT=0"), set...)
			code, stdout, stderr := c.runs("sh", "-c",
				`printf 'protocol=https\nhost=git.example\n\n' | git credential fill | grep -e ^username -e ^password`)
			if code != 0 || stdout != "username=granted\npassword=[redacted]" {
				t.Errorf("%d: %s %s", code, stdout, stderr)
			}
		})
	}
}
