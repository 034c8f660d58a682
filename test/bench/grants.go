// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"time"

	"github.com/valetkey/valetkey/test/bench/env"
	"github.com/valetkey/valetkey/test/bench/result"
	"github.com/valetkey/valetkey/test/bench/sample"
	"github.com/valetkey/valetkey/test/bench/timeline"
)

// onTheWay are the stages from a request to its running Job.
func onTheWay() []timeline.Stage {
	return []timeline.Stage{timeline.Answered, timeline.Reviewed, timeline.Approving, timeline.Granted, timeline.Named, timeline.Begun, timeline.Stored, timeline.Issued,
		timeline.Started, timeline.Delivered}
}

// oneByOne has each granted before the next is asked for.
func (t *turn) oneByOne(ctx context.Context, step string, n int, ask func(ctx context.Context, name string) error) error {
	names := t.names(n)
	return t.measure(ctx, measured{step: step, n: n, workers: 1, while: func(ctx context.Context) (r result.Result, err error) {
		for _, name := range names {
			if err := ask(ctx, name); err != nil {
				return r, err
			}
			r.Missing += t.wait(ctx, t.last(), name)
			// What still comes of it is not the next one's: the request's status, and the Pod that the job-controller makes.
			r.Missing += t.wait(ctx, timeline.Named, name)
			if t.actor != result.Three {
				r.Missing += t.wait(ctx, timeline.PodMade, name)
			}
		}
		r.Latency = t.quantiles(names, timeline.Asked, onTheWay()...)
		return r, nil
	}})
}

// single asks one at a time. The Job is there when the request comes.
func (t *turn) single(ctx context.Context, n int) error {
	return t.oneByOne(ctx, "single", n, t.askWithJob)
}

// askWithJob creates the Job, and then the request.
func (t *turn) askWithJob(ctx context.Context, name string) error {
	if err := t.createJobs(ctx, []string{name}); err != nil {
		return err
	}
	return t.ask(ctx, name, env.Hour())
}

// askedFirst creates the request first and the Job right behind it, as kubectl create -k does. A floor has no such order.
func (t *turn) askedFirst(ctx context.Context, n int) error {
	if t.actor != result.Product {
		return nil
	}
	return t.oneByOne(ctx, "asked", n, func(ctx context.Context, name string) error {
		if err := t.ask(ctx, name, env.Hour()); err != nil {
			return err
		}
		return t.CreateJob(ctx, name)
	})
}

// approved asks for what somebody has to approve, and approves it as soon as the review is shown.
func (t *turn) approved(ctx context.Context, n int) error {
	return t.oneByOne(ctx, "approved", n, func(ctx context.Context, name string) error {
		if err := t.createJobs(ctx, []string{name}); err != nil {
			return err
		}
		if err := t.ask(ctx, name, env.Terms{Environment: env.Approved, TTL: time.Hour}); err != nil || t.floor != nil {
			return err
		}
		if err := t.mustWait(ctx, timeline.Reviewed, name); err != nil {
			return err
		}
		t.timeline.Mark(name, timeline.Approving, time.Now())
		return t.Approve(ctx, name, t.timeline.Digest(name))
	})
}

// closed has so many clients, each of which waits for its Job to start before it asks again. The Jobs are there.
func (t *turn) closed(ctx context.Context, n int) error { return t.loop(ctx, "closed", n, env.Hour()) }

func (t *turn) loop(ctx context.Context, step string, n int, terms env.Terms) error {
	names := t.names(n)
	if err := t.createJobs(ctx, names); err != nil {
		return err
	}
	return t.measure(ctx, measured{step: step, n: n, workers: t.workers, while: func(ctx context.Context) (r result.Result, err error) {
		begin := time.Now()
		err = t.each(ctx, names, t.workers, func(ctx context.Context, name string) error {
			if err := t.ask(ctx, name, terms); err != nil || t.actor == result.Three {
				return err
			}
			t.wait(ctx, timeline.Started, name)
			return nil
		})
		r.Seconds = time.Since(begin).Seconds()
		r.Missing = t.wait(ctx, t.last(), names...)
		r.Latency = t.quantiles(names, timeline.Asked, onTheWay()...)
		return r, err
	}})
}

// burst has requests created as fast as so many clients can, and nobody waits. The Jobs are there. A floor's clients make all writes of a grant
// before they begin the next.
func (t *turn) burst(ctx context.Context, n int) error {
	names := t.names(n)
	if err := t.createJobs(ctx, names); err != nil {
		return err
	}
	return t.measure(ctx, measured{step: "burst", n: n, workers: t.workers, while: func(ctx context.Context) (r result.Result, err error) {
		begin := time.Now()
		err = t.each(ctx, names, t.workers, func(ctx context.Context, name string) error { return t.ask(ctx, name, env.Hour()) })
		r.Missing = t.wait(ctx, t.last(), names...)
		r.Seconds = t.timeline.Last(names, t.last()).Sub(begin).Seconds()
		r.Latency = t.quantiles(names, timeline.Asked, onTheWay()...)
		r.Curves = t.curves(begin, names, timeline.Answered, timeline.Started)
		return r, err
	}})
}

// fill has more granted until so many live, by terms that outlast the run.
func (t *turn) fill(ctx context.Context, n int) error {
	const hours = 4
	if more := n - len(t.living); more > 0 {
		if err := t.loop(ctx, "fill", more, env.Terms{Environment: env.Free, TTL: hours * time.Hour}); err != nil {
			return err
		}
	}
	t.standing = n
	return nil
}

// soak has grants come and go for so many minutes, and compares the operator's memory at the end with that after ten minutes, or after the first
// batch where it is shorter.
func (t *turn) soak(ctx context.Context, minutes int) error {
	const early, batches = 10 * time.Minute, 8
	duration := time.Duration(minutes) * time.Minute
	return t.measure(ctx, measured{step: "soak", n: minutes, workers: t.workers, while: func(ctx context.Context) (r result.Result, err error) {
		begin, first := time.Now(), 0.0
		for time.Since(begin) < duration {
			names := t.names(batches * t.workers)
			if err := t.grantAndRemove(ctx, names); err != nil {
				return r, err
			}
			now, err := sample.Resident(t.operator.PID())
			if err != nil {
				return r, err
			}
			if first == 0 || time.Since(begin) < early {
				first = now
			}
			r.Values = map[string]float64{"rssOfTenMinutes": now / first}
		}
		return r, nil
	}})
}

func (t *turn) grantAndRemove(ctx context.Context, names []string) error {
	if err := t.createJobs(ctx, names); err != nil {
		return err
	}
	if err := t.each(ctx, names, t.workers, func(ctx context.Context, name string) error { return t.ask(ctx, name, env.Hour()) }); err != nil {
		return err
	}
	if err := t.mustWait(ctx, timeline.Delivered, names...); err != nil {
		return err
	}
	return t.remove(ctx, names)
}
