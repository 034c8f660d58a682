// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/policy"
	"github.com/valetkey/valetkey/test/bench/env"
	"github.com/valetkey/valetkey/test/bench/result"
	"github.com/valetkey/valetkey/test/bench/timeline"
)

// decide has a real request with its Job decided on among so many policies about other repositories, by this process and one core: what is
// allowed by the last of them, and what none allows.
func (t *turn) decide(ctx context.Context, n int) error {
	facts, err := t.facts(ctx)
	if err != nil {
		return err
	}
	compiler, err := policy.NewCompiler()
	if err != nil {
		return err
	}
	all := make([]*policy.Compiled, n)
	for i := range all {
		other := fmt.Sprintf("other-%d", i)
		all[i] = compiler.Compile(env.Policy(other, other, env.Free))
	}
	facts.Policies = policy.NewSet(all...)
	return t.measure(ctx, measured{step: "decide", n: n, workers: 1, while: func(context.Context) (r result.Result, err error) {
		refused, err := decisions(facts, policy.Deny)
		if err != nil {
			return r, err
		}
		allows := env.Policy("last", env.Repo, env.Free)
		allows.Spec.When = nil
		facts.Policies = policy.NewSet(append(all, compiler.Compile(allows))...)
		allowed, err := decisions(facts, policy.Allow)
		r.Values = map[string]float64{"allowed": allowed, "refused": refused}
		return r, err
	}})
}

// facts are those of a request that is granted.
func (t *turn) facts(ctx context.Context) (policy.Facts, error) {
	name := t.names(1)[0]
	if err := t.createJobs(ctx, []string{name}); err != nil {
		return policy.Facts{}, err
	}
	request, job := &v1alpha1.CapabilityRequest{ObjectMeta: env.Meta(name)}, &batchv1.Job{ObjectMeta: env.Meta(env.JobName(name))}
	if err := t.Admin.Get(ctx, client.ObjectKeyFromObject(job), job); err != nil { // before a grant starts it
		return policy.Facts{}, err
	}
	if err := t.ask(ctx, name, env.Hour()); err != nil {
		return policy.Facts{}, err
	}
	if err := t.mustWait(ctx, timeline.Delivered, name); err != nil {
		return policy.Facts{}, err
	}
	if err := t.Admin.Get(ctx, client.ObjectKeyFromObject(request), request); err != nil {
		return policy.Facts{}, err
	}
	return policy.Facts{Request: request, Capability: t.Capability, CapabilityReady: true, Job: job, Digest: request.Status.Review.Digest,
		ReviewedAt: request.Status.Review.At.Time, Now: time.Now()}, nil
}

// decisions counts how many are made in a second, each of which has to be as wanted.
func decisions(facts policy.Facts, want policy.Verdict) (float64, error) {
	const duration = 3 * time.Second
	begin, n := time.Now(), 0
	for time.Since(begin) < duration {
		if d := policy.Evaluate(facts); d.Verdict != want {
			return 0, fmt.Errorf("the decision is %s, not %s: %s", d.Verdict, want, d.Message)
		}
		n++
	}
	return float64(n) / time.Since(begin).Seconds(), nil
}
