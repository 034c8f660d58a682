// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/hack/demo/stage"
	"github.com/valetkey/valetkey/hack/localcluster"
)

const (
	execMounted = `{op: add, path: /spec/template/spec/containers/0/volumeMounts, ` +
		`value: [{name: exec, mountPath: /valetkey, readOnly: true}]}`
	spillNote = "not passed on to the command: the AWS SDKs could use them"
)

// execVolume is the image of valetkey-exec as a volume.
func execVolume(s *stage.Stage) string { return `{name: exec, image: {reference: "` + s.Exec + `"}}` }

// behind is a step behind valetkey-exec.
func behind(name string, job ...string) stage.Ask {
	return stage.Ask{
		Name:    name,
		Command: []string{"/valetkey/valetkey-exec", "--", "/publish-preview"},
		Args:    []string{"spill", "previews/web-app/" + name},
		Job:     job,
	}
}

// demand has the sample's capability demand valetkey-exec, and list the runners, until the end is called.
func demand(t *testing.T, s *stage.Stage, runners string) (end func()) {
	t.Helper()
	before, err := s.Kubectl(
		t.Context(),
		stage.Admin,
		"get",
		"cap",
		"publish-preview-build",
		"-o",
		"jsonpath={.spec.runner}",
	)
	if err != nil {
		t.Fatal(err)
	}
	set(t, s, fmt.Sprintf(`{"spec":{"exec":{"images":[%q]},"aws":{"delivery":"Env"},"runner":%s}}`, s.Exec, runners))
	return func() { set(t, s, `{"spec":{"exec":null,"aws":{"delivery":"Files"},"runner":`+before+`}}`) }
}

// runner lists the workload of an image, with whatever else it may have.
func runner(image, more string) string {
	return fmt.Sprintf(`[{"image":%q,"command":["/publish-preview"],"anyArgs":true%s}]`, image, more)
}

// behindExec demands valetkey-exec of the sample's capability, and has each step run by it: from an image volume, and
// from where an init container copied it. Both print their whole environment, and neither tells the credential.
func behindExec(t *testing.T, s *stage.Stage) {
	defer demand(t, s, runner(s.Workload, `,"env":[{"name":"VALETKEY_EXPIRES_AT","value":"2099-01-01T00:00:00Z"},
		{"name":"AWS_ROLE_ARN","value":"arn:aws:iam::123456789012:role/ambient"},
		{"name":"AWS_WEB_IDENTITY_TOKEN_FILE","value":"/var/run/secrets/ambient"},
		{"name":"AWS_CONTAINER_CREDENTIALS_FULL_URI","value":"http://127.0.0.1:1/ambient"},
		{"name":"LD_PRELOAD","value":"/data/mine.so"},{"name":"GODEBUG","value":"gctrace=1"}]`))()
	expectJobRefused(t, s, stage.Ask{Name: "without-exec", Args: []string{"spill", "previews/web-app/without-exec"}},
		"wants the command of container publish to begin with valetkey-exec")
	for name, job := range map[string][]string{
		"exec-mounted": {execMounted, `{op: add, path: /spec/template/spec/volumes, value: [` + execVolume(s) + `]}`},
		"exec-copied": {execMounted, `{op: add, path: /spec/template/spec/volumes, value: [{name: exec, emptyDir: {}}]}`,
			`{op: add, path: /spec/template/spec/initContainers, value: [{name: exec, image: "` + s.Exec +
				`", ` + unprivileged + `, command: [/valetkey-exec], args: [install, /to], volumeMounts: [{name: exec, mountPath: /to}]}]}`},
		// What the Job sets, and what a webhook for roles of ServiceAccounts would: neither is used.
		"exec-ambient": {execMounted, `{op: add, path: /spec/template/spec/volumes, value: [` + execVolume(s) + `]}`,
			`{op: add, path: /spec/template/spec/containers/0/env, value: [` +
				`{name: VALETKEY_EXPIRES_AT, value: "2099-01-01T00:00:00Z"}, {name: LD_PRELOAD, value: /data/mine.so}, ` +
				`{name: AWS_ROLE_ARN, value: "arn:aws:iam::123456789012:role/ambient"}, ` +
				`{name: AWS_WEB_IDENTITY_TOKEN_FILE, value: /var/run/secrets/ambient}, ` +
				`{name: AWS_CONTAINER_CREDENTIALS_FULL_URI, value: "http://127.0.0.1:1/ambient"}, {name: GODEBUG, value: "gctrace=1"}]}`},
	} {
		t.Run(name, func(t *testing.T) {
			ask(t, s, behind(name, job...))
			ended(t, s, name, v1alpha1.OutcomeCompleted, v1alpha1.ReasonJobCompleted)
			text := logs(t, s, name, "publish") + "\n"
			for _, want := range []string{
				"put previews/web-app/" + name + " ok\n", "AWS_SECRET_ACCESS_KEY=[redacted]\n",
				"AWS_SESSION_TOKEN=[redacted]\n", "AWS_REGION=us-east-1\n", "VALETKEY_EXPIRES_AT=202",
			} {
				if !strings.Contains(text, want) {
					t.Errorf("its log has no %q:\n%s", want, text)
				}
			}
			if ambient := name == "exec-ambient"; strings.Contains(text, spillNote) != ambient ||
				strings.Contains(text, "/ambient") ||
				strings.Contains(text, "2099") {
				t.Errorf("its log tells of another credential, or of another end:\n%s", text)
			}
		})
	}
}

