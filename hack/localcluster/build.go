// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package localcluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// programs tells where the built programs are: program to path relative to the cache's program directory.
type programs struct {
	dir   string
	paths map[string]string
}

// host returns a program's path on the host.
func (p programs) host(name string) string { return filepath.Join(p.dir, p.paths[name]) }

// inside returns a program's path as the cluster's own processes see it.
func (p programs) inside(name string) string { return filepath.Join(programsInside, p.paths[name]) }

// Build makes sure that every program a cluster with these options needs is built, and returns when it is.
func Build(ctx context.Context, o Options) error {
	_, err := build(ctx, o)
	return err
}

func build(ctx context.Context, o Options) (programs, error) {
	root, err := repositoryRoot()
	if err != nil {
		return programs{}, err
	}
	list, err := sources(root, o)
	if err != nil {
		return programs{}, err
	}
	b := builder{root: root, dir: filepath.Join(cacheDir(), "bin"), progress: o.progress()}
	if err := os.MkdirAll(b.dir, 0o755); err != nil {
		return programs{}, err
	}
	result := programs{dir: b.dir, paths: map[string]string{}}
	var missing []source
	for _, s := range list {
		key, err := s.key(root)
		if err != nil {
			return programs{}, err
		}
		result.paths[s.name] = filepath.Join(key, s.name)
		if _, err := os.Stat(filepath.Join(b.dir, key, s.name)); err != nil {
			missing = append(missing, s)
		}
	}
	if len(missing) == 0 {
		return result, nil
	}
	return result, b.all(ctx, missing)
}

type builder struct {
	root     string
	dir      string
	progress io.Writer
}

// spaceForBuild is what the modules, Go's own cache and the programs take together when nothing is there yet.
const spaceForBuild = 8 << 30

func (b builder) all(ctx context.Context, missing []source) error {
	unlock, err := lockDir(ctx, b.dir, func() {
		fmt.Fprintln(b.progress, "another process is building the programs; waiting for it")
	})
	if err != nil {
		return err
	}
	defer unlock()
	var cold time.Duration
	for _, s := range missing {
		cold += s.cold
	}
	if free, err := freeSpace(b.dir); err == nil && free < spaceForBuild && cold > time.Minute {
		fmt.Fprintf(b.progress, "warning: %.1f GB are free in %s; a first build takes up to %d GB\n", float64(free)/(1<<30), b.dir, spaceForBuild>>30)
	}
	fmt.Fprintf(b.progress, "building %d programs from their pinned sources; this happens once and may take up to %s\n", len(missing), roughly(cold))
	for i, s := range missing {
		if err := b.one(ctx, s, fmt.Sprintf("%s (%d of %d)", s.name, i+1, len(missing))); err != nil {
			return err
		}
	}
	return nil
}

// one builds beside the final place and renames, so that a program is either whole or not there.
func (b builder) one(ctx context.Context, s source, label string) error {
	key, err := s.key(b.root)
	if err != nil {
		return err
	}
	final := filepath.Join(b.dir, key)
	if _, err := os.Stat(filepath.Join(final, s.name)); err == nil {
		return nil // the process that we waited for has built it
	}
	temporary := final + ".partial"
	if err := errors.Join(os.RemoveAll(temporary), os.RemoveAll(final)); err != nil {
		return err
	}
	if err := os.MkdirAll(temporary, 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(temporary)

	fmt.Fprintf(b.progress, "building %s, about %s cold on 2 cores; this machine has %d\n", label, roughly(s.cold), runtime.NumCPU())
	start := time.Now()
	stop := tick(15*time.Second, func() {
		fmt.Fprintf(b.progress, "  ... %s, %s\n", label, clock(time.Since(start)))
	})
	err = b.goBuild(ctx, s, filepath.Join(temporary, s.name))
	stop()
	if err != nil {
		return err
	}
	fmt.Fprintf(b.progress, "  built %s in %s\n", s.name, clock(time.Since(start)))
	return os.Rename(temporary, final)
}

func (b builder) goBuild(ctx context.Context, s source, out string) error {
	args := []string{"build", "-C", filepath.Join(b.root, s.dir), "-trimpath", "-buildvcs=false", "-ldflags", s.ldflags}
	if s.tags != "" {
		args = append(args, "-tags", s.tags)
	}
	cmd := exec.CommandContext(ctx, "go", append(args, "-o", out, s.pkg)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("build %s: %w\n%s%s", s.name, err, tail(output.String(), 20), buildHint(output.String()))
	}
	return nil
}

// buildHint says what to do about the failures that come from the machine rather than from the source.
func buildHint(output string) string {
	switch {
	case strings.Contains(output, "no space left on device"):
		return "\nThe disk is full. `go clean -cache` frees Go's build cache; then try again: what was built is kept."
	case strings.Contains(output, "dial tcp"), strings.Contains(output, "no such host"):
		return "\nA module could not be fetched. Check `go env GOPROXY` and the network; then try again: what was built is kept."
	case strings.Contains(output, "signal: killed"):
		return "\nThe compiler was killed, which usually means that memory ran out. Stop other work, or set GOFLAGS=-p=1, and try again."
	}
	return ""
}

// lockDir takes an exclusive lock on a directory. The kernel lets go of it when its holder dies.
func lockDir(ctx context.Context, dir string, waiting func()) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for first := true; ; first = false {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			_ = f.Close()
			return nil, fmt.Errorf("lock %s: %w", dir, err)
		}
		if first {
			waiting()
		}
		select {
		case <-ctx.Done():
			_ = f.Close()
			return nil, ctx.Err()
		case <-ticker.C:
		}
	}
}

// tick calls f at every interval until stop is called; stop returns when no call is under way any more.
func tick(interval time.Duration, f func()) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				f()
			}
		}
	}()
	return func() { close(done); <-ended }
}

func freeSpace(dir string) (int64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * st.Bsize, nil
}

func clock(d time.Duration) string {
	s := int(d.Seconds())
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}

func roughly(d time.Duration) string {
	if d < 90*time.Second {
		return fmt.Sprintf("%d s", int(d.Seconds()))
	}
	return fmt.Sprintf("%d min", int((d + 30*time.Second).Minutes()))
}

func tail(text string, lines int) string {
	all := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if len(all) > lines {
		all = all[len(all)-lines:]
	}
	return strings.Join(all, "\n")
}
