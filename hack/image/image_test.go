// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e && heavy

package main

import (
	"archive/tar"
	"bytes"
	"debug/buildinfo"
	"debug/elf"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// TestOneCommitGivesOneDigest builds what is in this tree as a commit that is tagged v1.2.3, in two folders and with two umasks.
func TestOneCommitGivesOneDigest(t *testing.T) {
	var builds [][]built
	for folder, umask := range map[string]int{"here": 0o022, "there/and/deeper": 0o077} {
		checkout, output := filepath.Join(t.TempDir(), folder), t.TempDir()
		old := syscall.Umask(umask)
		defer syscall.Umask(old)
		commit(t, checkout)
		all, err := build(t.Context(), checkout, output)
		if err != nil {
			t.Fatal(err)
		}
		builds = append(builds, all)
	}
	for i, one := range builds[0] {
		other := builds[1][i]
		if one.digest != other.digest || !bytes.Equal(contents(t, one.archive), contents(t, other.archive)) {
			t.Errorf("%s is %s and %s, or the archives differ", one.name, one.digest, other.digest)
		}
		t.Run(filepath.Base(one.name), func(t *testing.T) { isReleasable(t, one, images()[i]) })
	}
}

func TestAReleaseIsOfACommit(t *testing.T) {
	checkout := filepath.Join(t.TempDir(), "checkout")
	commit(t, checkout)
	if err := os.WriteFile(filepath.Join(checkout, "cmd", "manager", "more.go"), []byte("package main\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := build(t.Context(), checkout, t.TempDir()); err == nil || !strings.Contains(err.Error(), "?? cmd/manager/more.go") {
		t.Errorf("a tree with changes gave %v", err)
	}
}

// commit makes a repository of this tree, changes and all. Its commit is the same wherever it is made.
func commit(t *testing.T, checkout string) {
	t.Helper()
	script := `mkdir -p "$1"
git -C ../.. ls-files -z --cached --others --exclude-standard --deduplicate | tar -C ../.. --null --files-from=- --ignore-failed-read --create | tar -C "$1" --no-same-permissions --extract
cd "$1"
git init --quiet
git add --all
git commit --quiet --no-gpg-sign --message=all
git tag v1.2.3`
	cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", script, "commit", checkout)
	const who, when = "somebody", "2026-01-02T03:04:05Z"
	cmd.Env = append(os.Environ(), "GIT_AUTHOR_NAME="+who, "GIT_AUTHOR_EMAIL="+who, "GIT_AUTHOR_DATE="+when,
		"GIT_COMMITTER_NAME="+who, "GIT_COMMITTER_EMAIL="+who, "GIT_COMMITTER_DATE="+when)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// isReleasable looks at all that an archive promises.
func isReleasable(t *testing.T, b built, i image) {
	index, artifacts := opened(t, b)
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if manifest.Annotations[labelVersion] != "v1.2.3" || manifest.Annotations["org.opencontainers.image.licenses"] != "Apache-2.0" {
		t.Errorf("the index says of itself: %v", manifest.Annotations)
	}
	machines := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}
	for _, d := range manifest.Manifests {
		architecture := d.Platform.Architecture
		machine, found := machines[architecture]
		if delete(machines, architecture); !found {
			t.Errorf("an image for %+v", d.Platform)
		}
		img, err := index.Image(d.Digest)
		if err != nil {
			t.Fatal(err)
		}
		saysWhatItRuns(t, img, i, architecture)
		program := onlyFile(t, img, i.program)
		isStatic(t, program, machine)
		attached := artifacts[d.Digest]
		if !bytes.Equal(attached, contents(t, filepath.Join(filepath.Dir(b.archive), filepath.Base(i.name)+"-linux-"+architecture+".cdx.json"))) {
			t.Errorf("%s: the bill of materials that is attached is not the file", architecture)
		}
		namesEveryModule(t, attached, program)
		if architecture == runtime.GOARCH {
			tellsItsVersion(t, program, i.program)
		}
	}
	if len(machines) > 0 {
		t.Errorf("no image for %v", machines)
	}
}

// opened is the index of an archive, which must have the digest that was told, and the artifacts that refer to images, by the image.
func opened(t *testing.T, b built) (v1.ImageIndex, map[v1.Hash][]byte) {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "tar", "-C", dir, "-xf", b.archive).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	path, err := layout.FromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	all, err := path.ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := all.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if d := manifest.Manifests[0]; d.Digest.String() != b.digest || d.Annotations["io.containerd.image.name"] != b.name+":v1.2.3" {
		t.Errorf("the archive begins with %+v", d)
	}
	index, err := all.ImageIndex(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	artifacts := map[v1.Hash][]byte{}
	for _, d := range manifest.Manifests[1:] {
		raw, err := path.Bytes(d.Digest)
		if err != nil {
			t.Fatal(err)
		}
		var artifact v1.Manifest
		if err := json.Unmarshal(raw, &artifact); err != nil || artifact.Subject == nil || artifact.ArtifactType != "application/vnd.cyclonedx+json" || len(artifact.Layers) != 1 {
			t.Fatalf("%v: %s", err, raw)
		}
		if artifacts[artifact.Subject.Digest], err = path.Bytes(artifact.Layers[0].Digest); err != nil {
			t.Fatal(err)
		}
	}
	return index, artifacts
}

func saysWhatItRuns(t *testing.T, img v1.Image, i image, architecture string) {
	t.Helper()
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	got := []any{config.OS, config.Architecture, config.Config.User, config.Config.Entrypoint, config.Config.Labels[labelVersion], len(config.Config.Labels[labelRevision])}
	want := []any{"linux", architecture, "65532:65532", []string{"/" + i.program}, "v1.2.3", 40}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// onlyFile is the one file of the one layer.
func onlyFile(t *testing.T, img v1.Image, name string) []byte {
	t.Helper()
	layers, err := img.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%d layers, %v", len(layers), err)
	}
	content, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	files := tar.NewReader(content)
	header, err := files.Next()
	if err != nil || strings.Trim(header.Name, "/") != name || header.FileInfo().Mode() != 0o755 || header.Uid != 0 {
		t.Fatalf("%+v, %v", header, err)
	}
	program, err := io.ReadAll(files)
	if err != nil {
		t.Fatal(err)
	}
	if header, err := files.Next(); err != io.EOF {
		t.Errorf("and %+v, %v", header, err)
	}
	return program
}

func isStatic(t *testing.T, program []byte, machine elf.Machine) {
	t.Helper()
	file, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		t.Fatal(err)
	}
	if file.Machine != machine {
		t.Errorf("it is for %v, want %v", file.Machine, machine)
	}
	for _, p := range file.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("it is linked dynamically: %v", p.Type)
		}
	}
}

// namesEveryModule compares a bill of materials with what `go version -m` shows.
func namesEveryModule(t *testing.T, materials, program []byte) {
	t.Helper()
	info, err := buildinfo.Read(bytes.NewReader(program))
	if err != nil {
		t.Fatal(err)
	}
	var list struct {
		Metadata struct {
			Component struct{ Name, Version string }
		}
		Components []struct{ Name, Version string }
	}
	if err := json.Unmarshal(materials, &list); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"std": info.GoVersion}
	for _, m := range info.Deps {
		want[m.Path] = m.Version
	}
	got := map[string]string{}
	for _, c := range list.Components {
		got[c.Name] = c.Version
	}
	if diff := cmp.Diff(want, got); diff != "" || len(info.Deps) == 0 {
		t.Error(diff)
	}
	if c := list.Metadata.Component; c.Name != info.Main.Path || c.Version != "v1.2.3" {
		t.Errorf("it is of %+v", c)
	}
}

func tellsItsVersion(t *testing.T, program []byte, name string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, program, 0o700); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), path, "--version").CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), name+" v1.2.3, commit ") || strings.Contains(string(out), "changes") {
		t.Errorf("%v: %s", err, out)
	}
}

func contents(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
