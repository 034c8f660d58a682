// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/valetkey/valetkey/test/bench/env"
	"github.com/valetkey/valetkey/test/bench/floor"
	"github.com/valetkey/valetkey/test/bench/plan"
	"github.com/valetkey/valetkey/test/bench/result"
	"github.com/valetkey/valetkey/test/bench/sample"
	"github.com/valetkey/valetkey/test/bench/timeline"
)

// bench is a run: a cluster, and what one turn leaves to the next.
type bench struct {
	*env.Env
	settings
	// expiry is when the grants expire that were planted last.
	expiry time.Time
}

// turn is what one actor does: it makes requests under names of its own, and removes them again unless it is told to forget them.
type turn struct {
	*bench
	actor, prefix string
	emit          func(result.Result) error
	timeline      *timeline.Timeline
	floor         *floor.Floor
	operator      *env.Operator
	made          int
	// living are the names of the grants that are there, and standing how many there were when the turn began to measure beside them.
	living   []string
	standing int
}

// take takes a turn.
func (b *bench) take(ctx context.Context, planned plan.Turn, prefix string, emit func(result.Result) error) (err error) {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	t := &turn{bench: b, actor: planned.Actor, prefix: prefix, emit: emit, timeline: timeline.New()}
	if err := t.timeline.Watch(ctx, b.Config, env.Namespace, fail); err != nil {
		return err
	}
	switch t.actor {
	case result.Design:
		t.floor = floor.Design(b.Env, t.timeline)
	case result.Least:
		t.floor = floor.Least(b.Env, t.timeline)
	case result.Product:
		if t.operator, err = b.Operate(ctx); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, t.operator.Stop()) }()
		if err := t.warmUp(ctx); err != nil {
			return err
		}
	}
	for _, s := range planned.Steps {
		if err := t.steps()[s.Name](ctx, s.N); err != nil {
			return fmt.Errorf("%s: %w", s, errors.Join(err, context.Cause(ctx)))
		}
	}
	return nil
}

// steps are all that plans can name.
func (t *turn) steps() map[string]func(context.Context, int) error {
	return map[string]func(context.Context, int) error{
		"single": t.single, "asked": t.askedFirst, "approved": t.approved, "closed": t.closed, "burst": t.burst, "fill": t.fill, "soak": t.soak,
		"whole": t.whole, "end": t.end, "finish": t.finish, "plant": t.plant, "reap": t.reap, "freeze": t.freeze, "purge": t.purge, "forget": t.forget,
		"adopt": t.adopt, "rest": t.rest, "restart": t.restart, "ripple": t.ripple,
		"crowd": t.crowd, "roles": t.roles, "accounts": t.accounts, "policies": t.policies, "decide": t.decide,
	}
}

// onlyProducts are the steps that no floor can take.
func onlyProducts() []string {
	return []string{"soak", "whole", "adopt", "rest", "restart", "ripple", "crowd", "roles", "accounts", "policies", "decide"}
}

// check refuses a plan that could not be gone through to its end.
func check(parts []plan.Part, bare bool) error {
	steps := (&turn{}).steps()
	for _, part := range parts {
		for _, t := range part.Turns {
			if bare && t.Actor == result.Product {
				return errors.New("-bare: without admission rules the operator grants nothing; name a plan of floors alone")
			}
			for _, s := range t.Steps {
				switch {
				case steps[s.Name] == nil:
					return fmt.Errorf("%s: there is no such step", s.Name)
				case t.Actor != result.Product && slices.Contains(onlyProducts(), s.Name):
					return fmt.Errorf("%s: the floor %s cannot take this step", s.Name, t.Actor)
				}
			}
		}
	}
	return nil
}

// warmUp has the operator compile, connect and cache before anything is timed, ends included.
func (t *turn) warmUp(ctx context.Context) error {
	const few = 5
	names := t.names(few)
	if err := t.createJobs(ctx, names); err != nil {
		return err
	}
	if err := t.each(ctx, names, 1, func(ctx context.Context, name string) error { return t.ask(ctx, name, env.Hour()) }); err != nil {
		return err
	}
	if err := t.run(ctx, names); err != nil {
		return err
	}
	if err := t.each(ctx, names, 1, t.finishOne); err != nil {
		return err
	}
	if err := t.mustWait(ctx, timeline.Closed, names...); err != nil {
		return err
	}
	return t.remove(ctx, names)
}

