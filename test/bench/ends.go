// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/test/bench/env"
	"github.com/valetkey/valetkey/test/bench/floor"
	"github.com/valetkey/valetkey/test/bench/result"
	"github.com/valetkey/valetkey/test/bench/timeline"
)

// toTheEnd are the stages of an end.
func toTheEnd() []timeline.Stage {
	return []timeline.Stage{timeline.Finished, timeline.Stopping, timeline.SecretGone, timeline.Revoked, timeline.Ended, timeline.Closed}
}

// run has the node run the Pods of living grants, and waits until the operator has said so.
func (t *turn) run(ctx context.Context, names []string) error {
	if err := t.mustWait(ctx, timeline.PodMade, names...); err != nil {
		return err
	}
	err := t.each(ctx, names, t.workers, func(ctx context.Context, name string) error { return t.RunPod(ctx, t.timeline.Pod(name)) })
	if err != nil || t.actor != result.Product {
		return err
	}
	return t.mustWait(ctx, timeline.Running, names...)
}

// finishOne has the node report that a Job's Pod has ended well.
func (t *turn) finishOne(ctx context.Context, name string) error {
	t.timeline.Mark(name, timeline.Ending, time.Now())
	return t.FinishPod(ctx, t.timeline.Pod(name))
}

// end has Jobs succeed one at a time.
func (t *turn) end(ctx context.Context, n int) error {
	return t.ends(ctx, "end", n, 1, func(ctx context.Context, names []string, write writeEnd) error {
		for _, name := range names {
			if err := errors.Join(t.finishOne(ctx, name), write(ctx, name), t.mustWait(ctx, timeline.Closed, name)); err != nil {
				return err
			}
		}
		return nil
	})
}

// finish has many Jobs succeed at once.
func (t *turn) finish(ctx context.Context, n int) error {
	return t.ends(ctx, "finish", n, t.workers, func(ctx context.Context, names []string, write writeEnd) error {
		both, ctx := errgroup.WithContext(ctx)
		both.Go(func() error { return t.each(ctx, names, t.workers, t.finishOne) })
		both.Go(func() error { return t.each(ctx, names, t.workers, write) })
		return both.Wait()
	})
}

// writeEnd makes a floor's writes of an end, once the job-controller has said that the Job succeeded. The product makes its own.
type writeEnd = func(ctx context.Context, name string) error

// endings reads what a floor's ends are written of.
func (t *turn) endings(ctx context.Context, names []string) (writeEnd, error) {
	if t.floor == nil {
		return func(context.Context, string) error { return nil }, nil
	}
	read := make(map[string]*floor.Ending, len(names))
	for _, name := range names {
		e, err := t.floor.Read(ctx, name)
		if err != nil {
			return nil, err
		}
		read[name] = e
	}
	return func(ctx context.Context, name string) error {
		if err := t.mustWait(ctx, timeline.Finished, name); err != nil {
			return err
		}
		return read[name].Write(ctx, false)
	}, nil
}

// ends measures the ends of grants that live, and removes what is left.
func (t *turn) ends(ctx context.Context, step string, n, workers int, finish func(context.Context, []string, writeEnd) error) error {
	names := slices.Clone(t.living[:min(n, len(t.living))])
	if err := t.run(ctx, names); err != nil {
		return err
	}
	write, err := t.endings(ctx, names)
	if err != nil {
		return err
	}
	err = t.measure(ctx, measured{step: step, n: len(names), workers: workers, while: func(ctx context.Context) (r result.Result, err error) {
		begin := time.Now()
		err = finish(ctx, names, write)
		r.Missing = t.wait(ctx, timeline.Closed, names...)
		if first := t.timeline.First(names, timeline.Finished); !first.IsZero() {
			begin = first // the job-controller says after a second that a Job has succeeded, which is not the operator's
		}
		r.Seconds = t.timeline.Last(names, timeline.Closed).Sub(begin).Seconds()
		r.Latency, r.AfterJob = t.quantiles(names, timeline.Ending, toTheEnd()...), t.quantiles(names, timeline.Finished, toTheEnd()...)
		r.Curves = t.curves(begin, names, timeline.SecretGone, timeline.Ended)
		return r, err
	}})
	if err != nil {
		return err
	}
	return t.remove(ctx, names)
}

