// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"net/netip"
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
	registry := registryName(reference.Domain(named))
	if isHub(registry) && reference.Domain(named) != hub {
		return "", fmt.Errorf("the image %q names a registry that is %s under another name, which nodes ask apart from it; write %s/%s",
			Clip(image, 64), hub, hub, Clip(reference.Path(named), 64))
	}
	name := registry + "/" + reference.Path(named)
	if digested, ok := named.(reference.Digested); ok {
		return name + "@" + digested.Digest().String(), nil
	}
	if tagged, ok := reference.TagNameOnly(named).(reference.Tagged); ok {
		name += ":" + tagged.Tag()
	}
	return name, nil
}

// hub is Docker Hub, as images and nodes call it.
const hub = "docker.io"

// isHub reports whether a registry is Docker Hub, by whatever name. The kubelet reads one of them as docker.io, and that only as it is written
// so: the others would be past an expression about it.
func isHub(registry string) bool {
	host, _, _ := strings.Cut(registry, ":")
	return host == hub || strings.HasSuffix(host, "."+hub) || host == "docker.com" || strings.HasSuffix(host, ".docker.com")
}

// registryName is the one spelling of a registry: its host in lower case, an address as addresses are written, and its
// port without zeros in front, but for that of HTTPS.
func registryName(domain string) string {
	host, port, found := strings.Cut(strings.ToLower(domain), ":")
	if at := strings.LastIndex(domain, "]"); at >= 0 {
		host = strings.ToLower(domain[:at+1])
		port, found = strings.CutPrefix(domain[at+1:], ":")
	}
	if address, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil && address.Is6() {
		if host = "[" + address.String() + "]"; address.Is4In6() {
			host = address.Unmap().String()
		}
	}
	if port = strings.TrimLeft(port, "0"); found && port != "443" {
		host += ":" + port
	}
	return host
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
