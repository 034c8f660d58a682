// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/valetkey/valetkey/test/bench/sample"
)

// shippedMemory is the memory limit that the shipped StatefulSet gives to the garbage collector: 95 % of 512 MiB.
const shippedMemory = "GOMEMLIMIT=512000000"

// Operator is the operator's own program, as the ServiceAccount that it ships with.
type Operator struct {
	// Started is when the process was started, and Ready how long it then took to say that it is ready.
	Started time.Time
	Ready   time.Duration

	cmd                      *exec.Cmd
	dir                      string
	health, metrics, profile string
	ended                    chan struct{}
	peak                     *sample.Peak
	unfollow                 context.CancelFunc
}

// Operate starts the operator with its shipped defaults, leader election included, and returns when it says that it is ready.
func (e *Env) Operate(ctx context.Context) (*Operator, error) {
	o := &Operator{ended: make(chan struct{}), dir: filepath.Join(e.dir, fmt.Sprintf("operator-%d", time.Now().UnixNano()))}
	if err := os.MkdirAll(o.dir, 0o700); err != nil {
		return nil, err
	}
	args, err := e.arguments(ctx, o)
	if err != nil {
		return nil, err
	}
	if err := o.start(e.Manager, args, "KUBECONFIG="+filepath.Join(o.dir, "kubeconfig")); err != nil {
		return nil, err
	}
	if err := o.awaitReady(ctx); err != nil {
		return nil, errors.Join(err, o.Stop())
	}
	o.Ready = time.Since(o.Started)
	return o, nil
}

// arguments writes what the operator is to read, and returns its flags.
func (e *Env) arguments(ctx context.Context, o *Operator) ([]string, error) {
	addresses := []*string{&o.health, &o.metrics}
	if e.Profile {
		addresses = append(addresses, &o.profile)
	}
	for _, address := range addresses {
		var err error
		if *address, err = freeAddress(); err != nil {
			return nil, err
		}
	}
	if err := e.writeKubeconfig(ctx, filepath.Join(o.dir, "kubeconfig")); err != nil {
		return nil, err
	}
	key := filepath.Join(e.dir, "signing.pem")
	if err := ensureKey(key); err != nil {
		return nil, err
	}
	args := []string{"--audit-file=" + filepath.Join(o.dir, "audit.log"), "--metrics-address=" + o.metrics, "--health-address=" + o.health,
		"--kubernetes-server=" + e.Config.Host, "--signer=internal=" + key, "--token-issuer=" + e.issuer, "--token-signer=internal", "--token-address=" + e.address}
	if e.Profile {
		args = append(args, "--pprof-address="+o.profile)
	}
	if a := e.cluster.AWS(); a != nil {
		args = append(args, "--aws-endpoint="+a.Endpoint, "--aws-endpoint="+a.S3Endpoint)
	}
	return append(args, e.Flags...), nil
}

func (o *Operator) start(program string, args []string, environment ...string) error {
	log, err := os.Create(o.log())
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	o.cmd = exec.Command(program, args...)
	o.cmd.Env = append(append(os.Environ(), shippedMemory), environment...)
	o.cmd.Stderr = log
	o.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	o.Started = time.Now()
	if err := o.cmd.Start(); err != nil {
		return err
	}
	following, cancel := context.WithCancel(context.Background())
	o.unfollow, o.peak = cancel, sample.FollowPeak(following, o.PID())
	go func() {
		_ = o.cmd.Wait() // how it ended is in ProcessState
		close(o.ended)
	}()
	return nil
}

func (o *Operator) log() string { return filepath.Join(o.dir, "stderr") }

// PID is the operator's process.
func (o *Operator) PID() int { return o.cmd.Process.Pid }

// Profile is the address of the operator's profiles; empty if it serves none.
func (o *Operator) Profile() string { return o.profile }

// awaitReady asks again and again: readiness cannot be watched.
func (o *Operator) awaitReady(ctx context.Context) error {
	const interval = 10 * time.Millisecond
	err := wait.PollUntilContextTimeout(ctx, interval, Patience, true, func(ctx context.Context) (bool, error) {
		select {
		case <-o.ended:
			return false, errors.New("it ended")
		default:
			return o.isReady(ctx), nil
		}
	})
	if err != nil {
		return fmt.Errorf("the operator did not get ready: %w\n%s", err, o.tail())
	}
	return nil
}

func (o *Operator) isReady(ctx context.Context) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+o.health+"/readyz", nil)
	if err != nil {
		return false
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	return response.Body.Close() == nil && response.StatusCode == http.StatusOK
}

// tail is the end of the operator's log.
func (o *Operator) tail() string {
	text, err := os.ReadFile(o.log())
	if err != nil {
		return err.Error()
	}
	const most = 2000
	return string(text[max(0, len(text)-most):])
}

// Stop ends the operator as the kubelet does.
func (o *Operator) Stop() error {
	defer o.unfollow()
	if err := o.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-o.ended:
	case <-time.After(Patience):
		return errors.Join(errors.New("the operator does not end"), o.cmd.Process.Kill())
	}
	if code := o.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("the operator ended with code %d:\n%s", code, o.tail())
	}
	return nil
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// writeKubeconfig writes the administrator's kubeconfig with the token of the operator's ServiceAccount instead.
func (e *Env) writeKubeconfig(ctx context.Context, path string) error {
	token, err := e.token(ctx, system, "valetkey")
	if err != nil {
		return err
	}
	admin, err := e.cluster.Kubeconfig("admin")
	if err != nil {
		return err
	}
	config, err := clientcmd.LoadFromFile(admin)
	if err != nil {
		return err
	}
	for user := range config.AuthInfos {
		config.AuthInfos[user] = &clientcmdapi.AuthInfo{Token: token}
	}
	return clientcmd.WriteToFile(*config, path)
}

// ensureKey makes a key that tokens are signed with, unless it is there.
func ensureKey(path string) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600)
}
