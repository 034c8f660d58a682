// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package exec

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// dataLink is the link by which the kubelet changes all files of a volume at once: it names the folder that they
	// lie in.
	dataLink = "..data"
	// largestFile bounds what is read of one file: a Secret holds no more.
	largestFile = 1 << 20
	// withoutDetours opens what is named, and nothing that a link or another mount has put in its place.
	withoutDetours = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV
)

// folder is the credential's folder, opened once: what is mounted, linked or renamed afterwards does not change what is
// read.
type folder struct {
	// content holds the files. It is the folder that the kubelet's link names.
	content *os.File
}

// openFolder opens the folder that a grant's Secret is mounted at. It refuses whatever the kubelet does not make of a
// Secret volume: then somebody could choose the files, and with them the list of what is kept out of the log.
func openFolder(at string, table mounts) (*folder, error) {
	parent, err := openParent(at, table)
	if err != nil {
		return nil, err
	}
	defer func() { _ = parent.Close() }()
	top, err := openat(parent, path.Base(at), unix.O_DIRECTORY, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, noCredential(at)
	}
	if err != nil {
		return nil, fmt.Errorf("%s is not a folder: %w", at, err)
	}
	defer func() { _ = top.Close() }()
	if err := table.checkSecret(top, parent); err != nil {
		return nil, fmt.Errorf("%w; nothing is read that another volume could have changed", err)
	}
	content, err := openContent(top)
	if err != nil {
		return nil, fmt.Errorf("%s is not as the kubelet writes a Secret: %w", at, err)
	}
	return &folder{content}, nil
}

func noCredential(at string) error {
	return fmt.Errorf(
		"there is no credential at %s: this container is not the one that a grant was delivered to, or the grant is over",
		at,
	)
}

// openParent opens the folder above. Links on the way are the image's own, for the way must not leave its file system:
// a link in a volume could be changed by another container that has the volume too.
func openParent(at string, table mounts) (*os.File, error) {
	root, err := openPath("/")
	if err != nil {
		return nil, fmt.Errorf("finding the root folder: %w", err)
	}
	defer func() { _ = root.Close() }()
	dir := strings.TrimPrefix(path.Dir(at), "/")
	// The root is named, although it is the process's own: the kernel takes an absolute link for one out of the mount
	// otherwise.
	const way = unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_MAGICLINKS
	parent, err := openat(root, dir, unix.O_PATH|unix.O_DIRECTORY, way)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, noCredential(at)
	case errors.Is(err, unix.EXDEV):
		return nil, fmt.Errorf(
			"a volume is mounted above %s%s; another container with that volume could change what lies there; "+
				"mount it elsewhere",
			at,
			table.whereabouts(root, dir),
		)
	case errors.Is(err, unix.ELOOP):
		return nil, fmt.Errorf(
			"the image has a link above %s that leads into /proc, or in a circle; use an image without it",
			at,
		)
	case err != nil:
		return nil, fmt.Errorf("opening the folder above %s: %w", at, err)
	}
	return parent, nil
}

// checkSecret takes what the kubelet and the runtime make of a Secret volume: the whole of a file system in memory,
// mounted once, to be read, with nothing mounted inside.
func (m mounts) checkSecret(top, parent *os.File) error {
	above, _, err := m.of(parent)
	if err != nil {
		return err
	}
	mount, isRoot, err := m.of(top)
	switch {
	case err != nil:
		return err
	case mount.ID == above.ID:
		return errors.New("the folder of the credential is not a volume of its own: nothing is mounted there")
	case !isRoot || mount.Root != "/":
		return errors.New("the folder of the credential is a part of another volume")
	case mount.FSType != "tmpfs":
		return fmt.Errorf(
			"the folder of the credential is of the file system %s, and a Secret volume is of tmpfs",
			mount.FSType,
		)
	case !readOnly(mount):
		return errors.New("the folder of the credential can be written to")
	}
	if m.beside(mount) != nil {
		return fmt.Errorf("more than one volume is mounted at %s, where the credential's files appear", mount.Mountpoint)
	}
	if other := m.inside(mount); other != nil {
		return fmt.Errorf("a volume is mounted among the credential's files, at %s", other.Mountpoint)
	}
	return nil
}

