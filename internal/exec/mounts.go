// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package exec

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// mounts are the mounts that this process sees, as the kernel lists them.
type mounts []*mountinfo.Info

// readMounts reads the kernel's list. A file that somebody put in its place is not the kernel's word, and is refused.
func readMounts() (mounts, error) {
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("reading the list of mounts: %w", err)
	}
	defer func() { _ = file.Close() }()
	var system unix.Statfs_t
	if err := unix.Fstatfs(int(file.Fd()), &system); err != nil || system.Type != unix.PROC_SUPER_MAGIC {
		return nil, errors.New("the list of mounts is not the kernel's: something lies over /proc")
	}
	all, err := mountinfo.GetMountsFromReader(file, nil)
	if err != nil {
		return nil, fmt.Errorf("reading the list of mounts: %w", err)
	}
	return all, nil
}

// of is the mount that an open file lies in, and whether the file is that mount's root.
func (m mounts) of(file *os.File) (mount *mountinfo.Info, isRoot bool, err error) {
	var stat unix.Statx_t
	if err := unix.Statx(int(file.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &stat); err != nil {
		return nil, false, fmt.Errorf("finding the mount of %s: %w", file.Name(), err)
	}
	at := slices.IndexFunc(
		m,
		func(i *mountinfo.Info) bool { return uint64(i.ID) == stat.Mnt_id },
	) //nolint:gosec // IDs are positive
	if at < 0 || stat.Mask&unix.STATX_MNT_ID == 0 || stat.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT == 0 {
		return nil, false, fmt.Errorf("the mount of %s is not known; valetkey-exec needs Linux 5.8 or newer", file.Name())
	}
	return m[at], stat.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0, nil
}

// beside is another mount at the very place of a mount: above it, or hidden by it. It is nil if there is none.
func (m mounts) beside(mount *mountinfo.Info) *mountinfo.Info {
	return m.find(func(i *mountinfo.Info) bool { return i.ID != mount.ID && i.Mountpoint == mount.Mountpoint })
}

// inside is a mount on something in another mount; nil if there is none.
func (m mounts) inside(mount *mountinfo.Info) *mountinfo.Info {
	return m.find(func(i *mountinfo.Info) bool { return i.Parent == mount.ID })
}

// whereabouts says at which place the mount is that a path leads into, for a message; nothing where that is not known.
func (m mounts) whereabouts(root *os.File, name string) string {
	file, err := openat(root, name, unix.O_PATH, unix.RESOLVE_IN_ROOT)
	if err != nil {
		return ""
	}
	defer func() { _ = file.Close() }()
	mount, _, err := m.of(file)
	if err != nil || mount.Mountpoint == "/" {
		return ""
	}
	return ", at " + mount.Mountpoint
}

func (m mounts) find(matches func(*mountinfo.Info) bool) *mountinfo.Info {
	if at := slices.IndexFunc(m, matches); at >= 0 {
		return m[at]
	}
	return nil
}

func readOnly(mount *mountinfo.Info) bool {
	return slices.Contains(strings.Split(mount.Options, ","), "ro")
}

// checkProgram refuses to be a program that somebody could change: one on a volume that this container can write to. In
// the container's own file system it is the image's.
func (m mounts) checkProgram() error {
	program, err := openPath("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("finding the own program: %w", err)
	}
	defer func() { _ = program.Close() }()
	root, err := openPath("/")
	if err != nil {
		return fmt.Errorf("finding the root folder: %w", err)
	}
	defer func() { _ = root.Close() }()
	mount, _, err := m.of(program)
	if err != nil {
		return err
	}
	image, _, err := m.of(root)
	if err != nil {
		return err
	}
	if mount.ID != image.ID && !readOnly(mount) {
		return fmt.Errorf(
			"valetkey-exec itself lies on a volume that can be written to, at %s; mount the volume readOnly",
			mount.Mountpoint,
		)
	}
	return nil
}

// openPath opens a file or folder for nothing but to ask about it.
func openPath(name string) (*os.File, error) {
	fd, err := unix.Open(name, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}
