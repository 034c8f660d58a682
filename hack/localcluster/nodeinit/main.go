// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Command nodeinit is process 1 of a cluster's PID, mount and network namespace. It gives the namespace its own /proc,
// /run, /var and hosts file, so that programs with fixed paths keep to the cluster's state directory, and then supervises.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/valetkey/valetkey/hack/localcluster/supervisor"
)

func main() {
	state := flag.String("state", "", "the cluster's state directory, seen as "+stateMount+" from inside")
	programs := flag.String("programs", "", "where the built programs are, seen as "+programsMount+" from inside")
	flag.Parse()
	// It serves for ever: to return is to have failed.
	fmt.Fprintln(os.Stderr, "nodeinit:", run(*state, *programs))
	os.Exit(1)
}

const (
	stateMount    = "/run/valetkey"
	programsMount = "/run/programs"
)

func run(state, programs string) error {
	if os.Getpid() != 1 {
		return fmt.Errorf("process %d: want to be the first of a PID namespace", os.Getpid())
	}
	if err := isolate(state, programs); err != nil {
		return err
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644); err != nil {
		return err
	}
	listener, err := net.Listen("unix", filepath.Join(stateMount, supervisor.Socket))
	if err != nil {
		return err
	}
	s := supervisor.New(filepath.Join(stateMount, "logs"))
	go s.Reap(context.Background())
	go endWith(os.Stdin, s)
	fmt.Println("ready")
	return supervisor.Serve(listener, s)
}

// endWith ends the cluster when the process that holds the other end of the pipe is gone, even if it was killed; unless
// that process has said before that the cluster shall outlive it.
func endWith(leash io.Reader, s *supervisor.Supervisor) {
	_, _ = io.Copy(io.Discard, leash)
	if !s.Released() {
		os.Exit(0)
	}
}

// isolate rebuilds the mounts of this process's own mount namespace.
func isolate(state, programs string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	// Both are taken hold of before /run and /var are covered, for they may be below those.
	stateTree, err := cloneTree(state)
	if err != nil {
		return err
	}
	programsTree, err := cloneTree(programs)
	if err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	if err := attach(stateTree, stateMount); err != nil {
		return err
	}
	if err := attach(programsTree, programsMount); err != nil {
		return err
	}
	for from, to := range map[string]string{stateMount + "/var": "/var", stateMount + "/hosts": "/etc/hosts"} {
		if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind %s: %w", to, err)
		}
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if err := coverSysctls(); err != nil {
		return err
	}
	// The kubelet wants to hand mounts on to containers. They are shared inside this namespace alone.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("share mounts: %w", err)
	}
	return nil
}

// coverSysctls puts plain files over the settings that a kubelet changes for the whole machine. It reads there what it
// would have written, and the machine stays as it was.
func coverSysctls() error {
	dir := "/run/sysctl"
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	for name, value := range map[string]string{
		"vm/overcommit_memory":      "1",
		"vm/panic_on_oom":           "0",
		"kernel/panic":              "10",
		"kernel/panic_on_oops":      "1",
		"kernel/keys/root_maxkeys":  "1000000",
		"kernel/keys/root_maxbytes": "25000000",
	} {
		file := filepath.Join(dir, filepath.Base(name))
		if err := os.WriteFile(file, []byte(value), 0o644); err != nil {
			return err
		}
		if err := unix.Mount(file, filepath.Join("/proc/sys", name), "", unix.MS_BIND, ""); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("cover %s: %w", name, err)
		}
	}
	return nil
}

func cloneTree(dir string) (int, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return 0, fmt.Errorf("open %s: %w", dir, err)
	}
	return fd, nil
}

func attach(tree int, at string) error {
	if err := os.MkdirAll(at, 0o755); err != nil {
		return err
	}
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, at, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("mount %s: %w", at, err)
	}
	return unix.Close(tree)
}
