// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package localcluster

import (
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Options says what kind of cluster to start.
type Options struct {
	// Name tells clusters apart. Empty means one that no other cluster has, or "default" for a cluster that is detached.
	Name string
	// Node adds a scheduler and a node that runs real containers.
	Node bool
	// AWS adds versitygw as STS, IAM and S3.
	AWS bool
	// Vault adds HashiCorp Vault, and a PostgreSQL that it makes users of.
	Vault bool
	// Helm builds helm, too, for whoever installs charts.
	Helm bool
	// Others builds PrometheusOperator and Kueue, for whoever runs them beside Valetkey.
	Others bool
	// StateDir holds everything the cluster writes, and is removed with it. It must be empty or not exist.
	// Empty means a folder below the user's state directory.
	StateDir string
	// Fast is for tests: etcd skips fsync, so that its data would not survive a crash of the machine, and the controller
	// manager's requests are not throttled. Leave it off to measure what a cluster as shipped does.
	Fast bool
	// Durable is for benchmarks: with Fast, the controller manager stays unthrottled, but etcd calls fsync as it does in production. Writes
	// then cost what the disk makes them cost. Without Fast it changes nothing: etcd always calls fsync then.
	Durable bool
	// Detach lets the cluster outlive this process. Otherwise it ends with the process, even if that is killed.
	Detach bool
	// Progress gets a line about whatever takes long. Nil means silence.
	Progress io.Writer
}

var validName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$`)

func (o Options) withDefaults() (Options, error) {
	if o.Name == "" && o.Detach {
		o.Name = "default"
	}
	if o.Name == "" {
		o.Name = fmt.Sprintf("process-%d-%s", os.Getpid(), strings.ToLower(rand.Text()[:6]))
	}
	if !validName.MatchString(o.Name) {
		return o, fmt.Errorf("cluster name %q: want up to 40 lower case letters, digits and hyphens, neither first nor last a hyphen", o.Name)
	}
	if o.StateDir == "" {
		o.StateDir = filepath.Join(stateBase(), o.Name)
	}
	dir, err := filepath.Abs(o.StateDir)
	o.StateDir = dir
	return o, err
}

func (o Options) progress() io.Writer {
	if o.Progress == nil {
		return io.Discard
	}
	return o.Progress
}

func stateBase() string {
	return filepath.Join(userDir("XDG_STATE_HOME", ".local/state"), "valetkey")
}

func cacheDir() string {
	return filepath.Join(userDir("XDG_CACHE_HOME", ".cache"), "valetkey")
}

// userDir follows the XDG base directory rules, with root's home where none is set.
func userDir(variable, fallback string) string {
	if dir := os.Getenv(variable); filepath.IsAbs(dir) {
		return dir
	}
	home, err := os.UserHomeDir()
	if err != nil {
		home = "/root"
	}
	return filepath.Join(home, fallback)
}
