// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/hack/localcluster"
	"github.com/valetkey/valetkey/hack/localcluster/clustertest"
	"github.com/valetkey/valetkey/test/docs"
)

// TestThePages follows the pages from a bare cluster, as somebody does who has nothing else. What differs from such a person's
// machine is done by newReader and instead.
func TestThePages(t *testing.T) {
	r := newReader(t, localcluster.Options{})
	for _, page := range docs.Played() {
		r.follows(t, page)
	}
}

// follows types every command of a page, and compares what is printed with what the page shows.
func (r *reader) follows(t *testing.T, page string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(r.folder, page))
	if err != nil {
		t.Fatal(err)
	}
	began, granted := time.Now(), false
	for _, block := range docs.Blocks(string(text)) {
		if block.Language != "console" || block.NotRun != "" {
			continue
		}
		for _, step := range block.Steps() {
			t.Logf("%s:%d $ %s", page, step.Line, step.Command)
			printed, err := r.types(t, step.Command)
			if err != nil {
				says, _ := r.types(t, explanation)
				t.Fatalf("%s:%d: %v\n%s", page, step.Line, err, says)
			}
			if err := step.Like(printed); err != nil {
				t.Errorf("%s:%d: %v", page, step.Line, err)
			}
			if strings.HasPrefix(step.Command, "agent run ") && !granted {
				granted = true
				t.Logf("%s: the first granted Job had ended after %s", page, time.Since(began).Round(time.Second))
			}
		}
	}
	t.Logf("%s: every command ran, in %s", page, time.Since(began).Round(time.Second))
}

// explanation is what somebody types who wants to know why a command failed.
const explanation = "kubectl -n valetkey-system get all,pvc,events; kubectl -n valetkey-system logs -l app.kubernetes.io/name=valetkey --tail=20; kubectl get capprov,cap,cappol,capreq,capgrant -A"

// A reader sits at a shell in a clone of the repository, with a bare cluster.
type reader struct {
	cluster *localcluster.Cluster
	folder  string
	shell   io.Writer
	printed *bufio.Reader
	// kubectlImage holds kubectl, for the step; known after the image was built.
	kubectlImage string
}

// newReader starts a cluster, copies the repository, and opens a shell. The cluster has no name service and makes no volumes, so the
// API server gets its address instead of its name, and volumes wait for whoever claims one.
func newReader(t *testing.T, options localcluster.Options) *reader {
	t.Helper()
	options.Node, options.Fast, options.Progress = true, true, os.Stderr
	cluster := clustertest.Start(t, options)
	r := &reader{cluster: cluster, folder: t.TempDir()}
	if err := r.clone(); err != nil {
		t.Fatal(err)
	}
	if err := r.address(); err != nil {
		t.Fatal(err)
	}
	r.open(t)
	r.volumes(t)
	r.kubectlImage = r.image(t)
	return r
}

// clone copies what Git has of the repository, as it is now.
func (r *reader) clone() error {
	cmd := exec.Command("bash", "-c", `cd ../.. && git ls-files -z | xargs -0 cp --parents -t "$0"`, r.folder)
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("copying the repository: %w\n%s", err, text)
	}
	return nil
}

// address writes the API server's address in the place of its name.
func (r *reader) address() error {
	edits := map[string][2]string{
		"config/samples/kubernetes/*.yaml": {"https://kubernetes.default.svc", localcluster.ServiceURL},
		"config/manager/*.yaml":            {"args: []", "args: [--kubernetes-server=" + localcluster.ServiceURL + "]"},
	}
	for pattern, edit := range edits {
		list, err := filepath.Glob(filepath.Join(r.folder, pattern))
		if err != nil {
			return err
		}
		edited := false
		for _, file := range list {
			text, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			if !bytes.Contains(text, []byte(edit[0])) {
				continue
			}
			edited = true
			if err := os.WriteFile(file, bytes.ReplaceAll(text, []byte(edit[0]), []byte(edit[1])), 0o600); err != nil {
				return err
			}
		}
		if !edited {
			return fmt.Errorf("no %s says %s", pattern, edit[0])
		}
	}
	return nil
}

