// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/distribution/reference"
)

// imageName is the one spelling of an image, as the kubelet reads it: with its registry, in lower case and without
// the port of HTTPS, and with its digest, or its tag where it has no digest. A tag beside a digest decides nothing.
// An error means that no container can be made of it.
func imageName(image string) (string, error) {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return "", fmt.Errorf("the image %q is not a name that a container can be made of: %w", Clip(image, 64), err)
	}
	name := strings.TrimSuffix(strings.ToLower(reference.Domain(named)), ":443") + "/" + reference.Path(named)
	if digested, ok := named.(reference.Digested); ok {
		return name + "@" + digested.Digest().String(), nil
	}
	if tagged, ok := reference.TagNameOnly(named).(reference.Tagged); ok {
		name += ":" + tagged.Tag()
	}
	return name, nil
}

// isImage reports whether two images are the same one. Those that are no names are none.
func isImage(a, b string) bool {
	one, err := imageName(a)
	if err != nil {
		return false
	}
	other, err := imageName(b)
	return err == nil && one == other
}

// isOneOf reports whether an image is among others.
func isOneOf(all []string, image string) bool {
	return slices.ContainsFunc(all, func(one string) bool { return isImage(one, image) })
}