// openContent opens the folder that holds the files: the kubelet writes a folder with a time in its name, the link
// ..data to it, and a link through ..data for each first part of a file's path. It refuses anything else, and links
// among the files.
func openContent(top *os.File) (*os.File, error) {
	data, err := readlinkat(top, dataLink)
	if err != nil {
		return nil, fmt.Errorf("it has no link %s", dataLink)
	}
	if !strings.HasPrefix(data, "..") || strings.Contains(data, "/") {
		return nil, fmt.Errorf("its link %s leads elsewhere", dataLink)
	}
	entries, err := top.ReadDir(-1)
	if err != nil {
		return nil, errors.New("it cannot be listed")
	}
	for _, entry := range entries {
		name := entry.Name()
		if name == dataLink || name == data {
			continue
		}
		if target, err := readlinkat(top, name); err != nil || strings.HasPrefix(name, "..") || target != dataLink+"/"+name {
			return nil, fmt.Errorf("%q in it is not a link to %s/%s", name, dataLink, name)
		}
	}
	content, err := openat(top, data, unix.O_DIRECTORY, withoutDetours)
	if err != nil {
		return nil, fmt.Errorf("its link %s leads to no folder in it", dataLink)
	}
	if err := onlyFiles(content); err != nil {
		return nil, errors.Join(err, content.Close())
	}
	return content, nil
}

// onlyFiles refuses what is neither a folder nor a regular file.
func onlyFiles(dir *os.File) error {
	entries, err := dir.ReadDir(-1)
	if err != nil {
		return errors.New("a folder in it cannot be listed")
	}
	for _, entry := range entries {
		switch {
		case entry.IsDir():
			below, err := openat(dir, entry.Name(), unix.O_DIRECTORY, withoutDetours)
			if err != nil {
				return fmt.Errorf("the folder %q in it cannot be opened", entry.Name())
			}
			if err := errors.Join(onlyFiles(below), below.Close()); err != nil {
				return err
			}
		case !entry.Type().IsRegular():
			return fmt.Errorf("%q in it is not a regular file", entry.Name())
		}
	}
	return nil
}

// read returns a file of the credential by its path. The error is [fs.ErrNotExist] where there is none.
func (f *folder) read(name string) ([]byte, error) {
	// Opening a file without end, or one that waits for a writer, must not hold up the start.
	file, err := openat(f.content, name, unix.O_NONBLOCK, withoutDetours)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() > largestFile {
		return nil, errors.New("it is not a regular file of at most 1 MiB")
	}
	return io.ReadAll(io.LimitReader(file, largestFile))
}

// list returns the names in a folder of the credential; none where there is no such folder.
func (f *folder) list(name string) ([]string, error) {
	dir, err := openat(f.content, name, unix.O_DIRECTORY, withoutDetours)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = dir.Close() }()
	return dir.Readdirnames(-1)
}

func (f *folder) close() { _ = f.content.Close() }

// openat opens something below a folder, in the way that resolve demands.
func openat(dir *os.File, name string, flags, resolve uint64) (*os.File, error) {
	how := &unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: resolve}
	for {
		fd, err := unix.Openat2(int(dir.Fd()), name, how)
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN):
			// The kernel could not rule out that something was renamed on the way.
		case err != nil:
			return nil, &os.PathError{Op: "open", Path: name, Err: err}
		default:
			return os.NewFile(uintptr(fd), name), nil
		}
	}
}

func readlinkat(dir *os.File, name string) (string, error) {
	target := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(int(dir.Fd()), name, target)
	if err != nil {
		return "", &os.PathError{Op: "readlink", Path: name, Err: err}
	}
	return string(target[:n]), nil
}