// stopOne makes a floor's writes of an end of what still runs.
func (t *turn) stopOne(ctx context.Context, name string) error {
	e, err := t.floor.Read(ctx, name)
	if err != nil {
		return err
	}
	return e.Write(ctx, true)
}

// whole takes grants from their Job's creation to their request's end, one at a time.
func (t *turn) whole(ctx context.Context, n int) error {
	names := t.names(n)
	return t.measure(ctx, measured{step: "whole", n: n, workers: 1, while: func(ctx context.Context) (r result.Result, err error) {
		for _, name := range names {
			if err := t.askWithJob(ctx, name); err != nil {
				return r, err
			}
			if err := t.mustWait(ctx, timeline.Delivered, name); err != nil {
				return r, err
			}
			if err := t.run(ctx, []string{name}); err != nil {
				return r, err
			}
			if err := t.finishOne(ctx, name); err != nil {
				return r, err
			}
			if err := t.mustWait(ctx, timeline.Closed, name); err != nil {
				return r, err
			}
		}
		r.Latency = t.quantiles(names, timeline.Asked, append(onTheWay(), toTheEnd()...)...)
		return r, nil
	}})
}

// remove removes requests with all that belongs to them.
func (t *turn) remove(ctx context.Context, names []string) error {
	if err := t.each(ctx, names, t.workers, t.removeOne); err != nil {
		return err
	}
	if t.actor == result.Three {
		return t.forgetThese(ctx, names, timeline.Gone)
	}
	if err := t.mustWait(ctx, timeline.GrantGone, names...); err != nil {
		return err
	}
	if err := t.each(ctx, names, t.workers, t.RemoveJob); err != nil {
		return err
	}
	if t.floor != nil {
		err := t.each(ctx, names, t.workers, func(ctx context.Context, name string) error { return t.RemovePod(ctx, t.timeline.Pod(name)) })
		if err != nil {
			return err
		}
	}
	return t.forgetThese(ctx, names, timeline.JobGone)
}

// removeOne has the product end a grant and let it go, and removes a floor's without it.
func (t *turn) removeOne(ctx context.Context, name string) error {
	if t.floor != nil {
		if err := t.mustWait(ctx, timeline.PodMade, name); err != nil {
			return err
		}
		if err := t.RemoveGrant(ctx, name); err != nil {
			return err
		}
	}
	return t.RemoveRequest(ctx, name)
}

// forgetThese waits until requests are gone, and takes them off those that live.
func (t *turn) forgetThese(ctx context.Context, names []string, s timeline.Stage) error {
	if err := t.mustWait(ctx, s, names...); err != nil {
		return err
	}
	gone := map[string]bool{}
	for _, name := range names {
		gone[name] = true
	}
	t.living = slices.DeleteFunc(t.living, func(name string) bool { return gone[name] })
	return nil
}

// purge removes everything: the product's through the product.
func (t *turn) purge(ctx context.Context, _ int) error {
	names := slices.Clone(t.living)
	if len(names) == 0 {
		return nil
	}
	return t.measure(ctx, measured{step: "purge", n: len(names), workers: t.workers, while: func(ctx context.Context) (r result.Result, err error) {
		return r, t.remove(ctx, names)
	}})
}

// forget leaves what lives to a later turn, or to the cluster's end.
func (t *turn) forget(context.Context, int) error {
	t.living = nil
	return nil
}

// plant has many granted that expire in the same second, which is far enough ahead that a slow machine has made them by then.
func (t *turn) plant(ctx context.Context, n int) error {
	const slowest, spare = 12, 30 * time.Second
	names := t.names(n)
	if err := t.createJobs(ctx, names); err != nil {
		return err
	}
	t.expiry = time.Now().Add(spare + time.Duration(n)*time.Second/slowest).Truncate(time.Second)
	begin := time.Now()
	err := t.each(ctx, names, t.workers, func(ctx context.Context, name string) error {
		return t.ask(ctx, name, env.Terms{Environment: env.Free, TTL: time.Until(t.expiry).Round(time.Second)})
	})
	if err != nil {
		return err
	}
	if err := t.mustWait(ctx, timeline.Delivered, names...); err != nil {
		return err
	}
	// The next turn starts an operator, which has to come to rest before.
	if time.Until(t.expiry) < spare/2 {
		return fmt.Errorf("granting took %s: the machine is too slow for so many", time.Since(begin).Round(time.Second))
	}
	return nil
}

