// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package localcluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// destroy removes everything a cluster made. It may be called again after it failed, and after a crash at any point.
func (r record) destroy(ctx context.Context) error {
	if err := r.Supervisor.kill(30 * time.Second); err != nil {
		return err
	}
	// The processes are gone, and with the last of them the mounts.
	if err := r.removeLink(ctx); err != nil {
		return err
	}
	if err := removeCgroups(ctx, r.Name); err != nil {
		return err
	}
	if err := os.RemoveAll(r.StateDir); err != nil {
		return fmt.Errorf("remove the state directory: %w", err)
	}
	if err := os.Remove(r.file()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// removeLink takes the host's end of the veth pair away, and the other end with it. The network namespace itself can outlive its
// last process by minutes: a connection that was cut off while it had something to send keeps it until it gives up.
func (r record) removeLink(ctx context.Context) error {
	if r.Slot == 0 {
		return nil
	}
	ours := func() bool {
		// Another cluster may have the slot by now; the alias says whose it is.
		alias, err := os.ReadFile(filepath.Join("/sys/class/net", r.Slot.link(), "ifalias"))
		return err == nil && string(alias) == r.linkAlias()+"\n"
	}
	if !ours() {
		return nil
	}
	err := ip(ctx, "link delete dev "+r.Slot.link())
	if err != nil && ours() {
		return fmt.Errorf("network device %s: %w", r.Slot.link(), err)
	}
	return nil
}

// cgroupRoot is the node's own cgroup, below which the kubelet keeps all Pods.
func cgroupRoot(name string) string { return "/valetkey-" + name }

const cgroupFS = "/sys/fs/cgroup"

// cgroupHierarchies returns the mounted hierarchies: one with cgroup v2, one for each controller with v1.
func cgroupHierarchies() ([]string, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(cgroupFS, &st); err != nil {
		return nil, fmt.Errorf("cgroups are not mounted at %s: %w", cgroupFS, err)
	}
	if st.Type == unix.CGROUP2_SUPER_MAGIC {
		return []string{cgroupFS}, nil
	}
	entries, err := os.ReadDir(cgroupFS)
	if err != nil {
		return nil, err
	}
	var dirs []string
	for _, e := range entries {
		dir := filepath.Join(cgroupFS, e.Name())
		// Some controllers are mounted together, with symbolic links for their single names.
		if e.IsDir() && unix.Statfs(dir, &st) == nil && (st.Type == unix.CGROUP_SUPER_MAGIC || st.Type == unix.CGROUP2_SUPER_MAGIC) {
			dirs = append(dirs, dir)
		}
	}
	if len(dirs) == 0 {
		return nil, fmt.Errorf("no cgroup hierarchy is mounted below %s; mount them (on Debian: apt-get install cgroupfs-mount), or start without a node", cgroupFS)
	}
	return dirs, nil
}

func makeCgroups(name string) error {
	dirs, err := cgroupHierarchies()
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		if err := os.MkdirAll(filepath.Join(dir, cgroupRoot(name)), 0o755); err != nil {
			return fmt.Errorf("make the node's cgroup: %w; a node needs root and cgroups that can be written", err)
		}
	}
	return nil
}

func removeCgroups(ctx context.Context, name string) error {
	dirs, err := cgroupHierarchies()
	if err != nil {
		return nil //nolint:nilerr // without cgroups none can have been made
	}
	for _, dir := range dirs {
		root := filepath.Join(dir, cgroupRoot(name))
		// The kernel may need a moment to let go of a cgroup whose last process has just been killed.
		err := eventually(ctx, 10*time.Second, func(context.Context) error { return removeTree(root) })
		if err != nil {
			return fmt.Errorf("remove cgroup %s: %w", root, err)
		}
	}
	return nil
}

// removeTree removes a cgroup and those below it. Only directories can be removed there; their files go with them.
func removeTree(root string) error {
	var dirs []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return err
	})
	for i := len(dirs) - 1; i >= 0 && err == nil; i-- {
		if e := unix.Rmdir(dirs[i]); e != nil && !errors.Is(e, unix.ENOENT) {
			err = fmt.Errorf("%s: %w", dirs[i], e)
		}
	}
	return err
}