// names makes names for new requests.
func (t *turn) names(n int) []string {
	list := make([]string, n)
	for i := range list {
		t.made++
		list[i] = fmt.Sprintf("%s-%d", t.prefix, t.made)
	}
	t.living = append(t.living, list...)
	return list
}

// each does something for every name, so many at once. The first error ends it.
func (t *turn) each(ctx context.Context, names []string, workers int, do func(context.Context, string) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	work := make(chan string)
	var running sync.WaitGroup
	for range workers {
		running.Go(func() {
			for name := range work {
				if err := do(ctx, name); err != nil {
					cancel(fmt.Errorf("%s: %w", name, err))
				}
			}
		})
	}
	for _, name := range names {
		if ctx.Err() != nil {
			break
		}
		work <- name
	}
	close(work)
	running.Wait()
	return context.Cause(ctx)
}

// wait waits for a stage, and counts who did not come to it.
func (t *turn) wait(ctx context.Context, s timeline.Stage, names ...string) (missing int) {
	return t.timeline.Wait(ctx, env.Patience, s, names...)
}

// mustWait waits for a stage that all have to come to.
func (t *turn) mustWait(ctx context.Context, s timeline.Stage, names ...string) error {
	if missing := t.wait(ctx, s, names...); missing > 0 {
		return fmt.Errorf("%d of %d did not come to the stage %s", missing, len(names), s)
	}
	return nil
}

// last is the stage that a grant comes to last.
func (t *turn) last() timeline.Stage {
	if t.actor == result.Three {
		return timeline.Named
	}
	return timeline.Delivered
}

// createJobs creates Jobs, and waits until the job-controller has seen each: what it does about a new Job is not measured.
func (t *turn) createJobs(ctx context.Context, names []string) error {
	if t.actor == result.Three {
		return nil
	}
	if err := t.each(ctx, names, t.workers, t.CreateJob); err != nil {
		return err
	}
	return t.mustWait(ctx, timeline.Held, names...)
}

// ask starts the clock and creates the request. A floor makes all its writes before it returns.
func (t *turn) ask(ctx context.Context, name string, terms env.Terms) error {
	switch {
	case t.floor != nil:
		return t.floor.Grant(ctx, name, terms)
	case t.actor == result.Three:
		return floor.Three(ctx, t.Env, t.timeline, name)
	}
	t.timeline.Mark(name, timeline.Asked, time.Now())
	_, err := t.CreateRequest(ctx, name, terms)
	t.timeline.Mark(name, timeline.Answered, time.Now())
	return err
}

// sample counts what everybody has done so far.
func (t *turn) sample(ctx context.Context) (sample.Sample, error) {
	return sample.Take(ctx, t.Source(t.operator))
}

// measured is one measurement: what, of how many, by how many at once.
type measured struct {
	step       string
	n, workers int
	// unprofiled is a measurement in which the operator ends.
	unprofiled bool
	// while measures, and returns what is known of it; what lies around it is filled in.
	while func(context.Context) (result.Result, error)
}

// measure samples around a measurement, and emits its result.
func (t *turn) measure(ctx context.Context, m measured) error {
	before, err := t.sample(ctx)
	if err != nil {
		return err
	}
	profiled := t.profile(ctx, m)
	r, err := m.while(ctx)
	if err != nil {
		return errors.Join(err, profiled())
	}
	after, err := t.sample(ctx)
	if err := errors.Join(err, profiled()); err != nil {
		return err
	}
	if r.Seconds == 0 {
		r.Seconds = after.At().Sub(before.At()).Seconds()
	}
	r.Actor, r.Step, r.N, r.Workers, r.Living, r.Standing = t.actor, m.step, m.n, m.workers, len(t.living), t.standing
	r.PerSecond = float64(m.n-r.Missing) / r.Seconds
	r.Usage = after.Since(before, m.n)
	return t.emit(r)
}

// quantiles are those of the times from one stage to others.
func (t *turn) quantiles(names []string, from timeline.Stage, until ...timeline.Stage) map[timeline.Stage]result.Quantiles {
	found := map[timeline.Stage]result.Quantiles{}
	for _, s := range until {
		if list := t.timeline.Between(names, from, s); len(list) > 0 {
			found[s] = result.Of(list)
		}
	}
	return found
}

// curves say when requests came to stages, after a moment.
func (t *turn) curves(begin time.Time, names []string, stages ...timeline.Stage) map[timeline.Stage][]float64 {
	found := map[timeline.Stage][]float64{}
	for _, s := range stages {
		if list := t.timeline.After(begin, names, s); len(list) > 0 {
			found[s] = result.Curve(list)
		}
	}
	return found
}
