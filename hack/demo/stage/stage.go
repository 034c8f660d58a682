// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package stage sets up what the demo and the end-to-end tests play on: a real cluster with a node and an STS of its own, the
// operator installed in it as it ships, and the catalogue of config/samples.
package stage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/valetkey/valetkey/hack/canary"
	"github.com/valetkey/valetkey/hack/localcluster"
)

// Names that the manifests use.
const (
	Namespace     = "agents"
	OperatorImage = "valetkey.dev/valetkey:dev"
	previousImage = "valetkey.dev/valetkey:previous"
	workloadImage = "valetkey.dev/publisher:dev"
	execImage     = "valetkey.dev/valetkey-exec:dev"
	sampleImage   = "registry.example.com/publisher"
	role          = "preview-deployer"

	sampleCapability = "publish-preview-build"
)

// Stage is a cluster with the operator installed.
type Stage struct {
	// Cluster that everything runs on.
	Cluster *localcluster.Cluster
	// Workload is the image that Jobs run, and Exec that of valetkey-exec, by digest.
	Workload, Exec string

	root     string
	previous string
	roleARN  string
	dir      string
	progress io.Writer
	secrets  *canary.Canary
	cancel   context.CancelFunc
	// github and google are where the stand-ins listen, and signers are the operator's signing keys; nil without back ends.
	github, google net.Listener
	signers        map[string]string
}

// Options say how to set up.
type Options struct {
	// Root of the repository.
	Root string
	// Progress gets a line about whatever takes long.
	Progress io.Writer
	// Fast spares the disk: for tests.
	Fast bool
	// BackEnds adds what the other back ends talk to.
	BackEnds bool
	// Helm installs the chart instead of config/default.
	Helm bool
	// Previous is the source of an earlier release, whose image and chart are installed instead of those at Root; for Helm.
	Previous string
	// OperatorArgs are more flags of the operator.
	OperatorArgs []string
}

// SetUp starts the cluster, builds and loads the images, and installs the operator and the samples.
func SetUp(ctx context.Context, o Options) (*Stage, error) {
	cluster, err := localcluster.Start(ctx, localcluster.Options{Node: true, AWS: true, Vault: o.BackEnds, Helm: o.Helm, Fast: o.Fast, Progress: o.Progress})
	if err != nil {
		return nil, err
	}
	s := &Stage{Cluster: cluster, root: o.Root, previous: o.Previous, dir: filepath.Join(cluster.StateDir(), "stage"), progress: o.Progress}
	watching, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.cancel = cancel
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"watching for credentials, to look for them afterwards", func(context.Context) (err error) {
			s.secrets, err = canary.Watch(watching, cluster.AdminConfig())
			return err
		}},
		{"building the operator and the publisher, and their images", s.images},
		{"making the buckets and the role", s.cloud},
		{"standing in for GitHub and Google, and making signing keys", func(ctx context.Context) error {
			if !o.BackEnds {
				return nil
			}
			return errors.Join(s.standInForGitHub(ctx), s.standInForGoogle(ctx))
		}},
		{"installing Valetkey", func(ctx context.Context) error { return s.install(ctx, o) }},
		{"applying the catalogue", s.catalogue},
	} {
		s.say(step.what)
		if err := step.do(ctx); err != nil {
			if o.Progress != nil {
				s.Explain(ctx, o.Progress)
			}
			return nil, errors.Join(fmt.Errorf("%s: %w", step.what, err), s.TearDown(context.WithoutCancel(ctx)))
		}
	}
	return s, nil
}

// TearDown removes the cluster.
func (s *Stage) TearDown(ctx context.Context) error {
	s.cancel()
	for _, standIn := range []net.Listener{s.github, s.google} {
		if standIn != nil {
			_ = standIn.Close()
		}
	}
	return s.Cluster.Stop(ctx)
}

// Path is a path of the repository.
func (s *Stage) Path(relative string) string { return filepath.Join(s.root, relative) }

func (s *Stage) say(what string) {
	if s.progress != nil {
		_, _ = fmt.Fprintln(s.progress, what)
	}
}

// images builds all images by their Dockerfiles, without a network, and puts them on the node.
func (s *Stage) images(ctx context.Context) error {
	for _, program := range []string{"manager", "valetkey-exec"} {
		if err := s.goBuild(ctx, filepath.Join(s.root, "bin", program), "./cmd/"+program); err != nil {
			return err
		}
	}
	if _, err := s.load(ctx, s.root, "Dockerfile", OperatorImage); err != nil {
		return err
	}
	if s.previous != "" {
		if err := s.previousImage(ctx); err != nil {
			return err
		}
	}
	digest, err := s.load(ctx, s.root, "Dockerfile.exec", execImage)
	if err != nil {
		return err
	}
	s.Exec = localcluster.WithDigest(execImage, digest)
	folder := filepath.Join(s.dir, "workload")
	for program, pkg := range map[string]string{"publish-preview": "./hack/demo/workload", "valetkey-exec": "./cmd/valetkey-exec"} {
		if err := s.goBuild(ctx, filepath.Join(folder, program), pkg); err != nil {
			return err
		}
	}
	digest, err = s.load(ctx, folder, filepath.Join(s.root, "hack", "demo", "workload", "Dockerfile"), workloadImage)
	if err != nil {
		return err
	}
	s.Workload = localcluster.WithDigest(workloadImage, digest)
	return nil
}

func (s *Stage) previousImage(ctx context.Context) error {
	if err := buildIn(ctx, s.previous, filepath.Join(s.previous, "bin", "manager"), "./cmd/manager"); err != nil {
		return err
	}
	_, err := s.load(ctx, s.previous, "Dockerfile", previousImage)
	return err
}

func (s *Stage) goBuild(ctx context.Context, output, pkg string) error {
	return buildIn(ctx, s.root, output, pkg)
}

func buildIn(ctx context.Context, root, output, pkg string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", output, pkg)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	return run(cmd)
}

func (s *Stage) load(ctx context.Context, dir, dockerfile, name string) (string, error) {
	archive := filepath.Join(s.dir, strings.NewReplacer("/", "-", ":", "-").Replace(name)+".tar")
	if err := os.MkdirAll(s.dir, 0o750); err != nil {
		return "", err
	}
	if err := localcluster.BuildImage(ctx, dir, dockerfile, name, archive); err != nil {
		return "", err
	}
	return s.Cluster.LoadImage(ctx, archive, name)
}

// cloud makes what a platform engineer makes in AWS: the buckets, and the role that trusts the capability's identity.
func (s *Stage) cloud(ctx context.Context) error {
	for _, bucket := range []string{"previews", "releases"} {
		if err := s.Cluster.AWS().EnsureBucket(ctx, bucket); err != nil {
			return err
		}
	}
	arn, err := s.Cluster.AWS().EnsureRole(ctx, localcluster.RoleSpec{
		Name: role, Namespace: "valetkey-identities", ServiceAccount: "publish-preview-build",
	})
	s.roleARN = arn
	return err
}

func run(cmd *exec.Cmd) error {
	output, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, bytes.TrimSpace(output))
	}
	return nil
}

// settled bounds every wait for something to come up.
const settled = 2 * time.Minute
