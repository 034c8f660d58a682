// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/test/bench/env"
	"github.com/valetkey/valetkey/test/bench/result"
	"github.com/valetkey/valetkey/test/bench/sample"
	"github.com/valetkey/valetkey/test/bench/timeline"
)

// A process is at rest when it has used less than so much processor time in each of so many looks in a row.
const (
	lookInterval = time.Second
	restLooks    = 3
	restCPU      = 0.05
	restPatience = 10 * time.Minute
)

// rest is how an operator that has come to rest got there.
type rest struct {
	// at is when it came to rest, and cpu what it had used by then, in seconds.
	at  time.Time
	cpu float64
	// idle is the processor time that it uses in each second of rest.
	idle float64
}

// awaitRest waits until the operator does nothing to speak of. Nothing tells that: its processor time is looked at.
func (t *turn) awaitRest(ctx context.Context) (rest, error) {
	ctx, cancel := context.WithTimeout(ctx, restPatience)
	defer cancel()
	ticker := time.NewTicker(lookInterval)
	defer ticker.Stop()
	last, err := sample.CPU(t.operator.PID())
	since, quiet := rest{at: time.Now(), cpu: last}, 0
	for err == nil {
		select {
		case <-ctx.Done():
			return since, errors.New("the operator does not come to rest")
		case <-ticker.C:
		}
		var now float64
		if now, err = sample.CPU(t.operator.PID()); err != nil {
			break
		}
		if quiet++; now-last >= restCPU {
			since, quiet = rest{at: time.Now(), cpu: now}, 0
		}
		if last = now; quiet == restLooks {
			since.idle = (now - since.cpu) / time.Since(since.at).Seconds()
			return since, nil
		}
	}
	return since, err
}

// adopt takes over what an earlier turn left, waits until the operator rests, and tells how much memory that takes.
func (t *turn) adopt(ctx context.Context, _ int) error {
	list := &v1alpha1.CapabilityGrantList{}
	if err := t.Admin.List(ctx, list, client.InNamespace(env.Namespace)); err != nil {
		return err
	}
	known := map[string]bool{}
	for _, name := range t.living {
		known[name] = true
	}
	over := 0
	for _, g := range list.Items {
		switch {
		case g.Status.EndedAt != nil || g.Status.Stop != nil:
			over++
		case !known[g.Name]:
			t.living = append(t.living, g.Name)
		}
	}
	t.standing = len(t.living)
	rested, err := t.awaitRest(ctx)
	if err != nil {
		return err
	}
	return t.measure(ctx, measured{step: "adopt", n: t.standing, workers: 1, while: func(context.Context) (result.Result, error) {
		return result.Result{Missing: over, Values: map[string]float64{"ready": t.operator.Ready.Seconds(), "atRest": rested.at.Sub(t.operator.Started).Seconds()}}, nil
	}})
}

// rest looks on for so many seconds. What it counts is for each second.
func (t *turn) rest(ctx context.Context, seconds int) error {
	if _, err := t.awaitRest(ctx); err != nil {
		return err
	}
	return t.measure(ctx, measured{step: "rest", n: seconds, workers: 1, while: func(ctx context.Context) (result.Result, error) {
		return result.Result{}, until(ctx, time.Now().Add(time.Duration(seconds)*time.Second))
	}})
}

// restart ends the operator, and starts another while a request waits. It measures until that is ready, until the request is granted and its Job
// started, and until the operator rests.
func (t *turn) restart(ctx context.Context, _ int) error {
	name := t.names(1)[0]
	if err := t.createJobs(ctx, []string{name}); err != nil {
		return err
	}
	return t.measure(ctx, measured{step: "restart", n: 1, workers: 1, unprofiled: true, while: func(ctx context.Context) (r result.Result, err error) {
		if err := t.operator.Stop(); err != nil {
			return r, err
		}
		if err := t.ask(ctx, name, env.Hour()); err != nil {
			return r, err
		}
		o, err := t.Operate(ctx)
		if err != nil {
			return r, err
		}
		t.operator = o
		if err := t.mustWait(ctx, timeline.Started, name); err != nil {
			return r, err
		}
		granted, _ := t.timeline.At(name, timeline.Started)
		rested, err := t.awaitRest(ctx)
		r.Values = map[string]float64{"ready": o.Ready.Seconds(), "firstGrant": granted.Sub(o.Started).Seconds(), "atRest": rested.at.Sub(o.Started).Seconds(), "cpu": rested.cpu}
		return r, err
	}})
}

// ripple stores Roles, one at a time, in a namespace that is none of the operator's business, and measures what each costs it. What it uses at rest
// anyway is left out.
func (t *turn) ripple(ctx context.Context, n int) error {
	const other = "ripple"
	if err := t.ensureNamespace(ctx, other); err != nil {
		return err
	}
	before, err := t.awaitRest(ctx)
	if err != nil {
		return err
	}
	err = t.measure(ctx, measured{step: "ripple", n: n, workers: 1, while: func(ctx context.Context) (r result.Result, err error) {
		begin, took := time.Now(), 0.0
		used, err := sample.CPU(t.operator.PID())
		for i := 0; i < n && err == nil; i++ {
			stored := time.Now()
			role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: other, Name: fmt.Sprintf("%s-%d", t.prefix, i)}}
			if err := t.Admin.Create(ctx, role); err != nil {
				return r, err
			}
			rested, err := t.awaitRest(ctx)
			if err != nil {
				return r, err
			}
			took = max(took, rested.at.Sub(stored).Seconds())
		}
		if err != nil {
			return r, err
		}
		now, err := sample.CPU(t.operator.PID())
		cpu := max(0, now-used-before.idle*time.Since(begin).Seconds()) / float64(n)
		r.Values = map[string]float64{"cpu": cpu, "longest": took}
		return r, err
	}})
	return errors.Join(err, t.Admin.DeleteAllOf(ctx, &rbacv1.Role{}, client.InNamespace(other)))
}

// ensureNamespace makes a namespace that no agent works in, with the account that Pods there run as.
func (t *turn) ensureNamespace(ctx context.Context, name string) error {
	for _, o := range []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}},
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: "default"}},
	} {
		if err := t.Admin.Create(ctx, o); client.IgnoreAlreadyExists(err) != nil {
			return err
		}
	}
	return nil
}
