// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package exec

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	osexec "os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

const (
	// ContainerProgram is where a test's container has this test's program, as valetkey-exec.
	ContainerProgram = "/valetkey/valetkey-exec"
	// inContainer is the argument with which this test's program makes a container, and becomes what runs in it.
	inContainer = "in-container"
	// KubeletsFolder is what the kubelet calls the folder that holds a volume's files.
	KubeletsFolder = "..2026_11_29_00_36_25.1034604439"
)

// Container is a container as a runtime makes one: a file system of its own, with what Steps put into it and mount on
// it. Everything of the machine's is there, too, but for /var, /run and /valetkey. It needs root, or user namespaces.
type Container struct {
	Steps []Step
	// UID of what runs in it; 0 is whoever runs the test.
	UID int
	// Program that runs in it; empty for ContainerProgram.
	Program string
}

// Step is one thing that makes a container. Paths are those of the container.
type Step struct {
	// Do is mkdir, write (Arg: content), link (Arg: target), copy (Arg: what), moved (Arg: where to), fifo, tmpfs, bind
	// (Arg: what), or readonly.
	Do, Path, Arg string
}

// Image is the file system as most images have it, with the program in a volume that is read.
func Image() []Step {
	return []Step{
		{Do: "mkdir", Path: "/run"}, {Do: "mkdir", Path: "/var"}, {Do: "link", Path: "/var/run", Arg: "/run"},
		{
			Do:   "write",
			Path: ContainerProgram,
		}, {Do: "bind", Path: ContainerProgram, Arg: os.Args[0]}, {Do: "readonly", Path: ContainerProgram},
	}
}

// Secret is a Secret volume as the kubelet writes it, mounted at a path to be read.
func Secret(at string, files map[string]string) []Step {
	return append(Unfinished(at, files), Step{Do: "readonly", Path: at})
}

// Unfinished is such a volume as long as it can be written to.
func Unfinished(at string, files map[string]string) []Step {
	return append([]Step{{Do: "mkdir", Path: at}, {Do: "tmpfs", Path: at}}, Files(at, files)...)
}

// Files are the files of a volume, and the links to them.
func Files(at string, files map[string]string) []Step {
	steps := []Step{
		{Do: "mkdir", Path: at + "/" + KubeletsFolder},
		{Do: "link", Path: at + "/..data", Arg: KubeletsFolder},
	}
	seen := map[string]bool{}
	for name, content := range files {
		steps = append(steps, Step{Do: "write", Path: path.Join(at, KubeletsFolder, name), Arg: content})
		if first, _, _ := strings.Cut(name, "/"); !seen[first] {
			seen[first] = true
			steps = append(steps, Step{Do: "link", Path: path.Join(at, first), Arg: "..data/" + first})
		}
	}
	return steps
}

// Command runs this test's program in the container, with arguments. It skips the test where no container can be made.
func (c Container) Command(t *testing.T, args ...string) *osexec.Cmd {
	t.Helper()
	spec, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "container")
	if err := os.WriteFile(file, spec, 0o600); err != nil {
		t.Fatal(err)
	}
	probe := osexec.CommandContext(t.Context(), "true")
	probe.SysProcAttr = unshared()
	if err := probe.Run(); err != nil {
		t.Skipf("no container can be made here: %v", err)
	}
	cmd := osexec.CommandContext(t.Context(), os.Args[0], append([]string{inContainer, file}, args...)...)
	cmd.SysProcAttr = unshared()
	return cmd
}

func unshared() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if uid := os.Getuid(); uid != 0 {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	return attr
}

// EnterContainer makes the container and runs what is to run in it, if this process was started for that. It returns
// otherwise.
func EnterContainer() {
	if len(os.Args) < 3 || os.Args[1] != inContainer {
		return
	}
	runtime.LockOSThread()
	fmt.Fprintln(os.Stderr, "making a container:", enter(os.Args[2], os.Args[3:]))
	os.Exit(99)
}

func enter(file string, args []string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var c Container
	if err := errors.Join(json.Unmarshal(text, &c), ownRoot()); err != nil {
		return err
	}
	for _, step := range c.Steps {
		if err := step.do(); err != nil {
			return fmt.Errorf("%+v: %w", step, err)
		}
	}
	if c.UID != 0 {
		if err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(c.UID), syscall.Setuid(c.UID)); err != nil {
			return err
		}
	}
	program := cmp.Or(c.Program, ContainerProgram)
	return syscall.Exec(program, append([]string{program}, args...), os.Environ())
}

// ownRoot makes a root folder of its own, in memory, with the machine's folders mounted in it.
func ownRoot() error {
	const root = "/mnt"
	entries, err := os.ReadDir("/")
	if err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", root, "tmpfs", 0, "mode=755"); err != nil {
		return err
	}
	for _, entry := range entries {
		from, to := "/"+entry.Name(), root+"/"+entry.Name()
		switch {
		case from == "/var" || from == "/run" || from == root || from == path.Dir(ContainerProgram):
		case entry.Type() == os.ModeSymlink:
			target, err := os.Readlink(from)
			if err := errors.Join(err, os.Symlink(target, to)); err != nil {
				return err
			}
		case entry.IsDir():
			made := os.Mkdir(to, 0o755) //nolint:gosec // other users see it in the test
			if err := cmp.Or(made, unix.Mount(from, to, "", unix.MS_BIND|unix.MS_REC, "")); err != nil {
				return err
			}
		}
	}
	return errors.Join(unix.Chroot(root), os.Chdir("/"))
}

func (s Step) do() error {
	switch s.Do {
	case "mkdir":
		return os.MkdirAll(s.Path, 0o755) //nolint:gosec // as above
	case "write":
		return errors.Join(
			os.MkdirAll(path.Dir(s.Path), 0o755),
			os.WriteFile(s.Path, []byte(s.Arg), 0o444),
		) //nolint:gosec // as above
	case "link":
		return os.Symlink(s.Arg, s.Path)
	case "moved":
		return fromBeside(func() error { return cmp.Or(unix.Unmount(s.Path, unix.MNT_DETACH), os.Rename(s.Path, s.Arg)) })
	case "tmpfs":
		return unix.Mount("tmpfs", s.Path, "tmpfs", 0, "mode=755")
	case "bind":
		return unix.Mount(s.Arg, s.Path, "", unix.MS_BIND, "")
	case "copy":
		program, err := os.ReadFile(s.Arg)
		return errors.Join(
			err,
			os.MkdirAll(path.Dir(s.Path), 0o755),
			os.WriteFile(s.Path, program, 0o555),
		) //nolint:gosec // as above
	case "fifo":
		return unix.Mkfifo(s.Path, 0o644)
	case "readonly":
		var system unix.Statfs_t
		err := unix.Statfs(s.Path, &system)
		// What the machine's own mount forbids cannot be allowed in a user namespace.
		kept := uintptr(system.Flags) & (unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME | unix.MS_RELATIME)
		return cmp.Or(err, unix.Mount("", s.Path, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|kept, ""))
	default:
		return errors.New("there is no such step")
	}
}

// fromBeside does something as another container does that shares a volume: it does not have the mounts in it, and may
// rename what they are mounted on.
func fromBeside(do func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and ends with the goroutine
		done <- cmp.Or(unix.Unshare(unix.CLONE_FS|unix.CLONE_NEWNS), do())
	}()
	return <-done
}

// Granted is a container that a grant was delivered to.
func Granted(files map[string]string) Container {
	return Container{Steps: append(Image(), Secret(v1alpha1.MountPath, files)...)}
}
