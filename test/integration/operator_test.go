// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/valetkey/valetkey/internal/audit"
)

// patience bounds every wait. Whoever lost the API server waits up to a minute before it is tried again, and after an outage several do so,
// one after the other.
const patience = 4 * time.Minute

// employee is the key by which the shared operator tells people apart.
const employee = "example.com/employee-id"

// operator is the real program, running.
type operator struct {
	cmd    *exec.Cmd
	audit  string
	log    string
	health string
	ended  chan struct{}
}

// operate starts an operator and returns when it says that it is ready: the admission rules are in force.
func (w *world) operate(ctx context.Context, dir string, flags ...string) (*operator, error) {
	if w.shared != nil {
		return nil, errors.New("the shared operator runs already: a test with parallel subtests has to be parallel itself")
	}
	o, err := w.launch(ctx, dir, flags...)
	if err != nil {
		return nil, err
	}
	if err := o.awaitReady(ctx); err != nil {
		return nil, errors.Join(err, o.stop())
	}
	return o, nil
}

func (w *world) launch(ctx context.Context, dir string, flags ...string) (*operator, error) {
	kubeconfig, err := w.operatorKubeconfig(ctx)
	if err != nil {
		return nil, err
	}
	return w.start(exec.Command(w.manager), kubeconfig, dir, flags...)
}

// start runs a program that is the operator.
func (w *world) start(program *exec.Cmd, kubeconfig, dir string, flags ...string) (*operator, error) {
	health, err := freeAddress()
	if err != nil {
		return nil, err
	}
	o := &operator{audit: filepath.Join(dir, "audit.log"), log: filepath.Join(dir, "stderr"), health: health, ended: make(chan struct{})}
	a := w.cluster.AWS()
	args := []string{"--aws-endpoint=" + a.Endpoint, "--aws-endpoint=" + a.S3Endpoint, "--aws-endpoint=" + w.sts.url(), "--aws-endpoint=" + w.sts.closed,
		"--kubernetes-server=" + w.adminConfig.Host, "--vault-address=" + w.cluster.Vault().Address, "--audit-file=" + o.audit, "--metrics-address=0", "--health-address=" + health, "--leader-elect=false"}
	args = append(slices.DeleteFunc(args, overridden(flags)), flags...)
	log, err := os.OpenFile(o.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	o.cmd = program
	o.cmd.Args = append(o.cmd.Args, args...)
	o.cmd.Env = append(o.cmd.Environ(), "KUBECONFIG="+kubeconfig)
	o.cmd.Stderr = log
	o.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := o.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = o.cmd.Wait() // how it ended is in ProcessState
		close(o.ended)
	}()
	return o, nil
}

// overridden reports whether a flag that can be given but once is among the others.
func overridden(flags []string) func(string) bool {
	return func(arg string) bool {
		name, _, _ := strings.Cut(arg, "=")
		return !slices.Contains([]string{"--aws-endpoint", "--kubernetes-server", "--vault-address"}, name) && slices.ContainsFunc(flags, func(f string) bool { return strings.HasPrefix(f, name+"=") })
	}
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// readyz is the operator's own answer, or that of one of its checks; an error when it is not ready.
func (o *operator) readyz(ctx context.Context, check string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+o.health+"/readyz/"+check, nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		return fmt.Errorf("not ready: %s", body)
	}
	return err
}

// awaitReady asks until it is: health has no watch.
func (o *operator) awaitReady(ctx context.Context) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		if o.over() {
			return false, errors.New("the operator ended")
		}
		last = errors.Join(o.readyz(ctx, "guard"), o.readyz(ctx, "audit"), o.readyz(ctx, ""))
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("%w: %w\n%s", err, last, o.tail())
	}
	return nil
}

func (o *operator) tail() string {
	text, err := os.ReadFile(o.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(string(bytes.TrimSpace(text)), "\n")
	lines = slices.DeleteFunc(lines, func(line string) bool { return strings.Contains(line, `"msg":"Starting `) })
	const most = 20
	return strings.Join(lines[max(0, len(lines)-most):], "\n")
}

// linesAbout are the lines of its log that name something.
func (o *operator) linesAbout(name string) string {
	text, err := os.ReadFile(o.log)
	if err != nil {
		return err.Error()
	}
	var found []string
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, name) {
			found = append(found, line)
		}
	}
	const most = 20
	return strings.Join(found[max(0, len(found)-most):], "")
}

// records are those of its audit log about one request.
func (o *operator) records(namespace, request string) ([]audit.Record, error) {
	text, err := os.ReadFile(o.audit)
	if err != nil {
		return nil, err
	}
	var found []audit.Record
	for line := range bytes.Lines(text) {
		var r audit.Record
		if err := json.Unmarshal(line, &r); err != nil {
			return nil, err
		}
		if r.Namespace == namespace && r.Request == request {
			found = append(found, r)
		}
	}
	return found, nil
}

// stop ends it as Kubernetes does, and says if it did not end well.
func (o *operator) stop() error {
	if err := o.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-o.ended:
	case <-time.After(patience):
		return errors.Join(errors.New("the operator does not end"), o.kill())
	}
	if code := o.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("the operator ended with code %d:\n%s", code, o.tail())
	}
	return nil
}

// over reports whether it has ended.
func (o *operator) over() bool {
	select {
	case <-o.ended:
		return true
	default:
		return false
	}
}

// kill ends it as a crash does.
func (o *operator) kill() error {
	if err := o.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-o.ended
	return nil
}

// sharedOperator is the one that all parallel journeys use. It starts when the first of them asks for it: tests that need an
// operator of their own are not parallel, and so they have ended by then.
func (w *world) sharedOperator(t *testing.T) *operator {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.shared == nil {
		dir := filepath.Join(w.dir, "shared")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		o, err := w.operate(context.Background(), dir, "--identity-extra-key="+employee)
		if err != nil {
			t.Fatal(err)
		}
		w.shared = o
	}
	return w.shared
}

// ownOperator runs an operator for one test, which must not be parallel.
func (w *world) ownOperator(t *testing.T, flags ...string) *operator {
	t.Helper()
	o, err := w.operate(t.Context(), t.TempDir(), flags...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the operator said:\n%s", o.tail())
		}
		if o.over() {
			return
		}
		if err := o.stop(); err != nil {
			t.Error(err)
		}
	})
	return o
}
