// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package localcluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
)

// hostTool is a program that comes from the distribution. path is what proves that it is there.
type hostTool struct {
	path   string
	debian string
}

func nodeTools() []hostTool {
	return []hostTool{{"runc", "runc"}, {"/usr/lib/cni/bridge", "containernetworking-plugins"}, buildah}
}

var buildah = hostTool{"buildah", "buildah"}

// preflight says in one go what the machine lacks, and installs what it may.
func preflight(ctx context.Context, o Options) error {
	if runtime.GOOS != "linux" {
		return errors.New("a local cluster needs Linux")
	}
	if os.Geteuid() != 0 {
		return errors.New("a local cluster needs root, for namespaces and network devices; run it with sudo -E, or inside a virtual machine")
	}
	tools := []hostTool{{"ip", "iproute2"}, {"nsenter", "util-linux"}}
	if o.Node {
		if _, err := cgroupHierarchies(); err != nil {
			return err
		}
		tools = append(tools, nodeTools()...)
	}
	if o.Vault {
		tools = append(tools, hostTool{postgresPrograms + "postgres", "postgresql-15"})
	}
	return install(ctx, o, tools)
}

func install(ctx context.Context, o Options, tools []hostTool) error {
	var missing []string
	for _, t := range tools {
		if _, err := exec.LookPath(t.path); err != nil {
			missing = append(missing, t.debian)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("this machine lacks %v and has no apt-get; install them by other means and try again", missing)
	}
	fmt.Fprintf(o.progress(), "installing %v with apt-get\n", missing)
	err := aptGet(ctx, append([]string{"install"}, missing...))
	if err == nil {
		return nil
	}
	// On a fresh machine the package lists are empty or old.
	fmt.Fprintln(o.progress(), "apt-get does not find them; fetching its package lists first")
	if err := aptGet(ctx, []string{"update"}); err != nil {
		return fmt.Errorf("%w\napt-get reaches no mirror; check the network, or install %v by hand", err, missing)
	}
	return aptGet(ctx, append([]string{"install"}, missing...))
}

func aptGet(ctx context.Context, args []string) error {
	return command(ctx, nil, "env", slices.Concat([]string{"DEBIAN_FRONTEND=noninteractive", "apt-get", "-y", "-q", "--no-install-recommends"}, args)...)
}
