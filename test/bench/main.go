// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Command bench measures Valetkey beside floors: bare clients that make the writes of a grant, on the same API server and under the same admission
// rules, turn by turn in one run. docs/performance.md says how to run it and what the figures mean.
//
//	bench [flags]                    runs a plan
//	bench report [-out DIR] FILE…    makes table, plots and ratios of results that are there
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/valetkey/valetkey/test/bench/env"
	"github.com/valetkey/valetkey/test/bench/plan"
	"github.com/valetkey/valetkey/test/bench/result"
	"github.com/valetkey/valetkey/test/bench/sample"
)

// settings are the flags of a run.
type settings struct {
	env.Options
	plan, out    string
	workers      int
	add          bool
	quiet        float64
	quietWait    time.Duration
	managerFlags string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command(ctx, os.Args[1:])
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func command(ctx context.Context, args []string) error {
	log.SetLogger(logr.Discard())
	if len(args) > 0 && args[0] == "report" {
		return report(args[1:])
	}
	s, parts, err := parse(args)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.out, 0o755); err != nil {
		return err
	}
	file := filepath.Join(s.out, "results.jsonl")
	if err := run(ctx, s, parts, file); err != nil {
		return err
	}
	return conclude(s.out, file)
}

// parse reads the flags and the plan.
func parse(args []string) (settings, []plan.Part, error) {
	s := settings{Options: env.Options{Progress: os.Stderr}}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.StringVar(&s.Root, "root", ".", "the repository")
	flags.StringVar(&s.Manager, "manager", "bin/manager", "the operator's program")
	flags.StringVar(&s.managerFlags, "manager-flags", "", "more flags for the operator, separated by blanks")
	flags.StringVar(&s.BackendName, "backend", "token", "token, which the operator signs itself; kubernetes; or aws, the STS of the local cluster")
	flags.StringVar(&s.plan, "plan", "short", "short, long, or a plan of its own: see package plan")
	flags.StringVar(&s.out, "out", "dist/bench", "folder for results.jsonl, table.md and plots")
	flags.BoolVar(&s.add, "add", false, "add results to those that are in the folder, instead of replacing them")
	flags.IntVar(&s.workers, "workers", 16, "how many clients work at once, in steps with many")
	flags.BoolVar(&s.Fast, "fast", false, "let etcd skip fsync")
	flags.BoolVar(&s.Bare, "bare", false, "remove the admission rules, to see what they cost: only floors can run")
	flags.BoolVar(&s.Profile, "profile", false, "keep profiles of the operator, of each of its steps, in the folder profiles of -out")
	flags.Float64Var(&s.quiet, "quiet", 0.2, "wait before each turn until other processes use no more than so many cores")
	flags.DurationVar(&s.quietWait, "quiet-wait", time.Minute, "but no longer than this")
	if err := flags.Parse(args); err != nil {
		return s, nil, err
	}
	if flags.NArg() > 0 {
		return s, nil, fmt.Errorf("%s: only flags are expected", flags.Arg(0))
	}
	s.Flags = strings.Fields(s.managerFlags)
	text := s.plan
	if named, known := plan.Named(s.plan); known {
		text = named
	}
	parts, err := plan.Parse(text)
	if err == nil {
		err = check(parts, s.Bare)
	}
	return s, parts, err
}

// run measures a plan, and adds its results to a file.
func run(ctx context.Context, s settings, parts []plan.Part, file string) (err error) {
	mode := os.O_CREATE | os.O_WRONLY | os.O_TRUNC
	if s.add {
		mode = os.O_CREATE | os.O_WRONLY | os.O_APPEND
	}
	out, err := os.OpenFile(file, mode, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	e, err := env.Start(ctx, s.Options)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Stop()) }()
	return (&bench{Env: e, settings: s}).all(ctx, parts, json.NewEncoder(out))
}

// all takes the turns of a plan, round by round.
func (b *bench) all(ctx context.Context, parts []plan.Part, out *json.Encoder) error {
	number := 0
	for _, part := range parts {
		for round := range part.Rounds {
			emit := func(r result.Result) error {
				r.Round, r.Backend, r.Durable, r.Bare = round, b.settings.BackendName, !b.settings.Fast, b.settings.Bare
				fmt.Fprintln(os.Stderr, r)
				return out.Encode(r)
			}
			for _, planned := range part.Turns {
				number++
				if err := b.awaitQuiet(ctx); err != nil {
					return err
				}
				if err := b.take(ctx, planned, fmt.Sprintf("t%d", number), emit); err != nil {
					return fmt.Errorf("%s: %w", planned.Actor, err)
				}
			}
		}
	}
	return nil
}

// awaitQuiet waits until other processes leave the machine alone, for a while.
func (b *bench) awaitQuiet(ctx context.Context) error {
	const look = 2 * time.Second
	for begin := time.Now(); ; {
		foreign, err := sample.Foreign(ctx, b.Source(nil).Processes, look)
		if err != nil || foreign <= b.quiet || time.Since(begin) > b.quietWait {
			return err
		}
	}
}

// report makes what a run makes, of files with results.
func report(args []string) error {
	flags := flag.NewFlagSet("bench report", flag.ContinueOnError)
	out := flags.String("out", ".", "folder for table.md and plots")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() == 0 {
		return errors.New("want files with results")
	}
	return conclude(*out, flags.Args()...)
}

// conclude writes a table and plots, prints the table, and last the ratios.
func conclude(dir string, files ...string) error {
	all, err := result.Read(files...)
	if err != nil {
		return err
	}
	if err := writeTable(filepath.Join(dir, "table.md"), all); err != nil {
		return err
	}
	if err := result.Plot(dir, all); err != nil {
		return err
	}
	if err := result.Table(os.Stdout, all); err != nil {
		return err
	}
	return result.PrintRatios(os.Stdout, all)
}

func writeTable(path string, all []result.Result) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return result.Table(f, all)
}
