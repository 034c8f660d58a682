// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package localcluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"k8s.io/client-go/rest"

	"github.com/valetkey/valetkey/hack/localcluster/supervisor"
)

// Cluster is a running cluster.
type Cluster struct {
	rec        record
	supervisor *supervisor.Client
	ca         *authority
	admin      *rest.Config
	// leash keeps the cluster alive while this process holds it; nil for a cluster that was opened.
	leash    *leash
	progress io.Writer
}

// Start builds what is missing, starts a cluster and returns when it can be used: the API server is ready and namespaces
// get their default ServiceAccount, with a node the node is Ready, with AWS both endpoints are healthy. A cluster that
// does not come up is removed again.
func Start(ctx context.Context, o Options) (*Cluster, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := preflight(ctx, o); err != nil {
		return nil, err
	}
	p, err := build(ctx, o)
	if err != nil {
		return nil, err
	}
	archive, err := pauseArchive(ctx, o, p)
	if err != nil {
		return nil, err
	}
	r, err := claim(ctx, o, p)
	if err != nil {
		return nil, err
	}
	c := &Cluster{rec: r, progress: o.progress()}
	if err := c.start(ctx, archive); err != nil {
		return nil, errors.Join(fmt.Errorf("start cluster %q: %w", o.Name, err), c.Stop(context.WithoutCancel(ctx)))
	}
	if o.Detach {
		if err := c.detach(); err != nil {
			return nil, errors.Join(err, c.Stop(context.WithoutCancel(ctx)))
		}
	}
	return c, nil
}

// Open returns a cluster that runs already.
func Open(name string) (*Cluster, error) {
	r, err := loadRecord(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no cluster %q; `go run ./hack/cluster up --name %s` starts one", name, name)
	}
	if err != nil {
		return nil, err
	}
	if !r.Supervisor.alive() {
		return nil, fmt.Errorf("cluster %q does not run any more; `go run ./hack/cluster down --name %s` removes what is left of it", name, name)
	}
	client, err := supervisor.Dial(r.StateDir)
	if err != nil {
		return nil, err
	}
	c := &Cluster{rec: r, supervisor: client, progress: io.Discard}
	if c.ca, err = loadAuthority(r.path("pki")); err != nil {
		return nil, err
	}
	c.admin, err = c.UserConfig(adminUser, adminGroup)
	return c, err
}

// Remove stops a cluster by name and removes all of it, even if it is only half there. It tells whether there was one.
func Remove(ctx context.Context, name string) (bool, error) {
	if _, err := os.Stat(record{Name: name}.file()); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	// Held so that nobody takes the name while its last owner is being cleared away.
	unlock, err := lockDir(ctx, stateBase(), func() {})
	if err != nil {
		return false, err
	}
	defer unlock()
	r, err := loadRecord(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, r.destroy(ctx)
}

// List returns the names of all clusters, whether they run or are only what a crash left behind.
func List() ([]string, error) {
	all, err := loadRecords()
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(all))
	for _, r := range all {
		names = append(names, r.Name)
	}
	return names, nil
}

// Stop ends the cluster and removes everything it made.
func (c *Cluster) Stop(ctx context.Context) error {
	if c.supervisor != nil {
		_ = c.supervisor.Close() // its process is killed next
	}
	err := c.rec.destroy(ctx)
	if c.leash != nil {
		err = errors.Join(err, c.leash.release())
		c.leash = nil
	}
	return err
}

// Name returns the cluster's name.
func (c *Cluster) Name() string { return c.rec.Name }

// StateDir returns the directory with the cluster's data and, below logs, its programs' logs.
func (c *Cluster) StateDir() string { return c.rec.StateDir }

// Address returns the cluster's address as seen from the host.
func (c *Cluster) Address() string { return c.rec.Slot.inner() }

// HostAddress returns the host's address as seen from the cluster, Pods included.
func (c *Cluster) HostAddress() string { return c.rec.Slot.host() }

// ListenTLS listens on the host's address, with a certificate that the cluster's own authority signed, and returns that authority's.
func (c *Cluster) ListenTLS() (net.Listener, []byte, error) {
	server, err := c.ca.server([]string{"host"}, []string{c.HostAddress()})
	if err != nil {
		return nil, nil, err
	}
	certificate, err := tls.X509KeyPair(server.cert, server.key)
	if err != nil {
		return nil, nil, err
	}
	listener, err := tls.Listen("tcp", net.JoinHostPort(c.HostAddress(), "0"), &tls.Config{Certificates: []tls.Certificate{certificate}})
	return listener, encodeCertificate(c.ca.cert.Raw), err
}

// Kubectl returns the path of a kubectl of the cluster's own version.
func (c *Cluster) Kubectl() string { return c.rec.programs().host(kubectl) }

// Helm is the path of a helm of the pinned version, for a cluster that was started with Options.Helm.
func (c *Cluster) Helm() string { return c.rec.programs().host(helm) }

// Other is the path of another operator's program, for a cluster that was started with Options.Others.
func (c *Cluster) Other(name string) string { return c.rec.programs().host(name) }

// SupervisorPID returns the process to enter the cluster's namespaces by: nsenter --target PID --all.
func (c *Cluster) SupervisorPID() int { return c.rec.Supervisor.PID }

// Programs returns the cluster's programs and how they fare.
func (c *Cluster) Programs() ([]supervisor.Status, error) { return c.supervisor.List() }

// StopProgram ends one program, for tests of failure, and returns when it is gone. It stays down until StartProgram.
func (c *Cluster) StopProgram(name string) error {
	return c.supervisor.Stop(name, 5*time.Second)
}

// StartProgram starts a program again that was stopped or has died. It does not wait for it to be ready.
func (c *Cluster) StartProgram(name string) error {
	i := slices.IndexFunc(c.commands(), func(p supervisor.Program) bool { return p.Name == name })
	if i < 0 {
		return fmt.Errorf("cluster %q has no program %q", c.rec.Name, name)
	}
	return c.supervisor.Start(c.commands()[i])
}

// Signal sends a program a signal: SIGKILL to crash it, SIGSTOP and SIGCONT to let it hang.
func (c *Cluster) Signal(name string, sig syscall.Signal) error {
	return c.supervisor.Signal(name, sig)
}

// WaitReady returns when everything that Start waits for holds again, for instance after StartProgram.
func (c *Cluster) WaitReady(ctx context.Context) error {
	if err := c.waitAPI(ctx); err != nil {
		return err
	}
	if c.rec.AWS {
		if err := errors.Join(c.waitHealthy(ctx, versitygwIAM, stsPort), c.waitHealthy(ctx, versitygwS3, s3Port)); err != nil {
			return err
		}
	}
	if c.rec.Vault {
		if err := c.waitVault(ctx); err != nil {
			return err
		}
	}
	if c.rec.Node {
		if err := c.waitNode(ctx); err != nil {
			return err
		}
	}
	return c.waitControllers(ctx)
}

func (c *Cluster) detach() error {
	c.rec.Owner = process{}
	if err := c.rec.save(); err != nil {
		return err
	}
	return c.supervisor.Release()
}

// log returns the end of a program's log, for error messages.
func (c *Cluster) log(name string) string {
	b, err := os.ReadFile(filepath.Join(c.rec.StateDir, "logs", name+".log"))
	if err != nil {
		return err.Error()
	}
	return tail(string(b), 15)
}