// open opens the shell, with the cluster's kubectl in its path.
func (r *reader) open(t *testing.T) {
	t.Helper()
	kubeconfig, err := r.cluster.Kubeconfig("admin")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "bash", "--noprofile", "--norc", "-O", "expand_aliases")
	cmd.Dir = r.folder
	cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig, "PATH="+filepath.Dir(r.cluster.Kubectl())+":"+os.Getenv("PATH"))
	out, in := io.Pipe()
	cmd.Stdout, cmd.Stderr = in, in
	shell, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = shell.Close()
		_ = cmd.Wait()
	})
	r.shell, r.printed = shell, bufio.NewReader(out)
}

const done = "--the command ended with "

// types types a command and returns what it printed. One that fails is an error.
func (r *reader) types(t *testing.T, command string) (string, error) {
	t.Helper()
	if _, err := fmt.Fprintf(r.shell, "{ %s\n} </dev/null\nended=$?; echo; echo '%s'$ended\n", r.instead(command), done); err != nil {
		t.Fatal(err)
	}
	var printed bytes.Buffer
	for {
		line, err := r.printed.ReadString('\n')
		if err != nil {
			t.Fatalf("the shell ended: %v\n%s", err, printed.String())
		}
		if code, ok := strings.CutPrefix(line, done); ok {
			if code = strings.TrimSpace(code); code != "0" {
				return printed.String(), fmt.Errorf("%s ended with %s:\n%s", command, code, printed.String())
			}
			return printed.String(), r.after(t, command)
		}
		printed.WriteString(line)
	}
}

// instead is what is typed where there is no registry to ask.
func (r *reader) instead(command string) string {
	if strings.HasPrefix(command, "IMAGE=") {
		return "IMAGE=" + r.kubectlImage
	}
	return command
}

// after brings the image that was built onto the node, as somebody does with kind.
func (r *reader) after(t *testing.T, command string) error {
	t.Helper()
	if !strings.HasPrefix(command, "make image") {
		return nil
	}
	_, err := r.cluster.LoadImage(t.Context(), filepath.Join(r.folder, "dist", "valetkey.tar"), "valetkey.dev/valetkey:dev")
	return err
}

// image makes an image that holds kubectl and nothing else.
func (r *reader) image(t *testing.T) string {
	t.Helper()
	return r.imageOf(t, r.cluster.Kubectl(), "registry.k8s.io/kubectl:test", "/bin/kubectl")
}

// imageOf makes an image that holds a program and nothing else, brings it onto the node, and returns its name by digest.
func (r *reader) imageOf(t *testing.T, program, name, path string) string {
	t.Helper()
	folder := t.TempDir()
	text, err := os.ReadFile(program)
	dockerfile := fmt.Sprintf("FROM scratch\nCOPY program %s\nENTRYPOINT [%q]\nUSER 65532:65532\n", path, path)
	err = errors.Join(err,
		os.WriteFile(filepath.Join(folder, "program"), text, 0o755), //nolint:gosec // a program
		os.WriteFile(filepath.Join(folder, "Dockerfile"), []byte(dockerfile), 0o600),
		localcluster.BuildImage(t.Context(), folder, "Dockerfile", name, filepath.Join(folder, "image.tar")))
	if err != nil {
		t.Fatal(err)
	}
	digest, err := r.cluster.LoadImage(t.Context(), filepath.Join(folder, "image.tar"), name)
	if err != nil {
		t.Fatal(err)
	}
	return localcluster.WithDigest(name, digest)
}

// volumes makes what a StorageClass makes elsewhere.
func (r *reader) volumes(t *testing.T) {
	t.Helper()
	const nobody = 65532 // whom the operator runs as
	for i := range 2 {
		folder := filepath.Join(t.TempDir(), fmt.Sprint(i))
		if err := errors.Join(os.Mkdir(folder, 0o750), os.Chown(folder, nobody, nobody)); err != nil {
			t.Fatal(err)
		}
		manifest := fmt.Sprintf(volume, i, folder, localcluster.NodeName)
		if printed, err := r.types(t, "kubectl apply -f - <<<'"+manifest+"'"); err != nil {
			t.Fatalf("%v: %s", err, printed)
		}
	}
}

const volume = `apiVersion: v1
kind: PersistentVolume
metadata: {name: volume-%d}
spec:
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  local: {path: %s}
  nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [%s]}]}]}}
`
