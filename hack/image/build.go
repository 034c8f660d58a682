// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/valetkey/valetkey/hack/localcluster"
)

// image is one that is released: a program, and the Dockerfile that puts it in.
type image struct{ name, program, dockerfile string }

func images() []image {
	return []image{
		{"valetkey.dev/valetkey", "manager", "Dockerfile"},
		{"valetkey.dev/valetkey-exec", "valetkey-exec", "Dockerfile.exec"},
	}
}

func architectures() []string { return []string{"amd64", "arm64"} }

// built is an image in an archive.
type built struct{ name, archive, digest string }

// build builds every image of the commit that is checked out.
func build(ctx context.Context, checkout, output string) ([]built, error) {
	work, err := os.MkdirTemp("", "valetkey-image-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(work)
	b := builder{source: filepath.Join(work, "source"), work: work, output: output}
	if err := errors.Join(b.clone(ctx, checkout), os.MkdirAll(output, 0o755)); err != nil {
		return nil, err
	}
	var all []built
	for _, i := range images() {
		one, err := b.image(ctx, i)
		if err != nil {
			return all, fmt.Errorf("%s: %w", i.name, err)
		}
		all = append(all, one)
	}
	return all, nil
}

type builder struct{ source, work, output string }

// clone takes the commit and nothing that lies beside it. What is not committed would be missing, so there must be nothing.
func (b builder) clone(ctx context.Context, checkout string) error {
	changes, err := run(ctx, checkout, nil, "git", "status", "--porcelain")
	if err != nil {
		return err
	}
	if changes != "" {
		return fmt.Errorf("a release is built from a commit, and these are in none:\n%s", changes)
	}
	_, err = run(ctx, checkout, nil, "git", "clone", "--quiet", ".", b.source)
	return err
}

// image builds one image for every architecture, and puts them together.
func (b builder) image(ctx context.Context, i image) (built, error) {
	var all []platform
	for _, architecture := range architectures() {
		p, err := b.platform(ctx, i, architecture)
		if err != nil {
			return built{}, fmt.Errorf("for %s: %w", architecture, err)
		}
		all = append(all, p)
	}
	layout := filepath.Join(b.work, i.program)
	digest, err := assemble(layout, i.name, all)
	if err != nil {
		return built{}, err
	}
	archive := filepath.Join(b.output, filepath.Base(i.name)+".tar")
	return built{name: i.name, archive: archive, digest: digest}, b.pack(ctx, layout, archive)
}

// platform is what is built for one architecture: a layout that holds the image, and the bill of materials.
type platform struct{ architecture, layout, materials string }

func (b builder) platform(ctx context.Context, i image, architecture string) (platform, error) {
	dir := filepath.Join(b.work, i.program+"-"+architecture)
	program := filepath.Join(dir, "bin", i.program)
	p := platform{
		architecture: architecture, layout: filepath.Join(dir, "layout"),
		materials: filepath.Join(b.output, fmt.Sprintf("%s-linux-%s.cdx.json", filepath.Base(i.name), architecture)),
	}
	fmt.Fprintf(os.Stderr, "building %s for %s; minutes where little of it is in Go's cache\n", i.name, architecture)
	_, err := b.golang(ctx, architecture, "build", "-buildvcs=true", "-ldflags", "-s -w", "-o", program, "./cmd/"+i.program)
	if err != nil {
		return p, err
	}
	labels, err := labels(program)
	if err != nil {
		return p, err
	}
	args := append(labels, "--platform", "linux/"+architecture)
	if err := localcluster.BuildImageTo(ctx, "oci:"+p.layout, dir, filepath.Join(b.source, i.dockerfile), args...); err != nil {
		return p, err
	}
	return p, b.list(ctx, program, p.materials)
}

// list writes the bill of materials that the program itself holds, without what would differ from one time to the next.
func (b builder) list(ctx context.Context, program, materials string) error {
	materials, err := filepath.Abs(materials)
	if err != nil {
		return err
	}
	_, err = b.golang(ctx, "", "tool", "-modfile=hack/pins/cyclonedx/go.mod", "cyclonedx-gomod", "bin", "-json", "-noserial", "-notimestamp", "-std", "-output", materials, program)
	return err
}

// golang runs go in the clone, with nothing of the caller's that decides what comes out. No architecture means this machine's.
func (b builder) golang(ctx context.Context, architecture string, args ...string) (string, error) {
	env := []string{"CGO_ENABLED=0", "GOFLAGS=-trimpath", "GOWORK=off", "GOEXPERIMENT=", "GOOS=", "GOARCH="}
	if architecture != "" {
		env = append(env, "GOOS=linux", "GOARCH="+architecture, "GOAMD64=v1", "GOARM64=v8.0")
	}
	return run(ctx, b.source, env, "go", args...)
}

// pack makes an archive whose bytes depend on the content alone.
func (b builder) pack(ctx context.Context, layout, archive string) error {
	_, err := run(ctx, "", nil, "tar", "--sort=name", "--format=ustar", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner", "--mode=u=rwX,go=rX",
		"--create", "--file", archive, "--directory", layout, "oci-layout", "index.json", "blobs")
	return err
}

func run(ctx context.Context, dir string, env []string, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}
