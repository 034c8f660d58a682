// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package localcluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// pauseImage is what a Pod's sandbox runs. No registry has it: it is made here.
const pauseImage = "localhost/valetkey-pause:1"

// BuildImage builds a Dockerfile with buildah, without any daemon, and writes the image to archive under name. Paths are
// on the host; dockerfile is relative to dir unless it is absolute. What the build reads must be there: nothing is pulled
// that the Dockerfile does not name.
func BuildImage(ctx context.Context, dir, dockerfile, name, archive string) error {
	if err := os.Remove(archive); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return BuildImageTo(ctx, "oci-archive:"+archive+":"+name, dir, dockerfile, "--tag", name)
}

// BuildImageTo is BuildImage for any of buildah's destinations, with more arguments for its build.
func BuildImageTo(ctx context.Context, destination, dir, dockerfile string, args ...string) error {
	if err := install(ctx, Options{Progress: os.Stderr}, []hostTool{buildah}); err != nil {
		return err
	}
	if !filepath.IsAbs(dockerfile) {
		dockerfile = filepath.Join(dir, dockerfile)
	}
	if err := os.MkdirAll(cacheDir(), 0o755); err != nil {
		return err
	}
	store, err := os.MkdirTemp(cacheDir(), "image-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(store)
	run := func(args ...string) error {
		global := []string{"--root", filepath.Join(store, "root"), "--runroot", filepath.Join(store, "run"), "--storage-driver", "vfs"}
		return command(ctx, nil, buildah.path, append(global, args...)...)
	}
	id := filepath.Join(store, "id")
	// The oldest timestamp there is, and no word of buildah's version, make the digest depend on the content alone.
	build := []string{"build", "--isolation", "chroot", "--timestamp", "0", "--identity-label=false", "--iidfile", id, "--file", dockerfile}
	if err := run(slices.Concat(build, args, []string{dir})...); err != nil {
		return fmt.Errorf("build an image from %s: %w", dockerfile, err)
	}
	image, err := os.ReadFile(id)
	if err != nil {
		return err
	}
	if err := run("push", string(image), destination); err != nil {
		return fmt.Errorf("write the image of %s: %w", dockerfile, err)
	}
	return nil
}

// LoadImage puts an image from an archive on the cluster's node and returns its digest. Pods may then name it name or,
// as Valetkey wants it, name@digest, with the pull policy Never or IfNotPresent.
func (c *Cluster) LoadImage(ctx context.Context, archive, name string) (string, error) {
	if !c.rec.Node {
		return "", errors.New("a cluster without a node runs no images")
	}
	f, err := os.Open(archive)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if _, err := c.ctr(ctx, f, "images", "import", "-"); err != nil {
		return "", fmt.Errorf("load %s: %w", archive, err)
	}
	list, err := c.ctr(ctx, nil, "images", "list", "name=="+name)
	if err != nil {
		return "", err
	}
	digest := imageDigest.FindString(list)
	if digest == "" {
		return "", fmt.Errorf("%s holds no image named %s", archive, name)
	}
	if _, err := c.ctr(ctx, nil, "images", "tag", "--force", name, WithDigest(name, digest)); err != nil {
		return "", err
	}
	return digest, nil
}

var imageDigest = regexp.MustCompile(`sha256:[0-9a-f]{64}`)

// WithDigest replaces an image's tag by its digest.
func WithDigest(name, digest string) string {
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name = name[:i]
	}
	return name + "@" + digest
}

// ctr runs containerd's own client inside the cluster: it mounts layers, and must see what containerd sees.
func (c *Cluster) ctr(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	inside := []string{"--target", strconv.Itoa(c.rec.Supervisor.PID), "--mount", "--net", "--pid", c.rec.programs().inside(ctr), "--namespace", "k8s.io"}
	return outputOf(ctx, stdin, "nsenter", append(inside, args...)...)
}

// pauseArchive returns the sandbox image as an archive, and makes it where it is not in the cache.
func pauseArchive(ctx context.Context, o Options, p programs) (string, error) {
	if !o.Node {
		return "", nil
	}
	program := p.host(pause)
	archive := filepath.Join(filepath.Dir(program), "image.tar")
	if _, err := os.Stat(archive); err == nil {
		return archive, nil
	}
	root, err := repositoryRoot()
	if err != nil {
		return "", err
	}
	unlock, err := lockDir(ctx, filepath.Dir(program), func() {})
	if err != nil {
		return "", err
	}
	defer unlock()
	dockerfile := filepath.Join(root, "hack", "localcluster", "pause", "Dockerfile")
	if err := BuildImage(ctx, filepath.Dir(program), dockerfile, pauseImage, archive+".partial"); err != nil {
		return "", err
	}
	return archive, os.Rename(archive+".partial", archive)
}

// startRuntime starts containerd and gives it the sandbox image.
func (c *Cluster) startRuntime(ctx context.Context, pauseArchive string) error {
	if err := makeCgroups(c.rec.Name); err != nil {
		return err
	}
	if err := c.startPrograms(containerd); err != nil {
		return err
	}
	err := c.wait(ctx, containerd, "container runtime", func(ctx context.Context) error {
		_, err := c.ctr(ctx, nil, "version")
		return err
	})
	if err != nil {
		return err
	}
	_, err = c.LoadImage(ctx, pauseArchive, pauseImage)
	return err
}