// expectJobRefused asks, and expects that the Job is refused with the words.
func expectJobRefused(t *testing.T, s *stage.Stage, a stage.Ask, words string) {
	t.Helper()
	ask(t, s, a)
	r, err := s.AwaitRequest(t.Context(), a.Name, v1alpha1.ReasonJobRefused)
	if err != nil {
		t.Errorf("%s: %v", a.Name, err)
		return
	}
	if message := stage.Message(r.Status.Conditions, v1alpha1.ConditionAllowed); !strings.Contains(message, words) {
		t.Errorf("%s is refused with: %s", a.Name, message)
	}
}

// nothingElseUnderItsName has images of an agent's own, with links as most images have them, and with links that nobody
// expects. What a Job can be refused for is refused; the rest valetkey-exec finds on the node.
func nothingElseUnderItsName(t *testing.T, s *stage.Stage) {
	// /var/run is a link in most images. /var/run/secrets leads into a volume of the Job's. /valetkey is one folder
	// when volumes are mounted, and another when the program is started.
	linked := thiefImage(t, s, "linked", map[string]string{"var/run": "/run", "valetkey": "/proc/self/cwd/folder"})
	elsewhere := thiefImage(t, s, "elsewhere", map[string]string{"var/run/secrets": "/data/secrets"})
	emptyDir := func(at string, volumes ...string) []string {
		return []string{
			`{op: add, path: /spec/template/spec/volumes, value: [` + strings.Join(
				append(volumes, "{name: mine, emptyDir: {}}"),
				", ",
			) + `]}`,
			`{op: add, path: /spec/template/spec/containers/0/volumeMounts, value: [{name: exec, mountPath: ` +
				at + `, readOnly: true}, {name: mine, mountPath: /var/run/vk}]}`,
		}
	}
	image := func(name string, job ...string) []string {
		for container := range 2 {
			job = append(job, fmt.Sprintf(`{op: replace, path: /spec/template/spec/containers/%d/image, value: %q}`, container, name))
		}
		return job
	}
	t.Run("a volume behind a link lies over it", func(t *testing.T) {
		defer demand(t, s, runner(s.Workload, ""))()
		a := behind("over-link", image(linked, emptyDir("/run/vk", execVolume(s))...)...)
		a.Command[0] = "/run/vk/valetkey-exec"
		expectJobRefused(t, s, a, "no volume with valetkey-exec is mounted at /valetkey")
	})
	t.Run("a link of the image's leads to another program", func(t *testing.T) {
		defer demand(t, s, runner(s.Workload, ""))()
		volume := `{op: add, path: /spec/template/spec/volumes, value: [` + execVolume(s) + `]}`
		inOwn := `{op: add, path: /spec/template/spec/containers/0/workingDir, value: /own}`
		expectJobRefused(t, s, behind("other-program", image(linked, execMounted, volume, inOwn)...), "differs from runner[0]: image")
	})
	t.Run("images that are not listed are no choice", func(t *testing.T) {
		_, err := s.Kubectl(t.Context(), stage.Admin, "patch", "cap", "publish-preview-build", "--type=merge",
			"-p", fmt.Sprintf(`{"spec":{"exec":{"images":[%q]},"runner":null}}`, s.Exec))
		if err == nil || !strings.Contains(err.Error(), "exec needs a runner") {
			t.Errorf("the capability was changed: %v", err)
		}
	})
	t.Run("another container has the volume in which the credential's folder lies", func(t *testing.T) {
		defer demand(t, s, runner(elsewhere, `,"mounts":[{"mountPath":"/data","source":"EmptyDir"}]`))()
		ask(
			t,
			s,
			behind(
				"shared",
				image(elsewhere,
					`{op: add, path: /spec/template/spec/volumes, value: [`+execVolume(s)+`, {name: mine, emptyDir: {}}]}`,
					`{op: add, path: /spec/template/spec/containers/0/volumeMounts, `+
						`value: [{name: exec, mountPath: /valetkey, readOnly: true}, {name: mine, mountPath: /data}]}`,
					`{op: add, path: /spec/template/spec/containers/1/volumeMounts, value: [{name: mine, mountPath: /mine}]}`)...,
			),
		)
		ended(t, s, "shared", v1alpha1.OutcomeFailed, v1alpha1.ReasonJobFailed)
		text := logs(t, s, "shared", "publish")
		if !strings.Contains(
			text,
			"valetkey-exec: a volume is mounted above /var/run/secrets/valetkey.dev, at /data; "+
				"another container with that volume could change what lies there",
		) ||
			strings.Contains(text, "put previews") {
			t.Errorf("its log says %q", text)
		}
	})
}

