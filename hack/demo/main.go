// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Command demo tells the article's story on a real cluster that it starts itself: a real API server, node, STS and S3, the operator
// as it ships. Every line is taken from what happened. It exits non-zero if anything differed from the story.
//
//	demo            the article's story
//	demo backends   the same short story for each back end
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/valetkey/valetkey/hack/demo/stage"
	"github.com/valetkey/valetkey/hack/demo/story"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	tell, o := story.Tell, stage.Options{Progress: os.Stderr}
	if len(os.Args) == 2 && os.Args[1] == "backends" {
		tell, o.BackEnds = story.BackEnds, true
	} else if len(os.Args) > 1 {
		fmt.Fprintln(os.Stderr, "usage: demo [backends]")
		os.Exit(2)
	}
	if err := run(ctx, tell, o); err != nil {
		fmt.Fprintln(os.Stderr, "\nthe story went differently:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, tell func(context.Context, *stage.Stage, io.Writer) error, o stage.Options) (err error) {
	start := time.Now()
	if o.Root, err = os.Getwd(); err != nil {
		return err
	}
	s, err := stage.SetUp(ctx, o)
	if err != nil {
		return err
	}
	defer func() {
		if down := s.TearDown(context.WithoutCancel(ctx)); err == nil {
			err = down
		}
	}()
	fmt.Fprintf(os.Stderr, "the stage is set after %.0f s\n", time.Since(start).Seconds())
	if err := tell(ctx, s, os.Stdout); err != nil {
		s.Explain(ctx, os.Stderr)
		return err
	}
	fmt.Printf("\ntold in %.0f s\n", time.Since(start).Seconds())
	return nil
}
