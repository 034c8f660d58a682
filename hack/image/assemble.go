// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"io"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	labelVersion  = "org.opencontainers.image.version"
	labelRevision = "org.opencontainers.image.revision"

	cyclonedx = "application/vnd.cyclonedx+json"
	nothing   = "application/vnd.oci.empty.v1+json"
)

// labels are the arguments that give an image the version and the commit that its program knows of itself.
func labels(program string) ([]string, error) {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return nil, err
	}
	args := []string{"--label", labelVersion + "=" + info.Main.Version}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			args = append(args, "--label", labelRevision+"="+s.Value)
		}
	}
	return args, nil
}

// assemble puts the images of one program into a layout: an index of them, and to each image its bill of materials. It returns the index's digest.
func assemble(dir, name string, platforms []platform) (string, error) {
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return "", err
	}
	index, said := v1.ImageIndex(empty.Index), map[string]string{}
	for _, p := range platforms {
		img, err := only(p.layout)
		if err != nil {
			return "", err
		}
		config, err := img.ConfigFile()
		if err != nil {
			return "", err
		}
		said = config.Config.Labels
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: config.OS, Architecture: config.Architecture}}})
	}
	index = mutate.Annotations(index, said).(v1.ImageIndex)
	tag := said[labelVersion]
	// containerd goes by the whole name, the others by the tag.
	named := layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": tag, "io.containerd.image.name": name + ":" + tag})
	if err := path.AppendIndex(index, named); err != nil {
		return "", err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return "", err
	}
	for i, p := range platforms {
		if err := attach(path, manifest.Manifests[i], p.materials); err != nil {
			return "", err
		}
	}
	digest, err := index.Digest()
	return digest.String(), err
}

// only is the one image of a layout.
func only(dir string) (v1.Image, error) {
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	if n := len(manifest.Manifests); n != 1 {
		return nil, fmt.Errorf("%s holds %d images, not one", dir, n)
	}
	return index.Image(manifest.Manifests[0].Digest)
}

// attach stores a bill of materials as an artifact that refers to an image, as the OCI's specifications have it: registries list it there,
// and the image's digest stays that of the program alone.
func attach(path layout.Path, subject v1.Descriptor, materials string) error {
	list, err := os.ReadFile(materials)
	if err != nil {
		return err
	}
	config, err := store(path, nothing, []byte("{}"))
	if err != nil {
		return err
	}
	layer, err := store(path, cyclonedx, list)
	if err != nil {
		return err
	}
	subject.Platform = nil
	manifest, err := json.Marshal(v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1, ArtifactType: cyclonedx,
		Config: config, Layers: []v1.Descriptor{layer}, Subject: &subject,
	})
	if err != nil {
		return err
	}
	artifact, err := store(path, types.OCIManifestSchema1, manifest)
	if err != nil {
		return err
	}
	artifact.ArtifactType = cyclonedx
	return path.AppendDescriptor(artifact)
}

func store(path layout.Path, kind types.MediaType, content []byte) (v1.Descriptor, error) {
	digest, size, err := v1.SHA256(bytes.NewReader(content))
	if err != nil {
		return v1.Descriptor{}, err
	}
	return v1.Descriptor{MediaType: kind, Size: size, Digest: digest}, path.WriteBlob(digest, io.NopCloser(bytes.NewReader(content)))
}
