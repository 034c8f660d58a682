// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Command cluster starts and stops a local Kubernetes cluster: go run ./hack/cluster up.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

const usage = `Usage: go run ./hack/cluster COMMAND [flags]

  up      start a cluster with a node, and STS, IAM and S3 beside it
  down    stop it and remove everything it made
  status  list the clusters and their programs
  build   build the programs that clusters run, which up does otherwise
  image   build a Dockerfile, and load the image on the cluster's node or write it to a file

"go run ./hack/cluster COMMAND -h" lists a command's flags.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	commands := map[string]func(context.Context, []string) error{
		"up": up, "down": down, "status": status, "build": build, "image": image,
	}
	if len(args) == 0 || commands[args[0]] == nil {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	return commands[args[0]](ctx, args[1:])
}

// flags returns a command's flags with the one that all have.
func flags(command string) (*flag.FlagSet, *string) {
	f := flag.NewFlagSet(command, flag.ExitOnError)
	return f, f.String("name", "default", "the cluster's name; several run side by side")
}
