// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package localcluster

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// linkAlias marks the host's end of the veth pair as this cluster's.
func (r record) linkAlias() string {
	return fmt.Sprintf("valetkey cluster %s, process %d", r.Name, r.Supervisor.PID)
}

// connect joins the cluster's network namespace to the host and returns the slot it took.
func (r record) connect(ctx context.Context) (slot, error) {
	for s := slot(1); s <= slots; s++ {
		if _, err := os.Stat(filepath.Join("/sys/class/net", s.link())); err == nil {
			continue
		}
		// Making the device is what takes the slot: the kernel lets only one of two win.
		err := ip(ctx, fmt.Sprintf("link add name %s type veth peer name eth0 netns %d", s.link(), r.Supervisor.PID))
		if err != nil && strings.Contains(err.Error(), "File exists") {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("connect the cluster to the host: %w; making network devices needs CAP_NET_ADMIN and the veth module", err)
		}
		return s, r.configure(ctx, s)
	}
	return 0, fmt.Errorf("all %d networks 10.213.x.0/30 are taken; `go run ./hack/cluster status` lists the clusters", slots)
}

func (r record) configure(ctx context.Context, s slot) error {
	inside := []string{
		"link set lo up",
		"address add " + serviceAddress + "/32 dev lo",
		"address add " + awsAddress + "/32 dev lo",
		"address add " + vaultAddress + "/32 dev lo",
		"address add " + issuerAddress + "/32 dev lo",
		"address add " + s.inner() + "/30 dev eth0",
		"link set eth0 up",
	}
	if err := r.ipInside(ctx, inside...); err != nil {
		return err
	}
	// An alias with spaces cannot be part of a batch.
	if err := command(ctx, nil, "ip", "link", "set", "dev", s.link(), "alias", r.linkAlias()); err != nil {
		return err
	}
	host := []string{
		"address add " + s.host() + "/30 dev " + s.link(),
		"link set " + s.link() + " up",
	}
	if r.Node {
		// Lets Pods and the host reach each other, so that a test can serve something to a Pod.
		host = append(host, "route add "+s.podSubnet()+" via "+s.inner())
	}
	return ip(ctx, host...)
}

func ip(ctx context.Context, commands ...string) error {
	return command(ctx, commands, "ip", "-batch", "-")
}

func (r record) ipInside(ctx context.Context, commands ...string) error {
	return command(ctx, commands, "nsenter", "--net", "--target", strconv.Itoa(r.Supervisor.PID), "ip", "-batch", "-")
}

// command runs a program of the host, with the lines as its input.
func command(ctx context.Context, lines []string, name string, args ...string) error {
	_, err := outputOf(ctx, strings.NewReader(strings.Join(lines, "\n")+"\n"), name, args...)
	return err
}

// outputOf runs a program of the host and returns what it prints. What it complains of becomes part of the error.
func outputOf(ctx context.Context, stdin io.Reader, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = stdin
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", name, err, tail(strings.TrimSpace(stderr.String()), 10))
	}
	return stdout.String(), nil
}
