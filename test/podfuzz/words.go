// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package podfuzz

import (
	"slices"
	"strings"
)

// numbers are at and beyond the limits that fields have.
var numbers = []any{int64(0), int64(1), int64(-1), int64(2), int64(5), int64(6), int64(80), int64(600), int64(8080), int64(65535),
	int64(3600), int64(1 << 31), int64(1<<31 - 1)}

// oddWords mean something somewhere in a Pod, or look like something else.
var oddWords = []string{
	"", "a", "v", "default", "$(A)", "x y", "ü", "Always", "IfNotPresent", "Never", "OnFailure", "File", "Memory", "Recreate", "Indexed",
	"Unconfined", "Localhost", "RuntimeDefault", "Bidirectional", "HostToContainer", "None", "SYS_PTRACE", "SYS_ADMIN", "ALL",
	"kubernetes.io/hostname", "example.com/a", "valetkey.dev/grant", "valetkey.dev/request", "TCP", "HTTP", "1", "1Gi", "0",
	"SIGTERM", "SIGKILL", "SIGUSR1", "host", "example.com/job-controller", "kubernetes.io/job-controller",
}

var oddPaths = []string{
	"/", "/x", "/tmp", "/run", "/var/run", "/var", "/run/secrets", "/var/run/secrets", "/var/run/secrets/", "/var/run/secrets/valetkey.dev",
	"/run/secrets/valetkey.dev", "/var/run/secrets/valetkey.dev/exec", "/var/run/secrets/valetkey.dev-other", "/var/lib/../run",
	"/var//run", "/proc", "/proc/self/root", "/dev", "/dev/shm", "/dev/termination-log", "/sys", "/etc", "x", "../x", "x/../../y",
	"$(A)", ".", "..", "./", "/VAR/RUN", "/var/run/secrets/kubernetes.io/serviceaccount", "/usr/bin",
}

var oddFieldPaths = []string{
	"metadata.name", "metadata.namespace", "metadata.uid", "metadata.labels", "metadata.annotations", "metadata.labels['a']",
	"metadata.annotations['valetkey.dev/secret']", "metadata.annotations['x']", "spec.nodeName", "spec.serviceAccountName", "status.podIP",
	"status.hostIP",
}

// word is a string that fits a property's name, or one that does not.
func (g *Generator) word(property string) string {
	if g.oneIn(12) {
		return pick(g, oddWords)
	}
	lower := strings.ToLower(property)
	switch {
	case lower == "fieldpath":
		return pick(g, oddFieldPaths)
	case strings.HasSuffix(lower, "path"), lower == "workingdir", strings.HasSuffix(lower, "directory"), lower == "command":
		return pick(g, oddPaths)
	case lower == "image", lower == "reference":
		return pick(g, []string{g.words.Image, g.words.Image, "busybox", "busybox:latest", strings.Replace(g.words.Image, "@", "-b@", 1)})
	case lower == "secretname":
		return pick(g, g.words.Secrets)
	case strings.HasSuffix(lower, "name"):
		return pick(g, slices.Concat(g.words.Containers, g.words.Volumes, g.words.Volumes, g.words.ConfigMaps, g.words.Secrets))
	default:
		return pick(g, slices.Concat(oddWords, g.words.Volumes, g.words.Secrets))
	}
}
