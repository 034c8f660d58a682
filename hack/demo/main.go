// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Command demo tells the article's story on a real cluster that it starts itself: a real API server, node, STS and S3, the operator
// as it ships. Every line is taken from what happened. It exits non-zero if anything differed from the story.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/valetkey/valetkey/hack/demo/stage"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "\nthe story went differently:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	start := time.Now()
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	s, err := stage.SetUp(ctx, stage.Options{Root: root, Progress: os.Stderr})
	if err != nil {
		return err
	}
	defer func() {
		if down := s.TearDown(context.WithoutCancel(ctx)); err == nil {
			err = down
		}
	}()
	fmt.Fprintf(os.Stderr, "the stage is set after %.0f s\n", time.Since(start).Seconds())
	t := &teller{stage: s, out: os.Stdout}
	for _, chapter := range chapters {
		fmt.Printf("\n%s\n", chapter.title)
		if err := chapter.tell(ctx, t); err != nil {
			s.Explain(ctx, os.Stderr)
			return fmt.Errorf("%s: %w", chapter.title, err)
		}
	}
	fmt.Printf("\ntold in %.0f s\n", time.Since(start).Seconds())
	return nil
}

// chapters are the story.
var chapters = [...]struct {
	title string
	tell  func(context.Context, *teller) error
}{
	{"a. Publish the preview build for PR-184", publish},
	{"b. A Job overstays its time while the operator is down", overstay},
	{"c. What is refused, and by which words", refused},
	{"d. The kill switch: a Deny policy is applied while a Job runs", killSwitch},
	{"What was granted, to whom, for how long, and how it ended", ledger},
}
