// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Command image builds what is released: an image of the operator and one of valetkey-exec, each for every architecture, with bills of
// materials. It builds the commit that is checked out, from a clone of its own, so that one commit gives one digest wherever it is built.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

func main() {
	output := flag.String("output", filepath.Join("dist", "release"), "the folder that gets the images and the bills of materials")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := release(ctx, ".", *output)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func release(ctx context.Context, checkout, output string) error {
	built, err := build(ctx, checkout, output)
	for _, b := range built {
		fmt.Printf("%s  %s@%s\n", b.archive, b.name, b.digest)
	}
	return err
}