// thiefImage is an image with the workload, with a program that has other aims also under the name of valetkey-exec,
// and with links.
func thiefImage(t *testing.T, s *stage.Stage, name string, links map[string]string) string {
	t.Helper()
	return builtImage(t, s, name, map[string]string{
		"publish-preview": "./hack/demo/workload", "own/folder/valetkey-exec": "./test/e2e/thief",
	}, links)
}

// builtImage is an image of programs of this project at their paths, and of links, on the node. It is named by its digest.
func builtImage(t *testing.T, s *stage.Stage, name string, programs, links map[string]string) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root")
	for file, pkg := range programs {
		cmd := exec.CommandContext(
			t.Context(),
			"go",
			"build",
			"-trimpath",
			"-ldflags",
			"-s -w",
			"-o",
			filepath.Join(root, file),
			pkg,
		)
		cmd.Dir, cmd.Env = s.Path("."), append(os.Environ(), "CGO_ENABLED=0")
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
	}
	for link, target := range links {
		place := filepath.Join(root, link)
		made := os.MkdirAll(filepath.Dir(place), 0o755) //nolint:gosec // an image's folders are read by every user
		if err := errors.Join(made, os.Symlink(target, place)); err != nil {
			t.Fatal(err)
		}
	}
	name = "valetkey.dev/" + name + ":dev"
	dockerfile, archive := filepath.Join(t.TempDir(), "Dockerfile"), filepath.Join(t.TempDir(), "image.tar")
	if err := os.WriteFile(dockerfile, []byte("FROM scratch\nCOPY . /\nUSER 65532:65532\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := localcluster.BuildImage(t.Context(), root, dockerfile, name, archive); err != nil {
		t.Fatal(err)
	}
	digest, err := s.Cluster.LoadImage(t.Context(), archive, name)
	if err != nil {
		t.Fatal(err)
	}
	return localcluster.WithDigest(name, digest)
}
