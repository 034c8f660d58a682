// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/valetkey/valetkey/hack/localcluster"
)

func up(ctx context.Context, args []string) error {
	f, name := flags("up")
	noNode := f.Bool("no-node", false, "control plane alone: no Pod will run")
	noAWS := f.Bool("no-aws", false, "without STS, IAM and S3")
	withVault := f.Bool("vault", false, "with Vault and PostgreSQL")
	stateDir := f.String("state-dir", "", "where the cluster keeps its data (default: below the user's state directory)")
	if err := f.Parse(args); err != nil {
		return err
	}
	start := time.Now()
	fmt.Fprintf(os.Stderr, "starting cluster %q\n", *name)
	c, err := localcluster.Start(ctx, localcluster.Options{
		Name: *name, Node: !*noNode, AWS: !*noAWS, Vault: *withVault, StateDir: *stateDir, Detach: true, Progress: os.Stderr,
	})
	if err != nil {
		return err
	}
	kubeconfig, err := c.Kubeconfig("admin")
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "cluster %q is ready after %.1f s\n\n", *name, time.Since(start).Seconds())
	if a := c.AWS(); a != nil {
		fmt.Fprintf(os.Stderr, "  STS and IAM: %s, in Pods %s\n  S3:          %s, in Pods %s\n", a.Endpoint, a.InClusterSTS, a.S3Endpoint, a.InClusterS3)
	}
	if v := c.Vault(); v != nil {
		fmt.Fprintf(os.Stderr, "  Vault:       %s, in Pods %s, token %s\n  PostgreSQL:  %s:%d, in Pods %s:%d\n", v.Address, v.InCluster, v.RootToken,
			v.PostgresHost, v.PostgresPort, v.InClusterPostgresHost, v.PostgresPort)
	}
	fmt.Fprintf(os.Stderr, "  logs:        %s\n  kubectl:     %s\n  stop it:     go run ./hack/cluster down --name %s\n\n",
		filepath.Join(c.StateDir(), "logs"), c.Kubectl(), *name)
	fmt.Printf("export KUBECONFIG=%s\n", kubeconfig)
	return nil
}

func down(ctx context.Context, args []string) error {
	f, name := flags("down")
	if err := f.Parse(args); err != nil {
		return err
	}
	found, err := localcluster.Remove(ctx, *name)
	if err != nil {
		return err
	}
	if !found {
		fmt.Fprintf(os.Stderr, "there is no cluster %q\n", *name)
		return nil
	}
	fmt.Fprintf(os.Stderr, "cluster %q is gone\n", *name)
	return nil
}

func status(_ context.Context, args []string) error {
	f, _ := flags("status")
	if err := f.Parse(args); err != nil {
		return err
	}
	names, err := localcluster.List()
	if err != nil {
		return err
	}
	if len(names) == 0 {
		fmt.Println("no cluster; start one with: go run ./hack/cluster up")
	}
	for _, name := range names {
		if err := describe(name); err != nil {
			fmt.Printf("%s: %v\n", name, err)
		}
	}
	return nil
}

func describe(name string) error {
	c, err := localcluster.Open(name)
	if err != nil {
		return err
	}
	programs, err := c.Programs()
	if err != nil {
		return err
	}
	kubeconfig, err := c.Kubeconfig("admin")
	if err != nil {
		return err
	}
	fmt.Printf("%s: %s, KUBECONFIG=%s\n  enter it with: nsenter --target %d --all\n", name, c.Address(), kubeconfig, c.SupervisorPID())
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, p := range programs {
		state := "running"
		if !p.Running {
			state = p.Exit
		}
		fmt.Fprintf(w, "  %s\t%s\n", p.Name, state)
	}
	return w.Flush()
}

func build(ctx context.Context, args []string) error {
	f, _ := flags("build")
	noNode := f.Bool("no-node", false, "only what a control plane needs")
	withVault := f.Bool("vault", false, "Vault too")
	if err := f.Parse(args); err != nil {
		return err
	}
	start := time.Now()
	err := localcluster.Build(ctx, localcluster.Options{Node: !*noNode, AWS: true, Vault: *withVault, Progress: os.Stderr})
	if err == nil {
		fmt.Fprintf(os.Stderr, "all programs are built (%.1f s)\n", time.Since(start).Seconds())
	}
	return err
}

func image(ctx context.Context, args []string) error {
	f, name := flags("image")
	file := f.String("file", "Dockerfile", "the Dockerfile, relative to the directory")
	tag := f.String("tag", "", "the image's name, for instance localhost/valetkey:dev")
	output := f.String("output", "", "write the image to this file, and load it nowhere")
	if err := f.Parse(args); err != nil {
		return err
	}
	if *tag == "" || f.NArg() != 1 {
		return errors.New("want: image --tag NAME [--file Dockerfile] [--output FILE] DIRECTORY")
	}
	if *output != "" {
		return localcluster.BuildImage(ctx, f.Arg(0), *file, *tag, *output)
	}
	c, err := localcluster.Open(*name)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "valetkey-image-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	archive := filepath.Join(dir, "image.tar")
	if err := localcluster.BuildImage(ctx, f.Arg(0), *file, *tag, archive); err != nil {
		return err
	}
	digest, err := c.LoadImage(ctx, archive, *tag)
	if err != nil {
		return err
	}
	fmt.Println(localcluster.WithDigest(*tag, digest))
	return nil
}
