// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package prometheus brings Debian's Prometheus for tests: its programs alone, for the package would start a service.
package prometheus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// Programs are where Prometheus's programs are.
type Programs struct{ Server, Promtool string }

// Fetch downloads Debian's package and unpacks it into the cache folder, unless it is there.
func Fetch(ctx context.Context, progress io.Writer) (Programs, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return Programs{}, err
	}
	folder := filepath.Join(cache, "valetkey", "prometheus-debian")
	found := Programs{Server: filepath.Join(folder, "usr", "bin", "prometheus"), Promtool: filepath.Join(folder, "usr", "bin", "promtool")}
	if _, err := os.Stat(folder); err == nil {
		return found, nil
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return Programs{}, errors.New("these tests need Debian's prometheus, and this machine has no apt-get to fetch it")
	}
	fmt.Fprintln(progress, "fetching Debian's prometheus with apt-get, 19 MB")
	if err := os.MkdirAll(filepath.Dir(folder), 0o750); err != nil {
		return Programs{}, err
	}
	work, err := os.MkdirTemp(filepath.Dir(folder), "prometheus-")
	if err != nil {
		return Programs{}, err
	}
	defer os.RemoveAll(work)
	if err := download(ctx, work, progress); err != nil {
		return Programs{}, err
	}
	if err := os.Rename(filepath.Join(work, "root"), folder); err != nil && !errors.Is(err, os.ErrExist) {
		return Programs{}, err
	}
	return found, nil
}

func download(ctx context.Context, work string, progress io.Writer) error {
	if err := run(ctx, work, "apt-get", "-q", "download", "prometheus"); err != nil {
		// On a fresh machine the package lists are empty or old.
		fmt.Fprintln(progress, "apt-get does not find it; fetching its package lists first")
		if err := errors.Join(run(ctx, work, "apt-get", "-q", "update"), run(ctx, work, "apt-get", "-q", "download", "prometheus")); err != nil {
			return err
		}
	}
	packages, err := filepath.Glob(filepath.Join(work, "*.deb"))
	if err != nil || len(packages) != 1 {
		return fmt.Errorf("apt-get downloaded %v, not one package: %w", packages, err)
	}
	return run(ctx, work, "dpkg", "-x", packages[0], "root")
}

func run(ctx context.Context, dir, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, bytes.TrimSpace(output))
	}
	return nil
}