// reap measures the end of what was planted, from when it expires. A floor makes the ends' writes, the Jobs' stop among them, from that second
// on.
func (t *turn) reap(ctx context.Context, _ int) error {
	names, err := t.planted(ctx)
	if err != nil {
		return err
	}
	if err := until(ctx, t.expiry); err != nil {
		return err
	}
	return t.measure(ctx, measured{step: "reap", n: len(names), workers: t.workers, while: func(ctx context.Context) (r result.Result, err error) {
		if t.floor != nil {
			err = t.each(ctx, names, t.workers, t.stopOne)
		}
		r.Missing = t.timeline.Wait(ctx, 2*env.Patience, timeline.Closed, names...)
		r.Seconds = t.timeline.Last(names, timeline.Ended).Sub(t.expiry).Seconds()
		r.Latency = t.lateness(names)
		r.Curves = t.curves(t.expiry, names, timeline.SecretGone, timeline.Ended)
		return r, err
	}})
}

// lateness is how long after its expiry each grant came to the stages of its end. A floor's clients are to begin in the second that was
// planned; the product takes each at its own.
func (t *turn) lateness(names []string) map[timeline.Stage]result.Quantiles {
	if t.floor == nil {
		return t.quantiles(names, timeline.Expiry, toTheEnd()...)
	}
	found := map[timeline.Stage]result.Quantiles{}
	for _, s := range toTheEnd() {
		if list := t.timeline.After(t.expiry, names, s); len(list) > 0 {
			found[s] = result.Of(list)
		}
	}
	return found
}

// planted finds the grants that expire when those do that were planted last.
func (t *turn) planted(ctx context.Context) ([]string, error) {
	list := &v1alpha1.CapabilityGrantList{}
	if err := t.Admin.List(ctx, list, client.InNamespace(env.Namespace)); err != nil {
		return nil, err
	}
	const rounding = 5 * time.Second
	known := map[string]bool{}
	for _, name := range t.living {
		known[name] = true
	}
	var names []string
	for _, g := range list.Items {
		if g.Status.ExpiresAt == nil || g.Status.ExpiresAt.Sub(t.expiry).Abs() > rounding {
			continue
		}
		names = append(names, g.Name)
		if !known[g.Name] {
			t.living = append(t.living, g.Name)
		}
		t.timeline.Mark(g.Name, timeline.Expiry, g.Status.ExpiresAt.Time)
	}
	if len(names) == 0 {
		return nil, errors.New("nothing was planted")
	}
	return names, nil
}

// until waits for a moment.
func until(ctx context.Context, at time.Time) error {
	timer := time.NewTimer(time.Until(at))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// freeze stores a policy that denies everything, and measures until all that lived have ended. A floor makes the ends' writes.
func (t *turn) freeze(ctx context.Context, _ int) error {
	names := slices.Clone(t.living)
	deny := &v1alpha1.CapabilityPolicy{ObjectMeta: metav1.ObjectMeta{Name: "freeze"},
		Spec: v1alpha1.CapabilityPolicySpec{Effect: v1alpha1.EffectDeny, Capabilities: []string{"*"}}}
	err := t.measure(ctx, measured{step: "freeze", n: len(names), workers: t.workers, while: func(ctx context.Context) (r result.Result, err error) {
		begin := time.Now()
		for _, name := range names {
			t.timeline.Mark(name, timeline.Ending, begin)
		}
		if t.floor != nil {
			err = t.each(ctx, names, t.workers, t.stopOne)
		} else {
			err = t.Admin.Create(ctx, deny)
		}
		r.Missing = t.timeline.Wait(ctx, 2*env.Patience, timeline.Ended, names...)
		r.Seconds = t.timeline.Last(names, timeline.Ended).Sub(begin).Seconds()
		r.Latency = t.quantiles(names, timeline.Ending, toTheEnd()...)
		r.Curves = t.curves(begin, names, timeline.SecretGone, timeline.Ended)
		return r, err
	}})
	return errors.Join(err, client.IgnoreNotFound(t.Admin.Delete(ctx, deny)))
}
